//! What a caller asks of the log: any mix of changes, over any number of replicas, as one.

use bytes::Bytes;
use kvlogdb_engine_api::{FIRST_USER_SLOT, ReplicaId};

use crate::types::{Boundary, Entry, HardState, Leader, LogId, Snapshot};
use crate::{Error, Result};

/// Changes that are applied in order, and all of them or none.
///
/// A later change sees what the earlier ones did. Nothing is decided here: the rules are checked,
/// for the batch as a whole, when it is [written](crate::LogStore::write).
///
/// # Examples
///
/// ```
/// use kvlogdb_log::{Entry, HardState, LogBatch, ReplicaId};
///
/// let replica = ReplicaId::from(1);
/// let mut batch = LogBatch::new();
/// batch
///     .replace_from(replica, vec![Entry::new(2, 7, "seven"), Entry::new(2, 8, "eight")])
///     .set_hard_state(replica, HardState { term: 2, vote: Some(3), commit: Some(6) });
/// assert!(!batch.is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct LogBatch {
    pub(crate) changes: Vec<(ReplicaId, Change)>,
}

/// One change to one replica.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Append { leader: Leader, entries: Vec<Entry> },
    ReplaceFrom { leader: Leader, entries: Vec<Entry> },
    TruncateFrom(u64),
    PurgeThrough(Boundary),
    Install(Boundary),
    Reset,
    SetHardState(HardState),
    SetSnapshot(Snapshot),
    SetApplied(LogId),
    SetMembership(Bytes),
    PutSlot(u16, Bytes),
    PutPromise(u16, Bytes),
    RemoveSlot(u16),
    RemoveReplica,
}

