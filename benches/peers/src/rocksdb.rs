//! RocksDB, through the library that Debian ships.

use std::path::Path;

use ::rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};
use bytes::Bytes;
use kvlogdb::Durability;
use kvlogdb_compare::{Done, Error, Result, Store, Visitor};

/// Its settings are its defaults.
pub(crate) struct RocksDb(DB);

fn key(group: u64, index: u64) -> [u8; 16] {
    (u128::from(group) << 64 | u128::from(index)).to_be_bytes()
}

fn index(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |index| u64::from_be_bytes(*index))
}

impl RocksDb {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        Ok(Self(DB::open(&options, dir.join("rocksdb")).map_err(Error::store)?))
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.0.write_opt(batch, &options).map_err(Error::store)
    }
}

fn put(batch: &mut WriteBatch, group: u64, first: u64, payloads: &[Bytes]) {
    for (index, payload) in (first..).zip(payloads) {
        batch.put(key(group, index), payload);
    }
}

impl Store for RocksDb {
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()> {
        let mut batch = WriteBatch::default();
        put(&mut batch, group, first, payloads);
        self.write(batch, durability)
    }

    fn submit(&self, _: u64, _: u64, _: &[Bytes], _: Done) -> Result<()> {
        Err(Error::Unsupported("RocksDB only blocks"))
    }

    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range(key(group, first), key(group, u64::MAX));
        put(&mut batch, group, first, payloads);
        self.write(batch, Durability::Synced)
    }

    fn purge(&self, group: u64, last: u64) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range(key(group, 0), key(group, last + 1));
        self.write(batch, Durability::Synced)
    }

    fn waiting_for_deletion(&self) -> u64 {
        0
    }

    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool> {
        let found = self.0.get_pinned(key(group, index)).map_err(Error::store)?;
        if let Some(payload) = &found {
            visit(index, payload);
        }
        Ok(found.is_some())
    }

    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(key(group, first + count).to_vec());
        let from = key(group, first);
        let mode = IteratorMode::From(&from, Direction::Forward);
        let mut read = 0;
        for found in self.0.iterator_opt(mode, options) {
            let (key, payload) = found.map_err(Error::store)?;
            visit(index(&key), &payload);
            read += 1;
        }
        Ok(read)
    }

    fn last(&self, group: u64) -> Result<u64> {
        let from = key(group, u64::MAX);
        let mut found = self.0.iterator(IteratorMode::From(&from, Direction::Reverse));
        let found = found.next().transpose().map_err(Error::store)?;
        let own = found.filter(|(key, _)| key.starts_with(&group.to_be_bytes()));
        Ok(own.map_or(0, |(key, _)| index(&key)))
    }

    fn sync(&self) -> Result<()> {
        self.0.flush_wal(true).map_err(Error::store)
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
