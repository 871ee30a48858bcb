//! The reference engine.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use crate::{
    BufferedIn, Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MetaKey, MetaVisitor, Operation, Order, RangeRemoval, Reclaim, Result, WriteBatch,
};

/// What a store holds, as plain ordered maps.
#[derive(Debug, Clone, Default)]
struct Contents {
    entries: BTreeMap<LogKey, Bytes>,
    meta: BTreeMap<MetaKey, Bytes>,
}

impl Contents {
    fn apply(&mut self, batch: &WriteBatch) {
        for operation in batch.operations() {
            match operation {
                Operation::PutEntry { key, value } => {
                    self.entries.insert(key, Bytes::copy_from_slice(value));
                }
                Operation::RemoveEntries { log, first, last } => self.remove(log, first, last),
                Operation::RemoveLog { log } => self.remove(log, 0, u64::MAX),
                Operation::PutMeta { key, value } => {
                    self.meta.insert(key, Bytes::copy_from_slice(value));
                }
                Operation::RemoveMeta { key } => {
                    self.meta.remove(&key);
                }
            }
        }
    }

    fn remove(&mut self, log: LogName, first: u64, last: u64) {
        if first > last {
            return;
        }
        let keys: Vec<_> =
            self.entries.range(log.at(first)..=log.at(last)).map(|(&key, _)| key).collect();
        for key in keys {
            self.entries.remove(&key);
        }
    }
}

/// What a [`MemoryEngine`] keeps its durable contents on: it outlives the engine, so that a store
/// can be closed and opened again without a file.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::{Durability, KvLogDb, LogName, MemoryDisk, WriteBatch};
///
/// let disk = MemoryDisk::default();
/// let engine = disk.open()?;
/// let mut batch = WriteBatch::new();
/// batch.put_entry(LogName::default().at(1), &[b"lost"])?;
/// engine.write(&[&batch], Durability::Buffered)?;
/// engine.cut_power();
/// assert_eq!(disk.open()?.entry(LogName::default().at(1))?, None);
/// # Ok::<(), kvlogdb_engine_api::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    shared: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    contents: Contents,
    in_use: bool,
}

impl MemoryDisk {
    /// Opens the engine on what is durable.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyOpen`] while another engine is open on this disk.
    pub fn open(&self) -> Result<MemoryEngine> {
        let mut disk = self.lock();
        if disk.in_use {
            return Err(Error::AlreadyOpen { dir: PathBuf::from("memory") });
        }
        disk.in_use = true;
        let live = Live { contents: disk.contents.clone(), unsynced: Vec::new() };
        Ok(MemoryEngine { disk: self.clone(), live: RwLock::new(Some(live)) })
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an open engine shows, and what of it a power cut would take.
#[derive(Debug)]
struct Live {
    contents: Contents,
    unsynced: Vec<WriteBatch>,
}

/// The reference that every engine is compared with: two ordered maps in memory.
///
/// `Synced` writes reach the [`MemoryDisk`]; `Buffered` ones wait for a sync or a close, and are
/// gone after [`cut_power`](Self::cut_power). Nothing survives the process.
#[derive(Debug)]
pub struct MemoryEngine {
    disk: MemoryDisk,
    /// `None` once closed.
    live: RwLock<Option<Live>>,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryEngine {
    /// An empty engine on a disk of its own.
    pub fn new() -> Self {
        let live = Live { contents: Contents::default(), unsynced: Vec::new() };
        let disk = MemoryDisk::default();
        disk.lock().in_use = true;
        Self { disk, live: RwLock::new(Some(live)) }
    }

    /// Closes the engine without syncing: what was not synced is gone from the disk.
    pub fn cut_power(&self) {
        self.end(|_, _| ());
    }

    fn end(&self, last: impl FnOnce(&mut Live, &MemoryDisk)) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut ended) = live.take() {
            last(&mut ended, &self.disk);
            self.disk.lock().in_use = false;
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Contents) -> T) -> Result<T> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().map(|live| read(&live.contents)).ok_or(Error::Closed)
    }

    fn update(&self, update: impl FnOnce(&mut Live, &MemoryDisk)) -> Result<()> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        update(live.as_mut().ok_or(Error::Closed)?, &self.disk);
        Ok(())
    }
}

