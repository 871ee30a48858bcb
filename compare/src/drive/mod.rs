//! Making a store work, and timing it. Runs in a process of its own.

mod append;
mod open;
mod purge;
mod read;
mod tail;
mod trace;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvlogdb::Durability;

use crate::cell::{CellSpec, Mode};
use crate::measured::{MAIN, Measured, Phase};
use crate::meter::{self, Resident, Written};
use crate::payload::Payloads;
use crate::store::{Store, Stores};
use crate::workload::Work;
use crate::{Error, Result, child};

pub use trace::{Step, write_steps};

/// The one group of the workloads that have one.
const GROUP: u64 = 1;
/// How many entries a commit has that prepares a measurement.
const LOAD_BATCH: usize = 256;
/// The most payload bytes that a measurement writes.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 1 << 28;
/// How many entries are read back at the most.
const MAX_CHECKED: u64 = 20_000;
/// The part of the time that is not counted, at the start.
const WARM_UP_PART: u32 = 8;
/// How long a counting run takes.
const COUNTING: Duration = Duration::from_millis(250);

/// What a measurement works with.
pub(crate) struct Bench<'a> {
    stores: &'a dyn Stores,
    pub(crate) spec: &'a CellSpec,
    pub(crate) payloads: Payloads,
}

/// The last index of each group that was written, and the first that is still there.
type Ends = BTreeMap<u64, (u64, u64)>;

/// What a driver hands back; the rest is the same for all.
#[derive(Default)]
struct Driven {
    phases: Vec<(&'static str, Phase)>,
    written: Option<Written>,
    payload_bytes: u64,
    disk_series: Vec<u64>,
    /// How many entries were compared already.
    checked: u64,
    /// The store, still open, and what it must hold.
    left: Option<(Arc<dyn Store>, Ends)>,
}

/// Runs one workload on one store, reads back what it wrote, and reports.
pub(crate) fn run(stores: &dyn Stores, spec: &CellSpec) -> Result<Measured> {
    let resident_before = Resident::now();
    let payloads = Payloads::new(spec.seed, spec.workload.entry_bytes);
    let bench = Bench { stores, spec, payloads };
    let driven = match &spec.workload.work {
        Work::Append { writers, groups, batch, synced } => {
            append::blocked(&bench, *writers, *groups, *batch, *synced)
        }
        Work::InFlight { commits, groups, batch } => {
            append::in_flight(&bench, *commits, *groups, *batch)
        }
        Work::Fill { entries, batch } => append::fill(&bench, *entries, *batch),
        Work::Get { entries, order } => read::get(&bench, *entries, *order),
        Work::CatchUp { entries, page } => read::catch_up(&bench, *entries, *page),
        Work::FollowTail { batch } => read::follow(&bench, *batch),
        Work::OverwriteTail { entries } => tail::overwrite(&bench, *entries),
        Work::AppendAndPurge { entries, batch, window, step } => {
            purge::behind_window(&bench, *entries, *batch, *window, *step)
        }
        Work::PurgeWhileAppending { entries } => purge::while_appending(&bench, *entries),
        Work::Reopen { entries, after } => open::reopen(&bench, *entries, *after),
        Work::ManyReplicas { groups } => open::many(&bench, *groups),
        Work::Trace { steps, .. } => trace::replay(&bench, steps),
    }?;
    let resident = Resident::now();
    let mut checked = driven.checked;
    let disk_bytes = meter::disk_bytes(&spec.dir);
    if let Some((store, ends)) = driven.left {
        checked += bench.check_and_close(store, &ends)?;
    }
    Ok(Measured {
        phases: driven.phases.into_iter().map(|(name, phase)| (name.to_owned(), phase)).collect(),
        payload_bytes: driven.payload_bytes,
        written: driven.written,
        disk_bytes,
        disk_series: driven.disk_series,
        resident,
        resident_before,
        checked,
    })
}

impl Bench<'_> {
    fn open(&self) -> Result<Arc<dyn Store>> {
        self.stores.open(&self.spec.subject, &self.spec.dir, &self.spec.settings)
    }

