//! What is particular to redb as an engine: pieces, tables, the file and its states.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::borrow::Cow;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use kvlogdb_engine_api::{
    Durability, Error, KvLogDb, LogKey, LogName, MAX_VALUE_BYTES, MetaKey, Order, ReplicaId,
    Result, StoreDir, StoreOptions, WriteBatch,
};
use kvlogdb_engine_redb::{RedbEngine, RedbOptions, Repair};
use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition, TableHandle};

const PIECE_BYTES: usize = 1332;

fn options() -> RedbOptions {
    let mut options = RedbOptions::default();
    options.store.lock_wait = Duration::ZERO;
    options
}

fn open(dir: &Path) -> Result<RedbEngine> {
    RedbEngine::open(dir, &options())
}

fn log(group: u64, incarnation: u32) -> LogName {
    LogName { replica: ReplicaId::from(group), incarnation }
}

fn write(engine: &RedbEngine, fill: impl FnOnce(&mut WriteBatch)) {
    let mut batch = WriteBatch::new();
    fill(&mut batch);
    engine.write(&[&batch], Durability::Synced).unwrap();
}

fn put(engine: &RedbEngine, key: LogKey, value: &[u8]) {
    write(engine, |batch| batch.put_entry(key, &[value]).unwrap());
}

/// Bytes that differ at every place and from seed to seed.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(step).take(len).collect()
}

fn scan(engine: &RedbEngine, log: LogName, order: Order) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visitor = |index, value: Cow<'_, [u8]>| {
        found.push((index, value.into_owned()));
        ControlFlow::Continue(())
    };
    engine.scan(log, 0..=u64::MAX, order, usize::MAX, &mut visitor).unwrap();
    found
}

fn logs(engine: &RedbEngine) -> Vec<LogName> {
    let mut found = Vec::new();
    engine
        .logs(&mut |log| {
            found.push(log);
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

/// What is in redb's file once the engine is closed: each table with its number of keys.
fn tables(dir: &Path) -> Vec<(String, u64)> {
    let database = redb::Database::open(dir.join("engine/log.redb")).unwrap();
    let view = database.begin_read().unwrap();
    let count = |name: &str| {
        let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
        view.open_table(definition).unwrap().len().unwrap()
    };
    let tables = view.list_tables().unwrap();
    tables.map(|table| (table.name().to_owned(), count(table.name()))).collect()
}

#[test]
fn values_of_every_size_come_back_in_both_directions_and_after_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let sizes = [
        0,
        1,
        PIECE_BYTES - 1,
        PIECE_BYTES,
        PIECE_BYTES + 1,
        2 * PIECE_BYTES,
        64 << 10,
        MAX_VALUE_BYTES,
    ];
    let log = log(u64::MAX, u32::MAX);
    let mut expected = Vec::new();
    for (index, size) in (u64::MAX - 7..=u64::MAX).zip(sizes) {
        put(&engine, log.at(index), &bytes(size, index));
        expected.push((index, bytes(size, index)));
    }
    let check = |engine: &RedbEngine| {
        assert!(scan(engine, log, Order::Ascending) == expected);
        let mut backwards = scan(engine, log, Order::Descending);
        backwards.reverse();
        assert!(backwards == expected);
        for (index, value) in &expected {
            assert!(engine.entry(log.at(*index)).unwrap().unwrap() == value);
        }
    };
    check(&engine);
    engine.verify().unwrap();
    drop(engine);
    check(&open(dir.path()).unwrap());
}

#[test]
fn a_value_overwritten_by_a_shorter_one_leaves_no_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let (log, meta) = (log(1, 0), MetaKey::store(300));
    for size in [64 << 10, 3 * PIECE_BYTES, PIECE_BYTES, PIECE_BYTES - 1, 0] {
        let value = bytes(size, 1);
        write(&engine, |batch| {
            batch.put_entry(log.at(1), &[b"before"]).unwrap();
            batch.put_entry(log.at(2), &[&value]).unwrap();
            batch.put_entry(log.at(3), &[b"behind"]).unwrap();
            batch.put_meta(meta, &[&value]).unwrap();
        });
        let expected = [(1, b"before".to_vec()), (2, value.clone()), (3, b"behind".to_vec())];
        assert!(scan(&engine, log, Order::Ascending) == expected);
        assert!(scan(&engine, log, Order::Descending).iter().rev().eq(&expected));
        assert!(engine.meta(meta).unwrap().unwrap() == value);
    }
    drop(engine);
    let keys: Vec<_> = tables(dir.path()).into_iter().map(|(_, keys)| keys).collect();
    assert_eq!(keys, [1, 3]);
}

#[test]
fn removing_large_values_removes_their_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let log = log(1, 0);
    write(&engine, |batch| {
        for index in 1..=3 {
            batch.put_entry(log.at(index), &[&bytes(20_000, index)]).unwrap();
        }
        batch.put_meta(MetaKey::store(300), &[&bytes(20_000, 4)]).unwrap();
        batch.put_meta(MetaKey::store(301), &[b"kept"]).unwrap();
    });
    write(&engine, |batch| {
        batch.remove_entries(log, 2, 2);
        batch.remove_entries(log, 3, 1);
        batch.remove_meta(MetaKey::store(300));
    });
    let left: Vec<u64> = scan(&engine, log, Order::Ascending).iter().map(|entry| entry.0).collect();
    assert_eq!(left, [1, 3]);
    assert_eq!(engine.meta(MetaKey::store(300)).unwrap(), None);
    drop(engine);
    let pieces_each = 20_000 / PIECE_BYTES as u64 + 1;
    let keys: Vec<_> = tables(dir.path()).into_iter().map(|(_, keys)| keys).collect();
    assert_eq!(keys, [1, 2 * pieces_each]);
}

