//! What the tests of the log share: a store that can be closed, cut and edited, and what of a log
//! can be seen from outside.
#![allow(dead_code, reason = "every test file uses its own part of this")]

pub(crate) mod faulty;
pub(crate) mod raw;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use kvlogdb_conformance::reference::Reference;
use kvlogdb_engine_api::{Error as EngineError, KvLogDb, MemoryDisk, WriteBatch};
use kvlogdb_log::{
    Accepted, Boundary, CheckReport, Durability, Entry, Error, FlushPolicy, HardState, Leader, Log,
    LogBatch, LogId, LogOptions, LogStore, Problem, ReplicaId, Result, Snapshot, Strategy,
    WhenFull,
};

use faulty::{Faults, Faulty};

/// The replica that most tests write to.
pub(crate) const R: ReplicaId = ReplicaId { group: 7, node: 0 };
/// A neighbour, whose keys stand right behind those of [`R`].
pub(crate) const N: ReplicaId = ReplicaId { group: 7, node: 1 };

/// A store on a disk in memory, with everything needed to break it.
pub(crate) struct Rig {
    pub(crate) disk: MemoryDisk,
    pub(crate) options: LogOptions,
    pub(crate) faults: Arc<Faults>,
    engine: Arc<Mutex<Weak<Faulty>>>,
    store: Option<LogStore>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(unhurried())
    }

    pub(crate) fn with(options: LogOptions) -> Self {
        let mut rig = Self {
            disk: MemoryDisk::default(),
            options,
            faults: Arc::default(),
            engine: Arc::default(),
            store: None,
        };
        rig.open().unwrap();
        rig.faults.take_writes();
        rig
    }

    /// A store whose log holds `ids`, one entry each.
    pub(crate) fn holding(ids: &[(u64, u64)]) -> Self {
        let rig = Self::new();
        for &(term, index) in ids {
            rig.log().append(vec![entry(term, index)], Durability::Synced).unwrap();
        }
        rig
    }

    /// The store, which is open.
    pub(crate) fn store(&self) -> &LogStore {
        self.store.as_ref().expect("an open store")
    }

    pub(crate) fn log(&self) -> Log {
        self.store().log(R)
    }

    /// Applies what `fill` puts into a batch.
    pub(crate) fn write(&self, fill: impl Fill) -> Result<()> {
        let mut batch = LogBatch::new();
        fill(&mut batch);
        self.store().write(&batch, Durability::Synced)
    }

    /// Has a batch accepted without waiting for its end.
    pub(crate) fn submit(&self, fill: impl Fill) -> Accepted {
        self.store().submit(&batch(fill), WhenFull::Busy).unwrap()
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        self.close();
        self.open()
    }

    pub(crate) fn close(&mut self) {
        if let Some(store) = self.store.take() {
            store.close().unwrap();
        }
    }

    pub(crate) fn open(&mut self) -> Result<()> {
        let (disk, engine, faults) =
            (self.disk.clone(), Arc::clone(&self.engine), Arc::clone(&self.faults));
        let opener = move || {
            let opened = Arc::new(Faulty::new(disk.open()?, Arc::clone(&faults)));
            *engine.lock().unwrap() = Arc::downgrade(&opened);
            Ok(opened as Arc<dyn KvLogDb>)
        };
        self.store = Some(LogStore::open(opener, self.options.clone())?);
        Ok(())
    }

    /// Ends the engine without a sync, under whoever uses it.
    pub(crate) fn end_engine(&self) {
        self.engine.lock().unwrap().upgrade().expect("an open engine").cut_power();
    }

    /// Ends the engine without a sync and opens the store on what is left.
    pub(crate) fn cut_power(&mut self) -> Result<()> {
        self.end_engine();
        let store = self.store.take().expect("an open store");
        assert!(matches!(store.sync(), Err(Error::Engine(EngineError::Poisoned { .. }))));
        drop(store);
        self.open()
    }

    /// Changes what the closed store's engine holds.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&dyn KvLogDb, &mut WriteBatch)) {
        self.close();
        let engine = self.disk.open().unwrap();
        let mut batch = WriteBatch::new();
        change(&engine, &mut batch);
        engine.write(&[&batch], Durability::Synced).unwrap();
        engine.close().unwrap();
    }

    /// Checks the store, opens it anew, and checks again; what it shows must not change.
    pub(crate) fn settle(&mut self) {
        let before = self.views();
        assert_clean(self.store());
        self.store().settle().unwrap();
        assert_eq!(self.store().waiting_for_deletion(), 0);
        assert_eq!(self.views(), before, "another log after the deletions");
        self.reopen().unwrap();
        assert_eq!(self.views(), before, "another log after reopening");
        assert_clean(self.store());
    }

    /// What every replica shows.
    pub(crate) fn views(&self) -> Vec<(ReplicaId, View)> {
        let ids = self.store().replicas().unwrap();
        ids.into_iter().map(|id| (id, view(&self.store().log(id)))).collect()
    }

    /// Expects that a batch is refused and changes nothing; gives the refusal.
    pub(crate) fn refused(&self, fill: impl Fill) -> Error {
        let before = self.views();
        let answer = self.write(fill);
        assert_eq!(self.views(), before, "a refused batch has changed something");
        assert_clean(self.store());
        answer.expect_err("the batch is accepted")
    }
}

/// Options with which nothing is marked or synced in the background within the time of a test.
pub(crate) fn unhurried() -> LogOptions {
    let mut options = LogOptions::default();
    options.mark_interval = Duration::from_secs(3600);
    options
}

/// As [`unhurried`], with commits that begin at once.
pub(crate) fn immediate() -> LogOptions {
    let mut options = unhurried();
    options.flush = FlushPolicy::Immediate;
    options
}

