//! `writing`: what the writing path has to show, and whether it does.

mod cases;
mod rows;

use std::path::{Path, PathBuf};
use std::process::Command;

use kvlogdb::EngineKind;
use kvlogdb_compare::record::{Header, Record};
use kvlogdb_compare::table::{self, Style};
use kvlogdb_compare::{
    Cell, Error, Plan, Result, Run, Settings, Summary, Workplace, stop, versions,
};

use rows::{ROWS, Sizes};

/// What `writing` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write: a directory on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Short measurements and small logs: to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Only these rows; all unless named.
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = parse_row)]
    only: Vec<&'static str>,
    /// Only these engines; all unless named.
    #[arg(long, value_name = "ENGINE", value_delimiter = ',', value_parser = parse_engine)]
    engine: Vec<EngineKind>,
    /// How many rounds; 5 unless set, and no more than 3 of the long rows.
    #[arg(long)]
    rounds: Option<usize>,
    /// What payloads and choices follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the record goes, as JSON lines. A record that is there is continued.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Where the result goes as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Measure nothing: show what the record has.
    #[arg(long, requires = "record")]
    show: bool,
}

fn parse_row(name: &str) -> Result<&'static str, String> {
    let known = ROWS.iter().copied().find(|row| *row == name);
    known.ok_or_else(|| format!("the rows are {}", ROWS.join(", ")))
}

fn parse_engine(name: &str) -> Result<EngineKind, String> {
    name.parse().map_err(|error: kvlogdb::EngineError| error.to_string())
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let record = match (&args.record, args.show) {
        (Some(path), true) => Record::read(path)?,
        _ => measure(args)?,
    };
    let sizes = Sizes::new(args.quick);
    println!("{}", report(&record, &sizes, Style::Terminal));
    if let Some(path) = &args.markdown {
        let text = report(&record, &sizes, Style::Markdown);
        let doing = || format!("write {}", path.display());
        std::fs::write(path, text).map_err(|error| Error::io(doing(), error))?;
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Record> {
    let place = Workplace::new(&args.dir)?;
    let folder = place.path().to_owned();
    // Without the handler an interrupt would leave the folder behind, and that is all.
    let _ = ctrlc::set_handler(move || {
        stop(&folder);
        std::process::exit(130);
    });
    let mut known = versions(&place)?;
    known.extend(revision().map(|revision| ("revision".to_owned(), revision)));
    let header = Header::new("The writing path", &args.dir, args.seed, known);
    let earlier = args.record.as_deref().map(|path| earlier(path, &header)).transpose()?.flatten();
    let engines =
        if args.engine.is_empty() { EngineKind::available() } else { args.engine.clone() };
    let sizes = Sizes::new(args.quick);
    let mut rows = rows::all(&sizes, &engines, &args.only);
    for row in &mut rows {
        row.rounds = args.rounds.map_or(row.rounds, |rounds| rounds.min(row.rounds.max(rounds)));
    }
    let plan = Plan { rows, seed: args.seed, settings: Settings::default() };
    let run = Run::begin(place, plan, header, args.record.as_deref(), earlier)?;
    run.measure(&mut |cell: &Cell<'_>, at, count| {
        let (name, round) = (cell.workload.name(), cell.round);
        eprintln!("{:3}/{count} round {round}: {name}: {}", at + 1, cell.subject);
    })
}

/// The record that is there already, if it is of the same code and seed.
fn earlier(path: &Path, header: &Header) -> Result<Option<Record>> {
    if !path.exists() {
        return Ok(None);
    }
    let record = Record::read(path)?;
    if record.header.seed != header.seed || record.header.versions != header.versions {
        let what = "is a record of other code or of another seed: name another file";
        return Err(Error::BadInput(format!("{} {what}", path.display())));
    }
    Ok(Some(record))
}

/// The revision of the sources, where git knows it.
fn revision() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn report(record: &Record, sizes: &Sizes, style: Style) -> String {
    let header = &record.header;
    let versions: Vec<String> =
        header.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let loads: Vec<f64> = record.cells.iter().filter_map(|cell| cell.load).collect();
    let load = loads.iter().copied().fold(0.0, f64::max);
    let facts = [
        header.machine.describe(),
        format!("{}; seed {}", versions.join(", "), header.seed),
        format!("highest load before a cell {load:.1}, the benchmark's own threads among it"),
    ];
    let facts = facts.join(if style == Style::Markdown { "\n\n" } else { "\n" });
    let cases = cases::table(record, sizes, style);
    let details = table::details(&Summary::of(record), style);
    format!("{facts}\n\n{cases}\n{details}")
}
