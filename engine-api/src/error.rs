//! What an engine answers when it cannot do as asked.

use std::path::PathBuf;
use std::sync::Arc;

/// The result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause from below this layer: the engine's or the operating system's own error.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why an engine refused or failed.
///
/// The variants are what a caller can act on, the same for every engine; the engine's own words
/// are in [`source`](std::error::Error::source). Each variant says what it leaves behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another handle, of this process or another, holds the store. Nothing was changed.
    #[error("the store in {} is in use by another handle", dir.display())]
    AlreadyOpen {
        /// The store's directory.
        dir: PathBuf,
    },

    /// The directory holds something that no kvlogdb store wrote. Nothing was changed.
    #[error("{} is not a kvlogdb store: {reason}", dir.display())]
    NotAStore {
        /// The directory that was to be opened.
        dir: PathBuf,
        /// What was found there.
        reason: String,
    },

    /// The store belongs to another engine. Nothing was changed.
    #[error("the store was made by engine {found}, not by {wanted}")]
    WrongEngine {
        /// The engine named by the store.
        found: String,
        /// The engine that was asked for.
        wanted: String,
    },

    /// The store belongs to somebody else: it carries another identity. Nothing was changed.
    #[error("the store's identity is {found}, not {wanted}")]
    WrongIdentity {
        /// The identity in the store, printable form.
        found: String,
        /// The identity that the caller expected, printable form.
        wanted: String,
    },

    /// The store was written by a layout or format that this build does not read. Nothing was
    /// changed.
    #[error("unsupported format: {what}")]
    Format {
        /// What is of a format that this build does not know.
        what: String,
        /// The engine's own error, where it was the engine that refused.
        source: Option<Cause>,
    },

    /// Stored bytes are not what was written. Nothing was changed.
    #[error("corrupt: {what}")]
    Corrupt {
        /// What is damaged.
        what: String,
        /// The engine's own error, where it was the engine that noticed.
        source: Option<Cause>,
    },

    /// The engine's journal ends in a batch that is torn. A crash during a write that was never
    /// acknowledged leaves this, and so does rot in the last batch that was: the two look the
    /// same. The way out is the engine's opt-in repair, and a node that repairs may be behind
    /// what it promised. Nothing was changed.
    #[error("the journal in {} ends in a torn batch; {way_out}", dir.display())]
    TornTail {
        /// The engine's directory.
        dir: PathBuf,
        /// What the operator can do.
        way_out: &'static str,
        /// The engine's own error.
        source: Option<Cause>,
    },

    /// The disk or the quota is full. On a write, the engine is poisoned as after any failure.
    #[error("no space left while the engine tried to {operation}")]
    DiskFull {
        /// What was being done.
        operation: &'static str,
        /// The engine's own error.
        source: Cause,
    },

    /// The operating system or the engine failed.
    #[error("the engine failed to {operation}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The engine's own error.
        source: Cause,
    },

    /// A write or a sync failed earlier. Its outcome is unknown until the store is reopened: the
    /// batch is then whole or absent. Every write is refused until then.
    #[error("the engine refuses writes after a failure until it is reopened")]
    Poisoned {
        /// The first failure.
        #[source]
        cause: Arc<Error>,
    },

    /// The engine cannot be opened again in this process, because it still holds its own lock.
    #[error("the engine cannot be reopened in this process; restart it")]
    RestartNeeded {
        /// The engine's own error.
        source: Cause,
    },

    /// The handle was closed.
    #[error("the engine is closed")]
    Closed,

    /// The caller asked for what the contract does not allow. Nothing was changed.
    #[error("invalid argument: {what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
    },

    /// A value or a batch is over its limit. Nothing was changed.
    #[error("{what} of {len_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        len_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
}

impl Error {
    /// Damage that this layer found by itself.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), source: None }
    }

    /// A failed call to the operating system, a full disk told apart.
    pub fn io(operation: &'static str, source: std::io::Error) -> Self {
        if is_disk_full(&source) {
            Self::DiskFull { operation, source: Box::new(source) }
        } else {
            Self::Io { operation, source: Box::new(source) }
        }
    }
}

/// Whether the operating system said that there is no room: a full disk, a quota, or a file that
/// may not grow further.
pub fn is_disk_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
