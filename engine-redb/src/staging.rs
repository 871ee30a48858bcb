//! Small writes wait here for company.
//!
//! A commit of redb writes a page or two for every table that it touches, so a write of a few
//! entries of many replicas costs many times its size. Such a write is therefore kept whole, as
//! one **blob** at the right edge of a table of its own, where it costs little more than its bytes.
//! What waits there is also held in memory, where reads find it: [`Staged`] lies over the tables,
//! and where both have a key, it is right. When enough has gathered, one transaction puts all of it
//! into the tables and removes the blobs ([`Staged::settle`]).
//!
//! Removals of entries do not wait: a write that has them takes the entries out of the tables in
//! its own transaction, and out of [`Staged`]. So what is staged only ever adds entries, and a
//! settled store is the staged one with every key put. The blob keeps the removals in their place
//! among the other operations, which is all that [`load`] needs to come to the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};

use bytes::{Bytes, BytesMut};
use kvlogdb_engine_api::batch::Operations;
use kvlogdb_engine_api::{
    Error, LogKey, LogName, MetaKey, Operation, Order, Result, WriteBatch, chunk,
};
use redb::{ReadTransaction, TableHandle, WriteTransaction};

use crate::layout::{STAGED, STAGED_PIECE_BYTES};
use crate::read;
use crate::write::Writer;

/// A write of more than this is not staged: its tables are touched for good reason.
const MAX_BLOB_BYTES: usize = 128 << 10;
/// The most that is staged, which bounds the memory it takes and what opening reads.
const MAX_STAGED_BYTES: usize = 4 << 20;
const MAX_STAGED_OPERATIONS: usize = 4096;

const CHECKSUM_BYTES: usize = 4;

/// The writes that wait, as their net effect on the tables.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    entries: BTreeMap<LogName, BTreeMap<u64, Bytes>>,
    meta: BTreeMap<MetaKey, Late>,
    blobs: u64,
    bytes: usize,
    operations: usize,
}

/// What is staged for a key; it goes before what the tables have.
#[derive(Debug, Clone)]
pub(crate) enum Late {
    Put(Bytes),
    Removed,
}

/// What a commit does.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing of its own: it makes earlier ones durable.
    Sync,
    /// Its batches wait, as one blob.
    Stage(Blob),
    /// What is staged goes into the tables, and its batches behind it.
    Settle,
}

/// One write as it is stored: `[le32 CRC-32C of all that follows and of the number] [arenas]`.
#[derive(Debug)]
pub(crate) struct Blob {
    number: u64,
    bytes: Bytes,
    operations: usize,
}

impl Blob {
    fn len_bytes(batches: &[&WriteBatch]) -> usize {
        batches.iter().fold(CHECKSUM_BYTES, |len_bytes, batch| len_bytes + batch.len_bytes())
    }

    fn new(number: u64, batches: &[&WriteBatch]) -> Self {
        let mut bytes = BytesMut::with_capacity(Self::len_bytes(batches));
        bytes.extend_from_slice(&[0; CHECKSUM_BYTES]);
        for batch in batches {
            bytes.extend_from_slice(batch.as_bytes());
        }
        if let Some((checksum, arenas)) = bytes.split_first_chunk_mut() {
            *checksum = checksum_of(number, arenas);
        }
        let operations = batches.iter().map(|batch| batch.len()).sum();
        Self { number, bytes: bytes.freeze(), operations }
    }

    /// A blob as it was found under `number`.
    fn check(number: u64, bytes: Bytes) -> Result<Self> {
        let operations = bytes.split_first_chunk().and_then(|(checksum, arenas)| {
            let sound = *checksum == checksum_of(number, arenas);
            Operations::decode(arenas).filter(|_| sound).map(Iterator::count)
        });
        let damaged = || Error::corrupt(format!("write {number} of those that redb's file stages"));
        Ok(Self { number, operations: operations.ok_or_else(damaged)?, bytes })
    }

    fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let arenas = self.bytes.get(CHECKSUM_BYTES..).and_then(Operations::decode);
        arenas.into_iter().flatten()
    }
}

fn checksum_of(number: u64, arenas: &[u8]) -> [u8; CHECKSUM_BYTES] {
    crc32c::crc32c_append(crc32c::crc32c(arenas), &number.to_be_bytes()).to_le_bytes()
}

/// The key of a piece of a blob: `[be64 number] [be32 piece]`, which sorts at the right edge.
fn key(number: u64, piece: u32) -> [u8; 12] {
    let mut key = [0; 12];
    if let Some((head, tail)) = key.split_first_chunk_mut() {
        *head = number.to_be_bytes();
        tail.copy_from_slice(&piece.to_be_bytes());
    }
    key
}