impl LogBatch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the batch has no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn add(&mut self, replica: ReplicaId, change: Change) -> &mut Self {
        self.changes.push((replica, change));
        self
    }

    /// Appends entries behind the last one. The first must have the next index, or any index where
    /// the log has never had an entry; every other follows the one before it; terms never go back.
    pub fn append(&mut self, replica: ReplicaId, entries: impl Into<Vec<Entry>>) -> &mut Self {
        self.append_led(replica, Leader::default(), entries)
    }

    /// As [`append`](Self::append), and keeps who led the entries' terms.
    pub fn append_led(
        &mut self,
        replica: ReplicaId,
        leader: Leader,
        entries: impl Into<Vec<Entry>>,
    ) -> &mut Self {
        self.add(replica, Change::Append { leader, entries: entries.into() })
    }

    /// Removes every entry from the first of these on and appends these, in one step: a crash
    /// leaves the old tail or the new one.
    pub fn replace_from(
        &mut self,
        replica: ReplicaId,
        entries: impl Into<Vec<Entry>>,
    ) -> &mut Self {
        self.replace_from_led(replica, Leader::default(), entries)
    }

    /// As [`replace_from`](Self::replace_from), and keeps who led the entries' terms.
    pub fn replace_from_led(
        &mut self,
        replica: ReplicaId,
        leader: Leader,
        entries: impl Into<Vec<Entry>>,
    ) -> &mut Self {
        self.add(replica, Change::ReplaceFrom { leader, entries: entries.into() })
    }

    /// Removes the entries from `first_removed` on. Behind the end of the log nothing changes.
    /// Purged and committed indexes are refused.
    pub fn truncate_from(&mut self, replica: ReplicaId, first_removed: u64) -> &mut Self {
        self.add(replica, Change::TruncateFrom(first_removed))
    }

    /// Removes the entries up to and with `last_removed` and keeps its id as the boundary.
    ///
    /// Below the boundary nothing changes. Just before the first entry the id is recorded. Behind
    /// the last entry the log becomes empty, and the id its boundary and its last. An id that
    /// differs from the entry's at its index is refused; a leader that is not given is not
    /// compared.
    pub fn purge_through(
        &mut self,
        replica: ReplicaId,
        last_removed: impl Into<Boundary>,
    ) -> &mut Self {
        self.add(replica, Change::PurgeThrough(last_removed.into()))
    }

    /// Makes the log continue from an installed snapshot that covers everything up to and with
    /// `last_covered`, and raises the commit index to it.
    ///
    /// At or below the boundary nothing changes. Where the log holds that very id, the entries up
    /// to it are purged and the tail stays. Otherwise the log is dropped as a whole, and the id is
    /// its boundary and its last.
    pub fn install(&mut self, replica: ReplicaId, last_covered: impl Into<Boundary>) -> &mut Self {
        self.add(replica, Change::Install(last_covered.into()))
    }

    /// Drops entries, boundary and commit index. Term, vote and every slot stay.
    pub fn reset(&mut self, replica: ReplicaId) -> &mut Self {
        self.add(replica, Change::Reset)
    }

    /// Saves term, vote and commit index. Going back is refused, and so is a commit index behind
    /// the end of the log as the batch leaves it. A batch that changes term or vote is synced
    /// whatever durability it is written with.
    pub fn set_hard_state(&mut self, replica: ReplicaId, state: HardState) -> &mut Self {
        self.add(replica, Change::SetHardState(state))
    }

    /// Records a snapshot that is durable outside the log.
    pub fn set_snapshot(&mut self, replica: ReplicaId, snapshot: Snapshot) -> &mut Self {
        self.add(replica, Change::SetSnapshot(snapshot))
    }

    /// Records how far the state machine has applied the log.
    pub fn set_applied(&mut self, replica: ReplicaId, applied: LogId) -> &mut Self {
        self.add(replica, Change::SetApplied(applied))
    }

    /// Records the group's membership, in the caller's own encoding.
    pub fn set_membership(
        &mut self,
        replica: ReplicaId,
        membership: impl Into<Bytes>,
    ) -> &mut Self {
        self.add(replica, Change::SetMembership(membership.into()))
    }

    /// Puts a value of the caller's into a slot from
    /// [`FIRST_USER_SLOT`](kvlogdb_engine_api::FIRST_USER_SLOT) up.
    ///
    /// # Errors
    ///
    /// [`Error::ReservedSlot`] for a slot of the log; the batch is then unchanged.
    pub fn put_slot(
        &mut self,
        replica: ReplicaId,
        slot: u16,
        value: impl Into<Bytes>,
    ) -> Result<&mut Self> {
        check_slot(slot)?;
        Ok(self.add(replica, Change::PutSlot(slot, value.into())))
    }

    /// As [`put_slot`](Self::put_slot), for a value that is a promise to other nodes, as a vote is
    /// that a protocol orders in its own way: the batch is synced whatever durability it is written
    /// with, and the sidecar marks it.
    ///
    /// # Errors
    ///
    /// As [`put_slot`](Self::put_slot).
    pub fn put_promise(
        &mut self,
        replica: ReplicaId,
        slot: u16,
        value: impl Into<Bytes>,
    ) -> Result<&mut Self> {
        check_slot(slot)?;
        Ok(self.add(replica, Change::PutPromise(slot, value.into())))
    }

    /// Empties a slot of the caller's.
    ///
    /// # Errors
    ///
    /// As [`put_slot`](Self::put_slot).
    pub fn remove_slot(&mut self, replica: ReplicaId, slot: u16) -> Result<&mut Self> {
        check_slot(slot)?;
        Ok(self.add(replica, Change::RemoveSlot(slot)))
    }

    /// Removes a replica: entries, hard state, slots and all. One that is made anew under the same
    /// id sees none of it.
    pub fn remove_replica(&mut self, replica: ReplicaId) -> &mut Self {
        self.add(replica, Change::RemoveReplica)
    }
}

fn check_slot(slot: u16) -> Result<()> {
    if slot < FIRST_USER_SLOT {
        return Err(Error::ReservedSlot { slot });
    }
    Ok(())
}
