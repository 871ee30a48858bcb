//! What a store must hold after each command, and what a trace says has been promised by then.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use kvlogdb_conformance::Random;
use kvlogdb_conformance::reference::{Change, References};
use kvlogdb_log::{Durability, FIRST_USER_SLOT, PurgeGuard, ReplicaId};

use crate::failure::{Checked, Failure};
use crate::spec::{Spec, field};
use crate::workload::{self, Command};

/// The group of the replicas that keep how far each writer is, written with every batch.
pub(crate) const MARKER_GROUP: u64 = 1 << 60;
/// Where they keep it.
pub(crate) const MARKER_SLOT: u16 = FIRST_USER_SLOT;

/// The replica that keeps how far a writer is.
pub(crate) fn marker(writer: u64) -> ReplicaId {
    ReplicaId { group: MARKER_GROUP, node: writer }
}

/// A place in a history: the life of the store in which a command was written, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub(crate) life: u32,
    pub(crate) number: u64,
}

impl Position {
    pub(crate) fn to_bytes(self) -> Bytes {
        let mut bytes = self.life.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.into()
    }

    /// `None` for bytes that are no position.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (life, number) = bytes.split_first_chunk::<4>()?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        Some(Self { life: u32::from_be_bytes(*life), number })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of life {}", self.number, self.life)
    }
}

/// One command, and what its writer's replicas hold behind it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) position: Position,
    pub(crate) changes: Arc<[(ReplicaId, Change)]>,
    pub(crate) asked: Durability,
    /// Synced where the command changes a term or a vote, whatever was asked.
    pub(crate) owed: Durability,
    pub(crate) state: Arc<References>,
}

/// All commands of one writer, as far as they have been drawn.
#[derive(Debug, Clone)]
pub(crate) struct History {
    spec: Spec,
    writer: u64,
    replicas: Arc<[ReplicaId]>,
    random: Random,
    life: u32,
    /// The first is what was there before the first command.
    steps: Vec<Step>,
}

impl History {
    pub(crate) fn new(spec: &Spec, writer: u64) -> Self {
        let nothing = Step {
            position: Position::default(),
            changes: Arc::new([]),
            asked: Durability::Synced,
            owed: Durability::Synced,
            state: Arc::default(),
        };
        Self {
            spec: *spec,
            writer,
            replicas: workload::replicas(spec.shape, writer).into(),
            random: seeded(spec.seed, writer, 0),
            life: 0,
            steps: vec![nothing],
        }
    }

    /// Another history from command `at` on: what a store of a later life goes on with.
    pub(crate) fn fork(&self, at: u64, life: u32) -> Self {
        let keep = usize::try_from(at).unwrap_or(usize::MAX).saturating_add(1);
        let steps = self.steps.iter().take(keep).cloned().collect();
        let random = seeded(self.spec.seed, self.writer, life);
        Self { random, life, steps, replicas: Arc::clone(&self.replicas), ..*self }
    }

    pub(crate) fn writer(&self) -> u64 {
        self.writer
    }

    /// The number of the last command that has been drawn.
    pub(crate) fn last(&self) -> u64 {
        self.steps.len() as u64 - 1
    }

    /// Draws commands up to a number.
    pub(crate) fn draw_to(&mut self, number: u64) {
        while self.last() < number {
            self.draw();
        }
    }

    fn draw(&mut self) {
        let Some(before) = self.steps.last() else { return };
        let state = Arc::clone(&before.state);
        let position = Position { life: self.life, number: self.last() + 1 };
        let command = workload::command(&mut self.random, &self.spec, &self.replicas, &state);
        let Command { mut changes, asked } = command;
        let place = Change::Slot(MARKER_SLOT, Some(position.to_bytes()));
        changes.push((marker(self.writer), place));
        // What was drawn is accepted, and a slot is never refused.
        let Ok(next) = state.after(&changes, PurgeGuard::None) else { return };
        let promised = next.promises() != state.promises();
        let owed = if promised { Durability::Synced } else { asked };
        let (changes, state) = (changes.into(), Arc::new(next));
        self.steps.push(Step { position, changes, asked, owed, state });
    }

