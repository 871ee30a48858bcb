//! Processes that end without a close, and what the next one finds.
//!
//! A kill leaves what the kernel has been given. It shows that what was acknowledged had left the
//! process and that a cut write is made good; it shows nothing about a power cut.

pub(super) mod creation;
pub(super) mod engine;
pub(super) mod log;

use std::thread;
use std::time::Duration;

use crate::child::{Child, Line, last};
use crate::env::Env;
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::random::{self, Random, repeats};
use kvlogdb_engine_api::Durability;

/// Steps after which a child that nobody kills is done.
const CHILD_STEPS: u64 = 400;
/// How many lines a child may say before it is killed, and how long after the last.
const LINES: u64 = 60;
const DELAY_MICROS: u64 = 4000;
/// For how long a process that only opens the store may live.
const OPENING_MICROS: u64 = 60_000;
/// How many kills `KVLOGDB_KILLS` shares out: one to every case in this many.
const CASES: u64 = 9;

/// How a child ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By a kill from outside, at any moment.
    Killed,
    /// By itself, right behind a Synced write, without destructors.
    Abort,
    /// As `Abort`, and the library may tidy up.
    Exit,
}

impl End {
    fn of(number: u64) -> Checked<Self> {
        let found =
            [Self::Killed, Self::Abort, Self::Exit].into_iter().find(|e| *e as u64 == number);
        found.ok_or_else(|| format!("there is no end {number}").into())
    }

    /// Ends this process.
    fn come(self) -> Checked {
        match self {
            Self::Killed => Ok(()),
            Self::Abort => std::process::abort(),
            Self::Exit => std::process::exit(0),
        }
    }
}

/// Numbered changes to a store that child and parent know alike.
trait Story {
    /// The part that tells it.
    const PART: &'static str;
    /// The part that opens the store and no more.
    const OPENING: &'static str;
    /// A store that is open.
    type Open;

    /// What a child needs to know to tell it from here on.
    fn numbers(&self) -> [u64; 3];
    /// How many steps are done.
    fn step(&self) -> u64;
    /// Does one step in memory; gives the durability that the store has to give it.
    fn go_on(&mut self) -> Checked<Durability>;
    /// A copy that knows where the story is, and forgets what it has changed.
    fn copy(&self) -> Self;
    fn open(env: &Env) -> Checked<Self::Open>;
    /// The last step that the store holds anything of.
    fn reached(store: &Self::Open) -> Checked<u64>;
    /// Compares the store with the story so far, closes it, opens it, and compares again.
    fn check(&self, env: &Env, store: Self::Open) -> Checked;
}

/// Kills a child in the middle of the story, time and again, and compares what is left.
fn kill_often<S: Story>(env: &Env, tell: impl FnOnce(u64) -> S, usual: u64) -> Checked {
    let seed = random::seed()?;
    let kills = random::kills()?.map_or(usual, |kills| kills.div_ceil(CASES));
    let mut random = Random::new(!seed);
    let mut story = tell(seed);
    // Kills that leave no step behind show little: then there are more of them.
    for number in 1..=kills * 10 {
        if number > kills && story.step() > 0 {
            break;
        }
        kill_once(env, &mut story, &mut random)
            .during(format_args!("kill {number} of {}", repeats(seed)))?;
    }
    ensure!(story.step() > 0, "no child ever did a step; {}", repeats(seed));
    Ok(())
}

fn kill_once<S: Story>(env: &Env, story: &mut S, random: &mut Random) -> Checked {
    let mut numbers = story.numbers().to_vec();
    numbers.extend([story.step() + CHILD_STEPS, End::Killed as u64]);
    let mut child = Child::start(env, S::PART, &numbers)?;
    let mut said = Vec::new();
    let lines = if random.below(6) == 0 { 1 } else { 2 + random.below(LINES) };
    while (said.len() as u64) < lines
        && let Some(line) = child.hear()?
    {
        said.push(line);
    }
    thread::sleep(Duration::from_micros(random.below(DELAY_MICROS)));
    said.append(&mut child.kill()?);
    if random.below(3) == 0 {
        // Killed once more, perhaps in the middle of its recovery.
        let child = Child::start(env, S::OPENING, &[])?;
        thread::sleep(Duration::from_micros(random.below(OPENING_MICROS)));
        child.kill()?;
    }
    compare(env, story, &said, None)
}

/// Lets a child end itself behind a Synced write, a few times, and compares what is left.
fn end_often<S: Story>(env: &Env, mut story: S, end: End) -> Checked {
    for _ in 0..4 {
        let to = story.step() + 25;
        let mut numbers = story.numbers().to_vec();
        numbers.extend([to, end as u64]);
        let said = Child::start(env, S::PART, &numbers)?.rest()?;
        expect_eq("the last write that was acknowledged", &last(&said, "did"), &Some(to))?;
        compare(env, &mut story, &said, Some(to))
            .during(format_args!("{end:?} behind step {to}"))?;
    }
    Ok(())
}

/// Holds the store against the story: what was acknowledged as durable is there, of what follows
/// a prefix of whole steps, and nothing else.
fn compare<S: Story>(env: &Env, story: &mut S, said: &[Line], synced: Option<u64>) -> Checked {
    let will = last(said, "will").unwrap_or(story.step());
    let did = last(said, "did").unwrap_or(story.step());
    let mut ahead = story.copy();
    let mut durable = story.step().max(synced.unwrap_or(0));
    while ahead.step() < did {
        if ahead.go_on()? == Durability::Synced {
            durable = durable.max(ahead.step());
        }
    }
    let opened = S::open(env).during("opening what a child left")?;
    let reached = S::reached(&opened)?;
    ensure!(reached >= durable, "step {durable} was acknowledged, the store is at {reached}");
    ensure!(reached <= will, "the store is at step {reached}, the last begun was {will}");
    while story.step() < reached {
        story.go_on()?;
    }
    let what = format_args!("at step {reached}, {did} acknowledged, {will} begun");
    story.check(env, opened).during(what)
}
