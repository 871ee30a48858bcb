//! Walks a whole store and names every invariant that does not hold.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use kvlogdb_engine_api::{Error as EngineError, KvLogDb, LogName, Order, ReplicaId};

use crate::record::{Header, slot};
use crate::recover::Metadata;
use crate::sidecar::{Reading, Sidecar};
use crate::state::Replica;
use crate::{Error, Result};

/// The most problems that a report lists; the others are counted.
pub const MAX_PROBLEMS: usize = 1000;
/// How many bytes of records one view of the engine brings.
const PAGE_BYTES: usize = 1 << 20;

/// What a walk through a store found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// How many entries were read.
    pub entries: u64,
    /// The replicas that have metadata, in order.
    pub replicas: Vec<CheckedReplica>,
    /// What is wrong, at most [`MAX_PROBLEMS`] of it.
    pub problems: Vec<Problem>,
    /// How many problems more there are.
    pub more_problems: u64,
}

/// How far one replica's log is intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedReplica {
    /// The replica.
    pub replica: ReplicaId,
    /// The first index that its state names, `None` for a log without entries.
    pub first: Option<u64>,
    /// The last index found.
    pub last: Option<u64>,
    /// The index up to which, from the first on, every entry is present and intact.
    pub intact_through: Option<u64>,
}

/// One invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Which invariant.
    pub kind: ProblemKind,
    /// The replica, where it concerns one.
    pub replica: Option<ReplicaId>,
    /// The index, where it concerns one entry.
    pub index: Option<u64>,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(replica) = self.replica {
            write!(f, "replica {replica}: ")?;
        }
        if let Some(index) = self.index {
            write!(f, "index {index}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// The invariants of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The engine's own structures hold together.
    Engine,
    /// The store has its own record.
    StoreRecord,
    /// The sidecar can be read, and the engine is not behind it.
    Sidecar,
    /// Metadata records are intact and known, and a replica's state does not contradict itself.
    Metadata,
    /// Entry records are intact and stand under their own key.
    Record,
    /// Entries follow one another without holes, as far as the state says.
    Hole,
    /// Entries have the term that the state says.
    Term,
    /// Every entry states the size of the log up to it.
    LogBytes,
    /// The clock of appends never goes back.
    Clock,
    /// The commit index is not behind the end of the log.
    Commit,
    /// Every entry belongs to a log or waits for deletion.
    Orphan,
}

/// Walks the store under `engine`, and its sidecar where it has one. Nothing is changed; writes
/// that run meanwhile can look like problems.
///
/// # Errors
///
/// Failures of the engine and of the file system. Damage is in the report.
pub fn check(engine: &dyn KvLogDb, sidecar: Option<&Path>) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    if let Some(what) = damage(engine.verify())? {
        report.add(ProblemKind::Engine, None, None, what);
    }
    let metadata = match Metadata::read(engine) {
        Err(Error::Engine(EngineError::Corrupt { what, .. })) => {
            report.add(ProblemKind::Metadata, None, None, what);
            return Ok(report);
        }
        other => other?,
    };
    check_store(&metadata, sidecar, &mut report)?;
    let mut logs = BTreeSet::new();
    let listed = engine.logs(&mut |log| {
        logs.insert(log);
        ControlFlow::Continue(())
    });
    if let Some(what) = damage(listed)? {
        report.add(ProblemKind::Engine, None, None, what);
    }
    for (&id, replica) in &metadata.replicas {
        check_replica(engine, id, replica, &mut logs, &mut report)?;
    }
    for log in logs {
        let known = metadata.replicas.get(&log.replica).and_then(|replica| replica.as_ref().ok());
        Walk::new(log, known, &mut report).run(engine)?;
    }
    Ok(report)
}

/// What an engine's answer says of damage.
fn damage(answer: Result<(), EngineError>) -> Result<Option<String>> {
    match answer {
        Ok(()) => Ok(None),
        Err(EngineError::Corrupt { what, .. }) => Ok(Some(what)),
        Err(other) => Err(other.into()),
    }
}

