//! The unit of atomicity: one arena of operations.

use std::fmt;

use crate::key::{LogKey, LogName, MetaKey, ReplicaId, Scope};
use crate::{Error, MAX_BATCH_BYTES, MAX_VALUE_BYTES, Result};

/// One change to a store. Every bound is inclusive.
///
/// The enum is exhaustive on purpose: a new operation must break every engine at compile time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Sets an entry, whether or not it exists. Holes are legal.
    PutEntry {
        /// The entry's key.
        key: LogKey,
        /// The entry's value; may be empty.
        value: &'a [u8],
    },
    /// Removes the entries `first..=last` of one log; absent ones are no error.
    RemoveEntries {
        /// The log.
        log: LogName,
        /// The first index to remove.
        first: u64,
        /// The last index to remove; nothing is removed when it is below `first`.
        last: u64,
    },
    /// Removes every entry of one log.
    RemoveLog {
        /// The log.
        log: LogName,
    },
    /// Sets a metadata value.
    PutMeta {
        /// The value's key.
        key: MetaKey,
        /// The value; may be empty.
        value: &'a [u8],
    },
    /// Removes a metadata value; an absent one is no error.
    RemoveMeta {
        /// The value's key.
        key: MetaKey,
    },
}

/// Operations that are applied in order, and all or none of them.
///
/// A later operation sees what the earlier ones did: a removal also covers what the same batch put
/// before it. The operations and the bytes of their values stand one behind the other in one
/// arena, so that neither building a batch nor reading it allocates for an operation, and
/// [`clear`](Self::clear) keeps the arena for the next batch.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::{LogName, Operation, WriteBatch};
///
/// let log = LogName::default();
/// let mut batch = WriteBatch::new();
/// batch.remove_entries(log, 5, u64::MAX);
/// batch.put_entry(log.at(5), &[b"header", b"payload"])?;
/// let last = batch.operations().last();
/// assert_eq!(last, Some(Operation::PutEntry { key: log.at(5), value: b"headerpayload" }));
/// # Ok::<(), kvlogdb_engine_api::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct WriteBatch {
    arena: Vec<u8>,
    count: usize,
}

const PUT_ENTRY: u8 = 1;
const REMOVE_ENTRIES: u8 = 2;
const REMOVE_LOG: u8 = 3;
const PUT_META: u8 = 4;
const REMOVE_META: u8 = 5;
const SCOPE_STORE: u8 = 0;
const SCOPE_REPLICA: u8 = 1;

impl WriteBatch {
    /// A batch without operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds [`Operation::PutEntry`]; the value is the concatenation of `parts`.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] where the value or the batch would be over its limit; the batch is then
    /// unchanged.
    pub fn put_entry(&mut self, key: LogKey, parts: &[&[u8]]) -> Result<()> {
        let len = self.check_room(parts)?;
        self.push_log(PUT_ENTRY, key.log);
        self.push_u64(key.index);
        self.push_value(parts, len);
        Ok(())
    }

    /// Adds [`Operation::RemoveEntries`]: both bounds are inclusive.
    pub fn remove_entries(&mut self, log: LogName, first: u64, last: u64) {
        self.push_log(REMOVE_ENTRIES, log);
        self.push_u64(first);
        self.push_u64(last);
    }

    /// Adds [`Operation::RemoveLog`].
    pub fn remove_log(&mut self, log: LogName) {
        self.push_log(REMOVE_LOG, log);
    }

    /// Adds [`Operation::PutMeta`]; the value is the concatenation of `parts`.
    ///
    /// # Errors
    ///
    /// As [`put_entry`](Self::put_entry).
    pub fn put_meta(&mut self, key: MetaKey, parts: &[&[u8]]) -> Result<()> {
        let len = self.check_room(parts)?;
        self.push_meta(PUT_META, key);
        self.push_value(parts, len);
        Ok(())
    }

    /// Adds [`Operation::RemoveMeta`].
    pub fn remove_meta(&mut self, key: MetaKey) {
        self.push_meta(REMOVE_META, key);
    }

