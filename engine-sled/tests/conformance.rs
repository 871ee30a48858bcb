//! sled against the suite that every engine passes.

use std::process::ExitCode;

use kvlogdb_engine_sled::{SledEngine, SledOptions};

fn main() -> ExitCode {
    kvlogdb_conformance::run("sled", |dir| SledEngine::open(dir, &SledOptions::default()))
}
