//! fjall's errors in the words of the contract.

use std::io::{self, ErrorKind};
use std::path::Path;

use fjall::JournalRecoveryError;
use kvlogdb_engine_api::{Error, is_disk_full};

/// What a person can do about a torn tail.
const WAY_OUT: &str = "to drop that batch and keep a copy, open with FjallOptions::torn_tail set \
                       to TornTail::Repair";

/// A failure of an open database during `operation`.
pub(crate) fn from_fjall(operation: &'static str, error: fjall::Error) -> Error {
    use fjall::{Error as F, LsmError as L};
    match error {
        F::Io(source) | F::Storage(L::Io(source)) => from_io(operation, source),
        F::InvalidVersion(_)
        | F::Storage(L::InvalidVersion(_) | L::InvalidTag(("CompressionType", _))) => format(error),
        F::JournalRecovery(_) => corrupt("fjall's journal", error),
        F::Storage(_)
        | F::Decompress(_)
        | F::InvalidTrailer
        | F::InvalidTag(_)
        | F::Unrecoverable => corrupt("fjall's files", error),
        other => Error::Io { operation, source: Box::new(other) },
    }
}

/// A failure to open the database in `dir`, which is the engine's part of a store.
pub(crate) fn from_open(dir: &Path, error: fjall::Error) -> Error {
    if is_torn_tail(&error) {
        return Error::TornTail {
            dir: dir.to_owned(),
            way_out: WAY_OUT,
            source: Some(Box::new(error)),
        };
    }
    match error {
        fjall::Error::Locked => Error::AlreadyOpen { dir: dir.parent().unwrap_or(dir).to_owned() },
        other => from_fjall("open the database", other),
    }
}

/// Whether the journal holds a batch that is complete in form and wrong in content.
pub(crate) fn is_torn_tail(error: &fjall::Error) -> bool {
    use JournalRecoveryError::{ChecksumMismatch, InsufficientLength, TooManyItems};
    matches!(
        error,
        fjall::Error::JournalRecovery(ChecksumMismatch | InsufficientLength | TooManyItems)
    )
}

pub(crate) fn corrupt(what: impl Into<String>, error: fjall::Error) -> Error {
    Error::Corrupt { what: what.into(), source: Some(Box::new(error)) }
}

fn format(error: fjall::Error) -> Error {
    Error::Format { what: "fjall's own format".into(), source: Some(Box::new(error)) }
}

/// A file that is missing, short or unreadable as what it should be is damage: the engine's files
/// are its own.
fn from_io(operation: &'static str, error: io::Error) -> Error {
    use ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    if is_disk_full(&error) || !matches!(error.kind(), NotFound | UnexpectedEof | InvalidData) {
        return Error::io(operation, error);
    }
    corrupt("a file of the engine", fjall::Error::Io(error))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use fjall::{Error as F, LsmError};

    use super::*;

    fn mapped(error: F) -> Error {
        from_open(Path::new("store"), error)
    }

    #[test]
    fn a_full_disk_is_told_apart_wherever_it_shows() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            for error in [F::Io(kind.into()), F::Storage(LsmError::Io(kind.into()))] {
                assert!(matches!(mapped(error), Error::DiskFull { .. }), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_lock_is_already_open_and_a_torn_batch_names_the_way_out() {
        assert!(matches!(mapped(F::Locked), Error::AlreadyOpen { .. }));
        for torn in [
            JournalRecoveryError::ChecksumMismatch,
            JournalRecoveryError::InsufficientLength,
            JournalRecoveryError::TooManyItems,
        ] {
            let error = mapped(F::JournalRecovery(torn));
            assert!(error.to_string().contains("TornTail::Repair"), "{error}");
            assert!(error.source().is_some());
        }
    }

    #[test]
    fn damage_format_and_failure_are_different_things() {
        for damage in [
            F::JournalRecovery(JournalRecoveryError::InvalidFileName),
            F::Storage(LsmError::InvalidTrailer),
            F::Storage(LsmError::Unrecoverable),
            F::Storage(LsmError::InvalidTag(("ValueType", 9))),
            F::InvalidTrailer,
            F::Unrecoverable,
            F::Io(ErrorKind::NotFound.into()),
            F::Storage(LsmError::Io(ErrorKind::UnexpectedEof.into())),
        ] {
            let name = format!("{damage:?}");
            assert!(matches!(mapped(damage), Error::Corrupt { .. }), "{name}");
        }
        for format in [
            F::InvalidVersion(None),
            F::Storage(LsmError::InvalidVersion(9)),
            F::Storage(LsmError::InvalidTag(("CompressionType", 1))),
        ] {
            let name = format!("{format:?}");
            assert!(matches!(mapped(format), Error::Format { .. }), "{name}");
        }
        for failure in [F::Poisoned, F::KeyspaceDeleted, F::Io(ErrorKind::PermissionDenied.into())]
        {
            let name = format!("{failure:?}");
            assert!(matches!(mapped(failure), Error::Io { .. }), "{name}");
        }
    }
}
