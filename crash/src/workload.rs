//! Draws what a Raft node writes: commands that a log in a known state accepts.

use bytes::Bytes;
use kvlogdb_conformance::Random;
use kvlogdb_conformance::draw;
use kvlogdb_conformance::reference::{Change, Reference, References};
use kvlogdb_log::{
    Boundary, Durability, Entry, FIRST_USER_SLOT, HardState, Leader, LogId, MAX_PAYLOAD_BYTES,
    PurgeGuard, ReplicaId, Snapshot,
};

use crate::spec::{Asks, Shape, Spec};

/// The slots of the caller that commands fill.
pub(crate) const SLOTS: [u16; 3] = [FIRST_USER_SLOT, FIRST_USER_SLOT + 1, u16::MAX];
/// How many entries a log of [`Shape::Purge`] has before most of them go.
const LONG: u64 = 300;

/// Changes that go in one batch, and what durability is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) changes: Vec<(ReplicaId, Change)>,
    pub(crate) asked: Durability,
}

/// The replicas that one writer writes to; no other writer does.
pub(crate) fn replicas(shape: Shape, writer: u64) -> Vec<ReplicaId> {
    let count = match shape {
        Shape::Append | Shape::Large | Shape::Limit | Shape::Purge => 2,
        Shape::Conflict | Shape::Edges => 3,
        Shape::Many => 12,
    };
    // Neighbours in key order, of one group and of the next, and the largest key there is.
    let mut all: Vec<_> = (0..count)
        .map(|number| ReplicaId { group: 10 * (writer + 1) + number / 2, node: number % 2 })
        .collect();
    if let Some(last) = all.last_mut().filter(|_| shape == Shape::Edges) {
        *last = ReplicaId { group: u64::MAX - writer, node: u64::MAX };
    }
    all
}

/// The next command of a writer whose replicas are in this state.
pub(crate) fn command(
    random: &mut Random,
    spec: &Spec,
    replicas: &[ReplicaId],
    state: &References,
) -> Command {
    let changes = loop {
        let changes = changes(random, spec.shape, replicas, state);
        if !changes.is_empty() && state.after(&changes, PurgeGuard::None).is_ok() {
            break changes;
        }
    };
    let synced = spec.asks != Asks::Mixed || random.below(3) == 0;
    Command { changes, asked: if synced { Durability::Synced } else { Durability::Buffered } }
}

fn changes(
    random: &mut Random,
    shape: Shape,
    replicas: &[ReplicaId],
    state: &References,
) -> Vec<(ReplicaId, Change)> {
    if shape == Shape::Edges {
        return draw::batch(random, replicas, state, PurgeGuard::None);
    }
    let several = match shape {
        Shape::Many => 1 + random.below(6),
        Shape::Conflict => 1 + u64::from(random.below(4) == 0),
        _ => 1,
    };
    let mut changes: Vec<(ReplicaId, Change)> = Vec::new();
    for _ in 0..several {
        let replica = *random.pick(replicas);
        if changes.iter().all(|(other, _)| *other != replica) {
            let mut drawn = of_one(random, shape, &state.of(replica));
            changes.extend(drawn.drain(..).map(|change| (replica, change)));
        }
    }
    changes
}

/// What happens to one replica in a batch.
fn of_one(random: &mut Random, shape: Shape, log: &Reference) -> Vec<Change> {
    let held = log.entries().len() as u64;
    match shape {
        Shape::Append => match random.below(20) {
            0..13 => vec![append(random, shape, log)],
            13..15 => vec![Change::HardState(vote(random, log)), append(random, shape, log)],
            15 => vec![Change::HardState(vote(random, log))],
            16 | 17 => vec![Change::HardState(commit(random, log))],
            18 if held > 0 => vec![Change::Applied(end(log))],
            _ => vec![slot(random)],
        },
        Shape::Limit => limit(random, log, held),
        Shape::Purge => match random.below(8) {
            _ if held < LONG => vec![append(random, shape, log)],
            0..4 => vec![Change::Purge(inner(random, log))],
            4 => vec![Change::Replace(Leader::default(), tail(random, shape, log))],
            5 => vec![Change::Reset],
            6 => vec![Change::Remove],
            _ => vec![install(random, log)],
        },
        _ => conflict(random, shape, log, held),
    }
}

