//! Damage to redb's file is reported by open or by verify.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use kvlogdb_engine_api::{
    Durability, Error, KvLogDb, LogName, MetaKey, ReplicaId, Result, WriteBatch,
};
use kvlogdb_engine_redb::{RedbEngine, RedbOptions};

const LOG: LogName = LogName { replica: ReplicaId { group: 1, node: 0 }, incarnation: 0 };
const ENTRIES: u64 = 600;

fn open(dir: &Path) -> Result<RedbEngine> {
    RedbEngine::open(dir, &RedbOptions::default())
}

fn file_in(dir: &Path) -> PathBuf {
    dir.join("engine/log.redb")
}

fn value(index: u64) -> Vec<u8> {
    vec![index.to_le_bytes()[0]; 500]
}

fn put(engine: &RedbEngine, index: u64) {
    let mut batch = WriteBatch::new();
    batch.put_entry(LOG.at(index), &[&value(index)]).unwrap();
    batch.put_meta(MetaKey::store(1), &[&index.to_be_bytes()]).unwrap();
    engine.write(&[&batch], Durability::Synced).unwrap();
}

fn fill(dir: &Path) {
    let engine = open(dir).unwrap();
    (0..ENTRIES).for_each(|index| put(&engine, index));
}

fn is_whole(engine: &RedbEngine) -> bool {
    let last = (ENTRIES - 1).to_be_bytes();
    let metadata = engine.meta(MetaKey::store(1));
    metadata.is_ok_and(|found| found.is_some_and(|found| found[..] == last))
        && (0..ENTRIES).all(|index| {
            let entry = engine.entry(LOG.at(index));
            entry.is_ok_and(|found| found.is_some_and(|found| found[..] == value(index)))
        })
}

/// Places to damage, the same in every run.
struct Places {
    state: u64,
}

impl Places {
    /// A byte below `len` and a mask of one bit.
    fn next(&mut self, len: usize) -> (usize, u8) {
        let (multiplier, increment) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        self.state = self.state.wrapping_mul(multiplier).wrapping_add(increment);
        let at = usize::try_from(self.state >> 20).unwrap() % len;
        (at, 1 << (self.state >> 17 & 7))
    }
}

/// Whether the call panicked: redb may, on pages whose structure is damaged, and then nothing wrong
/// was served.
fn panics<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::Format { .. })
}

#[test]
fn a_flipped_bit_of_a_closed_file_is_refused_by_open_or_reported_by_verify() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let file = file_in(dir.path());
    let sound = fs::read(&file).unwrap();
    let mut places = Places { state: 1 };
    let (mut reported, mut panicked) = (0, 0);
    for _ in 0..300 {
        let (at, mask) = places.next(sound.len());
        let mut bytes = sound.clone();
        bytes[at] ^= mask;
        fs::write(&file, &bytes).unwrap();
        let engine = match panics(|| open(dir.path())) {
            Some(Ok(engine)) => engine,
            Some(Err(error)) => {
                assert!(is_damage(&error), "byte {at}: {error:?}");
                reported += 1;
                continue;
            }
            None => {
                panicked += 1;
                continue;
            }
        };
        match engine.verify() {
            Ok(()) => assert!(is_whole(&engine), "byte {at}: served and not reported"),
            Err(error) => {
                assert!(is_damage(&error), "byte {at}: {error:?}");
                reported += 1;
            }
        }
        panics(|| drop(engine));
    }
    assert!(reported > 60, "{reported} reported");
    assert!(panicked < 10, "{panicked} panics at open");
}

#[test]
fn damage_under_an_open_engine_is_reported_where_a_reopen_would_lose_something() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    (0..ENTRIES).for_each(|index| put(&engine, index));
    let file = file_in(dir.path());
    let sound = fs::read(&file).unwrap();
    let killed = tempfile::tempdir().unwrap();
    drop(open(killed.path()).unwrap());
    let mut places = Places { state: 2 };
    let mut reported = 0;
    for round in 0..200 {
        let mut bytes = sound.clone();
        // The header is where damage makes redb go back to the commit before the newest.
        let (at, mask) = places.next(if round < 100 { 320 } else { sound.len() });
        bytes[at] ^= mask;
        fs::write(&file, &bytes).unwrap();
        let verified = engine.verify();
        fs::write(file_in(killed.path()), &bytes).unwrap();
        let whole = panics(|| is_whole(&open(killed.path()).unwrap()));
        match verified {
            Ok(()) => assert_eq!(whole, Some(true), "byte {at}"),
            Err(error) => {
                assert!(is_damage(&error), "byte {at}: {error:?}");
                reported += 1;
            }
        }
    }
    assert!(reported > 30, "{reported} reported");
    fs::write(&file, &sound).unwrap();
    engine.verify().unwrap();
    assert!(is_whole(&engine));
}

#[test]
fn a_file_that_is_gone_empty_cut_short_or_foreign_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let file = file_in(dir.path());
    let sound = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(is_damage(&refused), "{refused:?}");
    assert!(!file.exists());
    let mut foreign = sound.clone();
    foreign[..9].copy_from_slice(b"SQLite fo");
    let (some, half) = (&sound[..100], &sound[..sound.len() / 2]);
    for bytes in [&[][..], b"red", some, half, &foreign] {
        fs::write(&file, bytes).unwrap();
        let refused = open(dir.path()).unwrap_err();
        assert!(is_damage(&refused), "{} bytes: {refused:?}", bytes.len());
    }
    fs::write(&file, &sound).unwrap();
    assert!(is_whole(&open(dir.path()).unwrap()));
}
