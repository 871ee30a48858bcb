#![cfg_attr(docsrs, feature(doc_cfg))]
//! A durable Raft log, written once over any [kvlogdb engine](kvlogdb_engine_api).
//!
//! [`LogStore`] holds the logs of any number of replicas in one engine, [`Log`] is one of them,
//! and [`LogBatch`] is the unit of change: any mix over any number of replicas, all or nothing.
//! [`check()`] walks a store and names every invariant that does not hold, [`survey`] says what it
//! holds, [`transfer`] copies and compares stores, and [`stream`] makes one a stream of bytes.
//!
//! [`Observer`] hears of everything that matters in operation; the cargo features `metrics` and
//! `tracing` bring observers that pass it on to these facades.
//!
//! The rules stand in one place each: `draft` decides what a batch may do, `recover` what a store
//! must look like when it is opened, `record` the bytes, `sidecar` how an engine that lost synced
//! data is noticed.

mod accept;
mod background;
mod batch;
mod cached;
mod census;
pub mod check;
mod commit;
mod deliver;
mod draft;
mod encode;
mod error;
mod line;
mod log;
mod marks;
mod observe;
mod options;
mod plan;
mod read;
pub mod record;
mod recover;
mod retention;
mod runs;
mod served;
mod sidecar;
mod state;
mod store;
pub mod stream;
mod survey;
mod sweep;
mod sync;
mod ticket;
pub mod transfer;
mod trash;
mod types;
mod window;
mod working_set;

pub use batch::LogBatch;
pub use check::{CheckReport, CheckedReplica, Problem, check};
pub use error::{Error, Result};
pub use log::Log;
#[cfg(feature = "metrics")]
pub use observe::MetricsObserver;
#[cfg(feature = "tracing")]
pub use observe::TracingObserver;
pub use observe::{Event, Observer, Queued};
pub use options::{FlushPolicy, LogOptions, LostData, PurgeGuard, Strategy, WhenFull};
pub use read::Scan;
pub use retention::Retention;
pub use runs::MAX_TERM_RUNS;
pub use store::{LogStore, Reopened};
pub use survey::{Survey, Surveyed, survey};
pub use ticket::{Accepted, Durable};
pub use types::{Boundary, Entry, EntryKind, HardState, Leader, LogId, MAX_LEADER_BYTES, Snapshot};

pub use kvlogdb_engine_api::{Durability, FIRST_USER_SLOT, MAX_PAYLOAD_BYTES, ReplicaId};
