//! Where batches are accepted: each is decided, gets its place and can be read from then on, all
//! under one short lock. Who leads the next commit is decided here, too.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kvlogdb_engine_api::{Durability, Error as EngineError, WriteBatch};

use crate::background::IDLE;
use crate::commit::{Core, MAX_PATIENCE, Reason, Writer};
use crate::line::{AHEAD_BYTES, Asks, Gate, Line, Need};
use crate::observe::Event;
use crate::plan::{Ground, Plan, Size, Step};
use crate::sync::{Instant, MutexGuard};
use crate::ticket::{Listener, Ticket, Turn, to_result};
use crate::{Error, FlushPolicy, LogBatch, Result, WhenFull, encode, served};

impl Core {
    /// Decides a batch, gives it its place, and shows what it does. The answer is its ticket.
    pub(crate) fn accept(
        &self,
        batch: &LogBatch,
        durability: Durability,
        listener: Listener,
        when_full: WhenFull,
    ) -> Result<Arc<Ticket>> {
        let mut line = self.wait_for_room(when_full)?;
        let plan = self.plan(batch)?;
        if let Err(error) = self.check_memory(&plan) {
            drop(line);
            self.tell_memory_full(&error);
            return Err(error);
        }
        let asks = self.asks(durability, &plan);
        let listener = match listener {
            Listener::Caller if !asks.waits => Listener::Nobody,
            listener => listener,
        };
        let changes = self.changes(&plan);
        let ticket = self.enter(&mut line, &plan, asks, listener);
        self.see_to(&mut line, &ticket);
        let queue = line.queue.queued();
        drop(line);
        let encoding = Encoding { core: self, ticket: &ticket };
        encoding.finish(&plan.steps);
        // Its commit need not wait for the observer.
        let Size { entries, entry_bytes, .. } = plan.size;
        self.tell(|| Event::Accepted { entries, entry_bytes, queue });
        for event in changes {
            self.tell(|| event);
        }
        Ok(ticket)
    }