    /// A command that has been drawn.
    pub(crate) fn step(&self, number: u64) -> Option<&Step> {
        self.steps.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn steps(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.steps.iter()
    }

    /// The command that left this position in the store.
    pub(crate) fn find(&self, position: Position) -> Option<&Step> {
        self.step(position.number).filter(|step| step.position == position)
    }
}

fn seeded(seed: u64, writer: u64, life: u32) -> Random {
    let mut random = Random::new(seed ^ (writer << 56));
    let mixed = random.next();
    Random::new(mixed ^ (u64::from(life) << 32))
}

/// A run and the positions at which each of its lives began.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Story {
    /// What the run is about.
    pub(crate) spec: Spec,
    /// Of each life, how far every writer was when the store was opened.
    pub(crate) lives: Vec<Vec<u64>>,
}

impl Story {
    /// A run whose store has never been opened.
    pub(crate) fn new(spec: Spec) -> Self {
        Self { spec, lives: Vec::new() }
    }

    /// The histories of the last life, drawn up to what every writer may have issued.
    pub(crate) fn histories(&self) -> Vec<History> {
        (0..self.spec.writers).map(|writer| self.history(writer)).collect()
    }

    fn history(&self, writer: u64) -> History {
        let mut history = History::new(&self.spec, writer);
        let place = usize::try_from(writer).unwrap_or(usize::MAX);
        for (life, number) in self.lives.iter().zip(1..) {
            let at = life.get(place).copied().unwrap_or_default();
            history.draw_to(at);
            history = history.fork(at, number);
        }
        history
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lives = self.lives.iter().map(|life| join(life, "."));
        let lives = lives.collect::<Vec<_>>().join("/");
        write!(f, "{} lives={}", self.spec, if lives.is_empty() { "-" } else { &lives })
    }
}

impl FromStr for Story {
    type Err = Failure;

    fn from_str(line: &str) -> Checked<Self> {
        let spec: Spec = line.parse()?;
        let lives = match field(line, "lives")? {
            "-" => Vec::new(),
            text => text.split('/').map(|life| numbers(life, '.')).collect::<Checked<_>>()?,
        };
        let whole = |life: &Vec<u64>| life.len() as u64 == spec.writers;
        if !lives.iter().all(whole) {
            return Err("a life has one number for each writer".into());
        }
        Ok(Self { spec, lives })
    }
}

pub(crate) fn join(numbers: &[u64], by: &str) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(by)
}

pub(crate) fn numbers(text: &str, by: char) -> Checked<Vec<u64>> {
    let parse = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number").into());
    text.split(by).filter(|text| !text.is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Engine, Shape};

    fn story(lives: Vec<Vec<u64>>) -> Story {
        Story { spec: Spec::new(Engine::Redb, Shape::Conflict, 3, 20), lives }
    }

    fn told(story: &Story) -> String {
        let mut history = story.histories().remove(0);
        history.draw_to(30);
        format!("{:?}", history.steps)
    }

    #[test]
    fn a_story_is_the_same_for_everybody_who_has_its_line() {
        let story = story(vec![vec![0], vec![7], vec![5]]);
        let heard: Story = format!("a=b {story}").parse().unwrap();
        assert_eq!(heard, story);
        assert_eq!(told(&heard), told(&story));
    }

    #[test]
    fn a_later_life_keeps_what_it_found_and_goes_its_own_way() {
        let first = story(vec![vec![0]]).histories().remove(0);
        let mut first = first;
        first.draw_to(10);
        let mut second = story(vec![vec![0], vec![6]]).histories().remove(0);
        second.draw_to(10);
        assert_eq!(first.step(6).unwrap().state, second.step(6).unwrap().state);
        assert_ne!(first.step(7).unwrap().state, second.step(7).unwrap().state);
        assert!(second.find(first.step(6).unwrap().position).is_some());
        assert!(second.find(first.step(7).unwrap().position).is_none());
    }

    #[test]
    fn a_position_survives_its_bytes() {
        let position = Position { life: 3, number: 1 << 40 };
        assert_eq!(Position::from_bytes(&position.to_bytes()), Some(position));
        assert_eq!(Position::from_bytes(b"short"), None);
    }
}
