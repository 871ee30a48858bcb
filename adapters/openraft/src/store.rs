//! What both versions of openraft need of a log, once: in the log's own words, and with futures
//! where there is something to wait for.

use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use kvlogdb_log::{
    Accepted, Boundary, Durability, Durable, Entry, Error as LogError, FIRST_USER_SLOT, Log,
    LogBatch, WhenFull,
};

use tokio::sync::Notify;

use crate::error::{Cause, Error, Result};
use crate::{codec, off_thread};

/// Where the vote lies.
const VOTE: u16 = FIRST_USER_SLOT;
/// Where the committed log id lies.
const COMMITTED: u16 = FIRST_USER_SLOT + 1;
/// Where it lies whose log this is.
const OWNER: u16 = FIRST_USER_SLOT + 2;
/// The slots from here on are free for whoever keeps something beside the log.
pub const FIRST_FREE_SLOT: u16 = FIRST_USER_SLOT + 16;

/// How much of the log one read for replication brings, unless set.
const READ_BYTES: u64 = 1 << 20;

/// One group's log. Clones share what has become of it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    log: Log,
    pub(crate) read_bytes: u64,
    /// Told when an append has ended, and when the end of the log has moved back.
    moved: Arc<Notify>,
    /// The first failure after which nothing may be read or written.
    failed: Arc<OnceLock<Arc<Cause>>>,
}

