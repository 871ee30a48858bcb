//! What a store tells whoever runs it: one event for everything that matters in operation.

#[cfg(feature = "metrics")]
mod metrics;
mod notes;
#[cfg(feature = "tracing")]
mod tracing;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use kvlogdb_engine_api::{Durability, Error as EngineError, ReplicaId};

pub(crate) use self::notes::{Watch, Written};
use crate::LogId;

#[cfg(feature = "metrics")]
pub use self::metrics::MetricsObserver;
#[cfg(feature = "tracing")]
pub use self::tracing::TracingObserver;

/// Hears what happens in a store.
///
/// [`LogOptions::observer`](crate::LogOptions::observer) takes one. A store without an observer
/// reads no clock and allocates nothing for events.
///
/// # Concurrency
///
/// No lock of the store is held during a call. What the store's commits bring about comes in the
/// order of commits, one call at a time, before the callbacks of the batches that they end:
/// [`Committed`](Event::Committed), [`Failed`](Event::Failed), [`Poisoned`](Event::Poisoned),
/// [`Deleted`](Event::Deleted), [`Marked`](Event::Marked),
/// [`MarkFailed`](Event::MarkFailed), [`Waited`](Event::Waited), [`Opened`](Event::Opened),
/// [`Reopened`](Event::Reopened) and [`Closed`](Event::Closed). Writers that were blocked may go on
/// before these are told. The other events come from the thread in which they happen, at the same
/// time as others: that of an accepted batch may come after that of its commit.
///
/// An observer must not block, because callbacks, and callers that return, wait behind it. It may
/// use the store, and what it does there makes events, too.
///
/// # Panics
///
/// A panic of an observer ends that call and nothing else.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use kvlogdb_engine_api::MemoryEngine;
/// use kvlogdb_log::{Durability, Entry, Event, LogOptions, LogStore, Observer, ReplicaId};
///
/// #[derive(Default)]
/// struct Entries(AtomicUsize);
///
/// impl Observer for Entries {
///     fn event(&self, event: &Event) {
///         if let Event::Committed { entries, .. } = event {
///             self.0.fetch_add(*entries, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let written = Arc::new(Entries::default());
/// let mut options = LogOptions::default();
/// options.observer = Some(written.clone());
/// let store = LogStore::open(|| Ok(Arc::new(MemoryEngine::new())), options)?;
/// let log = store.log(ReplicaId::from(1));
/// log.append(vec![Entry::new(1, 1, "a"), Entry::new(1, 2, "b")], Durability::Synced)?;
/// store.close()?; // when it returns, everything has been told
/// assert_eq!(written.0.load(Ordering::Relaxed), 2);
/// # Ok::<(), kvlogdb_log::Error>(())
/// ```
pub trait Observer: Send + Sync {
    /// Takes notice of an event.
    fn event(&self, event: &Event);
}

/// So that options with an observer can be shown.
impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// What has been accepted and not yet been taken by a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Queued {
    /// How many batches.
    pub batches: usize,
    /// How many entries they append.
    pub entries: usize,
    /// How much of [`LogOptions::queue_bytes`](crate::LogOptions::queue_bytes) they take.
    pub bytes: usize,
}

