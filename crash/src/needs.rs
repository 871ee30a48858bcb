//! Trials that not every machine can run.

use std::env;

use libtest_mimic::{Failed, Trial};

/// Names what has to be there, separated by commas; a trial that cannot have it then fails.
pub const REQUIRE: &str = "KVLOGDB_CRASH_REQUIRE";
/// What [`REQUIRE`] calls a machine that can mount FUSE.
pub const FUSE: &str = "fuse";

/// What [`REQUIRE`] calls a machine that can mount ext4 on a loop device.
pub const BLOCK: &str = "block";

/// A trial that mounts a [`FuseDisk`](crate::record::fuse::FuseDisk). Where nothing can be mounted
/// it is shown as ignored, with the reason, or fails where it is required.
pub fn fuse_trial(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    trial(FUSE, obstacle(), name.into(), run)
}

/// The same of a [`BlockDisk`](crate::record::block::BlockDisk).
pub fn block_trial(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    trial(BLOCK, block_obstacle(), name.into(), run)
}

fn trial(
    what: &str,
    obstacle: Option<String>,
    name: String,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    match obstacle {
        None => Trial::test(name, run).with_kind(what),
        Some(reason) if is_required(what) => {
            Trial::test(name, move || Err(reason.into())).with_kind(what)
        }
        Some(reason) => Trial::test(name, run).with_kind(reason).with_ignored_flag(true),
    }
}

/// Whether what a trial needs has to be there.
pub(crate) fn is_required(what: &str) -> bool {
    env::var(REQUIRE).is_ok_and(|all| all.split(',').any(|one| one.trim() == what))
}

/// Why nothing can be mounted here.
#[cfg(target_os = "linux")]
pub fn obstacle() -> Option<String> {
    crate::record::fuse::obstacle()
}

/// Why nothing can be mounted here.
#[cfg(not(target_os = "linux"))]
pub fn obstacle() -> Option<String> {
    Some("FUSE: only on Linux".into())
}

/// Why no file system can be mounted on a recorded disk here.
#[cfg(target_os = "linux")]
pub fn block_obstacle() -> Option<String> {
    crate::record::block::obstacle()
}

/// Why no file system can be mounted on a recorded disk here.
#[cfg(not(target_os = "linux"))]
pub fn block_obstacle() -> Option<String> {
    Some("a loop device: only on Linux".into())
}
