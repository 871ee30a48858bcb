//! sled's errors in the words of the contract: the one place that knows both.

use std::io;

use kvlogdb_engine_api::{Error, is_disk_full};

/// How sled words the one failure that has no kind of its own.
const LOCK_TEXT: &str = "could not acquire lock";

/// The error of a call that was to `operation`.
pub(crate) fn from_sled(operation: &'static str, error: sled::Error) -> Error {
    let source = Box::new(error);
    match &*source {
        sled::Error::Io(cause) if is_disk_full(cause) => Error::DiskFull { operation, source },
        sled::Error::Io(cause) if is_damage(cause) => Error::Corrupt {
            what: format!("sled read less or other than it wrote while it tried to {operation}"),
            source: Some(source),
        },
        sled::Error::Io(_) | sled::Error::ReportableBug(_) => Error::Io { operation, source },
        sled::Error::Corruption { .. } | sled::Error::CollectionNotFound(_) => Error::Corrupt {
            what: format!("sled found damage while it tried to {operation}"),
            source: Some(source),
        },
        sled::Error::Unsupported(what) => {
            Error::Format { what: what.clone(), source: Some(source) }
        }
    }
}

/// Whether somebody else holds the lock that sled itself takes on its file.
pub(crate) fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(cause) if cause.to_string().contains(LOCK_TEXT))
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error(kind: io::ErrorKind) -> sled::Error {
        sled::Error::Io(io::Error::new(kind, "from the system"))
    }

    #[test]
    fn a_full_disk_or_quota_is_told_apart_from_other_failures() {
        use io::ErrorKind::{Other, PermissionDenied, QuotaExceeded, StorageFull};
        for kind in [StorageFull, QuotaExceeded] {
            let error = from_sled("write", io_error(kind));
            assert!(matches!(error, Error::DiskFull { operation: "write", .. }), "{error:?}");
        }
        for kind in [Other, PermissionDenied] {
            assert!(matches!(from_sled("write", io_error(kind)), Error::Io { .. }));
        }
    }

    #[test]
    fn a_full_disk_stays_one_when_sled_repeats_its_sticky_error() {
        let repeated = io_error(io::ErrorKind::StorageFull).clone();
        assert!(matches!(from_sled("sync", repeated), Error::DiskFull { .. }));
    }

    #[test]
    fn damage_is_corrupt_and_keeps_sleds_own_words() {
        let damage = [
            sled::Error::Corruption { at: None, bt: () },
            sled::Error::CollectionNotFound(sled::IVec::from("tree")),
            io_error(io::ErrorKind::UnexpectedEof),
        ];
        for error in damage {
            let mapped = from_sled("read", error);
            assert!(matches!(mapped, Error::Corrupt { source: Some(_), .. }), "{mapped:?}");
        }
    }

    #[test]
    fn a_store_of_another_version_is_a_format_error() {
        let error = from_sled("open", sled::Error::Unsupported("pagecache 0.33".into()));
        assert!(matches!(error, Error::Format { ref what, .. } if what.contains("0.33")));
    }

    #[test]
    fn a_bug_of_sled_is_a_failure_and_not_damage() {
        let error = from_sled("write", sled::Error::ReportableBug("a thread is gone".into()));
        assert!(matches!(error, Error::Io { .. }));
    }

    #[test]
    fn sleds_lock_is_known_by_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let _holder = sled::open(dir.path()).unwrap();
        let refused = sled::open(dir.path()).unwrap_err();
        assert!(is_locked(&refused), "{refused:?}");
        assert!(!is_locked(&io_error(io::ErrorKind::Other)));
    }
}
