//! The checks of this workspace that no other tool makes. Each is a subcommand, each only reads.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line")]

mod arrows;
mod c_free;
mod files;
mod metadata;
mod msrv;
mod sizes;
mod words;

use std::collections::BTreeSet;
use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "usage: kvlogdb-gate arrows | c-free | msrv | sizes | words";

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What a check found.
struct Report {
    /// What was looked at, in words and figures, so that a check of nothing shows.
    checked: String,
    /// What is wrong, one line each; a check has passed when there are none.
    findings: BTreeSet<String>,
}

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let report = match name.as_str() {
        "arrows" => arrows::check(),
        "c-free" => c_free::check(),
        "msrv" => msrv::check(),
        "sizes" => sizes::check(),
        "words" => words::check(),
        _ => Err(USAGE.into()),
    };
    match report {
        Ok(report) => conclude(&name, &report),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn conclude(name: &str, report: &Report) -> ExitCode {
    for finding in &report.findings {
        eprintln!("{name}: {finding}");
    }
    println!("{name}: {} findings in {}", report.findings.len(), report.checked);
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
