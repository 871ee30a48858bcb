//! What holds for this engine beyond the shared suite: its layout on the disk, values in pieces,
//! and what its tables and its journal do to what was written.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that fails is a test that fails"
)]

use std::borrow::Cow;
use std::fs;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use kvlogdb_engine_api::{
    BufferedIn, Durability, Error, KvLogDb, LogName, MAX_VALUE_BYTES, MemoryEngine, MetaKey, Order,
    RangeRemoval, Reclaim, ReplicaId, WriteBatch,
};
use kvlogdb_engine_fjall::{FjallEngine, FjallOptions};

/// The piece size of layout 1.
const PIECE: usize = 4000;

const LOG: LogName = LogName { replica: ReplicaId { group: 7, node: 1 }, incarnation: 3 };

/// Small memtables, so that a test reaches tables and merges.
fn small() -> FjallOptions {
    let mut options = FjallOptions::default();
    options.log_memtable_bytes = 32 << 10;
    options
}

fn open(dir: &Path) -> FjallEngine {
    FjallEngine::open(dir, &small()).unwrap()
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(len).collect()
}

fn batch(fill: impl FnOnce(&mut WriteBatch)) -> WriteBatch {
    let mut batch = WriteBatch::new();
    fill(&mut batch);
    batch
}

fn put(engine: &dyn KvLogDb, index: u64, value: &[u8]) {
    let batch = batch(|batch| batch.put_entry(LOG.at(index), &[value]).unwrap());
    engine.write(&[&batch], Durability::Synced).unwrap();
}

fn scan(
    engine: &dyn KvLogDb,
    log: LogName,
    range: RangeInclusive<u64>,
    order: Order,
) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visitor = |index, value: Cow<'_, [u8]>| {
        found.push((index, value.into_owned()));
        ControlFlow::Continue(())
    };
    engine.scan(log, range, order, usize::MAX, &mut visitor).unwrap();
    found
}

fn all(engine: &dyn KvLogDb, log: LogName) -> Vec<(u64, Vec<u8>)> {
    let found = scan(engine, log, 0..=u64::MAX, Order::Ascending);
    let mut reverse = scan(engine, log, 0..=u64::MAX, Order::Descending);
    reverse.reverse();
    assert_eq!(found, reverse, "both directions find the same");
    found
}

fn indexes(engine: &dyn KvLogDb, log: LogName) -> Vec<u64> {
    all(engine, log).into_iter().map(|(index, _)| index).collect()
}

fn metadata(engine: &dyn KvLogDb) -> Vec<(MetaKey, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visitor = |key, value: Cow<'_, [u8]>| {
        found.push((key, value.into_owned()));
        ControlFlow::Continue(())
    };
    engine.scan_meta(&mut visitor).unwrap();
    found
}

fn logs(engine: &dyn KvLogDb) -> Vec<LogName> {
    let mut found = Vec::new();
    let mut visitor = |log| {
        found.push(log);
        ControlFlow::Continue(())
    };
    engine.logs(&mut visitor).unwrap();
    found
}

#[test]
fn the_engine_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let info = engine.info();
    assert_eq!((info.name, info.layout), ("fjall", 1));
    assert_eq!(info.buffered_in, BufferedIn::Kernel);
    assert_eq!(info.range_removal, RangeRemoval::Tombstones);
    assert_eq!(info.reclaim, Reclaim::Concurrent);
    engine.close().unwrap();
    assert_eq!(engine.info(), info);
}

#[test]
fn the_version_it_names_is_the_one_it_is_built_with() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    let (_, package) = lock.split_once("name = \"fjall\"\nversion = \"").unwrap();
    let (version, _) = package.split_once('"').unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).info().version, version);
}

#[test]
fn values_of_every_size_come_back_before_and_after_reopen() {
    let sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 64 << 10, 16 << 20, MAX_VALUE_BYTES];
    let dir = tempfile::tempdir().unwrap();
    let mut engine = open(dir.path());
    let key = |at: usize| MetaKey::replica(LOG.replica, u16::try_from(at).unwrap());
    for (at, &size) in sizes.iter().enumerate() {
        let value = bytes(at as u64, size);
        let batch = batch(|batch| {
            batch.put_entry(LOG.at(at as u64), &[&value]).unwrap();
            batch.put_meta(key(at), &[&value]).unwrap();
        });
        engine.write(&[&batch], Durability::Synced).unwrap();
    }
    for _ in 0..2 {
        let found = all(&engine, LOG);
        assert_eq!(found.len(), sizes.len());
        for (at, &size) in sizes.iter().enumerate() {
            let value = bytes(at as u64, size);
            assert!(found[at] == (at as u64, value.clone()), "scan of {size}");
            assert!(engine.entry(LOG.at(at as u64)).unwrap().unwrap() == value);
            assert!(engine.meta(key(at)).unwrap().unwrap() == value);
        }
        assert_eq!(metadata(&engine).len(), sizes.len());
        engine.verify().unwrap();
        engine.close().unwrap();
        engine = open(dir.path());
    }
}