    /// Waits until the queue is within its limits, helping where nobody else drains it.
    fn wait_for_room(&self, when_full: WhenFull) -> Result<MutexGuard<'_, Line>> {
        let mut line = self.lock_line();
        let mut waiting_since = None;
        loop {
            self.read_served().check()?;
            if line.shut > 0 {
                return Err(EngineError::Closed.into());
            }
            let full = !line.queue.is_empty()
                && (line.queue.bytes() >= self.options.queue_bytes
                    || line.queue.entries() >= self.options.queue_entries);
            if !full {
                self.note_wait(waiting_since);
                return Ok(line);
            }
            waiting_since = waiting_since.or_else(|| self.clock());
            match when_full {
                WhenFull::Busy => {
                    let queue = line.queue.queued();
                    drop(line);
                    self.tell(|| Event::Busy { queue });
                    return Err(Error::Busy);
                }
                WhenFull::Wait => line = self.move_up(line),
            }
        }
    }

    fn plan<'b>(&self, batch: &'b LogBatch) -> Result<Plan<'b>> {
        let served = self.read_served();
        let ground = Ground {
            engine: &*served.engine,
            guard: self.options.purge_guard,
            census: served.census,
            now_ms: now_ms(),
            log_bytes: &|id, index| served.live(id).ok()??.log_bytes_through(index),
            is_written: &|id| served.is_written(id),
        };
        ground.plan(batch, |id| {
            let live = served.live(id)?;
            Ok(live.map_or_else(Default::default, |live| Arc::clone(&live.state)))
        })
    }

    /// What a batch needs of its commit. The strategy can make it more than the caller asks for,
    /// never less.
    fn asks(&self, durability: Durability, plan: &Plan<'_>) -> Asks {
        let need = if plan.changes_vote { Need::Now } else { Need::Interval };
        let waits = durability == Durability::Synced || plan.changes_vote;
        let mem_first = self.options.mem_first();
        let durability = if waits || mem_first { Durability::Synced } else { Durability::Buffered };
        // There is nothing to collect for a promise, or for a sync of what was accepted before.
        let urgent = plan.changes_vote || waits && (mem_first || plan.size.bytes == 0);
        Asks { durability, need, waits, urgent }
    }

    pub(crate) fn enter(
        &self,
        line: &mut Line,
        plan: &Plan<'_>,
        asks: Asks,
        listener: Listener,
    ) -> Arc<Ticket> {
        let number = line.next_number;
        line.next_number += 1;
        let metadata = plan.steps.iter().filter_map(|step| match step {
            Step::PutMeta { key, .. } | Step::RemoveMeta { key } => Some(*key),
            _ => None,
        });
        let metadata = metadata.filter(|&key| served::is_read_from_engine(key)).collect();
        let ticket = Ticket::new(number, asks, plan.size, metadata, listener);
        ticket.set_effects(self.write_served().accept(plan, number));
        let littered = plan.replicas.iter().filter(|(_, replica)| !replica.trash.is_empty());
        line.littered.extend(littered.map(|(&id, _)| id));
        line.since.get_or_insert_with(Instant::now);
        line.queue.push(Arc::clone(&ticket));
        ticket
    }

    /// Makes sure that somebody will carry the batch: its own writer, if it waits and may lead, or
    /// else the background thread.
    fn see_to(&self, line: &mut Line, ticket: &Ticket) {
        let by_writer = ticket.blocking && self.leads_at_once(line);
        let due = self.queue_due(line).map(|(at, _)| at);
        let is_late = line.alarm.is_none_or(|alarm| due.is_some_and(|due| due < alarm));
        if !line.led && !by_writer && is_late || line.is_unswept() {
            self.signal.wake();
        }
        line.busy_until = Instant::now().checked_add(IDLE);
    }

    /// Whether a writer that waits for its sync leads as soon as nobody else does.
    pub(crate) fn leads_at_once(&self, line: &Line) -> bool {
        match self.options.flush {
            FlushPolicy::Immediate | FlushPolicy::Adaptive => true,
            FlushPolicy::Batch { entries, .. } => {
                line.queue.entries() >= entries || line.queue.is_urgent()
            }
        }
    }

    /// Blocks until the ticket's batch is durable, leading commits where it is its turn.
    pub(crate) fn await_durable(&self, ticket: &Arc<Ticket>) -> Result<()> {
        if let Some(outcome) = ticket.outcome() {
            return to_result(&outcome);
        }
        let leads = {
            let mut line = self.lock_line();
            let leads = ticket.blocking && line.is_free() && self.leads_at_once(&line);
            line.led |= leads;
            leads
        };
        if leads {
            self.lead(Reason::Queue);
        }
        loop {
            match ticket.wait() {
                Turn::Done(outcome) => return to_result(&outcome),
                Turn::Lead => self.lead(Reason::Queue),
            }
        }
    }

    /// After a batch that waits for nothing: lets the engine come up where it is far behind. The
    /// background thread should do that, because memory that two threads take and free in turn
    /// stays with both; where it does not come, held up in a callback, the caller does.
    pub(crate) fn keep_pace(&self) {
        let behind = |line: &Line| line.queue.bytes() >= AHEAD_BYTES && !line.queue.wants_sync();
        let mut line = self.lock_line();
        while behind(&line) {
            if line.is_free() {
                self.signal.wake();
                line = self.wait_moved(line, Some(Instant::now() + MAX_PATIENCE));
            }
            if behind(&line) {
                line = self.move_up(line);
            }
        }
    }

    /// Leads one commit or, where somebody does or nobody may, waits until that has changed.
    pub(crate) fn move_up<'a>(&'a self, mut line: MutexGuard<'a, Line>) -> MutexGuard<'a, Line> {
        if line.is_free() {
            if !line.queue.is_empty() {
                line.led = true;
                drop(line);
                self.lead(Reason::Queue);
                line = self.lock_line();
            }
            return line;
        }
        self.wait_moved(line, None)
    }

    /// Leads one commit if there is a reason and nobody does. For the background thread.
    pub(crate) fn lead_if_free(&self, reason: Reason) {
        let mut line = self.lock_line();
        if !line.is_free() || (reason == Reason::Queue && line.queue.is_empty()) {
            return;
        }
        line.led = true;
        drop(line);
        self.lead(reason);
    }

    /// Runs `run` with no commit under way, and with every batch written that was accepted before.
    /// With the gate shut none is accepted until `run` has ended.
    pub(crate) fn quiesced<T>(&self, gate: Gate, run: impl FnOnce(&mut Writer) -> T) -> T {
        let answer = {
            let _pause = Pause::begin(self, gate);
            let last = self.lock_line().next_number;
            while self.lock_line().queue.first_number().is_some_and(|first| first < last) {
                self.carry(Reason::Queue);
                self.delivery.release();
                self.signal.wake(); // callbacks need not wait for the end of this
            }
            run(&mut self.lock_writer())
        };
        self.deliver();
        answer
    }

    /// Lets the next commit begin: led by the first writer that waits, or else by nobody.
    pub(crate) fn hand_on(&self) {
        let mut line = self.lock_line();
        let next = line.queue.first_blocking().cloned();
        match next {
            Some(next) if line.pausing == 0 && self.leads_at_once(&line) && next.promote() => {}
            _ => {
                line.led = false;
                let overdue = std::mem::take(&mut line.overdue);
                if overdue || !line.queue.is_empty() || line.is_unswept() {
                    self.signal.wake();
                }
            }
        }
        self.moved.notify_all();
    }
}

