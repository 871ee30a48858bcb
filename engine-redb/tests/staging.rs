//! Small writes wait in a table of their own; nobody who reads can tell.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

use std::borrow::Cow;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use kvlogdb_engine_api::{
    Durability, Error, KvLogDb, LogName, MemoryEngine, MetaKey, Order, ReplicaId, WriteBatch,
};
use kvlogdb_engine_redb::{RedbEngine, RedbOptions};
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

/// Too large to be staged, so that it settles what is.
const LARGE: usize = 130 << 10;
const STAGED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("staged");

fn open(dir: &Path) -> RedbEngine {
    RedbEngine::open(dir, &RedbOptions::default()).unwrap()
}

fn log(group: u64, incarnation: u32) -> LogName {
    LogName { replica: ReplicaId::from(group), incarnation }
}

/// The store as a kill would leave it.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("engine")).unwrap();
    for name in ["MANIFEST", "engine/log.redb"] {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

fn file(dir: &Path) -> redb::Database {
    redb::Database::open(dir.join("engine/log.redb")).unwrap()
}

fn table_names(dir: &Path) -> Vec<String> {
    let view = file(dir).begin_read().unwrap();
    view.list_tables().unwrap().map(|table| table.name().to_owned()).collect()
}

/// Steps that are the same in every run of a seed.
struct Steps(u64);

impl Steps {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % limit
    }

    fn log(&mut self) -> LogName {
        log(self.below(3), u32::from(self.below(3) == 0))
    }

    fn meta(&mut self) -> MetaKey {
        let slot = 256 + u16::from(self.below(2) == 0);
        match self.below(3) {
            0 => MetaKey::store(slot),
            group => MetaKey::replica(group.into(), slot),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.below(60) {
            0 => LARGE,
            1..5 => 5000,
            5..10 => 1332,
            _ => usize::try_from(self.below(30)).unwrap(),
        };
        vec![u8::try_from(self.below(256)).unwrap(); len]
    }

    fn batch(&mut self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for _ in 0..self.below(6) {
            let first = self.below(20);
            match self.below(12) {
                0..6 => batch.put_entry(self.log().at(first), &[&self.value()]).unwrap(),
                6..8 => batch.put_meta(self.meta(), &[&self.value()]).unwrap(),
                8 => batch.remove_meta(self.meta()),
                9 => batch.remove_entries(self.log(), first, first + self.below(6)),
                10 => batch.remove_entries(self.log(), first, u64::MAX),
                _ => batch.remove_log(self.log()),
            }
        }
        batch
    }
}

type Found = (u64, Vec<u8>);

fn scan(engine: &dyn KvLogDb, log: LogName, order: Order, budget_bytes: usize) -> Vec<Found> {
    let mut found = Vec::new();
    let mut visitor = |index, value: Cow<'_, [u8]>| {
        found.push((index, value.into_owned()));
        ControlFlow::Continue(())
    };
    engine.scan(log, 3..=u64::MAX, order, budget_bytes, &mut visitor).unwrap();
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

fn all_meta(engine: &dyn KvLogDb) -> Vec<(MetaKey, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visitor = |key, value: Cow<'_, [u8]>| {
        found.push((key, value.into_owned()));
        ControlFlow::Continue(())
    };
    engine.scan_meta(&mut visitor).unwrap();
    found
}

