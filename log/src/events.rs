//! What a store tells of itself while it works.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kvlogdb_engine_api::{Durability, Error as EngineError};

/// Hears of events. Set it in [`LogOptions::observer`](crate::LogOptions::observer).
///
/// It is called on the thread that does the work, with no lock of the store held but, while a
/// commit is under way, the right to lead the next: it must be quick and must not call the store.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);
}

/// One thing that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A batch was accepted and waits for its commit.
    Accepted {
        /// How many entries it appends.
        entries: usize,
        /// Its size in bytes, keys and records included.
        bytes: usize,
        /// How much waits now, this batch included.
        queue_entries: usize,
        /// The same in bytes.
        queue_bytes: usize,
    },
    /// A commit has ended well.
    Committed {
        /// How many accepted batches it carried.
        batches: usize,
        /// How many entries they append.
        entries: usize,
        /// Their size in bytes.
        bytes: usize,
        /// Whether it was synced.
        durability: Durability,
        /// How long the engine took.
        took: Duration,
        /// How many bytes entries take in memory now.
        cached_bytes: usize,
    },
    /// A slice of entries that no longer belong to a log was handed to a commit for deletion.
    Deleting {
        /// How many still wait behind it.
        waiting_entries: u64,
    },
    /// The engine failed: nothing is served until the store is reopened.
    Failed {
        /// Why.
        cause: &'a Arc<EngineError>,
    },
    /// The sidecar could not be written: more than usual is not covered by it.
    SidecarFailed {
        /// Why.
        error: &'a io::Error,
    },
}
