//! An engine in memory that others may overtake at any point, that fails when it is told to, and
//! that remembers what it was given and what of that is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor, MemoryDisk,
    MemoryEngine, MetaKey, MetaVisitor, Operation, Order, Poison, ReplicaId, Result, WriteBatch,
};
use kvlogdb_log::LogId;
use kvlogdb_log::record::Header;
use shuttle::sync::atomic::{AtomicUsize, Ordering};

/// An entry of some replica.
pub(crate) type Id = (ReplicaId, LogId);

/// How a write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not there.
    Lost,
    /// It is there, and durable.
    Done,
    /// It is not there, and the engine panics.
    Panics,
}

/// What an engine did, and is to do.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The entries that every write put.
    pub(crate) writes: Vec<Vec<Id>>,
    /// Every entry that was ever durable. One that the same write put and removed was not.
    pub(crate) durable: BTreeSet<Id>,
    /// The term of every entry that is there, and of those that were at the last sync.
    terms: BTreeMap<LogKey, u64>,
    synced_terms: BTreeMap<LogKey, u64>,
    /// What fails, after how many more writes.
    pub(crate) fault: Option<(usize, Fault)>,
}

/// A disk in memory and what happened to it: what outlives an engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    disk: MemoryDisk,
    past: Arc<Mutex<Past>>,
}

impl Disk {
    pub(crate) fn open(&self) -> Result<Arc<dyn KvLogDb>> {
        let (inner, past) = (self.disk.open()?, Arc::clone(&self.past));
        let (poison, steps) = (Poison::default(), AtomicUsize::new(0));
        Ok(Arc::new(Engine { inner, past, poison, steps }))
    }

    /// No other thread can run while this is held: it is not one of the scheduler's locks.
    pub(crate) fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap()
    }

    /// Makes the write behind `passing` more fail.
    pub(crate) fn fail(&self, passing: usize, fault: Fault) {
        self.past().fault = Some((passing, fault));
    }
}

#[derive(Debug)]
struct Engine {
    inner: MemoryEngine,
    past: Arc<Mutex<Past>>,
    poison: Poison,
    steps: AtomicUsize,
}

impl Engine {
    /// Lets another thread go on, if it is its turn.
    fn pause(&self) {
        self.steps.fetch_add(1, Ordering::SeqCst);
    }

    fn strike(&self) -> Option<Fault> {
        let mut past = self.past.lock().unwrap();
        let (passing, fault) = past.fault.as_mut()?;
        if *passing > 0 {
            *passing -= 1;
            return None;
        }
        let fault = *fault;
        past.fault = None;
        Some(fault)
    }

    fn apply(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.inner.write(batches, durability)?;
        let operations = batches.iter().flat_map(|batch| batch.operations());
        let mut past = self.past.lock().unwrap();
        let put = operations.filter_map(|operation| past.apply(&operation)).collect();
        past.writes.push(put);
        if durability == Durability::Synced {
            past.sync();
        }
        Ok(())
    }
}

impl Past {
    /// Applies an operation. Answers which entry it puts.
    fn apply(&mut self, operation: &Operation<'_>) -> Option<Id> {
        match *operation {
            Operation::PutEntry { key, value } => {
                let (header, _) = Header::decode(key, value).unwrap();
                self.terms.insert(key, header.term);
                return Some(id(&key, header.term));
            }
            Operation::RemoveEntries { log, first, last } => {
                self.terms.retain(|key, _| key.log != log || !(first..=last).contains(&key.index));
            }
            Operation::RemoveLog { log } => self.terms.retain(|key, _| key.log != log),
            Operation::PutMeta { .. } | Operation::RemoveMeta { .. } => {}
        }
        None
    }

    fn sync(&mut self) {
        self.durable.extend(self.terms.iter().map(|(key, term)| id(key, *term)));
        self.synced_terms = self.terms.clone();
    }

    fn cut_power(&mut self) {
        self.terms = self.synced_terms.clone();
    }
}

fn id(key: &LogKey, term: u64) -> Id {
    (key.log.replica, LogId::new(term, key.index))
}

impl KvLogDb for Engine {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.pause();
        self.inner.entry(key)
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.pause();
        self.inner.scan(log, range, order, budget_bytes, visitor)
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.pause();
        self.inner.meta(key)
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.inner.scan_meta(visitor)
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.inner.logs(visitor)
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.pause();
        self.poison.check()?;
        let fault = self.strike();
        assert_ne!(fault, Some(Fault::Panics), "a panic of the test");
        match fault {
            None => self.apply(batches, durability)?,
            Some(Fault::Done) => self.apply(batches, Durability::Synced)?,
            Some(_) => {}
        }
        self.pause();
        let broken = || Error::io("write", std::io::Error::other("a fault of the test"));
        fault.map_or(Ok(()), |_| Err(self.poison.latch(broken())))
    }

    fn sync(&self) -> Result<()> {
        self.poison.check()?;
        self.inner.sync()?;
        self.past.lock().unwrap().sync();
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.inner.disk_bytes()
    }

    fn reclaim(&self) -> Result<()> {
        self.inner.reclaim()
    }

    fn verify(&self) -> Result<()> {
        self.inner.verify()
    }

    /// A poisoned engine has nothing to sync, and what it did not sync is gone.
    fn close(&self) -> Result<()> {
        self.pause();
        let mut past = self.past.lock().unwrap();
        if self.poison.check().is_err() {
            self.inner.cut_power();
            past.cut_power();
        } else {
            self.inner.close()?;
            past.sync();
        }
        Ok(())
    }
}
