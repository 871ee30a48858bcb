//! The one path to the disk: batches are accepted in order under a short lock, and one writer at a
//! time carries all that has collected to the engine, in one write and with one sync.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use kvlogdb_engine_api::{Durability, Error as EngineError, KvLogDb, ReplicaId, WriteBatch};

use crate::background::Signal;
use crate::deliver::Delivery;
use crate::line::{Gate, Line, Need};
use crate::marks::Marks;
use crate::observe::{Event, Watch, Written};
use crate::served::{Refusal, Served};
use crate::sync::{
    Condvar, Instant, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    thread, wait_until,
};
use crate::ticket::{Outcome, Ticket};
use crate::{Error, FlushPolicy, LogOptions, Result, encode};

/// The longest that a commit of [`FlushPolicy::Adaptive`] collects.
pub(crate) const MAX_PATIENCE: Duration = Duration::from_millis(5);
/// How many batches may wait for a sync that none of them asks for.
const MAX_UNSYNCED: usize = 1 << 12;

/// What all handles of a store share.
pub(crate) struct Core {
    pub(crate) options: LogOptions,
    line: Mutex<Line>,
    /// Told when the queue has room again, and when nobody leads.
    pub(crate) moved: Condvar,
    served: RwLock<Served>,
    /// Held by whoever leads.
    writer: Mutex<Writer>,
    pub(crate) delivery: Delivery,
    pub(crate) signal: Arc<Signal>,
}

/// What a commit works with.
pub(crate) struct Writer {
    pub(crate) marks: Marks,
    /// Written, and waiting for a sync that covers them.
    unsynced: Vec<Arc<Ticket>>,
    pub(crate) unsynced_since: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(marks: Marks) -> Self {
        Self { marks, unsynced: Vec::new(), unsynced_since: None }
    }

    fn take_unsynced(&mut self) -> Vec<Arc<Ticket>> {
        self.unsynced_since = None;
        std::mem::take(&mut self.unsynced)
    }
}

/// What a commit must at least do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Carry what has collected, as durably as it asks.
    Queue,
    /// Sync what was written, too.
    Sync,
    /// Mark it in the sidecar, too.
    Mark,
}

impl Core {
    pub(crate) fn new(
        options: LogOptions,
        served: Served,
        writer: Writer,
        littered: BTreeSet<ReplicaId>,
    ) -> Self {
        let timer = writer.marks.due().map(|at| (at, Reason::Mark));
        Self {
            options,
            line: Mutex::new(Line { timer, littered, ..Line::default() }),
            moved: Condvar::new(),
            served: RwLock::new(served),
            writer: Mutex::new(writer),
            delivery: Delivery::default(),
            signal: Arc::default(),
        }
    }

    pub(crate) fn lock_line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the queue or the lead has moved, and until `until` at the most.
    pub(crate) fn wait_moved<'a>(
        &'a self,
        line: MutexGuard<'a, Line>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Line> {
        wait_until(&self.moved, &self.line, line, until)
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read_served(&self) -> RwLockReadGuard<'_, Served> {
        self.served.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_served(&self) -> RwLockWriteGuard<'_, Served> {
        self.served.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one commit to the engine and hands the lead on. The caller has set `led`.
    pub(crate) fn lead(&self, reason: Reason) {
        self.let_collect();
        let ride = self.lock_line().ride();
        if let Some(entries) = ride {
            self.sweep(entries);
        }
        self.carry(reason);
        self.hand_on();
        self.deliver();
    }

