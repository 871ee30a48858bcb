//! What the benchmarks measure against: the engines alone, doing the work that the log gives them.

#![allow(clippy::print_stderr, reason = "its commands print")]

mod bare;
mod session;

pub use bare::{BareFjall, BareRedb, BareSled, BenchStores, open};
pub use session::Session;
