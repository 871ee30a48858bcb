//! The rules of a log once more, over a plain list of entries: what a store of logs must show.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvlogdb_log::{
    Boundary, Entry, Error, HardState, Leader, LogBatch, LogId, PurgeGuard, ReplicaId, Snapshot,
};

/// One change, as the log and the reference both understand it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// Appends entries.
    Append(Leader, Vec<Entry>),
    /// Replaces the tail from the first of these entries on.
    Replace(Leader, Vec<Entry>),
    /// Removes the tail from this index on.
    Truncate(u64),
    /// Removes the prefix up to and with this id.
    Purge(Boundary),
    /// Goes on from a snapshot that ends with this id.
    Install(Boundary),
    /// Drops entries, boundary and commit index.
    Reset,
    /// Saves term, vote and commit index.
    HardState(HardState),
    /// Records a snapshot.
    Snapshot(Snapshot),
    /// Records how far the state machine is.
    Applied(LogId),
    /// Records the members.
    Membership(Bytes),
    /// Fills or empties a slot of the caller's.
    Slot(u16, Option<Bytes>),
    /// Removes the replica.
    Remove,
}

impl Change {
    /// Adds the change to a batch for the log.
    ///
    /// # Errors
    ///
    /// As the calls of [`LogBatch`] that take a slot.
    pub fn add_to(&self, batch: &mut LogBatch, replica: ReplicaId) -> kvlogdb_log::Result<()> {
        match self.clone() {
            Self::Append(leader, entries) => batch.append_led(replica, leader, entries),
            Self::Replace(leader, entries) => batch.replace_from_led(replica, leader, entries),
            Self::Truncate(first) => batch.truncate_from(replica, first),
            Self::Purge(to) => batch.purge_through(replica, to),
            Self::Install(to) => batch.install(replica, to),
            Self::Reset => batch.reset(replica),
            Self::HardState(state) => batch.set_hard_state(replica, state),
            Self::Snapshot(snapshot) => batch.set_snapshot(replica, snapshot),
            Self::Applied(id) => batch.set_applied(replica, id),
            Self::Membership(data) => batch.set_membership(replica, data),
            Self::Slot(slot, Some(data)) => batch.put_slot(replica, slot, data)?,
            Self::Slot(slot, None) => batch.remove_slot(replica, slot)?,
            Self::Remove => batch.remove_replica(replica),
        };
        Ok(())
    }
}

/// A batch of these changes.
///
/// # Errors
///
/// As [`Change::add_to`].
pub fn log_batch(changes: &[(ReplicaId, Change)]) -> kvlogdb_log::Result<LogBatch> {
    let mut batch = LogBatch::new();
    for (replica, change) in changes {
        change.add_to(&mut batch, *replica)?;
    }
    Ok(batch)
}

/// Why a batch is refused, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// [`Error::Gap`].
    Gap,
    /// [`Error::TermWentBack`].
    TermWentBack,
    /// [`Error::Full`].
    Full,
    /// [`Error::Purged`].
    Purged,
    /// [`Error::Committed`].
    Committed,
    /// [`Error::CommitBehindEnd`].
    CommitBehindEnd,
    /// [`Error::HardStateWentBack`].
    HardStateWentBack,
    /// [`Error::IdMismatch`].
    IdMismatch,
    /// [`Error::AboveSnapshot`].
    AboveSnapshot,
    /// Any other error: the reference never answers it.
    Other,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        match error {
            Error::Gap { .. } => Self::Gap,
            Error::TermWentBack { .. } => Self::TermWentBack,
            Error::Full { .. } => Self::Full,
            Error::Purged { .. } => Self::Purged,
            Error::Committed { .. } => Self::Committed,
            Error::CommitBehindEnd { .. } => Self::CommitBehindEnd,
            Error::HardStateWentBack { .. } => Self::HardStateWentBack,
            Error::IdMismatch { .. } => Self::IdMismatch,
            Error::AboveSnapshot { .. } => Self::AboveSnapshot,
            _ => Self::Other,
        }
    }
}

/// Every replica of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References(BTreeMap<ReplicaId, Reference>);

impl References {
    /// One replica; one that was never changed is empty.
    pub fn of(&self, replica: ReplicaId) -> Reference {
        self.0.get(&replica).cloned().unwrap_or_default()
    }

    /// The replicas that exist.
    pub fn existing(&self) -> impl Iterator<Item = (ReplicaId, &Reference)> {
        let existing = self.0.iter().filter(|(_, reference)| reference.exists());
        existing.map(|(&replica, reference)| (replica, reference))
    }

