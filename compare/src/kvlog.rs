//! kvlogdb as a store under test, on any of its engines and on the control's.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kvlogdb::{
    Durability, EngineKind, Entry, Error as LogError, Log, LogBatch, LogId, LogOptions, LogStore,
    Options, ReplicaId, WhenFull,
};

use crate::control::{FileEngine, Growth};
use crate::store::{Done, Settings, Store, Visitor};
use crate::{Error, Result};

/// The term of every entry; elections are not measured.
const TERM: u64 = 1;

/// A log store under test.
#[derive(Debug)]
pub struct Kvlog {
    store: LogStore,
}

impl Kvlog {
    /// kvlogdb on one of its engines, as the facade opens it.
    pub fn open(engine: EngineKind, dir: &Path, settings: &Settings) -> Result<Arc<dyn Store>> {
        let options = Options::new().engine(engine).entry_cache_bytes(settings.cache_bytes);
        Ok(Arc::new(Self { store: options.open(dir)? }))
    }

    /// The control: the same log and the same shared commits over an engine that writes each
    /// commit into a plain file, with one write and one `fdatasync`.
    pub fn control(growth: Growth, dir: &Path, settings: &Settings) -> Result<Arc<dyn Store>> {
        let dir = dir.to_owned();
        let mut options = LogOptions::default();
        options.cache_bytes = settings.cache_bytes;
        let open = move || Ok(Arc::new(FileEngine::open(&dir, growth)?) as Arc<_>);
        Ok(Arc::new(Self { store: LogStore::open(open, options)? }))
    }

    fn log(&self, group: u64) -> Log {
        self.store.log(ReplicaId::from(group))
    }
}

fn entries(first: u64, payloads: &[Bytes]) -> Vec<Entry> {
    (first..)
        .zip(payloads)
        .map(|(index, payload)| Entry::new(TERM, index, payload.clone()))
        .collect()
}

fn batch(group: u64, first: u64, payloads: &[Bytes]) -> LogBatch {
    let mut batch = LogBatch::new();
    batch.append(ReplicaId::from(group), entries(first, payloads));
    batch
}

impl Store for Kvlog {
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()> {
        Ok(self.store.write(&batch(group, first, payloads), durability)?)
    }

    fn submit(&self, group: u64, first: u64, payloads: &[Bytes], done: Done) -> Result<()> {
        let told = move |outcome: kvlogdb::Result<&[_]>| {
            done(outcome.map(|_| ()).map_err(Error::from));
        };
        Ok(self.store.submit_with(&batch(group, first, payloads), WhenFull::Wait, told)?)
    }

    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()> {
        Ok(self.log(group).replace_from(entries(first, payloads), Durability::Synced)?)
    }

    fn purge(&self, group: u64, last: u64) -> Result<()> {
        Ok(self.log(group).purge_through(LogId::new(TERM, last), Durability::Synced)?)
    }

    fn waiting_for_deletion(&self) -> u64 {
        self.store.waiting_for_deletion()
    }

    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool> {
        match self.log(group).entry(index) {
            Ok(entry) => {
                visit(index, &entry.payload);
                Ok(true)
            }
            Err(LogError::Unavailable { .. } | LogError::Purged { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64> {
        let found = self.log(group).entries(first..first.saturating_add(count), u64::MAX)?;
        for entry in &found {
            visit(entry.id.index, &entry.payload);
        }
        Ok(found.len() as u64)
    }

    fn last(&self, group: u64) -> Result<u64> {
        Ok(self.log(group).last_index()?.unwrap_or(0))
    }

    fn sync(&self) -> Result<()> {
        Ok(self.store.sync()?)
    }

    fn close(&self) -> Result<()> {
        Ok(self.store.close()?)
    }
}
