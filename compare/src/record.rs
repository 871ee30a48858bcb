//! The record of a run: JSON lines, from which everything else is made.
//!
//! The first line is the [`Header`]; every other is one [`CellRecord`], written as soon as it is
//! known, so that a run that ends early leaves what it has.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::child::Counted;
use crate::machine::Machine;
use crate::measured::Measured;
use crate::workload::Workload;
use crate::{Error, Result};

/// The version of these lines.
pub const VERSION: u32 = 1;

/// One line of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub(crate) enum Line {
    Header(Box<Header>),
    Cell(Box<CellRecord>),
}

/// What a run was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// What the run is called.
    pub title: String,
    /// When it began: seconds since 1970.
    pub began_at_s: u64,
    /// What payloads and choices follow from.
    pub seed: u64,
    /// The machine.
    pub machine: Machine,
    /// Name and version of what was measured.
    pub versions: Vec<(String, String)>,
}

impl Header {
    /// A header for a run that begins now in `dir`. `versions` are those of what is measured.
    pub fn new(title: &str, dir: &Path, seed: u64, versions: Vec<(String, String)>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            version: VERSION,
            title: title.to_owned(),
            began_at_s: since.map_or(0, |since| since.as_secs()),
            seed,
            machine: Machine::of(dir),
            versions,
        }
    }
}

/// What a cell came to, in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// The store.
    pub subject: String,
    /// The workload's name.
    pub name: String,
    /// The work itself.
    pub workload: Workload,
    /// The round, from 1.
    pub round: usize,
    /// What was found, or why nothing was.
    pub outcome: Outcome,
    /// What a sync cost right before, in microseconds.
    pub probe_before_us: f64,
    /// And right after.
    pub probe_after_us: f64,
    /// How often it was measured until both agreed, or until patience was at its end.
    pub attempts: usize,
    /// Sync calls, counted in a run of their own, once for all rounds.
    pub counted: Option<Counted>,
    /// The machine's load before.
    pub load: Option<f64>,
}

/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// With figures.
    Measured(Box<Measured>),
    /// Without.
    Failed(String),
}

impl CellRecord {
    /// The figures, where there are any.
    pub fn measured(&self) -> Option<&Measured> {
        match &self.outcome {
            Outcome::Measured(measured) => Some(measured),
            Outcome::Failed(_) => None,
        }
    }

    /// Whether the disk was the same before and after.
    pub fn is_steady(&self) -> bool {
        agree(self.probe_before_us, self.probe_after_us)
    }
}

/// How far the disk may be apart for two cells that are compared, as a part of the faster one.
/// Its slow mode is forty times slower.
const SAME_DISK: f64 = 0.5;

impl CellRecord {
    /// Whether the disk was about the same for both, before and after.
    pub(crate) fn is_comparable(&self, other: &Self) -> bool {
        let probes = [self, other].map(|cell| [cell.probe_before_us, cell.probe_after_us]);
        let low = probes.as_flattened().iter().copied().fold(f64::MAX, f64::min);
        let high = probes.as_flattened().iter().copied().fold(0.0, f64::max);
        high - low <= SAME_DISK * low
    }
}

/// How far two controls may be apart, as a part of the lower.
pub const TOLERANCE: f64 = 0.2;

/// Whether two controls differ by no more than [`TOLERANCE`].
pub(crate) fn agree(one: f64, other: f64) -> bool {
    (one - other).abs() <= TOLERANCE * one.min(other)
}

/// A whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it was made with.
    pub header: Header,
    /// Its cells, in the order in which they were measured.
    pub cells: Vec<CellRecord>,
}

impl Record {
    /// Reads a record. A last line that was cut short is left out.
    pub fn read(path: &Path) -> Result<Self> {
        let opened = File::open(path);
        let file = opened.map_err(|error| Error::io(format!("open {}", path.display()), error))?;
        Self::parse(BufReader::new(file))
    }

    fn parse(lines: impl BufRead) -> Result<Self> {
        let (mut header, mut cells): (Option<Header>, Vec<CellRecord>) = (None, Vec::new());
        let mut broken: Option<(usize, String)> = None;
        for (line, text) in (1..).zip(lines.lines()) {
            let text = text.map_err(|error| Error::io("read the record", error))?;
            if let Some((line, what)) = broken {
                return Err(Error::Record { line, what });
            }
            match serde_json::from_str::<Line>(&text) {
                Ok(Line::Header(found)) if header.is_none() && found.version == VERSION => {
                    header = Some(*found);
                }
                Ok(Line::Header(found)) if header.is_none() => {
                    let what = format!("version {} of the record is not known", found.version);
                    return Err(Error::Record { line, what });
                }
                Ok(Line::Header(_)) => {
                    return Err(Error::Record { line, what: "a second header".into() });
                }
                Ok(Line::Cell(cell)) => cells.push(*cell),
                Err(error) => broken = Some((line, error.to_string())),
            }
        }
        let what = || broken.map_or("it is empty".to_owned(), |(_, what)| what);
        let header = header.ok_or_else(|| Error::Record { line: 1, what: what() })?;
        Ok(Self { header, cells })
    }

