//! What a store in sled keeps, refuses and survives, seen from outside.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::borrow::Cow;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kvlogdb_engine_api::{
    Durability, Error, KvLogDb, LogName, MAX_PAYLOAD_BYTES, MetaKey, Order, ReplicaId, Result,
    StoreDir, StoreOptions, WriteBatch,
};
use kvlogdb_engine_sled::{SledEngine, SledOptions};

const PIECE_BYTES: usize = 64 << 10;

fn open(dir: &Path) -> Result<SledEngine> {
    let mut options = SledOptions::default();
    options.store.lock_wait = Duration::from_millis(500);
    SledEngine::open(dir, &options)
}

fn log(group: u64) -> LogName {
    LogName { replica: ReplicaId::from(group), incarnation: 0 }
}

fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

fn put(engine: &SledEngine, log: LogName, index: u64, value: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put_entry(log.at(index), &[value]).unwrap();
    engine.write(&[&batch], Durability::Synced).unwrap();
}

/// Every entry of a log in the order of the scan.
fn entries(engine: &SledEngine, log: LogName, order: Order) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visitor = |index, value: Cow<'_, [u8]>| {
        found.push((index, value.into_owned()));
        ControlFlow::Continue(())
    };
    engine.scan(log, 0..=u64::MAX, order, usize::MAX, &mut visitor).unwrap();
    found
}

fn blobs(dir: &Path) -> usize {
    fs::read_dir(dir.join("engine/blobs")).unwrap().count()
}

#[test]
fn a_reopened_store_has_everything_and_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let meta = MetaKey::replica(ReplicaId::from(u64::MAX), u16::MAX);
    let engine = open(dir.path()).unwrap();
    for group in [0, 1, u64::MAX] {
        for index in [0, 1, u64::MAX] {
            put(&engine, log(group), index, &value(group ^ index, 100));
        }
    }
    let mut batch = WriteBatch::new();
    batch.put_meta(meta, &[b"slot"]).unwrap();
    engine.write(&[&batch], Durability::Buffered).unwrap();
    engine.close().unwrap();
    let engine = open(dir.path()).unwrap();
    for group in [0, 1, u64::MAX] {
        let kept = entries(&engine, log(group), Order::Ascending);
        let expected = [0, 1, u64::MAX].map(|index| (index, value(group ^ index, 100)));
        assert_eq!(kept, expected);
    }
    assert_eq!(engine.meta(meta).unwrap().as_deref(), Some(&b"slot"[..]));
    assert_eq!((engine.info().name, engine.info().layout), ("sled", 1));
}

#[test]
fn values_of_every_size_come_back_in_both_directions_and_never_become_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let sizes =
        [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, MAX_PAYLOAD_BYTES];
    let expected: Vec<_> = (0..).zip(sizes.map(|len| value(9, len))).collect();
    for (index, value) in &expected {
        put(&engine, log(1), *index, value);
    }
    let mut batch = WriteBatch::new();
    batch.put_meta(MetaKey::store(300), &[&value(8, MAX_PAYLOAD_BYTES)]).unwrap();
    engine.write(&[&batch], Durability::Synced).unwrap();
    let check = |engine: &SledEngine| {
        let mut found = entries(engine, log(1), Order::Ascending);
        assert!(found == expected);
        found.reverse();
        assert!(found == entries(engine, log(1), Order::Descending));
        for (index, value) in &expected {
            assert!(engine.entry(log(1).at(*index)).unwrap().unwrap() == value[..]);
        }
        let meta = engine.meta(MetaKey::store(300)).unwrap();
        assert!(meta.unwrap() == value(8, MAX_PAYLOAD_BYTES)[..]);
        engine.verify().unwrap();
    };
    check(&engine);
    drop(engine);
    check(&open(dir.path()).unwrap());
    assert_eq!(blobs(dir.path()), 0);
}

#[test]
fn many_values_of_one_piece_in_one_write_never_become_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let value = value(3, PIECE_BYTES);
    for round in 0..3 {
        let mut batch = WriteBatch::new();
        for index in 0..300 {
            batch.put_entry(log(1).at(index * 3 + round), &[&value]).unwrap();
        }
        batch.remove_entries(log(1), round * 300, round * 300 + 60);
        engine.write(&[&batch], Durability::Synced).unwrap();
        assert_eq!(blobs(dir.path()), 0);
    }
}

