//! Opens what a crash, a fault or rot has left, and says what it is worth.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kvlogdb::{EngineError, TornTail};
use kvlogdb_conformance::Random;
use kvlogdb_log::{Durability, Entry, Error, Log, LogBatch, LogStore, ReplicaId};

use crate::bare;
use crate::failure::{Checked, chain};
use crate::history::{History, Story};
use crate::judge::judge;
use crate::ledger::Bounds;
use crate::seen::{PROBE_GROUP, Shown, look_at_all};
use crate::subject::{self, Place};
use crate::verdict::{Finding, Verdict};

/// One store to be checked. It is changed by that.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) place: Place,
    pub(crate) bounds: Bounds,
    /// Whether it is opened twice; else only its first opening is looked at.
    pub(crate) depth: Depth,
}

/// How much a check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Opens, compares, and adds one more entry.
    Once,
    /// As `Once`, closes, opens, and compares again.
    Twice,
    /// Something in it was damaged: it is whole, or it says so.
    Rotten,
}

/// What is checked against: a story with its histories drawn.
#[derive(Debug)]
pub(crate) struct Checker {
    story: Story,
    histories: Vec<History>,
}

impl Checker {
    pub(crate) fn new(story: &Story) -> Self {
        Self { story: story.clone(), histories: story.histories() }
    }

    pub(crate) fn story(&self) -> &Story {
        &self.story
    }

    /// Checks one store. A panic is a verdict, too.
    pub(crate) fn check(&mut self, job: &Job) -> Verdict {
        for (history, &issued) in self.histories.iter_mut().zip(&job.bounds.issued) {
            history.draw_to(issued);
        }
        let checked = catch_unwind(AssertUnwindSafe(|| self.look(job)));
        checked.unwrap_or_else(|panic| Verdict::failed(Finding::Panicked, said(&*panic)))
    }

    fn look(&self, job: &Job) -> Verdict {
        if self.story.spec.engine.kind().is_none() {
            return bare::check(&self.story.spec, &job.place, &job.bounds);
        }
        match job.depth {
            Depth::Rotten => self.look_at_rot(job),
            _ => self.look_at_crash(job).unwrap_or_else(|verdict| verdict),
        }
    }

    fn open(&self, place: &Place, torn: TornTail) -> kvlogdb_log::Result<LogStore> {
        let mut honest = self.story.spec;
        honest.lie = crate::spec::Lie::None;
        subject::open(&honest, place, torn)
    }

