//! The newest entries of a log, kept in memory.

use std::collections::VecDeque;

use crate::record::RECORD_HEADER_BYTES;
use crate::types::Entry;

/// What an entry takes in memory beside its payload.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// A contiguous run of entries that reaches to the end of its log: all that the engine may not
/// have yet, and before it what there is room for.
#[derive(Debug, Default)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Window {
    /// The first index, `None` for an empty window.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.id.index)
    }

    /// How much memory the entries take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn append(&mut self, entries: &[Entry]) {
        self.bytes += entries.iter().map(memory_bytes).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// The entries from `index` on; none where the window begins behind it.
    pub(crate) fn from(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let skip = self.first().and_then(|first| index.checked_sub(first));
        let skip = skip.and_then(|skip| usize::try_from(skip).ok());
        self.entries.iter().skip(skip.unwrap_or(usize::MAX))
    }

    pub(crate) fn truncate_from(&mut self, index: u64) {
        while self.entries.back().is_some_and(|entry| entry.id.index >= index) {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, memory_bytes);
        }
    }

    pub(crate) fn drop_through(&mut self, index: u64) {
        self.evict(index, usize::MAX);
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// Drops the oldest entries up to and with index `last` until `bytes` are free.
    pub(crate) fn evict(&mut self, last: u64, bytes: usize) {
        let keep = self.bytes.saturating_sub(bytes);
        while self.bytes > keep && self.entries.front().is_some_and(|entry| entry.id.index <= last)
        {
            self.bytes -= self.entries.pop_front().as_ref().map_or(0, memory_bytes);
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
        let behind = self.entries.iter().rev().take_while(|entry| entry.id.index > index);
        Some(behind.map(|entry| (RECORD_HEADER_BYTES + entry.payload.len()) as u64).sum())
    }
}

fn memory_bytes(entry: &Entry) -> usize {
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
}