fn conflict(random: &mut Random, shape: Shape, log: &Reference, held: u64) -> Vec<Change> {
    match random.below(40) {
        0..3 => vec![Change::HardState(vote(random, log))],
        3..6 => vec![Change::HardState(vote(random, log)), append(random, shape, log)],
        6..8 => vec![Change::HardState(commit(random, log))],
        8 => vec![slot(random)],
        9 => vec![Change::Membership(payload(random, 90))],
        _ if held < 4 => vec![append(random, shape, log)],
        10..18 => vec![Change::Replace(Leader::default(), tail(random, shape, log))],
        18 | 19 => vec![Change::Truncate(inner(random, log).id.index)],
        20..23 => vec![Change::Purge(inner(random, log))],
        23 | 24 => {
            let through = inner(random, log);
            let data = payload(random, 60);
            let snapshot = Snapshot { id: through.id, data };
            vec![Change::Snapshot(snapshot), Change::Purge(through)]
        }
        25 | 26 => vec![install(random, log)],
        27 => vec![Change::Reset],
        28 if held > 6 => vec![Change::Remove],
        29 if held > 6 => vec![Change::Remove, append(random, shape, &Reference::default())],
        30 => vec![Change::Applied(inner(random, log).id)],
        _ => vec![append(random, shape, log)],
    }
}

/// Entries up to the limit, in a handful: what they replace goes at once.
fn limit(random: &mut Random, log: &Reference, held: u64) -> Vec<Change> {
    let len = match random.below(3) {
        0 => MAX_PAYLOAD_BYTES,
        1 => MAX_PAYLOAD_BYTES - 1 - usize::from(byte(random)),
        _ => MAX_PAYLOAD_BYTES / 2,
    };
    let entry = |random: &mut Random, term, index| {
        Entry::new(term, index, Bytes::from(bytes(random.next(), len)))
    };
    match held {
        0 | 1 => vec![Change::Append(Leader::default(), vec![entry(random, term(log), next(log))])],
        _ if random.below(2) == 0 => vec![Change::Purge(end(log).into())],
        _ => {
            let last = entry(random, term(log) + 1, end(log).index);
            vec![Change::Replace(Leader::default(), vec![last])]
        }
    }
}

fn append(random: &mut Random, shape: Shape, log: &Reference) -> Change {
    let term = term(log) + u64::from(random.below(8) == 0);
    let count = match shape {
        Shape::Large => 1 + random.below(2),
        Shape::Purge => 60 + random.below(60),
        _ => 1 + random.below(5),
    };
    Change::Append(Leader::default(), run(random, shape, term, next(log), count))
}

/// Entries that replace some of the log's last ones that are not committed.
fn tail(random: &mut Random, shape: Shape, log: &Reference) -> Vec<Entry> {
    let next = next(log);
    let committed = commit_of(log).map_or(0, |commit| commit + 1);
    let purged = log.purged().map_or(0, |purged| purged.id.index + 1);
    let lowest = committed.max(purged).max(next.saturating_sub(6));
    let from = lowest + random.below((next - lowest).max(1));
    let term = term(log) + 1;
    let count = 1 + random.below(4);
    run(random, shape, term, from.min(next), count)
}

fn run(random: &mut Random, shape: Shape, term: u64, first: u64, count: u64) -> Vec<Entry> {
    (first..first + count)
        .map(|index| {
            let len = match shape {
                Shape::Append => 40 + random.below(160),
                Shape::Large => 20_000 + random.below(40_000),
                Shape::Purge => 8 + random.below(8),
                _ if random.below(12) == 0 => 0,
                Shape::Conflict => 40 + random.below(2000),
                _ => random.below(120),
            };
            Entry::new(term, index, payload(random, len))
        })
        .collect()
}