    /// The cell of a store, a workload and a round.
    pub(crate) fn find(&self, subject: &str, name: &str, round: usize) -> Option<&CellRecord> {
        self.cells
            .iter()
            .find(|cell| cell.round == round && cell.subject == subject && cell.name == name)
    }
}

/// Writes a record, line by line.
#[derive(Debug)]
pub(crate) struct Writer {
    file: Option<File>,
}

impl Writer {
    /// A new record; nowhere, if no path is given.
    pub(crate) fn create(path: Option<&Path>, header: &Header) -> Result<Self> {
        let made = path.map(File::create).transpose();
        let file = made.map_err(|error| Error::io("make the record", error))?;
        let mut writer = Self { file };
        writer.line(&Line::Header(Box::new(header.clone())))?;
        Ok(writer)
    }

    /// Goes on with a record; what was cut short at its end is replaced.
    pub(crate) fn resume(path: &Path, record: &Record) -> Result<Self> {
        let mut writer = Self::create(Some(path), &record.header)?;
        for cell in &record.cells {
            writer.cell(cell)?;
        }
        Ok(writer)
    }

    pub(crate) fn cell(&mut self, cell: &CellRecord) -> Result<()> {
        self.line(&Line::Cell(Box::new(cell.clone())))
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let json = serde_json::to_string(line).map_err(|error| Error::Child(error.to_string()))?;
        writeln!(file, "{json}").map_err(|error| Error::io("write the record", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::record;

    fn lines(record: &Record) -> String {
        let header = Line::Header(Box::new(record.header.clone()));
        let cells = record.cells.iter().map(|cell| Line::Cell(Box::new(cell.clone())));
        let lines = std::iter::once(header).chain(cells);
        lines.map(|line| serde_json::to_string(&line).unwrap() + "\n").collect()
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let mut written = record(&[("kvlogdb on redb", [1.0, 2.0, 3.0])]);
        written.cells[1].outcome = Outcome::Failed("no".to_owned());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        drop(Writer::resume(&path, &written).unwrap());
        assert_eq!(Record::read(&path).unwrap(), written);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines(&written));
    }

    #[test]
    fn names_of_fields_stay() {
        let text = lines(&record(&[("kvlogdb on redb", [1.0; 3])]));
        let found: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found[0]["line"], "header");
        assert_eq!(found[0]["version"], VERSION);
        assert_eq!(found[1]["line"], "cell");
        assert_eq!(found[1]["workload"]["kind"], "append");
        assert_eq!(found[1]["counted"]["syncs"], 100);
        let main = &found[1]["outcome"]["measured"]["phases"]["main"];
        for field in ["entries", "calls", "elapsed_s", "latency", "series"] {
            assert!(!main[field].is_null(), "no {field}");
        }
    }

    #[test]
    fn only_a_last_line_may_be_cut_short() {
        let written = record(&[("kvlogdb on redb", [1.0, 2.0, 3.0])]);
        let text = lines(&written);
        let cut = Record::parse(&text.as_bytes()[..text.len() - 20]).unwrap();
        assert_eq!(cut.cells, written.cells[..2]);
        let broken = text.replacen("{\"line\":\"cell\"", "{", 1);
        assert!(matches!(Record::parse(broken.as_bytes()), Err(Error::Record { line: 2, .. })));
        for bad in ["", "{}", "{\"line\":\"cell\"}"] {
            assert!(matches!(Record::parse(bad.as_bytes()), Err(Error::Record { .. })), "{bad}");
        }
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        let refused = Record::parse(newer.as_bytes()).unwrap_err();
        assert!(refused.to_string().contains("version 2"), "{refused}");
    }

    #[test]
    fn cells_are_compared_only_on_the_same_disk() {
        let found = record(&[("kvlogdb on redb", [1.0; 3])]);
        let (one, mut other) = (found.cells[0].clone(), found.cells[1].clone());
        assert!(one.is_comparable(&other) && other.is_steady());
        (other.probe_before_us, other.probe_after_us) = (130.0, 140.0);
        assert!(one.is_comparable(&other));
        other.probe_after_us = 4000.0;
        assert!(!one.is_comparable(&other) && !other.is_steady());
        other.probe_before_us = 4000.0;
        assert!(!one.is_comparable(&other) && other.is_steady());
    }
}