    /// The operations in the order in which they were added.
    pub fn operations(&self) -> Operations<'_> {
        Operations { rest: &self.arena }
    }

    /// How many operations the batch holds.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the batch holds no operation.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size of the arena: keys, values and a few bytes an operation.
    pub fn len_bytes(&self) -> usize {
        self.arena.len()
    }

    /// The arena, for engines that store batches as they stand: [`Operations::decode`] reads it,
    /// and several of them one behind the other, too. Engines keep this form on disks, so changing
    /// it changes their layouts. It has no checksum of its own.
    pub fn as_bytes(&self) -> &[u8] {
        &self.arena
    }

    /// Drops the operations and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.count = 0;
    }

    fn check_room(&self, parts: &[&[u8]]) -> Result<u32> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        within("a value", len, MAX_VALUE_BYTES)?;
        within("a batch", self.arena.len().saturating_add(len), MAX_BATCH_BYTES)?;
        u32::try_from(len).map_err(|_| too_large("a value", len, MAX_VALUE_BYTES))
    }

    fn push_log(&mut self, operation: u8, log: LogName) {
        self.count += 1;
        self.arena.push(operation);
        self.push_replica(log.replica);
        self.arena.extend_from_slice(&log.incarnation.to_le_bytes());
    }

    fn push_meta(&mut self, operation: u8, key: MetaKey) {
        self.count += 1;
        self.arena.push(operation);
        match key.scope {
            Scope::Store => self.arena.push(SCOPE_STORE),
            Scope::Replica(replica) => {
                self.arena.push(SCOPE_REPLICA);
                self.push_replica(replica);
            }
        }
        self.arena.extend_from_slice(&key.slot.to_le_bytes());
    }

    fn push_replica(&mut self, replica: ReplicaId) {
        self.push_u64(replica.group);
        self.push_u64(replica.node);
    }

    fn push_u64(&mut self, value: u64) {
        self.arena.extend_from_slice(&value.to_le_bytes());
    }

    fn push_value(&mut self, parts: &[&[u8]], len: u32) {
        self.arena.extend_from_slice(&len.to_le_bytes());
        for part in parts {
            self.arena.extend_from_slice(part);
        }
    }
}

impl fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.operations()).finish()
    }
}

fn within(what: &'static str, len_bytes: usize, limit_bytes: usize) -> Result<()> {
    if len_bytes > limit_bytes {
        return Err(too_large(what, len_bytes, limit_bytes));
    }
    Ok(())
}

fn too_large(what: &'static str, len_bytes: usize, limit_bytes: usize) -> Error {
    Error::TooLarge { what, len_bytes, limit_bytes }
}

/// The operations of a [`WriteBatch`], borrowed from its arena.
#[derive(Debug, Clone)]
pub struct Operations<'a> {
    /// Whole operations only.
    rest: &'a [u8],
}

