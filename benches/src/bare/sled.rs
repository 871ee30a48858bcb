//! sled with one tree for all groups, and the sync of its file that sled leaves out.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ::sled::{Batch, Config, Db};
use bytes::Bytes;
use kvlogdb::Durability;
use kvlogdb_compare::{Done, Error, Result, Store, Visitor};

use super::{ONLY_BLOCKS, index, key, payload, value};

/// How many batches may go unflushed; sled was seen to hang with many.
const UNFLUSHED: u64 = 32;

/// sled without a log.
#[derive(Debug)]
pub struct BareSled {
    database: Db,
    file: File,
    unflushed: AtomicU64,
}

impl BareSled {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let database = Config::new()
            .path(dir)
            .segment_size(8 << 20)
            .cache_capacity(32 << 20)
            .flush_every_ms(None)
            .open()
            .map_err(Error::store)?;
        let opened = File::open(dir.join("db"));
        let file = opened.map_err(|error| Error::io("open sled's file", error))?;
        Ok(Self { database, file, unflushed: AtomicU64::new(0) })
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.database.apply_batch(batch).map_err(Error::store)?;
        match durability {
            Durability::Synced => self.sync(),
            Durability::Buffered => {
                let before = self.unflushed.fetch_add(1, Ordering::Relaxed);
                if before % UNFLUSHED == UNFLUSHED - 1 {
                    self.database.flush().map_err(Error::store)?;
                }
                Ok(())
            }
        }
    }
}

fn put(batch: &mut Batch, group: u64, first: u64, payloads: &[Bytes]) {
    let mut buffer = Vec::new();
    for (index, payload) in (first..).zip(payloads) {
        value(payload, &mut buffer);
        batch.insert(&key(group, index), &buffer[..]);
    }
}

impl Store for BareSled {
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()> {
        let mut batch = Batch::default();
        put(&mut batch, group, first, payloads);
        self.write(batch, durability)
    }

    fn submit(&self, _: u64, _: u64, _: &[Bytes], _: Done) -> Result<()> {
        Err(ONLY_BLOCKS)
    }

    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()> {
        let mut batch = Batch::default();
        for found in self.database.range(key(group, first)..=key(group, u64::MAX)) {
            batch.remove(found.map_err(Error::store)?.0);
        }
        put(&mut batch, group, first, payloads);
        self.write(batch, Durability::Synced)
    }

    fn purge(&self, group: u64, last: u64) -> Result<()> {
        let mut batch = Batch::default();
        for found in self.database.range(key(group, 0)..=key(group, last)) {
            batch.remove(found.map_err(Error::store)?.0);
        }
        self.write(batch, Durability::Synced)
    }

    fn waiting_for_deletion(&self) -> u64 {
        0
    }

    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool> {
        let found = self.database.get(key(group, index)).map_err(Error::store)?;
        if let Some(value) = &found {
            visit(index, payload(value));
        }
        Ok(found.is_some())
    }

    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64> {
        let mut read = 0;
        let range = key(group, first)..key(group, first.saturating_add(count));
        for found in self.database.range(range) {
            let (key, value) = found.map_err(Error::store)?;
            visit(index(&key), payload(&value));
            read += 1;
        }
        Ok(read)
    }

    fn last(&self, group: u64) -> Result<u64> {
        let last = self.database.range(key(group, 0)..=key(group, u64::MAX)).next_back();
        let last = last.transpose().map_err(Error::store)?;
        Ok(last.map_or(0, |(key, _)| index(&key)))
    }

    fn sync(&self) -> Result<()> {
        self.database.flush().map_err(Error::store)?;
        self.file.sync_data().map_err(|error| Error::io("sync sled's file", error))
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
