//! `cargo run --release -p kvlogdb-benches -- writing` measures the writing path and prints how it
//! stands against controls and bare engines.

#![allow(clippy::print_stderr, reason = "a command prints")]

mod writing;

use std::process::ExitCode;

use clap::Parser;
use kvlogdb_benches::BenchStores;
use kvlogdb_compare::child;

#[derive(Debug, Parser)]
#[command(version, about = "Benchmarks of kvlogdb against controls and bare engines")]
enum Command {
    /// The writing path: shared commits, bounded memory, deletion in the background.
    Writing(writing::Args),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some(child::CELL), Some(spec)) = (arguments.next().as_deref(), arguments.next()) {
        child::serve(&BenchStores, &spec, &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let Command::Writing(args) = Command::parse();
    match writing::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvlogdb-benches: {}", error.in_full());
            ExitCode::FAILURE
        }
    }
}