#[test]
fn removals_with_the_widest_bounds_leave_neighbours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let edges = [0, 1, u64::MAX - 1, u64::MAX];
    let mut names = Vec::new();
    for group in edges {
        for incarnation in [0, 1, u32::MAX] {
            names.push(log(group, incarnation));
        }
    }
    write(&engine, |batch| {
        for &name in &names {
            for index in edges {
                batch.put_entry(name.at(index), &[&index.to_be_bytes()]).unwrap();
            }
            batch.put_meta(MetaKey::replica(name.replica, u16::MAX), &[b"meta"]).unwrap();
        }
    });
    assert_eq!(logs(&engine), names);
    while let Some(name) = names.pop() {
        write(&engine, |batch| batch.remove_entries(name, 1, u64::MAX));
        assert_eq!(scan(&engine, name, Order::Ascending).len(), 1);
        write(&engine, |batch| batch.remove_log(name));
        assert_eq!(logs(&engine), names);
        for &other in &names {
            assert_eq!(scan(&engine, other, Order::Ascending).len(), edges.len());
        }
    }
    for group in edges {
        let meta = MetaKey::replica(group.into(), u16::MAX);
        assert!(engine.meta(meta).unwrap().is_some());
    }
}

#[test]
fn a_log_without_entries_has_no_table() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    put(&engine, log(1, 0).at(1), b"value");
    put(&engine, log(2, 0).at(1), b"value");
    put(&engine, log(2, 1).at(1), b"value");
    write(&engine, |batch| {
        batch.remove_log(log(1, 0));
        batch.remove_log(log(2, 0));
        batch.remove_log(log(3, 0));
        batch.put_entry(log(4, 0).at(1), &[b"gone with the next"]).unwrap();
        batch.remove_entries(log(4, 0), 0, u64::MAX);
    });
    assert_eq!(logs(&engine), [log(2, 1)]);
    drop(engine);
    let name = "replog/0000000000000002/0000000000000000";
    assert_eq!(tables(dir.path()), [("meta".to_owned(), 0), (name.to_owned(), 1)]);
}

#[test]
fn batches_of_one_write_apply_in_order_across_replicas() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let (mut first, mut second) = (WriteBatch::new(), WriteBatch::new());
    for index in 0..100 {
        first.put_entry(log(index % 7, 0).at(index), &[b"first"]).unwrap();
    }
    for group in 0..7 {
        second.remove_entries(log(group, 0), 10, u64::MAX);
        second.put_entry(log(group, 0).at(50), &[b"second"]).unwrap();
    }
    engine.write(&[&first, &second], Durability::Synced).unwrap();
    for group in 0..7 {
        let found = scan(&engine, log(group, 0), Order::Ascending);
        let below_ten = (0..10).filter(|index| index % 7 == group).count();
        assert_eq!(found.len(), below_ten + 1);
        assert_eq!(found.last(), Some(&(50, b"second".to_vec())));
    }
}

#[test]
fn reclaim_shrinks_the_file_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    write(&engine, |batch| {
        for index in 0..20_000 {
            batch.put_entry(log(1, 0).at(index), &[&bytes(1000, index)]).unwrap();
        }
    });
    write(&engine, |batch| batch.remove_entries(log(1, 0), 0, 19_899));
    let mut buffered = WriteBatch::new();
    buffered.put_meta(MetaKey::store(1), &[b"buffered"]).unwrap();
    engine.write(&[&buffered], Durability::Buffered).unwrap();
    let before = engine.disk_bytes().unwrap();
    engine.reclaim().unwrap();
    let after = engine.disk_bytes().unwrap();
    assert!(after * 5 < before, "{before} to {after}");
    assert_eq!(scan(&engine, log(1, 0), Order::Ascending).len(), 100);
    assert!(engine.meta(MetaKey::store(1)).unwrap().is_some());
    engine.verify().unwrap();
    drop(engine);
    let engine = open(dir.path()).unwrap();
    assert_eq!(scan(&engine, log(1, 0), Order::Ascending).len(), 100);
    assert!(engine.meta(MetaKey::store(1)).unwrap().is_some());
}