impl<'a> Operations<'a> {
    /// The operations in bytes that [`WriteBatch::as_bytes`] gave, `None` where the bytes are
    /// anything else.
    ///
    /// # Examples
    ///
    /// ```
    /// use kvlogdb_engine_api::{LogName, WriteBatch, batch::Operations};
    ///
    /// let mut batch = WriteBatch::new();
    /// batch.put_entry(LogName::default().at(1), &[b"first"])?;
    /// let stored = batch.as_bytes().to_vec();
    /// assert!(Operations::decode(&stored).unwrap().eq(batch.operations()));
    /// assert!(Operations::decode(&stored[1..]).is_none());
    /// # Ok::<(), kvlogdb_engine_api::Error>(())
    /// ```
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut checked = Self { rest: bytes };
        while !checked.rest.is_empty() {
            checked.step()?;
        }
        Some(Self { rest: bytes })
    }

    /// The next operation, `None` where the bytes are none.
    fn step(&mut self) -> Option<Operation<'a>> {
        let [operation] = self.array()?;
        Some(match operation {
            PUT_ENTRY => {
                let log = self.log()?;
                Operation::PutEntry { key: log.at(self.u64()?), value: self.value()? }
            }
            REMOVE_ENTRIES => {
                let log = self.log()?;
                Operation::RemoveEntries { log, first: self.u64()?, last: self.u64()? }
            }
            REMOVE_LOG => Operation::RemoveLog { log: self.log()? },
            PUT_META => Operation::PutMeta { key: self.meta()?, value: self.value()? },
            REMOVE_META => Operation::RemoveMeta { key: self.meta()? },
            _ => return None,
        })
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn replica(&mut self) -> Option<ReplicaId> {
        Some(ReplicaId { group: self.u64()?, node: self.u64()? })
    }

    fn log(&mut self) -> Option<LogName> {
        let replica = self.replica()?;
        Some(LogName { replica, incarnation: self.array().map(u32::from_le_bytes)? })
    }

    fn meta(&mut self) -> Option<MetaKey> {
        let scope = match self.array()? {
            [SCOPE_STORE] => Scope::Store,
            [SCOPE_REPLICA] => Scope::Replica(self.replica()?),
            _ => return None,
        };
        Some(MetaKey { scope, slot: self.array().map(u16::from_le_bytes)? })
    }

    fn value(&mut self) -> Option<&'a [u8]> {
        let len = self.array().map(u32::from_le_bytes)?;
        self.take(usize::try_from(len).ok()?)
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        self.step()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICA: ReplicaId = ReplicaId { group: u64::MAX, node: 1 };
    const LOG: LogName = LogName { replica: REPLICA, incarnation: u32::MAX };

    #[test]
    fn operations_come_back_in_order_with_their_bytes() {
        let mut batch = WriteBatch::new();
        batch.put_entry(LOG.at(u64::MAX), &[b"a", b"", b"bc"]).unwrap();
        batch.put_entry(LOG.at(0), &[]).unwrap();
        batch.remove_entries(LOG, 0, u64::MAX);
        batch.remove_log(LOG);
        batch.put_meta(MetaKey::store(u16::MAX), &[b"store"]).unwrap();
        batch.put_meta(MetaKey::replica(REPLICA, 256), &[]).unwrap();
        batch.remove_meta(MetaKey::replica(REPLICA, 0));
        let expected = [
            Operation::PutEntry { key: LOG.at(u64::MAX), value: b"abc" },
            Operation::PutEntry { key: LOG.at(0), value: b"" },
            Operation::RemoveEntries { log: LOG, first: 0, last: u64::MAX },
            Operation::RemoveLog { log: LOG },
            Operation::PutMeta { key: MetaKey::store(u16::MAX), value: b"store" },
            Operation::PutMeta { key: MetaKey::replica(REPLICA, 256), value: b"" },
            Operation::RemoveMeta { key: MetaKey::replica(REPLICA, 0) },
        ];
        assert!(batch.operations().eq(expected));
        assert_eq!(batch.len(), expected.len());
    }

    #[test]
    fn an_arena_reads_back_from_its_bytes_and_no_cut_of_it_does() {
        let mut batch = WriteBatch::new();
        batch.put_entry(LOG.at(7), &[b"abc"]).unwrap();
        batch.remove_entries(LOG, 0, u64::MAX);
        batch.remove_log(LOG);
        batch.put_meta(MetaKey::store(3), &[b"store"]).unwrap();
        batch.remove_meta(MetaKey::replica(REPLICA, 0));
        let bytes = batch.as_bytes();
        let mut ends = 0;
        for len in 0..=bytes.len() {
            let count = Operations::decode(&bytes[..len]).map(Iterator::count);
            assert!(count.is_none_or(|count| count == ends), "{len}: {count:?}");
            ends += usize::from(count.is_some());
        }
        assert_eq!(ends, batch.len() + 1);
        let twice = [bytes, bytes].concat();
        let decoded = Operations::decode(&twice).unwrap();
        assert!(decoded.eq(batch.operations().chain(batch.operations())));
        for foreign in [&[0][..], &[6], &[REMOVE_META, 2, 0, 0]] {
            assert!(Operations::decode(foreign).is_none(), "{foreign:?}");
        }
    }

    #[test]
    fn a_value_over_the_limit_leaves_the_batch_as_it_was() {
        let mut batch = WriteBatch::new();
        batch.put_entry(LOG.at(1), &[b"kept"]).unwrap();
        let before = batch.len_bytes();
        let large = vec![0; MAX_VALUE_BYTES];
        let refused = batch.put_entry(LOG.at(2), &[&large, b"1"]);
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
        assert_eq!((batch.len(), batch.len_bytes()), (1, before));
        batch.put_entry(LOG.at(2), &[&large]).unwrap();
        assert_eq!(batch.operations().count(), 2);
    }

    #[test]
    fn a_batch_over_the_limit_is_refused_before_it_grows() {
        let mut batch = WriteBatch::new();
        let large = vec![0; MAX_VALUE_BYTES];
        while batch.len_bytes() + large.len() <= MAX_BATCH_BYTES {
            batch.put_meta(MetaKey::store(1), &[&large]).unwrap();
        }
        let before = (batch.len(), batch.len_bytes());
        assert!(matches!(
            batch.put_meta(MetaKey::store(1), &[&large]),
            Err(Error::TooLarge { what: "a batch", .. })
        ));
        assert_eq!((batch.len(), batch.len_bytes()), before);
        batch.clear();
        assert!(batch.is_empty() && batch.operations().next().is_none());
    }
}
