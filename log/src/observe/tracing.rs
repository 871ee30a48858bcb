//! Events as events of the `tracing` facade.

use ::tracing::{debug, error, info, trace, warn};

use super::{Event, Observer};

/// Speaks to the subscriber of the [`tracing`](::tracing) facade, with the target `kvlogdb`.
///
/// | level | what |
/// |---|---|
/// | error | a store that is poisoned, and batches that were lost with that |
/// | warn | a sidecar that cannot be written; damaged replicas; logs shorter after reopening |
/// | info | opening, reopening, closing |
/// | debug | truncation, purge, dropped logs, a full queue, full memory |
/// | trace | every batch, commit, read, eviction, deletion slice and mark |
///
/// Some events come from the store's own thread: a subscriber for all threads hears all.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use kvlogdb_log::{LogOptions, TracingObserver};
///
/// let mut options = LogOptions::default();
/// options.observer = Some(Arc::new(TracingObserver));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingObserver;

/// What everything here is under, for filters.
const TARGET: &str = "kvlogdb";

impl Observer for TracingObserver {
    fn event(&self, event: &Event) {
        match event {
            Event::Opened { .. }
            | Event::Reopened { .. }
            | Event::Closed { .. }
            | Event::Poisoned { .. }
            | Event::Failed { .. } => life(event),
            Event::Accepted { .. }
            | Event::Busy { .. }
            | Event::MemoryFull { .. }
            | Event::Waited { .. }
            | Event::Committed { .. }
            | Event::Marked { .. }
            | Event::MarkFailed { .. } => writing(event),
            Event::Read { .. }
            | Event::Evicted { .. }
            | Event::Truncated { .. }
            | Event::Purged { .. }
            | Event::Dropped { .. }
            | Event::Deleted { .. } => content(event),
        }
    }
}

/// What concerns the store as a whole.
fn life(event: &Event) {
    match event {
        Event::Opened { replicas, damaged, took } => {
            info!(target: TARGET, replicas, damaged, ?took, "opened");
            if *damaged > 0 {
                warn!(target: TARGET, damaged, "damaged replicas are refused");
            }
        }
        Event::Reopened { replicas, damaged, shortened, took } => {
            info!(target: TARGET, replicas, damaged, shortened, ?took, "reopened");
            if *damaged > 0 {
                warn!(target: TARGET, damaged, "damaged replicas are refused");
            }
            if *shortened > 0 {
                warn!(target: TARGET, shortened, "logs end before where they were served up to");
            }
        }
        Event::Closed { failure: None } => info!(target: TARGET, "closed"),
        Event::Closed { failure: Some(failure) } => {
            error!(target: TARGET, failure, "closing failed");
        }
        Event::Poisoned { cause } => error!(target: TARGET, %cause, "poisoned"),
        Event::Failed { batches, unheard_batches, entries, cause } => {
            error!(
                target: TARGET, batches, unheard_batches, entries, %cause,
                "accepted batches failed"
            );
        }
        _ => {}
    }
}

/// What concerns batches on their way to the disk.
fn writing(event: &Event) {
    match event {
        Event::Accepted { entries, entry_bytes, queue } => trace!(
            target: TARGET, entries, entry_bytes,
            queue_batches = queue.batches, queue_bytes = queue.bytes, "accepted"
        ),
        Event::Busy { queue } => debug!(
            target: TARGET, queue_batches = queue.batches, queue_bytes = queue.bytes, "busy"
        ),
        Event::MemoryFull { needed_bytes, limit_bytes } => {
            debug!(target: TARGET, needed_bytes, limit_bytes, "memory is full");
        }
        Event::Waited { took } => debug!(target: TARGET, ?took, "waited for room in the queue"),
        Event::Committed {
            batches,
            entries,
            bytes,
            durability,
            durable_batches,
            took,
            queue,
            ..
        } => trace!(
            target: TARGET, batches, entries, bytes, ?durability, durable_batches, ?took,
            queue_batches = queue.batches, queue_bytes = queue.bytes, "committed"
        ),
        Event::Marked { mark } => trace!(target: TARGET, mark, "marked"),
        Event::MarkFailed { kind, what } => {
            warn!(target: TARGET, ?kind, what, "the sidecar could not be written");
        }
        _ => {}
    }
}

/// What concerns entries that are there already.
fn content(event: &Event) {
    match event {
        Event::Read { replica, from_memory, from_engine, entry_bytes } => {
            trace!(target: TARGET, %replica, from_memory, from_engine, entry_bytes, "read");
        }
        Event::Evicted { bytes, cached_bytes } => {
            trace!(target: TARGET, bytes, cached_bytes, "evicted");
        }
        Event::Truncated { replica, first, last } => {
            debug!(target: TARGET, %replica, first, last, "truncated");
        }
        Event::Purged { replica, through, entries } => {
            debug!(
                target: TARGET, %replica, term = through.term, index = through.index, entries,
                "purged"
            );
        }
        Event::Dropped { replica, entries } => {
            debug!(target: TARGET, %replica, entries, "dropped a log");
        }
        Event::Deleted { entries, waiting, took } => {
            trace!(target: TARGET, entries, waiting, ?took, "deleted");
        }
        _ => {}
    }
}
