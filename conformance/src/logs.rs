//! A store of logs on the engine under test, with its sidecar beside it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use kvlogdb_engine_api::{KvLogDb, WriteBatch};
use kvlogdb_log::{
    CheckReport, Durability, Entry, FlushPolicy, HardState, Log, LogBatch, LogId, LogOptions,
    LogStore, ReplicaId, Result,
};

use crate::env::{Env, batch};
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::mode::Mode;
use crate::recorder::Writes;
use crate::view::{View, same_views, views};

/// The replica that most cases write to.
pub(crate) const R: ReplicaId = ReplicaId { group: 7, node: 0 };
/// Its neighbour: in byte order, no key stands between theirs.
pub(crate) const N: ReplicaId = ReplicaId { group: 7, node: 1 };

/// Adds changes to a batch and hands it on, so that calls can be chained.
pub(crate) trait Fill: for<'a> FnOnce(&'a mut LogBatch) -> &'a mut LogBatch {}

impl<F: for<'a> FnOnce(&'a mut LogBatch) -> &'a mut LogBatch> Fill for F {}

/// An open store of logs, and what opens it again.
#[derive(Debug)]
pub(crate) struct Logs<'a> {
    env: &'a Env,
    options: LogOptions,
    writes: Writes,
    store: LogStore,
}

impl<'a> Logs<'a> {
    /// Opens the case's store with the defaults and a sidecar.
    pub(crate) fn open(env: &'a Env) -> Checked<Self> {
        let (options, writes) = (options(env), Writes::default());
        let store = open_in(env, &options, &writes).during("opening the logs")?;
        Ok(Self { env, options, writes, store })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.env.subject().mode()
    }

    pub(crate) fn store(&self) -> &LogStore {
        &self.store
    }

    pub(crate) fn log(&self, replica: ReplicaId) -> Log {
        self.store.log(replica)
    }

    /// What the log has asked of the engine.
    pub(crate) fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Applies what `fill` puts into a batch, Buffered.
    pub(crate) fn write(&self, fill: impl Fill) -> Checked {
        self.try_write(fill).during("writing a batch")
    }

    /// As [`write`](Self::write), with the log's own answer.
    pub(crate) fn try_write(&self, fill: impl Fill) -> Result<()> {
        self.write_with(fill, Durability::Buffered)
    }

    /// Applies what `fill` puts into a batch, Synced.
    pub(crate) fn synced(&self, fill: impl Fill) -> Checked {
        self.write_with(fill, Durability::Synced).during("writing a batch")
    }

    fn write_with(&self, fill: impl Fill, durability: Durability) -> Result<()> {
        let mut batch = LogBatch::new();
        fill(&mut batch);
        self.store.write(&batch, durability)
    }

    /// The log's answer to a batch that must change nothing.
    pub(crate) fn unchanged(&self, fill: impl Fill) -> Checked<Result<()>> {
        let before = self.views()?;
        let answer = self.try_write(fill);
        same_views(&self.views()?, &before).during("a batch that must change nothing")?;
        Ok(answer)
    }

    /// Appends entries of one term, Buffered.
    pub(crate) fn fill(
        &self,
        replica: ReplicaId,
        term: u64,
        indexes: RangeInclusive<u64>,
    ) -> Checked {
        self.write(|batch| batch.append(replica, run(replica, term, indexes)))
    }

    /// Applies a batch, Buffered.
    pub(crate) fn apply(&self, batch: &LogBatch) -> Checked {
        self.store.write(batch, Durability::Buffered).during("writing a batch")
    }

