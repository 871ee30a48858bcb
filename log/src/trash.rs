//! Entries that no longer belong to a log and whose keys still stand in the engine.
//!
//! Moving the boundary or dropping a log only records what has to go. The keys go afterwards in
//! bounded slices, from where the last slice ended: each slice carries in its own batch how much
//! is left, so a crash between two of them loses nothing and repeats nothing.

use kvlogdb_engine_api::{LogName, ReplicaId, WriteBatch};

use crate::record::{self, Unreadable};

/// A range of keys that waits for deletion; both bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Garbage {
    pub(crate) incarnation: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What waits for deletion of one replica, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trash {
    ranges: Vec<Garbage>,
}

impl Trash {
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, Unreadable> {
        let ranges: Vec<(u32, u64, u64)> = record::from_body(body)?;
        let garbage = |(incarnation, first, last)| Garbage { incarnation, first, last };
        Ok(Self { ranges: ranges.into_iter().map(garbage).collect() })
    }

    pub(crate) fn to_body(&self) -> Vec<u8> {
        let plain = |garbage: &Garbage| (garbage.incarnation, garbage.first, garbage.last);
        record::to_body(&self.ranges.iter().map(plain).collect::<Vec<_>>())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn ranges(&self) -> &[Garbage] {
        &self.ranges
    }

    /// Adds a range; one that continues the last becomes one with it.
    pub(crate) fn add(&mut self, incarnation: u32, first: u64, last: u64) {
        if let Some(newest) = self.ranges.last_mut()
            && newest.incarnation == incarnation
            && newest.last.checked_add(1) == Some(first)
        {
            newest.last = last;
        } else {
            self.ranges.push(Garbage { incarnation, first, last });
        }
    }

    /// The lowest incarnation above all that have keys here.
    pub(crate) fn next_incarnation(&self) -> Option<u32> {
        match self.ranges.iter().map(|garbage| garbage.incarnation).max() {
            None => Some(0),
            Some(newest) => newest.checked_add(1),
        }
    }

    /// How many keys wait, holes counted.
    pub(crate) fn entries(&self) -> u64 {
        let count = |garbage: &Garbage| (garbage.last - garbage.first).saturating_add(1);
        self.ranges.iter().map(count).fold(0, u64::saturating_add)
    }

    /// Takes one slice of up to `entries` entries off and adds its deletion to `batch`. A log of
    /// which nothing else is left goes as a whole, so that the engine can drop what it keeps for
    /// it.
    pub(crate) fn take_slice(
        &mut self,
        replica: ReplicaId,
        current: Option<u32>,
        entries: u64,
        batch: &mut WriteBatch,
    ) {
        let Some(garbage) = self.ranges.first_mut() else {
            return;
        };
        let log = LogName { replica, incarnation: garbage.incarnation };
        let end = garbage.first.saturating_add(entries.saturating_sub(1)).min(garbage.last);
        batch.remove_entries(log, garbage.first, end);
        if end < garbage.last {
            garbage.first = end + 1;
            return;
        }
        self.ranges.remove(0);
        let more = self.ranges.iter().any(|other| other.incarnation == log.incarnation);
        if current != Some(log.incarnation) && !more {
            batch.remove_log(log);
        }
    }
}

#[cfg(test)]
mod tests {
    use kvlogdb_engine_api::Operation;

    use super::*;

    const REPLICA: ReplicaId = ReplicaId { group: 1, node: 0 };
    const SLICE_ENTRIES: u64 = 100;

    fn drain(trash: &mut Trash, current: Option<u32>) -> Vec<(u32, u64, u64)> {
        let mut deleted = Vec::new();
        while !trash.is_empty() {
            let mut batch = WriteBatch::new();
            trash.take_slice(REPLICA, current, SLICE_ENTRIES, &mut batch);
            deleted.extend(batch.operations().map(|operation| match operation {
                Operation::RemoveEntries { log, first, last } => (log.incarnation, first, last),
                Operation::RemoveLog { log } => (log.incarnation, 0, u64::MAX),
                other => panic!("{other:?}"),
            }));
        }
        deleted
    }

    #[test]
    fn slices_are_bounded_and_go_on_where_the_last_ended() {
        let mut trash = Trash::default();
        trash.add(0, 10, 10 + 2 * SLICE_ENTRIES);
        let end = |slices| 9 + slices * SLICE_ENTRIES;
        let expected = [(0, 10, end(1)), (0, end(1) + 1, end(2)), (0, end(2) + 1, end(2) + 1)];
        assert_eq!(drain(&mut trash, Some(0)), expected);
    }

    #[test]
    fn an_old_log_goes_as_a_whole_in_the_end_and_the_current_never() {
        let mut trash = Trash::default();
        trash.add(3, 0, 4);
        trash.add(3, 5, 9);
        trash.add(4, u64::MAX, u64::MAX);
        assert_eq!(trash.ranges().len(), 2);
        let mut copy = trash.clone();
        let current = [(3, 0, 9), (3, 0, u64::MAX), (4, u64::MAX, u64::MAX)];
        assert_eq!(drain(&mut trash, Some(4)), current);
        assert_eq!(drain(&mut copy, None).last(), Some(&(4, 0, u64::MAX)));
    }

    #[test]
    fn incarnations_with_keys_here_are_not_used_again() {
        let mut trash = Trash::default();
        assert_eq!(trash.next_incarnation(), Some(0));
        trash.add(6, 0, 1);
        trash.add(4, 0, 1);
        assert_eq!(trash.next_incarnation(), Some(7));
        trash.add(u32::MAX, 0, 1);
        assert_eq!(trash.next_incarnation(), None);
        assert_eq!(Trash::from_body(&trash.to_body()), Ok(trash));
    }
}
