//! The contract between a Raft log and the embedded key-value engine that keeps it.
//!
//! An engine implements [`KvLogDb`]; the log in `kvlogdb-log` is written once over it. This crate
//! also holds what all engines share: the [keys](key) and their bytes, [`WriteBatch`], the
//! [splitting of large values](chunk), the [store directory](StoreDir) that a crash during
//! creation cannot leave unopenable, [`Poison`], and [`MemoryEngine`], the reference.

pub mod batch;
pub mod chunk;
mod dir;
mod doubt;
mod engine;
mod error;
pub mod fs;
pub mod key;
mod manifest;
mod memory;
mod poison;

pub use batch::{Operation, WriteBatch};
pub use dir::{Creation, StoreDir, StoreOptions};
pub use engine::{
    BufferedIn, Durability, EngineInfo, EntryVisitor, KvLogDb, LogVisitor, MetaVisitor, Order,
    RangeRemoval, Reclaim,
};
pub use error::{Cause, Error, Result, is_disk_full};
pub use key::{FIRST_USER_SLOT, LogKey, LogName, MetaKey, ReplicaId, Scope};
pub use manifest::{MAX_IDENTITY_BYTES, Manifest};
pub use memory::{MemoryDisk, MemoryEngine};
pub use poison::Poison;

/// The largest payload of an entry and the largest metadata value of a user, the same on every
/// engine, so that any log can move to any engine.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;
/// The largest value that an engine must take: a payload and the record around it.
pub const MAX_VALUE_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;
/// The largest sum of values in one batch.
pub const MAX_BATCH_BYTES: usize = 64 << 20;
