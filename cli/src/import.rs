//! `kvlogdb import`: a new store from a stream or from a trace.

use std::io::BufRead;
use std::path::PathBuf;

use indicatif::ProgressBar;
use kvlogdb::stream::{self, StreamError, StreamReader};
use kvlogdb::{Draft, Durability, EngineKind, Options, ReplicaId};
use serde_json::json;

use crate::build::{begin, make, publish};
use crate::exit::{Exit, Failure, with_causes};
use crate::output::{print, print_json};
use crate::replay::parse_engine;
use crate::replay::run::{self, REPLICA};
use crate::replay::trace::{Defect, Expected, Trace, open_input, peek};
use crate::source::{self, Source};

/// What `import` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An export, or the JSON lines of a trace, plain or gzip; `-` for standard input.
    file: PathBuf,
    /// The directory of the new store. It must not exist.
    dir: PathBuf,
    /// The new store's engine.
    #[arg(long, value_name = "ENGINE", value_parser = parse_engine)]
    engine: EngineKind,
    /// The replica into whose log a trace goes, as GROUP or GROUP/NODE; 1/0 unless given. An
    /// export names its own.
    #[arg(long, value_name = "REPLICA", value_parser = crate::dump::parse_replica)]
    replica: Option<ReplicaId>,
    /// Print what was imported as one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let name = args.file.display();
    let (start, input) = peek(open_input(&args.file)?, stream::MAGIC.len() as u64)
        .map_err(|error| Failure::bad_input(format!("cannot read {name}: {error}")))?;
    let is_export = start == stream::MAGIC;
    if !is_export && !start.trim_ascii_start().starts_with(b"{") {
        return Err(Failure::bad_input(format!("{name} is neither an export nor a trace")));
    }
    let draft = begin(&args.dir)?;
    if is_export {
        if args.replica.is_some() {
            let what = "an export names its own replicas: --replica is for traces";
            return Err(Failure::bad_input(what));
        }
        import_stream(args, input, &draft)?;
    } else {
        import_trace(args, input, &draft)?;
    }
    let entries = verify(args, &draft)?;
    publish(draft, &args.dir)?;
    let (dir, engine) = (args.dir.display(), args.engine);
    if args.json {
        let dir = dir.to_string();
        print_json(&json!({ "store": dir, "engine": engine.name(), "entries": entries }))?;
    } else {
        print(&format!("imported {entries} entries into {dir}, a new store on {engine}\n"))?;
    }
    Ok(Exit::Fine)
}

fn import_stream(args: &Args, input: impl BufRead, draft: &Draft) -> Result<(), Failure> {
    let failed = |error| match error {
        StreamError::Store(error) => Failure::store("the import failed", &error),
        refused => {
            Failure::bad_input(format!("{}: {}", args.file.display(), with_causes(&refused)))
        }
    };
    let reader = StreamReader::new(input).map_err(failed)?;
    let identity = reader.identity().to_vec();
    let bar = ProgressBar::new_spinner().with_message("importing");
    let made = make(args.engine, &identity, draft, |engine| {
        reader
            .load(engine, &mut |totals| bar.set_message(format!("{} entries", totals.entries)))
            .map_err(failed)
    });
    bar.finish_and_clear();
    made.map(drop)
}

fn import_trace(args: &Args, input: impl BufRead, draft: &Draft) -> Result<(), Failure> {
    let name = args.file.display();
    let refused = |defect: &Defect| {
        Failure::bad_input(format!("line {} of {name} {}", defect.line, defect.what))
    };
    let trace = Trace::from_lines(input);
    if let Some(defect) = &trace.defect {
        return Err(refused(defect));
    }
    let failed = |error: kvlogdb::Error| Failure::store("the import failed", &error);
    let options = Options::new().engine(args.engine);
    let store = options.open(draft.dir()).map_err(failed)?;
    let log = store.log(args.replica.unwrap_or(REPLICA));
    let bar = crate::progress::bar("importing", trace.commits.len() as u64, "commits");
    let (_, defect) = run::apply(&log, &trace.commits, Durability::Buffered, &bar)?;
    bar.finish_and_clear();
    if let Some(defect) = &defect {
        return Err(refused(defect));
    }
    let found = run::state(&log).map_err(failed)?;
    let differences = run::differences(&log, &found, &Expected::of(&trace.commits));
    store.close().map_err(failed)?;
    match differences.first() {
        Some(difference) => Err(Failure::damage(format!("the import differs: {difference}"))),
        None => Ok(()),
    }
}

/// Opens what was built as anybody would, and checks every record of it.
fn verify(args: &Args, draft: &Draft) -> Result<u64, Failure> {
    let opened = Source::open_quietly(draft.dir())?;
    let report = opened.check()?;
    opened.close()?;
    if report.is_clean() {
        return Ok(report.entries);
    }
    Err(source::damaged(&args.file.display().to_string(), &report))
}