#[test]
fn pieces_of_an_overwritten_value_are_never_seen_and_go_with_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for index in [1, 2, 3] {
        put(&engine, index, &bytes(index, 5 * PIECE + 7));
    }
    for len in [2 * PIECE, PIECE, 3, 0] {
        put(&engine, 2, &bytes(9, len));
        let found = all(&engine, LOG);
        assert_eq!(found.len(), 3);
        assert!(found[1] == (2, bytes(9, len)), "after {len}");
        assert!(engine.entry(LOG.at(2)).unwrap().unwrap() == bytes(9, len));
        engine.verify().unwrap();
    }
    let removal = batch(|batch| batch.remove_entries(LOG, 2, 2));
    engine.write(&[&removal], Durability::Synced).unwrap();
    assert_eq!(indexes(&engine, LOG), [1, 3]);
    put(&engine, 2, &bytes(2, PIECE));
    assert!(engine.entry(LOG.at(2)).unwrap().unwrap() == bytes(2, PIECE));
}

#[test]
fn a_removal_covers_what_its_own_call_put_before_and_nothing_after() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    put(&engine, 5, b"old");
    let first = batch(|batch| {
        batch.put_entry(LOG.at(6), &[&bytes(1, 3 * PIECE)]).unwrap();
        batch.put_entry(LOG.at(4), &[b"kept"]).unwrap();
        batch.put_meta(MetaKey::store(1), &[&bytes(1, 3 * PIECE)]).unwrap();
    });
    let second = batch(|batch| {
        batch.put_entry(LOG.at(u64::MAX), &[b"gone"]).unwrap();
        batch.remove_entries(LOG, 5, u64::MAX);
        batch.put_entry(LOG.at(5), &[b"new"]).unwrap();
        batch.put_meta(MetaKey::store(1), &[b"short"]).unwrap();
        batch.put_meta(MetaKey::store(2), &[b"gone"]).unwrap();
        batch.remove_meta(MetaKey::store(2));
    });
    engine.write(&[&first, &second], Durability::Synced).unwrap();
    let expected = [(4, b"kept".to_vec()), (5, b"new".to_vec())];
    assert_eq!(all(&engine, LOG), expected);
    assert_eq!(metadata(&engine), [(MetaKey::store(1), b"short".to_vec())]);
    engine.reclaim().unwrap();
    assert_eq!(all(&engine, LOG), expected);
    engine.close().unwrap();
    let engine = open(dir.path());
    assert_eq!(all(&engine, LOG), expected);
    engine.verify().unwrap();
}

#[test]
fn removals_with_the_largest_bounds_leave_the_neighbours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let log =
        |group, node, incarnation| LogName { replica: ReplicaId { group, node }, incarnation };
    let names =
        [log(0, 0, 0), log(u64::MAX, u64::MAX, u32::MAX - 1), log(u64::MAX, u64::MAX, u32::MAX)];
    let fill = batch(|batch| {
        for name in names {
            for index in [0, 1, u64::MAX - 1, u64::MAX] {
                batch.put_entry(name.at(index), &[&bytes(index, PIECE + 1)]).unwrap();
            }
        }
    });
    engine.write(&[&fill], Durability::Synced).unwrap();
    assert_eq!(logs(&engine), names);
    let removal = batch(|batch| {
        batch.remove_entries(names[1], 1, u64::MAX - 1);
        batch.remove_entries(names[1], 9, 3);
        batch.remove_entries(names[2], u64::MAX, u64::MAX);
    });
    engine.write(&[&removal], Durability::Synced).unwrap();
    assert_eq!(indexes(&engine, names[0]), [0, 1, u64::MAX - 1, u64::MAX]);
    assert_eq!(indexes(&engine, names[1]), [0, u64::MAX]);
    assert_eq!(indexes(&engine, names[2]), [0, 1, u64::MAX - 1]);
    let removal = batch(|batch| batch.remove_log(names[1]));
    engine.write(&[&removal], Durability::Synced).unwrap();
    assert_eq!(logs(&engine), [names[0], names[2]]);
    assert_eq!(indexes(&engine, names[2]), [0, 1, u64::MAX - 1]);
    engine.verify().unwrap();
}

