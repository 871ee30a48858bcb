//! Random histories over three replicas, compared after every step with a reference.
//!
//! `KVLOGDB_SEED` and `KVLOGDB_STEPS` repeat a failure and make a longer run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;

use common::faulty::Fault;
use common::{Rig, assert_clean, modes, unhurried, view, wanted};
use kvlogdb_conformance::reference::{Change, Reference, References, Refusal, log_batch};
use kvlogdb_conformance::{Random, draw};
use kvlogdb_log::{Durability, Error, FlushPolicy, Log, LogId, PurgeGuard, ReplicaId, Strategy};

const REPLICAS: [ReplicaId; 3] = [
    ReplicaId { group: 1, node: 0 },
    ReplicaId { group: 1, node: u64::MAX },
    ReplicaId { group: u64::MAX, node: 0 },
];

/// A history under way.
struct Run {
    random: Random,
    rig: Rig,
    guard: PurgeGuard,
    now: References,
    /// What a power cut leaves, and then every state that was accepted since: what an engine's
    /// failure leaves is one of them.
    history: Vec<References>,
    accepted: u64,
    refused: BTreeMap<Refusal, u64>,
}

#[test]
fn random_histories_are_those_of_the_reference() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("KVLOGDB_SEED").unwrap_or_else(|| u64::from(clock.subsec_nanos()));
    let steps = number("KVLOGDB_STEPS").unwrap_or(60_000);
    println!("KVLOGDB_SEED={seed} KVLOGDB_STEPS={steps}");
    for guard in [PurgeGuard::None, PurgeGuard::Snapshot] {
        for mode in modes() {
            let mut run = Run::new(seed, guard, mode);
            println!("{guard:?} {mode:?}");
            for step in 0..steps / 12 {
                run.step();
                if step % 64 == 0 {
                    assert_clean(run.rig.store());
                }
            }
            run.end(steps);
        }
    }
}

/// The same seeds every time, so that a change of a rule shows at once.
#[test]
fn fixed_histories_are_those_of_the_reference() {
    for (seed, mode) in (0..12).zip(modes().cycle()) {
        let mut run = Run::new(seed, PurgeGuard::None, mode);
        for _ in 0..300 {
            run.step();
        }
        assert_clean(run.rig.store());
    }
}

impl Run {
    fn new(seed: u64, guard: PurgeGuard, (strategy, flush): (Strategy, FlushPolicy)) -> Self {
        let mut options = unhurried();
        (options.purge_guard, options.strategy, options.flush) = (guard, strategy, flush);
        Self {
            random: Random::new(seed),
            rig: Rig::with(options),
            guard,
            history: vec![References::default()],
            now: References::default(),
            accepted: 0,
            refused: BTreeMap::new(),
        }
    }

    /// Both what is accepted and what is refused must have been common.
    fn end(&self, steps: u64) {
        if steps >= 60_000 {
            assert!(self.accepted > steps / 60, "only {} batches are accepted", self.accepted);
            let expected = if self.guard == PurgeGuard::Snapshot { 9 } else { 8 };
            assert!(self.refused.len() >= expected, "{:?}", self.refused);
        }
        assert!(!self.refused.contains_key(&Refusal::Other));
    }

    fn step(&mut self) {
        match self.random.below(60) {
            0 => {
                self.rig.reopen().unwrap();
                self.history = vec![self.now.clone()];
            }
            1 => {
                self.rig.cut_power().unwrap();
                let synced = self.history[0].clone();
                self.find();
                let by_policy = self.rig.options.strategy != Strategy::DiskFirst
                    || matches!(self.rig.options.flush, FlushPolicy::Batch { .. });
                assert!(by_policy || self.now == synced, "more than was synced has stayed");
            }
            2 => {
                self.rig.store().reopen().unwrap();
                self.history = vec![self.now.clone()];
            }
            3 => {
                self.rig.store().sync().unwrap();
                self.history = vec![self.now.clone()];
            }
            4 => self.fail(),
            _ => self.write(),
        }
        self.compare();
    }

    /// Draws a batch: what it is, and what it makes of the reference.
    fn draw(&mut self) -> (Vec<(ReplicaId, Change)>, Result<References, Refusal>) {
        let changes = draw::batch(&mut self.random, &REPLICAS, &self.now, self.guard);
        let outcome = self.now.after(&changes, self.guard);
        (changes, outcome)
    }