/// Every strategy with every policy, with room for whatever a test writes.
pub(crate) fn modes() -> impl Iterator<Item = (Strategy, FlushPolicy)> + Clone {
    let interval = Duration::from_millis(1);
    let policies = [
        FlushPolicy::Immediate,
        FlushPolicy::Adaptive,
        FlushPolicy::Batch { entries: 10, interval },
    ];
    let strategies = [Strategy::DiskFirst, Strategy::MemFirst { memory_bytes: 1 << 30 }];
    strategies.into_iter().flat_map(move |strategy| policies.map(|policy| (strategy, policy)))
}

/// A batch with what `fill` puts into it.
pub(crate) fn batch(fill: impl Fill) -> LogBatch {
    let mut batch = LogBatch::new();
    fill(&mut batch);
    batch
}

/// Whether a call is refused because the engine has failed.
pub(crate) fn is_poisoned<T>(answer: &Result<T>) -> bool {
    matches!(answer, Err(Error::Engine(EngineError::Poisoned { .. })))
}

/// Puts changes into a batch and hands it on, so that calls can be chained.
pub(crate) trait Fill: for<'a> FnOnce(&'a mut LogBatch) -> &'a mut LogBatch {}

impl<F: for<'a> FnOnce(&'a mut LogBatch) -> &'a mut LogBatch> Fill for F {}

/// A change to a batch, one of several kinds.
pub(crate) type Step<'a> = &'a dyn for<'b> Fn(&'b mut LogBatch) -> &'b mut LogBatch;

/// All that a log shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<Boundary>,
    pub(crate) len: u64,
    pub(crate) purged: Option<Boundary>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) ids: Vec<Boundary>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Option<Bytes>,
    pub(crate) slots: Vec<Option<Bytes>>,
}

pub(crate) fn view(log: &Log) -> View {
    let entries = log.entries(.., u64::MAX).unwrap();
    let last = log.last().unwrap();
    assert_eq!(log.last_index().unwrap(), last.as_ref().map(|last| last.id.index));
    assert_eq!(log.is_empty().unwrap(), entries.is_empty());
    let scanned: Vec<_> = log.scan(..).map(Result::unwrap).collect();
    assert_eq!(scanned, entries);
    View {
        first: log.first_index().unwrap(),
        last,
        len: log.len().unwrap(),
        purged: log.purged().unwrap(),
        ids: entries.iter().map(|entry| log.id(entry.id.index).unwrap()).collect(),
        entries,
        hard_state: log.hard_state().unwrap(),
        snapshot: log.snapshot().unwrap(),
        applied: log.applied().unwrap(),
        membership: log.membership().unwrap(),
        slots: [256, 257, u16::MAX].map(|slot| log.slot(slot).unwrap()).to_vec(),
    }
}

/// An entry whose payload tells term and index.
pub(crate) fn entry(term: u64, index: u64) -> Entry {
    Entry::new(term, index, format!("payload {term}/{index}"))
}

/// Entries of one term.
pub(crate) fn run(term: u64, range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index)).collect()
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId::new(term, index)
}

pub(crate) fn led(term: u64, index: u64, leader: &'static str) -> Boundary {
    Boundary { id: id(term, index), leader: Leader::new(leader).unwrap() }
}

pub(crate) fn hard_state(term: u64, vote: Option<u64>, commit: Option<u64>) -> HardState {
    HardState { term, vote, commit }
}

/// The (term, index) of every entry that can be read.
pub(crate) fn ids(log: &Log) -> Vec<(u64, u64)> {
    let entries = log.entries(.., u64::MAX).unwrap();
    for found in &entries {
        assert_eq!(*found, entry(found.id.term, found.id.index), "another payload");
    }
    entries.iter().map(|entry| (entry.id.term, entry.id.index)).collect()
}

/// The (term, index) of the boundary.
pub(crate) fn purged(log: &Log) -> Option<(u64, u64)> {
    log.purged().unwrap().map(|purged| (purged.id.term, purged.id.index))
}

/// A test that fails at a shut gate ends.
impl Drop for Rig {
    fn drop(&mut self) {
        self.faults.gate.open();
    }
}

/// Runs `work` on a thread of its own and fails where it does not end.
pub(crate) fn within_patience<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(Duration::from_secs(20)) {
        Ok(answer) => answer,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
        Err(_) => std::panic::resume_unwind(thread.join().expect_err("a panic")),
    }
}

/// Waits a little for what may not come, because the thread that would do it is busy.
pub(crate) fn soon(done: impl Fn() -> bool) -> bool {
    let began = std::time::Instant::now();
    while !done() && began.elapsed() < Duration::from_millis(200) {
        std::thread::yield_now();
    }
    done()
}

/// Waits for what a thread of the store does on its own.
pub(crate) fn eventually(done: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not happen");
        std::thread::yield_now();
    }
}

pub(crate) fn assert_clean(store: &LogStore) {
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{}", described(&report));
}

pub(crate) fn described(report: &CheckReport) -> String {
    let line = |problem: &Problem| format!("{:?}: {problem}", problem.kind);
    report.problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Numbers that look random and come back with their seed (`SplitMix64`).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What a log of this state shows.
pub(crate) fn wanted(state: &Reference) -> View {
    let ids = state.ids();
    let entries: Vec<_> = state.entries().cloned().collect();
    View {
        first: state.first_index(),
        last: state.last(),
        len: entries.len() as u64,
        purged: state.purged().cloned(),
        ids: ids[ids.len() - entries.len()..].to_vec(),
        entries,
        hard_state: state.hard_state(),
        snapshot: state.snapshot().cloned(),
        applied: state.applied(),
        membership: state.membership().cloned(),
        slots: [256, 257, u16::MAX].map(|slot| state.slot(slot).cloned()).to_vec(),
    }
}
