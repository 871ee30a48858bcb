//! A run: every cell, round after round, with the disk's own state beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    /// How long the rounds may take together; the first is made whatever it takes.
    pub budget: Option<Duration>,
    /// Where sync calls are counted.
    pub counting: Counting,
}

/// Where sync calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Where one writer waits for each commit: enough to know whether a store syncs.
    OneWriter,
    /// At everything durable.
    Durable,
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
    /// Held, not read: as long as it is, nobody else removes the folder.
    _owner: File,
}

/// How the folder is called, with something behind it.
pub const FOLDER: &str = ".kvlogdb-compare-";
/// The file in it that is locked for as long as it is in use.
const OWNER: &str = "OWNER";

impl Workplace {
    /// Makes the folder in `dir`, which is there, and removes those that a kill has left.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where nothing can be written; nothing is left then.
    pub fn new(dir: &Path) -> Result<Self> {
        remove_leftovers(dir);
        let failed = |error| Error::io(format!("write in {}", dir.display()), error);
        let made = tempfile::Builder::new().prefix(FOLDER).tempdir_in(dir);
        let folder = made.map_err(failed)?;
        let owner = File::create(folder.path().join(OWNER)).map_err(failed)?;
        owner.try_lock().map_err(|error| failed(error.into()))?;
        Ok(Self { folder, _owner: owner })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of runs that ended without a chance to. What cannot be removed stays.
fn remove_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(FOLDER) {
            continue;
        }
        let owner = File::open(entry.path().join(OWNER));
        if owner.is_ok_and(|owner| owner.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Ends whatever measures now and removes the folder of a run, from another thread.
pub fn stop(folder: &Path) {
    child::stop();
    // A process that is only just ending may still be writing.
    for _ in 0..50 {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Measures what a plan asks for.
#[derive(Debug)]
pub struct Run<'a> {
    place: &'a Workplace,
    plan: Plan,
    record: Record,
    writer: Writer,
    /// How many measurements may still be made again.
    again: usize,
}

impl<'a> Run<'a> {
    /// Begins a run, or goes on with the one that `resume` has of the same plan. The record goes
    /// to the file `to`, if there is one.
    pub fn begin(
        place: &'a Workplace,
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
        let (began, mut round_began, mut round) = (Instant::now(), Instant::now(), 1);
        for (at, cell) in cells.iter().enumerate() {
            if cell.round > round {
                let took = round_began.elapsed();
                if plan.budget.is_some_and(|budget| began.elapsed() + took > budget) {
                    break;
                }
                (round, round_began) = (cell.round, Instant::now());
            }
            if plan.budget.is_some_and(|budget| began.elapsed() > budget / 2) {
                self.again = 0;
            }
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
            if child::is_stopped() {
                return Err(Error::Stopped);
            }
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
        let counts = match self.plan.counting {
            Counting::OneWriter => cell.workload.has_one_writer(),
            Counting::Durable => cell.workload.is_durable(),
        };
        if !counts {
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
        // It goes with the folder of the run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Wishes;
    use crate::tests::workload;

    #[test]
    fn every_round_has_every_store_and_begins_with_another() {
        let row = Row {
            workload: workload(),
            subjects: ["a", "b", "c"].map(str::to_owned).to_vec(),
            rounds: 2,
        };
        let plan = Plan { rows: vec![row], ..Wishes::default().plan(&[]) };
        let cells: Vec<_> = plan.cells().iter().map(|cell| (cell.round, cell.subject)).collect();
        assert_eq!(cells, [(1, "a"), (1, "b"), (1, "c"), (2, "b"), (2, "c"), (2, "a")]);
    }

    #[test]
    fn a_folder_goes_with_its_run_and_one_left_by_a_kill_with_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(format!("{FOLDER}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(OWNER), b"").unwrap();
        let first = Workplace::new(dir.path()).unwrap();
        assert!(!left.exists());
        let second = Workplace::new(dir.path()).unwrap();
        assert!(first.path().exists(), "it is in use");
        drop((first, second));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
