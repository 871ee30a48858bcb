//! What the benchmarks measure against: the engines alone, doing the work that the log gives them.

mod bare;

pub use bare::{BareFjall, BareRedb, BareSled, BenchStores, open};
