//! What the measuring commands share: where to write, a record that can be continued, an interrupt.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use kvlogdb_compare::record::{Header, Record};
use kvlogdb_compare::table::{self, Style};
use kvlogdb_compare::{Cell, Error, Plan, Result, Run, Summary, Workplace, stop, versions};

/// What every measuring command is told.
#[derive(Debug, clap::Args)]
pub struct Session {
    /// Where to write: a directory on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// How many rounds, whatever a row has by itself.
    #[arg(long)]
    rounds: Option<usize>,
    /// What payloads and choices follow from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the record goes, as JSON lines. A record that is there is continued.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Where the result goes as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the result goes as a page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Measure nothing: show what the record has.
    #[arg(long, requires = "record")]
    show: bool,
}

impl Session {
    /// Measures the plan, or reads the record that is only to be shown.
    ///
    /// # Errors
    ///
    /// Failures of the file system, and a record of other code or another seed.
    pub fn record(&self, title: &str, mut plan: Plan, more: &[(&str, &str)]) -> Result<Record> {
        if let (Some(path), true) = (&self.record, self.show) {
            return Record::read(path);
        }
        for row in &mut plan.rows {
            row.rounds = self.rounds.unwrap_or(row.rounds);
        }
        let place = Workplace::new(&self.dir)?;
        let folder = place.path().to_owned();
        // Without the handler an interrupt would leave the folder behind, and that is all.
        let _ = ctrlc::set_handler(move || {
            stop(&folder);
            std::process::exit(130);
        });
        let mut known = versions(&place)?;
        let owned = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        known.extend(more.iter().map(owned));
        known.extend(revision().map(|revision| ("revision".to_owned(), revision)));
        let header = Header::new(title, &self.dir, self.seed, known);
        let path = self.record.as_deref();
        let earlier = path.map(|path| earlier(path, &header)).transpose()?.flatten();
        let run = Run::begin(&place, plan, header, path, earlier)?;
        run.measure(&mut say)
    }

    /// Writes the result where it was asked for, and prints it. `first` is what stands before the
    /// details.
    ///
    /// # Errors
    ///
    /// Files that cannot be written.
    pub fn report(&self, record: &Record, first: &dyn Fn(Style) -> String) -> Result<()> {
        let write = |path: &Path, text: String| {
            let failed = |error| Error::io(format!("write {}", path.display()), error);
            std::fs::write(path, text).map_err(failed)
        };
        if let Some(path) = &self.markdown {
            write(path, report(record, Style::Markdown, first))?;
        }
        if let Some(path) = &self.html {
            let need = kvlogdb_compare::advice::Need::default();
            write(path, kvlogdb_compare::page::render(record, need))?;
        }
        // It is no failure that nobody reads it to the end.
        let _ = writeln!(io::stdout(), "{}", report(record, Style::Terminal, first));
        Ok(())
    }
}

fn say(cell: &Cell<'_>, at: usize, count: usize) {
    let (name, round) = (cell.workload.name(), cell.round);
    eprintln!("{:3}/{count} round {round}: {name}: {}", at + 1, cell.subject);
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

fn report(record: &Record, style: Style, first: &dyn Fn(Style) -> String) -> String {
    let header = &record.header;
    let versions: Vec<String> =
        header.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let loads = record.cells.iter().filter_map(|cell| cell.load);
    let facts = [
        format!("{}, {}", table::date(header.began_at_s), header.machine.describe()),
        format!("{}; seed {}", versions.join(", "), header.seed),
        format!(
            "highest load before a measurement {:.1}, its own threads among it",
            loads.fold(0.0, f64::max)
        ),
    ];
    let facts = facts.join(if style == Style::Markdown { "\n\n" } else { "\n" });
    let details = table::details(&Summary::of(record), style);
    format!("{facts}\n\n{}\n{details}", first(style))
}