    /// Carries one commit to the engine, and notes for whom it ends. Nobody is told yet.
    pub(crate) fn carry(&self, reason: Reason) {
        let mut writer = self.lock_writer();
        let limit_bytes = self.read_served().engine.info().write_bytes;
        let tickets = self.lock_line().take(limit_bytes);
        let (began, len) = (Instant::now(), tickets.len());
        let (mut tickets, outcome) = self.commit(&mut writer, tickets, reason);
        let mut line = self.lock_line();
        (line.last_len, line.last_took) = (len, began.elapsed());
        if outcome.is_err() {
            line.since = None;
            tickets.extend(line.queue.take(usize::MAX));
        }
        let before = std::mem::replace(&mut line.timer, self.timer(&writer));
        let is_sooner = |(at, _)| before.is_none_or(|(before, _)| at < before);
        if line.timer.is_some_and(is_sooner) {
            self.signal.wake(); // it may sleep for longer than that
        }
        drop(line);
        if let Err(cause) = &outcome {
            self.note_failed(&tickets, cause);
        }
        // Still the writer: the commits' order is the order in which their tickets end.
        self.delivery.push(tickets, &outcome);
    }

    /// Lets the writers of the last commit come back, for up to a third of the time it took.
    fn let_collect(&self) {
        if self.options.flush != FlushPolicy::Adaptive || self.options.mem_first() {
            return;
        }
        let line = self.lock_line();
        let (expected, patience) = (line.last_len, (line.last_took / 3).min(MAX_PATIENCE));
        if expected < 2 || line.queue.len() >= expected {
            return;
        }
        drop(line);
        let give_up = Instant::now() + patience;
        while self.lock_line().queue.len() < expected && Instant::now() < give_up {
            thread::yield_now();
        }
    }

    /// Writes the tickets' batches as one. Answers which tickets are done with that.
    fn commit(
        &self,
        writer: &mut Writer,
        tickets: Vec<Arc<Ticket>>,
        reason: Reason,
    ) -> (Vec<Arc<Ticket>>, Outcome) {
        let engine = Arc::clone(&self.read_served().engine);
        let mut watch = self.watch(&tickets);
        let written = self.write_batches(writer, &tickets, reason, &*engine);
        watch.iter_mut().for_each(Watch::end);
        let written = match written {
            Ok(written) => written,
            Err(cause) => {
                let mut all = writer.take_unsynced();
                all.extend(tickets);
                return (all, Err(cause));
            }
        };
        let mut served = self.write_served();
        served.written(&tickets);
        let done = if written.durability == Durability::Synced {
            let mut done = writer.take_unsynced();
            done.extend(tickets);
            served.durable(&done);
            done
        } else {
            if writer.unsynced_since.is_none() && !tickets.is_empty() {
                writer.unsynced_since = Some(Instant::now());
            }
            writer.unsynced.extend(tickets);
            Vec::new()
        };
        let changed = done.iter().flat_map(|ticket| ticket.effects());
        served.forget_empty(changed.map(|effect| effect.durable.replica));
        let memory = (served.evict(&self.options), served.cached_bytes());
        drop(served);
        if let Some(watch) = watch {
            self.note_commit(&watch, &written, done.len(), memory);
        }
        self.note_mark(&mut writer.marks);
        (done, Ok(()))
    }

    fn write_batches(
        &self,
        writer: &mut Writer,
        tickets: &[Arc<Ticket>],
        reason: Reason,
        engine: &dyn KvLogDb,
    ) -> Result<Written, Arc<EngineError>> {
        self.read_served().check().map_err(cause_of)?;
        let mut batches = Vec::with_capacity(tickets.len() + 1);
        for ticket in tickets {
            let batch = ticket.take_batch().ok_or_else(|| {
                let source = "a writer ended before its batch was encoded".into();
                self.refuse(EngineError::Io { operation: "write", source })
            })?;
            batches.push(batch);
        }
        let news = batches.iter().any(|batch| !batch.is_empty());
        let need = match tickets.iter().any(|ticket| ticket.asks.need == Need::Now) {
            true => Need::Now,
            false if reason == Reason::Mark => Need::Now,
            false => Need::Interval,
        };
        let ends = tickets.iter().flat_map(|ticket| ticket.effects());
        ends.map(|effect| effect.durable)
            .for_each(|end| writer.marks.note_end(end.replica, end.last.map(|id| id.index)));
        let marked = (news || writer.marks.is_behind()) && writer.marks.is_due(need);
        if marked {
            let mut batch = WriteBatch::new();
            // A mark is far below all limits, with the ends of logs that go with it.
            let _ = encode::encode(&writer.marks.steps(), &mut batch);
            batches.push(batch);
        }
        let synced = marked
            || reason != Reason::Queue
            || writer.unsynced.len() >= MAX_UNSYNCED
            || tickets.iter().any(|ticket| ticket.asks.durability == Durability::Synced);
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        let refs: Vec<_> = batches.iter().collect();
        write(engine, &refs, durability).map_err(|error| self.refuse(error))?;
        if marked {
            writer.marks.synced();
        } else if news {
            writer.marks.note_write();
        }
        let bytes = batches.iter().map(WriteBatch::len_bytes).sum();
        Ok(Written { durability, bytes })
    }

