//! The command `kvlogdb`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

mod exit;
mod replay;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A durable log for Raft, kept in redb, fjall or sled.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apply a recorded trace to a store on each engine, reopen it, check it, and compare it with
    /// the trace.
    Replay(replay::Args),
}

fn main() -> ExitCode {
    let answer = match Cli::parse().command {
        Command::Replay(args) => replay::run(&args),
    };
    match answer {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("kvlogdb: {failure}");
            failure.exit.into()
        }
    }
}