    /// Opens a store that was not damaged. `true` beside it where that took a repair.
    fn open_crashed(&self, place: &Place) -> Result<(LogStore, bool), Verdict> {
        let failed = |error: &Error| Verdict::failed(Finding::NotOpened, chain(error));
        match self.open(place, TornTail::Refuse) {
            Ok(store) => Ok((store, false)),
            Err(Error::Engine(EngineError::TornTail { .. })) => {
                let repaired = self.open(place, TornTail::Repair);
                repaired.map(|store| (store, true)).map_err(|error| failed(&error))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    fn look_at_crash(&self, job: &Job) -> Result<Verdict, Verdict> {
        let (store, repaired) = self.open_crashed(&job.place)?;
        let shown = shown(&store)?;
        let positions = judge(&self.histories, &job.bounds, &shown)
            .map_err(|(finding, text)| Verdict::failed(finding, text))?;
        sound(&store)?;
        let number = add_one_more(&store)?;
        if job.depth == Depth::Twice {
            self.look_again(&job.place, store, &shown, number)?;
        }
        Ok(if repaired { Verdict::Repaired(positions) } else { Verdict::Sound(positions) })
    }

    /// Closes the store, opens it, and expects what it showed, and the entry that was added.
    fn look_again(
        &self,
        place: &Place,
        store: LogStore,
        before: &Shown,
        number: u64,
    ) -> Result<(), Verdict> {
        let failed = |what: &str, error: &Error| {
            Verdict::failed(Finding::Unstable, format!("{what}: {}", chain(error)))
        };
        store.close().map_err(|error| failed("closing", &error))?;
        drop(store);
        let store = self
            .open(place, TornTail::Refuse)
            .map_err(|error| failed("opening once more", &error))?;
        if shown(&store)? != *before {
            return Err(Verdict::failed(Finding::Unstable, "it shows something else once more"));
        }
        let kept = probe(&store).entry(number).map(|entry| entry == one_more(number));
        match kept {
            Ok(true) => sound(&store),
            Ok(false) => Err(Verdict::failed(Finding::RefusesAppends, "what it kept is another")),
            Err(error) => Err(Verdict::failed(Finding::RefusesAppends, chain(&error))),
        }
    }

    /// What is damaged may be refused as a whole or in part. What is shown must be there.
    fn look_at_rot(&self, job: &Job) -> Verdict {
        let store = match self.open(&job.place, TornTail::Refuse) {
            Ok(store) => store,
            Err(error) => return Verdict::Refused(chain(&error)),
        };
        let shown = match look_at_all(&store) {
            Ok(shown) => shown,
            Err(text) => return Verdict::Refused(text),
        };
        let mut refused = None;
        let mut wanted = std::collections::BTreeMap::new();
        for (history, &at) in self.histories.iter().zip(&job.bounds.issued) {
            let Some(step) = history.step(at) else { continue };
            for (replica, reference) in step.state.existing() {
                wanted.insert(replica, crate::seen::Seen::from(reference));
            }
        }
        for (replica, wanted) in &wanted {
            match shown.get(replica) {
                Some(Ok(seen)) if seen == wanted => {}
                Some(Ok(seen)) => {
                    let list = crate::seen::differences(seen, wanted).join("; ");
                    let shorter = seen.entries.len() < wanted.entries.len()
                        && seen.entries.iter().all(|entry| wanted.entries.contains(entry));
                    let name =
                        if shorter { Finding::SilentlyShorter } else { Finding::SilentlyWrong };
                    return Verdict::failed(name, format!("replica {replica}: {list}"));
                }
                Some(Err(text)) => refused = Some(format!("replica {replica}: {text}")),
                None => {
                    let text = format!("replica {replica} is not there");
                    return Verdict::failed(Finding::SilentlyShorter, text);
                }
            }
        }
        for (replica, seen) in shown.iter().filter(|(replica, _)| !wanted.contains_key(replica)) {
            match seen {
                Ok(_) => {
                    let text = format!("replica {replica} is new");
                    return Verdict::failed(Finding::SilentlyWrong, text);
                }
                Err(text) => refused = Some(format!("replica {replica}: {text}")),
            }
        }
        refused.map_or_else(|| Verdict::Sound(job.bounds.issued.clone()), Verdict::Refused)
    }
}

/// Where the writers of a store that is open are, as its markers say.
pub(crate) fn positions(store: &LogStore, writers: u64) -> Checked<Vec<u64>> {
    (0..writers).map(|writer| position(store, writer)).collect()
}

fn position(store: &LogStore, writer: u64) -> Checked<u64> {
    let log = store.log(crate::history::marker(writer));
    let value = log.slot(crate::history::MARKER_SLOT)?;
    let Some(bytes) = value else { return Ok(0) };
    let position = crate::history::Position::from_bytes(&bytes);
    Ok(position.ok_or("a marker that is no position")?.number)
}

fn shown(store: &LogStore) -> Result<Shown, Verdict> {
    look_at_all(store).map_err(|text| Verdict::failed(Finding::Damaged, text))
}

/// Walks the store for invariants that do not hold.
fn sound(store: &LogStore) -> Result<(), Verdict> {
    let report = store.check().map_err(|error| Verdict::failed(Finding::Unsound, chain(&error)))?;
    match report.problems.first() {
        None => Ok(()),
        Some(first) => {
            let more = report.problems.len() - 1;
            Err(Verdict::failed(Finding::Unsound, format!("{first}, and {more} more")))
        }
    }
}

fn probe(store: &LogStore) -> Log {
    store.log(ReplicaId { group: PROBE_GROUP, node: 0 })
}

fn one_more(number: u64) -> Entry {
    Entry::new(1, number, Random::new(number).next().to_be_bytes().to_vec())
}

/// Appends one entry to a replica of the check's own, synced; gives its index.
fn add_one_more(store: &LogStore) -> Result<u64, Verdict> {
    let failed = |error: &Error| Verdict::failed(Finding::RefusesAppends, chain(error));
    let log = probe(store);
    let last = log.last_index().map_err(|error| failed(&error))?;
    let number = last.map_or(1, |last| last + 1);
    let mut batch = LogBatch::new();
    batch.append(log.replica(), vec![one_more(number)]);
    store.write(&batch, Durability::Synced).map_err(|error| failed(&error))?;
    Ok(number)
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "something that is no text".to_owned())
}
