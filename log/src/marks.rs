//! Marks: what synced batches carry so that the sidecar can vouch for them.
//!
//! The mark itself tells of an engine that went back as a whole. One that lost the end of a single
//! log is told by that replica's marked index, which goes into the engine with the mark: the log
//! never ends before it, because a batch that takes the end of a log back lowers it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use kvlogdb_engine_api::{MetaKey, ReplicaId};

use crate::line::Need;
use crate::observe::Event;
use crate::plan::Step;
use crate::record::{self, StoreRecord, slot};
use crate::recover::Contents;
use crate::sidecar::{Reading, Sidecar};
use crate::sync::Instant;
use crate::{Error, LogOptions, LostData, Result};

/// When the next mark is due, and where it goes.
#[derive(Debug)]
pub(crate) struct Marks {
    sidecar: Option<Sidecar>,
    interval: Duration,
    mark: u64,
    marked_at: Instant,
    /// Whether anything was written since the last mark.
    pending: bool,
    /// Where the logs end, as written, that have changed since they were marked.
    unmarked: BTreeMap<ReplicaId, u64>,
    /// Where the next mark begins to take them.
    hand: ReplicaId,
    failure: Option<io::Error>,
    /// What the last attempt to write the sidecar came to, until it is asked for.
    event: Option<Event>,
    /// Whether the last attempt to write the sidecar failed.
    failing: bool,
}

/// How many logs' ends go with one mark; the others wait for the next.
const MAX_MARKED: usize = 1 << 14;
/// How long after a failure the sidecar is left alone, at the least.
const RETRY_WAIT: Duration = Duration::from_millis(100);

fn failed(error: io::Error) -> Error {
    Error::Engine(kvlogdb_engine_api::Error::io("keep the sidecar", error))
}

impl Marks {
    /// Compares the engine's record with the sidecar and opens the sidecar.
    ///
    /// # Errors
    ///
    /// [`Error::LostSyncedData`] and [`Error::StoreDamaged`], unless the options accept that.
    pub(crate) fn open(options: &LogOptions, contents: &Contents) -> Result<Self> {
        let stored = contents.store;
        let mut marks = Self {
            sidecar: None,
            interval: options.mark_interval,
            mark: stored.map_or(0, |record| record.mark),
            marked_at: Instant::now(),
            pending: false,
            unmarked: BTreeMap::new(),
            hand: ReplicaId::default(),
            failure: None,
            event: None,
            failing: false,
        };
        let Some(path) = options.sidecar.as_deref() else {
            return Ok(marks);
        };
        let reading = Sidecar::read(path).map_err(failed)?;
        if options.lost_data == LostData::Refuse {
            judge(path, reading, stored)?;
        }
        if let Reading::Mark(mark) = reading {
            // An accepted loss is settled by a mark of its own, or it would be refused next time.
            marks.pending = mark > marks.mark;
            marks.mark = marks.mark.max(mark);
            if marks.mark % 2 != mark % 2 {
                marks.skip_slot();
            }
        }
        marks.sidecar = Some(match reading {
            Reading::Mark(_) => Sidecar::open(path).map_err(failed)?,
            Reading::Missing | Reading::Damaged => {
                Sidecar::create(path, marks.mark).map_err(failed)?
            }
        });
        for (&id, replica) in &contents.replicas {
            if let Some(last) = replica.as_ref().ok().and_then(|replica| replica.unmarked()) {
                marks.note_end(id, Some(last));
            }
        }
        Ok(marks)
    }

    /// The mark that comes next.
    fn next(&self) -> u64 {
        self.mark.saturating_add(1)
    }

    /// Leaves the slot that comes next alone, because it is the only one known to be intact.
    fn skip_slot(&mut self) {
        self.mark = self.mark.saturating_add(1);
    }

    /// Whether a write is to carry the next mark.
    pub(crate) fn is_due(&self, need: Need) -> bool {
        let due = || need == Need::Now || self.marked_at.elapsed() >= self.interval;
        self.sidecar.is_some() && due()
    }

