//! A run of a log's entries, kept in memory.

use std::collections::VecDeque;

use crate::record::RECORD_HEADER_BYTES;
use crate::types::Entry;

/// What an entry takes in memory beside its payload.
const ENTRY_BYTES: usize = size_of::<Held>();

/// An entry, and how far the window's bytes reach with it: counted from where the window once
/// began, so that the bytes between two entries are a difference.
#[derive(Debug)]
struct Held {
    entry: Entry,
    end: u64,
}

/// A contiguous run of entries.
#[derive(Debug, Default)]
pub(crate) struct Window {
    held: VecDeque<Held>,
    /// The `end` of the entry before the first.
    start: u64,
}

impl Window {
    /// The first index, `None` for an empty window.
    pub(crate) fn first(&self) -> Option<u64> {
        self.held.front().map(|held| held.entry.id.index)
    }

    /// The last index, `None` for an empty window.
    pub(crate) fn last(&self) -> Option<u64> {
        self.held.back().map(|held| held.entry.id.index)
    }

    fn end(&self) -> u64 {
        self.held.back().map_or(self.start, |held| held.end)
    }

    /// How much memory the entries take.
    pub(crate) fn bytes(&self) -> usize {
        distance(self.start, self.end())
    }

    /// How much memory the entries behind `index` take.
    pub(crate) fn bytes_behind(&self, index: Option<u64>) -> usize {
        let Some(index) = index else { return self.bytes() };
        let start = self.place(index).and_then(|place| self.held.get(place));
        match start {
            Some(held) => distance(held.end, self.end()),
            None if self.first().is_some_and(|first| index < first) => self.bytes(),
            None => 0,
        }
    }

    /// Adds the entries that follow the last; an empty window begins with any.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let mut end = self.end();
        self.held.extend(entries.iter().map(|entry| {
            end += memory_bytes(entry) as u64;
            Held { entry: entry.clone(), end }
        }));
    }

    /// The entries from `index` on; none where the window begins behind it.
    pub(crate) fn from(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let skip = self.place(index).unwrap_or(self.held.len());
        self.held.range(skip.min(self.held.len())..).map(|held| &held.entry)
    }

    /// Where the entry at `index` stands, or would stand behind the last.
    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first()?)?).ok()
    }

    pub(crate) fn truncate_from(&mut self, index: u64) {
        while self.last().is_some_and(|last| last >= index) {
            self.held.pop_back();
        }
        self.shrink();
    }

    pub(crate) fn drop_through(&mut self, index: u64) {
        self.evict(index, usize::MAX);
        self.shrink();
    }

    /// Drops the oldest entries up to and with index `last` until `bytes` are free.
    pub(crate) fn evict(&mut self, last: u64, bytes: usize) {
        let keep = self.bytes().saturating_sub(bytes);
        while self.bytes() > keep && self.first().is_some_and(|first| first <= last) {
            self.start = self.held.pop_front().map_or(self.start, |held| held.end);
        }
    }

    /// Gives back what the entries once took, where little of it is left.
    fn shrink(&mut self) {
        if self.held.len() < self.held.capacity() / 4 {
            self.held.shrink_to(self.held.len() * 2);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many log bytes the entries behind `index` add, where the window holds all of them.
    pub(crate) fn log_bytes_behind(&self, index: u64) -> Option<u64> {
        if self.first()? > index.checked_add(1)? {
            return None;
        }
        let count = self.last()?.saturating_sub(index);
        let bytes = self.bytes_behind(Some(index)) as u64;
        Some(bytes - count * (ENTRY_BYTES - RECORD_HEADER_BYTES) as u64)
    }
}

fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

/// What an entry takes in memory.
pub(crate) fn memory_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(indexes: std::ops::RangeInclusive<u64>) -> Window {
        let payload = |index| vec![0; usize::try_from(index).expect("a small index")];
        let entries: Vec<_> = indexes.map(|index| Entry::new(1, index, payload(index))).collect();
        let mut window = Window::default();
        window.append(&entries);
        window
    }

    fn indexes(window: &Window, from: u64) -> Vec<u64> {
        window.from(from).map(|entry| entry.id.index).collect()
    }

    #[test]
    fn reads_begin_inside_or_not_at_all() {
        let window = window(5..=8);
        assert_eq!(indexes(&window, 5), [5, 6, 7, 8]);
        assert_eq!(indexes(&window, 8), [8]);
        assert_eq!(indexes(&window, 9), [0; 0]);
        assert_eq!(indexes(&window, 4), [0; 0]);
        assert_eq!(indexes(&Window::default(), 0), [0; 0]);
    }

    #[test]
    fn bytes_follow_every_change() {
        let mut window = window(5..=8);
        assert_eq!(window.bytes(), 4 * ENTRY_BYTES + 26);
        window.truncate_from(8);
        window.drop_through(5);
        assert_eq!((indexes(&window, 6), window.bytes()), (vec![6, 7], 2 * ENTRY_BYTES + 13));
        window.evict(6, usize::MAX);
        assert_eq!((window.first(), window.bytes()), (Some(7), ENTRY_BYTES + 7));
        window.clear();
        assert_eq!((window.first(), window.bytes()), (None, 0));
    }

    #[test]
    fn log_bytes_behind_an_index_are_known_where_all_is_here() {
        let window = window(5..=8);
        let header = RECORD_HEADER_BYTES as u64;
        assert_eq!(window.log_bytes_behind(8), Some(0));
        assert_eq!(window.log_bytes_behind(6), Some(2 * header + 15));
        assert_eq!(window.log_bytes_behind(4), Some(4 * header + 26));
        assert_eq!(window.log_bytes_behind(3), None);
    }

    #[test]
    fn bytes_behind_an_index_are_those_of_the_entries_there() {
        let mut window = window(5..=8);
        window.evict(5, 1);
        let behind = |index| window.bytes_behind(index);
        assert_eq!(behind(None), 3 * ENTRY_BYTES + 21);
        assert_eq!([4, 5].map(|index| behind(Some(index))), [3 * ENTRY_BYTES + 21; 2]);
        assert_eq!(behind(Some(7)), ENTRY_BYTES + 8);
        assert_eq!([8, 9].map(|index| behind(Some(index))), [0; 2]);
    }
}
