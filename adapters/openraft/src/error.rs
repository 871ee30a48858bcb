//! What the log store answers when it cannot do as openraft asks.

use std::io;
use std::sync::Arc;

use kvlogdb_engine_api::Error as EngineError;
use kvlogdb_log::{Error as LogError, ReplicaId};

/// The result of a call that says what it could not do.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What could not be done, on whose log, and why.
///
/// openraft sees it as the source of its own storage error, and stops the node.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation} of replica {replica}")]
pub struct Error {
    operation: &'static str,
    replica: ReplicaId,
    #[source]
    cause: Arc<Cause>,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The log refused or failed.
    #[error(transparent)]
    Log(#[from] LogError),

    /// What is stored cannot be read: it is damaged, or of other types than it was written with.
    #[error("{what} cannot be decoded: {reason}")]
    Undecodable {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// What is to be stored cannot be written as bytes. Nothing was changed.
    #[error("{what} cannot be encoded: {reason}")]
    Unencodable {
        /// What was to be stored.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// The log belongs to another node, or nobody knows to whom. Nothing was changed.
    #[error("the log belongs to {found}, not to node {wanted}")]
    Foreign {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },

    /// The vote would take back what was promised to other nodes. Nothing was changed.
    #[error("the vote {found} does not follow {saved}, which is saved")]
    VoteWentBack {
        /// What is saved.
        saved: String,
        /// What was given.
        found: String,
    },

    /// The runtime ended while it waited for a disk.
    #[error("the runtime is shutting down")]
    RuntimeEnded,
}

impl Error {
    pub(crate) fn new(operation: &'static str, replica: ReplicaId, cause: Arc<Cause>) -> Self {
        Self { operation, replica, cause }
    }

    /// What could not be done, in words.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Whose log it is.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Why it could not be done.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }
}

impl Cause {
    /// Whether nothing can be read or written until the store is opened again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Log(LogError::Engine(_)))
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Log(LogError::Engine(error)) => engine_kind(error),
            Self::Log(
                LogError::Corrupt { .. } | LogError::Damaged { .. } | LogError::StoreDamaged { .. },
            )
            | Self::Undecodable { .. } => io::ErrorKind::InvalidData,
            Self::Log(_)
            | Self::Unencodable { .. }
            | Self::Foreign { .. }
            | Self::VoteWentBack { .. } => io::ErrorKind::InvalidInput,
            Self::RuntimeEnded => io::ErrorKind::Interrupted,
        }
    }
}

fn engine_kind(error: &EngineError) -> io::ErrorKind {
    match error {
        EngineError::Poisoned { cause } => engine_kind(cause),
        EngineError::DiskFull { .. } => io::ErrorKind::StorageFull,
        EngineError::Corrupt { .. } => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.cause.kind(), error)
    }
}