fn check_store(
    metadata: &Metadata,
    sidecar: Option<&Path>,
    report: &mut CheckReport,
) -> Result<()> {
    let reading = match sidecar {
        Some(path) => Sidecar::read(path)
            .map_err(|error| Error::Engine(EngineError::io("read the sidecar", error)))?,
        None => Reading::Missing,
    };
    let mark = match &metadata.store {
        Ok(Some(record)) => Some(record.mark),
        // An engine was made and no log was opened over it yet.
        Ok(None) if metadata.replicas.is_empty() && reading == Reading::Missing => return Ok(()),
        Ok(None) => {
            report.add(ProblemKind::StoreRecord, None, None, "the store's record is missing");
            None
        }
        Err(error) => {
            report.add(ProblemKind::StoreRecord, None, None, error.to_string());
            None
        }
    };
    let what = match reading {
        _ if sidecar.is_none() => return Ok(()),
        Reading::Missing => "the sidecar is missing".to_owned(),
        Reading::Damaged => "the sidecar cannot be read".to_owned(),
        Reading::Mark(expected) if mark.is_some_and(|mark| mark < expected) => {
            format!("the engine lost synced data: the sidecar is at mark {expected}")
        }
        Reading::Mark(_) => return Ok(()),
    };
    report.add(ProblemKind::Sidecar, None, None, what);
    Ok(())
}

/// Walks one replica's log and takes it off the list of logs that nobody has claimed.
fn check_replica(
    engine: &dyn KvLogDb,
    id: ReplicaId,
    replica: &Result<Replica, String>,
    logs: &mut BTreeSet<LogName>,
    report: &mut CheckReport,
) -> Result<()> {
    let mut checked = CheckedReplica { replica: id, first: None, last: None, intact_through: None };
    match replica {
        Err(what) => {
            report.add(ProblemKind::Metadata, Some(id), None, what.clone());
            // Whose the entries are cannot be told without the state; they are no orphans.
            logs.retain(|log| log.replica != id);
        }
        Ok(replica) if replica.slots.contains(&slot::STATE) => {
            let log = replica.log(id);
            logs.remove(&log);
            let mut walk = Walk::new(log, Some(replica), report);
            walk.run(engine)?;
            walk.end();
            checked.first = replica.runs.first();
            checked.last = walk.last;
            checked.intact_through = walk.intact_through;
            let end = walk.last.max(replica.purged_index());
            if let Some(commit) = replica.commit().filter(|&commit| Some(commit) > end) {
                let what = format!("the commit index {commit} is behind the end of the log");
                report.add(ProblemKind::Commit, Some(id), None, what);
            }
        }
        Ok(replica) => {
            if replica.exists() {
                report.add(ProblemKind::Metadata, Some(id), None, "its state record is missing");
            }
        }
    }
    report.replicas.push(checked);
    Ok(())
}

impl CheckReport {
    /// Whether every invariant holds.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    fn add(
        &mut self,
        kind: ProblemKind,
        replica: Option<ReplicaId>,
        index: Option<u64>,
        what: impl Into<String>,
    ) {
        if self.is_full() {
            self.more_problems += 1;
        } else {
            self.problems.push(Problem { kind, replica, index, what: what.into() });
        }
    }
}

/// A walk through all entries of one log.
struct Walk<'a> {
    log: LogName,
    /// The replica, where its records can be read.
    replica: Option<&'a Replica>,
    report: &'a mut CheckReport,
    /// The index that comes next in the log, once it has begun.
    next: Option<u64>,
    /// The last intact record, where it is the one just before.
    before: Option<Header>,
    last: Option<u64>,
    intact_through: Option<u64>,
    intact: bool,
}

impl<'a> Walk<'a> {
    fn new(log: LogName, replica: Option<&'a Replica>, report: &'a mut CheckReport) -> Self {
        let live = replica.filter(|replica| {
            replica.slots.contains(&slot::STATE) && replica.incarnation == log.incarnation
        });
        Self {
            log,
            replica,
            report,
            next: live.and_then(|replica| replica.runs.first()),
            before: None,
            last: None,
            intact_through: None,
            intact: true,
        }
    }