/// Something that happened in a store.
///
/// Bytes of entries are those of their payloads.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The store was opened.
    #[non_exhaustive]
    Opened {
        /// How many replicas it has.
        replicas: usize,
        /// How many of them are refused because they are damaged.
        damaged: usize,
        /// How long it took, the engine's own opening included.
        took: Duration,
    },
    /// The store was opened again by [`LogStore::reopen`](crate::LogStore::reopen).
    #[non_exhaustive]
    Reopened {
        /// How many replicas it has.
        replicas: usize,
        /// How many of them are refused because they are damaged.
        damaged: usize,
        /// How many replicas' logs end before where they were served up to.
        shortened: usize,
        /// How long it took, waiting for the commit that was under way included.
        took: Duration,
    },
    /// The engine was closed, by a call or with the last handle.
    #[non_exhaustive]
    Closed {
        /// What went wrong, in words; the caller, where there is one, has the error itself.
        failure: Option<String>,
    },
    /// A batch was accepted: it can be read, and is not durable yet.
    #[non_exhaustive]
    Accepted {
        /// How many entries it appends.
        entries: usize,
        /// Their bytes.
        entry_bytes: usize,
        /// What waits with it, it included.
        queue: Queued,
    },
    /// The queue was full, and a caller that would not wait was told so.
    #[non_exhaustive]
    Busy {
        /// What waits.
        queue: Queued,
    },
    /// A batch was refused because the working sets would not fit into memory with it.
    #[non_exhaustive]
    MemoryFull {
        /// What they would have come to.
        needed_bytes: usize,
        /// What they may come to.
        limit_bytes: usize,
    },
    /// A caller has waited for room in the queue.
    #[non_exhaustive]
    Waited {
        /// How long.
        took: Duration,
    },
    /// A write of the engine has succeeded.
    #[non_exhaustive]
    Committed {
        /// How many accepted batches it carried.
        batches: usize,
        /// How many of these append entries.
        appends: usize,
        /// How many entries they append.
        entries: usize,
        /// The bytes of these entries.
        entry_bytes: usize,
        /// The bytes of all keys and values that the engine was given.
        bytes: usize,
        /// Whether the engine was asked for a sync.
        durability: Durability,
        /// How many batches are durable with it: those of earlier commits without a sync, too.
        durable_batches: usize,
        /// How long the engine took to write and to sync.
        took: Duration,
        /// What has collected meanwhile.
        queue: Queued,
        /// How much memory entries take now.
        cached_bytes: usize,
    },
    /// Accepted batches were lost with a commit that failed, or are whole once the store is
    /// reopened. Of those that asked for no sync only this event tells.
    #[non_exhaustive]
    Failed {
        /// How many batches: those of the commit, those that waited for a sync, and those that
        /// waited in the queue.
        batches: usize,
        /// How many of them nobody waits for: they asked for no sync.
        unheard_batches: usize,
        /// How many entries they append.
        entries: usize,
        /// Why.
        cause: Arc<EngineError>,
    },
    /// The store serves nothing any more, until it is reopened.
    #[non_exhaustive]
    Poisoned {
        /// Why.
        cause: Arc<EngineError>,
    },
    /// Entries were read.
    #[non_exhaustive]
    Read {
        /// Of which replica.
        replica: ReplicaId,
        /// How many entries came from memory.
        from_memory: usize,
        /// How many entries came from the engine.
        from_engine: usize,
        /// The bytes of all of them.
        entry_bytes: usize,
    },
    /// Entries that the engine has were dropped from memory to stay within the limit, by a commit
    /// or by a read.
    #[non_exhaustive]
    Evicted {
        /// How much memory that freed.
        bytes: usize,
        /// How much memory entries take now.
        cached_bytes: usize,
    },
    /// Entries at the end of a log were removed, by a batch that was accepted.
    #[non_exhaustive]
    Truncated {
        /// Of which replica.
        replica: ReplicaId,
        /// The first index that went.
        first: u64,
        /// The last index that went.
        last: u64,
    },
    /// The boundary of a log has moved, by a batch that was accepted.
    #[non_exhaustive]
    Purged {
        /// Of which replica.
        replica: ReplicaId,
        /// The last id that is purged.
        through: LogId,
        /// How many entries wait for deletion because of it.
        entries: u64,
    },
    /// The whole log was dropped, by a batch that was accepted: a reset, the removal of the
    /// replica, or an installed snapshot that the log did not lead up to.
    #[non_exhaustive]
    Dropped {
        /// Of which replica.
        replica: ReplicaId,
        /// How many entries wait for deletion because of it.
        entries: u64,
    },
    /// Keys that were purged or dropped were deleted, as a part of the commit that was told last.
    #[non_exhaustive]
    Deleted {
        /// How many entries.
        entries: u64,
        /// How many wait, of all replicas.
        waiting: u64,
        /// How long the commit took that did it.
        took: Duration,
    },
    /// The sidecar vouches for everything up to a new mark.
    #[non_exhaustive]
    Marked {
        /// The mark.
        mark: u64,
    },
    /// The sidecar could not be written: it covers less until it can.
    #[non_exhaustive]
    MarkFailed {
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The failure in words.
        what: String,
    },
}

/// Tells an observer, whose panic is its own.
pub(crate) fn tell(observer: &dyn Observer, event: &Event) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer.event(event)));
}
