//! Where events come from. Without an observer none of this looks at a clock or allocates.

use std::sync::Arc;
use std::time::Duration;

use kvlogdb_engine_api::{Durability, Error as EngineError, ReplicaId};

use super::{Event, tell};
use crate::Error;
use crate::commit::Core;
use crate::marks::Marks;
use crate::plan::{Plan, Step};
use crate::record::slot;
use crate::served::Served;
use crate::state::Replica;
use crate::store::Reopened;
use crate::sync::Instant;
use crate::ticket::Ticket;

/// A commit that an observer will hear of.
pub(crate) struct Watch {
    batches: usize,
    appends: usize,
    entries: usize,
    entry_bytes: usize,
    deleted: u64,
    began: Instant,
    took: Duration,
}

impl Watch {
    fn begin(tickets: &[Arc<Ticket>]) -> Self {
        let sizes = || tickets.iter().map(|ticket| ticket.size);
        Self {
            batches: tickets.len(),
            appends: sizes().filter(|size| size.entries > 0).count(),
            entries: sizes().map(|size| size.entries).sum(),
            entry_bytes: sizes().map(|size| size.entry_bytes).sum(),
            deleted: sizes().map(|size| size.deleted).sum(),
            began: Instant::now(),
            took: Duration::ZERO,
        }
    }

    /// The engine has answered.
    pub(crate) fn end(&mut self) {
        self.took = self.began.elapsed();
    }
}

/// What a commit has come to, beside what its batches say.
pub(crate) struct Written {
    pub(crate) durability: Durability,
    pub(crate) bytes: usize,
}

impl Core {
    /// The time, where anybody wants to know.
    pub(crate) fn clock(&self) -> Option<Instant> {
        self.options.observer.as_ref().map(|_| Instant::now())
    }

    /// Tells the observer at once. To be called with no lock held.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.options.observer {
            tell(&**observer, &event());
        }
    }

    /// Tells of a batch that was refused for want of memory. To be called with no lock held.
    pub(crate) fn tell_memory_full(&self, error: &Error) {
        if let Error::MemoryFull { needed_bytes, limit_bytes } = *error {
            self.tell(|| Event::MemoryFull { needed_bytes, limit_bytes });
        }
    }

    /// Has the observer told in its turn, with the next delivery. Locks may be held.
    pub(crate) fn note(&self, event: impl FnOnce() -> Event) {
        if self.options.observer.is_some() {
            self.delivery.push_event(event());
        }
    }

    /// A caller that has waited for room since then, if it had to.
    pub(crate) fn note_wait(&self, since: Option<Instant>) {
        if let Some(since) = since {
            self.note(|| Event::Waited { took: since.elapsed() });
        }
    }

    /// What of an accepted plan is to be told behind the batch itself. Called while the state
    /// before it is still served.
    pub(crate) fn changes(&self, plan: &Plan<'_>) -> Vec<Event> {
        if self.options.observer.is_none() {
            return Vec::new();
        }
        let removal = |step: &Step<'_>| match *step {
            Step::Remove { log, first, last, .. } => {
                Some(Event::Truncated { replica: log.replica, first, last })
            }
            _ => None,
        };
        let mut events: Vec<_> = plan.steps.iter().filter_map(removal).collect();
        let served = self.read_served();
        for (&id, after) in &plan.replicas {
            let live = served.live(id).ok().flatten();
            let before = live.map_or_else(Default::default, |live| Arc::clone(&live.state));
            events.extend(passed(id, &before, after));
        }
        events
    }

    /// Begins to watch a commit.
    pub(crate) fn watch(&self, tickets: &[Arc<Ticket>]) -> Option<Watch> {
        self.options.observer.as_ref().map(|_| Watch::begin(tickets))
    }

    /// A watched commit that has succeeded, with what it made durable and evicted.
    pub(crate) fn note_commit(
        &self,
        watch: &Watch,
        written: &Written,
        durable_batches: usize,
        (evicted_bytes, cached_bytes): (usize, usize),
    ) {
        let Watch { batches, appends, entries, entry_bytes, deleted, took, .. } = *watch;
        let Written { durability, bytes } = *written;
        if batches == 0 && durability == Durability::Buffered {
            return; // there was nothing to write
        }
        let queue = self.lock_line().queue.queued();
        self.note(|| Event::Committed {
            batches,
            appends,
            entries,
            entry_bytes,
            bytes,
            durability,
            durable_batches,
            took,
            queue,
            cached_bytes,
        });
        if deleted > 0 {
            let waiting = self.waiting_for_deletion();
            self.note(|| Event::Deleted { entries: deleted, waiting, took });
        }
        if evicted_bytes > 0 {
            self.note(|| Event::Evicted { bytes: evicted_bytes, cached_bytes });
        }
    }

    /// Batches that have ended badly.
    pub(crate) fn note_failed(&self, tickets: &[Arc<Ticket>], cause: &Arc<EngineError>) {
        let unheard = |ticket: &&Arc<Ticket>| !ticket.asks.waits;
        if !tickets.is_empty() {
            self.note(|| Event::Failed {
                batches: tickets.len(),
                unheard_batches: tickets.iter().filter(unheard).count(),
                entries: tickets.iter().map(|ticket| ticket.size.entries).sum(),
                cause: Arc::clone(cause),
            });
        }
    }

    /// What the sidecar has come to since this was last called.
    pub(crate) fn note_mark(&self, marks: &mut Marks) {
        if let Some(event) = marks.take_event() {
            self.note(|| event);
        }
    }

    pub(crate) fn note_opened(&self, began: Option<Instant>) {
        let Some(began) = began else { return };
        let (replicas, damaged) = count(&self.read_served());
        self.note(|| Event::Opened { replicas, damaged, took: began.elapsed() });
    }

    pub(crate) fn note_reopened(&self, began: Option<Instant>, reports: &[Reopened]) {
        let Some(began) = began else { return };
        let (replicas, damaged) = count(&self.read_served());
        let shorter = |report: &&Reopened| report.last_after < report.last_before;
        let shortened = reports.iter().filter(shorter).count();
        self.note(|| Event::Reopened { replicas, damaged, shortened, took: began.elapsed() });
    }

    pub(crate) fn note_closed(&self, answer: &Result<(), Error>) {
        let failure = answer.as_ref().err();
        self.note(|| Event::Closed { failure: failure.map(described) });
    }
}

/// How a log has lost its beginning or all of it.
fn passed(id: ReplicaId, before: &Replica, after: &Replica) -> Option<Event> {
    let has_log = |replica: &Replica| replica.slots.contains(&slot::STATE);
    let entries = after.trash.entries().saturating_sub(before.trash.entries());
    let goes_on = has_log(after) && before.incarnation == after.incarnation;
    if has_log(before) && !goes_on {
        return Some(Event::Dropped { replica: id, entries });
    }
    let purged = after.purged.as_ref().filter(|_| after.purged != before.purged)?;
    Some(Event::Purged { replica: id, through: purged.id, entries })
}

/// How many replicas there are, and how many are damaged.
fn count(served: &Served) -> (usize, usize) {
    let all = served.replicas();
    all.fold((0, 0), |(all, damaged), (_, held)| (all + 1, damaged + usize::from(held.is_err())))
}

/// An error with what it came from.
fn described(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
