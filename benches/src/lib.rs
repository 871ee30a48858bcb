//! What the benchmarks measure against: the engines alone, doing the work that the log gives them.
//!
//! The same keys and values, one metadata key in every commit, one real sync a commit, and none of
//! the log's rules, checksums or state. Each engine is set up as its kvlogdb crate does.

mod bare;

pub use bare::{Bare, BareFjall, BareRedb, BareSled, Failure, open};

/// The length of a record with a payload of 256 bytes.
pub const VALUE_BYTES: usize = 256 + 32;
