//! What a disk may hold after a power cut, drawn for every point of a trace.

mod draw;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use kvlogdb_conformance::Random;

use crate::disk::{Disk, Shared};
use crate::{Image, Mark, Model, Op, Trace};

/// What is drawn, and how much of it. The same plan draws the same states, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What decides wherever not everything can be drawn.
    pub seed: u64,
    /// How many states at the most.
    pub budget: usize,
    /// Where the power is cut.
    pub points: Points,
}

/// Where the power is cut. A point is a number of calls that were done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Points {
    /// Everywhere.
    All,
    /// After so many calls, and at every point behind.
    From(usize),
    /// At this point only.
    Only(usize),
}

/// Which of the calls that no sync covers are on the disk. The calls that are meant by a number
/// are those, counted from 0, oldest first.
///
/// The text of a choice, as `prefix/7/3`, reads back as the same choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Choice {
    /// None of them.
    DropAll,
    /// All of them: what a kill leaves.
    KeepAll,
    /// The first ones, and so many sectors of 512 bytes of the next.
    Prefix {
        /// How many are there as a whole.
        calls: usize,
        /// How many sectors of the next one, if it writes.
        sectors: usize,
    },
    /// All but one. In a journal the name or length that a call gives stays.
    AllBut(usize),
    /// All bytes, and the journal up to before this call.
    Cut(usize),
    /// One only. In a journal with the names and lengths of all calls before it.
    Only(usize),
    /// A set of up to 64 calls.
    Subset {
        /// A bit for each call, the first one lowest.
        calls: u64,
        /// How many names and lengths the journal holds; no journal, no meaning.
        journal: usize,
    },
    /// Parts of each call, by chance.
    Random {
        /// What decides.
        seed: u64,
        /// How many bytes share a fate, from an offset that is a multiple of it.
        grain_bytes: u32,
        /// How likely it is that a part is there.
        percent: u8,
    },
}

/// What a power cut may leave.
#[derive(Debug, Clone)]
pub struct CrashState {
    /// How many calls of the trace were done.
    pub point: usize,
    /// Which of them are on the disk.
    pub choice: Choice,
    /// How many [`Did`](crate::Mark::Did) marks the trace has before the point.
    pub acked: usize,
    /// What is on the disk.
    pub image: Image,
    /// The image's digest.
    pub digest: u128,
}

/// The states of a trace that began on `base`, by point, each image once for every number of
/// acknowledgements before it.
pub fn states<'a>(trace: &'a Trace, base: &Image, model: Model, plan: &Plan) -> States<'a> {
    States::new(trace, base, model, plan)
}

/// The one state that a point and a choice name; `None` where the choice names nothing.
pub fn state_at(
    trace: &Trace,
    base: &Image,
    model: Model,
    point: usize,
    choice: Choice,
) -> Option<CrashState> {
    let mut disk = Disk::new(base, model);
    let done = trace.ops().get(..point)?;
    for op in done {
        disk.step(op);
    }
    let image = disk.image(&draw::selection(&disk, choice)?, &disk.shared());
    let acked = done.iter().filter(|op| matches!(op, Op::Mark(Mark::Did(_)))).count();
    Some(CrashState { point, choice, acked, digest: image.digest(), image })
}

/// The states of a trace.
#[derive(Debug)]
pub struct States<'a> {
    ops: &'a [Op],
    disk: Disk,
    random: Random,
    budget: usize,
    points: Points,
    /// How many points are left, this one not among them.
    left: usize,
    point: usize,
    acked: usize,
    /// What is drawn at this point, last first.
    choices: Vec<Choice>,
    shared: Shared,
    /// How many more states this point may give.
    quota: usize,
    /// What this number of acknowledgements has been held against.
    seen: HashSet<u128>,
    drawn: usize,
}

