//! Numbers that look random and come back with their seed.

use std::env;
use std::hash::{BuildHasher, RandomState};

use crate::failure::{Checked, Context};

/// A generator of 64-bit numbers (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "its numbers never end")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    ///
    /// # Panics
    ///
    /// Where `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of the items.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.below(items.len() as u64);
        items.iter().zip(0..).find(|item| item.1 == at).expect("an item").0
    }
}

/// The variable of the environment that chooses the seed.
const SEED: &str = "KVLOGDB_SEED";
/// The variable that chooses how many steps a random history has.
const STEPS: &str = "KVLOGDB_STEPS";
/// The variable that chooses how many kills the cases of the layer `kill` do together, about.
const KILLS: &str = "KVLOGDB_KILLS";

/// The seed that was asked for, or a new one.
pub(crate) fn seed() -> Checked<u64> {
    Ok(number(SEED)?.unwrap_or_else(|| RandomState::new().hash_one(0)))
}

/// How many steps were asked for.
pub(crate) fn steps() -> Checked<Option<u64>> {
    number(STEPS)
}

/// How many kills were asked for.
pub(crate) fn kills() -> Checked<Option<u64>> {
    number(KILLS)
}

/// Whether somebody has asked for more than a normal run, which then takes its time.
pub(crate) fn is_long() -> bool {
    env::var_os(STEPS).is_some() || env::var_os(KILLS).is_some()
}

/// How a failure says that this seed brings the same again.
pub(crate) fn repeats(seed: u64) -> String {
    format!("{SEED}={seed}")
}

fn number(name: &str) -> Checked<Option<u64>> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    let number = text.parse().map_err(|_| format!("{name} is \"{text}\", wanted a number"))?;
    Ok(Some(number))
}

/// Runs a number of random steps. A failure says which seed brings the same ones again.
pub(crate) fn repeat(steps: u32, mut step: impl FnMut(&mut Random) -> Checked) -> Checked {
    let seed = seed()?;
    let mut random = Random::new(seed);
    for number in 1..=steps {
        step(&mut random)
            .during(format_args!("step {number} of seed {seed} ({SEED}={seed} repeats it)"))?;
    }
    Ok(())
}

/// `len` bytes that depend on the seed and do not repeat, so that a piece in the wrong place shows.
pub(crate) fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
