//! A disk that is really full.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use kvlogdb_engine_api::{Durability, Error, KvLogDb, LogName, WriteBatch};
use kvlogdb_engine_sled::{SledEngine, SledOptions};

/// A file system of a few megabytes, unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        disk.run(&["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs"]);
        disk
    }

    fn grow(&self) {
        self.run(&["mount", "-o", "remount,size=400m"]);
    }

    fn run(&self, command: &[&str]) {
        let (program, arguments) = command.split_first().unwrap();
        let status = Command::new(program).args(arguments).arg(self.dir.path()).status();
        assert!(status.unwrap().success(), "{command:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

fn open(dir: &Path) -> kvlogdb_engine_api::Result<SledEngine> {
    SledEngine::open(dir, &SledOptions::default())
}

#[test]
#[ignore = "mounts a tmpfs: run as root with --ignored"]
fn a_full_disk_poisons_by_name_and_loses_nothing_that_was_synced() {
    let disk = SmallDisk::mount();
    let dir = disk.dir.path().join("store");
    let engine = open(&dir).unwrap();
    let log = LogName::default();
    let mut written = 0;
    let refused = loop {
        let mut batch = WriteBatch::new();
        batch.put_entry(log.at(written), &[&vec![1; 100_000]]).unwrap();
        match engine.write(&[&batch], Durability::Synced) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    let full =
        matches!(&refused, Error::Poisoned { cause } if matches!(**cause, Error::DiskFull { .. }));
    assert!(full, "{refused:?}");
    assert!(written > 10, "{written}");
    assert!(matches!(engine.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(engine.close(), Err(Error::Poisoned { .. })));
    disk.grow();
    let engine = match open(&dir) {
        Err(Error::RestartNeeded { .. }) => open(&copy_to(&disk, &dir)).unwrap(),
        opened => opened.unwrap(),
    };
    for index in 0..written {
        assert!(engine.entry(log.at(index)).unwrap().is_some(), "{index} of {written}");
    }
}

/// What another process would find: sled kept its lock in this one.
fn copy_to(disk: &SmallDisk, dir: &Path) -> std::path::PathBuf {
    let copy = disk.dir.path().join("copy");
    let status = Command::new("cp").arg("-r").args([dir, &copy]).status();
    assert!(status.unwrap().success());
    copy
}
