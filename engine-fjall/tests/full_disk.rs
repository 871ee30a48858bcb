//! What a write that finds no room leaves behind.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![cfg(unix)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use kvlogdb_engine_api::{Durability, Error, KvLogDb, LogName, WriteBatch};
use kvlogdb_engine_fjall::{FjallEngine, FjallOptions};

/// Says that the test runs as its own child, under a limit, and on which store.
const STORE: &str = "KVLOGDB_FULL_DISK_STORE";
const VALUE: [u8; 1000] = [7; 1000];

fn open(dir: &Path) -> FjallEngine {
    open_with(dir, &FjallOptions::default())
}

fn open_with(dir: &Path, options: &FjallOptions) -> FjallEngine {
    FjallEngine::open(dir, options).unwrap()
}

fn write(engine: &FjallEngine, index: u64) -> kvlogdb_engine_api::Result<()> {
    let mut batch = WriteBatch::new();
    batch.put_entry(LogName::default().at(index), &[&VALUE])?;
    batch.put_entry(LogName::default().at(index + (1 << 32)), &[&VALUE])?;
    engine.write(&[&batch], Durability::Synced)
}

fn is_disk_full(answer: Result<(), Error>) -> bool {
    matches!(answer, Err(Error::Poisoned { cause }) if matches!(*cause, Error::DiskFull { .. }))
}

/// Writes until a write fails. Returns how many succeeded, and the failure.
fn fill(engine: &FjallEngine) -> (u64, Error) {
    let mut count = 0;
    loop {
        match write(engine, count) {
            Ok(()) => count += 1,
            Err(error) => return (count, error),
        }
    }
}

/// Writes until there is no room, then looks at what is left. Returns how many writes succeeded.
fn fill_and_look(dir: &Path) -> u64 {
    let engine = open(dir);
    let (count, first) = fill(&engine);
    assert!(is_disk_full(Err(first)), "the first failure names its cause");
    assert!(is_disk_full(write(&engine, count)), "and every later one");
    assert!(is_disk_full(engine.sync()));
    assert!(is_disk_full(engine.reclaim()));
    let last = LogName::default().at(count - 1);
    assert_eq!(engine.entry(last).unwrap().as_deref(), Some(&VALUE[..]));
    assert!(is_disk_full(engine.close()));
    assert!(matches!(write(&engine, count), Err(Error::Closed)));
    count
}

/// Everything acknowledged is there, and the write that failed is whole or absent.
fn check(engine: &FjallEngine, count: u64) {
    let has = |index| engine.entry(LogName::default().at(index)).unwrap().is_some();
    for index in 0..count {
        assert!(has(index) && has(index + (1 << 32)), "entry {index}");
    }
    assert_eq!(has(count), has(count + (1 << 32)));
    engine.verify().unwrap();
}

/// A limit on the size of files fails writes as a full disk does, and needs no privilege.
#[test]
fn a_write_without_room_poisons_and_loses_nothing_acknowledged() {
    if let Some(store) = env::var_os(STORE) {
        let count = fill_and_look(Path::new(&store));
        std::fs::write(Path::new(&store).with_extension("count"), count.to_string()).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    open(&store).close().unwrap();
    // 4096 blocks of 512 bytes; a file that grows beyond them raises a signal unless ignored
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$@\"";
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "a_write_without_room_poisons_and_loses_nothing_acknowledged"])
        .arg("--nocapture")
        .env(STORE, &store)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let count = std::fs::read_to_string(store.with_extension("count")).unwrap();
    let count: u64 = count.parse().unwrap();
    assert!(count > 100, "{count} writes of 2 KiB before the limit of 2 MiB");
    let engine = open(&store);
    check(&engine, count);
    write(&engine, count + 1).unwrap();
}

/// A tmpfs of a few MiB, until dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.run("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs"]);
        disk
    }

    fn run(&self, program: &str, args: &[&str]) {
        assert!(self.try_run(program, args), "{program}");
    }

    fn try_run(&self, program: &str, args: &[&str]) -> bool {
        let status = Command::new(program).args(args).arg(self.0.path()).status();
        status.unwrap().success()
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // a process that another test is just starting holds our files for a moment
        let gone = (0..100).any(|_| {
            let gone = self.try_run("umount", &["--quiet"]);
            if !gone {
                thread::sleep(Duration::from_millis(20));
            }
            gone
        });
        assert!(gone || thread::panicking(), "umount");
    }
}

/// With small memtables it is often a worker of fjall that meets the full disk first: no write may
/// wait for it in vain.
#[test]
#[ignore = "mounts a tmpfs, so it needs root on Linux"]
fn a_worker_that_finds_no_room_ends_the_writes_and_loses_nothing_acknowledged() {
    for _ in 0..10 {
        let disk = SmallDisk::new();
        let mut options = FjallOptions::default();
        options.log_memtable_bytes = 16 << 10;
        let engine = open_with(&disk.store(), &options);
        let (count, first) = fill(&engine);
        let text = format!("{first:?}");
        assert!(is_disk_full(Err(first)), "{text}");
        assert!(is_disk_full(engine.sync()));
        assert!(is_disk_full(engine.close()));
        disk.run("mount", &["-o", "remount,size=64m"]);
        check(&open(&disk.store()), count);
    }
}