    pub(crate) fn set(&mut self, replica: ReplicaId, reference: Reference) {
        self.0.insert(replica, reference);
    }

    /// The store after a batch.
    ///
    /// # Errors
    ///
    /// The first rule that a change breaks, or that the batch breaks as a whole.
    pub fn after(
        &self,
        changes: &[(ReplicaId, Change)],
        guard: PurgeGuard,
    ) -> Result<Self, Refusal> {
        let mut next = self.clone();
        for (replica, change) in changes {
            next.0.entry(*replica).or_default().apply(change, guard)?;
        }
        for (replica, _) in changes {
            next.0.entry(*replica).or_default().settle()?;
        }
        Ok(next)
    }

    /// Term and vote of every replica that has them: what a batch must not change without a sync.
    pub fn promises(&self) -> BTreeMap<ReplicaId, (u64, Option<u64>)> {
        let all = self.0.iter().map(|(&replica, reference)| (replica, reference.promise()));
        all.filter(|(_, promise)| *promise != (0, None)).collect()
    }
}

/// One replica, as plain as can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    entries: Vec<(Leader, Entry)>,
    purged: Option<Boundary>,
    hard_state: Option<HardState>,
    snapshot: Option<Snapshot>,
    applied: Option<LogId>,
    membership: Option<Bytes>,
    slots: BTreeMap<u16, Bytes>,
    /// Whether the replica has ever had anything: it then exists until it is removed.
    begun: bool,
}

/// What the log has calls for, by the same names.
#[expect(missing_docs, reason = "they are those of the log")]
impl Reference {
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    pub fn purged(&self) -> Option<&Boundary> {
        self.purged.as_ref()
    }

    pub fn hard_state(&self) -> Option<HardState> {
        self.hard_state
    }

    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    pub fn applied(&self) -> Option<LogId> {
        self.applied
    }

    pub fn membership(&self) -> Option<&Bytes> {
        self.membership.as_ref()
    }

    pub fn slot(&self, slot: u16) -> Option<&Bytes> {
        self.slots.get(&slot)
    }

    pub fn first_index(&self) -> Option<u64> {
        match self.entries.first() {
            Some((_, entry)) => Some(entry.id.index),
            None => self.purged.as_ref()?.id.index.checked_add(1),
        }
    }

    pub fn last(&self) -> Option<Boundary> {
        self.entries.last().map(of).or_else(|| self.purged.clone())
    }

    pub fn id(&self, index: u64) -> Option<Boundary> {
        let held = self.purged.as_ref().filter(|purged| purged.id.index == index);
        let entry = || self.entries.iter().find(|(_, entry)| entry.id.index == index).map(of);
        held.cloned().or_else(entry)
    }
}

/// The full id of an entry.
fn of((leader, entry): &(Leader, Entry)) -> Boundary {
    Boundary { id: entry.id, leader: leader.clone() }
}

impl Reference {
    /// Whether a store lists the replica.
    pub fn exists(&self) -> bool {
        self.begun
            || self.hard_state.is_some()
            || self.snapshot.is_some()
            || self.applied.is_some()
            || self.membership.is_some()
            || !self.slots.is_empty()
    }

    /// The boundary and every entry, as full ids.
    pub fn ids(&self) -> Vec<Boundary> {
        self.purged.iter().cloned().chain(self.entries.iter().map(of)).collect()
    }

    pub(crate) fn commit(&self) -> Option<u64> {
        self.hard_state.and_then(|state| state.commit)
    }

    fn promise(&self) -> (u64, Option<u64>) {
        self.hard_state.map_or((0, None), |state| (state.term, state.vote))
    }

    /// Applies one change, which may leave the commit index behind the end.
    pub(crate) fn apply(&mut self, change: &Change, guard: PurgeGuard) -> Result<(), Refusal> {
        match change.clone() {
            Change::Append(leader, entries) => self.append(&leader, entries)?,
            Change::Replace(leader, entries) => {
                if let Some(first) = entries.first() {
                    self.truncate(first.id.index)?;
                }
                self.append(&leader, entries)?;
            }
            Change::Truncate(first) => self.truncate(first)?,
            Change::Purge(to) => self.purge(to, guard)?,
            Change::Install(to) => self.install(to),
            Change::Reset => {
                self.entries.clear();
                self.purged = None;
                if let Some(state) = &mut self.hard_state {
                    state.commit = None;
                }
            }
            Change::HardState(state) => self.save(state)?,
            Change::Snapshot(snapshot) => self.snapshot = Some(snapshot),
            Change::Applied(id) => self.applied = Some(id),
            Change::Membership(data) => self.membership = Some(data),
            Change::Slot(slot, Some(data)) => drop(self.slots.insert(slot, data)),
            Change::Slot(slot, None) => drop(self.slots.remove(&slot)),
            Change::Remove => *self = Self::default(),
        }
        Ok(())
    }