/// Holds the lead, so that no commit begins, and gives it back also where a panic ends that.
struct Pause<'a> {
    core: &'a Core,
    gate: Gate,
}

impl<'a> Pause<'a> {
    fn begin(core: &'a Core, gate: Gate) -> Self {
        let mut line = core.lock_line();
        line.pausing += 1;
        line.shut += usize::from(gate == Gate::Shut);
        while line.led {
            line = core.wait_moved(line, None);
        }
        line.led = true;
        Self { core, gate }
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        {
            let mut line = self.core.lock_line();
            line.pausing -= 1;
            line.shut -= usize::from(self.gate == Gate::Shut);
        }
        self.core.hand_on();
    }
}

/// Sees to it that a ticket's batch arrives, or that its commit hears that it never will.
struct Encoding<'a> {
    core: &'a Core,
    ticket: &'a Ticket,
}

impl Encoding<'_> {
    fn finish(self, steps: &[Step<'_>]) {
        let mut batch = WriteBatch::new();
        if encode::encode(steps, &mut batch).is_ok() {
            self.ticket.set_batch(batch);
        }
    }
}

impl Drop for Encoding<'_> {
    fn drop(&mut self) {
        if self.ticket.has_batch() {
            return;
        }
        // A writer that ends here cannot lead, and may have been told to.
        if self.ticket.desert() {
            self.core.lead(Reason::Queue);
        } else {
            self.core.signal.wake();
        }
    }
}

/// The clock, in milliseconds since 1970; 0 where it stands before that.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use kvlogdb_engine_api::MemoryDisk;

    use super::*;
    use crate::{LogOptions, LogStore};

    fn store() -> LogStore {
        let disk = MemoryDisk::default();
        let opener = move || Ok(Arc::new(disk.open()?) as _);
        LogStore::open(opener, LogOptions::default()).expect("an empty disk")
    }

    /// What one of two reopenings accepted would be decided on the state that the other replaces.
    #[test]
    fn the_gate_stays_shut_until_the_last_that_shut_it_has_ended() {
        let store = store();
        let core = store.core();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || core.quiesced(Gate::Shut, |_| wait.recv()));
            while core.lock_line().pausing < 1 {
                std::thread::yield_now();
            }
            let second = scope.spawn(|| {
                core.quiesced(Gate::Shut, |_| store.submit(&LogBatch::new(), WhenFull::Wait))
            });
            while core.lock_line().pausing < 2 {
                std::thread::yield_now();
            }
            go.send(()).expect("the first waits");
            let answer = second.join().expect("no panic");
            assert!(matches!(answer, Err(Error::Engine(EngineError::Closed))), "{answer:?}");
        });
        store.sync().expect("an open gate");
    }

    /// A writer can only end before its batch is encoded where the encoder panics.
    #[test]
    fn a_writer_that_ends_before_its_batch_is_encoded_holds_nobody_up() {
        for promoted in [true, false] {
            let store = store();
            let core = store.core();
            let batch = LogBatch::new();
            let plan = core.plan(&batch).expect("a batch of nothing");
            let asks = core.asks(Durability::Synced, &plan);
            let ticket = {
                let mut line = core.lock_line();
                line.led = true;
                core.enter(&mut line, &plan, asks, Listener::Caller)
            };
            let desert = || drop(Encoding { core, ticket: &ticket });
            if promoted {
                core.hand_on();
                desert();
            } else {
                desert();
                core.hand_on();
            }
            assert!(core.await_durable(&ticket).is_err());
            assert!(store.sync().is_err(), "what was accepted can never be written");
            store.reopen().expect("the same disk");
            store.sync().expect("a store that goes on");
        }
    }
}
