//! What is kept in memory of one replica, and how its metadata records make it up.

use std::collections::BTreeSet;

use kvlogdb_engine_api::{LogName, MetaKey, ReplicaId};

use crate::record::{self, StateRecord, Unreadable, slot};
use crate::runs::TermRuns;
use crate::trash::Trash;
use crate::types::{Boundary, HardState, LogId};

/// The end of a log that has entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The last index.
    pub(crate) index: u64,
    /// The log bytes that the last record states.
    pub(crate) log_bytes: u64,
}

/// One replica: everything about its log but the entries, and its small metadata.
///
/// `runs` and `tail` are empty together, when the log has no entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Replica {
    pub(crate) incarnation: u32,
    pub(crate) purged: Option<Boundary>,
    pub(crate) runs: TermRuns,
    pub(crate) tail: Option<Tail>,
    /// The clock of the last append, which the next may not go behind.
    pub(crate) appended_at_ms: u64,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) snapshot: Option<LogId>,
    pub(crate) applied: Option<LogId>,
    pub(crate) trash: Trash,
    /// The slots that hold a record.
    pub(crate) slots: BTreeSet<u16>,
    /// How many other records the state record names.
    pub(crate) named: u32,
    /// The last index that a mark vouched for, as it was read when the store was opened.
    pub(crate) marked: Option<u64>,
}

impl Replica {
    /// The first index; for a log that a purge has emptied, the index that comes next.
    pub(crate) fn first_index(&self) -> Option<u64> {
        match &self.purged {
            None => self.runs.first(),
            Some(purged) => self.runs.first().or_else(|| purged.id.index.checked_add(1)),
        }
    }

    /// The last index; for a log that a purge has emptied, the purged one.
    pub(crate) fn last_index(&self) -> Option<u64> {
        let purged = || self.purged.as_ref().map(|purged| purged.id.index);
        self.tail.map(|tail| tail.index).or_else(purged)
    }

    /// The last entry's id; for a log that a purge has emptied, the purged one.
    pub(crate) fn last_id(&self) -> Option<LogId> {
        match (self.tail, self.runs.last_run()) {
            (Some(tail), Some(run)) => Some(LogId::new(run.term, tail.index)),
            _ => self.purged.as_ref().map(|purged| purged.id),
        }
    }

    /// The id at `index`, which may be that of the boundary.
    pub(crate) fn at(&self, index: u64) -> Option<Boundary> {
        if let Some(purged) = self.purged.as_ref().filter(|purged| purged.id.index == index) {
            return Some(purged.clone());
        }
        self.tail.filter(|tail| index <= tail.index)?;
        let run = self.runs.at(index)?;
        Some(Boundary { id: LogId::new(run.term, index), leader: run.leader.clone() })
    }

    /// The last purged index.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.purged.as_ref().map(|purged| purged.id.index)
    }

    pub(crate) fn commit(&self) -> Option<u64> {
        self.hard_state.and_then(|state| state.commit)
    }

    /// What the node has promised to others: its term and its vote.
    pub(crate) fn promise(&self) -> (u64, Option<u64>) {
        self.hard_state.map_or((0, None), |state| (state.term, state.vote))
    }

    /// Whether `other`, as it is stored, needs another state record to become this.
    pub(crate) fn differs_on_disk(&self, other: &Self) -> bool {
        !other.slots.contains(&slot::STATE)
            || !self.slots.contains(&slot::STATE)
            || (self.incarnation, &self.purged, &self.runs)
                != (other.incarnation, &other.purged, &other.runs)
            || self.others() != other.named
    }

    /// How many records there are beside the state record and those that come and go on their own:
    /// what waits for deletion, and what a mark vouches for, which is not among `slots` at all.
    pub(crate) fn others(&self) -> u32 {
        let own = [slot::STATE, slot::TRASH];
        let own = own.into_iter().filter(|number| self.slots.contains(number)).count();
        u32::try_from(self.slots.len() - own).unwrap_or(u32::MAX)
    }

    /// The last index of a log that goes on behind its marked end.
    pub(crate) fn unmarked(&self) -> Option<u64> {
        self.last_index().filter(|&last| self.marked != Some(last))
    }

    /// What is wrong where a log ends before its marked end.
    pub(crate) fn cut_short(&self) -> Option<String> {
        let (marked, last) = (self.marked?, self.last_index());
        let end = || last.map_or("is empty".to_owned(), |last| format!("ends at index {last}"));
        (Some(marked) > last).then(|| format!("its log reached index {marked} and {}", end()))
    }

    /// What is wrong where records are missing that the state record names.
    pub(crate) fn missing(&self) -> Option<String> {
        let (named, found) = (self.named, self.others());
        (self.slots.contains(&slot::STATE) && named != found)
            .then(|| format!("its state names {named} other records and it has {found}"))
    }

    /// Whether a caller would miss anything of the replica: what waits for deletion is not listed.
    pub(crate) fn exists(&self) -> bool {
        self.slots.iter().any(|&number| number != slot::TRASH)
    }

    /// The log that this replica's entries are in.
    pub(crate) fn log(&self, replica: ReplicaId) -> LogName {
        LogName { replica, incarnation: self.incarnation }
    }

    /// Takes one metadata record in; an error says what is wrong with it.
    pub(crate) fn take_record(&mut self, key: MetaKey, bytes: &[u8]) -> Result<(), String> {
        let named = |error: Unreadable| format!("the record in {key}: {error}");
        let body = record::body(key, bytes).map_err(named)?;
        match key.slot {
            slot::STATE => {
                let state: StateRecord = record::from_body(body).map_err(named)?;
                self.named = state.others();
                (self.incarnation, self.purged, self.runs) = state.into_parts()?;
            }
            slot::HARD_STATE => {
                let (term, vote, commit) = record::from_body(body).map_err(named)?;
                self.hard_state = Some(HardState { term, vote, commit });
            }
            slot::SNAPSHOT => {
                let (id, _) = record::decode_snapshot_id(body).map_err(named)?;
                self.snapshot = Some(id);
            }
            slot::APPLIED => {
                let (term, index) = record::from_body(body).map_err(named)?;
                self.applied = Some(LogId::new(term, index));
            }
            slot::MARKED => {
                self.marked = Some(record::from_body(body).map_err(named)?);
                return Ok(());
            }
            slot::TRASH => self.trash = Trash::from_body(body).map_err(named)?,
            number if is_opaque(number) => {}
            _ => return Err(format!("{key} is a slot that this version does not know")),
        }
        self.slots.insert(key.slot);
        Ok(())
    }
}

/// Whether the log keeps the body of a slot as it is.
fn is_opaque(number: u16) -> bool {
    number == slot::MEMBERSHIP || number >= kvlogdb_engine_api::FIRST_USER_SLOT
}
