//! An engine that counts its syncs, waits at a gate, and fails when it is told to.

use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor, MetaKey,
    MetaVisitor, Order, Poison, Result, WriteBatch,
};

/// What is done to an engine, and what it has done.
#[derive(Debug, Default)]
pub(crate) struct Control {
    syncs: AtomicU64,
    /// Whether the next write fails as on a full disk.
    full: AtomicBool,
    /// Whether reads of entries and metadata fail.
    unreadable: AtomicBool,
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Control {
    /// How many syncs there were since this was last asked.
    pub(crate) fn take_syncs(&self) -> u64 {
        self.syncs.swap(0, SeqCst)
    }

    /// Lets the next write find a full disk.
    pub(crate) fn fill_disk(&self) {
        self.full.store(true, SeqCst);
    }

    /// Lets reads fail that reach the engine.
    pub(crate) fn refuse_reads(&self) {
        self.unreadable.store(true, SeqCst);
    }

    /// Lets writes wait.
    pub(crate) fn shut(&self) {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(crate) fn open(&self) {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.opened.wait_while(shut, |shut| *shut);
        drop(open.unwrap_or_else(PoisonError::into_inner));
    }

    fn check_reads(&self) -> Result<()> {
        if self.unreadable.load(SeqCst) {
            return Err(Error::io("read", io::Error::other("the disk does not answer")));
        }
        Ok(())
    }
}

/// Another engine under control.
#[derive(Debug)]
pub(crate) struct Watched {
    inner: Arc<dyn KvLogDb>,
    control: Arc<Control>,
    poison: Poison,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn KvLogDb>, control: Arc<Control>) -> Self {
        Self { inner, control, poison: Poison::default() }
    }
}

impl KvLogDb for Watched {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.control.check_reads()?;
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
        self.control.check_reads()?;
        self.inner.scan(log, range, order, budget_bytes, visitor)
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.control.check_reads()?;
        self.inner.meta(key)
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.inner.scan_meta(visitor)
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.inner.logs(visitor)
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.poison.check()?;
        self.control.pass();
        if self.control.full.swap(false, SeqCst) {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(self.poison.latch(Error::io("commit", source)));
        }
        if durability == Durability::Synced {
            self.control.syncs.fetch_add(1, SeqCst);
        }
        self.inner.write(batches, durability)
    }

    fn sync(&self) -> Result<()> {
        self.poison.check()?;
        self.control.syncs.fetch_add(1, SeqCst);
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
        self.inner.close()
    }
}
