//! redb as an engine of kvlogdb.
//!
//! [redb](https://docs.rs/redb) keeps a store in one file, as a copy-on-write B+tree: no threads,
//! no background work, and a commit is whole or absent after any crash. [`RedbEngine`] is a
//! [`KvLogDb`](kvlogdb_engine_api::KvLogDb) over it; [`RedbOptions`] says how to open one.
//!
//! # Examples
//!
//! ```
//! use kvlogdb_engine_api::{Durability, KvLogDb, LogName, MetaKey, WriteBatch};
//! use kvlogdb_engine_redb::{RedbEngine, RedbOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let log = LogName { replica: 7.into(), incarnation: 0 };
//!
//! let engine = RedbEngine::open(dir.path(), &RedbOptions::default())?;
//! let mut batch = WriteBatch::new();
//! batch.put_entry(log.at(1), &[b"set x = 1"])?;
//! batch.put_meta(MetaKey::replica(log.replica, 256), &[b"voted for 3"])?;
//! engine.write(&[&batch], Durability::Synced)?;
//! engine.close()?;
//!
//! let engine = RedbEngine::open(dir.path(), &RedbOptions::default())?;
//! assert_eq!(engine.entry(log.at(1))?.as_deref(), Some(&b"set x = 1"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod engine;
mod error;
#[cfg(test)]
mod faults;
mod file;
mod layout;
mod options;
mod overlay;
mod read;
mod staging;
mod verify;
mod write;

pub use engine::RedbEngine;
pub use options::{RedbOptions, Repair};
