//! Purging at every position.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::{R, Rig, entry, hard_state, id, ids, led, purged, run};
use kvlogdb_log::{Durability, Error, Leader, LogOptions, PurgeGuard, Snapshot};

/// Entries 10 to 14: terms 2, 2, 3, 3, 5.
const ALL: [(u64, u64); 5] = [(2, 10), (2, 11), (3, 12), (3, 13), (5, 14)];

#[test]
fn purging_at_every_position_of_a_log_without_boundary() {
    let rows = [
        ((0, 0), None, 5),
        ((2, 8), None, 5),
        ((2, 9), Some((2, 9)), 5),
        ((1, 9), Some((1, 9)), 5),
        ((2, 10), Some((2, 10)), 4),
        ((3, 12), Some((3, 12)), 2),
        ((3, 13), Some((3, 13)), 1),
        ((5, 14), Some((5, 14)), 0),
        ((5, 15), Some((5, 15)), 0),
        ((9, 99), Some((9, 99)), 0),
        ((9, u64::MAX), Some((9, u64::MAX)), 0),
    ];
    for ((term, index), boundary, left) in rows {
        let mut rig = Rig::holding(&ALL);
        for _ in 0..2 {
            rig.log().purge_through(id(term, index), Durability::Synced).unwrap();
            rig.settle();
            assert_eq!(purged(&rig.log()), boundary, "{term}/{index}");
            assert_eq!(ids(&rig.log()), ALL[5 - left..]);
        }
        let last = if left == 0 { index } else { 14 };
        assert_eq!(rig.log().last_index().unwrap(), Some(last));
        let first = boundary.map_or(Some(10), |boundary| boundary.1.checked_add(1));
        assert_eq!(rig.log().first_index().unwrap(), first);
        if let Some((term, index)) = boundary {
            assert_eq!(rig.log().term(index).unwrap(), term, "the boundary's term is known");
        }
    }
}

#[test]
fn purging_at_every_position_of_a_log_with_a_boundary() {
    let rows =
        [(0, 11, 3), (10, 11, 3), (11, 11, 3), (12, 12, 2), (14, 14, 0), (15, 15, 0), (30, 30, 0)];
    for (index, boundary, left) in rows {
        let mut rig = Rig::holding(&ALL);
        rig.log().purge_through(id(2, 11), Durability::Synced).unwrap();
        let term = match index {
            ..12 => 2,
            12 => 3,
            _ => 5,
        };
        rig.log().purge_through(id(term, index), Durability::Synced).unwrap();
        rig.settle();
        assert_eq!(purged(&rig.log()).map(|purged| purged.1), Some(boundary));
        assert_eq!(ids(&rig.log()), ALL[5 - left..]);
    }
}

#[test]
fn an_id_that_is_not_the_logs_is_refused() {
    let rig = Rig::holding(&ALL);
    for (term, index) in [(1, 10), (3, 11), (2, 12), (4, 14), (6, 14)] {
        let error = rig.refused(|batch| batch.purge_through(R, id(term, index)));
        let named = matches!(error, Error::IdMismatch { found, .. } if found == id(term, index));
        assert!(named, "{error}");
    }
    rig.log().purge_through(id(2, 11), Durability::Synced).unwrap();
    for term in [1, 3] {
        let error = rig.refused(|batch| batch.purge_through(R, id(term, 11)));
        assert!(matches!(error, Error::IdMismatch { .. }), "{error}");
    }
}

/// Terms never go back along a log, and its boundary is a part of it.
#[test]
fn a_boundary_of_a_term_out_of_order_is_refused() {
    let rig = Rig::holding(&ALL);
    for (term, index) in [(3, 9), (u64::MAX, 9), (4, 15), (0, 90)] {
        let error = rig.refused(|batch| batch.purge_through(R, id(term, index)));
        assert!(matches!(error, Error::TermWentBack { .. }), "{term}/{index}: {error}");
    }
}

#[test]
fn an_emptied_log_goes_on_behind_its_boundary_and_nowhere_else() {
    let mut rig = Rig::holding(&ALL);
    rig.log().purge_through(id(5, 14), Durability::Synced).unwrap();
    rig.settle();
    for index in [0, 13, 14] {
        let error = rig.refused(|batch| batch.append(R, vec![entry(5, index)]));
        assert!(matches!(error, Error::Purged { .. }), "{error}");
    }
    for index in [16, u64::MAX] {
        let error = rig.refused(|batch| batch.append(R, vec![entry(5, index)]));
        assert!(matches!(error, Error::Gap { expected: 15, .. }), "{error}");
    }
    let error = rig.refused(|batch| batch.append(R, vec![entry(4, 15)]));
    assert!(matches!(error, Error::TermWentBack { .. }), "{error}");
    rig.log().append(run(5, 15..=16), Durability::Synced).unwrap();
    rig.settle();
    assert_eq!(ids(&rig.log()), [(5, 15), (5, 16)]);
}

#[test]
fn a_purge_of_a_log_that_never_was_makes_its_boundary() {
    for index in [0, 1, 77, u64::MAX] {
        let mut rig = Rig::new();
        assert_eq!(purged(&rig.log()), None);
        rig.log().purge_through(id(6, index), Durability::Synced).unwrap();
        rig.settle();
        assert_eq!(purged(&rig.log()), Some((6, index)));
        assert_eq!(rig.log().last_index().unwrap(), Some(index));
        assert_eq!(rig.log().term(index).unwrap(), 6);
    }
}

