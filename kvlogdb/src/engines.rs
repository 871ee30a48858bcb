//! The one place that names the engines.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use kvlogdb_engine_api::{Error, KvLogDb, Result};

use crate::Options;

/// An engine by name. All of them can be named; those that are compiled in can be opened.
///
/// # Examples
///
/// ```
/// use kvlogdb::EngineKind;
///
/// assert_eq!("fjall".parse::<EngineKind>()?, EngineKind::Fjall);
/// assert!("rocksdb".parse::<EngineKind>().is_err());
/// # Ok::<(), kvlogdb::EngineError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// A copy-on-write B+tree in one file.
    Redb,
    /// A log-structured merge tree.
    Fjall,
    /// A log-structured tree of pages.
    Sled,
}

/// What opening a store does to the files of its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Opening {
    /// Every open writes, and so does the close after it.
    Writes,
    /// An open finishes what the last handle left to do and writes where that asks for it. The
    /// next one, with nothing written in between, changes no file.
    Finishes,
}

impl EngineKind {
    /// Every engine that kvlogdb knows.
    pub const ALL: [Self; 3] = [Self::Redb, Self::Fjall, Self::Sled];

    /// The engines that are compiled in.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| kind.is_available()).collect()
    }

    /// Whether this engine is compiled in.
    pub fn is_available(self) -> bool {
        match self {
            Self::Redb => cfg!(feature = "redb"),
            Self::Fjall => cfg!(feature = "fjall"),
            Self::Sled => cfg!(feature = "sled"),
        }
    }

    /// The name that stores record and features have.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Sled => "sled",
        }
    }

    /// What opening a store of this engine does to its files. What the store holds stays the same
    /// whatever is done to them.
    pub fn opening(self) -> Opening {
        match self {
            Self::Redb => Opening::Writes,
            Self::Fjall | Self::Sled => Opening::Finishes,
        }
    }

    /// Opens the engine in `dir` with what `options` say of it.
    pub(crate) fn open(self, dir: &Path, options: &Options) -> Result<Arc<dyn KvLogDb>> {
        match self {
            #[cfg(feature = "redb")]
            Self::Redb => {
                let mut redb = options.redb.clone();
                redb.store = options.store.clone();
                Ok(Arc::new(kvlogdb_engine_redb::RedbEngine::open(dir, &redb)?))
            }
            #[cfg(feature = "fjall")]
            Self::Fjall => {
                let mut fjall = options.fjall.clone();
                fjall.store = options.store.clone();
                Ok(Arc::new(kvlogdb_engine_fjall::FjallEngine::open(dir, &fjall)?))
            }
            #[cfg(feature = "sled")]
            Self::Sled => {
                let mut sled = options.sled.clone();
                sled.store = options.store.clone();
                Ok(Arc::new(kvlogdb_engine_sled::SledEngine::open(dir, &sled)?))
            }
            #[cfg(not(all(feature = "redb", feature = "fjall", feature = "sled")))]
            missing => {
                let _ = (dir, options);
                let what = format!("engine {missing} is not compiled in: enable its feature");
                Err(Error::Invalid { what })
            }
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
            let what = format!("there is no engine {name:?}, only {}", known.join(", "));
            Error::Invalid { what }
        })
    }
}
