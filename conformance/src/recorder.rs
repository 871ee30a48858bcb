//! What stands between the log and its engine: it writes down what is asked, and holds writes up
//! or lets them fail where a case plans that.

use std::ops::RangeInclusive;
use std::panic;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor, MetaKey,
    MetaVisitor, Operation, Order, Poison, Result, WriteBatch,
};

use crate::failure::{Checked, ensure};

/// What the log asks of its engine, and how the engine is held up or fails on the way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writes {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<Durability>,
    /// How many entries each write removed, of those that removed any.
    removed: Vec<u64>,
    held: bool,
    /// How many writes are held up.
    waiting: usize,
    delay: Duration,
    fault: Option<WriteFault>,
    /// How many reads pass before one fails.
    reads_left: Option<u64>,
}

/// How the next write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteFault {
    /// Nothing of it reaches the engine.
    Lost,
    /// All of it does, and it is synced.
    Done,
    /// As `Lost`, by a panic.
    Panics,
}

impl Writes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durability of every write since this was last asked.
    pub(crate) fn take(&self) -> Vec<Durability> {
        std::mem::take(&mut self.lock().asked)
    }

    /// How many entries each write since this was last asked removed, of those that removed any.
    pub(crate) fn take_removed(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().removed)
    }

    /// Holds up every write until the answer is dropped.
    pub(crate) fn hold(&self) -> Hold {
        self.lock().held = true;
        Hold { writes: self.clone() }
    }

    /// Makes every write take this much longer.
    pub(crate) fn slow_down(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Makes the next write fail. The engine is poisoned by that until it is opened anew.
    pub(crate) fn fail_next(&self, fault: WriteFault) {
        self.lock().fault = Some(fault);
    }

    /// Makes one read fail behind as many that pass; `None` for no more.
    pub(crate) fn fail_read_behind(&self, passing: Option<u64>) {
        self.lock().reads_left = passing;
    }

    /// Whether the read that was to fail has come.
    pub(crate) fn read_has_failed(&self) -> bool {
        self.lock().reads_left.is_none()
    }

    /// `engine`, as the log is to see it.
    pub(crate) fn of(&self, engine: Arc<dyn KvLogDb>) -> Arc<dyn KvLogDb> {
        Arc::new(Recorder { engine, writes: self.clone(), poison: Poison::default() })
    }

    fn note(&self, batches: &[&WriteBatch], durability: Durability) {
        let removed = |operation| match operation {
            Operation::RemoveEntries { first, last, .. } => last - first + 1,
            _ => 0,
        };
        let removed: u64 = batches.iter().flat_map(|batch| batch.operations()).map(removed).sum();
        let mut state = self.lock();
        state.asked.push(durability);
        if removed > 0 {
            state.removed.push(removed);
        }
    }

    /// Waits for as long as writes are held up, and answers how this one fails.
    fn enter(&self) -> Option<WriteFault> {
        let mut state = self.lock();
        let delay = state.delay;
        if delay > Duration::ZERO {
            drop(state);
            thread::sleep(delay);
            state = self.lock();
        }
        state.waiting += 1;
        self.shared.changed.notify_all();
        while state.held {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.fault.take()
    }

    fn read<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let left = {
            let mut state = self.lock();
            let left = state.reads_left;
            state.reads_left = left.and_then(|left| left.checked_sub(1));
            left
        };
        if left == Some(0) { Err(planned("read")) } else { read() }
    }
}

/// Writes are held up while it lives.
#[derive(Debug)]
pub(crate) struct Hold {
    writes: Writes,
}

impl Hold {
    /// Waits until a write is held up.
    pub(crate) fn await_writer(&self) -> Checked {
        let state = self.writes.lock();
        let none = |state: &mut State| state.waiting == 0;
        let waited = self.writes.shared.changed.wait_timeout_while(state, PATIENCE, none);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        ensure!(!waited.timed_out(), "no write comes to the engine");
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.writes.lock().held = false;
        self.writes.shared.changed.notify_all();
    }
}

/// Longer than anything takes that ends at all.
const PATIENCE: Duration = Duration::from_secs(30);

const PLANNED: &str = "a failure that the case has planned";

fn planned(operation: &'static str) -> Error {
    Error::io(operation, std::io::Error::other(PLANNED))
}

/// The engine under test. It is told everything as it is, where nothing is to fail.
#[derive(Debug)]
struct Recorder {
    engine: Arc<dyn KvLogDb>,
    writes: Writes,
    poison: Poison,
}

impl KvLogDb for Recorder {
    fn info(&self) -> EngineInfo {
        self.engine.info()
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.writes.read(|| self.engine.entry(key))
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.writes.read(|| self.engine.scan(log, range, order, budget_bytes, visitor))
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.writes.read(|| self.engine.meta(key))
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.writes.read(|| self.engine.scan_meta(visitor))
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.writes.read(|| self.engine.logs(visitor))
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        let fault = self.writes.enter();
        self.poison.check()?;
        self.writes.note(batches, durability);
        match fault {
            None => return self.engine.write(batches, durability),
            Some(WriteFault::Done) => self.engine.write(batches, Durability::Synced)?,
            Some(WriteFault::Lost) => {}
            Some(WriteFault::Panics) => panic::resume_unwind(Box::new(PLANNED)), // prints nothing
        }
        Err(self.poison.latch(planned("write")))
    }

    fn sync(&self) -> Result<()> {
        self.poison.check()?;
        self.engine.sync()
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.engine.disk_bytes()
    }

    fn reclaim(&self) -> Result<()> {
        self.engine.reclaim()
    }

    fn verify(&self) -> Result<()> {
        self.engine.verify()
    }

    fn close(&self) -> Result<()> {
        self.engine.close()
    }
}
