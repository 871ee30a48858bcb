//! One replica's log.

use std::ops::RangeBounds;
use std::sync::Arc;

use kvlogdb_engine_api::{Durability, FIRST_USER_SLOT, MetaKey, ReplicaId};

use bytes::Bytes;

use crate::read::{self, Limit, Scan};
use crate::record::{self, slot};
use crate::served::Live;
use crate::state::Replica;
use crate::types::{Boundary, Entry, HardState, LogId, Snapshot};
use crate::{Error, LogBatch, LogStore, Result};

/// One replica's log: a handle as cheap as its store's.
///
/// Reads see every write that has returned. What concerns terms and bounds is answered from
/// memory; entries and opaque values come from the engine, and every record is checked.
///
/// # Errors
///
/// Every call can answer [`Error::Damaged`] where the replica's own records do not hold together,
/// and an engine's refusal after a failure or a close.
///
/// # Examples
///
/// ```
/// # use std::sync::Arc;
/// # use kvlogdb_engine_api::MemoryEngine;
/// use kvlogdb_log::{Durability, Entry, LogId, LogOptions, LogStore, ReplicaId};
///
/// # let store = LogStore::open(|| Ok(Arc::new(MemoryEngine::new())), LogOptions::default())?;
/// let log = store.log(ReplicaId::from(7));
/// log.append(vec![Entry::new(1, 1, "a"), Entry::new(1, 2, "b")], Durability::Synced)?;
/// log.replace_from(vec![Entry::new(2, 2, "c"), Entry::new(2, 3, "d")], Durability::Synced)?;
/// log.purge_through(LogId::new(1, 1), Durability::Synced)?;
///
/// assert_eq!((log.first_index()?, log.last_index()?), (Some(2), Some(3)));
/// assert_eq!(log.term(1)?, 1); // the boundary's term stays known
/// let payloads: Vec<_> = log.entries(.., u64::MAX)?.into_iter().map(|e| e.payload).collect();
/// assert_eq!(payloads, ["c", "d"]);
/// # Ok::<(), kvlogdb_log::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Log {
    pub(crate) store: LogStore,
    pub(crate) replica: ReplicaId,
}

impl Log {
    pub(crate) fn new(store: LogStore, replica: ReplicaId) -> Self {
        Self { store, replica }
    }

    /// Whose log this is.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The store that the log is in.
    pub fn store(&self) -> &LogStore {
        &self.store
    }

    /// Appends entries; see [`LogBatch::append`].
    pub fn append(&self, entries: impl Into<Vec<Entry>>, durability: Durability) -> Result<()> {
        self.write(durability, |batch, replica| {
            batch.append(replica, entries);
        })
    }

    /// Truncates and appends in one step; see [`LogBatch::replace_from`].
    pub fn replace_from(
        &self,
        entries: impl Into<Vec<Entry>>,
        durability: Durability,
    ) -> Result<()> {
        self.write(durability, |batch, replica| {
            batch.replace_from(replica, entries);
        })
    }

    /// Removes a tail; see [`LogBatch::truncate_from`].
    pub fn truncate_from(&self, first_removed: u64, durability: Durability) -> Result<()> {
        self.write(durability, |batch, replica| {
            batch.truncate_from(replica, first_removed);
        })
    }

    /// Removes a prefix; see [`LogBatch::purge_through`].
    pub fn purge_through(
        &self,
        last_removed: impl Into<Boundary>,
        durability: Durability,
    ) -> Result<()> {
        self.write(durability, |batch, replica| {
            batch.purge_through(replica, last_removed);
        })
    }

    /// Makes the log continue from a snapshot; see [`LogBatch::install`].
    pub fn install(&self, last_covered: impl Into<Boundary>, durability: Durability) -> Result<()> {
        self.write(durability, |batch, replica| {
            batch.install(replica, last_covered);
        })
    }

    /// Saves term, vote and commit index; see [`LogBatch::set_hard_state`].
    pub fn set_hard_state(&self, state: HardState, durability: Durability) -> Result<()> {
        self.write(durability, |batch, replica| {
            batch.set_hard_state(replica, state);
        })
    }