/// Compares all that can be read, budgets and single keys included.
fn assert_same(engine: &dyn KvLogDb, reference: &dyn KvLogDb) {
    assert_eq!(logs(engine), logs(reference));
    let (meta, expected) = (all_meta(engine), all_meta(reference));
    assert!(meta == expected);
    for (key, _) in expected {
        assert_eq!(engine.meta(key).unwrap(), reference.meta(key).unwrap());
    }
    for (group, incarnation) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
        let log = log(group, incarnation);
        for order in [Order::Ascending, Order::Descending] {
            for budget_bytes in [0, 40, 6000, usize::MAX] {
                let found = scan(engine, log, order, budget_bytes);
                assert!(found == scan(reference, log, order, budget_bytes), "{log} {order:?}");
            }
        }
        for index in 0..26 {
            let found = engine.entry(log.at(index)).unwrap();
            assert!(found == reference.entry(log.at(index)).unwrap(), "{log} {index}");
        }
    }
    for (group, slot) in [(0, 256), (0, 257), (1, 256), (1, 257), (2, 256), (2, 257)] {
        let key = MetaKey::replica(group.into(), slot);
        assert_eq!(engine.meta(key).unwrap(), reference.meta(key).unwrap());
    }
}

#[test]
fn reads_come_to_the_same_as_on_the_reference_whatever_is_staged() {
    for seed in 0..4 {
        let mut steps = Steps(seed);
        let mut dir = tempfile::tempdir().unwrap();
        let mut engine = open(dir.path());
        let reference = MemoryEngine::new();
        for step in 0..120 {
            let batches = [steps.batch(), steps.batch()];
            let refs = [&batches[0], &batches[1]];
            let durability = if step % 3 == 0 { Durability::Buffered } else { Durability::Synced };
            engine.write(&refs, durability).unwrap();
            reference.write(&refs, Durability::Synced).unwrap();
            assert_same(&engine, &reference);
            match steps.below(20) {
                0 => {
                    drop(engine);
                    engine = open(dir.path());
                }
                1 => {
                    engine.sync().unwrap();
                    let copy = killed(dir.path());
                    drop(engine);
                    dir = copy;
                    engine = open(dir.path());
                }
                2 => engine.reclaim().unwrap(),
                3 => engine.verify().unwrap(),
                _ => continue,
            }
            assert_same(&engine, &reference);
        }
    }
}

fn put_small(engine: &RedbEngine, index: u64) {
    let mut batch = WriteBatch::new();
    batch.put_entry(log(index % 5, 0).at(index), &[&index.to_be_bytes()]).unwrap();
    batch.remove_entries(log(index % 5, 0), 0, index.saturating_sub(20));
    batch.put_meta(MetaKey::store(300), &[&index.to_be_bytes()]).unwrap();
    engine.write(&[&batch], Durability::Synced).unwrap();
}

#[test]
fn what_is_staged_survives_kills_and_a_close_settles_it() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, reference) = (open(dir.path()), MemoryEngine::new());
    for index in 1..200 {
        put_small(&engine, index);
    }
    for group in 0..5 {
        let mut batch = WriteBatch::new();
        for (index, value) in scan(&engine, log(group, 0), Order::Ascending, usize::MAX) {
            batch.put_entry(log(group, 0).at(index), &[&value]).unwrap();
        }
        batch.put_meta(MetaKey::store(300), &[&199_u64.to_be_bytes()]).unwrap();
        reference.write(&[&batch], Durability::Synced).unwrap();
    }
    let first = killed(dir.path());
    assert_eq!(table_names(first.path()), ["meta", "staged"]);
    let reopened = open(first.path());
    let second = killed(first.path());
    let again = open(second.path());
    for engine in [&reopened, &again] {
        assert_same(engine, &reference);
        put_small(engine, 200);
        assert_eq!(scan(engine, log(0, 0), Order::Descending, 1)[0].0, 200);
        engine.close().unwrap();
    }
    for dir in [first, second] {
        let names = table_names(dir.path());
        assert!(names.len() == 6 && !names.contains(&"staged".to_owned()), "{names:?}");
        assert_eq!(scan(&open(dir.path()), log(0, 0), Order::Descending, 1)[0].0, 200);
    }
}

