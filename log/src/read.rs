//! Reading entries: what is asked is held against the state in memory, and what the engine brings
//! against both.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow, RangeBounds, RangeInclusive};
use std::slice;

use bytes::Bytes;
use kvlogdb_engine_api::{KvLogDb, LogName, Order, ReplicaId};

use crate::observe::Event;
use crate::record::{Header, RECORD_HEADER_BYTES};
use crate::served::{Live, View};
use crate::state::Replica;
use crate::types::{Entry, LogId};
use crate::{Error, Log, Result};

/// How much a reader takes at the most, of what it reads and of what it reads ahead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Payload; one entry may go over it.
    pub(crate) bytes: u64,
    pub(crate) entries: usize,
}

/// What a scan holds at a time.
pub(crate) const PAGE: Limit = Limit { bytes: 1 << 20, entries: 1 << 14 };
/// What is read ahead for a reader that goes on where the last one stopped.
const AHEAD: Limit = Limit { bytes: 1 << 18, entries: 1 << 12 };

impl Limit {
    /// Takes one payload off; `false` where it is over the limit.
    fn take(&mut self, payload: &[u8]) -> bool {
        let left = self.bytes.checked_sub(payload.len() as u64);
        let fits = left.is_some() && self.entries > 0;
        self.bytes = left.unwrap_or(0);
        self.entries = self.entries.saturating_sub(1);
        fits
    }
}

/// Entries of one log in order; made by [`Log::scan`]. It ends after the first error.
#[derive(Debug)]
pub struct Scan {
    log: Log,
    page: VecDeque<Entry>,
    /// The last id of the page before.
    before: Option<LogId>,
    next: Bound<u64>,
    end: Bound<u64>,
    done: bool,
}

impl Scan {
    pub(crate) fn new(log: Log, range: &impl RangeBounds<u64>) -> Self {
        let (next, end) = (range.start_bound().cloned(), range.end_bound().cloned());
        Self { log, page: VecDeque::new(), before: None, next, end, done: false }
    }

    fn fill(&mut self) -> Result<()> {
        let page = entries(&self.log, &(self.next, self.end), PAGE)?;
        if let Some(before) = self.before {
            self.check_still_held(before)?;
        }
        match page.last() {
            Some(last) => {
                self.before = Some(last.id);
                self.next = Bound::Excluded(last.id.index);
            }
            None => self.done = true,
        }
        self.page = page.into();
        Ok(())
    }

