//! The suite that every engine passes.

use std::process::ExitCode;

use kvlogdb_engine_fjall::{FjallEngine, FjallOptions};

fn main() -> ExitCode {
    kvlogdb_conformance::run("fjall", |dir| FjallEngine::open(dir, &FjallOptions::default()))
}
