//! The engine on a disk that loses power, fails and fills up.

use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use kvlogdb_engine_api::{
    Durability, Error, KvLogDb, LogName, MetaKey, Order, ReplicaId, Result, WriteBatch,
};
use redb::StorageBackend;

use crate::{RedbEngine, RedbOptions, Repair};

const LOG: LogName = LogName { replica: ReplicaId { group: 1, node: 2 }, incarnation: 3 };

/// Bytes that outlive the engine: as the process sees them, and as a power cut leaves them.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    cached: Vec<u8>,
    durable: Vec<u8>,
    syncs: u64,
    /// How many more calls that change or sync succeed.
    good_calls: Option<u64>,
    reads_fail: bool,
    failure: Option<io::ErrorKind>,
}

impl Disk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    fn holding(bytes: Vec<u8>) -> Self {
        let (cached, durable) = (bytes.clone(), bytes);
        Self(Arc::new(Mutex::new(Platter { cached, durable, ..Platter::default() })))
    }

    fn after_power_cut(&self) -> Self {
        Self::holding(self.platter().durable.clone())
    }

    fn after_kill(&self) -> Self {
        Self::holding(self.platter().cached.clone())
    }

    fn open(&self, repair: Repair) -> Result<RedbEngine> {
        let options = RedbOptions { repair, ..RedbOptions::default() };
        RedbEngine::open_with_backend(self.clone(), &options)
    }

    fn fail_after(&self, good_calls: u64, failure: io::ErrorKind) {
        let mut platter = self.platter();
        platter.good_calls = Some(good_calls);
        platter.failure = Some(failure);
    }
}