#[test]
fn a_large_value_overwritten_by_a_shorter_one_is_the_shorter_one() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    for len in [5 * PIECE_BYTES, 2 * PIECE_BYTES, PIECE_BYTES, 3, 0] {
        put(&engine, log(1), 5, &value(len as u64, len));
        let expected = vec![(5, value(len as u64, len))];
        assert!(entries(&engine, log(1), Order::Ascending) == expected);
        assert!(entries(&engine, log(1), Order::Descending) == expected);
    }
    let mut batch = WriteBatch::new();
    batch.remove_entries(log(1), 5, 5);
    engine.write(&[&batch], Durability::Synced).unwrap();
    put(&engine, log(1), 4, b"neighbour");
    assert_eq!(entries(&engine, log(1), Order::Ascending).len(), 1);
}

#[test]
fn a_snapshot_that_was_being_written_does_not_stop_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path()).unwrap(), log(1), 1, b"kept");
    let half = dir.path().join("engine/snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&half, b"half").unwrap();
    let engine = open(dir.path()).unwrap();
    assert!(!half.exists());
    assert_eq!(engine.entry(log(1).at(1)).unwrap().as_deref(), Some(&b"kept"[..]));
}

#[test]
fn a_creation_cut_short_at_any_step_is_made_good() {
    let made = tempfile::tempdir().unwrap();
    drop(open(made.path()).unwrap());
    let conf = fs::read(made.path().join("engine/conf")).unwrap();
    for name in ["engine.tmp", "engine"] {
        for len in [0, 5, conf.len() - 1, conf.len()] {
            let dir = tempfile::tempdir().unwrap();
            let files = dir.path().join(name);
            fs::create_dir(&files).unwrap();
            fs::create_dir(files.join("blobs")).unwrap();
            fs::write(files.join("conf"), conf.get(..len).unwrap()).unwrap();
            fs::write(files.join("db"), vec![7; len]).unwrap();
            fs::write(files.join("snap.0000.generating"), b"").unwrap();
            put(&open(dir.path()).unwrap(), log(1), 1, b"works");
            let engine = open(dir.path()).unwrap();
            assert!(engine.entry(log(1).at(1)).unwrap().is_some());
        }
    }
}

#[test]
fn a_store_whose_log_is_lost_is_corrupt_at_every_open_and_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path()).unwrap(), log(1), 1, b"lost");
    for entry in fs::read_dir(dir.path().join("engine")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    for _ in 0..3 {
        assert!(matches!(open(dir.path()), Err(Error::Corrupt { .. })));
    }
}

#[test]
fn a_damaged_snapshot_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path()).unwrap(), log(1), 1, b"kept");
    drop(open(dir.path()).unwrap());
    let snapshot = fs::read_dir(dir.path().join("engine"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap."))
        .unwrap();
    let whole = fs::read(&snapshot).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&snapshot, damaged).unwrap();
        let refused = open(dir.path());
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{at}: {refused:?}");
    }
    fs::write(&snapshot, &whole).unwrap();
    assert!(open(dir.path()).unwrap().entry(log(1).at(1)).unwrap().is_some());
}

#[test]
fn files_of_other_settings_are_a_format_error() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let conf = dir.path().join("engine/conf");
    let mut text = fs::read(&conf).unwrap();
    let place = text.windows(7).position(|part| part == b"8388608").unwrap();
    text[place..place + 7].copy_from_slice(b"4194304");
    fs::write(&conf, text).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Format { source: Some(_), .. })));
}

#[test]
fn stores_of_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = StoreDir::open(dir.path(), "redb", 1, &StoreOptions::default(), |_| Ok(()));
    drop(other.unwrap());
    let refused = open(dir.path());
    assert!(matches!(refused, Err(Error::WrongEngine { .. })), "{refused:?}");
    let bare = tempfile::tempdir().unwrap();
    drop(sled::open(bare.path()).unwrap());
    assert!(matches!(open(bare.path()), Err(Error::NotAStore { .. })));
}

#[test]
fn a_scan_sees_every_write_whole_while_pages_split_and_merge() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [Order::Ascending, Order::Descending].map(|order| {
            let (engine, done) = (&engine, &done);
            scope.spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let found = entries(engine, log(1), order);
                    assert!(found.is_empty() || found.len() == 300, "{}", found.len());
                    assert!(found.windows(2).all(|pair| pair[0].1 == pair[1].1));
                    seen += found.len();
                }
                seen
            })
        });
        for round in 0..300_u32 {
            let mut batch = WriteBatch::new();
            batch.remove_log(log(1));
            for index in 0..300 {
                batch.put_entry(log(1).at(index), &[&round.to_be_bytes()]).unwrap();
            }
            engine.write(&[&batch], Durability::Buffered).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let seen: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(seen > 0);
    });
}

#[test]
fn the_version_it_tells_is_the_one_it_is_built_with() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let version = open(dir.path()).unwrap().info().version;
    assert!(lock.contains(&format!("name = \"sled\"\nversion = \"{version}\"\n")));
}