#[test]
fn a_staged_write_that_is_not_as_it_was_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for index in 1..30 {
        put_small(&engine, index);
    }
    let mut batch = WriteBatch::new();
    batch.put_entry(log(9, 0).at(1), &[&[7; 10_000]]).unwrap();
    engine.write(&[&batch], Durability::Synced).unwrap();
    let sound = killed(dir.path());
    drop(engine);
    let stored = stored(sound.path());
    assert!(stored.len() > 29 + 2);
    let last_number: [u8; 8] = stored.last().unwrap().0[..8].try_into().unwrap();
    let next_key = [&(u64::from_be_bytes(last_number) + 1).to_be_bytes()[..], &[0; 4]].concat();
    let (key, value) = &stored[5];
    let mut changes: Vec<(&[u8], Option<Vec<u8>>)> = (0..value.len())
        .map(|at| {
            let mut value = value.clone();
            value[at] ^= 1 << (at % 8);
            (&key[..], Some(value))
        })
        .collect();
    for at in [0, 5, stored.len() - 2, stored.len() - 1] {
        changes.push((&stored[at].0, None));
    }
    changes.push((&stored[6].0, Some(value.clone()))); // a sound write under another number
    changes.push((b"short", Some(value.clone())));
    changes.push((&next_key, Some(vec![1, 2, 3])));
    for (key, value) in changes {
        let copy = killed(sound.path());
        let database = file(copy.path());
        let transaction = database.begin_write().unwrap();
        let mut table = transaction.open_table(STAGED).unwrap();
        match &value {
            Some(value) => drop(table.insert(key, &value[..]).unwrap()),
            None => drop(table.remove(key).unwrap()),
        }
        drop(table);
        transaction.commit().unwrap();
        drop(database);
        let refused = RedbEngine::open(copy.path(), &RedbOptions::default());
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{key:?} {value:?}: {refused:?}");
    }
    open(sound.path()).verify().unwrap();
}

fn stored(dir: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let database = file(dir);
    let table = database.begin_read().unwrap().open_table(STAGED).unwrap();
    let pairs = table.iter().unwrap().map(|pair| {
        let (key, value) = pair.unwrap();
        (key.value().to_vec(), value.value().to_vec())
    });
    pairs.collect()
}

/// A window of entries moves on with every write, and what is staged is settled all the time.
#[test]
fn a_scan_sees_every_write_whole_while_others_are_staged_and_settled() {
    const WINDOW: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    let (engine, done) = (open(dir.path()), AtomicBool::new(false));
    let moved = |last: u64| {
        let mut batch = WriteBatch::new();
        batch.put_entry(log(1, 0).at(last), &[&last.to_be_bytes()]).unwrap();
        batch.remove_entries(log(1, 0), 0, last - WINDOW);
        batch
    };
    for last in WINDOW..2 * WINDOW {
        engine.write(&[&moved(last)], Durability::Buffered).unwrap();
    }
    let read = |order| {
        let mut scans = 0;
        while !done.load(Ordering::Relaxed) || scans == 0 {
            let mut found = Vec::new();
            let mut visitor = |index, value: Cow<'_, [u8]>| {
                assert_eq!(value.as_ref(), u64::to_be_bytes(index));
                found.push(index);
                ControlFlow::Continue(())
            };
            engine.scan(log(1, 0), 0..=u64::MAX, order, usize::MAX, &mut visitor).unwrap();
            found.sort_unstable();
            let whole = found[0]..found[0] + WINDOW;
            assert!(found.iter().copied().eq(whole), "{found:?}");
            scans += 1;
        }
    };
    std::thread::scope(|scope| {
        let readers =
            [Order::Ascending, Order::Descending].map(|order| scope.spawn(move || read(order)));
        let mut large = WriteBatch::new();
        large.put_meta(MetaKey::store(300), &[&vec![1; LARGE]]).unwrap();
        for last in 2 * WINDOW..1500 {
            engine.write(&[&moved(last)], Durability::Buffered).unwrap();
            if last % 7 == 0 {
                engine.write(&[&large], Durability::Buffered).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
