//! The latch that closes an engine to writes after a failure.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::doubt::note_doubt;
use crate::{Error, Result};

/// Remembers the first failed write or sync of an engine.
///
/// After a failed write nobody knows what is on the disk: retrying a sync that failed reports
/// success for pages that the kernel has already dropped. So the first failure sticks, and every
/// later write is refused with it until the engine is opened anew.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::{Error, Poison};
///
/// let poison = Poison::default();
/// assert!(poison.check().is_ok());
/// let first = std::io::Error::other("sync failed");
/// assert!(matches!(poison.latch(Error::io("sync", first)), Error::Poisoned { .. }));
/// assert!(poison.check().is_err());
/// ```
#[derive(Debug, Default)]
pub struct Poison {
    cause: OnceLock<Arc<Error>>,
    /// The store in which a failure is noted.
    root: Option<PathBuf>,
}

impl Poison {
    pub(crate) fn noting(root: PathBuf) -> Self {
        Self { cause: OnceLock::new(), root: Some(root) }
    }

    /// Refuses when a write or sync has failed before.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] with the first failure.
    pub fn check(&self) -> Result<()> {
        match self.cause.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: Arc::clone(cause) }),
        }
    }

    /// Latches `error`, unless one is latched already, and gives the error to answer with.
    pub fn latch(&self, error: Error) -> Error {
        let cause = match error {
            Error::Poisoned { cause } => cause,
            other => Arc::new(other),
        };
        let first = || {
            if let Some(root) = &self.root {
                note_doubt(root, &cause);
            }
            cause
        };
        Error::Poisoned { cause: Arc::clone(self.cause.get_or_init(first)) }
    }
}
