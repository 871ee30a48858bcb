//! The words of the log: ids, entries and what a node saves beside them.

use std::fmt;

use bytes::Bytes;

use crate::{Error, Result};

/// The longest leader that a log keeps with a term.
pub const MAX_LEADER_BYTES: usize = 64;

/// Where an entry stands and under which term it was written. Ordered by term, then index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogId {
    /// The term.
    pub term: u64,
    /// The index; every value of `u64` is legal, 0 among them.
    pub index: u64,
}

impl LogId {
    /// The id of the entry at `index`, written under `term`.
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index {} of term {}", self.index, self.term)
    }
}

/// What an entry is for. The log keeps the number and gives it no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryKind(pub u8);

impl EntryKind {
    /// A command for the state machine.
    pub const NORMAL: Self = Self(0);
    /// A change of the group's members.
    pub const CONFIG: Self = Self(1);
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Term and index.
    pub id: LogId,
    /// What the entry is for.
    pub kind: EntryKind,
    /// The entry's bytes: at most [`MAX_PAYLOAD_BYTES`](kvlogdb_engine_api::MAX_PAYLOAD_BYTES),
    /// and possibly none.
    pub payload: Bytes,
}

impl Entry {
    /// A [`NORMAL`](EntryKind::NORMAL) entry.
    pub fn new(term: u64, index: u64, payload: impl Into<Bytes>) -> Self {
        Self { id: LogId::new(term, index), kind: EntryKind::NORMAL, payload: payload.into() }
    }
}

/// Who led a term, as up to [`MAX_LEADER_BYTES`] bytes that only the caller understands. Empty for
/// protocols in which a term has one leader and the log id does not name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Leader(Bytes);

impl Leader {
    /// A leader's name.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for more than [`MAX_LEADER_BYTES`] bytes.
    pub fn new(name: impl Into<Bytes>) -> Result<Self> {
        let name = name.into();
        if name.len() > MAX_LEADER_BYTES {
            return Err(Error::TooLarge {
                what: "a leader",
                len_bytes: name.len(),
                limit_bytes: MAX_LEADER_BYTES,
            });
        }
        Ok(Self(name))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same, for hot paths. To compare nothing with nothing takes some
    /// processors longer than all else that is done for an entry: the vector instructions for it
    /// look at an address where there is no memory.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.is_empty() && other.0.is_empty() || self == other
    }
}

/// A log id in full: with the leader of its term. What stays known of a purged prefix is its last
/// id in this form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Boundary {
    /// Term and index.
    pub id: LogId,
    /// Who led the term; empty where nobody said.
    pub leader: Leader,
}

impl From<LogId> for Boundary {
    fn from(id: LogId) -> Self {
        Self { id, leader: Leader::default() }
    }
}

/// What a Raft node must not forget between two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HardState {
    /// The newest term that the node has seen.
    pub term: u64,
    /// Whom it voted for in that term.
    pub vote: Option<u64>,
    /// The highest index known to be committed; `None` before there is one.
    pub commit: Option<u64>,
}

impl HardState {
    /// Whether saving this over `old` would take a promise back: a lower term, another or no vote
    /// in the same term, or a lower commit index.
    pub(crate) fn goes_back_from(&self, old: &Self) -> bool {
        let vote_changed = self.term == old.term && old.vote.is_some() && self.vote != old.vote;
        self.term < old.term || vote_changed || self.commit < old.commit
    }
}

/// A snapshot that exists outside the log, and what the caller keeps with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last id that the snapshot covers.
    pub id: LogId,
    /// The caller's description of it: a file's name, a checksum, members.
    pub data: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_term_vote_and_commit() {
        let state = |term, vote, commit| HardState { term, vote, commit };
        let old = state(3, Some(1), Some(7));
        for fine in [old, state(3, Some(1), Some(8)), state(4, None, Some(7))] {
            assert!(!fine.goes_back_from(&old), "{fine:?}");
        }
        let voteless = state(3, None, Some(7));
        assert!(!old.goes_back_from(&voteless));
        for bad in [
            state(2, Some(1), Some(7)),
            state(3, Some(2), Some(7)),
            voteless,
            state(3, Some(1), Some(6)),
            state(4, Some(1), None),
        ] {
            assert!(bad.goes_back_from(&old), "{bad:?}");
        }
    }
}
