//! What the log answers when it cannot do as asked.

use kvlogdb_engine_api::{Error as EngineError, ReplicaId};

use crate::{HardState, LogId};

/// The result of a call to the log.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the log refused or failed.
///
/// Every refusal of a batch leaves the store as it was and usable: batches are decided as a whole
/// before anything is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An append would leave indexes without an entry.
    #[error("replica {replica}: the next index is {expected}, not {found}")]
    Gap {
        /// The replica.
        replica: ReplicaId,
        /// The index that comes next.
        expected: u64,
        /// The index that was given.
        found: u64,
    },

    /// An append would follow an entry of a higher term.
    #[error("replica {replica}: {found} may not follow {last}")]
    TermWentBack {
        /// The replica.
        replica: ReplicaId,
        /// The entry or boundary before it.
        last: LogId,
        /// The id that was given.
        found: LogId,
    },

    /// The log ends at the largest index there is.
    #[error("replica {replica}: the log is full up to the largest index")]
    Full {
        /// The replica.
        replica: ReplicaId,
    },

    /// The index lies in the purged prefix.
    #[error("replica {replica}: index {index} is purged; the boundary is {purged}")]
    Purged {
        /// The replica.
        replica: ReplicaId,
        /// The index that was asked for.
        index: u64,
        /// The last purged id.
        purged: LogId,
    },

    /// There is no entry at the index: it lies behind the last entry, or before the first of a
    /// log of which nothing was purged.
    #[error("replica {replica}: there is no entry at index {index}")]
    Unavailable {
        /// The replica.
        replica: ReplicaId,
        /// The index that was asked for.
        index: u64,
    },

    /// A truncation would remove committed entries.
    #[error("replica {replica}: index {index} is committed; the commit index is {commit}")]
    Committed {
        /// The replica.
        replica: ReplicaId,
        /// The first index that was to be removed.
        index: u64,
        /// The commit index.
        commit: u64,
    },

    /// The commit index would lie behind the last entry.
    #[error("replica {replica}: commit index {commit} is behind the end of the log")]
    CommitBehindEnd {
        /// The replica.
        replica: ReplicaId,
        /// The commit index that was given.
        commit: u64,
        /// The last index, `None` for a log that never had an entry.
        last: Option<u64>,
    },

    /// Saving the hard state would take a promise back.
    #[error("replica {replica}: hard state {found:?} goes back behind {current:?}")]
    HardStateWentBack {
        /// The replica.
        replica: ReplicaId,
        /// What is saved.
        current: HardState,
        /// What was given.
        found: HardState,
    },

    /// An id names another entry than the one at its index: terms or leaders differ.
    #[error("replica {replica}: the log holds {stored}, not {found}")]
    IdMismatch {
        /// The replica.
        replica: ReplicaId,
        /// The id in the log.
        stored: LogId,
        /// The id that was given.
        found: LogId,
    },

    /// A purge would pass the recorded snapshot, and the store guards against that.
    #[error("replica {replica}: {found} is above the recorded snapshot")]
    AboveSnapshot {
        /// The replica.
        replica: ReplicaId,
        /// The last id that the snapshot covers, `None` where none is recorded.
        snapshot: Option<LogId>,
        /// The id that was given.
        found: LogId,
    },

    /// The working sets in memory would come to more than
    /// [`MemFirst`](crate::Strategy::MemFirst) allows: a snapshot that covers more, or a purge,
    /// makes room.
    #[error(
        "the working sets would take {needed_bytes} bytes of memory; the limit is {limit_bytes}"
    )]
    MemoryFull {
        /// What they would take, or at least that much.
        needed_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },

    /// Something is over its limit.
    #[error("{what} of {len_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        len_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },

    /// The log would hold more changes of term or leader than a replica's state record takes.
    #[error("replica {replica}: more than {limit} changes of term or leader; purge first")]
    TooManyTermRuns {
        /// The replica.
        replica: ReplicaId,
        /// The limit.
        limit: usize,
    },

    /// The queue of accepted batches is at its limit, and the caller asked not to wait for room.
    #[error("too much waits to be written")]
    Busy,

    /// A slot below [`FIRST_USER_SLOT`](kvlogdb_engine_api::FIRST_USER_SLOT) belongs to the log.
    #[error("slot {slot} belongs to the log")]
    ReservedSlot {
        /// The slot that was given.
        slot: u16,
    },

    /// An entry is damaged or absent where one must be. It is never served, and it is never taken
    /// for the end of the log.
    #[error("replica {replica}: the entry at index {index} is corrupt: {what}")]
    Corrupt {
        /// The replica.
        replica: ReplicaId,
        /// The entry's index.
        index: u64,
        /// What is wrong with it.
        what: String,
    },

    /// What the store keeps of a replica does not hold together. The replica is refused, and the
    /// others are served.
    #[error("replica {replica} is damaged: {what}")]
    Damaged {
        /// The replica.
        replica: ReplicaId,
        /// What is wrong.
        what: String,
    },

    /// What the store keeps of itself is damaged. It is not opened.
    #[error("the store is damaged: {what}")]
    StoreDamaged {
        /// What is wrong.
        what: String,
    },

    /// The engine has lost writes that were synced: it is behind the mark in the sidecar. A
    /// restored backup looks the same; see [`LostData`](crate::LostData).
    #[error("the engine lost synced data: it is at mark {found}, the sidecar at {expected}")]
    LostSyncedData {
        /// The mark in the engine, 0 where it holds none.
        found: u64,
        /// The mark in the sidecar.
        expected: u64,
    },

    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Error {
    pub(crate) fn corrupt(replica: ReplicaId, index: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { replica, index, what: what.into() }
    }
}
