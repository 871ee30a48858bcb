//! The terms of a log, kept in memory as runs.

use std::sync::Arc;

use crate::types::Leader;

/// The most runs that a replica's state record takes: at their largest they stay below the limit
/// for one value.
pub const MAX_TERM_RUNS: usize = 1 << 16;

/// Consecutive entries of one term and leader; the run ends where the next begins or the log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) term: u64,
    pub(crate) leader: Leader,
}

/// The runs of one log in index order: terms never go back. Copies share the list until one of
/// them changes, which few appends do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TermRuns {
    runs: Arc<Vec<Run>>,
}

impl TermRuns {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// The first index of the log, `None` where it has no entry.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.first().map(|run| run.first)
    }

    pub(crate) fn last_run(&self) -> Option<&Run> {
        self.runs.last()
    }

    /// The run that an entry at `index` belongs to; the end of the log is the caller's to know.
    pub(crate) fn at(&self, index: u64) -> Option<&Run> {
        let behind = self.runs.partition_point(|run| run.first <= index);
        self.runs.get(behind.checked_sub(1)?)
    }

    /// Whether an entry that follows the last run would start another.
    pub(crate) fn starts_run(&self, term: u64, leader: &Leader) -> bool {
        self.runs.last().is_none_or(|last| last.term != term || !last.leader.is(leader))
    }

    /// Starts a run behind the last; `false`, and nothing done, where it would be out of order.
    pub(crate) fn append(&mut self, first: u64, term: u64, leader: &Leader) -> bool {
        let fits = self.runs.last().is_none_or(|last| {
            last.first < first && last.term <= term && self.starts_run(term, leader)
        });
        if fits {
            let leader = leader.clone();
            Arc::make_mut(&mut self.runs).push(Run { first, term, leader });
        }
        fits
    }

    /// Forgets the entries from `index` on.
    pub(crate) fn cut_from(&mut self, index: u64) {
        let keep = self.runs.partition_point(|run| run.first < index);
        if keep < self.runs.len() {
            Arc::make_mut(&mut self.runs).truncate(keep);
        }
    }

    /// Forgets the entries before `first`, which must be an index of the log.
    pub(crate) fn cut_before(&mut self, first: u64) {
        let Some(gone) = self.runs.partition_point(|run| run.first <= first).checked_sub(1) else {
            return;
        };
        let runs = Arc::make_mut(&mut self.runs);
        runs.drain(..gone);
        if let Some(run) = runs.first_mut() {
            run.first = first;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.runs = Arc::default();
    }

    /// The first index of `term`.
    pub(crate) fn first_of_term(&self, term: u64) -> Option<u64> {
        let at = self.runs.partition_point(|run| run.term < term);
        self.runs.get(at).filter(|run| run.term == term).map(|run| run.first)
    }

    /// The last index of `term` in a log that ends at `last`.
    pub(crate) fn last_of_term(&self, term: u64, last: u64) -> Option<u64> {
        self.first_of_term(term)?;
        let behind = self.runs.partition_point(|run| run.term <= term);
        Some(self.runs.get(behind).map_or(last, |next| next.first.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(list: &[(u64, u64)]) -> TermRuns {
        let mut runs = TermRuns::default();
        for &(first, term) in list {
            assert!(runs.append(first, term, &Leader::default()));
        }
        runs
    }

    #[test]
    fn an_index_belongs_to_the_run_that_began_last() {
        let runs = runs(&[(3, 1), (5, 2), (9, 7)]);
        let term = |index| runs.at(index).map(|run| run.term);
        assert_eq!(
            [2, 3, 4, 5, 8, 9, 100].map(term),
            [None, Some(1), Some(1), Some(2), Some(2), Some(7), Some(7)]
        );
    }

    #[test]
    fn bounds_of_terms() {
        let runs = runs(&[(3, 1), (5, 2), (9, 7)]);
        assert_eq!(
            [0, 1, 2, 3, 7, 8].map(|term| runs.first_of_term(term)),
            [None, Some(3), Some(5), None, Some(9), None]
        );
        assert_eq!(
            [0, 1, 2, 3, 7, 8].map(|term| runs.last_of_term(term, 20)),
            [None, Some(4), Some(8), None, Some(20), None]
        );
    }

    #[test]
    fn cuts_keep_what_lies_on_their_side() {
        let whole = runs(&[(3, 1), (5, 2), (9, 7)]);
        let cut = |index| {
            let mut cut = whole.clone();
            cut.cut_from(index);
            cut
        };
        assert_eq!(cut(10), whole);
        assert_eq!(cut(9), runs(&[(3, 1), (5, 2)]));
        assert_eq!(cut(3), TermRuns::default());
        let before = |first| {
            let mut cut = whole.clone();
            cut.cut_before(first);
            cut
        };
        assert_eq!(before(3), whole);
        assert_eq!(before(4), runs(&[(4, 1), (5, 2), (9, 7)]));
        assert_eq!(before(5), runs(&[(5, 2), (9, 7)]));
        assert_eq!(before(30), runs(&[(30, 7)]));
    }

    #[test]
    fn a_run_out_of_order_is_refused() {
        let mut runs = runs(&[(3, 4)]);
        for (first, term) in [(3, 5), (2, 5), (4, 3), (4, 4)] {
            assert!(!runs.append(first, term, &Leader::default()), "{first} {term}");
        }
        assert!(runs.append(4, 4, &Leader::new("other").unwrap()));
    }
}
