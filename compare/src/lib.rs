//! Measures stores for Raft logs on the disk at hand: fair, or not at all.
//!
//! A [`Store`] under test is made to live a log's life, piece by piece ([`Workload`]), each piece
//! in a process of its own ([`child`]). Figures are held against controls, plain files that do the
//! least there is to do; what was written is read back and compared; and a store is taken for
//! durable when its sync calls were counted, not because it says so.

pub mod advice;
mod cell;
pub mod child;
mod control;
pub mod diff;
mod drive;
mod error;
mod kvlog;
mod machine;
mod measured;
mod meter;
pub mod page;
mod payload;
mod place;
pub mod record;
mod run;
mod stats;
mod store;
pub mod subject;
mod suite;
mod summary;
pub mod table;
#[cfg(test)]
mod tests;
mod versions;
mod workload;

pub use cell::{CellSpec, Mode};
pub use control::{FileEngine, Growth, PlainFile};
pub use drive::{Step, write_steps};
pub use error::{Error, Result};
pub use kvlog::Kvlog;
pub use machine::Machine;
pub use measured::{Latency, MAIN, Measured, PERCENTILES, Phase, STEP};
pub use meter::{Resident, Written};
pub use place::{Place, RESULT};
pub use run::{Cell, Counting, FOLDER, Plan, Row, Run, Workplace, stop};
pub use stats::Spread;
pub use store::{Done, Settings, Store, Stores, Visitor};
pub use subject::OwnStores;
pub(crate) use subject::is_control;
pub use suite::{Extent, Kind, Wishes};
pub use summary::{Summary, SummaryRow};
pub use versions::versions;
pub use workload::{End, GetOrder, Work, Workload};
