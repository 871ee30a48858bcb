//! What a record comes to: one row for each workload and store, over all rounds.

use crate::child::Counted;
use crate::measured::{MAIN, Measured, Phase};
use crate::record::{CellRecord, Outcome, Record};
use crate::stats::{Spread, float};
use crate::subject::CONTROL;
use crate::workload::{Work, Workload};

/// All rows of a record, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The rows.
    pub rows: Vec<SummaryRow>,
}

/// One store at one workload.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryRow {
    /// The store.
    pub subject: String,
    /// The workload's name.
    pub name: String,
    /// The workload.
    pub workload: Workload,
    /// Entries in a second.
    pub rate: Option<Spread>,
    /// The rate as a part of the control's, round by round.
    pub of_control: Option<Spread>,
    /// Median times of a call in microseconds: half of all, and 99 of 100, are shorter.
    pub p50_us: Option<Spread>,
    /// See [`p50_us`](Self::p50_us).
    pub p99_us: Option<Spread>,
    /// Bytes in pages sent to the disk, for each byte of payload.
    pub written_per_byte: Option<f64>,
    /// Bytes handed to the kernel, for each byte of payload.
    pub called_per_byte: Option<f64>,
    /// Bytes that the store takes on its disk, for each byte of payload that it was given.
    pub disk_per_byte: Option<f64>,
    /// Memory at the end.
    pub resident_bytes: Option<f64>,
    /// The most memory at any time.
    pub peak_bytes: Option<f64>,
    /// Counted sync calls.
    pub counted: Option<Counted>,
    /// In how many rounds the disk did not hold still, however often they were made again.
    pub unsteady: usize,
    /// How many measurements were made again because of it.
    pub again: usize,
    /// How many entries were read back and compared, in the last round.
    pub checked: u64,
    /// Why rounds failed.
    pub failures: Vec<String>,
}

impl Summary {
    /// Sums a record up.
    pub fn of(record: &Record) -> Self {
        let mut keys: Vec<(&str, &str)> = Vec::new();
        for cell in &record.cells {
            let key = (cell.name.as_str(), cell.subject.as_str());
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let row = |&(name, subject): &(&str, &str)| SummaryRow::of(record, name, subject);
        Self { rows: keys.iter().filter_map(row).collect() }
    }

    /// The row of a workload and a store.
    pub fn row(&self, name: &str, subject: &str) -> Option<&SummaryRow> {
        self.rows.iter().find(|row| row.name == name && row.subject == subject)
    }

    /// The names of the workloads, in their order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !names.contains(&row.name.as_str()) {
                names.push(&row.name);
            }
        }
        names
    }

    /// Whether a store was seen to sync each commit that a single writer waited for: `None` where
    /// that was not counted.
    pub fn syncs(&self, subject: &str) -> Option<bool> {
        let single = |row: &&SummaryRow| {
            row.subject == subject
                && matches!(row.workload.work, Work::Append { writers: 1, synced: true, .. })
        };
        let counted: Vec<Counted> =
            self.rows.iter().filter(single).filter_map(|row| row.counted).collect();
        if counted.is_empty() {
            return None;
        }
        Some(
            counted
                .iter()
                .all(|counted| counted.syncs > 0 && counted.syncs >= counted.acknowledged),
        )
    }
}

/// The figure of each round, paired with the one that it is held against. Where the work waits for
/// syncs, rounds in which the disk was not the same for both are left out.
pub(crate) fn ratios(
    record: &Record,
    (name, subject): (&str, &str),
    (other_name, other_subject): (&str, &str),
    figure: impl Fn(&Measured) -> Option<f64>,
) -> Option<Spread> {
    let mut ratios = Vec::new();
    for cell in record.cells.iter().filter(|cell| cell.name == name && cell.subject == subject) {
        let Some(other) = record.find(other_subject, other_name, cell.round) else { continue };
        let figures = cell.measured().and_then(&figure).zip(other.measured().and_then(&figure));
        if let Some((one, other_figure)) = figures
            && other_figure > 0.0
            && (!cell.workload.is_durable() || cell.is_comparable(other))
        {
            ratios.push(one / other_figure);
        }
    }
    Spread::of(&ratios)
}

impl Record {
    /// One store's rate as a part of another's, or of its own at another workload, round by round.
    pub fn rate_ratio(&self, of: (&str, &str), to: (&str, &str)) -> Option<Spread> {
        ratios(self, of, to, |measured| measured.main().map(Phase::rate))
    }

    /// A figure of one store at one workload over all rounds.
    pub fn figure(
        &self,
        (name, subject): (&str, &str),
        figure: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<Spread> {
        let cells = self.cells.iter().filter(|cell| cell.name == name && cell.subject == subject);
        let figures: Vec<f64> = cells.filter_map(CellRecord::measured).filter_map(figure).collect();
        Spread::of(&figures)
    }
}

impl SummaryRow {
    fn of(record: &Record, name: &str, subject: &str) -> Option<Self> {
        let cells: Vec<&CellRecord> =
            record.cells.iter().filter(|c| c.name == name && c.subject == subject).collect();
        let first = cells.first()?;
        let key = (name, subject);
        let main = |figure: fn(&Phase) -> f64| {
            record.figure(key, move |measured| measured.phases.get(MAIN).map(figure))
        };
        let per_byte = |bytes: fn(&Measured) -> Option<u64>| {
            let figure = move |measured: &Measured| {
                let payload = float(measured.payload_bytes);
                bytes(measured).filter(|_| payload > 0.0).map(|bytes| float(bytes) / payload)
            };
            record.figure(key, figure).map(|spread| spread.median)
        };
        let memory = |bytes: fn(&Measured) -> Option<u64>| {
            record
                .figure(key, move |measured| bytes(measured).map(float))
                .map(|spread| spread.median)
        };
        let failure = |cell: &&CellRecord| match &cell.outcome {
            Outcome::Failed(why) => Some(why.clone()),
            Outcome::Measured(_) => None,
        };
        let writes = !matches!(first.workload.work, Work::Get { .. } | Work::CatchUp { .. });
        Some(Self {
            subject: subject.to_owned(),
            name: name.to_owned(),
            workload: first.workload.clone(),
            rate: main(Phase::rate),
            of_control: record.rate_ratio(key, (name, CONTROL)),
            p50_us: main(|phase| phase.latency.at(50.0)),
            p99_us: main(|phase| phase.latency.at(99.0)),
            written_per_byte: per_byte(|m| Some(m.written?.disk_bytes)).filter(|_| writes),
            called_per_byte: per_byte(|m| Some(m.written?.called_bytes)).filter(|_| writes),
            disk_per_byte: per_byte(|m| Some(m.disk_bytes)),
            resident_bytes: memory(|m| Some(m.resident?.bytes)),
            peak_bytes: memory(|m| Some(m.resident?.peak_bytes)),
            counted: cells.iter().find_map(|cell| cell.counted),
            unsteady: cells.iter().filter(|cell| !cell.is_steady()).count(),
            again: cells.iter().map(|cell| cell.attempts.saturating_sub(1)).sum(),
            checked: cells.last()?.measured().map_or(0, |measured| measured.checked),
            failures: cells.iter().filter_map(failure).collect(),
        })
    }

    /// Sync calls for each commit that was acknowledged.
    pub fn syncs_per_commit(&self) -> Option<f64> {
        let counted = self.counted.filter(|counted| counted.acknowledged > 0)?;
        Some(float(counted.syncs) / float(counted.acknowledged))
    }
}
