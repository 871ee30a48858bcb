//! How a case says that it failed.

use std::error::Error;
use std::fmt;

/// What differed from the contract, in words.
#[derive(Debug)]
pub(crate) struct Failure(String);

/// The result of a case or of a step of one.
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

impl From<kvlogdb_engine_api::Error> for Failure {
    fn from(error: kvlogdb_engine_api::Error) -> Self {
        Self(chain(&error))
    }
}

impl From<kvlogdb_log::Error> for Failure {
    fn from(error: kvlogdb_log::Error) -> Self {
        Self(chain(&error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(chain(&error))
    }
}

/// An error and everything below it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        text = format!("{text}: {source}");
        below = source.source();
    }
    text
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

/// How much of a long value a failure prints.
const SHOWN_CHARS: usize = 400;

/// Fails unless the two are equal.
pub(crate) fn expect_eq<T: PartialEq + fmt::Debug>(
    what: impl fmt::Display,
    found: &T,
    wanted: &T,
) -> Checked {
    if found == wanted {
        return Ok(());
    }
    let (found, wanted) = (shortened(found), shortened(wanted));
    Err(format!("{what}: found {found}, wanted {wanted}").into())
}

fn shortened(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{} ... ({} characters)", text.split_at(end).0, text.len()),
        None => text,
    }
}

/// Fails with the formatted text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::failure::Failure::from(format!($($text)+)));
        }
    };
}

/// Fails unless the result is an error of this pattern.
macro_rules! expect_refused {
    ($what:expr, $result:expr, $pattern:pat) => {
        match $result {
            Err($pattern) => {}
            Err(other) => {
                let (found, wanted) = ($crate::failure::chain(&other), stringify!($pattern));
                let text = format!("{}: refused with \"{found}\", wanted {wanted}", $what);
                return Err($crate::failure::Failure::from(text));
            }
            Ok(_) => {
                let text = format!("{}: done, wanted {}", $what, stringify!($pattern));
                return Err($crate::failure::Failure::from(text));
            }
        }
    };
}

pub(crate) use {ensure, expect_refused};