#[test]
fn a_shorter_value_leaves_no_piece_of_longer_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let key = MetaKey::store(300);
    let set = |value: &[u8]| {
        let batch = batch(|batch| batch.put_meta(key, &[value]).unwrap());
        engine.write(&[&batch], Durability::Synced).unwrap();
    };
    set(&bytes(1, 200 * PIECE));
    engine.reclaim().unwrap();
    let large = engine.disk_bytes().unwrap();
    set(b"short");
    engine.reclaim().unwrap();
    assert_eq!(engine.meta(key).unwrap().as_deref(), Some(&b"short"[..]));
    let small = engine.disk_bytes().unwrap();
    assert!(small + (100 * PIECE as u64) < large, "{large} fell to {small}");
}

#[test]
fn reclaim_gives_the_space_of_removed_entries_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = FjallEngine::open(dir.path(), &FjallOptions::default()).unwrap();
    let value = bytes(1, 60 << 10);
    for index in 0..400 {
        let batch = batch(|batch| batch.put_entry(LOG.at(index), &[&value]).unwrap());
        engine.write(&[&batch], Durability::Buffered).unwrap();
    }
    engine.reclaim().unwrap();
    let full = engine.disk_bytes().unwrap();
    let removal = batch(|batch| batch.remove_entries(LOG, 0, 398));
    engine.write(&[&removal], Durability::Synced).unwrap();
    engine.reclaim().unwrap();
    let rest = engine.disk_bytes().unwrap();
    assert!(rest + (20 << 20) < full, "{full} fell to {rest}");
    assert_eq!(all(&engine, LOG), [(399, value)]);
}

/// Random writes against the reference, with tables of a few KiB, merges and reopens in between.
#[test]
fn the_store_equals_the_reference_through_flushes_merges_and_replays() {
    let dir = tempfile::tempdir().unwrap();
    let model = MemoryEngine::new();
    let mut engine = open(dir.path());
    let mut random = bytes(0x5eed, 1 << 20).into_iter();
    let mut next = |bound: u64| {
        let byte = u64::from(random.next().unwrap()) << 8 | u64::from(random.next().unwrap());
        byte % bound
    };
    let other = LogName { incarnation: 4, ..LOG };
    for round in 0..1500_u64 {
        let batches: Vec<_> = (0..=next(3))
            .map(|_| {
                batch(|batch| {
                    for _ in 0..next(6) {
                        let log = if next(4) == 0 { other } else { LOG };
                        let index = next(40);
                        let sizes = [0, 20, 300, PIECE as u64, 3 * PIECE as u64 + 1];
                        let len = usize::try_from(sizes[usize::try_from(next(5)).unwrap()]);
                        let value = bytes(round, len.unwrap());
                        let key = MetaKey::replica(log.replica, u16::try_from(index % 5).unwrap());
                        match next(12) {
                            0..6 => batch.put_entry(log.at(index), &[&value]).unwrap(),
                            6 | 7 => batch.remove_entries(log, index, index + next(30)),
                            8 if next(5) == 0 => batch.remove_log(log),
                            9 => batch.remove_meta(key),
                            _ => batch.put_meta(key, &[&value]).unwrap(),
                        }
                    }
                })
            })
            .collect();
        let batches: Vec<_> = batches.iter().collect();
        let durability = [Durability::Buffered, Durability::Synced][usize::from(next(8) == 0)];
        engine.write(&batches, durability).unwrap();
        model.write(&batches, durability).unwrap();
        match next(100) {
            0 => engine.reclaim().unwrap(),
            1 => {
                engine.close().unwrap();
                engine = open(dir.path());
            }
            _ => {}
        }
        if round % 20 == 0 || round > 1490 {
            for log in [LOG, other] {
                assert!(all(&engine, log) == all(&model, log), "round {round}");
            }
            assert!(metadata(&engine) == metadata(&model), "round {round}");
            assert_eq!(logs(&engine), logs(&model), "round {round}");
        }
    }
    engine.verify().unwrap();
}

