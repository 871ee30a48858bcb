//! Changes to a store of logs, one after the other, the same whoever draws them: a child writes
//! them until it is killed, and its parent knows from the seed what they were.

use bytes::Bytes;
use kvlogdb_log::{Boundary, Durability, Entry, HardState, Leader, LogId, PurgeGuard, ReplicaId};

use crate::draw;
use crate::failure::Checked;
use crate::random::{Random, value};
use crate::reference::{Change, Reference, References};

/// The replica that keeps the number of the step, written with every batch.
pub(crate) const MARKER: ReplicaId = ReplicaId { group: 99, node: 0 };
/// Where it keeps it.
pub(crate) const MARKER_SLOT: u16 = 256;

const REPLICAS: [ReplicaId; 3] = [
    ReplicaId { group: 1, node: 0 },
    ReplicaId { group: 1, node: 1 },
    ReplicaId { group: u64::MAX, node: u64::MAX },
];
/// How long a log of [`Kind::Long`] becomes.
const LONG: u64 = 4000;

/// What a script is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Appends,
    Tails,
    Purges,
    Votes,
    Lives,
    Resets,
    Installs,
    /// Logs of thousands of entries, of which most go in one step.
    Long,
    /// Everything that a log can be asked for.
    Everything,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Appends,
        Self::Tails,
        Self::Purges,
        Self::Votes,
        Self::Lives,
        Self::Resets,
        Self::Installs,
        Self::Long,
        Self::Everything,
    ];

    /// A number that a child can be told.
    pub(crate) fn number(self) -> u64 {
        self as u64
    }

    pub(crate) fn of(number: u64) -> Checked<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.number() == number);
        found.ok_or_else(|| format!("there is no script {number}").into())
    }
}

/// A script, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    kind: Kind,
    random: Random,
    state: References,
    step: u64,
}

impl Script {
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        Self { kind, random: Random::new(seed), state: References::default(), step: 0 }
    }

    /// How many steps are done.
    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    /// What the store must hold after these steps.
    pub(crate) fn state(&self) -> &References {
        &self.state
    }

    /// Goes one step on: what it changes, and what durability is asked for.
    pub(crate) fn go_on(&mut self) -> (Vec<(ReplicaId, Change)>, Durability) {
        self.step += 1;
        let number = Bytes::copy_from_slice(&self.step.to_be_bytes());
        loop {
            let mut changes = self.draw();
            changes.push((MARKER, Change::Slot(MARKER_SLOT, Some(number.clone()))));
            if let Ok(next) = self.state.after(&changes, PurgeGuard::None) {
                self.state = next;
                // Nobody asks for votes to be synced: they are all the same.
                let synced = self.random.below(3) == 0 && self.kind != Kind::Votes;
                let durability = if synced { Durability::Synced } else { Durability::Buffered };
                return (changes, durability);
            }
        }
    }

    fn draw(&mut self) -> Vec<(ReplicaId, Change)> {
        let random = &mut self.random;
        if self.kind == Kind::Everything {
            return draw::batch(random, &REPLICAS, &self.state, PurgeGuard::None);
        }
        let first = *random.pick(&REPLICAS);
        let second = *random.pick(&REPLICAS);
        let mut changes = vec![(first, change(self.kind, random, &self.state.of(first)))];
        if second != first && random.below(3) == 0 {
            changes.push((second, change(self.kind, random, &self.state.of(second))));
        }
        changes
    }
}

/// A change of this kind that the log takes.
fn change(kind: Kind, random: &mut Random, log: &Reference) -> Change {
    let entries = log.entries().len() as u64;
    let turn = random.below(2) == 0;
    match kind {
        Kind::Tails if entries > 3 && turn => {
            let from = next(log) - random.below(entries);
            Change::Replace(Leader::default(), run(random, log, from, 3))
        }
        Kind::Purges if entries > 3 && turn => Change::Purge(held(random, log)),
        Kind::Votes if turn => Change::HardState(vote(random, log)),
        Kind::Lives if entries > 8 && turn => Change::Remove,
        Kind::Lives if entries > 4 && turn => Change::Slot(257, Some(value(entries, 50).into())),
        Kind::Resets if entries > 6 && turn => Change::Reset,
        Kind::Installs if entries > 4 && turn => match random.below(2) {
            0 => Change::Install(held(random, log)),
            _ => Change::Install(LogId::new(term(log) + 1, next(log) + 5).into()),
        },
        Kind::Long => long(random, log, entries),
        _ => append(random, log, 6),
    }
}

fn long(random: &mut Random, log: &Reference, entries: u64) -> Change {
    if entries < LONG {
        return append(random, log, LONG);
    }
    match random.below(4) {
        0 => Change::Truncate(next(log) - entries + 10),
        1 => Change::Remove,
        2 => Change::Reset,
        _ => Change::Purge(held(random, log)),
    }
}

fn append(random: &mut Random, log: &Reference, most: u64) -> Change {
    let count = if most == LONG { LONG } else { 1 + random.below(most) };
    Change::Append(Leader::default(), run(random, log, next(log), count))
}

/// Entries from `first` on, under the last term of the log or the next.
fn run(random: &mut Random, log: &Reference, first: u64, count: u64) -> Vec<Entry> {
    let term = term(log) + u64::from(random.below(4) == 0);
    let lens: &[usize] = if count > 100 { &[10] } else { &[0, 30, 200, 5000] };
    let one = |index| Entry::new(term, index, value(random.next(), *random.pick(lens)));
    (first..first + count).map(one).collect()
}

fn vote(random: &mut Random, log: &Reference) -> HardState {
    let old = log.hard_state().unwrap_or_default();
    HardState { term: old.term + 1, vote: Some(random.below(5)), commit: old.commit }
}

fn term(log: &Reference) -> u64 {
    log.last().map_or(1, |last| last.id.term)
}

fn next(log: &Reference) -> u64 {
    log.last().map_or(1, |last| last.id.index + 1)
}

/// The id of an entry that the log holds.
fn held(random: &mut Random, log: &Reference) -> Boundary {
    let entries = log.entries().len() as u64;
    let index = next(log) - 1 - random.below(entries.max(1));
    log.id(index).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_the_same_for_everybody_who_knows_its_seed() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.number()).unwrap(), kind);
            let (mut one, mut other) = (Script::new(kind, 7), Script::new(kind, 7));
            for _ in 0..40 {
                let (changes, durability) = one.go_on();
                assert_eq!(format!("{changes:?}"), format!("{:?}", other.go_on().0));
                assert!(matches!(durability, Durability::Synced | Durability::Buffered));
            }
            assert_eq!(one.state(), other.state());
        }
    }

    #[test]
    fn every_script_does_what_it_is_about() {
        let about = |kind| {
            let mut script = Script::new(kind, 3);
            let steps = (0..200).map(|_| format!("{:?}", script.go_on().0));
            steps.collect::<Vec<_>>().join("\n")
        };
        for (kind, word) in [
            (Kind::Appends, "Append("),
            (Kind::Tails, "Replace("),
            (Kind::Purges, "Purge("),
            (Kind::Votes, "HardState("),
            (Kind::Lives, "Remove)"),
            (Kind::Resets, "Reset)"),
            (Kind::Installs, "Install("),
            (Kind::Long, "Truncate("),
            (Kind::Everything, "Membership("),
        ] {
            assert!(about(kind).contains(word), "{kind:?}");
        }
    }
}
