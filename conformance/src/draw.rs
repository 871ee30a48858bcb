//! Draws changes near the edges of what a log accepts.

use bytes::Bytes;
use kvlogdb_log::{
    Boundary, Entry, EntryKind, HardState, Leader, LogId, PurgeGuard, ReplicaId, Snapshot,
};

use crate::random::Random;
use crate::reference::{Change, Reference, References};

const LEADERS: [&str; 3] = ["", "a", "b"];
/// The slots of the caller that are drawn.
const SLOTS: [u16; 3] = [256, 257, u16::MAX];

/// A batch for some of these replicas, of which there is at least one, in a store of this state.
/// The store may take it or refuse it.
pub fn batch(
    random: &mut Random,
    replicas: &[ReplicaId],
    state: &References,
    guard: PurgeGuard,
) -> Vec<(ReplicaId, Change)> {
    let count = if random.below(3) > 0 { 1 } else { 1 + random.below(6) };
    let most = *random.pick(replicas);
    let mut changes = Vec::new();
    let mut next = state.clone();
    for _ in 0..count {
        let replica = if random.below(3) > 0 { most } else { *random.pick(replicas) };
        let mut reference = next.of(replica);
        let change = change(random, &reference);
        if reference.apply(&change, guard).is_ok() {
            next.set(replica, reference);
        }
        changes.push((replica, change));
    }
    changes
}

/// A change that a replica in this state may accept or refuse.
fn change(random: &mut Random, state: &Reference) -> Change {
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
            let slot = *random.pick(&SLOTS);
            Change::Slot(slot, (random.below(3) > 0).then(|| data(random)))
        }
        _ => Change::Remove,
    }
}

fn byte(random: &mut Random) -> u8 {
    let [byte, ..] = random.next().to_le_bytes();
    byte
}

fn data(random: &mut Random) -> Bytes {
    vec![byte(random); usize::from(byte(random) % 40)].into()
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
pub fn index(random: &mut Random, state: &Reference) -> u64 {
    let first = state.first_index().unwrap_or_else(|| start(random));
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
        let kind = EntryKind(byte(random) % 4);
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
    Leader::new(*random.pick(&LEADERS)).unwrap_or_default()
}

/// An id that is mostly the log's own.
fn boundary(random: &mut Random, state: &Reference) -> Boundary {
    let index = index(random, state);
    let mut drawn = match (state.id(index), random.below(8)) {
        (Some(held), 0..4) => held,
        (Some(held), 4..6) => held.id.into(),
        (Some(held), _) => Boundary { id: held.id, leader: leader(random) },
        (None, _) => {
            let id = LogId::new(term_near(random, state, index), index);
            Boundary { id, leader: leader(random) }
        }
    };
    match random.below(12) {
        0 => drawn.id.term += 1,
        1 => drawn.id.term = drawn.id.term.saturating_sub(1),
        _ => {}
    }
    drawn
}

fn hard_state(random: &mut Random, state: &Reference) -> HardState {
    let old = state.hard_state().unwrap_or_default();
    let mut new = old;
    match random.below(6) {
        0 => new.term = old.term.saturating_sub(1),
        1 => (new.term, new.vote) = (old.term + 1, None),
        2 => new.vote = Some(random.below(3)),
        _ => {}
    }
    if random.below(3) > 0 {
        new.commit = match random.below(5) {
            0 => state.first_index(),
            1 => Some(index(random, state)),
            2 => old.commit.map(|commit| commit.saturating_add(random.below(4))),
            3 => state.last().map(|last| last.id.index),
            _ => None,
        };
    }
    new
}
