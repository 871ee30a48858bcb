//! The suite that decides whether a kvlogdb engine is one.
//!
//! An engine joins with a test target of its own (`harness = false`) of which the `main` is one
//! call of [`run`]. Every case is then a test with the same name on every engine, `layer::claim`,
//! and the usual arguments of a test program choose among them. A case can also be run by itself:
//!
//! ```
//! use kvlogdb_conformance::{Subject, cases};
//! use kvlogdb_engine_api::MemoryDisk;
//!
//! let disk = MemoryDisk::default();
//! let subject = Subject::new("memory", move |_dir| disk.open());
//! let case = cases().iter().find(|case| case.name() == "log::a_truncated_tail_stays_gone");
//! assert_eq!(case.map(|case| case.run(&subject)), Some(Ok(())));
//! ```
//!
//! Most cases of the layer `engine` write through a model of the store. After the case, everything
//! that the engine answers is compared with the model, the store is closed and opened, and
//! everything is compared again. Cases of the layer `log` work on the log over the engine; after
//! each, the store is walked for damage, and its logs must be the same after a reopen. The layer
//! `kill` ends processes, `count` counts what they ask of the kernel, `full` lets disks run full,
//! and `fault` lets calls fail.
//!
//! [`reference`](mod@reference) states the rules of the log a second time, and [`draw`] draws
//! changes for it; both are open to other tests of the log.

mod case;
mod cases;
mod child;
pub mod draw;
mod env;
mod failure;
mod faults;
mod history;
mod logs;
mod mode;
mod model;
mod platform;
mod random;
mod recorder;
pub mod reference;
mod script;
mod subject;
mod view;

pub use case::Case;
pub use cases::cases;
pub use child::play;
pub use faults::Fault;
pub use random::Random;
pub use subject::Subject;

use std::path::Path;
use std::process::ExitCode;

use kvlogdb_engine_api::{KvLogDb, Result};

/// Runs every case against the engine that `open` opens in a directory, as a test program with the
/// usual arguments, and gives the exit code of that program.
///
/// Each case gets a directory of its own, which does not exist yet, and opens it many times, one
/// after the other; cases run beside each other. An engine that has more to say about itself
/// starts from [`Subject::new`].
pub fn run<E: KvLogDb + 'static>(
    name: &str,
    open: impl Fn(&Path) -> Result<E> + Send + Sync + 'static,
) -> ExitCode {
    Subject::new(name, open).run()
}
