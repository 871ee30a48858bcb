//! `kvlogdb replay`: what a real node wrote, written again.

mod report;
pub(crate) mod run;
mod syncs;
pub(crate) mod trace;

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use kvlogdb::EngineKind;
use tempfile::TempDir;

use crate::exit::{Exit, Failure};
use run::Outcome;
use trace::Trace;

/// What `replay` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The trace: JSON lines, plain or gzip; `-` for standard input.
    #[arg(value_name = "FILE")]
    trace: PathBuf,
    /// The engines to replay onto: all of them unless named.
    #[arg(long, value_name = "ENGINE", value_delimiter = ',', value_parser = parse_engine)]
    engine: Vec<EngineKind>,
    /// Keep the stores in DIR/<engine>. Without it they are made in a temporary folder in the
    /// current directory, so on its disk, and removed afterwards.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Count the sync calls that reach the kernel: replays once more under strace, where there is
    /// one.
    #[arg(long)]
    count_syncs: bool,
}

pub(crate) fn parse_engine(name: &str) -> Result<EngineKind, String> {
    name.parse().map_err(|error: kvlogdb::EngineError| error.to_string())
}

/// Replays the trace and prints what came of it.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let trace = Trace::read(&args.trace)?;
    let place = Place::new(args.dir.as_deref())?;
    let engines =
        if args.engine.is_empty() { EngineKind::available() } else { args.engine.clone() };
    let mut outcomes = Vec::new();
    for engine in engines {
        let bar = progress(engine, trace.commits.len());
        let mut outcome = run::replay(engine, &place.path().join(engine.name()), &trace, &bar)?;
        bar.finish_and_clear();
        if args.count_syncs {
            outcome.syncs = syncs::count(&args.trace, engine);
        }
        outcomes.push(outcome);
    }
    report::print(&trace, &outcomes, args.json)?;
    Ok(verdict(&trace, &outcomes))
}

/// Damage weighs more than bad input: the store matters more than the trace.
fn verdict(trace: &Trace, outcomes: &[Outcome]) -> Exit {
    if outcomes.iter().any(|outcome| !outcome.findings.is_empty()) {
        Exit::Damage
    } else if trace.defect.is_some() || outcomes.iter().any(|outcome| outcome.refused.is_some()) {
        Exit::BadInput
    } else {
        Exit::Fine
    }
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(engine: EngineKind, commits: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:6} {wide_bar} {pos}/{len} commits {eta}");
    let bar = ProgressBar::new(commits as u64).with_prefix(engine.name());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Where the stores go.
enum Place {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Place {
    fn new(dir: Option<&Path>) -> Result<Self, Failure> {
        if let Some(dir) = dir {
            return Ok(Self::Kept(dir.to_owned()));
        }
        let made = tempfile::Builder::new().prefix(".kvlogdb-replay-").tempdir_in(".");
        let folder = made.map_err(|error| {
            Failure::bad_input(format!("no temporary folder in the current directory: {error}"))
        })?;
        let path = folder.path().to_owned();
        // Without the handler an interrupt would leave the folder behind, and that is all.
        let _ = ctrlc::set_handler(move || {
            let _ = std::fs::remove_dir_all(&path);
            std::process::exit(130);
        });
        Ok(Self::Temporary(folder))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}
