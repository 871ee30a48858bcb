//! Installing a snapshot at every position, against logs of every length.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::{Rig, entry, hard_state, id, ids, led, purged, run};
use kvlogdb_log::{Boundary, Durability, Error, LogId};

/// A log from 1 to `last`: terms 1 up to 4, 2 from 5 on.
fn log_ending_at(last: u64) -> Rig {
    Rig::holding(&(1..=last).map(|index| (term_of(index), index)).collect::<Vec<_>>())
}

fn term_of(index: u64) -> u64 {
    if index < 5 { 1 } else { 2 }
}

/// Installs and answers what is left: entries, boundary, last.
fn installed(rig: &mut Rig, to: impl Into<Boundary>) -> (Vec<(u64, u64)>, Option<LogId>) {
    let to = to.into();
    rig.log().install(to.clone(), Durability::Synced).unwrap();
    rig.settle();
    let before = rig.views();
    rig.log().install(to, Durability::Synced).unwrap();
    assert_eq!(rig.views(), before, "installing twice is not installing once");
    (ids(&rig.log()), rig.log().purged().unwrap().map(|purged| purged.id))
}

#[test]
fn a_log_that_ends_before_the_snapshot_is_dropped() {
    for term in [2, 3] {
        let mut rig = log_ending_at(5);
        assert_eq!(installed(&mut rig, id(term, 10)), (vec![], Some(id(term, 10))));
        assert_eq!(rig.log().first_index().unwrap(), Some(11));
        assert_eq!(rig.log().last_index().unwrap(), Some(10));
        assert_eq!(rig.log().hard_state().unwrap().unwrap().commit, Some(10));
    }
}

#[test]
fn a_log_that_ends_at_the_snapshot_is_purged_or_dropped() {
    for term in [1, 2, 3] {
        let mut rig = log_ending_at(10);
        assert_eq!(installed(&mut rig, id(term, 10)), (vec![], Some(id(term, 10))));
    }
}

#[test]
fn a_longer_log_keeps_its_tail_where_the_id_is_in_it() {
    let mut rig = log_ending_at(15);
    let (left, boundary) = installed(&mut rig, id(2, 10));
    assert_eq!(left, (11..=15).map(|index| (2, index)).collect::<Vec<_>>());
    assert_eq!(boundary, Some(id(2, 10)));
    rig.log().append(vec![entry(2, 16)], Durability::Synced).unwrap();
    rig.settle();
}

#[test]
fn a_longer_log_of_another_term_is_dropped() {
    for term in [1, 3] {
        let mut rig = log_ending_at(15);
        assert_eq!(installed(&mut rig, id(term, 10)), (vec![], Some(id(term, 10))));
        assert!(matches!(rig.log().entry(11), Err(Error::Unavailable { index: 11, .. })));
        rig.log().append(run(term, 11..=13), Durability::Synced).unwrap();
        rig.settle();
        assert_eq!(ids(&rig.log()), [(term, 11), (term, 12), (term, 13)]);
    }
}

#[test]
fn an_empty_store_begins_behind_the_snapshot() {
    for index in [0, 1, 9, u64::MAX - 1, u64::MAX] {
        let mut rig = Rig::new();
        assert_eq!(installed(&mut rig, id(3, index)), (vec![], Some(id(3, index))));
        assert_eq!(rig.log().first_index().unwrap(), index.checked_add(1));
        assert_eq!(rig.log().term(index).unwrap(), 3);
    }
}

/// Below the first entry nothing says that the log continues the snapshot.
#[test]
fn a_snapshot_before_the_first_entry_of_a_log_without_boundary_drops_it() {
    for index in [0, 2, 8, 9] {
        for term in [0, 1, 9] {
            let mut rig = Rig::holding(&[(1, 10), (1, 11), (2, 12)]);
            assert_eq!(installed(&mut rig, id(term, index)), (vec![], Some(id(term, index))));
            assert_eq!(rig.log().first_index().unwrap(), Some(index + 1));
            rig.log().append(vec![entry(9, index + 1)], Durability::Synced).unwrap();
            rig.settle();
        }
    }
}

#[test]
fn a_snapshot_before_committed_entries_that_it_does_not_lead_to_is_refused() {
    let rig = Rig::holding(&[(1, 10), (1, 11), (2, 12)]);
    rig.log().set_hard_state(hard_state(2, None, Some(12)), Durability::Synced).unwrap();
    for to in [id(1, 2), id(1, 9), id(5, 11)] {
        let error = rig.refused(|batch| batch.install(common::R, to));
        assert!(matches!(error, Error::CommitBehindEnd { commit: 12, .. }), "{error}");
    }
}

#[test]
fn a_snapshot_at_or_below_the_boundary_changes_nothing() {
    let mut rig = log_ending_at(15);
    rig.log().purge_through(id(2, 10), Durability::Synced).unwrap();
    let before = rig.views();
    for to in [id(1, 0), id(1, 3), id(2, 9), id(2, 10), id(7, 10), id(1, 10)] {
        rig.log().install(to, Durability::Synced).unwrap();
        assert_eq!(rig.views(), before, "{to}");
    }
    rig.settle();
}

#[test]
fn a_purged_empty_log_takes_a_newer_snapshot_of_any_term() {
    for term in [1, 2, 3] {
        let mut rig = log_ending_at(10);
        rig.log().purge_through(id(2, 10), Durability::Synced).unwrap();
        assert_eq!(installed(&mut rig, id(term, 20)), (vec![], Some(id(term, 20))));
    }
}

#[test]
fn commit_rises_to_the_snapshot_and_never_falls() {
    let mut rig = log_ending_at(15);
    rig.log().set_hard_state(hard_state(4, Some(2), Some(12)), Durability::Synced).unwrap();
    installed(&mut rig, id(2, 8));
    assert_eq!(rig.log().hard_state().unwrap(), Some(hard_state(4, Some(2), Some(12))));
    installed(&mut rig, id(2, 14));
    assert_eq!(rig.log().hard_state().unwrap(), Some(hard_state(4, Some(2), Some(14))));
    assert_eq!(ids(&rig.log()), [(2, 15)]);
}

#[test]
fn a_dropped_tail_never_comes_back() {
    let mut rig = log_ending_at(15);
    for (index, term) in [(9, 3), (12, 4), (20, 5), (30, 5)] {
        rig.log().install(id(term, index), Durability::Synced).unwrap();
        rig.log().append(run(term, index + 1..=index + 4), Durability::Synced).unwrap();
        rig.settle();
        let expected: Vec<_> = (index + 1..=index + 4).map(|index| (term, index)).collect();
        assert_eq!(ids(&rig.log()), expected);
    }
}

#[test]
fn leaders_decide_whether_the_id_is_in_the_log() {
    let filled = || {
        let rig = Rig::new();
        rig.write(|batch| batch.append_led(common::R, led(2, 0, "a").leader, run(2, 1..=5)))
            .unwrap();
        rig
    };
    let mut rig = filled();
    let (left, _) = installed(&mut rig, led(2, 3, "a"));
    assert_eq!(left, [(2, 4), (2, 5)]);
    let mut rig = filled();
    let (left, _) = installed(&mut rig, id(2, 3));
    assert_eq!(left, [(2, 4), (2, 5)]);
    assert_eq!(rig.log().purged().unwrap(), Some(led(2, 3, "a")), "the known leader is kept");
    let mut rig = filled();
    assert_eq!(installed(&mut rig, led(2, 3, "b")).0, []);
    assert_eq!(rig.log().purged().unwrap(), Some(led(2, 3, "b")));
    assert_eq!(purged(&rig.log()), Some((2, 3)));
}