impl<'a> States<'a> {
    fn new(trace: &'a Trace, base: &Image, model: Model, plan: &Plan) -> Self {
        let mut states = Self {
            ops: trace.ops(),
            disk: Disk::new(base, model),
            random: Random::new(plan.seed),
            budget: plan.budget,
            points: plan.points.clone(),
            left: 0,
            point: 0,
            acked: 0,
            choices: Vec::new(),
            shared: Shared::new(),
            quota: 0,
            seen: HashSet::new(),
            drawn: 0,
        };
        states.left = (0..=trace.len()).filter(|&point| states.is_cut(point)).count();
        states.arrive();
        states
    }

    /// How many states were drawn so far, those that are left out because they came before too.
    pub fn drawn(&self) -> usize {
        self.drawn
    }

    /// Whether the power is cut at a point. Where nothing happened but a
    /// [`Will`](crate::Mark::Will), there is nothing new to be seen.
    fn is_cut(&self, point: usize) -> bool {
        let before = point.checked_sub(1).and_then(|before| self.ops.get(before));
        match self.points {
            Points::Only(only) => point == only,
            Points::From(first) if point <= first => point == first,
            Points::All | Points::From(_) => !matches!(before, Some(Op::Mark(Mark::Will(_)))),
        }
    }

    /// Draws what this point gives, or nothing.
    fn arrive(&mut self) {
        if !self.is_cut(self.point) {
            return;
        }
        let share = self.budget / self.left.max(1);
        let rest = self.budget % self.left.max(1);
        let extra = self.random.below(self.left.max(1) as u64) < rest as u64;
        self.quota = share + usize::from(extra);
        self.left = self.left.saturating_sub(1);
        if self.quota > 0 {
            self.choices = draw::choices(&self.disk, &mut self.random);
            self.shared = self.disk.shared();
        }
    }

    /// Does the next call of the trace.
    fn advance(&mut self) -> Option<()> {
        let op = self.ops.get(self.point)?;
        self.disk.step(op);
        self.point += 1;
        if matches!(op, Op::Mark(Mark::Did(_))) {
            self.acked += 1;
            self.seen.clear();
        }
        self.choices.clear();
        self.arrive();
        Some(())
    }

    fn draw(&mut self, choice: Choice) -> Option<CrashState> {
        let selection = draw::selection(&self.disk, choice)?;
        let image = self.disk.image(&selection, &self.shared);
        let digest = image.digest();
        self.drawn += 1;
        self.seen.insert(digest).then_some(CrashState {
            point: self.point,
            choice,
            acked: self.acked,
            image,
            digest,
        })
    }
}

impl Iterator for States<'_> {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        loop {
            let choice = if self.quota > 0 { self.choices.pop() } else { None };
            let Some(choice) = choice else {
                self.advance()?;
                continue;
            };
            if let Some(state) = self.draw(choice) {
                self.quota -= 1;
                self.budget -= 1;
                return Some(state);
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DropAll => f.write_str("drop"),
            Self::KeepAll => f.write_str("keep"),
            Self::Prefix { calls, sectors } => write!(f, "prefix/{calls}/{sectors}"),
            Self::AllBut(call) => write!(f, "but/{call}"),
            Self::Cut(call) => write!(f, "cut/{call}"),
            Self::Only(call) => write!(f, "only/{call}"),
            Self::Subset { calls, journal } => write!(f, "subset/{calls}/{journal}"),
            Self::Random { seed, grain_bytes, percent } => {
                write!(f, "random/{seed}/{grain_bytes}/{percent}")
            }
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split('/').collect();
        Ok(match *words.as_slice() {
            ["drop"] => Self::DropAll,
            ["keep"] => Self::KeepAll,
            ["prefix", calls, sectors] => {
                Self::Prefix { calls: number(calls)?, sectors: number(sectors)? }
            }
            ["but", call] => Self::AllBut(number(call)?),
            ["cut", call] => Self::Cut(number(call)?),
            ["only", call] => Self::Only(number(call)?),
            ["subset", calls, journal] => {
                Self::Subset { calls: number(calls)?, journal: number(journal)? }
            }
            ["random", seed, grain, percent] => Self::Random {
                seed: number(seed)?,
                grain_bytes: number(grain)?,
                percent: number(percent)?,
            },
            _ => return Err(format!("there is no choice {text}")),
        })
    }
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word} is not a number that fits"))
}