    /// What only the batch as a whole must keep.
    fn settle(&mut self) -> Result<(), Refusal> {
        self.begun = self.exists();
        if self.commit() > self.last().map(|last| last.id.index) {
            return Err(Refusal::CommitBehindEnd);
        }
        Ok(())
    }

    fn append(&mut self, leader: &Leader, entries: Vec<Entry>) -> Result<(), Refusal> {
        for entry in entries {
            if let Some(last) = self.last() {
                if self.entries.is_empty() && entry.id.index <= last.id.index {
                    return Err(Refusal::Purged);
                }
                if last.id.index == u64::MAX {
                    return Err(Refusal::Full);
                }
                if entry.id.index != last.id.index + 1 {
                    return Err(Refusal::Gap);
                }
                if entry.id.term < last.id.term {
                    return Err(Refusal::TermWentBack);
                }
            }
            self.begun = true;
            self.entries.push((leader.clone(), entry));
        }
        Ok(())
    }

    fn truncate(&mut self, first: u64) -> Result<(), Refusal> {
        if self.purged.as_ref().is_some_and(|purged| first <= purged.id.index) {
            return Err(Refusal::Purged);
        }
        if self.commit().is_some_and(|commit| first <= commit) {
            return Err(Refusal::Committed);
        }
        self.entries.retain(|(_, entry)| entry.id.index < first);
        Ok(())
    }

    fn purge(&mut self, to: Boundary, guard: PurgeGuard) -> Result<(), Refusal> {
        let index = to.id.index;
        let boundary = self.purged.as_ref().map(|purged| purged.id.index);
        let below_first = self
            .entries
            .first()
            .is_some_and(|(_, first)| u128::from(index) + 1 < u128::from(first.id.index));
        if boundary.is_some_and(|boundary| index < boundary) || below_first {
            return Ok(());
        }
        let to = match self.id(index) {
            Some(held) if !same(&held, &to) => return Err(Refusal::IdMismatch),
            Some(held) => held,
            None => {
                let before = self.entries.first().filter(|(_, first)| index < first.id.index);
                let after = self.last().filter(|last| last.id.index < index);
                if before.is_some_and(|(_, first)| to.id.term > first.id.term)
                    || after.is_some_and(|last| to.id.term < last.id.term)
                {
                    return Err(Refusal::TermWentBack);
                }
                to
            }
        };
        if self.purged.as_ref() == Some(&to) {
            return Ok(());
        }
        let covered = self.snapshot.as_ref().is_some_and(|snapshot| index <= snapshot.id.index);
        if guard == PurgeGuard::Snapshot && !covered {
            return Err(Refusal::AboveSnapshot);
        }
        self.begun = true;
        self.entries.retain(|(_, entry)| entry.id.index > index);
        self.purged = Some(to);
        Ok(())
    }

    fn install(&mut self, to: Boundary) {
        let index = to.id.index;
        if self.purged.as_ref().is_some_and(|purged| index <= purged.id.index) {
            return;
        }
        match self.id(index) {
            Some(held) if same(&held, &to) => {
                self.entries.retain(|(_, entry)| entry.id.index > index);
                self.purged = Some(held);
            }
            _ => {
                self.entries.clear();
                self.purged = Some(to);
            }
        }
        self.begun = true;
        if self.commit() < Some(index) {
            self.hard_state.get_or_insert_default().commit = Some(index);
        }
    }

    fn save(&mut self, state: HardState) -> Result<(), Refusal> {
        let old = self.hard_state.unwrap_or_default();
        let other_vote = state.term == old.term && old.vote.is_some() && state.vote != old.vote;
        if state.term < old.term || other_vote || state.commit < old.commit {
            return Err(Refusal::HardStateWentBack);
        }
        self.hard_state = Some(state);
        Ok(())
    }
}

/// Whether `given` names the entry that is held: a leader that is not given is not compared.
fn same(held: &Boundary, given: &Boundary) -> bool {
    held.id == given.id && (given.leader == Leader::default() || given.leader == held.leader)
}
