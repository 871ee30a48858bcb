//! `kvlogdb compare`: which engine, on this disk?

mod args;
mod trace;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kvlogdb::EngineKind;
use kvlogdb_compare::advice::{Advice, Need};
use kvlogdb_compare::diff::Diff;
use kvlogdb_compare::record::{Header, Record};
use kvlogdb_compare::table::{self, Style};
use kvlogdb_compare::{
    Error, OwnStores, Place, Plan, RESULT, Run, Summary, Workplace, child, page, stop, versions,
};

use crate::exit::{Exit, Failure};
use crate::output::print;

pub(crate) use args::Args;

/// The exit code of a command that an interrupt has ended.
const INTERRUPTED: i32 = 130;
/// How long the handler of an interrupt has to end the process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures one cell where this process was started for that; `false` where it was not.
pub(crate) fn serve_cell() -> bool {
    let mut arguments = std::env::args().skip(1);
    let (Some(child::CELL), Some(spec)) = (arguments.next().as_deref(), arguments.next()) else {
        return false;
    };
    child::serve(&OwnStores, &spec, &mut std::io::stdout());
    true
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    if let [before, after] = &args.diff[..] {
        return diff(before, after);
    }
    if let Some(path) = &args.render {
        let record = Record::read(path).map_err(|error| failed(&error))?;
        write_page(&path.with_extension("html"), &record, args.need)?;
        show(args, &record, &path.with_extension(""))?;
        return Ok(Exit::Fine);
    }
    let (record, files) = measure(args).map_err(|error| failed(&error))?;
    show(args, &record, &files)?;
    let failures = record.cells.iter().any(|cell| cell.measured().is_none());
    Ok(if failures { Exit::Damage } else { Exit::Fine })
}

fn diff(before: &Path, after: &Path) -> Result<Exit, Failure> {
    let read = |path: &Path| {
        Record::read(path)
            .map_err(|error| Failure::bad_input(format!("{}: {}", path.display(), error.in_full())))
    };
    let diff = Diff::of(&read(before)?, &read(after)?);
    print(&format!("{}\n", diff.to_text(Style::Terminal)))?;
    Ok(if diff.has_changes() { Exit::Damage } else { Exit::Fine })
}

fn failed(error: &Error) -> Failure {
    match error {
        Error::BadInput(_) | Error::Record { .. } => Failure::bad_input(error.in_full()),
        _ => Failure::in_use(error.in_full()),
    }
}

/// Measures, and keeps the record and its page. Answers them with their name without its ending.
fn measure(args: &Args) -> Result<(Record, PathBuf), Error> {
    let steps = args.trace.as_deref().map(trace::read).transpose()?;
    let engines =
        if args.engine.is_empty() { EngineKind::available() } else { args.engine.clone() };
    // The steps are kept where the measurements are made, which is not there yet.
    let entries = steps.as_ref().map(|steps| trace::entries(steps));
    let estimate = args.wishes(entries.map(|entries| (PathBuf::new(), entries))).plan(&engines);
    let dir = Place::new(&args.dir, &estimate)?;
    let work = measure_in(args, &dir, &engines, steps.as_deref());
    match work {
        Err(Error::Stopped) => {
            // The handler of the interrupt is about to end the process.
            std::thread::sleep(PATIENCE);
            Err(Error::Stopped)
        }
        Err(error) => {
            if dir.is_made() {
                // It is empty, or somebody else's by now.
                let _ = fs::remove_dir(dir.path());
            }
            Err(error)
        }
        done => done,
    }
}

fn measure_in(
    args: &Args,
    dir: &Place,
    engines: &[EngineKind],
    steps: Option<&[kvlogdb_compare::Step]>,
) -> Result<(Record, PathBuf), Error> {
    let place = Workplace::new(dir.path())?;
    remove_when_interrupted(dir, &place);
    let traced = steps.map(|steps| trace::keep(place.path(), steps)).transpose()?;
    let plan: Plan = args.wishes(traced).plan(engines);
    let versions = versions(&place)?;
    let header = Header::new("kvlogdb compare", dir.path(), args.seed, versions);
    let stamp = table::stamp(header.began_at_s);
    let (draft, result) =
        (place.path().join("record"), dir.path().join(format!("{RESULT}{stamp}")));
    let bar = progress(&plan);
    let run = Run::begin(&place, plan, header, Some(&draft), None)?;
    let record = run.measure(&mut |cell, at, count| {
        bar.set_length(count as u64);
        bar.set_position(at as u64);
        bar.set_message(format!("{}: {}", cell.workload.name(), cell.subject));
    })?;
    bar.finish_and_clear();
    let jsonl = result.with_extension("jsonl");
    let kept = |error| Error::io(format!("keep {}", jsonl.display()), error);
    fs::rename(&draft, &jsonl).map_err(kept)?;
    let html = result.with_extension("html");
    let doing = |error| Error::io(format!("write {}", html.display()), error);
    fs::write(&html, page::render(&record, args.need)).map_err(doing)?;
    Ok((record, result))
}

fn write_page(path: &Path, record: &Record, need: Need) -> Result<(), Failure> {
    let written = fs::write(path, page::render(record, need));
    written.map_err(|error| Failure::io("write", path, &error))
}

/// Leaves nothing behind when the user stops it.
fn remove_when_interrupted(dir: &Place, place: &Workplace) {
    let (folder, made) = (place.path().to_owned(), dir.is_made().then(|| dir.path().to_owned()));
    // Without a handler an interrupt leaves the folder, which the next run removes.
    let _ = ctrlc::set_handler(move || {
        stop(&folder);
        if let Some(made) = &made {
            // It is empty, or somebody else's by now.
            let _ = fs::remove_dir(made);
        }
        std::process::exit(INTERRUPTED);
    });
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(plan: &Plan) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {eta:>4}  {wide_msg}");
    let bar = ProgressBar::new(plan.cells().len() as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Prints what was found; the JSON lines themselves where they were asked for.
fn show(args: &Args, record: &Record, files: &Path) -> Result<(), Failure> {
    let (jsonl, html) = (files.with_extension("jsonl"), files.with_extension("html"));
    if args.json {
        let path = args.render.as_deref().unwrap_or(&jsonl);
        let lines = fs::read(path).map_err(|error| Failure::io("read", path, &error))?;
        let mut out = std::io::stdout().lock();
        return out.write_all(&lines).map_err(|error| Failure::output(&error));
    }
    let summary = Summary::of(record);
    let words = |need| Advice::of(record, need).in_words();
    let mut parts = vec![
        record.header.machine.describe(),
        table::details(&summary, Style::Terminal),
        words(args.need),
    ];
    let others = Need::ALL.into_iter().filter(|(_, need)| *need != args.need);
    parts.extend(others.map(|(_, need)| words(need).lines().next().unwrap_or_default().to_owned()));
    parts.push(format!("\nrecord: {}\npage:   {}\n", jsonl.display(), html.display()));
    let text = parts.join("\n");
    print(&text)
}