    fn write(
        &self,
        durability: Durability,
        fill: impl FnOnce(&mut LogBatch, ReplicaId),
    ) -> Result<()> {
        let mut batch = LogBatch::new();
        fill(&mut batch, self.replica);
        self.store.write(&batch, durability)
    }

    /// The first index. For a log that a purge has emptied, the index that the next entry must
    /// have; `None` for a log that never had an entry, and where no index is left.
    pub fn first_index(&self) -> Result<Option<u64>> {
        Ok(self.state()?.first_index())
    }

    /// The last index. For a log that a purge has emptied, the purged one; `None` for a log that
    /// never had an entry.
    pub fn last_index(&self) -> Result<Option<u64>> {
        Ok(self.state()?.last_index())
    }

    /// The id at the last index, with its leader.
    pub fn last(&self) -> Result<Option<Boundary>> {
        let state = self.state()?;
        Ok(state.last_index().and_then(|index| state.at(index)))
    }

    /// The last id that is durable: never ahead of the disk. It goes back when entries are
    /// truncated, and a commit of entries that were replaced meanwhile does not raise it.
    pub fn durable(&self) -> Result<Option<Boundary>> {
        let served = self.store.core().read_served();
        Ok(served.live(self.replica)?.and_then(Live::durable_id))
    }

    /// How many entries the log has.
    pub fn len(&self) -> Result<u64> {
        let state = self.state()?;
        let count = |first| Some(state.tail?.index.saturating_sub(first).saturating_add(1));
        Ok(state.runs.first().and_then(count).unwrap_or(0))
    }