/// Flushes run beside the writes, and none of them may show a batch that is not applied yet.
#[test]
fn a_read_beside_writes_sees_every_batch_whole() {
    const ENTRIES: u64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let write = |round: u64| {
        let batch = batch(|batch| {
            for index in 0..ENTRIES {
                batch.put_entry(LOG.at(index), &[&round.to_le_bytes()]).unwrap();
            }
        });
        engine.write(&[&batch], Durability::Synced).unwrap();
    };
    write(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..400).for_each(write);
            done.store(true, Relaxed);
        });
        let mut last = Vec::new();
        while !done.load(Relaxed) {
            for order in [Order::Ascending, Order::Descending] {
                let found = scan(&engine, LOG, 0..=u64::MAX, order);
                assert_eq!(found.len() as u64, ENTRIES);
                let (_, first) = &found[0];
                assert!(found.iter().all(|(_, value)| value == first), "half a batch");
                let round = first.iter().rev().copied().collect();
                assert!(last <= round, "a later read sees an earlier state");
                last = round;
            }
        }
    });
}

#[test]
fn a_scan_ends_behind_the_entry_that_reaches_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for index in 0..4 {
        put(&engine, index, &bytes(index, 100));
    }
    for (budget, visited) in [(0, 1), (1, 1), (100, 1), (101, 2), (300, 3), (1000, 4)] {
        for order in [Order::Ascending, Order::Descending] {
            let mut count = 0;
            let mut visitor = |_, _: Cow<'_, [u8]>| {
                count += 1;
                ControlFlow::Continue(())
            };
            engine.scan(LOG, 0..=9, order, budget, &mut visitor).unwrap();
            assert_eq!(count, visited, "{budget} bytes");
        }
    }
}

#[test]
fn a_closed_engine_says_so_and_lets_the_next_one_in_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let buffered = batch(|batch| batch.put_entry(LOG.at(1), &[b"x"]).unwrap());
    engine.write(&[&buffered], Durability::Buffered).unwrap();
    let mut options = small();
    options.store.lock_wait = std::time::Duration::ZERO;
    let second = FjallEngine::open(dir.path(), &options);
    assert!(matches!(second, Err(Error::AlreadyOpen { .. })));
    engine.close().unwrap();
    engine.close().unwrap();
    let next = FjallEngine::open(dir.path(), &options).unwrap();
    assert_eq!(indexes(&next, LOG), [1]);
    let closed = [
        engine.write(&[], Durability::Synced),
        engine.write(&[&buffered], Durability::Buffered),
        engine.sync(),
        engine.reclaim(),
        engine.verify(),
        engine.entry(LOG.at(1)).map(drop),
        engine.meta(MetaKey::store(1)).map(drop),
        engine.disk_bytes().map(drop),
        engine.logs(&mut |_| ControlFlow::Continue(())),
        engine.scan_meta(&mut |_, _| ControlFlow::Continue(())),
        engine.scan(LOG, 0..=9, Order::Ascending, 1, &mut |_, _| ControlFlow::Continue(())),
    ];
    for answer in closed {
        assert!(matches!(answer, Err(Error::Closed)), "{answer:?}");
    }
    drop(next);
    open(dir.path());
}

#[test]
fn fjalls_own_lock_is_already_open() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let lock = fs::File::open(dir.path().join("engine/lock")).unwrap();
    lock.lock().unwrap();
    let refused = FjallEngine::open(dir.path(), &small());
    assert!(matches!(refused, Err(Error::AlreadyOpen { .. })), "{refused:?}");
    drop(lock);
    open(dir.path());
}

#[test]
fn the_memtable_size_stays_what_the_store_was_made_with() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().unwrap();
    let engine = FjallEngine::open(dir.path(), &FjallOptions::default()).unwrap();
    let tables = dir.path().join("engine/keyspaces/1/tables");
    let mut index = 0;
    while fs::read_dir(&tables).unwrap().next().is_none() {
        put(&engine, index, &bytes(index, 3000));
        index += 1;
        assert!(index < 2000, "no table after 6 MB, but memtables of 32 KiB were asked for");
    }
}

#[test]
fn a_memtable_too_small_to_work_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mut options = FjallOptions::default();
    options.log_memtable_bytes = 1;
    let refused = FjallEngine::open(&root, &options);
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    assert!(!root.exists());
}
