//! fjall with one keyspace for all groups.

use std::path::Path;
use std::sync::Arc;

use ::fjall::PersistMode;
use ::fjall::compaction::Leveled;
use ::fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use ::fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};
use bytes::Bytes;
use kvlogdb::Durability;
use kvlogdb_compare::{Done, Error, Result, Store, Visitor};

use super::{ONLY_BLOCKS, index, key, payload, value};

/// fjall without a log.
pub struct BareFjall {
    database: Database,
    log: Keyspace,
}

impl BareFjall {
    /// Opens it twice: fjall gives a new journal its full length at once and one that it finds
    /// only what was written, and growing a file makes every sync dearer. A store in use is one
    /// that was found.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        drop(Self::open_once(dir)?);
        Self::open_once(dir)
    }

    fn open_once(dir: &Path) -> Result<Self> {
        let database = Database::builder(dir.join("bare"))
            .cache_size(32 << 20)
            .worker_threads(2)
            .max_journaling_size(64 << 20)
            .journal_compression(CompressionType::None)
            .open()
            .map_err(Error::store)?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(12 << 20)
                .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(16 << 20)))
                .filter_policy(FilterPolicy::disabled())
                .data_block_size_policy(BlockSizePolicy::all(4 << 10))
                .data_block_compression_policy(CompressionPolicy::disabled())
                .index_block_compression_policy(CompressionPolicy::disabled())
        };
        let log = database.keyspace("log", options).map_err(Error::store)?;
        Ok(Self { database, log })
    }

    fn batch(&self, durability: Durability) -> OwnedWriteBatch {
        self.database.batch().durability(Some(match durability {
            Durability::Buffered => PersistMode::Buffer,
            Durability::Synced => PersistMode::SyncData,
        }))
    }

    fn put(&self, batch: &mut OwnedWriteBatch, group: u64, first: u64, payloads: &[Bytes]) {
        let mut buffer = Vec::new();
        for (index, payload) in (first..).zip(payloads) {
            value(payload, &mut buffer);
            batch.insert(&self.log, key(group, index), &buffer[..]);
        }
    }
}

impl Store for BareFjall {
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()> {
        let mut batch = self.batch(durability);
        self.put(&mut batch, group, first, payloads);
        batch.commit().map_err(Error::store)
    }

    fn submit(&self, _: u64, _: u64, _: &[Bytes], _: Done) -> Result<()> {
        Err(ONLY_BLOCKS)
    }

    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()> {
        let mut batch = self.batch(Durability::Synced);
        for found in self.log.range(key(group, first)..=key(group, u64::MAX)) {
            batch.remove(&self.log, found.key().map_err(Error::store)?);
        }
        self.put(&mut batch, group, first, payloads);
        batch.commit().map_err(Error::store)
    }

    fn purge(&self, group: u64, last: u64) -> Result<()> {
        let mut batch = self.batch(Durability::Synced);
        for found in self.log.range(key(group, 0)..=key(group, last)) {
            batch.remove(&self.log, found.key().map_err(Error::store)?);
        }
        batch.commit().map_err(Error::store)
    }

    fn waiting_for_deletion(&self) -> u64 {
        0
    }

    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool> {
        let found = self.log.get(key(group, index)).map_err(Error::store)?;
        if let Some(value) = &found {
            visit(index, payload(value));
        }
        Ok(found.is_some())
    }

    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64> {
        let mut read = 0;
        for found in self.log.range(key(group, first)..key(group, first.saturating_add(count))) {
            let (key, value) = found.into_inner().map_err(Error::store)?;
            visit(index(&key), payload(&value));
            read += 1;
        }
        Ok(read)
    }

    fn last(&self, group: u64) -> Result<u64> {
        let last = self.log.range(key(group, 0)..=key(group, u64::MAX)).next_back();
        let key = last.map(|found| found.key().map_err(Error::store)).transpose()?;
        Ok(key.map_or(0, |key| index(&key)))
    }

    fn sync(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncData).map_err(Error::store)
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
