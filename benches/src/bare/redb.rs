//! redb with a table for each group.

use std::path::Path;

use ::redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition, TableError};
use bytes::Bytes;
use kvlogdb::Durability;
use kvlogdb_compare::{Done, Error, Result, Store, Visitor};

use super::{ONLY_BLOCKS, index, payload, value};

/// redb without a log. Every read opens a read transaction, as a reader has to who wants to see
/// the last write.
#[derive(Debug)]
pub struct BareRedb(Database);

type Table = ::redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

fn failed(error: impl Into<::redb::Error>) -> Error {
    Error::store(error.into())
}

/// A key as long as kvlogdb's in the table of a replica.
fn key(index: u64) -> [u8; 12] {
    let mut key = [0; 12];
    if let Some(at) = key.last_chunk_mut() {
        *at = index.to_be_bytes();
    }
    key
}

fn name(group: u64) -> String {
    format!("log/{group}")
}

fn definition(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

impl BareRedb {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let made = Database::builder().set_cache_size(16 << 20).create(dir.join("bare.redb"));
        Ok(Self(made.map_err(failed)?))
    }

    fn write(
        &self,
        group: u64,
        durability: Durability,
        change: impl FnOnce(&mut ::redb::Table<'_, &[u8], &[u8]>) -> Result<(), ::redb::Error>,
    ) -> Result<()> {
        let run = || -> Result<(), ::redb::Error> {
            let mut transaction = self.0.begin_write()?;
            if durability == Durability::Buffered {
                transaction.set_durability(::redb::Durability::None)?;
            }
            change(&mut transaction.open_table(definition(&name(group)))?)?;
            Ok(transaction.commit()?)
        };
        run().map_err(failed)
    }

    fn table(&self, group: u64) -> Result<Option<Table>> {
        let view: ReadTransaction = self.0.begin_read().map_err(failed)?;
        match view.open_table(definition(&name(group))) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Store for BareRedb {
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()> {
        let mut buffer = Vec::new();
        self.write(group, durability, |table| {
            for (index, payload) in (first..).zip(payloads) {
                value(payload, &mut buffer);
                table.insert(&key(index)[..], &buffer[..])?;
            }
            Ok(())
        })
    }

    fn submit(&self, _: u64, _: u64, _: &[Bytes], _: Done) -> Result<()> {
        Err(ONLY_BLOCKS)
    }

    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()> {
        let mut buffer = Vec::new();
        self.write(group, Durability::Synced, |table| {
            table.retain_in::<&[u8], _>(&key(first)[..].., |_, _| false)?;
            for (index, payload) in (first..).zip(payloads) {
                value(payload, &mut buffer);
                table.insert(&key(index)[..], &buffer[..])?;
            }
            Ok(())
        })
    }

    fn purge(&self, group: u64, last: u64) -> Result<()> {
        self.write(group, Durability::Synced, |table| {
            Ok(table.retain_in::<&[u8], _>(..=&key(last)[..], |_, _| false)?)
        })
    }

    fn waiting_for_deletion(&self) -> u64 {
        0
    }

    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool> {
        let Some(table) = self.table(group)? else { return Ok(false) };
        let found = ::redb::ReadableTable::get(&table, &key(index)[..]).map_err(failed)?;
        if let Some(value) = &found {
            visit(index, payload(value.value()));
        }
        Ok(found.is_some())
    }

    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64> {
        let Some(table) = self.table(group)? else { return Ok(0) };
        let (from, to) = (key(first), key(first.saturating_add(count)));
        let range = ::redb::ReadableTable::range::<&[u8]>(&table, &from[..]..&to[..]);
        let mut read = 0;
        for found in range.map_err(failed)? {
            let (key, value) = found.map_err(failed)?;
            visit(index(key.value()), payload(value.value()));
            read += 1;
        }
        Ok(read)
    }

    fn last(&self, group: u64) -> Result<u64> {
        let Some(table) = self.table(group)? else { return Ok(0) };
        let last = ::redb::ReadableTable::last(&table).map_err(failed)?;
        Ok(last.map_or(0, |(key, _)| index(key.value())))
    }

    fn sync(&self) -> Result<()> {
        // A durable commit publishes every commit before it.
        let run = || -> Result<(), ::redb::Error> { Ok(self.0.begin_write()?.commit()?) };
        run().map_err(failed)
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
