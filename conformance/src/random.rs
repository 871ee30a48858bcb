//! Numbers that look random and come back with their seed.

use std::env;
use std::hash::{BuildHasher, RandomState};

use crate::failure::{Checked, Context};

/// A generator of 64-bit numbers (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of the items, of which there is at least one.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.below(items.len() as u64);
        items.iter().zip(0..).find(|item| item.1 == at).expect("an item").0
    }
}

/// The variable of the environment that chooses the seed.
const SEED: &str = "KVLOGDB_SEED";

/// Runs a number of random steps. A failure says which seed brings the same ones again.
pub(crate) fn repeat(steps: u32, mut step: impl FnMut(&mut Random) -> Checked) -> Checked {
    let seed = match env::var(SEED) {
        Ok(text) => text.parse().map_err(|_| format!("{SEED} is \"{text}\", wanted a number"))?,
        Err(_) => RandomState::new().hash_one(0),
    };
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
