//! Payloads that can be told from each other, and recognised when they are read back.

use bytes::Bytes;

use crate::{Error, Result};

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
    seed: u64,
    len: usize,
}

impl Payloads {
    /// Payloads of `len` bytes, which do not compress.
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        Self { seed, len }
    }

    fn of(&self, group: u64, index: u64) -> impl Iterator<Item = [u8; 8]> + use<> {
        let place = Random::new(group).next() ^ Random::new(!index).next();
        let mut random = Random::new(self.seed ^ place);
        std::iter::repeat_with(move || random.next().to_le_bytes())
    }

    /// The payload of one entry, in memory of its own, as one that came from the network.
    pub(crate) fn make(&self, group: u64, index: u64) -> Bytes {
        let mut payload = vec![0; self.len];
        for (bytes, word) in payload.chunks_mut(8).zip(self.of(group, index)) {
            bytes.copy_from_slice(word.get(..bytes.len()).unwrap_or_default());
        }
        Bytes::from(payload)
    }

    /// The payloads of `count` entries from `first` on.
    pub(crate) fn make_many(&self, group: u64, first: u64, count: usize) -> Vec<Bytes> {
        (first..).take(count).map(|index| self.make(group, index)).collect()
    }

    pub(crate) fn check(&self, group: u64, index: u64, found: &[u8]) -> Result<()> {
        let mut words = found.chunks(8).zip(self.of(group, index));
        if found.len() == self.len && words.all(|(bytes, word)| word.starts_with(bytes)) {
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
    fn no_two_payloads_share_what_a_compressor_could_use() {
        let payloads = Payloads::new(1, 256);
        let mut words = std::collections::BTreeSet::new();
        for index in 0..1000 {
            let payload = payloads.make(1, index);
            assert!(payload.chunks(8).all(|word| words.insert(word.to_vec())), "{index}");
        }
    }

    #[test]
    fn a_shorter_payload_is_the_start_of_a_longer_one() {
        let (long, short) = (Payloads::new(1, 100), Payloads::new(1, 13));
        assert_eq!(long.make(2, 3).slice(..13), short.make(2, 3));
        assert!(long.check(2, 3, &short.make(2, 3)).is_err());
    }

    #[test]
    fn every_length_has_its_bytes() {
        for len in [0, 1, 9, 64, 4096, 65536] {
            let payloads = Payloads::new(1, len);
            for index in 0..64 {
                let made = payloads.make(1, index);
                assert_eq!(made.len(), len);
                payloads.check(1, index, &made).unwrap();
            }
        }
    }
}