    /// Refuses to go on behind entries that were replaced meanwhile. Purged ones were not.
    fn check_still_held(&self, before: LogId) -> Result<()> {
        match self.log.id(before.index) {
            Ok(now) if now.id != before => {
                Err(Error::IdMismatch { replica: self.log.replica, stored: now.id, found: before })
            }
            Ok(_) | Err(Error::Purged { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.page.is_empty()
            && !self.done
            && let Err(error) = self.fill()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

/// Why there is no id at `index`.
pub(crate) fn absent(replica: ReplicaId, state: &Replica, index: u64) -> Error {
    match &state.purged {
        Some(purged) if index <= purged.id.index => {
            Error::Purged { replica, index, purged: purged.id }
        }
        _ => Error::Unavailable { replica, index },
    }
}

/// The highest id with at most this index and term.
pub(crate) fn find_agreement(state: &Replica, index: u64, term: u64) -> Option<LogId> {
    let from_entries = || {
        let last = state.tail?.index.min(index);
        let run = state.runs.at(last)?;
        if run.term <= term {
            return Some(LogId::new(run.term, last));
        }
        let run = state.runs.iter().take_while(|run| run.term <= term).last()?;
        let end = state.runs.last_of_term(run.term, last)?;
        Some(LogId::new(run.term, end))
    };
    let boundary = || {
        let purged = state.purged.as_ref()?.id;
        Some(purged).filter(|purged| purged.index <= index && purged.term <= term)
    };
    from_entries().or_else(boundary)
}

/// Reads one entry; see [`Log::entry`].
pub(crate) fn entry(log: &Log, index: u64) -> Result<Entry> {
    let (core, replica) = (log.store.core(), log.replica);
    let in_memory = {
        let served = core.read_served();
        served.live(replica)?.and_then(|live| live.cached.from(index).next().cloned())
    };
    if let Some(entry) = in_memory {
        core.tell(|| event(replica, slice::from_ref(&entry), 1));
        return Ok(entry);
    }
    let one = Limit { bytes: u64::MAX, entries: 1 };
    let mut found = entries(log, &(index..=index), one)?;
    found.pop().ok_or(Error::Unavailable { replica, index })
}

/// Reads entries; see [`Log::entries`].
pub(crate) fn entries(
    log: &Log,
    range: &impl RangeBounds<u64>,
    limit: Limit,
) -> Result<Vec<Entry>> {
    if let Some(found) = entries_in_memory(log, range, limit)? {
        return Ok(found);
    }
    let core = log.store.core();
    loop {
        let view = core.read_served().view(log.replica)?;
        let Some(range) = resolve(log.replica, &view.state, range)? else {
            return Ok(Vec::new());
        };
        let mut reader = Reader::new(log.replica, &view.state, &range, limit);
        match reader.read(log, &view) {
            Ok(true) => {
                core.tell(|| event(log.replica, &reader.found, reader.from_memory));
                return Ok(reader.found);
            }
            // What is wrong although nothing has changed since is wrong.
            Err(error) if core.read_served().holds(log.replica, &view) => {
                return Err(error);
            }
            Ok(false) | Err(_) => {}
        }
    }
}

/// Reads entries without the engine; see [`Log::entries_in_memory`].
pub(crate) fn entries_in_memory(
    log: &Log,
    range: &impl RangeBounds<u64>,
    limit: Limit,
) -> Result<Option<Vec<Entry>>> {
    let core = log.store.core();
    let found = {
        // State and entries are of one moment: what is shown changes under this lock only.
        let served = core.read_served();
        let Some(live) = served.live(log.replica)? else {
            return Ok(Some(Vec::new()));
        };
        let Some(range) = resolve(log.replica, &live.state, range)? else {
            return Ok(Some(Vec::new()));
        };
        let mut reader = Reader::new(log.replica, &live.state, &range, limit);
        reader.take_from_memory(live);
        if !reader.done {
            return Ok(None);
        }
        reader.found
    };
    core.tell(|| event(log.replica, &found, found.len()));
    Ok(Some(found))
}

/// What an observer hears of a read.
fn event(replica: ReplicaId, found: &[Entry], from_memory: usize) -> Event {
    Event::Read {
        replica,
        from_memory,
        from_engine: found.len() - from_memory,
        entry_bytes: found.iter().map(|entry| entry.payload.len()).sum(),
    }
}

/// The indexes that a range comes to in a log as it stands, `None` for none.
fn resolve(
    replica: ReplicaId,
    state: &Replica,
    range: &impl RangeBounds<u64>,
) -> Result<Option<RangeInclusive<u64>>> {
    let Some(first) = bounds_first(range, state.first_index()) else {
        return Ok(None);
    };
    let Some(end) = bounds_last(range) else {
        return Ok(None);
    };
    if first > end {
        return Ok(None);
    }
    if state.first_index().is_some_and(|start| first < start)
        || state.purged_index().is_some_and(|purged| first <= purged)
    {
        return Err(absent(replica, state, first));
    }
    let Some(tail) = state.tail.filter(|tail| first <= tail.index) else {
        return Ok(None);
    };
    Ok(Some(first..=end.min(tail.index)))
}

/// The first index of a range, `None` where it has none.
fn bounds_first(range: &impl RangeBounds<u64>, unbounded: Option<u64>) -> Option<u64> {
    match range.start_bound() {
        Bound::Included(&first) => Some(first),
        Bound::Excluded(&before) => before.checked_add(1),
        Bound::Unbounded => unbounded,
    }
}

/// The last index of a range, `None` where it has none.
fn bounds_last(range: &impl RangeBounds<u64>) -> Option<u64> {
    match range.end_bound() {
        Bound::Included(&last) => Some(last),
        Bound::Excluded(&behind) => behind.checked_sub(1),
        Bound::Unbounded => Some(u64::MAX),
    }
}

/// Takes entries from memory and from the engine, and checks each that comes from there.
pub(crate) struct Reader<'a> {
    replica: ReplicaId,
    log: LogName,
    state: &'a Replica,
    next: u64,
    end: u64,
    left: Limit,
    done: bool,
    pub(crate) found: Vec<Entry>,
    /// How many of them came from memory.
    from_memory: usize,
    /// What is left to be read ahead, and what was.
    ahead: Option<Limit>,
    read_ahead: Vec<Entry>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        replica: ReplicaId,
        state: &'a Replica,
        range: &RangeInclusive<u64>,
        limit: Limit,
    ) -> Self {
        Self {
            replica,
            log: state.log(replica),
            state,
            next: *range.start(),
            end: *range.end(),
            left: limit,
            done: false,
            found: Vec::new(),
            from_memory: 0,
            ahead: None,
            read_ahead: Vec::new(),
        }
    }

    /// Reads until the end of the range or the limit; `false` where the log has changed meanwhile
    /// in a way that the view does not show.
    fn read(&mut self, log: &Log, view: &View) -> Result<bool> {
        let core = log.store.core();
        loop {
            let next_in_memory = {
                let served = core.read_served();
                if !served.holds(self.replica, view) {
                    return Ok(false);
                }
                let live = served.live(self.replica)?;
                live.and_then(|live| self.take_from_memory(live))
            };
            if self.done {
                return Ok(true);
            }
            let end = next_in_memory.map_or(u64::MAX, |first| first.saturating_sub(1));
            let known = self.found.len();
            self.read_engine(&*view.engine, end)?;
            if core.options.entry_bytes() > 0 {
                let read = self.found.get(known..).unwrap_or_default();
                let (evicted_bytes, cached_bytes) = {
                    let mut served = core.write_served();
                    served.keep_read(self.replica, view, read);
                    served.keep_read(self.replica, view, &self.read_ahead);
                    (served.evict(&core.options), served.cached_bytes())
                };
                self.read_ahead.clear();
                if evicted_bytes > 0 {
                    core.tell(|| Event::Evicted { bytes: evicted_bytes, cached_bytes });
                }
            }
        }
    }

    /// Takes what memory has, from the next index on. Answers where memory goes on behind that.
    fn take_from_memory(&mut self, live: &Live) -> Option<u64> {
        let mut next = None;
        // One run may end where the other begins.
        while !self.done && next != Some(self.next) {
            next = Some(self.next);
            for entry in live.cached.from(self.next) {
                if self.done || self.is_full(&entry.payload) {
                    break;
                }
                self.push(entry.clone());
                self.from_memory += 1;
            }
        }
        self.ahead = live.cached.is_read_on(self.next).then_some(AHEAD);
        live.cached.next_run(self.next)
    }

    /// Reads the engine from the next index on, through `end` at the most: up to the reader's own
    /// end and limit, and what is to be read ahead behind that.
    pub(crate) fn read_engine(&mut self, engine: &dyn KvLogDb, end: u64) -> Result<()> {
        let tail = self.state.last_index().unwrap_or(0);
        let own_end = end.min(self.end);
        let end = if self.ahead.is_some() { end.min(tail) } else { own_end };
        let mut failure = None;
        let range = self.next..=end;
        let scanned =
            engine.scan(self.log, range, Order::Ascending, usize::MAX, &mut |index, record| {
                match self.take(index, record) {
                    Ok(flow) => flow,
                    Err(error) => {
                        failure = Some(error);
                        ControlFlow::Break(())
                    }
                }
            });
        scanned.map_err(|error| self.engine_failed(error))?;
        let reached = self.found.last().is_some_and(|last| last.id.index >= own_end);
        if reached || self.done {
            return Ok(()); // damage behind that is for whoever asks for it
        }
        match failure {
            Some(error) => Err(error),
            None => Err(Error::corrupt(self.replica, self.next, "it is missing")),
        }
    }

    /// Whether another entry would go over the limit, which is then the end.
    fn is_full(&mut self, payload: &[u8]) -> bool {
        let fits = self.left.take(payload);
        self.done |= !fits && !self.found.is_empty();
        self.done
    }

    fn push(&mut self, entry: Entry) {
        self.done = entry.id.index >= self.end;
        self.next = entry.id.index.saturating_add(1);
        self.found.push(entry);
    }

    /// Damage that the engine found is damage to the entry that comes next.
    fn engine_failed(&self, error: kvlogdb_engine_api::Error) -> Error {
        match error {
            kvlogdb_engine_api::Error::Corrupt { what, .. } => {
                Error::corrupt(self.replica, self.next, what)
            }
            other => Error::Engine(other),
        }
    }

    fn take(&mut self, index: u64, record: Cow<'_, [u8]>) -> Result<ControlFlow<()>> {
        let expected =
            self.read_ahead.last().map_or(self.next, |last| last.id.index.saturating_add(1));
        if index != expected {
            return Err(Error::corrupt(self.replica, expected, "it is missing"));
        }
        let (header, payload) = Header::decode(self.log.at(index), &record)
            .map_err(|error| Error::corrupt(self.replica, index, error.to_string()))?;
        if self.state.runs.at(index).is_none_or(|run| run.term != header.term) {
            let what = "its term is not the one in the state";
            return Err(Error::corrupt(self.replica, index, what));
        }
        let own = !self.done && !self.is_full(payload);
        if !own && !self.ahead.as_mut().is_some_and(|ahead| ahead.take(payload)) {
            return Ok(ControlFlow::Break(()));
        }
        let id = LogId::new(header.term, index);
        let payload = keep_payload(record);
        let entry = Entry { id, kind: header.kind, payload };
        if own {
            self.push(entry);
        } else {
            self.read_ahead.push(entry);
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The payload of a record, with one copy at the most.
fn keep_payload(record: Cow<'_, [u8]>) -> Bytes {
    match record {
        Cow::Borrowed(record) => {
            Bytes::copy_from_slice(record.get(RECORD_HEADER_BYTES..).unwrap_or_default())
        }
        Cow::Owned(record) => {
            let mut record = Bytes::from(record);
            record.split_off(RECORD_HEADER_BYTES.min(record.len()))
        }
    }
}
