//! Failures that an engine can be told to have.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// How the next write or sync of a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The next write fails, and nothing of it is kept.
    WriteLost,
    /// The next write fails when all of it has been done.
    WriteDone,
    /// The next sync fails, that of a Synced write or one by itself. What is durable stays so, and
    /// what was to become so does not.
    Sync,
}

/// Makes the store that is open in a directory fail once.
#[derive(Clone)]
pub(crate) struct Faults(Arc<Arm>);

type Arm = dyn Fn(&Path, Fault) + Send + Sync;

impl Faults {
    pub(crate) fn new(arm: impl Fn(&Path, Fault) + Send + Sync + 'static) -> Self {
        Self(Arc::new(arm))
    }

    pub(crate) fn arm(&self, dir: &Path, fault: Fault) {
        (self.0)(dir, fault);
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}