    /// Fails unless the engine comes to hold this many entries, those that wait for deletion
    /// included, within a few seconds.
    pub(crate) fn expect_stored(&self, entries: u64) -> Checked {
        let until = Instant::now() + Duration::from_secs(3);
        loop {
            let found = self.report()?.entries;
            if found == entries || Instant::now() > until {
                return expect_eq("entries in the engine", &found, &entries);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What every replica shows.
    pub(crate) fn views(&self) -> Checked<BTreeMap<ReplicaId, View>> {
        views(&self.store)
    }

    /// The result of a walk through the store.
    pub(crate) fn report(&self) -> Checked<CheckReport> {
        self.store.check().during("walking through the store")
    }

    /// Expects no damage, lets the store delete what waits for it, opens the store anew, and
    /// expects the same logs without damage.
    pub(crate) fn settle(&mut self) -> Checked {
        self.check_clean()?;
        let before = self.views()?;
        self.store.settle().during("deleting what waits for it")?;
        self.views().and_then(|after| same_views(&after, &before)).during("after deletion")?;
        self.reopen()?;
        self.views().and_then(|after| same_views(&after, &before)).during("after reopen")?;
        self.check_clean().during("after reopen")
    }

    fn check_clean(&self) -> Checked {
        let report = self.report()?;
        let found: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
        ensure!(report.is_clean(), "a walk through the store finds {found:?}");
        expect_eq("damaged replicas", &self.store.damaged()?, &Vec::new())
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(&mut self) -> Checked {
        self.reopen_as(|_| ())
    }

    /// Closes the store, and opens it again with changed options.
    pub(crate) fn reopen_as(&mut self, change: impl FnOnce(&mut LogOptions)) -> Checked {
        self.store.close().during("closing the logs")?;
        change(&mut self.options);
        self.try_open().during("opening the logs after a close")
    }

    /// Closes the store, and opens it again after `change` to what the engine holds.
    pub(crate) fn edit(
        &mut self,
        change: impl FnOnce(&dyn KvLogDb, &mut WriteBatch) -> Checked,
    ) -> Checked {
        self.close_and_edit(change)?;
        self.try_open().during("opening the logs after a change below them")
    }

    /// Closes the store and changes what its engine holds.
    pub(crate) fn close_and_edit(
        &mut self,
        change: impl FnOnce(&dyn KvLogDb, &mut WriteBatch) -> Checked,
    ) -> Checked {
        self.store.close().during("closing the logs")?;
        let engine = self.env.open()?;
        let mut edits = batch(|_| Ok(()))?;
        change(&*engine, &mut edits)?;
        engine.write(&[&edits], kvlogdb_engine_api::Durability::Synced).during("changing it")?;
        engine.close().during("closing the engine")
    }

    /// Opens the closed store; the log's own answer.
    pub(crate) fn try_open(&mut self) -> Result<()> {
        self.store = open_in(self.env, &self.options, &self.writes)?;
        Ok(())
    }

    pub(crate) fn options(&mut self) -> &mut LogOptions {
        &mut self.options
    }

    /// Where the sidecar lies.
    pub(crate) fn sidecar(&self) -> PathBuf {
        sidecar(self.env)
    }

    pub(crate) fn close(&self) -> Checked {
        self.store.close().during("closing the logs")
    }
}

/// Where the sidecar of the case's store lies.
fn sidecar(env: &Env) -> PathBuf {
    env.beside("SEQ")
}

/// Lets nothing be synced in the background while a case counts writes.
pub(crate) fn leave_alone(options: &mut LogOptions) {
    options.mark_interval = Duration::from_secs(3600);
    if let FlushPolicy::Batch { interval, .. } = &mut options.flush {
        *interval = Duration::from_secs(3);
    }
}

fn options(env: &Env) -> LogOptions {
    let mut options = env.subject().mode().options();
    options.sidecar = Some(sidecar(env));
    options
}

fn open_in(env: &Env, options: &LogOptions, writes: &Writes) -> Result<LogStore> {
    let (open, writes) = (env.opener(), writes.clone());
    LogStore::open(move || Ok(writes.of(open()?)), options.clone())
}

/// Opens the logs in another directory of the case, with the sidecar that belongs to them.
pub(crate) fn open_elsewhere(env: &Env, dir: &Path, sidecar: PathBuf) -> Result<LogStore> {
    let mut options = env.subject().mode().options();
    options.sidecar = Some(sidecar);
    let open = env.opener_in(dir);
    LogStore::open(move || open(), options)
}

/// Entries of one term whose payloads tell whose they are.
pub(crate) fn run(replica: ReplicaId, term: u64, indexes: RangeInclusive<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(replica, term, index)).collect()
}

/// An entry whose payload tells whose it is.
pub(crate) fn entry(replica: ReplicaId, term: u64, index: u64) -> Entry {
    Entry::new(term, index, format!("{replica}@{term}/{index}"))
}

pub(crate) const fn id(term: u64, index: u64) -> LogId {
    LogId::new(term, index)
}

/// Term, vote and commit index.
pub(crate) const fn hard_state(term: u64, vote: Option<u64>, commit: Option<u64>) -> HardState {
    HardState { term, vote, commit }
}

/// Fails unless the log holds exactly these entries, given as runs of one term.
pub(crate) fn expect_runs(log: &Log, runs: &[(u64, RangeInclusive<u64>)]) -> Checked {
    let one =
        |(term, indexes): &(u64, RangeInclusive<u64>)| run(log.replica(), *term, indexes.clone());
    let wanted: Vec<Entry> = runs.iter().flat_map(one).collect();
    let found = log.entries(.., u64::MAX).during("reading all entries")?;
    let ids = |entries: &[Entry]| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
    expect_eq(format_args!("ids of {}", log.replica()), &ids(&found), &ids(&wanted))?;
    expect_eq(format_args!("entries of {}", log.replica()), &found, &wanted)
}

/// Fails unless the log has this first index, last index and boundary.
pub(crate) fn expect_bounds(
    log: &Log,
    first: Option<u64>,
    last: Option<u64>,
    purged: Option<LogId>,
) -> Checked {
    let boundary = log.purged()?.map(|purged| purged.id);
    let found = (log.first_index()?, log.last_index()?, boundary);
    expect_eq("first, last and boundary", &found, &(first, last, purged))
}
