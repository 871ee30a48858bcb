//! The one place where redb's errors become the contract's.

use std::io;
use std::path::Path;

use kvlogdb_engine_api::Error;

/// What redb answered while the engine tried to `operation`.
pub(crate) fn failed(operation: &'static str, error: impl Into<redb::Error>) -> Error {
    use redb::Error as Redb;
    let what = format!("redb could not {operation}");
    match error.into() {
        Redb::Io(error) => failed_io(operation, error),
        error @ (Redb::Corrupted(_)
        | Redb::TableTypeMismatch { .. }
        | Redb::TableIsMultimap(_)
        | Redb::TableIsNotMultimap(_)
        | Redb::TypeDefinitionChanged { .. }
        | Redb::TableDoesNotExist(_)) => Error::Corrupt { what, source: Some(Box::new(error)) },
        error @ Redb::UpgradeRequired(_) => {
            Error::Format { what: "redb's file format".into(), source: Some(Box::new(error)) }
        }
        error => Error::Io { operation, source: Box::new(error) },
    }
}

/// What redb answered when it was to open the file of the store in `dir`. The store says that it
/// was completed, so that a file that is gone is damage.
pub(crate) fn not_opened(dir: &Path, error: redb::DatabaseError) -> Error {
    use redb::{DatabaseError, StorageError};
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::AlreadyOpen { dir: dir.to_owned() },
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::NotFound =>
        {
            Error::Corrupt {
                what: "the store has lost redb's file".into(),
                source: Some(Box::new(error)),
            }
        }
        other => failed("open its file", other),
    }
}

/// redb reports a file of wrong bytes or of too few as a failure of the operating system.
fn failed_io(operation: &'static str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Error::Corrupt {
            what: format!("redb could not {operation}"),
            source: Some(Box::new(error)),
        },
        _ => Error::io(operation, error),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn io(kind: io::ErrorKind) -> redb::Error {
        redb::Error::Io(io::Error::from(kind))
    }

    #[test]
    fn every_way_of_being_full_is_a_full_disk() {
        for kind in
            [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge]
        {
            let error = failed("commit", io(kind));
            assert!(matches!(error, Error::DiskFull { operation: "commit", .. }), "{error:?}");
        }
    }

    #[test]
    fn wrong_bytes_and_missing_bytes_are_damage_and_keep_their_source() {
        for error in [
            redb::Error::Corrupted("page".into()),
            io(io::ErrorKind::InvalidData),
            io(io::ErrorKind::UnexpectedEof),
            redb::Error::TableIsMultimap("meta".into()),
            redb::Error::TableDoesNotExist("meta".into()),
        ] {
            let text = error.to_string();
            let error = failed("read", error);
            assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(text.contains(&source) && !source.is_empty(), "{source}");
        }
    }

    #[test]
    fn an_old_file_is_a_format_and_the_rest_is_the_engines_failure() {
        let old = failed("open", redb::DatabaseError::UpgradeRequired(2));
        assert!(matches!(old, Error::Format { .. }), "{old:?}");
        for error in
            [redb::Error::PreviousIo, redb::Error::TransactionPoisoned, io(io::ErrorKind::Other)]
        {
            let error = failed("commit", error);
            assert!(matches!(error, Error::Io { operation: "commit", .. }), "{error:?}");
        }
    }

    #[test]
    fn a_file_in_use_and_a_file_that_is_gone_are_told_apart() {
        let dir = Path::new("store");
        let used = not_opened(dir, redb::DatabaseError::DatabaseAlreadyOpen);
        assert!(matches!(used, Error::AlreadyOpen { dir } if dir == Path::new("store")));
        let gone = not_opened(dir, io::Error::from(io::ErrorKind::NotFound).into());
        assert!(matches!(gone, Error::Corrupt { .. }), "{gone:?}");
        let denied = not_opened(dir, io::Error::from(io::ErrorKind::PermissionDenied).into());
        assert!(matches!(denied, Error::Io { .. }), "{denied:?}");
    }
}
