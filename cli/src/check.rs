//! `kvlogdb check`: every invariant of a store, and the one repair that is allowed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table};
use kvlogdb::{CheckReport, CheckedReplica, EngineError, FjallOptions, Options, Problem, TornTail};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure, with_causes};
use crate::output::{number, print, print_json};
use crate::source::{Source, not_opened};

/// What `check` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's directory.
    dir: PathBuf,
    /// Drop the torn last batch of a fjall journal that cannot be opened because of it, after a
    /// copy of the whole directory was made beside it. Nothing else is ever repaired. A node that
    /// repairs may be behind what it promised.
    #[arg(long)]
    repair: bool,
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let (source, copy) = match Source::try_open(&args.dir, Options::new()) {
        Ok(source) => (source, None),
        Err(EngineError::TornTail { .. }) if args.repair => repair(&args.dir)?,
        Err(error @ (EngineError::TornTail { .. } | EngineError::Corrupt { .. })) => {
            return report_unopenable(args, error);
        }
        Err(error) => return Err(not_opened(&args.dir, error)),
    };
    if args.repair && copy.is_none() {
        eprintln!("kvlogdb: nothing to repair: the engine opens as it is");
    }
    let report = source.check()?;
    if args.json {
        print_json(&to_json(&report, copy.as_deref()))?;
    } else {
        print(&to_text(&report, copy.as_deref()))?;
    }
    source.close()?;
    Ok(if report.is_clean() { Exit::Fine } else { Exit::Damage })
}

/// A store whose engine refuses to open it: that is the damage.
fn report_unopenable(args: &Args, error: EngineError) -> Result<Exit, Failure> {
    if args.json {
        let what = with_causes(&error);
        let problem = json!({ "kind": "Engine", "replica": null, "index": null, "what": what });
        print_json(&json!({
            "clean": false, "opened": false, "entries": 0, "replicas": [],
            "problems": [problem], "more_problems": 0, "repaired_copy": null,
        }))?;
    }
    let way_out = match &error {
        EngineError::TornTail { .. } => " (`kvlogdb check --repair` asks for it)",
        _ if args.repair => "; that is nothing that --repair repairs",
        _ => "",
    };
    let failure = not_opened(&args.dir, error);
    Err(Failure::damage(format!("{failure}{way_out}")))
}

/// Copies the store, then lets the engine drop its journal's torn end.
fn repair(dir: &Path) -> Result<(Source, Option<PathBuf>), Failure> {
    let copy = copy_beside(dir)?;
    eprintln!("kvlogdb: the store as it was is in {}", copy.display());
    let mut fjall = FjallOptions::default();
    fjall.torn_tail = TornTail::Repair;
    let source = Source::try_open(dir, Options::new().fjall(fjall))
        .map_err(|error| not_opened(dir, error))?;
    eprintln!(
        "kvlogdb: dropped the torn last batch. If it had been acknowledged, this node is behind \
         what it promised: let it catch up before it votes"
    );
    Ok((source, Some(copy)))
}

/// Makes a synced copy of the directory under the first free name beside it, complete or not at
/// all, with the store locked meanwhile.
fn copy_beside(dir: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| Failure::io("copy", dir, &error);
    let lock = File::options().write(true).open(dir.join("LOCK")).map_err(failed)?;
    lock.try_lock().map_err(|error| failed(error.into()))?;
    let name = dir.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let numbered = |number: u32, end: &str| {
        let mut copy = OsString::from(name);
        copy.push(format!(".before-repair-{number}{end}"));
        dir.with_file_name(copy)
    };
    let free = |path: &Path| fs::symlink_metadata(path).is_err();
    let number = (1..=u32::MAX).find(|&at| free(&numbered(at, "")) && free(&numbered(at, ".tmp")));
    let number = number.unwrap_or(u32::MAX);
    let (copy, unfinished) = (numbered(number, ""), numbered(number, ".tmp"));
    fs::create_dir(&unfinished).map_err(failed)?;
    let copied = copy_tree(dir, &unfinished).and_then(|()| fs::rename(&unfinished, &copy));
    if let Err(error) = copied.and_then(|()| sync_dir_of(&copy)) {
        let _ = fs::remove_dir_all(&unfinished); // the first failure is the one to tell
        return Err(failed(error));
    }
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::options().write(true).open(&target)?.sync_all()?;
        }
    }
    sync_dir(to)
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn to_text(report: &CheckReport, copy: Option<&Path>) -> String {
    let mut lines = Vec::new();
    if !report.replicas.is_empty() {
        lines.push(table(&report.replicas).to_string());
    }
    let named = |problem: &Problem| format!("{:?}: {problem}", problem.kind);
    lines.extend(report.problems.iter().map(named));
    if report.more_problems > 0 {
        lines.push(format!("and {} more problems", report.more_problems));
    }
    if let Some(copy) = copy {
        lines.push(format!("repaired; as it was: {}", copy.display()));
    }
    let verdict = if report.is_clean() { "sound" } else { "DAMAGED" };
    lines.push(format!("{verdict}: {} entries read\n", report.entries));
    lines.join("\n")
}

fn table(replicas: &[CheckedReplica]) -> Table {
    let mut table = Table::new();
    table.set_header(["replica", "first", "last", "intact through"]);
    for checked in replicas {
        table.add_row([
            checked.replica.to_string(),
            number(checked.first),
            number(checked.last),
            number(checked.intact_through),
        ]);
    }
    for at in 1..=3 {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn to_json(report: &CheckReport, copy: Option<&Path>) -> Value {
    let replica_json = |checked: &CheckedReplica| {
        json!({
            "group": checked.replica.group,
            "node": checked.replica.node,
            "first_index": checked.first,
            "last_index": checked.last,
            "intact_through": checked.intact_through,
        })
    };
    let problem_json = |problem: &Problem| {
        json!({
            "kind": format!("{:?}", problem.kind),
            "replica": problem.replica.map(|replica| replica.to_string()),
            "index": problem.index,
            "what": problem.what,
        })
    };
    json!({
        "clean": report.is_clean(),
        "opened": true,
        "entries": report.entries,
        "replicas": report.replicas.iter().map(replica_json).collect::<Vec<_>>(),
        "problems": report.problems.iter().map(problem_json).collect::<Vec<_>>(),
        "more_problems": report.more_problems,
        "repaired_copy": copy.map(|copy| copy.display().to_string()),
    })
}
