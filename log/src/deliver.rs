//! How the ends of batches are told: in the order in which they were accepted, each once, and with
//! no lock held while anybody's code runs.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::commit::Core;
use crate::observe::{self, Event, Observer};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::ticket::{Outcome, Ticket};

/// Tickets that have ended, and events, in order, on their way to whoever listens.
#[derive(Default)]
pub(crate) struct Delivery {
    inner: Mutex<Inner>,
    told: Condvar,
}

#[derive(Default)]
struct Inner {
    /// What has happened, and callbacks, wakers and the observer not yet called.
    waiting: VecDeque<News>,
    /// How many of them, from the back, the blocked callers have not been told of.
    fresh: usize,
    /// The thread that calls callbacks at this moment.
    teller: Option<ThreadId>,
}

enum News {
    Ended(Arc<Ticket>, Outcome),
    Event(Event),
}

impl Delivery {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the tickets of one commit. Called in the order of commits.
    pub(crate) fn push(&self, tickets: Vec<Arc<Ticket>>, outcome: &Outcome) {
        let mut inner = self.lock();
        inner.fresh += tickets.len();
        let ended = |ticket| News::Ended(ticket, outcome.clone());
        inner.waiting.extend(tickets.into_iter().map(ended));
    }

    /// Adds an event behind what was added before.
    pub(crate) fn push_event(&self, event: Event) {
        let mut inner = self.lock();
        inner.fresh += 1;
        inner.waiting.push_back(News::Event(event));
    }

    /// Lets go whoever is blocked; calls nobody's code.
    pub(crate) fn release(&self) {
        let mut inner = self.lock();
        let known = inner.waiting.len() - inner.fresh;
        for news in inner.waiting.range(known..) {
            if let News::Ended(ticket, outcome) = news {
                ticket.end(outcome);
            }
        }
        inner.fresh = 0;
    }

    /// Calls what was there when it began; `false` where more has come since. Leaves it to another
    /// thread that is at it, which may be this one further up: a callback may use the store.
    fn tell(&self, observer: Option<&dyn Observer>) -> bool {
        let mut inner = self.lock();
        if inner.teller.is_some() {
            return true;
        }
        inner.teller = Some(thread::current().id());
        for _ in 0..inner.waiting.len() - inner.fresh {
            let Some(news) = inner.waiting.pop_front() else { break };
            drop(inner);
            match (news, observer) {
                (News::Ended(ticket, _), _) => ticket.tell(),
                (News::Event(event), Some(observer)) => observe::tell(observer, &event),
                (News::Event(_), None) => {}
            }
            inner = self.lock();
        }
        inner.teller = None;
        self.told.notify_all();
        inner.waiting.is_empty()
    }

    /// Whether this thread has nothing to wait for: all was told, or it is the one that tells.
    fn is_told(&self) -> bool {
        let mut inner = self.lock();
        match inner.teller {
            None => inner.waiting.is_empty(),
            Some(teller) if teller == thread::current().id() => true,
            Some(_) => {
                inner = self.told.wait(inner).unwrap_or_else(PoisonError::into_inner);
                inner.teller.is_none() && inner.waiting.is_empty()
            }
        }
    }
}

impl Core {
    /// Ends tickets and tells whoever listens. To be called with no lock held.
    pub(crate) fn deliver(&self) {
        self.delivery.release();
        if !self.delivery.tell(self.options.observer.as_deref()) {
            self.signal.wake(); // so that no writer is kept by the callbacks of all others
        }
    }

    /// As [`deliver`](Self::deliver), and waits until everybody was told.
    pub(crate) fn deliver_all(&self) {
        loop {
            self.deliver();
            if self.delivery.is_told() {
                return;
            }
        }
    }
}
