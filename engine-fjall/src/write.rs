//! From the contract's batches to one of fjall's.

use std::collections::BTreeMap;

use fjall::{OwnedWriteBatch, Readable, Snapshot};
use kvlogdb_engine_api::{LogKey, LogName, MetaKey, Operation, Result, WriteBatch, chunk};

use crate::layout::{Keyspaces, PIECE_BYTES};
use crate::read::failed;

/// The fjall batch that does what `batches` say, in order.
///
/// fjall cannot remove a range, so every key that is there gets its own tombstone: those in the
/// store and those that the call itself put before. Where one batch names a key twice, fjall keeps
/// what came last. `view` shows everything that was committed, and the caller lets no other write
/// in until the batch is.
pub(crate) fn assemble(
    store: &Keyspaces,
    view: &Snapshot,
    batches: &[&WriteBatch],
) -> Result<OwnedWriteBatch> {
    let operations = || batches.iter().flat_map(|batch| batch.operations());
    let count = batches.iter().map(|batch| batch.len()).sum();
    let mut assembly = Assembly {
        store,
        view,
        batch: OwnedWriteBatch::with_capacity(store.db.clone(), count),
        removals_ahead: operations().filter(removes_entries).count(),
        entries: BTreeMap::new(),
        large_meta: BTreeMap::new(),
    };
    for operation in operations() {
        match operation {
            Operation::PutEntry { key, value } => assembly.put_entry(key, value),
            Operation::RemoveEntries { log, first, last } => {
                assembly.remove_entries(log, first, last)?;
            }
            Operation::RemoveLog { log } => assembly.remove_entries(log, 0, u64::MAX)?,
            Operation::PutMeta { key, value } => assembly.put_meta(key, value)?,
            Operation::RemoveMeta { key } => assembly.remove_meta(key)?,
        }
    }
    Ok(assembly.batch)
}

fn removes_entries(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::RemoveEntries { .. } | Operation::RemoveLog { .. })
}

struct Assembly<'a> {
    store: &'a Keyspaces,
    view: &'a Snapshot,
    batch: OwnedWriteBatch,
    removals_ahead: usize,
    /// What the call has put and a later removal may cover, with the number of pieces.
    entries: BTreeMap<LogKey, u32>,
    /// The metadata that the call has put in more than one piece, with the number of pieces.
    large_meta: BTreeMap<MetaKey, u32>,
}

impl Assembly<'_> {
    fn put_entry(&mut self, key: LogKey, value: &[u8]) {
        let mut count = 0;
        for (chunk, piece) in chunk::split(value, PIECE_BYTES) {
            let bytes = key.encode_chunk(chunk);
            self.batch.insert(&self.store.log, bytes.as_ref(), piece);
            count = chunk + 1;
        }
        if self.removals_ahead > 0 {
            let pieces = self.entries.entry(key).or_default();
            *pieces = count.max(*pieces);
        }
    }

    fn remove_entries(&mut self, log: LogName, first: u64, last: u64) -> Result<()> {
        self.removals_ahead -= 1;
        if first > last {
            return Ok(());
        }
        let keys = log.at(first)..=log.at(last);
        let range = keys.start().encode()..=keys.end().encode_last();
        for item in self.view.range(&self.store.log, range) {
            let key = item.key().map_err(failed)?;
            // a copy, because the slice would keep its whole block in memory
            self.batch.remove(&self.store.log, &*key);
        }
        while let Some((&key, &count)) = self.entries.range(keys.clone()).next() {
            for chunk in 0..count {
                let bytes = key.encode_chunk(chunk);
                self.batch.remove(&self.store.log, bytes.as_ref());
            }
            self.entries.remove(&key);
        }
        Ok(())
    }

    fn put_meta(&mut self, key: MetaKey, value: &[u8]) -> Result<()> {
        let mut count = 0;
        for (chunk, piece) in chunk::split(value, PIECE_BYTES) {
            let bytes = key.encode_chunk(chunk);
            self.batch.insert(&self.store.meta, bytes.as_ref(), piece);
            count = chunk + 1;
        }
        self.remove_pieces(key, count)?;
        if count > 1 {
            self.large_meta.insert(key, count);
        }
        Ok(())
    }

    fn remove_meta(&mut self, key: MetaKey) -> Result<()> {
        let bytes = key.encode();
        self.batch.remove(&self.store.meta, bytes.as_ref());
        self.remove_pieces(key, 1)
    }

    /// Removes the pieces from number `from` up, `from` being at least 1, of what `key` had before.
    fn remove_pieces(&mut self, key: MetaKey, from: u32) -> Result<()> {
        let meta = &self.store.meta;
        let first_len = self.view.size_of(meta, key.encode()).map_err(failed)?;
        if first_len.is_some_and(|len| chunk::continues(len as usize, PIECE_BYTES)) {
            let range = key.encode_chunk(from)..=key.encode_last();
            for item in self.view.range(meta, range) {
                let key = item.key().map_err(failed)?;
                self.batch.remove(meta, &*key);
            }
        }
        for chunk in from..self.large_meta.remove(&key).unwrap_or_default() {
            let bytes = key.encode_chunk(chunk);
            self.batch.remove(meta, bytes.as_ref());
        }
        Ok(())
    }
}