impl Store {
    /// Takes a log on for the node that `owner` names, and notes the name in a new one.
    pub(crate) fn open(log: Log, owner: &(impl serde::Serialize + ToString)) -> Result<Self> {
        let store =
            Self { log, read_bytes: READ_BYTES, moved: Arc::default(), failed: Arc::default() };
        store.attempt("take on the log", |log| {
            let name = codec::encode("a node's id", owner)?;
            let foreign =
                |found: &str| Cause::Foreign { found: found.to_owned(), wanted: owner.to_string() };
            match log.slot(OWNER)? {
                Some(found) if found == name => Ok(()),
                Some(_) => Err(foreign("another node")),
                None if log.last()?.is_some() || log.hard_state()?.is_some() => {
                    Err(foreign("somebody who wrote it without this adapter"))
                }
                None => {
                    let mut batch = LogBatch::new();
                    batch.put_slot(log.replica(), OWNER, name)?;
                    Ok(log.store().write(&batch, Durability::Buffered)?)
                }
            }
        })?;
        Ok(store)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Runs `run`, unless the store has failed for good.
    pub(crate) fn attempt<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&Log) -> Result<T, Cause>,
    ) -> Result<T> {
        let answer = match self.failed.get() {
            Some(cause) => Err(Arc::clone(cause)),
            None => run(&self.log).map_err(|cause| self.note(cause)),
        };
        answer.map_err(|cause| Error::new(operation, self.log.replica(), cause))
    }

    /// Remembers a failure after which the log is not what this handle knows.
    fn note(&self, cause: Cause) -> Arc<Cause> {
        let cause = Arc::new(cause);
        if cause.is_final() {
            return Arc::clone(self.failed.get_or_init(|| cause));
        }
        cause
    }

    /// As [`attempt`](Self::attempt), for what may wait for a disk or for room.
    async fn attempt_off_thread<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&Log) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        let answer = off_thread::run(move || store.attempt(operation, run)).await;
        self.attempt(operation, |_| answer)?
    }

    /// Accepts batches in order and returns: they can be read from then on. `done` is called once
    /// all of them are durable, or never will be; not where this answers an error.
    pub(crate) async fn append(
        &self,
        mut batches: Vec<LogBatch>,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<()> {
        const APPEND: &str = "append to the log";
        // One that is empty ends with what was accepted before it.
        let last = batches.pop().unwrap_or_default();
        for batch in batches {
            self.accept(APPEND, batch).await?;
        }
        let store = self.clone();
        let done = Once::new(move |ended: Result<(), LogError>| {
            done(store.attempt(APPEND, |_| Ok(ended?)));
            store.moved.notify_waiters();
        });
        let first = done.clone();
        let answer = self.attempt(APPEND, |log| {
            let callback = move |ended: Result<&[Durable], _>| first.call(ended.map(drop));
            is_room(log.store().submit_with(&last, WhenFull::Busy, callback))
        })?;
        if answer.is_some() {
            return Ok(());
        }
        self.attempt_off_thread(APPEND, move |log| {
            let callback = move |ended: Result<&[Durable], _>| done.call(ended.map(drop));
            Ok(log.store().submit_with(&last, WhenFull::Wait, callback)?)
        })
        .await
    }

    /// Accepts a batch that needs no sync of its own. What is accepted behind it is not durable
    /// before it is.
    async fn accept(&self, operation: &'static str, batch: LogBatch) -> Result<()> {
        let answer = self.attempt(operation, |log| {
            is_room(log.store().submit_buffered(&batch, WhenFull::Busy))
        })?;
        if answer.is_some() {
            return Ok(());
        }
        self.attempt_off_thread(operation, move |log| {
            Ok(log.store().submit_buffered(&batch, WhenFull::Wait)?)
        })
        .await
    }

    /// Removes the entries from `first_removed` on.
    pub(crate) async fn truncate_from(&self, first_removed: u64) -> Result<()> {
        // The log may have to look up how long it was at the new end.
        let truncated = self.attempt_off_thread("truncate the log", move |log| {
            let mut batch = LogBatch::new();
            batch.truncate_from(log.replica(), first_removed);
            Ok(log.store().submit_buffered(&batch, WhenFull::Wait)?)
        });
        let truncated = truncated.await;
        self.moved.notify_waiters();
        truncated
    }

    /// Removes the entries up to and with `to`, which may lie behind the end.
    pub(crate) async fn purge(&self, to: Result<Boundary, Cause>) -> Result<()> {
        const PURGE: &str = "purge the log";
        let (to, replica) = (self.attempt(PURGE, |_| to)?, self.log.replica());
        let mut batch = LogBatch::new();
        batch.purge_through(replica, to.clone());
        match self.accept(PURGE, batch).await {
            // Terms never go back along a log, and `to` was applied: entries of a term that cannot
            // stand beside it were never committed, and a snapshot goes over them.
            Err(error) if matches!(error.cause(), Cause::Log(LogError::TermWentBack { .. })) => {
                let mut batch = LogBatch::new();
                batch.reset(replica).purge_through(replica, to);
                self.accept(PURGE, batch).await
            }
            answer => answer,
        }
    }

    /// Saves a vote, if `follows` finds that it follows the one that is saved, and waits until it
    /// is durable, with all that was accepted before.
    pub(crate) async fn save_vote(
        &self,
        vote: Result<Vec<u8>, Cause>,
        follows: impl FnOnce(&[u8]) -> Result<(), Cause> + Send + 'static,
    ) -> Result<()> {
        const SAVE: &str = "save the vote";
        let vote = self.attempt(SAVE, |_| vote)?;
        let accepted: Accepted = self
            .attempt_off_thread(SAVE, move |log| {
                if let Some(saved) = log.slot(VOTE)? {
                    follows(&saved)?;
                }
                let mut batch = LogBatch::new();
                batch.put_promise(log.replica(), VOTE, vote)?;
                Ok(log.store().submit(&batch, WhenFull::Wait)?)
            })
            .await?;
        let ended = accepted.await;
        self.attempt(SAVE, |_| Ok(ended.map(drop)?))
    }

    pub(crate) async fn vote(&self) -> Result<Option<Bytes>> {
        self.attempt_off_thread("read the vote", |log| Ok(log.slot(VOTE)?)).await
    }

    pub(crate) async fn save_committed(&self, id: Result<Vec<u8>, Cause>) -> Result<()> {
        const SAVE: &str = "save the committed log id";
        let batch = self.attempt(SAVE, |log| {
            let mut batch = LogBatch::new();
            batch.put_slot(log.replica(), COMMITTED, id?)?;
            Ok(batch)
        })?;
        self.accept(SAVE, batch).await
    }

    pub(crate) async fn committed(&self) -> Result<Option<Bytes>> {
        let read = |log: &Log| Ok(log.slot(COMMITTED)?);
        self.attempt_off_thread("read the committed log id", read).await
    }

    /// Every entry in `range` that the log has, as it was at one moment. What was purged is
    /// missing at the beginning, and what was not appended at the end.
    pub(crate) async fn entries(&self, range: Range) -> Result<Vec<Entry>> {
        self.read(u64::MAX, move |log, read| from_first(log, range, read)).await
    }

    /// As [`entries`](Self::entries), as many as one read may bring; none where there are no more.
    #[cfg(feature = "openraft-0-10")]
    pub(crate) async fn page_of(&self, range: Range) -> Result<Vec<Entry>> {
        self.read(self.read_bytes, move |log, read| match range.0 {
            // Behind entries that were brought, nothing may be missing.
            Bound::Excluded(_) => read(range),
            _ => from_first(log, range, read),
        })
        .await
    }

    /// The entries from `first` on, up to and without `end`, as many as one read may bring. Never
    /// another one in the place of the first: where that is purged, none.
    pub(crate) async fn page(&self, first: u64, end: u64) -> Result<Vec<Entry>> {
        self.read(self.read_bytes, move |_, read| match read(from(first..end)) {
            Err(LogError::Purged { .. } | LogError::Unavailable { .. }) => Ok(Some(Vec::new())),
            answer => answer,
        })
        .await
    }

    /// As [`page`](Self::page), what of it is durable. Where there is something and none of it is
    /// durable yet, once it is.
    #[cfg(feature = "openraft-0-10")]
    pub(crate) async fn durable_page(&self, first: u64, end: u64) -> Result<Vec<Entry>> {
        loop {
            let moved = self.moved.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable(); // what happens from here on is not missed
            let mut page = self.page(first, end).await?;
            if page.is_empty() {
                return Ok(page);
            }
            let durable = self.attempt("read the log", |log| Ok(log.durable()?))?;
            page.retain(|entry| durable.as_ref().is_some_and(|end| entry.id <= end.id));
            if !page.is_empty() {
                return Ok(page);
            }
            moved.await;
        }
    }

    /// Reads from memory or, where that does not have it all, from the engine.
    async fn read(
        &self,
        limit_bytes: u64,
        read: impl Fn(&Log, Read<'_>) -> Result<Option<Vec<Entry>>, LogError> + Send + 'static,
    ) -> Result<Vec<Entry>> {
        const READ: &str = "read the log";
        let in_memory = self.attempt(READ, |log| {
            Ok(read(log, &|range| log.entries_in_memory(range, limit_bytes))?)
        })?;
        if let Some(found) = in_memory {
            return Ok(found);
        }
        self.attempt_off_thread(READ, move |log| {
            let found = read(log, &|range| log.entries(range, limit_bytes).map(Some))?;
            Ok(found.unwrap_or_default())
        })
        .await
    }

    /// The last purged id and the last id, from memory.
    pub(crate) fn ends<T>(
        &self,
        run: impl FnOnce(Option<Boundary>, Option<Boundary>) -> Result<T, Cause>,
    ) -> Result<T> {
        self.attempt("read the ends of the log", |log| run(log.purged()?, log.last()?))
    }
}

/// A range of indexes in the form in which it can be kept.
pub(crate) type Range = (Bound<u64>, Bound<u64>);
/// How entries are read; `None` where the place that is asked does not have them all.
type Read<'a> = &'a dyn Fn(Range) -> Result<Option<Vec<Entry>>, LogError>;

pub(crate) fn from(range: impl RangeBounds<u64>) -> Range {
    (range.start_bound().cloned(), range.end_bound().cloned())
}

/// Reads a range, or what of it is not before the first entry.
fn from_first(log: &Log, mut range: Range, read: Read<'_>) -> Result<Option<Vec<Entry>>, LogError> {
    loop {
        match read(range) {
            Err(LogError::Purged { index, .. } | LogError::Unavailable { index, .. }) => {
                let first = log.first_index()?;
                range.0 = first.map_or(Bound::Unbounded, |it| Bound::Included(it.max(index)));
            }
            answer => return answer,
        }
    }
}

/// `None` where the queue is full and its room has to be waited for.
fn is_room(answer: Result<(), LogError>) -> Result<Option<()>, Cause> {
    match answer {
        Err(LogError::Busy) => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

/// A callback that can be offered twice, and is called at the most once.
struct Once<F>(Arc<Mutex<Option<F>>>);

impl<F> Clone for Once<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: FnOnce(Result<(), LogError>)> Once<F> {
    fn new(callback: F) -> Self {
        Self(Arc::new(Mutex::new(Some(callback))))
    }

    fn call(&self, ended: Result<(), LogError>) {
        let callback = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(callback) = callback {
            callback(ended);
        }
    }
}
