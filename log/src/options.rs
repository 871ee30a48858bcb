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
    /// Whether a write waits for the disk, and what is kept in memory.
    pub strategy: Strategy,
    /// How long a commit may collect; [`FlushPolicy::Adaptive`] unless set.
    pub flush: FlushPolicy,
    /// [`Strategy::DiskFirst`]: how much memory entries may take that the engine has already; 16
    /// MiB unless set. With none, every entry that the engine has is read from it.
    pub cache_bytes: usize,
    /// How many bytes of accepted batches may wait to be written; 8 MiB unless set. One batch may
    /// go over it.
    pub queue_bytes: usize,
    /// How many entries of accepted batches may wait to be written; 16,384 unless set.
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
            strategy: Strategy::DiskFirst,
            flush: FlushPolicy::Adaptive,
            cache_bytes: 16 << 20,
            queue_bytes: 8 << 20,
            queue_entries: 1 << 14,
            observer: None,
        }
    }
}

impl LogOptions {
    pub(crate) fn mem_first(&self) -> bool {
        matches!(self.strategy, Strategy::MemFirst { .. })
    }

    /// How much memory entries may take that the engine has already.
    pub(crate) fn entry_bytes(&self) -> usize {
        match self.strategy {
            Strategy::DiskFirst => self.cache_bytes,
            Strategy::MemFirst { memory_bytes } => memory_bytes,
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

/// Whether a write waits for the disk, and what is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// A write waits for its sync, unless it asks for none. Memory holds the newest entries, and
    /// what was read last, as far as there is room; a store opens without reading its logs.
    #[default]
    DiskFirst,
    /// A write is accepted at once and can be read; the flush policy says when the store syncs it.
    /// One that asks to be [`Synced`](kvlogdb_engine_api::Durability::Synced) still waits for that,
    /// and so does every change of a term or a vote. What is accepted and not yet durable must not
    /// be counted towards a quorum: [`Log::durable`](crate::Log::durable),
    /// [`LogStore::submit`](crate::LogStore::submit) and its callback tell when it can be.
    ///
    /// Memory holds every log's working set: what its recorded snapshot does not cover, or the
    /// whole log where none is recorded. It is read when the store opens.
    MemFirst {
        /// How much memory entries may take. An append that would take the working sets beyond it
        /// is refused with [`MemoryFull`](crate::Error::MemoryFull), and a store whose working sets
        /// are larger is not opened.
        memory_bytes: usize,
    },
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
    /// waits for them to come back, for up to a third of the time that the last one took. Where
    /// nobody waits, a commit collects for as long as the last one took, and for 5 ms at the most.
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
