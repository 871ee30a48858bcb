//! sled as an engine of kvlogdb.
//!
//! sled 0.34 is of 2021 and nobody maintains it. This crate is for those who have it; a new store
//! had better be made with another engine.
//!
//! ```
//! use kvlogdb_engine_api::{Durability, KvLogDb, LogName, MetaKey, WriteBatch};
//! use kvlogdb_engine_sled::{SledEngine, SledOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let engine = SledEngine::open(dir.path(), &SledOptions::default())?;
//! let log = LogName::default();
//! let mut batch = WriteBatch::new();
//! batch.put_entry(log.at(1), &[b"an entry"])?;
//! batch.put_meta(MetaKey::replica(log.replica, 0), &[b"its state"])?;
//! engine.write(&[&batch], Durability::Synced)?;
//! assert_eq!(engine.entry(log.at(1))?.as_deref(), Some(&b"an entry"[..]));
//! engine.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What this crate adds to sled
//!
//! - **A barrier.** sled's flush does not reach the disk on Linux. Here every
//!   [`Synced`](kvlogdb_engine_api::Durability::Synced) write ends in an `fdatasync`, and a
//!   failure of it is reported and poisons the engine.
//! - **A flush after every write.** sled hangs when too much goes into it unflushed, and its
//!   recovery skips over lost parts of a log that went through several segments without a sync.
//! - **Values in pieces.** sled moves large pages into files that it never syncs. Values are cut,
//!   so that no page becomes that large.
//! - **A marker.** sled that lost its log comes up empty and says nothing. Here that is
//!   [`Error::Corrupt`](kvlogdb_engine_api::Error::Corrupt).
//! - **Consistent scans.** sled's iterators are no snapshots; here a scan keeps writers out.
//! - **An alarm.** A write that fails in sled's own threads can leave a flush waiting for ever.
//!   Here it ends with the error a tenth of a second later.
//!
//! # Limits
//!
//! - sled panics over some kinds of damage when it opens or reads. A panic under a write poisons
//!   the engine.
//! - When a read of the disk fails in the middle of a batch, sled keeps half of the batch in
//!   memory. It is then never flushed again, every call answers
//!   [`Error::Poisoned`](kvlogdb_engine_api::Error::Poisoned), and opening the store again takes a
//!   new process: [`Error::RestartNeeded`](kvlogdb_engine_api::Error::RestartNeeded). Half a batch
//!   can reach the disk only if it had already filled one of sled's segments.
//! - Damage at the end of sled's log looks to sled like a write that never happened, and what
//!   followed is dropped without a word.

mod alarm;
mod engine;
mod error;
mod journal;
mod layout;
mod open;
mod options;
mod read;

pub use engine::SledEngine;
pub use options::SledOptions;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
