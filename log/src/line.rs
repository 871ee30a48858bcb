//! The line of accepted batches: what waits for a commit, how much of it one takes, and who leads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kvlogdb_engine_api::{Durability, ReplicaId};

use crate::background::MAX_SLICE_ENTRIES;
use crate::commit::Reason;
use crate::sync::Instant;
use crate::ticket::{Queue, Ticket};

/// What has collected without a sync to wait for is written when it is this much, so much at a
/// time: a larger commit would gain nothing but memory.
const UNSYNCED_BYTES: usize = if cfg!(shuttle) { 256 } else { 256 << 10 };
/// How far a writer that asks for no sync is ahead of the engine, at the most.
pub(crate) const AHEAD_BYTES: usize = if cfg!(shuttle) { 512 } else { 1 << 20 };

/// How many keys commits delete on the side: so many, and so many for each entry they bring.
const RIDE_ENTRIES: u64 = 4;
const RIDE_PART: u64 = 2;
/// They wait until they are so many: fewer cost an engine about as much.
const MIN_RIDE_ENTRIES: u64 = 32;

/// How a mark is needed for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Not before the interval has passed.
    Interval,
    /// With this write: it changes a term or a vote.
    Now,
}

/// What a batch needs of the commit that carries it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asks {
    pub(crate) durability: Durability,
    pub(crate) need: Need,
    /// Whether its writer cannot go on before it is durable.
    pub(crate) waits: bool,
    /// Whether it is not to collect, whatever the policy says.
    pub(crate) urgent: bool,
}

/// Who is next. Held for short.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) queue: Queue,
    pub(crate) next_number: u64,
    /// Whether a commit is under way, or promised to a waiting writer.
    pub(crate) led: bool,
    /// How many callers wait for commits to be held up, or hold them up.
    pub(crate) pausing: usize,
    /// How many of them have nothing accepted meanwhile.
    pub(crate) shut: usize,
    /// When and why a commit has to follow the last one although nothing may be accepted.
    pub(crate) timer: Option<(Instant, Reason)>,
    /// Whether the background thread should lead by now and waits for whoever does.
    pub(crate) overdue: bool,
    /// Since when the oldest batch waits.
    pub(crate) since: Option<Instant>,
    /// How many batches the last commit carried, and how long it took.
    pub(crate) last_len: usize,
    pub(crate) last_took: Duration,
    /// Replicas of which keys wait for deletion.
    pub(crate) littered: BTreeSet<ReplicaId>,
    /// Until when somebody counts as writing.
    pub(crate) busy_until: Option<Instant>,
    /// How many keys commits could have deleted since the last that did.
    pub(crate) riding: u64,
    /// Whether the background thread looks by itself whether keys can be deleted.
    pub(crate) sweeping: bool,
    /// When it looks at the latest what has collected; `None` where it has to be woken.
    pub(crate) alarm: Option<Instant>,
}

impl Line {
    /// Whether anybody may take the lead.
    pub(crate) fn is_free(&self) -> bool {
        !self.led && self.pausing == 0
    }

    /// Whether keys wait for deletion and the background thread does not know.
    pub(crate) fn is_unswept(&self) -> bool {
        !self.littered.is_empty() && !self.sweeping
    }

    /// How many keys the next commit deletes beside what it carries: in all more than commits
    /// bring, and few enough that nobody waits for them. None where it carries nothing, or a slice
    /// already.
    pub(crate) fn ride(&mut self) -> Option<u64> {
        if self.littered.is_empty() || self.queue.is_empty() || self.queue.has_slice() {
            return None;
        }
        self.riding += RIDE_ENTRIES + RIDE_PART * self.queue.entries() as u64;
        let ride = self.riding.min(MAX_SLICE_ENTRIES);
        (ride >= MIN_RIDE_ENTRIES).then(|| {
            self.riding -= ride;
            ride
        })
    }

    /// How much is written without waiting for more.
    pub(crate) fn enough_bytes(&self) -> usize {
        if self.queue.wants_sync() { AHEAD_BYTES } else { UNSYNCED_BYTES }
    }

    /// Takes what the next commit carries, for an engine that should get so much at a time.
    pub(crate) fn take(&mut self, limit_bytes: usize) -> Vec<Arc<Ticket>> {
        let most = if self.queue.wants_sync() { usize::MAX } else { UNSYNCED_BYTES };
        let tickets = self.queue.take(limit_bytes.min(most));
        self.since = if self.queue.is_empty() { None } else { Some(Instant::now()) };
        tickets
    }
}

/// Whether batches are accepted while commits are held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Shut,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Size;
    use crate::ticket::Listener;

    /// Otherwise a log that is never idle would grow for ever, or its writers would wait.
    #[test]
    fn commits_delete_more_than_they_bring_in_small_parts() {
        let asks = Asks {
            durability: Durability::Synced,
            need: Need::Interval,
            waits: true,
            urgent: false,
        };
        for entries in [0, 1, 7, 64, 2000, 2047] {
            let mut line = Line::default();
            let mut commit = |littered: bool| {
                line.littered.extend(littered.then(|| ReplicaId::from(1)));
                let size = Size { entries, ..Size::default() };
                line.queue.push(Ticket::new(0, asks, size, Vec::new(), Listener::Nobody));
                let ride = line.ride();
                assert_eq!(line.take(usize::MAX).len(), 1);
                assert_eq!(line.ride(), None, "a commit that carries nothing");
                ride
            };
            assert_eq!(commit(false), None);
            let rides: Vec<_> = (0..100).filter_map(|_| commit(true)).collect();
            let most = MIN_RIDE_ENTRIES + RIDE_ENTRIES + RIDE_PART * entries as u64;
            assert!(rides.iter().all(|ride| (MIN_RIDE_ENTRIES..most).contains(ride)), "{rides:?}");
            assert!(rides.iter().all(|&ride| ride <= MAX_SLICE_ENTRIES), "{rides:?}");
            assert!(rides.iter().sum::<u64>() > 100 * entries as u64, "{rides:?}");
        }
    }
}
