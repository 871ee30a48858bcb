//! Payloads that can be told from each other, and recognised when they are read back.

use bytes::Bytes;

use crate::{Error, Result};

/// How many random bytes payloads are cut from.
const POOL_BYTES: usize = 1 << 17;

/// A sequence of numbers that looks random and follows from its seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Makes the payload of any entry, and knows it again.
#[derive(Debug)]
pub(crate) struct Payloads {
    pool: Vec<u8>,
    len: usize,
}

impl Payloads {
    /// Payloads of `len` incompressible bytes.
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        let mut random = Random::new(seed);
        let words = (POOL_BYTES + len).div_ceil(8);
        let pool = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        Self { pool, len }
    }

    fn of(&self, group: u64, index: u64) -> &[u8] {
        let mixed = Random::new(group.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ index).next();
        let at = usize::try_from(mixed % POOL_BYTES as u64).unwrap_or(0);
        self.pool.get(at..at + self.len).unwrap_or_default()
    }

    /// The payload of one entry, in memory of its own, as one that came from the network.
    pub(crate) fn make(&self, group: u64, index: u64) -> Bytes {
        Bytes::copy_from_slice(self.of(group, index))
    }

    /// The payloads of `count` entries from `first` on.
    pub(crate) fn make_many(&self, group: u64, first: u64, count: usize) -> Vec<Bytes> {
        (first..).take(count).map(|index| self.make(group, index)).collect()
    }

    pub(crate) fn check(&self, group: u64, index: u64, found: &[u8]) -> Result<()> {
        if found == self.of(group, index) {
            return Ok(());
        }
        Err(Error::Wrong { group, index, what: "what was read is not what was written" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_known_again_and_no_other_is_taken_for_it() {
        let payloads = Payloads::new(7, 256);
        let made = payloads.make(3, 9);
        assert_eq!(made.len(), 256);
        payloads.check(3, 9, &made).unwrap();
        for (group, index) in [(3, 10), (4, 9), (9, 3)] {
            assert!(matches!(payloads.check(group, index, &made), Err(Error::Wrong { .. })));
        }
        assert!(Payloads::new(8, 256).check(3, 9, &made).is_err(), "another seed, other bytes");
    }

    #[test]
    fn every_length_has_its_bytes() {
        for len in [0, 1, 64, 4096, 65536] {
            let payloads = Payloads::new(1, len);
            for index in 0..64 {
                assert_eq!(payloads.make(1, index).len(), len);
            }
        }
    }
}
