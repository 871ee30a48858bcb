//! An engine that fails when it is told to.

use std::ops::RangeInclusive;
use std::sync::Mutex;

use bytes::Bytes;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MemoryEngine, MetaKey, MetaVisitor, Order, Poison, Result, WriteBatch,
};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The write is not there, and the engine is poisoned.
    WriteLost,
    /// The write is there and durable, and the engine is poisoned all the same.
    WriteDone,
    /// A read of an entry, of metadata or a scan fails with an I/O error.
    Read,
    /// Closing fails.
    Close,
}

/// Which call fails next.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// What fails, and after how many more calls of its kind.
    next: Mutex<Option<(Fault, u64)>>,
    /// The durability of every write since the last look.
    writes: Mutex<Vec<Durability>>,
}

impl Faults {
    /// Makes the call behind `passing` more of its kind fail.
    pub(crate) fn set(&self, fault: Fault, passing: u64) {
        *self.next.lock().unwrap() = Some((fault, passing));
    }

    pub(crate) fn clear(&self) {
        *self.next.lock().unwrap() = None;
    }

    /// The writes since this was last asked, by durability.
    pub(crate) fn take_writes(&self) -> Vec<Durability> {
        std::mem::take(&mut *self.writes.lock().unwrap())
    }

    /// Whether a call of one of these kinds fails now.
    fn strikes(&self, kinds: &[Fault]) -> Option<Fault> {
        let mut next = self.next.lock().unwrap();
        let (_, passing) = next.as_mut().filter(|(fault, _)| kinds.contains(fault))?;
        if *passing > 0 {
            *passing -= 1;
            return None;
        }
        next.take().map(|(fault, _)| fault)
    }
}

/// A [`MemoryEngine`] with faults.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: MemoryEngine,
    faults: std::sync::Arc<Faults>,
    poison: Poison,
}

fn broken(operation: &'static str) -> Error {
    Error::io(operation, std::io::Error::other("a fault of the test"))
}

impl Faulty {
    pub(crate) fn new(inner: MemoryEngine, faults: std::sync::Arc<Faults>) -> Self {
        Self { inner, faults, poison: Poison::default() }
    }

    pub(crate) fn cut_power(&self) {
        self.poison.latch(broken("go on without power"));
        self.inner.cut_power();
    }

    fn read<T>(&self, read: impl FnOnce(&MemoryEngine) -> Result<T>) -> Result<T> {
        match self.faults.strikes(&[Fault::Read]) {
            Some(_) => Err(broken("read")),
            None => read(&self.inner),
        }
    }
}

impl KvLogDb for Faulty {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.read(|inner| inner.entry(key))
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.read(|inner| inner.scan(log, range, order, budget_bytes, visitor))
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.read(|inner| inner.meta(key))
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.read(|inner| inner.scan_meta(visitor))
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.read(|inner| inner.logs(visitor))
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.poison.check()?;
        self.faults.writes.lock().unwrap().push(durability);
        let fault = self.faults.strikes(&[Fault::WriteLost, Fault::WriteDone]);
        if fault != Some(Fault::WriteLost) {
            let durability = if fault.is_some() { Durability::Synced } else { durability };
            self.inner.write(batches, durability)?;
        }
        fault.map_or(Ok(()), |_| Err(self.poison.latch(broken("write"))))
    }

    fn sync(&self) -> Result<()> {
        self.poison.check()?;
        self.inner.sync()
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

    fn close(&self) -> Result<()> {
        match self.faults.strikes(&[Fault::Close]) {
            Some(_) => {
                self.inner.cut_power();
                Err(broken("close"))
            }
            None => self.inner.close(),
        }
    }
}
