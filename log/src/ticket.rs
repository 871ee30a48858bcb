//! An accepted batch on its way to the disk, and how its writer hears of it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kvlogdb_engine_api::{Durability, Error as EngineError, MetaKey, ReplicaId, WriteBatch};

use crate::line::Asks;
use crate::observe::Queued;
use crate::plan::Size;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::{Error, LogId, LogStore, Result};

/// What a durable batch vouches for: the end of one replica's log as the batch left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    /// The replica.
    pub replica: ReplicaId,
    /// The last id of its log that is durable with the batch. `None` for a log that the batch left
    /// empty, and where what the batch wrote was replaced before it was durable.
    pub last: Option<LogId>,
}

/// How a batch ended. The cause is shared by everyone who waited for the same commit.
pub(crate) type Outcome = Result<(), Arc<EngineError>>;
type Callback = Box<dyn FnOnce(Result<&[Durable]>) + Send>;

/// What a batch does to one replica, by the epoch in which it was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effect {
    pub(crate) epoch: u64,
    pub(crate) durable: Durable,
}

/// One accepted batch. Its place in the order of writes is its place in the queue.
pub(crate) struct Ticket {
    pub(crate) number: u64,
    pub(crate) asks: Asks,
    pub(crate) size: Size,
    /// Whether its writer waits for it, and can lead a commit while it does.
    pub(crate) blocking: bool,
    pub(crate) metadata: Vec<MetaKey>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    batch: Encoding,
    stage: Stage,
    /// Whether its writer has ended.
    deserted: bool,
    effects: Vec<Effect>,
    callback: Option<Callback>,
    waker: Option<Waker>,
}

enum Encoding {
    UnderWay,
    Ready(WriteBatch),
    /// Its writer ended before it had encoded the batch, or the batch was taken.
    Gone,
}

enum Stage {
    Waiting,
    /// The next commit is its writer's to lead.
    Leading,
    Done(Outcome),
}

/// How a writer goes on while its batch is on its way.
pub(crate) enum Turn {
    Done(Outcome),
    Lead,
}

impl Ticket {
    pub(crate) fn new(
        number: u64,
        asks: Asks,
        size: Size,
        metadata: Vec<MetaKey>,
        listener: Listener,
    ) -> Arc<Self> {
        let (blocking, callback) = match listener {
            Listener::Caller => (true, None),
            Listener::Nobody => (false, None),
            Listener::Callback(callback) => (false, Some(callback)),
        };
        let inner = Inner {
            batch: Encoding::UnderWay,
            stage: Stage::Waiting,
            deserted: false,
            effects: Vec::new(),
            callback,
            waker: None,
        };
        let (inner, changed) = (Mutex::new(inner), Condvar::new());
        Arc::new(Self { number, asks, size, blocking, metadata, inner, changed })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_effects(&self, effects: Vec<Effect>) {
        self.lock().effects = effects;
    }

    /// Hands over the encoded batch; the commit that takes the ticket waits for it.
    pub(crate) fn set_batch(&self, batch: WriteBatch) {
        self.lock().batch = Encoding::Ready(batch);
        self.changed.notify_all();
    }

    /// Whether the encoding was handed over.
    pub(crate) fn has_batch(&self) -> bool {
        !matches!(self.lock().batch, Encoding::UnderWay)
    }

    /// Ends the encoding without a batch; its writer leads nothing from now on. Answers whether a
    /// commit was its to lead.
    pub(crate) fn desert(&self) -> bool {
        let mut inner = self.lock();
        inner.batch = Encoding::Gone;
        inner.deserted = true;
        self.changed.notify_all();
        let led = matches!(inner.stage, Stage::Leading);
        if led {
            inner.stage = Stage::Waiting;
        }
        led
    }

    /// Waits for the encoded batch; `None` where its writer ended without one.
    pub(crate) fn take_batch(&self) -> Option<WriteBatch> {
        let mut inner = self.lock();
        while matches!(inner.batch, Encoding::UnderWay) {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut inner.batch, Encoding::Gone) {
            Encoding::Ready(batch) => Some(batch),
            _ => None,
        }
    }

    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.lock().effects.clone()
    }

    /// Takes back what the batch vouches for where `holds` says that it no longer does.
    pub(crate) fn keep_effects(&self, mut holds: impl FnMut(&Effect) -> bool) {
        for effect in &mut self.lock().effects {
            if !holds(effect) {
                effect.durable.last = None;
            }
        }
    }

