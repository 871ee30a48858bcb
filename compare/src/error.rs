//! What can go wrong while measuring.

use std::io;

/// The result of a step of measuring.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a measurement has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store refused or failed.
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// A store that cannot do what the workload asks for.
    #[error("{0}")]
    Unsupported(&'static str),

    /// What was read is not what was written.
    #[error("group {group}, index {index}: {what}")]
    Wrong {
        /// The group.
        group: u64,
        /// The index.
        index: u64,
        /// How it differs.
        what: &'static str,
    },

    /// A file system or a process refused.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },

    /// The process that measured ended without a result.
    #[error("the measuring process failed: {0}")]
    Child(String),

    /// A record that cannot be read.
    #[error("line {line} of the record: {what}")]
    Record {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },

    /// What was asked for cannot be done here; nothing was written.
    #[error("{0}")]
    BadInput(String),

    /// The user stopped it.
    #[error("stopped; what had been made is removed")]
    Stopped,
}

impl Error {
    /// A failure of a store.
    pub fn store(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store(source.into())
    }

    /// A failure of the file system.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }

    /// The error and its causes in one line.
    pub fn in_full(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line = format!("{line}: {error}");
            cause = error.source();
        }
        line
    }
}

impl From<kvlogdb::Error> for Error {
    fn from(error: kvlogdb::Error) -> Self {
        Self::store(error)
    }
}

impl From<kvlogdb::EngineError> for Error {
    fn from(error: kvlogdb::EngineError) -> Self {
        Self::store(error)
    }
}
