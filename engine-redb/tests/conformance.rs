//! The suite that every engine passes.

use kvlogdb_engine_redb::{RedbEngine, RedbOptions};

fn main() -> std::process::ExitCode {
    kvlogdb_conformance::run("redb", |dir| RedbEngine::open(dir, &RedbOptions::default()))
}
