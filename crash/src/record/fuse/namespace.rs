//! A mount namespace of this process alone.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::FuseDisk;
use crate::{FaultPlan, Image};

/// Set in a process that has its own mount namespace.
const ENTERED: &str = "KVLOGDB_CRASH_NAMESPACE";
/// The program that makes one; part of util-linux.
const UNSHARE: &str = "unshare";

/// Moves this process into a mount namespace of its own, by starting the program anew with the
/// same arguments. It must be called first in `main`, before there are threads. Returns where that
/// is done already, and where it cannot be done; see [`obstacle`].
pub fn enter_namespace() {
    if env::var_os(ENTERED).is_some() {
        return;
    }
    let Some(arguments) = unshare_arguments() else { return };
    let Ok(program) = env::current_exe() else { return };
    // Returns only where the program cannot be started.
    let _ = Command::new(UNSHARE)
        .args(arguments)
        .arg("--")
        .arg(program)
        .args(env::args_os().skip(1))
        .env(ENTERED, "1")
        .exec();
}

/// The first of the ways to a namespace that works here.
fn unshare_arguments() -> Option<&'static [&'static str]> {
    const AS_ROOT: &[&str] = &["--mount", "--propagation", "private"];
    const AS_USER: &[&str] = &["--user", "--map-root-user", "--mount", "--propagation", "private"];
    [AS_ROOT, AS_USER].into_iter().find(|arguments| {
        let mut tried = Command::new(UNSHARE);
        tried.args(*arguments).args(["--", "true"]).stdin(Stdio::null());
        tried.stdout(Stdio::null()).stderr(Stdio::null());
        tried.status().is_ok_and(|status| status.success())
    })
}

/// Why nothing can be mounted here; `None` where it can. Tries it once.
pub fn obstacle() -> Option<String> {
    static TRIED: OnceLock<Option<String>> = OnceLock::new();
    TRIED.get_or_init(try_to_mount).clone()
}

fn try_to_mount() -> Option<String> {
    if env::var_os(ENTERED).is_none() {
        return Some("no mount namespace: `unshare --mount` is not there or not allowed".into());
    }
    let tried = || {
        let disk = FuseDisk::record(&Image::default(), FaultPlan::default())?;
        fs::write(disk.path().join("file"), b"text")?;
        disk.end()
    };
    match tried() {
        Ok(recorded) if recorded.end.find("file").is_some() => None,
        Ok(_) => Some("FUSE: a file that was written is not there".into()),
        Err(error) => Some(format!("FUSE: {error}")),
    }
}
