//! How the command ends.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use kvlogdb::EngineError;

/// What the exit codes mean, for the help text.
pub(crate) const HELP: &str = "Exit codes: 0 fine, 1 damage or difference, 2 bad input, \
                               3 in use or not openable";

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Fine = 0,
    Damage = 1,
    BadInput = 2,
    NotOpenable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self { exit: Exit::BadInput, message: message.into() }
    }

    pub(crate) fn damage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Damage, message: message.into() }
    }

    pub(crate) fn in_use(message: impl Into<String>) -> Self {
        Self { exit: Exit::NotOpenable, message: message.into() }
    }

    /// A file system that refuses.
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let message = format!("cannot {doing} {}: {error}", path.display());
        Self { exit: Exit::NotOpenable, message }
    }

    /// An output that cannot be written. One that nobody reads any more is no failure.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Fine, message: String::new() };
        }
        Self { exit: Exit::NotOpenable, message: format!("cannot write the output: {error}") }
    }

    /// An engine that could not be used; `doing` says what for.
    pub(crate) fn engine(doing: &str, error: EngineError) -> Self {
        Self::store(doing, &error.into())
    }

    /// A store that could not be used; `doing` says what for.
    pub(crate) fn store(doing: &str, error: &kvlogdb::Error) -> Self {
        Self { exit: exit_of(error), message: format!("{doing}: {}", with_causes(error)) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn exit_of(error: &kvlogdb::Error) -> Exit {
    match error {
        kvlogdb::Error::Corrupt { .. }
        | kvlogdb::Error::Damaged { .. }
        | kvlogdb::Error::StoreDamaged { .. }
        | kvlogdb::Error::LostSyncedData { .. }
        | kvlogdb::Error::Engine(EngineError::Corrupt { .. } | EngineError::TornTail { .. }) => {
            Exit::Damage
        }
        kvlogdb::Error::Purged { .. } | kvlogdb::Error::Unavailable { .. } => Exit::BadInput,
        _ => Exit::NotOpenable,
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}