#[test]
fn purged_at_zero_is_not_nothing_purged() {
    let mut rig = Rig::holding(&[(1, 0), (1, 1)]);
    assert_eq!(purged(&rig.log()), None);
    rig.log().purge_through(id(1, 0), Durability::Synced).unwrap();
    rig.settle();
    assert_eq!(purged(&rig.log()), Some((1, 0)));
    assert_eq!(rig.log().first_index().unwrap(), Some(1));
    assert!(matches!(rig.log().entry(0), Err(Error::Purged { index: 0, .. })));
}

#[test]
fn leaders_are_kept_with_the_boundary_and_compared_where_given() {
    let leader = |name: &'static str| Leader::new(name).unwrap();
    let filled = || {
        let rig = Rig::new();
        rig.write(|batch| {
            batch.append_led(R, leader("a"), run(2, 1..=3));
            batch.append_led(R, leader("b"), run(2, 4..=6))
        })
        .unwrap();
        rig
    };
    let mut rig = filled();
    assert_eq!(rig.log().id(3).unwrap(), led(2, 3, "a"));
    assert_eq!(rig.log().id(4).unwrap(), led(2, 4, "b"));
    assert_eq!(rig.log().last_index_of_term(2).unwrap(), Some(6));
    assert_eq!(rig.log().first_index_of_term(2).unwrap(), Some(1));
    let error = rig.refused(|batch| batch.purge_through(R, led(2, 4, "a")));
    assert!(matches!(error, Error::IdMismatch { .. }), "{error}");
    for (to, known) in [(led(2, 2, "a"), led(2, 2, "a")), (id(2, 5).into(), led(2, 5, "b"))] {
        rig.log().purge_through(to, Durability::Synced).unwrap();
        rig.settle();
        assert_eq!(rig.log().purged().unwrap(), Some(known));
    }
    rig.log().purge_through(led(3, 9, "c"), Durability::Synced).unwrap();
    rig.settle();
    assert_eq!(rig.log().last().unwrap(), Some(led(3, 9, "c")));
    assert!(Leader::new(vec![1; 64]).is_ok());
    let error = Leader::new(vec![1; 65]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { len_bytes: 65, limit_bytes: 64, .. }), "{error}");
}

#[test]
fn a_guarded_purge_stays_behind_the_recorded_snapshot() {
    let mut options = LogOptions::default();
    options.purge_guard = PurgeGuard::Snapshot;
    let mut rig = Rig::with(options);
    rig.log().append(run(2, 10..=14), Durability::Synced).unwrap();
    let record = |rig: &Rig, index| {
        let snapshot = Snapshot { id: id(2, index), data: "file".into() };
        rig.write(|batch| batch.set_snapshot(R, snapshot))
    };
    for index in [9, 10, 14, 20] {
        let error = rig.refused(|batch| batch.purge_through(R, id(2, index)));
        assert!(matches!(error, Error::AboveSnapshot { snapshot: None, .. }), "{error}");
    }
    record(&rig, 12).unwrap();
    rig.reopen().unwrap();
    for index in [13, 14, 20] {
        let error = rig.refused(|batch| batch.purge_through(R, id(2, index)));
        let named = matches!(error, Error::AboveSnapshot { snapshot, .. }
            if snapshot == Some(id(2, 12)));
        assert!(named, "{error}");
    }
    rig.log().purge_through(id(2, 12), Durability::Synced).unwrap();
    rig.log().purge_through(id(2, 3), Durability::Synced).unwrap();
    rig.write(|batch| {
        let snapshot = Snapshot { id: id(2, 14), data: "file".into() };
        batch.set_snapshot(R, snapshot).purge_through(R, id(2, 14))
    })
    .unwrap();
    rig.settle();
    assert_eq!(purged(&rig.log()), Some((2, 14)));
}

#[test]
fn purging_leaves_hard_state_and_truncation_rules_alone() {
    let mut rig = Rig::holding(&ALL);
    let state = hard_state(5, Some(1), Some(11));
    rig.log().set_hard_state(state, Durability::Synced).unwrap();
    rig.log().purge_through(id(3, 13), Durability::Synced).unwrap();
    rig.settle();
    assert_eq!(rig.log().hard_state().unwrap(), Some(state));
    rig.log().truncate_from(14, Durability::Synced).unwrap();
    rig.settle();
    assert_eq!(ids(&rig.log()), []);
    assert_eq!(rig.log().last_index().unwrap(), Some(13));
}

#[test]
fn purged_keys_leave_the_engine_in_slices_and_completely() {
    let mut rig = Rig::new();
    rig.log().append(run(1, 1..=5000), Durability::Synced).unwrap();
    let full = rig.store().disk_bytes().unwrap();
    rig.faults.take_removals();
    rig.log().purge_through(id(1, 4900), Durability::Synced).unwrap();
    rig.store().settle().unwrap();
    let slices = rig.faults.take_removals();
    assert_eq!(slices.iter().sum::<u64>(), 4900, "each key is removed once");
    assert!(slices.len() >= 2, "{slices:?}");
    assert!(rig.store().disk_bytes().unwrap() < full / 20);
    rig.settle();
    assert_eq!(ids(&rig.log()).len(), 100);
}
