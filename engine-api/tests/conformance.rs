//! The reference engine passes the suite that it is the reference of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use kvlogdb_conformance::Subject;
use kvlogdb_engine_api::MemoryDisk;

fn main() -> ExitCode {
    let disks = Mutex::new(HashMap::<PathBuf, MemoryDisk>::new());
    let open = move |dir: &Path| {
        let mut disks = disks.lock().unwrap_or_else(PoisonError::into_inner);
        disks.entry(dir.to_owned()).or_default().open()
    };
    Subject::new("memory", open).without_files("it keeps nothing in files").run()
}
