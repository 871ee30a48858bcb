//! A file system that is really full.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::path::Path;
use std::process::Command;

use kvlogdb_engine_api::{Durability, Error, KvLogDb, LogName, Result, WriteBatch};
use kvlogdb_engine_redb::{RedbEngine, RedbOptions};

/// A tmpfs of a few MiB, until dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.run("mount", &["-t", "tmpfs", "-o", options, "tmpfs"]);
        disk
    }

    fn run(&self, program: &str, args: &[&str]) {
        let status = Command::new(program).args(args).arg(self.0.path()).status();
        assert!(status.unwrap().success(), "{program} {args:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["--lazy"]);
    }
}

fn open(dir: &Path) -> RedbEngine {
    RedbEngine::open(dir, &RedbOptions::default()).unwrap()
}

fn write(engine: &RedbEngine, index: u64) -> Result<()> {
    let mut batch = WriteBatch::new();
    for part in [0, 1 << 32] {
        batch.put_entry(LogName::default().at(index + part), &[&[7; 1000]])?;
    }
    engine.write(&[&batch], Durability::Synced)
}

/// Everything acknowledged is there, and the write that failed is whole or absent.
fn check(engine: &RedbEngine, count: u64) {
    let has = |index| engine.entry(LogName::default().at(index)).unwrap().is_some();
    for index in 0..count {
        assert!(has(index) && has(index + (1 << 32)), "entry {index}");
    }
    assert_eq!(has(count), has(count + (1 << 32)));
    engine.verify().unwrap();
}

#[test]
#[ignore = "mounts a tmpfs, so it needs root"]
fn a_full_file_system_poisons_and_loses_nothing_acknowledged() {
    let disk = SmallDisk::mount("size=4m");
    let dir = disk.0.path().join("store");
    let engine = open(&dir);
    let (count, failed) = (0..).find_map(|n| Some((n, write(&engine, n).err()?))).unwrap();
    assert!(count > 100, "{count} writes");
    for failed in [failed, write(&engine, count).unwrap_err(), engine.close().unwrap_err()] {
        let full = |cause: &Error| matches!(cause, Error::DiskFull { .. });
        assert!(matches!(&failed, Error::Poisoned { cause } if full(cause)), "{failed:?}");
    }
    check(&open(&dir), count);
    disk.run("mount", &["-o", "remount,size=64m"]);
    let engine = open(&dir);
    check(&engine, count);
    write(&engine, count).unwrap();
}
