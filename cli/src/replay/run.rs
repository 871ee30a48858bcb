//! Replaying a trace onto one engine, and looking at what it left.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use kvlogdb::{
    Durability, EngineKind, HardState, Log, LogBatch, LogId, Options, ReplicaId, Snapshot,
};

use super::trace::{Change, Commit, Defect, Expected, Trace};
use crate::exit::{Failure, with_causes};

/// Whose log the trace goes into.
pub(crate) const REPLICA: ReplicaId = ReplicaId { group: 1, node: 0 };

/// What became of a trace on one engine.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) engine: EngineKind,
    /// How many commits were made, each of them synced.
    pub(crate) commits: usize,
    pub(crate) expected: Expected,
    /// The state after closing and opening again.
    pub(crate) found: Summary,
    pub(crate) elapsed: Duration,
    pub(crate) disk_bytes: u64,
    /// How many sync calls the kernel saw, where they were counted.
    pub(crate) syncs: Option<u64>,
    /// The commit that the log refused, where it refused one.
    pub(crate) refused: Option<Defect>,
    /// Damage, and differences to the trace.
    pub(crate) findings: Vec<String>,
}

/// The end of a log and what is kept beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) first_index: Option<u64>,
    pub(crate) last_index: Option<u64>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) snapshot: Option<LogId>,
}

/// Applies the trace to a new store in `dir`, closes it, opens it again and compares.
pub(crate) fn replay(
    engine: EngineKind,
    dir: &Path,
    trace: &Trace,
    bar: &ProgressBar,
) -> Result<Outcome, Failure> {
    let doing = format!("{engine} in {}", dir.display());
    let failed = |error: kvlogdb::Error| Failure::store(&doing, &error);
    let options = Options::new().engine(engine);
    let store = options.clone().open(dir).map_err(failed)?;
    if !store.replicas().map_err(failed)?.is_empty() {
        return Err(Failure::bad_input(format!("{doing} is not empty: replay needs a new store")));
    }
    let log = store.log(REPLICA);
    let began = Instant::now();
    let (applied, refused) = apply(&log, &trace.commits, Durability::Synced, bar)?;
    let elapsed = began.elapsed();
    store.close().map_err(failed)?;

    let store = options.open(dir).map_err(failed)?;
    let expected = Expected::of(trace.commits.get(..applied).unwrap_or_default());
    let mut findings = Vec::new();
    let report = store.check().map_err(failed)?;
    findings.extend(report.problems.iter().map(ToString::to_string));
    let log = store.log(REPLICA);
    let found = state(&log).map_err(failed)?;
    findings.extend(differences(&log, &found, &expected));
    let disk_bytes = store.disk_bytes().map_err(failed)?;
    store.close().map_err(failed)?;
    let (commits, syncs) = (applied, None);
    Ok(Outcome { engine, commits, expected, found, elapsed, disk_bytes, syncs, refused, findings })
}

/// Writes commit after commit: how many were made, and the one that the log's rules refused.
pub(crate) fn apply(
    log: &Log,
    commits: &[Commit],
    durability: Durability,
    bar: &ProgressBar,
) -> Result<(usize, Option<Defect>), Failure> {
    for (applied, commit) in commits.iter().enumerate() {
        let batch = to_batch(log.replica(), commit);
        match log.store().write(&batch, durability) {
            Ok(()) => bar.inc(1),
            Err(error @ kvlogdb::Error::Engine(_)) => {
                return Err(Failure::store("the replay failed", &error));
            }
            Err(error) => {
                let what = format!("is refused: {}", with_causes(&error));
                return Ok((applied, Some(Defect { line: *commit.lines.start(), what })));
            }
        }
    }
    Ok((commits.len(), None))
}

fn to_batch(replica: ReplicaId, commit: &Commit) -> LogBatch {
    let mut batch = LogBatch::new();
    let record = |id| Snapshot { id, data: bytes::Bytes::new() };
    for change in &commit.changes {
        match change {
            Change::Entries(entries) => batch.replace_from(replica, entries.clone()),
            Change::HardState(state) => batch.set_hard_state(replica, *state),
            Change::Snapshot(id) => batch.set_snapshot(replica, record(*id)),
            Change::Installed(id) => batch.set_snapshot(replica, record(*id)).install(replica, *id),
        };
    }
    batch
}

pub(crate) fn state(log: &Log) -> kvlogdb::Result<Summary> {
    Ok(Summary {
        first_index: log.first_index()?,
        last_index: log.last_index()?,
        hard_state: log.hard_state()?,
        snapshot: log.snapshot()?.map(|snapshot| snapshot.id),
    })
}

/// What the log holds otherwise than the trace says: the first difference of each sort.
pub(crate) fn differences(log: &Log, found: &Summary, expected: &Expected) -> Vec<String> {
    let mut differences = Vec::new();
    let wanted = Summary {
        first_index: expected.first_index(),
        last_index: expected.last_index(),
        hard_state: expected.hard_state,
        snapshot: expected.snapshot,
    };
    if *found != wanted {
        differences.push(format!("the state is {found:?}, and should be {wanted:?}"));
    }
    let mut wanted = expected.entries.values();
    let entries = log.scan(..).map(Some).chain(std::iter::once(None));
    for entry in entries {
        let difference = match (entry, wanted.next()) {
            (None, None) => None,
            (None, Some(wanted)) => Some(format!("the entry at {} is missing", wanted.id)),
            (Some(Err(error)), _) => Some(with_causes(&error)),
            (Some(Ok(entry)), Some(wanted)) if entry == *wanted => continue,
            (Some(Ok(entry)), _) => Some(format!("the entry at {} differs", entry.id)),
        };
        differences.extend(difference);
        break;
    }
    differences
}