    /// Whether the log has no entry.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.state()?.tail.is_none())
    }

    /// The last purged id, `None` where nothing was ever purged.
    pub fn purged(&self) -> Result<Option<Boundary>> {
        Ok(self.state()?.purged.clone())
    }

    /// The term at `index`: of every entry, and of the boundary.
    ///
    /// # Errors
    ///
    /// [`Error::Purged`] below the boundary, [`Error::Unavailable`] behind the end.
    pub fn term(&self, index: u64) -> Result<u64> {
        self.id(index).map(|boundary| boundary.id.term)
    }

    /// The id at `index` in full, from memory: of every entry, and of the boundary.
    ///
    /// # Errors
    ///
    /// As [`term`](Self::term).
    pub fn id(&self, index: u64) -> Result<Boundary> {
        let state = self.state()?;
        state.at(index).ok_or_else(|| read::absent(self.replica, &state, index))
    }

    /// The first index of `term`, `None` where the log has no entry of it.
    pub fn first_index_of_term(&self, term: u64) -> Result<Option<u64>> {
        Ok(self.state()?.runs.first_of_term(term))
    }

    /// The last index of `term`, `None` where the log has no entry of it.
    pub fn last_index_of_term(&self, term: u64) -> Result<Option<u64>> {
        let state = self.state()?;
        Ok(state.tail.and_then(|tail| state.runs.last_of_term(term, tail.index)))
    }

    /// The first of `ids`, which are in index order, that the log does not hold: where a
    /// follower's log departs from its leader's. `None` where it holds them all. Ids below the
    /// boundary count as held.
    pub fn find_conflict(&self, ids: &[LogId]) -> Result<Option<LogId>> {
        let state = self.state()?;
        let held = |id: &LogId| {
            state.purged_index().is_some_and(|purged| id.index < purged)
                || state.at(id.index).is_some_and(|at| at.id == *id)
        };
        Ok(ids.iter().find(|id| !held(id)).copied())
    }

    /// The highest id, boundary included, with an index of at most `index` and a term of at most
    /// `term`: where a leader can look for agreement after a follower has refused. `None` where
    /// the log has no such id.
    pub fn find_agreement(&self, index: u64, term: u64) -> Result<Option<LogId>> {
        Ok(read::find_agreement(&*self.state()?, index, term))
    }

    /// One entry.
    ///
    /// # Errors
    ///
    /// [`Error::Purged`] at or below the boundary, [`Error::Unavailable`] where the log does not
    /// reach, [`Error::Corrupt`] where the record is damaged or missing.
    pub fn entry(&self, index: u64) -> Result<Entry> {
        read::entry(self, index)
    }

    /// The entries in `range`, in order: as many as fit into `limit_bytes` of payload, and at
    /// least one where the range has any.
    ///
    /// A range that begins unbounded begins with the first entry. One that reaches behind the
    /// last entry ends there, and that is the only way in which an answer is short.
    ///
    /// # Errors
    ///
    /// As [`entry`](Self::entry), where the range begins before the first entry.
    pub fn entries(&self, range: impl RangeBounds<u64>, limit_bytes: u64) -> Result<Vec<Entry>> {
        let limit = Limit { bytes: limit_bytes, entries: usize::MAX };
        read::entries(self, &range, limit)
    }

    /// As [`entries`](Self::entries), from memory alone: `None` where the engine would have to be
    /// asked. For callers that must not wait for a disk.
    pub fn entries_in_memory(
        &self,
        range: impl RangeBounds<u64>,
        limit_bytes: u64,
    ) -> Result<Option<Vec<Entry>>> {
        let limit = Limit { bytes: limit_bytes, entries: usize::MAX };
        read::entries_in_memory(self, &range, limit)
    }

    /// Goes through the entries in `range` a page at a time, with at most about a mebibyte of
    /// payload and 16,384 entries, or one entry, in memory.
    ///
    /// The range is as in [`entries`](Self::entries). A purge that overtakes the scan shows as
    /// [`Error::Purged`]. Where entries that it has brought are truncated meanwhile, it ends in
    /// [`Error::Unavailable`] or [`Error::IdMismatch`]: one scan never mixes two tails.
    pub fn scan(&self, range: impl RangeBounds<u64>) -> Scan {
        Scan::new(self.clone(), &range)
    }

    /// Term, vote and commit index, `None` where they were never saved.
    pub fn hard_state(&self) -> Result<Option<HardState>> {
        Ok(self.state()?.hard_state)
    }

    /// How far the state machine was recorded to have applied the log.
    pub fn applied(&self) -> Result<Option<LogId>> {
        Ok(self.state()?.applied)
    }

    /// The recorded snapshot.
    pub fn snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(body) = self.body(slot::SNAPSHOT)? else {
            return Ok(None);
        };
        let (id, data) = record::decode_snapshot_id(&body).map_err(|error| self.damaged(error))?;
        Ok(Some(Snapshot { id, data: body.slice_ref(data) }))
    }

    /// The recorded membership, in the caller's own encoding.
    pub fn membership(&self) -> Result<Option<Bytes>> {
        self.body(slot::MEMBERSHIP)
    }

    /// The value in a slot of the caller's.
    ///
    /// # Errors
    ///
    /// [`Error::ReservedSlot`] for a slot of the log.
    pub fn slot(&self, slot: u16) -> Result<Option<Bytes>> {
        if slot < FIRST_USER_SLOT {
            return Err(Error::ReservedSlot { slot });
        }
        self.body(slot)
    }

    pub(crate) fn state(&self) -> Result<Arc<Replica>> {
        Ok(self.store.core().read_served().view(self.replica)?.state)
    }

    /// The body of one metadata record: from memory where the engine may not have it yet.
    fn body(&self, number: u16) -> Result<Option<Bytes>> {
        let key = MetaKey::replica(self.replica, number);
        let engine = {
            let served = self.store.core().read_served();
            served.live(self.replica)?;
            if let Some(body) = served.pending_body(key) {
                return Ok(body.clone());
            }
            Arc::clone(&served.engine)
        };
        let Some(record) = engine.meta(key)? else {
            return Ok(None);
        };
        let body = record::body(key, &record).map_err(|error| self.damaged(error))?;
        Ok(Some(record.slice_ref(body)))
    }

    fn damaged(&self, error: record::Unreadable) -> Error {
        Error::Damaged { replica: self.replica, what: error.to_string() }
    }
}