    fn write(&mut self) {
        let (changes, expected) = self.draw();
        let synced = self.random.below(3) == 0;
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        let answer = self.rig.store().write(&log_batch(&changes).unwrap(), durability);
        match (&answer, expected) {
            (Ok(()), Ok(next)) => {
                self.accepted += 1;
                if synced || next.promises() != self.now.promises() {
                    self.history.clear();
                }
                self.history.push(next.clone());
                self.now = next;
            }
            (Err(error), Err(refusal)) => {
                assert_eq!(Refusal::from(error), refusal, "{error}: {changes:#?}");
                *self.refused.entry(refusal).or_default() += 1;
            }
            (answer, expected) => {
                panic!("{answer:?} and not {:?}: {changes:#?}", expected.map(drop));
            }
        }
    }

    /// A write that fails, and the reopening behind it. What was accepted before may be on its way
    /// still, and then it may be that which fails.
    fn fail(&mut self) {
        let (changes, expected) = self.draw();
        let Ok(next) = expected else { return };
        let settled = self.random.below(2) == 0;
        if settled {
            self.rig.store().settle().unwrap();
            self.history = vec![self.now.clone()];
        }
        let done = self.random.below(2) == 0;
        self.rig.faults.set(if done { Fault::WriteDone } else { Fault::WriteLost }, 0);
        let answer = self.rig.store().write(&log_batch(&changes).unwrap(), Durability::Buffered);
        let answer = answer.and_then(|()| self.rig.store().sync());
        assert!(matches!(answer, Err(Error::Engine(_))), "{answer:?}");
        self.rig.store().reopen().unwrap();
        self.history.push(next);
        let same = self.history[0] == self.history[1];
        let found = self.find();
        assert!(!settled || same || found == usize::from(done));
    }

    /// Goes on from what the store shows: a state that was accepted, the newest of those alike.
    fn find(&mut self) -> usize {
        let found = self.history.iter().rposition(|state| self.shows(state));
        let found = found.expect("a state that was accepted");
        self.now = self.history[found].clone();
        self.history = vec![self.now.clone()];
        found
    }

    fn shows(&self, state: &References) -> bool {
        let log = |replica| self.rig.store().log(replica);
        let shows = |replica| view(&log(replica)) == wanted(&state.of(replica));
        self.rig.store().replicas().unwrap() == existing(state) && REPLICAS.into_iter().all(shows)
    }

    fn compare(&mut self) {
        assert_eq!(self.rig.store().replicas().unwrap(), existing(&self.now));
        for replica in REPLICAS {
            let log = self.rig.store().log(replica);
            let state = self.now.of(replica);
            assert_eq!(view(&log), wanted(&state), "{replica}");
            ask(&mut self.random, &log, &state);
        }
    }
}

fn existing(state: &References) -> Vec<ReplicaId> {
    state.existing().map(|(replica, _)| replica).collect()
}

/// Asks a log for what is derived from its entries.
fn ask(random: &mut Random, log: &Log, state: &Reference) {
    let ids = state.ids();
    let index = draw::index(random, state);
    let held = ids.iter().find(|boundary| boundary.id.index == index);
    assert_eq!(log.id(index).ok().as_ref(), held, "{index}");
    let term = random.below(12);
    let entries = || state.entries();
    let of_term = || entries().filter(|entry| entry.id.term == term).map(|entry| entry.id.index);
    assert_eq!(log.first_index_of_term(term).unwrap(), of_term().min());
    assert_eq!(log.last_index_of_term(term).unwrap(), of_term().max());
    let within =
        |boundary: &&kvlogdb_log::Boundary| boundary.id.index <= index && boundary.id.term <= term;
    let agreed = ids.iter().rfind(within).map(|boundary| boundary.id);
    assert_eq!(log.find_agreement(index, term).unwrap(), agreed, "{index} {term}");
    let asked = [LogId::new(term, index), LogId::new(term + 1, index.saturating_add(1))];
    let purged = state.purged().map(|purged| purged.id.index);
    let conflict = asked.into_iter().find(|id| {
        purged.is_none_or(|purged| id.index >= purged) && ids.iter().all(|held| held.id != *id)
    });
    assert_eq!(log.find_conflict(&asked).unwrap(), conflict, "{asked:?}");
    let limit = random.below(80);
    match log.entries(index.., limit) {
        Ok(found) => {
            let mut left = limit;
            let fits = |entry: &&kvlogdb_log::Entry| {
                let len = entry.payload.len() as u64;
                let fits = len <= left || entry.id.index == index;
                left = left.saturating_sub(len);
                fits
            };
            let from = entries().filter(|entry| entry.id.index >= index);
            let expected: Vec<_> = from.take_while(fits).cloned().collect();
            assert_eq!(found, expected, "{index}.. within {limit}");
        }
        Err(Error::Purged { .. }) => assert!(purged.is_some_and(|purged| index <= purged)),
        Err(Error::Unavailable { .. }) => {
            assert!(purged.is_none() && state.first_index().is_some_and(|first| index < first));
        }
        Err(error) => panic!("{error}"),
    }
}