/// An id from somewhere in the log, its ends among them.
fn inner(random: &mut Random, log: &Reference) -> Boundary {
    let entries = log.entries().len() as u64;
    let index = next(log).saturating_sub(1 + random.below(entries.max(1)));
    log.id(index).unwrap_or_default()
}

fn install(random: &mut Random, log: &Reference) -> Change {
    if random.below(2) == 0 {
        return Change::Install(inner(random, log));
    }
    Change::Install(LogId::new(term(log) + 1, next(log) + 1 + random.below(20)).into())
}

fn vote(random: &mut Random, log: &Reference) -> HardState {
    let old = log.hard_state().unwrap_or_default();
    let term = old.term.max(term(log)) + 1;
    HardState { term, vote: Some(random.below(5)), commit: old.commit }
}

fn commit(random: &mut Random, log: &Reference) -> HardState {
    let old = log.hard_state().unwrap_or_default();
    let Some(last) = log.last() else { return old };
    let low = old.commit.unwrap_or(last.id.index.saturating_sub(5)).min(last.id.index);
    let commit = low + random.below(last.id.index - low + 1);
    HardState { commit: Some(commit), ..old }
}

fn slot(random: &mut Random) -> Change {
    let slot = *random.pick(&SLOTS);
    let len = random.below(300);
    Change::Slot(slot, (random.below(4) > 0).then(|| payload(random, len)))
}

fn commit_of(log: &Reference) -> Option<u64> {
    log.hard_state().and_then(|state| state.commit)
}

fn term(log: &Reference) -> u64 {
    log.last().map_or(1, |last| last.id.term)
}

fn next(log: &Reference) -> u64 {
    log.last().map_or(1, |last| last.id.index + 1)
}

fn end(log: &Reference) -> LogId {
    log.last().map_or_else(LogId::default, |last| last.id)
}

fn byte(random: &mut Random) -> u8 {
    let [byte, ..] = random.next().to_le_bytes();
    byte
}

/// Bytes that nothing else in a run has.
fn payload(random: &mut Random, len: u64) -> Bytes {
    bytes(random.next(), usize::try_from(len).unwrap_or_default()).into()
}

/// `len` bytes that depend on the seed and do not repeat, so that a piece in the wrong place shows.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Engine;

    fn told(shape: Shape, commands: usize) -> String {
        let spec = Spec::new(Engine::Redb, shape, 5, 0);
        let replicas = replicas(shape, 0);
        let mut random = Random::new(5);
        let mut state = References::default();
        let mut told = String::new();
        for _ in 0..commands {
            let command = command(&mut random, &spec, &replicas, &state);
            state = state.after(&command.changes, PurgeGuard::None).unwrap();
            let changes = command.changes.iter().map(|(_, change)| format!("{change:?}\n"));
            told.extend(changes);
        }
        told
    }

    #[test]
    fn every_shape_does_what_it_is_about() {
        for (shape, words) in [
            (Shape::Append, &["Append(", "HardState(", "Applied("][..]),
            (
                Shape::Conflict,
                &["Replace(", "Truncate(", "Purge(", "Install(", "Snapshot(", "Remove\n", "Reset"],
            ),
            (Shape::Many, &["Replace(", "Purge(", "Remove\n", "Slot("]),
            (Shape::Edges, &["Membership(", "Install("]),
            (Shape::Purge, &["Purge(", "Remove\n", "Install("]),
        ] {
            let told = told(shape, 300);
            for word in words {
                assert!(told.contains(word), "{shape} never says {word}");
            }
        }
    }

    #[test]
    fn writers_share_no_replica() {
        for &shape in Shape::ALL {
            let all: Vec<_> = (0..8).flat_map(|writer| replicas(shape, writer)).collect();
            let unique: std::collections::BTreeSet<_> = all.iter().collect();
            assert_eq!(unique.len(), all.len(), "{shape}");
        }
    }
}
