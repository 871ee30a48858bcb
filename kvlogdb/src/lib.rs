#![cfg_attr(docsrs, feature(doc_cfg))]
//! A durable log for Raft in pure Rust, kept in the embedded key-value engine of your choice.
//!
//! The engines are cargo features, each additive: `redb` (the default), `fjall` and `sled`. A
//! store remembers which engine made it, so [`open`] needs no more than the directory. The log
//! itself is [`kvlogdb_log`], re-exported here. Two more features, off by default, bring observers:
//! `metrics` and `tracing`, for the facades of these names.
//!
//! # Examples
//!
//! ```
//! # fn main() -> kvlogdb::Result<()> {
//! # if kvlogdb::EngineKind::available().is_empty() { return Ok(()) }
//! # let temporary = tempfile::tempdir().expect("a temporary directory");
//! # let dir = temporary.path();
//! use kvlogdb::{Durability, Entry, HardState, LogBatch, ReplicaId};
//!
//! let store = kvlogdb::open(dir)?;
//! let replica = ReplicaId::from(1);
//! let mut batch = LogBatch::new();
//! batch
//!     .append(replica, vec![Entry::new(1, 1, "set x = 1"), Entry::new(1, 2, "set y = 2")])
//!     .set_hard_state(replica, HardState { term: 1, vote: Some(3), commit: Some(1) });
//! store.write(&batch, Durability::Synced)?; // entries and vote in one atomic, synced step
//! store.close()?;
//!
//! let log = kvlogdb::open(dir)?.log(replica);
//! assert_eq!(log.last_index()?, Some(2));
//! assert_eq!(log.entry(1)?.payload, "set x = 1");
//! # Ok(())
//! # }
//! ```

mod draft;
mod engines;
mod options;

pub use draft::Draft;
pub use engines::{EngineKind, Opening};
pub use options::{Options, sidecar_path};

pub use kvlogdb_engine_api::{
    BufferedIn, Creation, EngineInfo, Error as EngineError, KvLogDb, MAX_IDENTITY_BYTES, Manifest,
    RangeRemoval, Reclaim,
};
#[cfg(feature = "fjall")]
pub use kvlogdb_engine_fjall::{FjallOptions, TornTail};
#[cfg(feature = "redb")]
pub use kvlogdb_engine_redb::{RedbOptions, Repair};
#[cfg(feature = "sled")]
pub use kvlogdb_engine_sled::SledOptions;
pub use kvlogdb_log::{
    Accepted, Boundary, CheckReport, CheckedReplica, Durability, Durable, Entry, EntryKind, Error,
    Event, FIRST_USER_SLOT, FlushPolicy, HardState, Leader, Log, LogBatch, LogId, LogOptions,
    LogStore, LostData, MAX_LEADER_BYTES, MAX_PAYLOAD_BYTES, MAX_TERM_RUNS, Observer, Problem,
    PurgeGuard, Queued, Reopened, ReplicaId, Result, Retention, Scan, Snapshot, Strategy, Survey,
    Surveyed, WhenFull, check, check::ProblemKind, record::VERSION as RECORD_VERSION, stream,
    survey, transfer,
};

#[cfg(feature = "metrics")]
pub use kvlogdb_log::MetricsObserver;
#[cfg(feature = "tracing")]
pub use kvlogdb_log::TracingObserver;

use std::path::Path;

/// Opens the store in `dir`, or makes one there, with the default [`Options`]: an existing store
/// with the engine that made it, a new one with the first of [`EngineKind::available`].
///
/// # Errors
///
/// As [`Options::open`].
pub fn open(dir: impl AsRef<Path>) -> Result<LogStore> {
    Options::new().open(dir)
}

/// The README's example is compiled and run with the documentation's own.
#[cfg(all(doctest, feature = "redb"))]
#[doc = include_str!("../../README.md")]
struct Readme;
