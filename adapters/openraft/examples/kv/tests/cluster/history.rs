//! Whether what clients saw of a key could have happened one operation after the other.

use std::collections::{BTreeMap, HashSet};

/// An operation on a key as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) key: String,
    pub(crate) start: u64,
    /// `None` where the client does not know: it may have happened at any time since, or never.
    pub(crate) end: Option<u64>,
    pub(crate) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The key got this value, or was removed.
    Write(Option<String>),
    /// The key was found to hold this.
    Read(Option<String>),
}

/// A key whose operations cannot be brought into an order, with all of them.
pub(crate) fn find_contradiction(history: &[Op]) -> Option<(String, Vec<Op>)> {
    let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in history {
        keys.entry(&op.key).or_default().push(op);
    }
    let contradicts = |(_, ops): &(&str, Vec<&Op>)| !Search::new(ops).run();
    let (key, ops) = keys.into_iter().find(contradicts)?;
    Some((key.to_owned(), ops.into_iter().cloned().collect()))
}

/// Tries every order that the times allow: an operation may come next if none that is left has
/// ended before it began.
struct Search<'a> {
    ops: &'a [&'a Op],
    /// Operations that are behind us, a bit each, and what the key held then: known not to lead on.
    tried: HashSet<(u128, Option<&'a str>)>,
}

impl<'a> Search<'a> {
    fn new(ops: &'a [&'a Op]) -> Self {
        assert!(ops.len() <= 128, "{} operations on one key", ops.len());
        Self { ops, tried: HashSet::new() }
    }

    fn run(&mut self) -> bool {
        self.leads_on(0, None)
    }

    fn leads_on(&mut self, done: u128, value: Option<&'a str>) -> bool {
        let ops = self.ops;
        let left = || ops.iter().enumerate().filter(|(at, _)| done & (1 << at) == 0);
        let Some(horizon) = left().filter_map(|(_, op)| op.end).min() else {
            return true; // what is left may never have happened
        };
        if !self.tried.insert((done, value)) {
            return false;
        }
        for (at, op) in left().filter(|(_, op)| op.start <= horizon) {
            let after = match &op.action {
                Action::Write(written) => written.as_deref(),
                Action::Read(found) if found.as_deref() == value => value,
                Action::Read(_) => continue,
            };
            if self.leads_on(done | 1 << at, after) {
                return true;
            }
        }
        false
    }
}

#[test]
fn orders_are_found_and_contradictions_are_noticed() {
    let write = |start, end, value: &str| Op {
        key: "k".to_owned(),
        start,
        end,
        action: Action::Write(Some(value.to_owned())),
    };
    let read = |start, end, value: Option<&str>| Op {
        key: "k".to_owned(),
        start,
        end: Some(end),
        action: Action::Read(value.map(str::to_owned)),
    };
    let fine = [
        vec![read(0, 1, None), write(2, Some(3), "a"), read(4, 5, Some("a"))],
        // While a write is on its way a read may see it or not, and another one, too.
        vec![write(0, Some(9), "a"), read(1, 2, None), read(3, 4, Some("a"))],
        // A write of which nobody knows the end may come late, or never.
        vec![write(0, None, "a"), read(1, 2, None), read(3, 4, Some("a"))],
        vec![write(0, None, "a"), read(1, 2, None), write(3, Some(4), "b"), read(5, 6, Some("b"))],
        vec![write(0, Some(5), "a"), write(0, Some(5), "b"), read(6, 7, Some("a"))],
    ];
    for history in fine {
        assert_eq!(find_contradiction(&history), None);
    }
    let bad = [
        // A write that was acknowledged is gone, or was never there.
        vec![write(0, Some(1), "a"), read(2, 3, None)],
        vec![read(0, 1, Some("a")), write(2, Some(3), "a")],
        // What was seen once is unseen.
        vec![write(0, Some(9), "a"), read(1, 2, Some("a")), read(3, 4, None)],
        vec![write(0, None, "a"), read(1, 2, Some("a")), read(3, 4, None)],
        // The older of two comes back.
        vec![write(0, Some(1), "a"), write(2, Some(3), "b"), read(4, 5, Some("a"))],
        vec![
            write(0, Some(5), "a"),
            write(0, Some(5), "b"),
            read(6, 7, Some("a")),
            read(8, 9, Some("b")),
        ],
    ];
    for history in bad {
        assert!(find_contradiction(&history).is_some(), "{history:?}");
    }
}
