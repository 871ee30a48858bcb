//! The suite that decides whether a kvlogdb engine is one.
//!
//! An engine joins with a test target of its own (`harness = false`) that is one call of [`run`]:
//!
//! ```no_run
//! use kvlogdb_engine_api::MemoryDisk;
//!
//! fn main() -> std::process::ExitCode {
//!     let disk = MemoryDisk::default();
//!     kvlogdb_conformance::run("one disk for all", move |_dir| disk.open())
//! }
//! ```
//!
//! Every case is a test of its own with the same name on every engine, `layer::claim`. The usual
//! arguments of a test program choose among them. Most cases write through a model of the store;
//! after the case, everything that the engine answers is compared with the model, the store is
//! closed and opened, and everything is compared again.

mod case;
mod cases;
mod env;
mod failure;
mod model;
mod random;
mod subject;

pub use case::Case;
pub use cases::cases;
pub use subject::Subject;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

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
