//! The suite on an engine: here on the reference, which keeps its stores in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use kvlogdb_conformance::Subject;
use kvlogdb_engine_api::{Error, MemoryDisk};

fn main() -> ExitCode {
    let disks = Mutex::new(HashMap::<PathBuf, MemoryDisk>::new());
    let open = move |dir: &Path| {
        let mut disks = disks.lock().map_err(|_| Error::corrupt("a case has panicked"))?;
        disks.entry(dir.to_owned()).or_default().open()
    };
    Subject::new("memory", open).without_files("it keeps nothing in files").run()
}