    /// The steps that carry the next mark.
    pub(crate) fn steps(&self) -> Vec<Step<'static>> {
        let body = record::to_body(&StoreRecord { mark: self.next() });
        let mark = Step::PutMeta { key: MetaKey::store(slot::STORE), body, data: &[] };
        self.next_ends().map(|(id, last)| marked_step(id, Some(last))).chain([mark]).collect()
    }

    /// The ends that go with the next mark. Each gets its turn, also where all change all the time.
    fn next_ends(&self) -> impl Iterator<Item = (ReplicaId, u64)> {
        let behind = self.unmarked.range(self.hand..).chain(self.unmarked.range(..self.hand));
        behind.map(|(&id, &last)| (id, last)).take(MAX_MARKED)
    }

    /// Notes where a write leaves the end of a log, before the mark that it may carry.
    pub(crate) fn note_end(&mut self, id: ReplicaId, last: Option<u64>) {
        match last {
            Some(last) if self.sidecar.is_some() => self.unmarked.insert(id, last),
            _ => self.unmarked.remove(&id),
        };
    }

    /// Notes a write that carried no mark.
    pub(crate) fn note_write(&mut self) {
        self.pending = true;
    }

    /// When the next mark is due, `None` while nothing waits for one.
    pub(crate) fn due(&self) -> Option<Instant> {
        // A sidecar that cannot be written is tried again, and not without a pause.
        let wait = if self.failing { self.interval.max(RETRY_WAIT) } else { self.interval };
        self.is_behind().then(|| self.marked_at.checked_add(wait)).flatten()
    }

    /// Whether the last mark does not cover everything.
    pub(crate) fn is_behind(&self) -> bool {
        self.pending && self.sidecar.is_some()
    }

    /// The batch with the [`steps`](Self::steps) is synced: the sidecar may know. A sidecar
    /// that cannot be written covers less and harms nothing, so that is remembered and no more.
    pub(crate) fn synced(&mut self) {
        self.mark = self.next();
        self.marked_at = Instant::now();
        let marked: Vec<_> = self.next_ends().map(|(id, _)| id).collect();
        self.hand = marked.last().copied().unwrap_or(self.hand);
        for id in marked {
            self.unmarked.remove(&id);
        }
        (self.pending, self.failing) = (!self.unmarked.is_empty(), false);
        let Some(sidecar) = &mut self.sidecar else { return };
        if let Err(error) = sidecar.write(self.mark) {
            self.event = Some(Event::MarkFailed { kind: error.kind(), what: error.to_string() });
            self.failure = Some(error);
            (self.pending, self.failing) = (true, true);
            self.skip_slot();
        } else {
            self.event = Some(Event::Marked { mark: self.mark });
        }
    }

    /// What the last attempt to write the sidecar came to, once.
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// The last failure to write the sidecar, once.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}

/// Refuses an engine that is behind the sidecar, and a sidecar that cannot say.
fn judge(path: &Path, reading: Reading, stored: Option<StoreRecord>) -> Result<()> {
    let found = stored.map_or(0, |record| record.mark);
    match reading {
        Reading::Mark(expected) if expected > found => {
            Err(Error::LostSyncedData { found, expected })
        }
        Reading::Mark(_) => Ok(()),
        Reading::Missing if stored.is_none() => Ok(()),
        Reading::Missing | Reading::Damaged => {
            let what = format!("its sidecar {} is missing or unreadable", path.display());
            Err(Error::StoreDamaged { what })
        }
    }
}

/// The step that has a replica marked at `last`, or not at all.
pub(crate) fn marked_step(id: ReplicaId, last: Option<u64>) -> Step<'static> {
    let key = MetaKey::replica(id, slot::MARKED);
    match last {
        Some(last) => Step::PutMeta { key, body: record::to_body(&last), data: &[] },
        None => Step::RemoveMeta { key },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_that_fails_is_told_once_and_keeps_its_intact_slot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("SEQ");
        let options = LogOptions { sidecar: Some(path.clone()), ..LogOptions::default() };
        let mut marks = Marks::open(&options, &Contents::default()).unwrap();
        marks.synced();
        assert!(marks.take_failure().is_none() && !marks.is_behind());
        assert!(matches!(marks.take_event(), Some(Event::Marked { mark: 1 })));
        let before = std::fs::read(&path).unwrap();
        marks.sidecar = Some(Sidecar::read_only(&path).unwrap());
        marks.synced();
        assert!(marks.take_failure().is_some() && marks.take_failure().is_none());
        assert!(matches!(marks.take_event(), Some(Event::MarkFailed { .. })));
        assert!(marks.take_event().is_none());
        assert!(marks.is_behind(), "the close tries again");
        marks.sidecar = Some(Sidecar::open(&path).unwrap());
        marks.synced();
        let after = std::fs::read(&path).unwrap();
        assert_eq!(after[4096..], before[4096..], "the slot of the last mark");
        assert_eq!(Sidecar::read(&path).unwrap(), Reading::Mark(marks.mark));
    }

    /// Or a mark after a busy second on very many replicas would be a batch without end.
    #[test]
    fn ends_that_are_too_many_for_one_mark_wait_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let sidecar = Some(dir.path().join("SEQ"));
        let options = LogOptions { sidecar, ..LogOptions::default() };
        let mut marks = Marks::open(&options, &Contents::default()).unwrap();
        let groups = MAX_MARKED as u64 + 5;
        let note_all = |marks: &mut Marks| {
            (0..groups).for_each(|group| marks.note_end(ReplicaId::from(group), Some(group)));
        };
        note_all(&mut marks);
        assert_eq!(marks.steps().len(), MAX_MARKED + 1);
        marks.synced();
        assert!(marks.is_behind());
        assert_eq!(marks.steps().len(), 5 + 1);
        note_all(&mut marks);
        marks.synced();
        let late: Vec<_> = marks.unmarked.keys().map(|id| id.group).collect();
        assert!(late.iter().all(|&group| group < groups - 5), "those that wait come first");
        marks.synced();
        assert!(!marks.is_behind());
        assert_eq!(marks.steps().len(), 1);
    }
}
