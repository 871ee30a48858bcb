//! A run: every cell, round after round, with the disk's own state beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::cell::{CellSpec, Mode};
use crate::child::{self, Counted};
use crate::control::probe;
use crate::machine;
use crate::record::{CellRecord, Header, Outcome, Record, Writer, agree};
use crate::store::Settings;
use crate::workload::Workload;
use crate::{Error, Result};

/// How often a cell is measured while the disk changes under it.
const MAX_ATTEMPTS: usize = 3;
/// How many cells of a run are measured again at the most, as a part of all.
const AGAIN_PART: usize = 3;
/// How long one look at the disk takes.
const PROBE: Duration = Duration::from_millis(60);

/// What is to be measured: rows and the stores in each.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The rows.
    pub rows: Vec<Row>,
    /// What payloads and choices follow from.
    pub seed: u64,
    /// What stores are opened with.
    pub settings: Settings,
}

/// One workload and who does it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The workload.
    pub workload: Workload,
    /// The stores.
    pub subjects: Vec<String>,
    /// In how many rounds.
    pub rounds: usize,
}

/// One measurement of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// The workload.
    pub workload: &'a Workload,
    /// The store.
    pub subject: &'a str,
    /// The round, from 1.
    pub round: usize,
}

impl Plan {
    /// The measurements in their order: round by round, and in each the stores of a row behind one
    /// another, every round from another store on.
    pub fn cells(&self) -> Vec<Cell<'_>> {
        let rounds = self.rows.iter().map(|row| row.rounds).max().unwrap_or(0);
        let mut cells = Vec::new();
        for round in 1..=rounds {
            for row in self.rows.iter().filter(|row| row.rounds >= round) {
                let count = row.subjects.len().max(1);
                let turned = row.subjects.iter().cycle().skip((round - 1) % count).take(count);
                let cell = |subject| Cell { workload: &row.workload, subject, round };
                cells.extend(turned.filter(|_| !row.subjects.is_empty()).map(|name| cell(name)));
            }
        }
        cells
    }
}

/// Where a run works: a folder of its own, which goes with it.
#[derive(Debug)]
pub struct Workplace {
    folder: TempDir,
}

/// How the folder is called, with something behind it.
pub const FOLDER: &str = ".kvlogdb-compare-";

impl Workplace {
    /// Makes the folder in `dir`, which is there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where nothing can be written; nothing is left then.
    pub fn new(dir: &Path) -> Result<Self> {
        let made = tempfile::Builder::new().prefix(FOLDER).tempdir_in(dir);
        let doing = || format!("write in {}", dir.display());
        Ok(Self { folder: made.map_err(|error| Error::io(doing(), error))? })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Ends whatever measures now and removes the folder of a run, from another thread.
pub fn stop(folder: &Path) {
    child::stop();
    // A process that is only just ending may still be writing.
    for _ in 0..20 {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Measures what a plan asks for.
#[derive(Debug)]
pub struct Run {
    place: Workplace,
    plan: Plan,
    record: Record,
    writer: Writer,
    /// How many measurements may still be made again.
    again: usize,
}

impl Run {
    /// Begins a run, or goes on with the one that `resume` has of the same plan. The record goes
    /// to the file `to`, if there is one.
    pub fn begin(
        place: Workplace,
        plan: Plan,
        header: Header,
        to: Option<&Path>,
        resume: Option<Record>,
    ) -> Result<Self> {
        let (record, writer) = match (resume, to) {
            (Some(record), Some(to)) => {
                let writer = Writer::resume(to, &record)?;
                (record, writer)
            }
            (_, to) => {
                let writer = Writer::create(to, &header)?;
                (Record { header, cells: Vec::new() }, writer)
            }
        };
        let again = plan.cells().len().div_ceil(AGAIN_PART);
        Ok(Self { place, plan, record, writer, again })
    }

    /// Measures everything that is not in the record yet. `watch` is told of every cell before.
    pub fn measure(mut self, watch: &mut dyn FnMut(&Cell<'_>, usize, usize)) -> Result<Record> {
        let plan = self.plan.clone();
        let cells = plan.cells();
        for (at, cell) in cells.iter().enumerate() {
            watch(cell, at, cells.len());
            if self.record.find(cell.subject, &cell.workload.name(), cell.round).is_some() {
                continue;
            }
            let record = self.cell(cell)?;
            self.writer.cell(&record)?;
            self.record.cells.push(record);
        }
        Ok(self.record)
    }

    /// Measures one cell, again while the disk changes under it.
    fn cell(&mut self, cell: &Cell<'_>) -> Result<CellRecord> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let load = machine::load();
            let before = probe(self.place.path(), PROBE)?;
            let outcome = self.attempt(cell);
            let after = probe(self.place.path(), PROBE)?;
            let us = |time: Duration| time.as_secs_f64() * 1e6;
            let steady = agree(us(before), us(after));
            if outcome.is_ok() && !steady && attempts < MAX_ATTEMPTS && self.again > 0 {
                self.again -= 1;
                continue;
            }
            return Ok(CellRecord {
                subject: cell.subject.to_owned(),
                name: cell.workload.name(),
                workload: cell.workload.clone(),
                round: cell.round,
                outcome: match outcome {
                    Ok(measured) => Outcome::Measured(Box::new(measured)),
                    Err(error) => Outcome::Failed(error.in_full()),
                },
                probe_before_us: us(before),
                probe_after_us: us(after),
                attempts,
                counted: self.counted(cell)?,
                load,
            });
        }
    }

    fn attempt(&self, cell: &Cell<'_>) -> Result<crate::Measured> {
        let scratch = Scratch::new(self.place.path())?;
        let spec = self.spec(cell, scratch.path.clone());
        child::measure(&spec)
    }

    fn spec(&self, cell: &Cell<'_>, dir: PathBuf) -> CellSpec {
        CellSpec {
            subject: cell.subject.to_owned(),
            workload: cell.workload.clone(),
            dir,
            seed: self.plan.seed,
            settings: self.plan.settings.clone(),
            mode: Mode::Measure,
        }
    }

    /// Counts the sync calls of a durable workload: in its first round, and then it is known.
    fn counted(&self, cell: &Cell<'_>) -> Result<Option<Counted>> {
        if !cell.workload.is_durable() {
            return Ok(None);
        }
        let name = cell.workload.name();
        let same = |record: &&CellRecord| record.subject == cell.subject && record.name == name;
        if let Some(known) = self.record.cells.iter().find(same) {
            return Ok(known.counted);
        }
        let scratch = Scratch::new(self.place.path())?;
        let spec = self.spec(cell, scratch.path.clone());
        match child::count_syncs(&spec, self.place.path()) {
            // A cell that fails says so where it is measured.
            Err(Error::Child(_)) => Ok(None),
            other => other,
        }
    }
}

/// The directory of one cell, removed with it.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(place: &Path) -> Result<Self> {
        let path = place.join("cell");
        // What an interrupted one has left.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(|error| Error::io("make a cell's directory", error))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The workplace is removed as a whole at the end.
        let _ = fs::remove_dir_all(&self.path);
    }
}
