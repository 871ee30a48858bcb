//! What the log asks of its engine, written down on the way.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, KvLogDb, LogKey, LogName, LogVisitor, MetaKey,
    MetaVisitor, Order, Result, WriteBatch,
};

/// The durability of every write, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writes {
    asked: Arc<Mutex<Vec<Durability>>>,
}

impl Writes {
    /// The writes since this was last asked.
    pub(crate) fn take(&self) -> Vec<Durability> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `engine`, with its writes noted here.
    pub(crate) fn of(&self, engine: Arc<dyn KvLogDb>) -> Arc<dyn KvLogDb> {
        Arc::new(Recorder { engine, writes: self.clone() })
    }
}

/// The engine under test; it is told everything as it is.
#[derive(Debug)]
struct Recorder {
    engine: Arc<dyn KvLogDb>,
    writes: Writes,
}

impl KvLogDb for Recorder {
    fn info(&self) -> EngineInfo {
        self.engine.info()
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.engine.entry(key)
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.engine.scan(log, range, order, budget_bytes, visitor)
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.engine.meta(key)
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.engine.scan_meta(visitor)
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.engine.logs(visitor)
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.writes.asked.lock().unwrap_or_else(PoisonError::into_inner).push(durability);
        self.engine.write(batches, durability)
    }

    fn sync(&self) -> Result<()> {
        self.engine.sync()
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.engine.disk_bytes()
    }

    fn reclaim(&self) -> Result<()> {
        self.engine.reclaim()
    }

    fn verify(&self) -> Result<()> {
        self.engine.verify()
    }

    fn close(&self) -> Result<()> {
        self.engine.close()
    }
}