    fn run(&mut self, engine: &dyn KvLogDb) -> Result<()> {
        let mut from = Some(0);
        while let Some(first) = from.filter(|_| !self.report.is_full()) {
            let mut seen = None;
            let scanned = engine.scan(
                self.log,
                first..=u64::MAX,
                Order::Ascending,
                PAGE_BYTES,
                &mut |index, record| {
                    seen = Some(index);
                    self.visit(index, &record);
                    ControlFlow::Continue(())
                },
            );
            from = match damage(scanned)? {
                // A page that brought nothing was the end.
                None => seen.and_then(|last: u64| last.checked_add(1)),
                // The engine cannot say where it stumbled: behind the last entry that it brought.
                Some(what) => {
                    let at = seen.map_or(Some(first), |last| last.checked_add(1));
                    if let Some(index) = at {
                        self.broken(ProblemKind::Record, index, what);
                    }
                    at.and_then(|at| at.checked_add(1))
                }
            };
        }
        Ok(())
    }

    /// Reports what must follow the last entry and does not.
    fn end(&mut self) {
        let runs = self.replica.and_then(|replica| replica.runs.last_run());
        if let Some(run) = runs.filter(|run| self.last.is_none_or(|last| last < run.first)) {
            self.broken(ProblemKind::Hole, run.first, "the state names it and it is missing");
            return;
        }
        let end = self.last.max(self.replica.and_then(Replica::purged_index));
        let marked = self.replica.and_then(|replica| replica.marked);
        if let Some(index) = marked.filter(|&marked| Some(marked) > end) {
            self.broken(ProblemKind::Hole, index, "it was marked and it is missing");
        }
    }

    fn visit(&mut self, index: u64, record: &[u8]) {
        self.report.entries += 1;
        let waits = |replica: &Replica| {
            replica.trash.ranges().iter().any(|garbage| {
                garbage.incarnation == self.log.incarnation
                    && (garbage.first..=garbage.last).contains(&index)
            })
        };
        if self.replica.is_some_and(waits) {
            return;
        }
        let Some(next) = self.next.filter(|&next| next <= index) else {
            let what = format!("an entry of log {} belongs to nothing", self.log);
            self.report.add(ProblemKind::Orphan, Some(self.log.replica), Some(index), what);
            return;
        };
        if next < index {
            let what = format!("missing, and so is everything before index {index}");
            self.broken(ProblemKind::Hole, next, what);
            self.before = None;
        }
        self.last = Some(index);
        self.next = index.checked_add(1);
        match Header::decode(self.log.at(index), record) {
            Ok((header, _)) => self.visit_intact(index, header, record.len() as u64),
            Err(error) => {
                self.broken(ProblemKind::Record, index, error.to_string());
                self.before = None;
            }
        }
    }

    fn visit_intact(&mut self, index: u64, header: Header, record_bytes: u64) {
        let run = self.replica.and_then(|replica| replica.runs.at(index));
        if run.is_none_or(|run| run.term != header.term) {
            let what = format!("term {} is not the one in the state", header.term);
            self.broken(ProblemKind::Term, index, what);
        }
        let base = self
            .before
            .map_or(header.log_bytes.saturating_sub(record_bytes), |before| before.log_bytes);
        if base.checked_add(record_bytes) != Some(header.log_bytes) {
            let what = format!("{} log bytes follow {base}", header.log_bytes);
            self.broken(ProblemKind::LogBytes, index, what);
        }
        if self.before.is_some_and(|before| header.appended_at_ms < before.appended_at_ms) {
            self.broken(ProblemKind::Clock, index, "appended before the entry before it");
        }
        self.before = Some(header);
        if self.intact {
            self.intact_through = Some(index);
        }
    }

    fn broken(&mut self, kind: ProblemKind, index: u64, what: impl Into<String>) {
        self.intact = false;
        self.report.add(kind, Some(self.log.replica), Some(index), what);
    }
}
