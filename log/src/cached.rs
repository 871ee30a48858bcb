//! What memory holds of one log's entries.

use crate::types::Entry;
use crate::window::{Window, memory_bytes};

/// How much of what was read last is kept of one log, at the most.
const READ_BYTES: usize = 1 << 20;

/// The newest entries of a log, and before them those that were read last.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    /// Reaches to the end of the log: all that the engine may not have yet, and before it what
    /// there is room for.
    newest: Window,
    /// Entries from the engine, as they were read: another reader may come by, and whoever reads
    /// on finds what was read ahead.
    read: Window,
}

impl Cached {
    /// How much memory the entries take.
    pub(crate) fn bytes(&self) -> usize {
        self.newest.bytes() + self.read.bytes()
    }

    /// How much memory the newest entries take that lie behind `index`.
    pub(crate) fn bytes_behind(&self, index: Option<u64>) -> usize {
        self.newest.bytes_behind(index)
    }

    /// As [`bytes_behind`](Self::bytes_behind), of entries before `end` only.
    pub(crate) fn bytes_between(&self, index: Option<u64>, end: u64) -> usize {
        let behind_end = end.checked_sub(1).map_or(0, |last| self.bytes_behind(Some(last)));
        self.bytes_behind(index).saturating_sub(behind_end)
    }

    /// How many log bytes the entries behind `index` add, where memory holds all of them.
    pub(crate) fn log_bytes_behind(&self, index: u64) -> Option<u64> {
        self.newest.log_bytes_behind(index)
    }

    /// The run of entries in memory that begins at `index`, if there is one.
    pub(crate) fn from(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let newest = self.newest.first().filter(|&first| first <= index);
        let window = if newest.is_some() { &self.newest } else { &self.read };
        window.from(index)
    }

    /// Where the next run in memory begins that lies behind `index`.
    pub(crate) fn next_run(&self, index: u64) -> Option<u64> {
        let runs = [self.read.first(), self.newest.first()].into_iter().flatten();
        runs.filter(|&first| first > index).min()
    }

    /// Whether whoever goes on at `index` goes on where the last reader stopped.
    pub(crate) fn is_read_on(&self, index: u64) -> bool {
        self.read.last().and_then(|last| last.checked_add(1)) == Some(index)
    }

    pub(crate) fn append(&mut self, entries: &[Entry]) {
        self.newest.append(entries);
    }

    /// Keeps what was read, as much of its end as there is room for.
    pub(crate) fn keep_read(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let mut room = Some(READ_BYTES);
        let fits = entries.iter().rev().take_while(|entry| {
            room = room.and_then(|room| room.checked_sub(memory_bytes(entry)));
            room.is_some()
        });
        let skip = entries.len() - fits.count();
        if skip > 0 || !self.is_read_on(first.id.index) {
            self.read.clear();
        }
        self.read.append(entries.get(skip..).unwrap_or_default());
        let over = self.read.bytes().saturating_sub(READ_BYTES);
        self.read.evict(u64::MAX, over);
    }

    pub(crate) fn truncate_from(&mut self, index: u64) {
        self.newest.truncate_from(index);
        self.read.truncate_from(index);
    }

    pub(crate) fn drop_through(&mut self, index: u64) {
        self.newest.drop_through(index);
        self.read.drop_through(index);
    }

    /// Frees `bytes`, or what can be: of what was read, and then of the newest entries the oldest,
    /// up to and with index `last`.
    pub(crate) fn evict(&mut self, last: Option<u64>, bytes: usize) {
        let read = self.read.bytes();
        self.read.evict(u64::MAX, bytes);
        let freed = read - self.read.bytes();
        if let Some(last) = last
            && freed < bytes
        {
            self.newest.evict(last, bytes - freed);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
        indexes.map(|index| Entry::new(1, index, "x")).collect()
    }

    fn cached() -> Cached {
        let mut cached = Cached::default();
        cached.append(&entries(10..=12));
        cached.keep_read(&entries(3..=5));
        cached
    }

    fn indexes(cached: &Cached, from: u64) -> Vec<u64> {
        cached.from(from).map(|entry| entry.id.index).collect()
    }

    #[test]
    fn a_reader_goes_from_run_to_run() {
        let cached = cached();
        assert_eq!([2, 4, 6, 9, 11].map(|index| indexes(&cached, index).len()), [0, 2, 0, 0, 2]);
        assert_eq!(
            [2, 3, 6, 10].map(|index| cached.next_run(index)),
            [Some(3), Some(10), Some(10), None]
        );
    }

    #[test]
    fn what_is_read_on_joins_and_what_is_read_elsewhere_replaces() {
        let mut cached = cached();
        assert!(cached.is_read_on(6) && !cached.is_read_on(5) && !cached.is_read_on(7));
        cached.keep_read(&entries(6..=7));
        assert_eq!(indexes(&cached, 3), [3, 4, 5, 6, 7]);
        cached.keep_read(&entries(1..=2));
        assert_eq!((indexes(&cached, 1), indexes(&cached, 3)), (vec![1, 2], vec![]));
    }

    #[test]
    fn only_so_much_of_what_is_read_is_kept() {
        let mut cached = Cached::default();
        let payload = vec![0; READ_BYTES / 4];
        let large: Vec<_> = (1..=9).map(|index| Entry::new(1, index, payload.clone())).collect();
        cached.keep_read(&large);
        assert!(cached.bytes() <= READ_BYTES, "{}", cached.bytes());
        assert_eq!(indexes(&cached, 9), [9]);
        assert!(cached.is_read_on(10));
    }

    #[test]
    fn truncations_and_purges_pass_both_runs() {
        let mut cut = cached();
        cut.truncate_from(5);
        assert_eq!((indexes(&cut, 3), indexes(&cut, 10)), (vec![3, 4], vec![]));
        let mut purged = cached();
        purged.drop_through(10);
        assert_eq!((indexes(&purged, 3), indexes(&purged, 11)), (vec![], vec![11, 12]));
    }

    #[test]
    fn what_was_read_goes_before_the_newest() {
        let mut cached = cached();
        cached.evict(Some(11), 1);
        assert_eq!((indexes(&cached, 4).len(), indexes(&cached, 10).len()), (2, 3));
        cached.evict(Some(11), usize::MAX);
        assert_eq!((indexes(&cached, 4).len(), indexes(&cached, 12)), (0, vec![12]));
        let rest = cached.bytes();
        assert_eq!((cached.bytes_behind(None), cached.bytes_between(None, 12)), (rest, 0));
        cached.evict(None, usize::MAX);
        assert_eq!(cached.bytes(), rest);
    }
}