fn decode_key(bytes: &[u8]) -> Option<(u64, u32)> {
    let (number, piece) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), u32::from_be_bytes(piece.try_into().ok()?)))
}

/// What was staged when the store was closed or broke off.
///
/// # Errors
///
/// [`Error::Corrupt`] for a blob that is not as it was written, or is missing.
pub(crate) fn load(view: &ReadTransaction) -> Result<Staged> {
    let mut staged = Staged::default();
    let Some(table) = read::table(view, STAGED.name())? else {
        return Ok(staged);
    };
    let mut stored = read::pairs(&table, (Bound::Unbounded, Bound::Unbounded))?;
    let mut next = || -> Result<Option<(u64, u32, Bytes)>> {
        let Some((key, piece)) = read::next(&mut stored, Order::Ascending)? else {
            return Ok(None);
        };
        let (number, count) = decode_key(key.value())
            .ok_or_else(|| Error::corrupt("redb's file stages a write under no key of ours"))?;
        Ok(Some((number, count, Bytes::copy_from_slice(piece.value()))))
    };
    while let Some((number, piece, first)) = next()? {
        if (number, piece) != (staged.blobs, 0) {
            return Err(Error::corrupt(format!("redb's file lacks staged write {}", staged.blobs)));
        }
        let joined = chunk::join(&first, STAGED_PIECE_BYTES, |wanted| {
            Ok(next()?.filter(|(at, piece, _)| (*at, *piece) == (number, wanted)).map(|it| it.2))
        })?;
        staged.add(&Blob::check(number, joined.into_owned().into())?);
    }
    Ok(staged)
}