    /// Serves nothing from now on, because of `error`.
    pub(crate) fn refuse(&self, error: EngineError) -> Arc<EngineError> {
        let cause = cause_of(error);
        let mut served = self.write_served();
        if served.refusal.is_none() {
            served.refusal = Some(Refusal::Poisoned(Arc::clone(&cause)));
            self.note(|| Event::Poisoned { cause: Arc::clone(&cause) });
        }
        cause
    }

    /// Writes what was accepted, has it marked, and closes the engine.
    pub(crate) fn close(
        &self,
        mark: impl FnOnce(&mut Marks, &dyn KvLogDb) -> Result<()>,
    ) -> Result<()> {
        self.quiesced(Gate::Shut, |writer| {
            let (engine, serving) = {
                let mut served = self.write_served();
                let serving = served.refusal.is_none();
                served.refusal.get_or_insert(Refusal::Closed);
                (Arc::clone(&served.engine), serving)
            };
            let marked = if serving && writer.marks.is_behind() {
                mark(&mut writer.marks, &*engine)
            } else {
                Ok(())
            };
            self.note_mark(&mut writer.marks);
            let closed = self.close_engine(writer, &*engine).map_err(Error::Engine).and(marked);
            if serving {
                self.note_closed(&closed);
            }
            closed
        })
    }

    /// Closes an engine, which ends the batches that wait for a sync.
    pub(crate) fn close_engine(
        &self,
        writer: &mut Writer,
        engine: &dyn KvLogDb,
    ) -> Result<(), EngineError> {
        let closed = engine.close();
        let unsynced = writer.take_unsynced();
        if closed.is_ok() {
            self.write_served().durable(&unsynced);
            self.delivery.push(unsynced, &Ok(()));
        } else {
            let cause = Arc::new(EngineError::Closed);
            self.note_failed(&unsynced, &cause);
            self.delivery.push(unsynced, &Err(cause));
        }
        closed
    }

    /// Puts a freshly loaded store in the place of this one, with no commit under way.
    pub(crate) fn replace(&self, writer: &mut Writer, loaded: Loaded) -> Served {
        *writer = loaded.writer;
        let mut line = self.lock_line();
        (line.littered, line.timer) = (loaded.littered, self.timer(writer));
        drop(line);
        let before = std::mem::replace(&mut *self.write_served(), loaded.served);
        self.signal.wake(); // while nothing was served, it looked at nothing
        before
    }
}

/// What opening an engine brings.
pub(crate) struct Loaded {
    pub(crate) served: Served,
    pub(crate) writer: Writer,
    pub(crate) littered: BTreeSet<ReplicaId>,
}

/// Writes, and makes a failure of an engine's panic: nobody knows how far it came.
fn write(
    engine: &dyn KvLogDb,
    batches: &[&WriteBatch],
    durability: Durability,
) -> Result<(), EngineError> {
    catch_unwind(AssertUnwindSafe(|| engine.write(batches, durability))).unwrap_or_else(|_| {
        Err(EngineError::Io { operation: "write", source: "the engine panicked".into() })
    })
}

fn cause_of(error: EngineError) -> Arc<EngineError> {
    match error {
        EngineError::Poisoned { cause } => cause,
        other => Arc::new(other),
    }
}
