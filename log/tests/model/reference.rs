//! The rules of a log once more, over a plain list of entries.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvlogdb_log::{
    Boundary, Entry, Error, HardState, Leader, LogBatch, LogId, ReplicaId, Snapshot,
};

use crate::common::View;

/// One change, as the log and the reference both understand it.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Append(Leader, Vec<Entry>),
    Replace(Leader, Vec<Entry>),
    Truncate(u64),
    Purge(Boundary),
    Install(Boundary),
    Reset,
    HardState(HardState),
    Snapshot(Snapshot),
    Applied(LogId),
    Membership(Bytes),
    Slot(u16, Option<Bytes>),
    Remove,
}

impl Change {
    pub(crate) fn add_to(&self, batch: &mut LogBatch, replica: ReplicaId) {
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
            Self::Slot(slot, Some(data)) => batch.put_slot(replica, slot, data).unwrap(),
            Self::Slot(slot, None) => batch.remove_slot(replica, slot).unwrap(),
            Self::Remove => batch.remove_replica(replica),
        };
    }
}

/// Why a batch is refused, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    Gap,
    TermWentBack,
    Full,
    Purged,
    Committed,
    CommitBehindEnd,
    HardStateWentBack,
    IdMismatch,
    AboveSnapshot,
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

/// One replica, as plain as can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) entries: Vec<(Leader, Entry)>,
    pub(crate) purged: Option<Boundary>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) snapshot: Option<Snapshot>,
    applied: Option<LogId>,
    membership: Option<Bytes>,
    slots: BTreeMap<u16, Bytes>,
    /// Whether the replica has ever had anything: it then exists until it is removed.
    begun: bool,
}

impl Reference {
    pub(crate) fn exists(&self) -> bool {
        self.begun
            || self.hard_state.is_some()
            || self.snapshot.is_some()
            || self.applied.is_some()
            || self.membership.is_some()
            || !self.slots.is_empty()
    }

    pub(crate) fn commit(&self) -> Option<u64> {
        self.hard_state.and_then(|state| state.commit)
    }

    pub(crate) fn promise(&self) -> (u64, Option<u64>) {
        self.hard_state.map_or((0, None), |state| (state.term, state.vote))
    }

    pub(crate) fn first(&self) -> Option<u64> {
        match self.entries.first() {
            Some((_, entry)) => Some(entry.id.index),
            None => self.purged.as_ref()?.id.index.checked_add(1),
        }
    }

    /// The boundary and every entry, as full ids.
    pub(crate) fn ids(&self) -> Vec<Boundary> {
        let of =
            |(leader, entry): &(Leader, Entry)| Boundary { id: entry.id, leader: leader.clone() };
        self.purged.iter().cloned().chain(self.entries.iter().map(of)).collect()
    }

    pub(crate) fn last(&self) -> Option<Boundary> {
        self.ids().pop()
    }

    fn at(&self, index: u64) -> Option<Boundary> {
        self.ids().into_iter().find(|boundary| boundary.id.index == index)
    }

    pub(crate) fn view(&self) -> View {
        let ids = self.ids();
        let entries: Vec<_> = self.entries.iter().map(|(_, entry)| entry.clone()).collect();
        View {
            first: self.first(),
            last: self.last(),
            len: entries.len() as u64,
            purged: self.purged.clone(),
            ids: ids[ids.len() - entries.len()..].to_vec(),
            entries,
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            applied: self.applied,
            membership: self.membership.clone(),
            slots: [256, 257, u16::MAX].map(|slot| self.slots.get(&slot).cloned()).to_vec(),
        }
    }

    pub(crate) fn apply(&mut self, change: &Change, guarded: bool) -> Result<(), Refusal> {
        match change.clone() {
            Change::Append(leader, entries) => self.append(&leader, entries)?,
            Change::Replace(leader, entries) => {
                if let Some(first) = entries.first() {
                    self.truncate(first.id.index)?;
                }
                self.append(&leader, entries)?;
            }
            Change::Truncate(first) => self.truncate(first)?,
            Change::Purge(to) => self.purge(to, guarded)?,
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
    pub(crate) fn settle(&mut self) -> Result<(), Refusal> {
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

    fn purge(&mut self, to: Boundary, guarded: bool) -> Result<(), Refusal> {
        let index = to.id.index;
        let boundary = self.purged.as_ref().map(|purged| purged.id.index);
        let below_first = self
            .entries
            .first()
            .is_some_and(|(_, first)| u128::from(index) + 1 < u128::from(first.id.index));
        if boundary.is_some_and(|boundary| index < boundary) || below_first {
            return Ok(());
        }
        let to = match self.at(index) {
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
        if guarded && !covered {
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
        match self.at(index) {
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
