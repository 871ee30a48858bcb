//! The control's engine: each commit is one write into a file and one `fdatasync`.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use kvlogdb_engine_api::{
    BufferedIn, Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MetaKey, MetaVisitor, Operation, Order, Poison, RangeRemoval, Reclaim, Result, WriteBatch,
};

use super::{CommitFile, Growth};

/// An engine that is nothing but the least a durable commit can cost: what comes after it in a
/// figure is the engine's own. It serves reads from memory and cannot be opened again.
#[derive(Debug)]
pub struct FileEngine {
    file: Mutex<CommitFile>,
    contents: RwLock<Option<Contents>>,
    poison: Poison,
}

impl FileEngine {
    /// Makes the file in `dir`.
    pub fn open(dir: &Path, growth: Growth) -> Result<Self> {
        let file = CommitFile::create(&dir.join("control"), growth)
            .map_err(|error| Error::io("make the control's file", error))?;
        let contents = RwLock::new(Some(Contents::default()));
        Ok(Self { file: Mutex::new(file), contents, poison: Poison::default() })
    }

    fn read<T>(&self, read: impl FnOnce(&Contents) -> T) -> Result<T> {
        let contents: RwLockReadGuard<'_, _> =
            self.contents.read().unwrap_or_else(PoisonError::into_inner);
        contents.as_ref().map(read).ok_or(Error::Closed)
    }

    fn commit(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, places) = encode(batches);
        if !bytes.is_empty() {
            file.write(&bytes).map_err(|error| Error::io("write", error))?;
        }
        if durability == Durability::Synced {
            file.sync().map_err(|error| Error::io("sync", error))?;
        }
        let mut contents = self.contents.write().unwrap_or_else(PoisonError::into_inner);
        let contents = contents.as_mut().ok_or(Error::Closed)?;
        let bytes = Bytes::from(bytes);
        let operations = batches.iter().flat_map(|batch| batch.operations());
        for (operation, place) in operations.zip(places) {
            contents.apply(&operation, bytes.slice(place))?;
        }
        Ok(())
    }
}

/// What a commit writes, and where in it each operation's value is.
fn encode(batches: &[&WriteBatch]) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
    let mut bytes = Vec::with_capacity(batches.iter().map(|batch| batch.len_bytes()).sum());
    let mut places = Vec::with_capacity(batches.iter().map(|batch| batch.len()).sum());
    for operation in batches.iter().flat_map(|batch| batch.operations()) {
        let value = match operation {
            Operation::PutEntry { key, value } => {
                bytes.extend_from_slice(&key.encode());
                value
            }
            Operation::PutMeta { key, value } => {
                bytes.extend_from_slice(&key.encode());
                value
            }
            Operation::RemoveEntries { log, first, last } => {
                bytes.extend_from_slice(&log.at(first).encode());
                bytes.extend_from_slice(&last.to_be_bytes());
                &[]
            }
            Operation::RemoveLog { log } => {
                bytes.extend_from_slice(&log.at(0).encode());
                &[]
            }
            Operation::RemoveMeta { key } => {
                bytes.extend_from_slice(&key.encode());
                &[]
            }
        };
        let start = bytes.len();
        bytes.extend_from_slice(value);
        places.push(start..bytes.len());
    }
    (bytes, places)
}

/// What the engine serves. The values are pieces of what its commits wrote.
#[derive(Debug, Default)]
struct Contents {
    logs: BTreeMap<LogName, Entries>,
    meta: BTreeMap<MetaKey, Bytes>,
}

/// One log without holes: all that the log above ever makes.
#[derive(Debug, Default)]
struct Entries {
    first: u64,
    values: VecDeque<Bytes>,
}

