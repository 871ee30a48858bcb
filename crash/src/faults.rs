//! How a disk fails while it is recorded.

use crate::trace::Cache;

/// What goes wrong. An empty plan is a disk that works.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultPlan {
    /// The one call that fails.
    pub fault: Option<Fault>,
    /// How many bytes may be allocated beyond what the image holds at the start; then the disk is
    /// full, until the workload removes files or says [`FREE`](crate::record::FREE).
    pub room_bytes: Option<u64>,
    /// Whether a write for which there is no room is refused as a whole, as by a disk. A file takes
    /// what fits.
    pub whole: bool,
    /// From when on calls are counted.
    pub start: Start,
}

/// From when on calls are counted, and the disk can be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Start {
    /// At once.
    #[default]
    AtOnce,
    /// When the workload says [`ARM`](crate::record::ARM).
    Armed,
}

/// A call that goes wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Which kind of call.
    pub call: Call,
    /// Which of them, from 1.
    pub nth: u64,
    /// What happens to it.
    pub effect: Effect,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// fsync and fdatasync, of files and directories.
    Sync,
    /// Writes.
    Write,
    /// Changes of a file's length, as by truncate and fallocate.
    SetLen,
    /// Opening and making files.
    Open,
    /// Renaming.
    Rename,
    /// Making directories.
    MakeDir,
    /// Removing files and directories.
    Remove,
    /// Reads.
    Read,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It fails with EIO and changes nothing.
    Fail,
    /// A sync fails with EIO: what it was to sync never gets to the disk by a later sync.
    FailSync(Cache),
    /// A write or read covers half of what it was asked to, and says so.
    Short,
    /// A read has one bit flipped; the number decides which.
    FlipBit(u64),
    /// The process that calls is killed, and the call changes nothing.
    Kill,
}
