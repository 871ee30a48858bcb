//! raft-engine: what TiKV keeps its Raft logs in. It preallocates and recycles its files, and
//! shares syncs among writers.

use std::path::Path;

use bytes::Bytes;
use kvlogdb::Durability;
use kvlogdb_compare::{Done, Error, Result, Store, Visitor};
use protobuf::well_known_types::BytesValue;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt};

/// Its settings are its defaults.
pub(crate) struct RaftEngine(Engine);

/// An entry is its index and its payload.
struct Entries;

impl MessageExt for Entries {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_be_bytes(*index))
    }
}

fn payload(entry: &BytesValue) -> &[u8] {
    entry.value.get(8..).unwrap_or_default()
}

fn batch(group: u64, first: u64, payloads: &[Bytes]) -> Result<LogBatch> {
    let entry = |(index, payload): (u64, &Bytes)| {
        let mut entry = BytesValue::new();
        entry.value = [&index.to_be_bytes()[..], payload].concat();
        entry
    };
    let entries: Vec<BytesValue> = (first..).zip(payloads).map(entry).collect();
    let mut batch = LogBatch::default();
    batch.add_entries::<Entries>(group, &entries).map_err(Error::store)?;
    Ok(batch)
}

impl RaftEngine {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let dir = dir.join("raft-engine").display().to_string();
        Ok(Self(Engine::open(Config { dir, ..Config::default() }).map_err(Error::store)?))
    }

    fn write(&self, mut batch: LogBatch, durability: Durability) -> Result<()> {
        let sync = durability == Durability::Synced;
        self.0.write(&mut batch, sync).map(|_| ()).map_err(Error::store)
    }
}

impl Store for RaftEngine {
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()> {
        self.write(batch(group, first, payloads)?, durability)
    }

    fn submit(&self, _: u64, _: u64, _: &[Bytes], _: Done) -> Result<()> {
        Err(Error::Unsupported("raft-engine only blocks"))
    }

    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()> {
        // Entries that overlap replace what was there from the first of them on.
        self.write(batch(group, first, payloads)?, Durability::Synced)
    }

    fn purge(&self, group: u64, last: u64) -> Result<()> {
        let mut batch = LogBatch::default();
        batch.add_command(group, Command::Compact { index: last + 1 });
        self.write(batch, Durability::Synced)?;
        self.0.purge_expired_files().map(|_| ()).map_err(Error::store)
    }

    fn waiting_for_deletion(&self) -> u64 {
        0
    }

    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool> {
        let found = self.0.get_entry::<Entries>(group, index).map_err(Error::store)?;
        if let Some(entry) = &found {
            visit(index, payload(entry));
        }
        Ok(found.is_some())
    }

    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64> {
        let mut entries = Vec::new();
        self.0
            .fetch_entries_to::<Entries>(group, first, first + count, None, &mut entries)
            .map_err(Error::store)?;
        for entry in &entries {
            visit(Entries::index(entry), payload(entry));
        }
        Ok(entries.len() as u64)
    }

    fn last(&self, group: u64) -> Result<u64> {
        Ok(self.0.last_index(group).unwrap_or(0))
    }

    fn sync(&self) -> Result<()> {
        self.0.sync().map_err(Error::store)
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