#[test]
fn verify_passes_a_sound_store_and_leaves_its_file_as_it_is() {
    for repair in [Repair::Full, Repair::Quick] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options();
        options.repair = repair;
        let engine = RedbEngine::open(dir.path(), &options).unwrap();
        engine.verify().unwrap();
        for index in 0..500 {
            put(&engine, log(index % 3, 0).at(index), &bytes(3000, index));
        }
        let file = dir.path().join("engine/log.redb");
        let before = fs::read(&file).unwrap();
        engine.verify().unwrap();
        assert!(fs::read(&file).unwrap() == before);
        put(&engine, log(1, 0).at(1000), b"goes on");
        drop(engine);
        let engine = RedbEngine::open(dir.path(), &options).unwrap();
        engine.verify().unwrap();
        assert_eq!(scan(&engine, log(1, 0), Order::Ascending).len(), 168);
    }
}

#[test]
fn once_closed_everything_answers_closed_and_the_store_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    put(&engine, log(1, 0).at(1), b"value");
    engine.close().unwrap();
    engine.close().unwrap();
    let reopened = open(dir.path()).unwrap();
    assert_eq!(logs(&reopened), [log(1, 0)]);
    let mut entries = |_, _: Cow<'_, [u8]>| ControlFlow::Continue(());
    let closed = [
        engine.entry(log(1, 0).at(1)).map(drop),
        engine.meta(MetaKey::store(0)).map(drop),
        engine.scan(log(1, 0), 0..=1, Order::Ascending, 1, &mut entries),
        engine.scan_meta(&mut |_, _| ControlFlow::Continue(())),
        engine.logs(&mut |_| ControlFlow::Continue(())),
        engine.write(&[], Durability::Buffered),
        engine.sync(),
        engine.disk_bytes().map(drop),
        engine.reclaim(),
        engine.verify(),
    ];
    for (call, answer) in closed.iter().enumerate() {
        assert!(matches!(answer, Err(Error::Closed)), "call {call}: {answer:?}");
    }
    assert_eq!(engine.info().name, "redb");
}

#[test]
fn a_store_in_use_is_refused_also_where_redb_alone_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let second = open(dir.path()).unwrap_err();
    assert!(matches!(second, Error::AlreadyOpen { .. }), "{second:?}");
    drop(engine);
    let held = redb::Database::open(dir.path().join("engine/log.redb")).unwrap();
    let second = open(dir.path()).unwrap_err();
    assert!(matches!(second, Error::AlreadyOpen { .. }), "{second:?}");
    drop(held);
    open(dir.path()).unwrap();
}

#[test]
fn a_creation_cut_short_at_any_step_is_made_good() {
    let whole = tempfile::tempdir().unwrap();
    drop(open(whole.path()).unwrap());
    let file = fs::read(whole.path().join("engine/log.redb")).unwrap();
    for place in ["engine.tmp", "engine"] {
        for len in [None, Some(0), Some(1), Some(4096), Some(file.len() / 2), Some(file.len())] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join(place)).unwrap();
            if let Some(len) = len {
                fs::write(dir.path().join(place).join("log.redb"), &file[..len]).unwrap();
            }
            fs::write(dir.path().join("MANIFEST.tmp"), b"kvlogdb man").unwrap();
            put(&open(dir.path()).unwrap(), log(1, 0).at(1), b"value");
            assert_eq!(logs(&open(dir.path()).unwrap()), [log(1, 0)]);
        }
    }
}

#[test]
fn stores_of_others_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = StoreDir::open(dir.path(), "fjall", 1, &StoreOptions::default(), |_| Ok(()));
    drop(store.unwrap());
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, Error::WrongEngine { .. }), "{refused:?}");

    let dir = tempfile::tempdir().unwrap();
    let store = StoreDir::open(dir.path(), "redb", 99, &StoreOptions::default(), |_| Ok(()));
    drop(store.unwrap());
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, Error::Format { .. }), "{refused:?}");

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log.redb"), b"mine").unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, Error::NotAStore { .. }), "{refused:?}");

    let mut too_long = options();
    too_long.store.identity = Some(vec![0; 65]);
    let dir = tempfile::tempdir().unwrap();
    let refused = RedbEngine::open(dir.path(), &too_long).unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused:?}");
}

#[test]
fn the_version_is_that_of_the_redb_in_the_tree() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let version = open(dir.path()).unwrap().info().version;
    let package = format!("name = \"redb\"\nversion = \"{version}\"\n");
    assert!(lock.contains(&package), "{package}");
}
