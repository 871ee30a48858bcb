//! An engine that fails, panics or waits when it is told to.

use std::ops::RangeInclusive;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MemoryEngine, MetaKey, MetaVisitor, Operation, Order, Poison, Result, WriteBatch,
};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The write is not there, and the engine is poisoned.
    WriteLost,
    /// The write is there and durable, and the engine is poisoned all the same.
    WriteDone,
    /// The write is not there, and the engine panics.
    WritePanics,
    /// A read of an entry, of metadata or a scan fails with an I/O error.
    Read,
    /// Closing fails.
    Close,
}

/// Which call fails next.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// What fails, and after how many more calls of its kind.
    next: Mutex<Option<(Fault, u64)>>,
    /// The durability of every write since the last look.
    writes: Mutex<Vec<Durability>>,
    /// What every write since the last look removed: how many entries of ranges.
    removals: Mutex<Vec<u64>>,
    /// How many entries every write since the last look put.
    puts: Mutex<Vec<usize>>,
    pub(crate) gate: Gate,
}

/// Holds writes up until the test lets them go.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    shut: bool,
    /// How many writes may pass a gate that is shut.
    passes: usize,
    /// How many writes stand before it.
    waiting: usize,
}

/// Longer than anything takes that ends at all.
const PATIENCE: Duration = Duration::from_secs(20);

impl Gate {
    pub(crate) fn shut(&self) {
        self.state.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        *self.state.lock().unwrap() = GateState::default();
        self.changed.notify_all();
    }

    /// Lets one write go that waits or will.
    pub(crate) fn pass_one(&self) {
        self.state.lock().unwrap().passes += 1;
        self.changed.notify_all();
    }

    /// Waits until a write stands before the gate.
    pub(crate) fn await_writer(&self) {
        let state = self.state.lock().unwrap();
        let late = |state: &mut GateState| state.waiting <= state.passes;
        let (state, waited) = self.changed.wait_timeout_while(state, PATIENCE, late).unwrap();
        drop(state);
        assert!(!waited.timed_out(), "no write comes to the gate");
    }

    fn enter(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.shut && state.passes == 0).unwrap();
        state.waiting = state.waiting.saturating_sub(1);
        state.passes = state.passes.saturating_sub(1);
    }
}

impl Faults {
    /// Makes the call behind `passing` more of its kind fail.
    pub(crate) fn set(&self, fault: Fault, passing: u64) {
        *self.next.lock().unwrap() = Some((fault, passing));
    }

    pub(crate) fn clear(&self) {
        *self.next.lock().unwrap() = None;
    }

    /// The writes since this was last asked, by durability.
    pub(crate) fn take_writes(&self) -> Vec<Durability> {
        std::mem::take(&mut *self.writes.lock().unwrap())
    }

    /// How many entries each write since this was last asked removed, of those that removed any.
    pub(crate) fn take_removals(&self) -> Vec<u64> {
        std::mem::take(&mut *self.removals.lock().unwrap())
    }

    /// How many entries each write since this was last asked put.
    pub(crate) fn take_puts(&self) -> Vec<usize> {
        std::mem::take(&mut *self.puts.lock().unwrap())
    }

    fn note(&self, batches: &[&WriteBatch], durability: Durability) {
        let is_put = |operation: &Operation<'_>| matches!(operation, Operation::PutEntry { .. });
        let operations = || batches.iter().flat_map(|batch| batch.operations());
        self.puts.lock().unwrap().push(operations().filter(is_put).count());
        self.writes.lock().unwrap().push(durability);
        let removed = |operation| match operation {
            Operation::RemoveEntries { first, last, .. } => last - first + 1,
            _ => 0,
        };
        let removed: u64 = operations().map(removed).sum();
        if removed > 0 {
            self.removals.lock().unwrap().push(removed);
        }
    }

    /// Whether a call of one of these kinds fails now.
    fn strikes(&self, kinds: &[Fault]) -> Option<Fault> {
        let mut next = self.next.lock().unwrap();
        let (_, passing) = next.as_mut().filter(|(fault, _)| kinds.contains(fault))?;
        if *passing > 0 {
            *passing -= 1;
            return None;
        }
        next.take().map(|(fault, _)| fault)
    }
}

/// A [`MemoryEngine`] with faults.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: MemoryEngine,
    faults: std::sync::Arc<Faults>,
    poison: Poison,
}

fn broken(operation: &'static str) -> Error {
    Error::io(operation, std::io::Error::other("a fault of the test"))
}

impl Faulty {
    pub(crate) fn new(inner: MemoryEngine, faults: std::sync::Arc<Faults>) -> Self {
        Self { inner, faults, poison: Poison::default() }
    }

    pub(crate) fn cut_power(&self) {
        self.poison.latch(broken("go on without power"));
        self.inner.cut_power();
    }

    fn read<T>(&self, read: impl FnOnce(&MemoryEngine) -> Result<T>) -> Result<T> {
        match self.faults.strikes(&[Fault::Read]) {
            Some(_) => Err(broken("read")),
            None => read(&self.inner),
        }
    }
}

impl KvLogDb for Faulty {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.read(|inner| inner.entry(key))
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.read(|inner| inner.scan(log, range, order, budget_bytes, visitor))
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.read(|inner| inner.meta(key))
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.read(|inner| inner.scan_meta(visitor))
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.read(|inner| inner.logs(visitor))
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.faults.gate.enter();
        self.poison.check()?;
        self.faults.note(batches, durability);
        let faults = [Fault::WriteLost, Fault::WriteDone, Fault::WritePanics];
        let fault = self.faults.strikes(&faults);
        assert_ne!(fault, Some(Fault::WritePanics), "a panic of the test");
        if fault != Some(Fault::WriteLost) {
            let durability = if fault.is_some() { Durability::Synced } else { durability };
            self.inner.write(batches, durability)?;
        }
        fault.map_or(Ok(()), |_| Err(self.poison.latch(broken("write"))))
    }

    fn sync(&self) -> Result<()> {
        self.poison.check()?;
        self.inner.sync()
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.inner.disk_bytes()
    }

    fn reclaim(&self) -> Result<()> {
        self.inner.reclaim()
    }

    fn verify(&self) -> Result<()> {
        self.inner.verify()
    }

    fn close(&self) -> Result<()> {
        match self.faults.strikes(&[Fault::Close]) {
            Some(_) => {
                self.inner.cut_power();
                Err(broken("close"))
            }
            None => self.inner.close(),
        }
    }
}
