//! What is measured: a store, as a Raft node uses one.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kvlogdb::Durability;

use crate::Result;

/// Takes the outcome of a submitted batch, once, when it is durable.
pub type Done = Box<dyn FnOnce(Result<()>) + Send>;
/// Takes an entry's index and payload; it copies nothing.
pub type Visitor<'a> = dyn FnMut(u64, &[u8]) + 'a;

/// A store of many groups' logs. Indexes of a group begin at 1 and have no holes.
///
/// Any number of threads may call anything at once; one group is written by one thread at a time.
pub trait Store: Send + Sync {
    /// Appends entries from `first` on to a group's log, in one commit.
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()>;

    /// Appends, and returns before the entries are durable.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::Error::Unsupported) from a store that only blocks.
    fn submit(&self, group: u64, first: u64, payloads: &[Bytes], done: Done) -> Result<()>;

    /// Removes the entries from `first` on and appends others in their place: one step, synced.
    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()>;

    /// Removes the entries up to and with `last`, durably. Keys may go later.
    fn purge(&self, group: u64, last: u64) -> Result<()>;

    /// How many purged entries still wait for their deletion.
    fn waiting_for_deletion(&self) -> u64;

    /// Visits one entry; says whether it exists.
    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool>;

    /// Visits up to `count` entries from `first` on, in order; says how many there were.
    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64>;

    /// The last index of a group's log, 0 where it has no entry.
    fn last(&self, group: u64) -> Result<u64>;

    /// Makes durable what was appended so far.
    fn sync(&self) -> Result<()>;

    /// Closes the store; nothing is called after that.
    fn close(&self) -> Result<()>;
}

/// The stores that a program can measure, by name.
pub trait Stores: Sync {
    /// Opens the store of the subject `name` in `dir`, or makes it there.
    ///
    /// # Errors
    ///
    /// [`BadInput`](crate::Error::BadInput) for a name that it does not know.
    fn open(&self, name: &str, dir: &Path, settings: &Settings) -> Result<Arc<dyn Store>>;
}

/// What a store is opened with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// How much memory the newest entries may take.
    pub cache_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20 }
    }
}