    /// Makes its writer lead the next commit; `false` where it no longer can.
    pub(crate) fn promote(&self) -> bool {
        let mut inner = self.lock();
        if !inner.deserted {
            inner.stage = Stage::Leading;
            self.changed.notify_all();
        }
        !inner.deserted
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match &self.lock().stage {
            Stage::Done(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }

    /// The outcome, or leaves `waker` to be woken and takes the one before it out.
    fn poll(&self, waker: &mut Option<Waker>) -> Poll<Outcome> {
        let mut inner = self.lock();
        if let Stage::Done(outcome) = &inner.stage {
            return Poll::Ready(outcome.clone());
        }
        std::mem::swap(&mut inner.waker, waker);
        Poll::Pending
    }

    /// Blocks until the batch is done or its writer is to lead.
    pub(crate) fn wait(&self) -> Turn {
        let mut inner = self.lock();
        loop {
            match &inner.stage {
                Stage::Done(outcome) => return Turn::Done(outcome.clone()),
                Stage::Leading => {
                    inner.stage = Stage::Waiting;
                    return Turn::Lead;
                }
                Stage::Waiting => {}
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the ticket, once, and lets its writer go where it waits.
    pub(crate) fn end(&self, outcome: &Outcome) {
        let mut inner = self.lock();
        if !matches!(inner.stage, Stage::Done(_)) {
            inner.stage = Stage::Done(outcome.clone());
            drop(inner);
            self.changed.notify_all();
        }
    }

    /// Tells whoever else listens that the ticket has ended, with no lock held. What panics has
    /// been told: others wait behind it.
    pub(crate) fn tell(&self) {
        let (callback, waker, outcome) = {
            let mut inner = self.lock();
            let Stage::Done(outcome) = &inner.stage else { return };
            let outcome = outcome.clone();
            (inner.callback.take(), inner.waker.take(), outcome)
        };
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if let Some(waker) = waker {
                waker.wake();
            }
            if let Some(callback) = callback {
                let durable: Vec<_> = self.effects().iter().map(|effect| effect.durable).collect();
                callback(to_result(&outcome).map(|()| &durable[..]));
            }
        }));
    }
}

/// Who hears of a batch's end.
pub(crate) enum Listener {
    /// The thread that wrote it, which waits for it and can lead its commit.
    Caller,
    Nobody,
    Callback(Callback),
}

pub(crate) fn to_result(outcome: &Outcome) -> Result<()> {
    let poisoned = |cause| Error::Engine(EngineError::Poisoned { cause });
    outcome.clone().map_err(poisoned)
}

/// An accepted batch that is not yet known to be durable.
///
/// What it wrote can be read at once, and must not be counted towards a quorum: that takes the
/// end of [`wait`](Self::wait) or of the future. Dropping it gives up listening, nothing else. It
/// is a future that needs no runtime.
pub struct Accepted {
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) store: LogStore,
}

impl Accepted {
    /// Blocks until the batch is durable, and says what it vouches for.
    ///
    /// # Errors
    ///
    /// [`Poisoned`](EngineError::Poisoned) where the commit failed: the batch is whole or absent
    /// once the store is reopened.
    pub fn wait(self) -> Result<Vec<Durable>> {
        self.store.await_durable(&self.ticket)?;
        Ok(self.durable())
    }

    /// Whether the batch has ended, one way or the other.
    pub fn is_done(&self) -> bool {
        self.ticket.outcome().is_some()
    }

    fn durable(&self) -> Vec<Durable> {
        self.ticket.effects().iter().map(|effect| effect.durable).collect()
    }
}

impl Future for Accepted {
    type Output = Result<Vec<Durable>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Wakers are others' code: none is cloned or dropped under the lock.
        let mut waker = Some(context.waker().clone());
        let outcome = self.ticket.poll(&mut waker);
        outcome.map(|outcome| to_result(&outcome).map(|()| self.durable()))
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

/// Accepted batches in order, bounded in bytes and entries.
#[derive(Default)]
pub(crate) struct Queue {
    tickets: VecDeque<Arc<Ticket>>,
    bytes: usize,
    entries: usize,
    synced: usize,
    urgent: usize,
    slices: usize,
}

/// What an accepted batch takes in memory beside its bytes, about.
const TICKET_BYTES: usize = 256;

impl Queue {
    pub(crate) fn push(&mut self, ticket: Arc<Ticket>) {
        self.bytes += ticket.size.bytes + TICKET_BYTES;
        self.entries += ticket.size.entries;
        self.synced += usize::from(ticket.asks.durability == Durability::Synced);
        self.urgent += usize::from(ticket.asks.urgent);
        self.slices += usize::from(ticket.size.deleted > 0);
        self.tickets.push_back(ticket);
    }

    /// Takes the oldest tickets, at least one where there is one, up to about `limit_bytes`.
    pub(crate) fn take(&mut self, limit_bytes: usize) -> Vec<Arc<Ticket>> {
        let mut taken = Vec::with_capacity(self.tickets.len());
        let mut bytes = 0_usize;
        while let Some(next) = self.tickets.front() {
            bytes += next.size.bytes;
            if bytes > limit_bytes && !taken.is_empty() {
                break;
            }
            if let Some(ticket) = self.tickets.pop_front() {
                self.bytes -= ticket.size.bytes + TICKET_BYTES;
                self.entries -= ticket.size.entries;
                self.synced -= usize::from(ticket.asks.durability == Durability::Synced);
                self.urgent -= usize::from(ticket.asks.urgent);
                self.slices -= usize::from(ticket.size.deleted > 0);
                taken.push(ticket);
            }
        }
        taken
    }

    /// The number of the oldest ticket.
    pub(crate) fn first_number(&self) -> Option<u64> {
        self.tickets.front().map(|ticket| ticket.number)
    }

    /// The oldest ticket whose writer waits.
    pub(crate) fn first_blocking(&self) -> Option<&Arc<Ticket>> {
        self.tickets.iter().find(|ticket| ticket.blocking)
    }

    pub(crate) fn len(&self) -> usize {
        self.tickets.len()
    }

    pub(crate) fn queued(&self) -> Queued {
        Queued { batches: self.len(), entries: self.entries, bytes: self.bytes }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Whether any ticket asks for a sync.
    pub(crate) fn wants_sync(&self) -> bool {
        self.synced > 0
    }

    /// Whether any ticket is not to collect.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent > 0
    }

    /// Whether any ticket deletes what no longer belonged to a log.
    pub(crate) fn has_slice(&self) -> bool {
        self.slices > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }
}