fn sync(live: &mut Live, disk: &MemoryDisk) {
    let mut disk = disk.lock();
    for batch in live.unsynced.drain(..) {
        disk.contents.apply(&batch);
    }
}

impl KvLogDb for MemoryEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "memory",
            version: env!("CARGO_PKG_VERSION"),
            layout: 1,
            buffered_in: BufferedIn::Process,
            range_removal: RangeRemoval::InPlace,
            reclaim: Reclaim::Automatic,
            write_bytes: 16 << 20,
        }
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.read(|contents| contents.entries.get(&key).cloned())
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        if range.is_empty() {
            return self.read(|_| ());
        }
        self.read(|contents| {
            let mut found = contents.entries.range(log.at(*range.start())..=log.at(*range.end()));
            let mut visited_bytes = 0;
            loop {
                let next = match order {
                    Order::Ascending => found.next(),
                    Order::Descending => found.next_back(),
                };
                let Some((key, value)) = next else { break };
                visited_bytes += value.len();
                let flow = visitor(key.index, Cow::Borrowed(value));
                if flow.is_break() || visited_bytes >= budget_bytes {
                    break;
                }
            }
        })
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.read(|contents| contents.meta.get(&key).cloned())
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.read(|contents| {
            let mut all = contents.meta.iter();
            let _ = all.try_for_each(|(&key, value)| visitor(key, Cow::Borrowed(value)));
        })
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.read(|contents| {
            let mut last = None;
            for key in contents.entries.keys() {
                if last.replace(key.log) != Some(key.log)
                    && visitor(key.log) == ControlFlow::Break(())
                {
                    break;
                }
            }
        })
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.update(|live, disk| {
            for &batch in batches {
                live.contents.apply(batch);
                live.unsynced.push(batch.clone());
            }
            if durability == Durability::Synced {
                sync(live, disk);
            }
        })
    }

    fn sync(&self) -> Result<()> {
        self.update(sync)
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.read(|contents| {
            let entries =
                contents.entries.iter().map(|(key, value)| key.encode().len() + value.len());
            let meta = contents.meta.iter().map(|(key, value)| key.encode().len() + value.len());
            entries.chain(meta).map(|len| len as u64).sum()
        })
    }

    fn reclaim(&self) -> Result<()> {
        self.read(|_| ())
    }

    fn verify(&self) -> Result<()> {
        self.read(|_| ())
    }

    fn close(&self) -> Result<()> {
        self.end(sync);
        Ok(())
    }
}

impl Drop for MemoryEngine {
    fn drop(&mut self) {
        self.end(sync);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogName =
        LogName { replica: crate::ReplicaId { group: 1, node: 0 }, incarnation: 0 };

    fn put(index: u64) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put_entry(LOG.at(index), &[b"value"]).unwrap();
        batch
    }

    fn indexes(engine: &MemoryEngine) -> Vec<u64> {
        let mut found = Vec::new();
        let mut visitor = |index, _: Cow<'_, [u8]>| {
            found.push(index);
            ControlFlow::Continue(())
        };
        engine.scan(LOG, 0..=u64::MAX, Order::Ascending, usize::MAX, &mut visitor).unwrap();
        found
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_a_close_does_not() {
        let disk = MemoryDisk::default();
        let engine = disk.open().unwrap();
        engine.write(&[&put(1)], Durability::Buffered).unwrap();
        engine.write(&[&put(2)], Durability::Synced).unwrap();
        engine.write(&[&put(3)], Durability::Buffered).unwrap();
        assert_eq!(indexes(&engine), [1, 2, 3]);
        engine.cut_power();
        let engine = disk.open().unwrap();
        assert_eq!(indexes(&engine), [1, 2]);
        engine.write(&[&put(4)], Durability::Buffered).unwrap();
        engine.close().unwrap();
        assert!(matches!(engine.entry(LOG.at(1)), Err(Error::Closed)));
        assert!(matches!(engine.write(&[], Durability::Synced), Err(Error::Closed)));
        assert_eq!(indexes(&disk.open().unwrap()), [1, 2, 4]);
    }

    #[test]
    fn one_engine_at_a_time() {
        let disk = MemoryDisk::default();
        let engine = disk.open().unwrap();
        assert!(matches!(disk.open(), Err(Error::AlreadyOpen { .. })));
        drop(engine);
        disk.open().unwrap();
    }
}
