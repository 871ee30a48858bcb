//! The ways of writing that a store of logs has, in all of which the same must hold.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kvlogdb_log::{Durability, FlushPolicy, LogOptions, Strategy};

/// A strategy and a flush policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mode {
    strategy: Strategy,
    flush: FlushPolicy,
}

const MEM_FIRST: Strategy = Strategy::MemFirst { memory_bytes: 1 << 30 };
const BATCH: FlushPolicy = FlushPolicy::Batch { entries: 8, interval: Duration::from_millis(2) };

/// Every mode; the default comes first.
pub(crate) const MODES: [Mode; 6] = [
    Mode { strategy: Strategy::DiskFirst, flush: FlushPolicy::Adaptive },
    Mode { strategy: Strategy::DiskFirst, flush: FlushPolicy::Immediate },
    Mode { strategy: Strategy::DiskFirst, flush: BATCH },
    Mode { strategy: MEM_FIRST, flush: FlushPolicy::Adaptive },
    Mode { strategy: MEM_FIRST, flush: FlushPolicy::Immediate },
    Mode { strategy: MEM_FIRST, flush: BATCH },
];

impl Mode {
    /// Options in this mode. What the engine has is read from it, unless the mode wants it in
    /// memory.
    pub(crate) fn options(self) -> LogOptions {
        let mut options = LogOptions::default();
        (options.strategy, options.flush, options.cache_bytes) = (self.strategy, self.flush, 0);
        options
    }

    /// Whether whole working sets are in memory.
    pub(crate) fn is_mem_first(self) -> bool {
        self.strategy != Strategy::DiskFirst
    }

    /// How durable a write is made that asks for this.
    pub(crate) fn durability(self, asked: Durability) -> Durability {
        if self.is_mem_first() { Durability::Synced } else { asked }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strategy = if self.is_mem_first() { "mem-first" } else { "disk-first" };
        let flush = match self.flush {
            FlushPolicy::Adaptive => "adaptive",
            FlushPolicy::Immediate => "immediate",
            FlushPolicy::Batch { .. } => "batch",
        };
        write!(f, "{strategy}-{flush}")
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = MODES.into_iter().find(|mode| mode.to_string() == name);
        found.ok_or_else(|| format!("there is no mode {name:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_found_by_its_name_and_the_default_is_first() {
        for mode in MODES {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!(MODES[0], Mode::default());
        assert!("disk-first".parse::<Mode>().is_err());
    }
}
