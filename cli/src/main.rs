//! The command `kvlogdb`.

#![allow(clippy::print_stderr, reason = "a command prints")]

mod build;
mod check;
mod compare;
mod dump;
mod exit;
mod export;
mod import;
mod info;
mod migrate;
mod output;
mod progress;
mod replay;
mod source;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{Exit, Failure};

/// A durable log for Raft, kept in redb, fjall or sled.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what a store is and what it holds.
    Info(info::Args),
    /// Print the entries of a store.
    Dump(dump::Args),
    /// Check every invariant of a store.
    Check(check::Args),
    /// Write a sound store as one stream of bytes, the same for every engine.
    Export(export::Args),
    /// Make a new store from an export, or from the JSON lines of a trace.
    Import(import::Args),
    /// Copy a store to another engine and compare every record.
    Migrate(migrate::Args),
    /// Apply a recorded trace to a store on each engine, reopen it, check it, and compare it with
    /// the trace.
    Replay(replay::Args),
    /// Measure the engines on the disk of a directory, and say which one to take there.
    Compare(compare::Args),
}

fn main() -> ExitCode {
    if compare::serve_cell() {
        return ExitCode::SUCCESS;
    }
    let command = Cli::parse().command;
    let answer = catch_unwind(AssertUnwindSafe(|| run(&command)));
    match answer.unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                eprintln!("kvlogdb: {message}");
            }
            failure.exit.into()
        }
    }
}

fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Info(args) => info::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Check(args) => check::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Migrate(args) => migrate::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Compare(args) => compare::run(args),
    }
}

/// redb and sled answer some kinds of damage with a panic.
fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    Failure::damage(format!("panicked, as engines do over some kinds of damage: {text}"))
}