impl Platter {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.good_calls {
            Some(0) => Err(self.failure.unwrap_or(io::ErrorKind::Other).into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        if platter.reads_fail {
            return Err(io::Error::other("unreadable"));
        }
        let at = usize::try_from(offset).unwrap();
        let bytes = platter.cached.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter();
        platter.step()?;
        platter.cached.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter();
        platter.step()?;
        platter.syncs += 1;
        platter.durable = platter.cached.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        platter.step()?;
        let at = usize::try_from(offset).unwrap();
        platter.cached[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn put(index: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put_entry(LOG.at(index), &[&[7; 300]]).unwrap();
    let meta = MetaKey::replica(LOG.replica, 256);
    batch.put_meta(meta, &[&index.to_be_bytes()]).unwrap();
    batch
}

fn indexes(engine: &RedbEngine) -> Vec<u64> {
    let mut found = Vec::new();
    let mut visitor = |index, _: Cow<'_, [u8]>| {
        found.push(index);
        ControlFlow::Continue(())
    };
    engine.scan(LOG, 0..=u64::MAX, Order::Ascending, usize::MAX, &mut visitor).unwrap();
    let last = engine.meta(MetaKey::replica(LOG.replica, 256)).unwrap();
    let expected = found.last().map(|last: &u64| last.to_be_bytes().to_vec());
    assert_eq!(last.map(|last| last.to_vec()), expected, "half a batch");
    found
}

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    for repair in [Repair::Full, Repair::Quick] {
        let disk = Disk::default();
        let engine = disk.open(repair).unwrap();
        engine.write(&[&put(1)], Durability::Buffered).unwrap();
        engine.write(&[&put(2)], Durability::Synced).unwrap();
        engine.write(&[&put(3), &put(4)], Durability::Buffered).unwrap();
        assert_eq!(indexes(&engine), [1, 2, 3, 4]);
        for survivor in [disk.after_power_cut(), disk.after_kill()] {
            assert_eq!(indexes(&survivor.open(repair).unwrap()), [1, 2]);
        }
        engine.sync().unwrap();
        let cut = disk.after_power_cut();
        assert_eq!(indexes(&cut.open(repair).unwrap()), [1, 2, 3, 4]);
    }
}

#[test]
fn an_empty_synced_write_is_a_sync() {
    let disk = Disk::default();
    let engine = disk.open(Repair::Full).unwrap();
    engine.write(&[&put(1)], Durability::Buffered).unwrap();
    engine.write(&[], Durability::Buffered).unwrap();
    assert_eq!(indexes(&disk.after_power_cut().open(Repair::Full).unwrap()), []);
    engine.write(&[&WriteBatch::new()], Durability::Synced).unwrap();
    assert_eq!(indexes(&disk.after_power_cut().open(Repair::Full).unwrap()), [1]);
}

#[test]
fn closing_and_dropping_sync() {
    for end in [|engine: RedbEngine| engine.close().unwrap(), drop] {
        let disk = Disk::default();
        let engine = disk.open(Repair::Full).unwrap();
        engine.write(&[&put(1)], Durability::Buffered).unwrap();
        end(engine);
        assert_eq!(indexes(&disk.after_power_cut().open(Repair::Full).unwrap()), [1]);
    }
}

#[test]
fn a_synced_write_costs_one_sync_and_an_idle_sync_none() {
    for (repair, syncs) in [(Repair::Full, 1), (Repair::Quick, 2)] {
        let disk = Disk::default();
        let engine = disk.open(repair).unwrap();
        let before = disk.platter().syncs;
        engine.write(&[&put(1)], Durability::Buffered).unwrap();
        assert_eq!(disk.platter().syncs, before);
        engine.write(&[&put(2)], Durability::Synced).unwrap();
        assert_eq!(disk.platter().syncs, before + syncs);
        engine.sync().unwrap();
        assert_eq!(disk.platter().syncs, before + syncs);
    }
}

/// Fails the n-th call for every n, until a run is clean.
#[test]
fn a_failed_write_poisons_and_leaves_its_batch_whole_or_absent() {
    for durability in [Durability::Synced, Durability::Buffered] {
        let mut failures = 0;
        for good_calls in 0.. {
            let disk = Disk::default();
            let engine = disk.open(Repair::Full).unwrap();
            engine.write(&[&put(1)], Durability::Synced).unwrap();
            disk.fail_after(good_calls, io::ErrorKind::Other);
            let mut written = 1;
            let failed = (2..=4).find_map(|index| {
                let result = engine.write(&[&put(index)], durability).and_then(|()| engine.sync());
                written = index;
                result.err()
            });
            let Some(failed) = failed else { break };
            failures += 1;
            assert!(
                matches!(&failed, Error::Poisoned { cause } if matches!(**cause, Error::Io { .. })),
                "{failed:?}"
            );
            disk.platter().good_calls = None;
            assert_refuses_writes(&engine);
            let synced: Vec<u64> = (1..written).collect();
            let with_failed: Vec<u64> = (1..=written).collect();
            for survivor in [disk.after_power_cut(), disk.after_kill()] {
                let found = indexes(&survivor.open(Repair::Full).unwrap());
                assert!(found == synced || found == with_failed, "{found:?} of {written}");
            }
            assert!(matches!(engine.close(), Err(Error::Poisoned { .. })));
            assert!(matches!(engine.sync(), Err(Error::Closed)));
            let found = indexes(&disk.open(Repair::Full).unwrap());
            assert!(found == synced || found == with_failed, "{found:?} of {written}");
        }
        assert!(failures > 10, "{failures}");
    }
}

/// A write that settles what others have staged, cut short or failed at every call.
#[test]
fn a_write_that_settles_is_whole_or_absent_and_loses_nothing_staged() {
    let staged = Disk::default();
    let engine = staged.open(Repair::Full).unwrap();
    for index in 1..=40 {
        let mut batch = put(index);
        batch.put_entry(LogName { incarnation: 4, ..LOG }.at(index), &[b"also"]).unwrap();
        batch.remove_entries(LOG, 0, index.saturating_sub(10));
        engine.write(&[&batch], Durability::Synced).unwrap();
    }
    let mut large = put(41);
    large.put_entry(LOG.at(42), &[&vec![7; 200_000]]).unwrap();
    large.put_meta(MetaKey::replica(LOG.replica, 256), &[&42_u64.to_be_bytes()]).unwrap();
    let before: Vec<u64> = (31..=40).collect();
    let after: Vec<u64> = (31..=42).collect();
    let mut failures = 0;
    for good_calls in 0.. {
        let disk = staged.after_kill();
        let engine = disk.open(Repair::Full).unwrap();
        assert_eq!(indexes(&engine), before);
        disk.fail_after(good_calls, io::ErrorKind::Other);
        let written = engine.write(&[&large], Durability::Synced);
        disk.platter().good_calls = None;
        assert_eq!(indexes(&engine), if written.is_ok() { &after[..] } else { &before });
        for survivor in [disk.after_power_cut(), disk.after_kill()] {
            for _ in 0..2 {
                let engine = survivor.open(Repair::Full).unwrap();
                let found = indexes(&engine);
                let whole = found == after || (written.is_err() && found == before);
                assert!(whole, "{found:?} after {good_calls} calls");
                let also = (1..=40).filter(|&index| {
                    let key = LogName { incarnation: 4, ..LOG }.at(index);
                    engine.entry(key).unwrap().is_some()
                });
                assert_eq!(also.count(), 40);
            }
        }
        if written.is_ok() {
            break;
        }
        failures += 1;
    }
    assert!(failures > 10, "{failures}");
}

fn assert_refuses_writes(engine: &RedbEngine) {
    for refused in [
        engine.write(&[&put(9)], Durability::Buffered),
        engine.write(&[&put(9)], Durability::Synced),
        engine.write(&[], Durability::Synced),
        engine.sync(),
        engine.reclaim(),
        engine.verify(),
    ] {
        assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
    }
}

#[test]
fn a_full_disk_is_told_apart() {
    let disk = Disk::default();
    let engine = disk.open(Repair::Full).unwrap();
    disk.fail_after(0, io::ErrorKind::StorageFull);
    let failed = engine.write(&[&put(1)], Durability::Synced).unwrap_err();
    assert!(
        matches!(&failed, Error::Poisoned { cause } if matches!(**cause, Error::DiskFull { .. })),
        "{failed:?}"
    );
}

#[test]
fn a_read_that_the_disk_fails_poisons() {
    let disk = Disk::default();
    let options = RedbOptions { cache_bytes: 0, ..RedbOptions::default() };
    let engine = RedbEngine::open_with_backend(disk.clone(), &options).unwrap();
    for index in 0..100 {
        engine.write(&[&put(index)], Durability::Synced).unwrap();
    }
    engine.reclaim().unwrap(); // what is staged needs no disk
    disk.platter().reads_fail = true;
    let read = engine.entry(LOG.at(0));
    assert!(matches!(read, Err(Error::Poisoned { .. })), "{read:?}");
    disk.platter().reads_fail = false;
    assert_refuses_writes(&engine);
    drop(engine);
    assert_eq!(indexes(&disk.open(Repair::Full).unwrap()).len(), 100);
}

#[test]
fn verify_makes_durable_what_it_checks() {
    let disk = Disk::default();
    let engine = disk.open(Repair::Full).unwrap();
    engine.write(&[&put(1)], Durability::Buffered).unwrap();
    engine.verify().unwrap();
    assert_eq!(indexes(&disk.after_power_cut().open(Repair::Full).unwrap()), [1]);
}
