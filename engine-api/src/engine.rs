//! The contract itself.

use std::borrow::Cow;
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};

use bytes::Bytes;

use crate::{LogKey, LogName, MetaKey, Result, WriteBatch};

/// What of a write survives once the call has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Visible at once, and gone at any end of the process until the next sync, a
    /// [`Synced`](Self::Synced) write or a clean close. What survives is a prefix of the writes:
    /// never a later one without an earlier one, never half a batch.
    Buffered,
    /// This write and all before it survive a kill, a crash of the kernel and a power cut.
    Synced,
}

/// The direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// From the first index to the last.
    Ascending,
    /// From the last index to the first.
    Descending,
}

/// Where a [`Buffered`](Durability::Buffered) write waits for its sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BufferedIn {
    /// In the process: a kill loses it.
    Process,
    /// In the kernel: a kill does not lose it, a power cut does.
    Kernel,
}

/// What removing a range of entries costs an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RangeRemoval {
    /// Entries go in place; their pages are read and written.
    InPlace,
    /// Every entry gets a tombstone, which scans pass over until a compaction drops it.
    Tombstones,
}

/// What [`KvLogDb::reclaim`] costs an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reclaim {
    /// Nothing to do: space is given back as entries go.
    Automatic,
    /// Runs beside reads and writes.
    Concurrent,
    /// Holds up every read and write until it is done.
    StopsTheWorld,
    /// The engine cannot give space back to the file system; it reuses it.
    Unsupported,
}

/// What an engine says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineInfo {
    /// The engine's name, as stores record it: lower case, without spaces.
    pub name: &'static str,
    /// The version of the engine underneath.
    pub version: &'static str,
    /// The version of the layout in which this crate keeps keys and values in the engine.
    pub layout: u32,
    /// Where Buffered writes wait.
    pub buffered_in: BufferedIn,
    /// How ranges of entries are removed.
    pub range_removal: RangeRemoval,
    /// What giving space back costs.
    pub reclaim: Reclaim,
    /// How many bytes of batches one write should carry at the most, where the caller has the
    /// choice: more of them cost the engine more time or memory than they save.
    pub write_bytes: usize,
}

/// Takes one entry of a scan. The value is borrowed where the engine holds it in one piece and
/// owned where it had to be put together, so that keeping it costs one copy either way.
///
/// A visitor runs inside the engine's view: it copies out and must not call the engine.
pub type EntryVisitor<'a> = dyn FnMut(u64, Cow<'_, [u8]>) -> ControlFlow<()> + 'a;
/// Takes one metadata value of a scan; the rules of [`EntryVisitor`] hold.
pub type MetaVisitor<'a> = dyn FnMut(MetaKey, Cow<'_, [u8]>) -> ControlFlow<()> + 'a;
/// Takes the name of one log; the rules of [`EntryVisitor`] hold.
pub type LogVisitor<'a> = dyn FnMut(LogName) -> ControlFlow<()> + 'a;

/// An embedded key-value engine, as a log needs it: an ordered map of typed keys with one atomic
/// write call.
///
/// The contract knows nothing of terms, votes or purge points; those rules stand once, in the log
/// above it. Engines see whole keys and choose their layout.
///
/// # Concurrency
///
/// Any number of threads may call anything at once. A read sees every write that returned before
/// it began, and every batch whole or not at all.
///
/// # Errors
///
/// After a failed write or sync the outcome is unknown: the batch is whole or absent after the
/// store is opened again. Until then every write and sync answers
/// [`Error::Poisoned`](crate::Error::Poisoned); reads may go on or fail. After
/// [`close`](Self::close) everything answers [`Error::Closed`](crate::Error::Closed). A read that
/// fails changes nothing, but an engine may poison itself over it.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::{Durability, KvLogDb, LogName, MemoryEngine, WriteBatch};
///
/// let engine = MemoryEngine::new();
/// let log = LogName::default();
/// let mut batch = WriteBatch::new();
/// batch.put_entry(log.at(1), &[b"first"])?;
/// engine.write(&[&batch], Durability::Synced)?;
/// assert_eq!(engine.entry(log.at(1))?.as_deref(), Some(&b"first"[..]));
/// assert_eq!(engine.entry(log.at(2))?, None);
/// # Ok::<(), kvlogdb_engine_api::Error>(())
/// ```
pub trait KvLogDb: fmt::Debug + Send + Sync {
    /// What this engine is. Always answers, also when poisoned or closed.
    fn info(&self) -> EngineInfo;

    /// The value of one entry, `None` where there is none.
    fn entry(&self, key: LogKey) -> Result<Option<Bytes>>;

    /// Visits the entries of `log` whose index is in `range`, in index order or against it.
    ///
    /// All that is visited belongs to one consistent view. The scan ends at the end of the range,
    /// when the visitor breaks, or behind the entry with which the values visited reach
    /// `budget_bytes`; it visits at least one entry where there is one. An empty range visits
    /// nothing.
    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()>;

    /// The value of one metadata key, `None` where there is none.
    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>>;

    /// Visits all metadata in key order, in one consistent view, until the visitor breaks.
    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()>;

    /// Visits every log that has any entry, in key order, until the visitor breaks. May cost as
    /// much as reading every key of the store.
    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()>;

    /// Applies the batches as if they were one: in order, all or none of them.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`](crate::Error::Poisoned) or [`Error::Closed`](crate::Error::Closed),
    /// nothing else: limits are checked where batches are built.
    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()>;

    /// Makes everything that was written before the call began as durable as
    /// [`Durability::Synced`] does.
    fn sync(&self) -> Result<()>;

    /// How many bytes the store takes on its disk, as the file system counts them.
    fn disk_bytes(&self) -> Result<u64>;

    /// Gives space of removed entries back to the file system, as [`EngineInfo::reclaim`] says.
    /// Runs only when asked.
    fn reclaim(&self) -> Result<()>;

    /// Checks the engine's own structures as deeply as it can without changing them.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) with what was found.
    fn verify(&self) -> Result<()>;

    /// Syncs what was written and closes. A second call does nothing. Dropping an engine does the
    /// same as well as it can, and cannot report.
    fn close(&self) -> Result<()>;
}
