//! [fjall](https://docs.rs/fjall), a log-structured merge tree, as an engine of kvlogdb.
//!
//! [`FjallEngine`] keeps the contract of [`KvLogDb`](kvlogdb_engine_api::KvLogDb) on one fjall
//! database with two keyspaces, `log` and `meta`, under the canonical keys. A write call is one
//! fjall batch; a Synced one ends in one `fdatasync` of the journal, a Buffered one in the kernel.
//!
//! # Examples
//!
//! ```
//! use kvlogdb_engine_api::{Durability, KvLogDb, LogName, WriteBatch};
//! use kvlogdb_engine_fjall::{FjallEngine, FjallOptions};
//!
//! # let parent = tempfile::tempdir()?;
//! # let dir = parent.path().join("store");
//! let engine = FjallEngine::open(&dir, &FjallOptions::default())?;
//! let log = LogName::default();
//! let mut batch = WriteBatch::new();
//! batch.put_entry(log.at(1), &[b"first"])?;
//! engine.write(&[&batch], Durability::Synced)?;
//! engine.close()?;
//!
//! let engine = FjallEngine::open(&dir, &FjallOptions::default())?;
//! assert_eq!(engine.entry(log.at(1))?.as_deref(), Some(&b"first"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod engine;
mod error;
mod journal;
mod layout;
mod manifest;
mod options;
mod read;
mod room;
mod write;

pub use engine::FjallEngine;
pub use options::{FjallOptions, TornTail};
