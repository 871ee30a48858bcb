//! `kvlogdb migrate`: a store on another engine.

use std::fs;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use kvlogdb::{Draft, EngineKind, transfer};
use serde_json::json;

use crate::build::{begin, make, publish};
use crate::exit::{Exit, Failure};
use crate::output::{print, print_json};
use crate::progress;
use crate::replay::parse_engine;
use crate::source::Source;

/// What `migrate` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store to copy. It is only read.
    source: PathBuf,
    /// The directory of the new store. It must not exist.
    target: PathBuf,
    /// The new store's engine.
    #[arg(long, value_name = "ENGINE", value_parser = parse_engine)]
    engine: EngineKind,
    /// Print what was done as one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    refuse_overlap(&args.source, &args.target)?;
    let source = Source::open(&args.source)?;
    // A target that exists is refused before the source is read through.
    let draft = begin(&args.target)?;
    let expected = source.sound()?.entries;
    copy(args, &source, expected, &draft)?;
    let same = verify(args, &source, expected, &draft)?;
    publish(draft, &args.target)?;
    let from = source.manifest.engine.clone();
    source.close()?;
    let (to, engine) = (args.target.display(), args.engine);
    let transfer::Totals { metadata, entries, record_bytes } = same;
    if args.json {
        print_json(&json!({
            "from": from, "to": engine.name(), "store": to.to_string(), "entries": entries,
            "metadata": metadata, "record_bytes": record_bytes,
        }))?;
    } else {
        let bytes = HumanBytes(record_bytes);
        print(&format!(
            "copied {entries} entries and {metadata} metadata records, {bytes}, from {from} to \
             {engine}; every record compared\n{to} is the new store; {} is as it was\n",
            args.source.display()
        ))?;
    }
    Ok(Exit::Fine)
}

/// Refuses a target that is the source, or lies in it.
fn refuse_overlap(source: &Path, target: &Path) -> Result<(), Failure> {
    // A source that is missing is refused when it is opened.
    let Ok(source) = fs::canonicalize(source) else { return Ok(()) };
    if fs::canonicalize(target).is_ok_and(|target| target == source) {
        return Err(Failure::bad_input("source and target are the same directory"));
    }
    let ancestors = target.ancestors().skip(1);
    let mut there =
        ancestors.map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    let nearest = there.find_map(|dir| fs::canonicalize(dir).ok());
    if nearest.is_some_and(|dir| dir.starts_with(&source)) {
        return Err(Failure::bad_input("the target lies in the source's directory"));
    }
    Ok(())
}

fn copy(args: &Args, source: &Source, entries: u64, draft: &Draft) -> Result<(), Failure> {
    let bar = progress::bar("copying", entries, "entries");
    let made = make(args.engine, &source.manifest.identity, draft, |target| {
        transfer::copy(&*source.engine, target, &mut |totals| bar.set_position(totals.entries))
            .map_err(|error| Failure::store("the copy failed", &error))
    });
    bar.finish_and_clear();
    made.map(drop)
}

/// Opens the copy anew, so that it comes from its files, and compares every record.
fn verify(
    args: &Args,
    source: &Source,
    entries: u64,
    draft: &Draft,
) -> Result<transfer::Totals, Failure> {
    let copied = Source::open_quietly(draft.dir())?;
    let bar = progress::bar("comparing", entries, "entries");
    let compared = transfer::compare(&*source.engine, &*copied.engine, &mut |totals| {
        bar.set_position(totals.entries);
    });
    bar.finish_and_clear();
    let (same, difference) =
        compared.map_err(|error| Failure::store("the comparison failed", &error))?;
    copied.close()?;
    match difference {
        None if same.entries == entries => Ok(same),
        None => Err(Failure::damage(format!(
            "{} had {entries} entries and then {}",
            source.name(),
            same.entries
        ))),
        Some(difference) => {
            let engine = args.engine;
            Err(Failure::damage(format!("the copy on {engine} differs: {difference}")))
        }
    }
}
