//! Power cuts, failing disks and rot, against kvlogdb on every engine.
//!
//! One idea: record once, cut everywhere. [`record`] runs a workload on a file system of its own
//! and keeps every call that changes or syncs it as a [`trace`]. [`disk`] says which of those calls
//! a power cut may undo, and [`states()`] draws from that what a disk may look like afterwards, for
//! every point of the trace.

mod bare;
mod check;
pub mod disk;
mod failure;
pub mod faults;
mod history;
pub mod image;
mod judge;
mod kill;
mod ledger;
mod lies;
pub mod needs;
pub mod record;
pub mod report;
mod run;
mod scribe;
mod seen;
pub mod soak;
pub mod spec;
pub mod states;
mod subject;
pub mod trace;
mod trials;
pub mod verdict;
pub mod worker;
mod workload;

pub use disk::Model;
pub use faults::FaultPlan;
pub use image::Image;
pub use record::Recorded;
pub use states::{Choice, CrashState, Plan, Points, States, states};
pub use trace::{Mark, Op, Trace};
pub use trials::tests;