    fn dir(&self) -> &Path {
        &self.spec.dir
    }

    /// How long to measure, and how much of it does not count.
    fn window(&self) -> Window {
        let length = match self.spec.mode {
            Mode::Count => COUNTING,
            _ => Duration::from_millis(self.spec.workload.measure_ms),
        };
        let warm_up =
            if self.spec.mode == Mode::Count { Duration::ZERO } else { length / WARM_UP_PART };
        Window { began: Instant::now(), warm_up, length: warm_up + length }
    }

    /// A count of entries, or as many as a counting run takes.
    fn scaled(&self, entries: u64) -> u64 {
        if self.spec.mode == Mode::Count { entries.min(10_000) } else { entries }
    }

    /// The bytes of so many payloads.
    fn bytes_of(&self, entries: u64) -> u64 {
        entries.saturating_mul(self.spec.workload.entry_bytes as u64)
    }

    /// Appends entries `1..=entries` to the one group, and syncs.
    fn load(&self, store: &dyn Store, entries: u64) -> Result<()> {
        let mut next = 1;
        while next <= entries {
            let count = usize::try_from(entries - next + 1).unwrap_or(LOAD_BATCH).min(LOAD_BATCH);
            let payloads = self.payloads.make_many(GROUP, next, count);
            store.append(GROUP, next, &payloads, Durability::Buffered)?;
            next += count as u64;
        }
        store.sync()
    }

    /// Reads back and compares, closes, and where the store can be opened again, once more then.
    fn check_and_close(&self, store: Arc<dyn Store>, ends: &Ends) -> Result<u64> {
        let checked = match self.check(&*store, ends) {
            Err(Error::Unsupported(_)) => {
                store.close()?;
                return Ok(0);
            }
            other => other?,
        };
        store.close()?;
        drop(store);
        if crate::is_control(&self.spec.subject) {
            return Ok(checked);
        }
        let again = self.open()?;
        let checked = self.check(&*again, ends)?;
        again.close()?;
        Ok(checked)
    }

    /// Compares the end of every group's log, up to a sensible number of entries.
    fn check(&self, store: &dyn Store, ends: &Ends) -> Result<u64> {
        let each = (MAX_CHECKED / (ends.len() as u64).max(1)).max(1);
        let mut checked = 0;
        for (&group, &(first, last)) in ends {
            let found = store.last(group)?;
            if found != last {
                let what = "the log does not end where it was written to";
                return Err(Error::Wrong { group, index: found, what });
            }
            let from = first.max(last.saturating_sub(each - 1));
            let mut outcome = Ok(());
            let mut expected = from;
            let count = store.read(group, from, last + 1 - from, &mut |index, payload| {
                if outcome.is_ok() {
                    outcome = self.payloads.check(group, expected, payload);
                    if index != expected {
                        outcome = Err(Error::Wrong { group, index, what: "entries are missing" });
                    }
                }
                expected += 1;
            })?;
            outcome?;
            if count != last + 1 - from {
                return Err(Error::Wrong {
                    group,
                    index: from + count,
                    what: "an entry is missing",
                });
            }
            checked += count;
        }
        Ok(checked)
    }
}

/// Says to whoever counts system calls that the measurement begins.
fn begin() -> Option<Written> {
    child::mark(child::BEGIN);
    Written::now()
}

/// Says that it has ended; what was written meanwhile.
fn end(before: Option<Written>) -> Option<Written> {
    child::mark(child::END);
    Some(Written::now()?.since(before?))
}

/// The time in which a measurement runs.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    warm_up: Duration,
    length: Duration,
}

impl Window {
    fn is_over(&self) -> bool {
        self.began.elapsed() >= self.length
    }

    /// How far into the counted part `at` is; `None` before it.
    fn counted(&self, at: Instant) -> Option<Duration> {
        at.duration_since(self.began).checked_sub(self.warm_up)
    }

    /// How long the counted part has taken.
    fn elapsed(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.warm_up)
    }
}

/// One phase, which the row is about.
fn main_phase(phase: Phase) -> Vec<(&'static str, Phase)> {
    vec![(MAIN, phase)]
}
