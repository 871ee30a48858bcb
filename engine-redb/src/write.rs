//! Applying batches to a transaction.

use kvlogdb_engine_api::key::KeyBytes;
use kvlogdb_engine_api::{LogKey, MetaKey, Operation, ReplicaId, chunk};
use redb::{ReadableTableMetadata, WriteTransaction};

use crate::layout::{self, Definition, META, PIECE_BYTES};

type Table<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;
type Result<T> = std::result::Result<T, redb::Error>;

/// Applies operations to the tables of one transaction, of which it keeps two open: metadata, and
/// the log used last. Batches are grouped by replica, so that each table is opened about once.
pub(crate) struct Writer<'t> {
    transaction: &'t WriteTransaction,
    meta: Option<Table<'t>>,
    log: Option<(ReplicaId, Table<'t>)>,
}

impl<'t> Writer<'t> {
    pub(crate) fn new(transaction: &'t WriteTransaction) -> Self {
        Self { transaction, meta: None, log: None }
    }

    pub(crate) fn apply(&mut self, operation: Operation<'_>) -> Result<()> {
        match operation {
            Operation::PutEntry { key, value } => {
                let key_of = |chunk| key.encode_chunk(chunk);
                put(self.log(key.log.replica)?, value, key_of, KeyBytes::within_replica)
            }
            Operation::RemoveEntries { log, first, last } if first <= last => {
                self.remove_entries(log.at(first), log.at(last))
            }
            Operation::RemoveEntries { .. } => Ok(()),
            Operation::RemoveLog { log } => self.remove_entries(log.at(0), log.at(u64::MAX)),
            Operation::PutMeta { key, value } => {
                put(self.meta()?, value, |chunk| key.encode_chunk(chunk), KeyBytes::as_ref)
            }
            Operation::RemoveMeta { key } => self.remove_meta(key),
        }
    }

    /// Closes the tables; the transaction can be committed after that.
    pub(crate) fn finish(mut self) -> Result<()> {
        match self.log.take() {
            Some((_, table)) => self.close(table),
            None => Ok(()),
        }
    }

    fn remove_entries(&mut self, first: LogKey, last: LogKey) -> Result<()> {
        let table = self.log(first.log.replica)?;
        remove(table, first.encode().within_replica(), last.encode_last().within_replica())
    }

    fn remove_meta(&mut self, key: MetaKey) -> Result<()> {
        remove(self.meta()?, &key.encode(), &key.encode_last())
    }

    fn meta(&mut self) -> Result<&mut Table<'t>> {
        match &mut self.meta {
            Some(table) => Ok(table),
            none => Ok(none.insert(self.transaction.open_table(META)?)),
        }
    }

    fn log(&mut self, replica: ReplicaId) -> Result<&mut Table<'t>> {
        if let Some((_, table)) = self.log.take_if(|(open, _)| *open != replica) {
            self.close(table)?;
        }
        match &mut self.log {
            Some((_, table)) => Ok(table),
            none => {
                let name = layout::log_table(replica);
                let table = self.transaction.open_table(Definition::new(&name))?;
                Ok(&mut none.insert((replica, table)).1)
            }
        }
    }

    /// A log without entries has no table, so that removed replicas cost nothing.
    fn close(&self, table: Table<'t>) -> Result<()> {
        if table.is_empty()? {
            self.transaction.delete_table(table)?;
        }
        Ok(())
    }
}

/// Puts a value in pieces. Pieces of a longer value that stood there before are removed; whether
/// there are any is known from the piece that was replaced.
fn put(
    table: &mut Table<'_>,
    value: &[u8],
    key_of: impl Fn(u32) -> KeyBytes,
    stored: fn(&KeyBytes) -> &[u8],
) -> Result<()> {
    let mut was_split = false;
    let mut next = 0;
    for (chunk, piece) in chunk::split(value, PIECE_BYTES) {
        let replaced = table.insert(stored(&key_of(chunk)), piece)?;
        was_split |= replaced.is_some_and(|old| chunk::continues(old.value().len(), PIECE_BYTES));
        next = chunk + 1;
    }
    if was_split {
        remove(table, stored(&key_of(next)), stored(&key_of(u32::MAX)))?;
    }
    Ok(())
}

fn remove(table: &mut Table<'_>, first: &[u8], last: &[u8]) -> Result<()> {
    Ok(table.retain_in(first..=last, |_, _| false)?)
}
