#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "openraft-0-9", feature = "openraft-0-10")),
    allow(dead_code, reason = "there is no version of openraft to serve")
)]
//! The log storage of an [openraft](https://docs.rs/openraft) application, over a
//! [kvlogdb log](kvlogdb_log::Log): [`v09::LogStorage`] has the traits of openraft 0.9,
//! [`v010::LogStorage`] those of 0.10.
//!
//! # Durability
//!
//! A vote is durable when `save_vote` returns, and so is everything that was written before it. An
//! append can be read when it returns and is durable when its callback comes: once each, in the
//! order of the appends. Truncation, purge and the committed id cost no sync of their own; all
//! writes are one order, of which a crash leaves a prefix, so they are durable before whatever was
//! written behind them.
//!
//! # Blocking
//!
//! No call waits for a disk on a thread that drives futures. What is decided and read in memory is
//! done in place; what may have to ask the engine, or to wait for room in the store's queue, runs
//! under `tokio::task::spawn_blocking` or, where there is no tokio, on a thread of its own.
//! `LogStorage::new` alone may block.
//!
//! # Errors
//!
//! An [`Error`] says what could not be done, on whose log, and why; openraft has it as the source
//! of its storage error. After a failure of the engine every call of a storage, its clones and its
//! readers fails with the first cause, also when the store was opened again meanwhile: what they
//! know of the log may be more than what is left. A new storage goes on from what is there.
//!
//! # What is stored
//!
//! An entry's payload is a byte that names the form, then the entry in postcard. The vote, the
//! committed log id and the owner's id lie in slots below [`FIRST_FREE_SLOT`], in the same form.
//!
//! # Examples
//!
//! The README's is compiled and run with the documentation.

mod codec;
mod error;
mod off_thread;
mod runs;
mod store;
#[cfg(feature = "openraft-0-10")]
pub mod v010;
#[cfg(feature = "openraft-0-9")]
pub mod v09;

pub use error::{Cause, Error, Result};
pub use store::FIRST_FREE_SLOT;

/// The README's example is compiled and run with the documentation's own.
#[cfg(all(doctest, feature = "openraft-0-10"))]
#[doc = include_str!("../README.md")]
struct Readme;
