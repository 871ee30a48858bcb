//! What a store is opened with.

use kvlogdb_engine_api::{Error, Result, StoreOptions};

/// The smallest memtable that is allowed: below it every write would cost a table.
const MIN_MEMTABLE_BYTES: u64 = 4 << 10;

/// What [`FjallEngine::open`](crate::FjallEngine::open) is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FjallOptions {
    /// What every engine is opened with.
    pub store: StoreOptions,
    /// How much of the tables' blocks is kept in memory. 32 MiB unless set.
    pub cache_bytes: u64,
    /// How much of the log is collected in memory before it goes into a table; at least 4 KiB,
    /// 12 MiB unless set. Memory holds a few of these at a time. fjall keeps the value that the
    /// store was created with: on a store that exists it is not looked at.
    pub log_memtable_bytes: u64,
    /// What to do about a journal that ends in a torn batch. [`TornTail::Refuse`] unless set.
    pub torn_tail: TornTail,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            store: StoreOptions::default(),
            cache_bytes: 32 << 20,
            log_memtable_bytes: 12 << 20,
            torn_tail: TornTail::Refuse,
        }
    }
}

impl FjallOptions {
    pub(crate) fn check(&self) -> Result<()> {
        if self.log_memtable_bytes < MIN_MEMTABLE_BYTES {
            let what = format!("log_memtable_bytes is at least {MIN_MEMTABLE_BYTES}");
            return Err(Error::Invalid { what });
        }
        Ok(())
    }
}

/// What opening does when the journal's last batch is torn.
///
/// A power cut during a write that was never acknowledged can leave such a batch, and so can rot in
/// the last batch that was acknowledged. Nothing in the journal tells the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TornTail {
    /// Answer [`Error::TornTail`](kvlogdb_engine_api::Error::TornTail) and leave the journal as it
    /// is.
    Refuse,
    /// Drop the torn batch and those behind it, and open. The journal as it was stays beside the
    /// repaired one, with `.torn` and a number behind its name. Where that does not help, the
    /// journal is put back and the answer is
    /// [`Error::Corrupt`](kvlogdb_engine_api::Error::Corrupt).
    ///
    /// A node that opens this way may be behind what it promised to others. The log above refuses
    /// a store that lost what its sidecar has marked.
    Repair,
}