impl Entries {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.values.len() as u64)
    }

    fn at(&self, index: u64) -> Option<&Bytes> {
        self.values.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    fn put(&mut self, index: u64, value: Bytes) -> Result<()> {
        if self.values.is_empty() {
            self.first = index;
        }
        if index == self.end() {
            self.values.push_back(value);
            return Ok(());
        }
        let at = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let slot = at.and_then(|at| self.values.get_mut(at));
        *slot.ok_or_else(|| Error::corrupt("the control keeps no log with holes"))? = value;
        Ok(())
    }

    fn remove(&mut self, first: u64, last: u64) -> Result<()> {
        if first > last || first >= self.end() || last < self.first {
            return Ok(());
        }
        let place =
            |index: u64| usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if last >= self.end() - 1 {
            self.values.truncate(place(first.max(self.first)));
        } else if first <= self.first {
            self.values.drain(..=place(last));
            self.first = last + 1;
        } else {
            return Err(Error::corrupt("the control keeps no log with holes"));
        }
        Ok(())
    }
}

impl Contents {
    fn apply(&mut self, operation: &Operation<'_>, value: Bytes) -> Result<()> {
        match *operation {
            Operation::PutEntry { key, .. } => {
                return self.logs.entry(key.log).or_default().put(key.index, value);
            }
            Operation::RemoveEntries { log, first, last } => {
                if let Some(entries) = self.logs.get_mut(&log) {
                    return entries.remove(first, last);
                }
            }
            Operation::RemoveLog { log } => {
                self.logs.remove(&log);
            }
            Operation::PutMeta { key, .. } => {
                self.meta.insert(key, value);
            }
            Operation::RemoveMeta { key } => {
                self.meta.remove(&key);
            }
        }
        Ok(())
    }

    fn scan(
        &self,
        log: LogName,
        indexes: &mut dyn Iterator<Item = u64>,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) {
        let Some(entries) = self.logs.get(&log) else { return };
        let mut visited_bytes = 0;
        for index in indexes {
            let Some(value) = entries.at(index) else { return };
            visited_bytes += value.len();
            if visitor(index, Cow::Borrowed(value)).is_break() || visited_bytes >= budget_bytes {
                return;
            }
        }
    }
}

impl KvLogDb for FileEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "control",
            version: env!("CARGO_PKG_VERSION"),
            layout: 1,
            buffered_in: BufferedIn::Kernel,
            range_removal: RangeRemoval::InPlace,
            reclaim: Reclaim::Unsupported,
            write_bytes: 16 << 20,
        }
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.read(|contents| contents.logs.get(&key.log)?.at(key.index).cloned())
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.read(|contents| {
            let Some(entries) = contents.logs.get(&log) else { return };
            let Some(end) = entries.end().checked_sub(1) else { return };
            let mut found = (*range.start()).max(entries.first)..=(*range.end()).min(end);
            match order {
                Order::Ascending => contents.scan(log, &mut found, budget_bytes, visitor),
                Order::Descending => contents.scan(log, &mut found.rev(), budget_bytes, visitor),
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
            let mut held = contents.logs.iter().filter(|(_, entries)| !entries.values.is_empty());
            let _: ControlFlow<()> = held.try_for_each(|(&log, _)| visitor(log));
        })
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.poison.check()?;
        self.commit(batches, durability).map_err(|error| match error {
            Error::Closed => Error::Closed,
            other => self.poison.latch(other),
        })
    }

    fn sync(&self) -> Result<()> {
        self.write(&[], Durability::Synced)
    }

    fn disk_bytes(&self) -> Result<u64> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let found = file.file.metadata().map_err(|error| Error::io("look at the file", error))?;
        Ok(found.len())
    }

    fn reclaim(&self) -> Result<()> {
        self.read(|_| ())
    }

    fn verify(&self) -> Result<()> {
        self.read(|_| ())
    }

    fn close(&self) -> Result<()> {
        let closed = self.write(&[], Durability::Synced);
        self.contents.write().unwrap_or_else(PoisonError::into_inner).take();
        match closed {
            Err(Error::Closed) => Ok(()),
            other => other,
        }
    }
}
