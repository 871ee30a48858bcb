//! Draws changes near the edges of what a log accepts.

use kvlogdb_log::{Boundary, Entry, EntryKind, HardState, Leader, LogId, Snapshot};

use crate::common::Random;
use crate::reference::{Change, Reference};

const LEADERS: [&str; 3] = ["", "a", "b"];

/// A change that a replica in this state may accept or refuse.
pub(crate) fn change(random: &mut Random, state: &Reference) -> Change {
    match random.below(40) {
        0..12 => {
            let first = match next(state) {
                Some(next) => slip(random, next, 12),
                None => start(random),
            };
            let (leader, entries) = entries(random, state, first);
            Change::Append(leader, entries)
        }
        12..17 => {
            let first = index(random, state);
            let (leader, entries) = entries(random, state, first);
            Change::Replace(leader, entries)
        }
        17..20 => Change::Truncate(index(random, state)),
        20..25 => Change::Purge(boundary(random, state)),
        25..28 => Change::Install(boundary(random, state)),
        28 => Change::Reset,
        29..34 => Change::HardState(hard_state(random, state)),
        34 => Change::Snapshot(Snapshot { id: boundary(random, state).id, data: data(random) }),
        35 => Change::Applied(boundary(random, state).id),
        36 => Change::Membership(data(random)),
        37..39 => {
            let slot = [256, 257, u16::MAX][pick(random, 3)];
            Change::Slot(slot, (random.below(3) > 0).then(|| data(random)))
        }
        _ => Change::Remove,
    }
}

fn pick(random: &mut Random, count: u64) -> usize {
    usize::try_from(random.below(count)).unwrap()
}

fn data(random: &mut Random) -> bytes::Bytes {
    vec![u8::try_from(random.below(256)).unwrap(); pick(random, 40)].into()
}

/// Where a log begins: low, high enough for what comes before it, or close to the largest index.
fn start(random: &mut Random) -> u64 {
    match random.below(6) {
        0 => 0,
        1..4 => random.below(12),
        4 => 1000,
        _ => u64::MAX - random.below(12),
    }
}

fn next(state: &Reference) -> Option<u64> {
    state.last().map(|last| last.id.index.saturating_add(1))
}

/// `index`, and once in `rarely` one close to it.
fn slip(random: &mut Random, index: u64, rarely: u64) -> u64 {
    match random.below(rarely * 2) {
        0 => index.saturating_add(1 + random.below(3)),
        1 => index.saturating_sub(1 + random.below(3)),
        _ => index,
    }
}

/// An index in or around the log, more often close to an edge of it.
pub(crate) fn index(random: &mut Random, state: &Reference) -> u64 {
    let first = state.first().unwrap_or_else(|| start(random));
    let last = state.last().map_or(first, |last| last.id.index);
    match random.below(9) {
        0 => random.below(3),
        1 => u64::MAX - random.below(2),
        2 => slip(random, first, 1),
        3 | 4 => slip(random, last, 1),
        5 => slip(random, state.commit().unwrap_or(last), 1),
        _ => first.saturating_add(random.below(last.saturating_sub(first).saturating_add(1))),
    }
}

fn term_near(random: &mut Random, state: &Reference, index: u64) -> u64 {
    let before = |boundary: &&Boundary| boundary.id.index <= index;
    let term = state.ids().iter().rfind(before).map_or(2, |boundary| boundary.id.term);
    match random.below(12) {
        0 => term.saturating_sub(1),
        1 | 2 => term + 1,
        3 => term + 3,
        _ => term,
    }
}

fn entries(random: &mut Random, state: &Reference, first: u64) -> (Leader, Vec<Entry>) {
    let mut term = term_near(random, state, first.saturating_sub(1));
    let count = if random.below(30) == 0 { 0 } else { 1 + random.below(7) };
    let mut entries = Vec::new();
    let mut index = Some(first);
    while let Some(at) = index.filter(|_| (entries.len() as u64) < count) {
        let kind = EntryKind(u8::try_from(random.below(4)).unwrap());
        entries.push(Entry { id: LogId::new(term, at), kind, payload: data(random) });
        term = match random.below(40) {
            0 => term.saturating_sub(1),
            1..8 => term + 1,
            _ => term,
        };
        index = at.checked_add(if random.below(60) == 0 { 2 } else { 1 });
    }
    (leader(random), entries)
}

fn leader(random: &mut Random) -> Leader {
    Leader::new(LEADERS[pick(random, 3)]).unwrap()
}

/// An id that is mostly the log's own.
fn boundary(random: &mut Random, state: &Reference) -> Boundary {
    let index = index(random, state);
    let held = state.ids().into_iter().find(|boundary| boundary.id.index == index);
    match (held, random.below(8)) {
        (Some(held), 0..4) => held,
        (Some(held), 4..6) => held.id.into(),
        (Some(held), _) => Boundary { id: held.id, leader: leader(random) },
        (None, _) => {
            let id = LogId::new(term_near(random, state, index), index);
            Boundary { id, leader: leader(random) }
        }
    }
    .perturbed(random)
}

trait Perturbed {
    fn perturbed(self, random: &mut Random) -> Self;
}

impl Perturbed for Boundary {
    fn perturbed(mut self, random: &mut Random) -> Self {
        match random.below(12) {
            0 => self.id.term += 1,
            1 => self.id.term = self.id.term.saturating_sub(1),
            _ => {}
        }
        self
    }
}

fn hard_state(random: &mut Random, state: &Reference) -> HardState {
    let old = state.hard_state.unwrap_or_default();
    let mut new = old;
    match random.below(6) {
        0 => new.term = old.term.saturating_sub(1),
        1 => (new.term, new.vote) = (old.term + 1, None),
        2 => new.vote = Some(random.below(3)),
        _ => {}
    }
    if random.below(3) > 0 {
        new.commit = match random.below(5) {
            0 => state.first(),
            1 => Some(index(random, state)),
            2 => old.commit.map(|commit| commit.saturating_add(random.below(4))),
            3 => state.last().map(|last| last.id.index),
            _ => None,
        };
    }
    new
}
