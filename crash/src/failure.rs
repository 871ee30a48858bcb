//! How something that should have worked says that it did not.

use std::error::Error;
use std::fmt;

/// What went wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

/// The result of a step.
pub(crate) type Checked<T = ()> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(chain(&error))
    }
}

impl From<kvlogdb_log::Error> for Failure {
    fn from(error: kvlogdb_log::Error) -> Self {
        Self(chain(&error))
    }
}

impl From<kvlogdb::EngineError> for Failure {
    fn from(error: kvlogdb::EngineError) -> Self {
        Self(chain(&error))
    }
}

/// An error and everything below it, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        text = format!("{text}: {source}");
        below = source.source();
    }
    text.replace('\n', " / ")
}

/// Says what was being done when a step failed.
pub(crate) trait Context<T> {
    fn during(self, what: impl fmt::Display) -> Checked<T>;
}

impl<T, F: Into<Failure>> Context<T> for Result<T, F> {
    fn during(self, what: impl fmt::Display) -> Checked<T> {
        self.map_err(|failure| Failure(format!("{what}: {}", failure.into())))
    }
}