/// Stores a blob, and does in the tables what cannot wait.
pub(crate) fn store(blob: &Blob, transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(STAGED)?;
    for (piece, bytes) in chunk::split(&blob.bytes, STAGED_PIECE_BYTES) {
        table.insert(&key(blob.number, piece)[..], bytes)?;
    }
    drop(table);
    let mut writer = Writer::new(transaction);
    for operation in blob.operations() {
        match operation {
            Operation::RemoveEntries { .. } | Operation::RemoveLog { .. } => {
                writer.apply(operation)?;
            }
            Operation::PutEntry { .. }
            | Operation::PutMeta { .. }
            | Operation::RemoveMeta { .. } => {}
        }
    }
    writer.finish()
}

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        self.blobs == 0
    }

    /// What a write comes to.
    pub(crate) fn next_step(&self, batches: &[&WriteBatch]) -> Step {
        let len_bytes = Blob::len_bytes(batches);
        let operations: usize = batches.iter().map(|batch| batch.len()).sum();
        if operations == 0 {
            return Step::Sync;
        }
        let fits = len_bytes <= MAX_BLOB_BYTES
            && self.bytes + len_bytes <= MAX_STAGED_BYTES
            && self.operations + operations <= MAX_STAGED_OPERATIONS;
        if fits { Step::Stage(Blob::new(self.blobs, batches)) } else { Step::Settle }
    }

    /// Follows a step that has been committed.
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Sync => {}
            Step::Stage(blob) => self.add(&blob),
            Step::Settle => *self = Self::default(),
        }
    }

    fn add(&mut self, blob: &Blob) {
        self.blobs += 1;
        self.bytes += blob.bytes.len();
        self.operations += blob.operations;
        for operation in blob.operations() {
            match operation {
                Operation::PutEntry { key, value } => {
                    let value = blob.bytes.slice_ref(value);
                    self.entries.entry(key.log).or_default().insert(key.index, value);
                }
                Operation::RemoveEntries { log, first, last } if first <= last => {
                    self.remove_entries(log, first..=last);
                }
                Operation::RemoveEntries { .. } => {}
                Operation::RemoveLog { log } => {
                    self.entries.remove(&log);
                }
                Operation::PutMeta { key, value } => {
                    self.meta.insert(key, Late::Put(blob.bytes.slice_ref(value)));
                }
                Operation::RemoveMeta { key } => {
                    self.meta.insert(key, Late::Removed);
                }
            }
        }
    }

    fn remove_entries(&mut self, log: LogName, range: RangeInclusive<u64>) {
        let Some(entries) = self.entries.get_mut(&log) else {
            return;
        };
        entries.retain(|index, _| !range.contains(index));
        if entries.is_empty() {
            self.entries.remove(&log);
        }
    }

    /// Puts all that is staged into the tables, and removes the blobs.
    pub(crate) fn settle(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut writer = Writer::new(transaction);
        for (&log, entries) in &self.entries {
            for (&index, value) in entries {
                writer.apply(Operation::PutEntry { key: log.at(index), value })?;
            }
        }
        for (&key, value) in &self.meta {
            writer.apply(match value {
                Late::Put(value) => Operation::PutMeta { key, value },
                Late::Removed => Operation::RemoveMeta { key },
            })?;
        }
        writer.finish()?;
        transaction.delete_table(STAGED)?;
        Ok(())
    }

    pub(crate) fn entry(&self, key: LogKey) -> Option<Bytes> {
        // a copy, because the slice would keep its whole blob in memory
        self.entries.get(&key.log)?.get(&key.index).map(|value| Bytes::copy_from_slice(value))
    }

    /// The staged entries of a range, up to the one with which they reach `budget_bytes`.
    pub(crate) fn entries(
        &self,
        log: LogName,
        range: &RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
    ) -> Vec<(u64, Late)> {
        let Some(entries) = self.entries.get(&log).filter(|_| !range.is_empty()) else {
            return Vec::new();
        };
        let mut found = entries.range(range.clone());
        let mut taken = Vec::new();
        let mut taken_bytes = 0_usize;
        loop {
            let next = match order {
                Order::Ascending => found.next(),
                Order::Descending => found.next_back(),
            };
            let Some((&index, value)) =
                next.filter(|_| taken.is_empty() || taken_bytes < budget_bytes)
            else {
                return taken;
            };
            taken_bytes = taken_bytes.saturating_add(value.len());
            taken.push((index, Late::Put(value.clone())));
        }
    }

    pub(crate) fn meta(&self, key: MetaKey) -> Option<Late> {
        Some(match self.meta.get(&key)? {
            Late::Put(value) => Late::Put(Bytes::copy_from_slice(value)),
            Late::Removed => Late::Removed,
        })
    }

    pub(crate) fn all_meta(&self) -> Vec<(MetaKey, Late)> {
        self.meta.iter().map(|(&key, value)| (key, value.clone())).collect()
    }

    pub(crate) fn logs(&self) -> BTreeSet<LogName> {
        self.entries.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(operations: usize, value_bytes: usize) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for index in 0..operations {
            let key = LogName::default().at(index as u64);
            batch.put_entry(key, &[&vec![0; value_bytes]]).unwrap();
        }
        batch
    }

    /// How many writes of this kind are staged before one settles.
    fn staged_before_one_settles(batch: &WriteBatch) -> usize {
        let mut staged = Staged::default();
        for count in 0.. {
            match staged.next_step(&[batch]) {
                Step::Settle => return count,
                step => staged.take(step),
            }
            assert!(staged.bytes <= MAX_STAGED_BYTES);
            assert!(staged.operations <= MAX_STAGED_OPERATIONS);
        }
        0
    }

    #[test]
    fn what_is_staged_is_bounded_in_operations_and_bytes_and_large_writes_are_not() {
        assert_eq!(staged_before_one_settles(&write(1, 10)), MAX_STAGED_OPERATIONS);
        assert_eq!(staged_before_one_settles(&write(32, 10)), MAX_STAGED_OPERATIONS / 32);
        let most = MAX_BLOB_BYTES - Blob::len_bytes(&[&write(1, 0)]);
        assert_eq!(staged_before_one_settles(&write(1, most)), MAX_STAGED_BYTES / MAX_BLOB_BYTES);
        assert_eq!(staged_before_one_settles(&write(1, most + 1)), 0);
    }

    #[test]
    fn a_settled_store_stages_anew() {
        let mut staged = Staged::default();
        staged.take(staged.next_step(&[&write(1, 10)]));
        assert!(!staged.is_empty() && staged.entry(LogName::default().at(0)).is_some());
        staged.take(Step::Settle);
        assert!(staged.is_empty() && staged.entry(LogName::default().at(0)).is_none());
    }

    #[test]
    fn the_bytes_of_a_blob_are_the_documented_ones() {
        let (first, second) = (write(1, 3), write(2, 0));
        let blob = Blob::new(7, &[&first, &second]);
        let mut expected = vec![0x5a; 4];
        expected.extend_from_slice(first.as_bytes());
        expected.extend_from_slice(second.as_bytes());
        let (checksum, arenas) = expected.split_first_chunk_mut().unwrap();
        *checksum = checksum_of(7, arenas);
        assert_eq!(&blob.bytes[..], expected);
        assert_eq!(Blob::check(7, expected.clone().into()).unwrap().operations, 3);
        assert!(Blob::check(8, expected.into()).is_err());
        assert!(Blob::check(7, Bytes::from_static(&[0; 3])).is_err());
        assert_eq!(key(1, 2), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(decode_key(&key(1, 2)), Some((1, 2)));
    }
}
