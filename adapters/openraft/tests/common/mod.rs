//! What the tests share: stores of every engine, and state machines for both versions.
#![allow(dead_code, reason = "each test program takes what it needs")]

pub(crate) mod machine09;
pub(crate) mod machine10;
pub(crate) mod rig;
pub(crate) mod watched;

use std::path::Path;
use std::time::Duration;

use kvlogdb::{EngineKind, LogStore, Options};

/// How a store keeps its logs in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    DiskFirst,
    MemFirst,
}

impl Strategy {
    pub(crate) const ALL: [Self; 2] = [Self::DiskFirst, Self::MemFirst];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DiskFirst => "disk_first",
            Self::MemFirst => "mem_first",
        }
    }

    /// What the store is told.
    pub(crate) fn setting(self) -> kvlogdb::Strategy {
        match self {
            Self::DiskFirst => kvlogdb::Strategy::DiskFirst,
            Self::MemFirst => kvlogdb::Strategy::MemFirst { memory_bytes: 64 << 20 },
        }
    }
}

/// What a store is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) engine: EngineKind,
    pub(crate) strategy: Strategy,
}

impl Kind {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let of = |engine| Strategy::ALL.map(|strategy| Self { engine, strategy });
        EngineKind::ALL.into_iter().flat_map(of)
    }

    pub(crate) fn name(self) -> String {
        format!("{}::{}", self.engine, self.strategy.name())
    }

    pub(crate) fn options(self) -> Options {
        // sled's threads may hold on to its lock for a moment.
        let wait = Duration::from_secs(5);
        Options::new().engine(self.engine).strategy(self.strategy.setting()).lock_wait(wait)
    }

    pub(crate) fn open(self, dir: &Path) -> kvlogdb::Result<LogStore> {
        self.options().open(dir)
    }
}
