//! SQLite with a write-ahead log and a sync in every commit.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kvlogdb::Durability;
use kvlogdb_compare::{Done, Error, Result, Store, Visitor};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// One connection for all: SQLite has one writer.
pub(crate) struct Sqlite(Mutex<Connection>);

impl Sqlite {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(dir.join("log.sqlite"))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(
                "create table if not exists log (
                    replica integer, position integer, payload blob,
                    primary key (replica, position)
                ) without rowid",
            )?;
            Ok(connection)
        };
        Ok(Self(Mutex::new(open().map_err(Error::store)?)))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        let mut connection = self.lock();
        let run = || -> rusqlite::Result<()> {
            let level = if durability == Durability::Synced { "FULL" } else { "OFF" };
            connection.pragma_update(None, "synchronous", level)?;
            let transaction = connection.transaction()?;
            change(&transaction)?;
            transaction.commit()
        };
        run().map_err(Error::store)
    }
}

fn put(to: &Transaction<'_>, group: u64, first: u64, payloads: &[Bytes]) -> rusqlite::Result<()> {
    let mut insert = to.prepare_cached("insert into log values (?1, ?2, ?3)")?;
    for (index, payload) in (first..).zip(payloads) {
        insert.execute(params![group.cast_signed(), index.cast_signed(), &payload[..]])?;
    }
    Ok(())
}

impl Store for Sqlite {
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()> {
        self.write(durability, |transaction| put(transaction, group, first, payloads))
    }

    fn submit(&self, _: u64, _: u64, _: &[Bytes], _: Done) -> Result<()> {
        Err(Error::Unsupported("SQLite only blocks"))
    }

    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()> {
        self.write(Durability::Synced, |transaction| {
            let from = params![group.cast_signed(), first.cast_signed()];
            transaction.execute("delete from log where replica = ?1 and position >= ?2", from)?;
            put(transaction, group, first, payloads)
        })
    }

    fn purge(&self, group: u64, last: u64) -> Result<()> {
        self.write(Durability::Synced, |transaction| {
            let to = params![group.cast_signed(), last.cast_signed()];
            transaction.execute("delete from log where replica = ?1 and position <= ?2", to)?;
            Ok(())
        })
    }

    fn waiting_for_deletion(&self) -> u64 {
        0
    }

    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool> {
        Ok(self.read(group, index, 1, visit)? == 1)
    }

    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64> {
        let connection = self.lock();
        let mut run = || -> rusqlite::Result<u64> {
            let mut select = connection.prepare_cached(
                "select position, payload from log
                 where replica = ?1 and position >= ?2 and position < ?3 order by position",
            )?;
            let (from, to) = (first.cast_signed(), first.saturating_add(count).cast_signed());
            let mut rows = select.query(params![group.cast_signed(), from, to])?;
            let mut read = 0;
            while let Some(row) = rows.next()? {
                let payload = row.get_ref(1)?.as_blob()?;
                visit(row.get::<_, i64>(0)?.cast_unsigned(), payload);
                read += 1;
            }
            Ok(read)
        };
        run().map_err(Error::store)
    }

    fn last(&self, group: u64) -> Result<u64> {
        let select = "select max(position) from log where replica = ?1";
        let found = self.lock().query_row(select, params![group.cast_signed()], |row| row.get(0));
        let last: Option<Option<i64>> = found.optional().map_err(Error::store)?;
        Ok(last.flatten().map_or(0, i64::cast_unsigned))
    }

    fn sync(&self) -> Result<()> {
        // A commit that syncs makes what was written before it durable, too.
        self.write(Durability::Synced, |transaction| {
            let nothing = params![0, 0, &[0_u8; 0][..]];
            transaction.execute("insert or replace into log values (?1, ?2, ?3)", nothing)?;
            Ok(())
        })
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
