//! How a store is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Observer;

/// Settings of a [`LogStore`](crate::LogStore).
///
/// # Examples
///
/// ```
/// use kvlogdb_log::{LogOptions, PurgeGuard};
///
/// let mut options = LogOptions::default();
/// options.sidecar = Some("data/SEQ".into());
/// options.purge_guard = PurgeGuard::Snapshot;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogOptions {
    /// Where the sidecar lies: the file that notices an engine which lost synced data. `None`, the
    /// default, is for engines whose data does not outlive the process.
    pub sidecar: Option<PathBuf>,
    /// How often, at the most, a write carries a new mark for the sidecar; one second unless set.
    /// What was synced after the last mark is not covered by it. Zero marks every write.
    pub mark_interval: Duration,
    /// What to do about an engine that is behind the sidecar.
    pub lost_data: LostData,
    /// What a purge is held against.
    pub purge_guard: PurgeGuard,
    /// How long a commit may collect; [`FlushPolicy::Adaptive`] unless set.
    pub flush: FlushPolicy,
    /// How much memory entries may take that the engine has already; 16 MiB unless set.
    pub cache_bytes: usize,
    /// How many bytes of accepted batches may wait to be written; 64 MiB unless set. One batch may
    /// go over it.
    pub queue_bytes: usize,
    /// How many entries of accepted batches may wait to be written; 65,536 unless set.
    pub queue_entries: usize,
    /// Who hears of what happens; nobody unless set.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            sidecar: None,
            mark_interval: Duration::from_secs(1),
            lost_data: LostData::Refuse,
            purge_guard: PurgeGuard::None,
            flush: FlushPolicy::Adaptive,
            cache_bytes: 16 << 20,
            queue_bytes: 64 << 20,
            queue_entries: 1 << 16,
            observer: None,
        }
    }
}

/// What to do about an engine that is behind its sidecar, and about a sidecar that is missing or
/// cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LostData {
    /// Refuse to open.
    #[default]
    Refuse,
    /// Open and go on from what the engine has, as after restoring a backup. The node may have
    /// promised what the store no longer knows: whoever says this answers for that.
    Accept,
}

/// What a purge is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PurgeGuard {
    /// Nothing: the caller knows what it may purge.
    #[default]
    None,
    /// The recorded snapshot: purging what it does not cover is refused.
    Snapshot,
}

/// How long accepted batches collect before a commit carries them. Whatever has collected while a
/// commit is in its sync goes with the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FlushPolicy {
    /// A commit begins as soon as the one before has ended.
    Immediate,
    /// A commit waits for so many entries, or for so long, whichever comes first.
    Batch {
        /// How many entries.
        entries: usize,
        /// How long.
        interval: Duration,
    },
    /// As [`Immediate`](Self::Immediate) for one writer; where several wrote together, a commit
    /// waits for them to come back, for up to a third of the time that the last one took.
    #[default]
    Adaptive,
}

/// What a writer does when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// Wait for room.
    #[default]
    Wait,
    /// Answer [`Busy`](crate::Error::Busy).
    Busy,
}
