//! Batches of many changes: in order, and all or nothing; hard state and slots that ride along.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::{N, R, Rig, entry, hard_state, id, ids, led, purged, run};
use kvlogdb_log::{Durability, Error, FIRST_USER_SLOT, LogBatch, ReplicaId, Snapshot};

#[test]
fn every_change_sees_the_ones_before_it() {
    let mut rig = Rig::new();
    rig.write(|batch| {
        batch
            .append(R, run(1, 1..=10))
            .truncate_from(R, 6)
            .append(R, run(2, 6..=8))
            .purge_through(R, id(1, 3))
            .install(R, id(1, 5))
            .reset(R)
            .append(R, run(3, 40..=44))
            .remove_replica(R)
            .append(R, run(4, 7..=9))
            .replace_from(R, run(5, 8..=8))
            .set_hard_state(R, hard_state(5, None, Some(8)))
    })
    .unwrap();
    rig.settle();
    assert_eq!(ids(&rig.log()), [(4, 7), (5, 8)]);
    assert_eq!(purged(&rig.log()), None);
}

#[test]
fn a_refusal_at_the_end_takes_the_whole_batch_back() {
    let rig = Rig::holding(&[(1, 1), (1, 2)]);
    rig.write(|batch| batch.append(N, run(1, 1..=3))).unwrap();
    let bad: [for<'a> fn(&'a mut LogBatch) -> &'a mut LogBatch; 6] = [
        |batch| batch.append(N, run(1, 9..=9)),
        |batch| batch.truncate_from(R, 1).purge_through(N, id(9, 2)),
        |batch| batch.set_hard_state(N, hard_state(0, None, Some(4))),
        |batch| batch.append(ReplicaId::from(99), vec![entry(2, 1), entry(1, 2)]),
        |batch| batch.remove_replica(N).set_hard_state(N, hard_state(1, None, Some(1))),
        |batch| batch.remove_replica(R).append(N, run(0, 4..=4)),
    ];
    for (at, end) in bad.into_iter().enumerate() {
        let error = rig.refused(|batch| {
            batch.append(R, run(2, 3..=5)).set_hard_state(R, hard_state(7, Some(7), Some(2)));
            batch.put_slot(R, 256, "value").unwrap();
            batch.purge_through(R, id(1, 1)).set_membership(N, "new");
            end(batch)
        });
        assert!(!matches!(error, Error::Engine(_)), "{at}: {error}");
    }
}

#[test]
fn one_batch_covers_many_replicas() {
    let mut rig = Rig::new();
    let replicas: Vec<_> = [0, 1, u64::MAX - 1, u64::MAX]
        .into_iter()
        .flat_map(|group| [0, 1, u64::MAX].map(|node| ReplicaId { group, node }))
        .collect();
    rig.write(|batch| {
        for &replica in &replicas {
            batch.append(replica, run(1, u64::MAX - 3..=u64::MAX));
            batch.set_hard_state(replica, hard_state(1, None, Some(u64::MAX - 2)));
        }
        batch
    })
    .unwrap();
    rig.settle();
    assert_eq!(rig.store().replicas().unwrap(), replicas);
    for (at, &replica) in replicas.iter().enumerate() {
        let others = |rig: &Rig| {
            let mut views = rig.views();
            views.retain(|(id, _)| *id != replica);
            views
        };
        let before = others(&rig);
        rig.write(|batch| match at % 4 {
            0 => batch.remove_replica(replica),
            1 => batch.purge_through(replica, id(1, u64::MAX)),
            2 => batch.truncate_from(replica, u64::MAX - 1),
            _ => batch.reset(replica),
        })
        .unwrap();
        assert_eq!(others(&rig), before, "a neighbour of {replica} has changed");
    }
    rig.settle();
}

#[test]
fn commit_is_held_against_the_log_as_the_batch_leaves_it() {
    let mut rig = Rig::new();
    rig.write(|batch| {
        batch.set_hard_state(R, hard_state(1, None, Some(3))).append(R, run(1, 1..=3))
    })
    .unwrap();
    for (commit, last) in [(4, 3), (u64::MAX, 3)] {
        let error = rig.refused(|batch| batch.set_hard_state(R, hard_state(1, None, Some(commit))));
        let named = matches!(error, Error::CommitBehindEnd { commit: found, last: end, .. }
            if found == commit && end == Some(last));
        assert!(named, "{error}");
    }
    let error = rig.refused(|batch| {
        let at_five = hard_state(1, None, Some(5));
        batch.append(R, run(1, 4..=6)).set_hard_state(R, at_five).truncate_from(R, 4)
    });
    assert!(matches!(error, Error::Committed { index: 4, commit: 5, .. }), "{error}");
    let error = rig.refused(|batch| batch.set_hard_state(N, hard_state(1, None, Some(0))));
    assert!(matches!(error, Error::CommitBehindEnd { last: None, .. }), "{error}");
    rig.write(|batch| {
        batch.purge_through(R, id(4, 9)).set_hard_state(R, hard_state(1, None, Some(9)))
    })
    .unwrap();
    rig.settle();
}

#[test]
fn promises_are_not_taken_back() {
    let mut rig = Rig::holding(&[(1, 1), (1, 2)]);
    let saved = hard_state(3, Some(1), Some(1));
    rig.log().set_hard_state(saved, Durability::Buffered).unwrap();
    for found in [
        hard_state(2, Some(1), Some(1)),
        hard_state(3, None, Some(1)),
        hard_state(3, Some(2), Some(1)),
        hard_state(3, Some(1), Some(0)),
        hard_state(4, Some(1), None),
    ] {
        let error = rig.refused(|batch| batch.set_hard_state(R, found));
        let named = matches!(error, Error::HardStateWentBack { current, found: named, .. }
            if current == saved && named == found);
        assert!(named, "{error}");
    }
    for fine in [saved, hard_state(3, Some(1), Some(2)), hard_state(4, None, Some(2))] {
        rig.log().set_hard_state(fine, Durability::Buffered).unwrap();
        rig.settle();
        assert_eq!(rig.log().hard_state().unwrap(), Some(fine));
    }
    rig.log().set_hard_state(hard_state(4, Some(9), Some(2)), Durability::Buffered).unwrap();
}

#[test]
fn a_changed_term_or_vote_is_synced_and_a_commit_alone_is_not() {
    let mut rig = Rig::holding(&[(1, 1), (1, 2)]);
    let rows = [
        (hard_state(1, None, None), true),
        (hard_state(1, None, Some(1)), false),
        (hard_state(1, Some(4), Some(1)), true),
        (hard_state(1, Some(4), Some(2)), false),
        (hard_state(2, Some(4), Some(2)), true),
        (hard_state(2, Some(4), Some(2)), false),
    ];
    for (state, synced) in rows {
        rig.log().append(vec![], Durability::Buffered).unwrap();
        common::assert_clean(rig.store());
        rig.faults.take_writes();
        rig.log().set_hard_state(state, Durability::Buffered).unwrap();
        if synced {
            assert_eq!(rig.faults.take_writes(), [Durability::Synced], "{state:?}");
        } else {
            common::assert_clean(rig.store()); // which writes what was accepted
            assert_eq!(rig.faults.take_writes(), [Durability::Buffered], "{state:?}");
        }
    }
    rig.log().append(run(2, 3..=4), Durability::Buffered).unwrap();
    rig.log().set_hard_state(hard_state(3, None, Some(2)), Durability::Buffered).unwrap();
    rig.log().append(run(3, 5..=5), Durability::Buffered).unwrap();
    rig.cut_power().unwrap();
    assert_eq!(ids(&rig.log()), [(1, 1), (1, 2), (2, 3), (2, 4)], "what came before is synced too");
    assert_eq!(rig.log().hard_state().unwrap(), Some(hard_state(3, None, Some(2))));
}

#[test]
fn a_removed_promise_is_a_changed_promise() {
    let mut rig = Rig::new();
    rig.log().set_hard_state(hard_state(3, Some(1), None), Durability::Buffered).unwrap();
    let mut batch = LogBatch::new();
    batch.remove_replica(R);
    rig.store().write(&batch, Durability::Buffered).unwrap();
    rig.cut_power().unwrap();
    assert_eq!(rig.log().hard_state().unwrap(), None);
}

#[test]
fn slots_of_the_log_are_refused_and_the_batch_stays_as_it_was() {
    let rig = Rig::new();
    let mut batch = LogBatch::new();
    for slot in [0, 1, 5, FIRST_USER_SLOT - 1] {
        assert!(matches!(batch.put_slot(R, slot, "x"), Err(Error::ReservedSlot { .. })));
        assert!(matches!(batch.remove_slot(R, slot), Err(Error::ReservedSlot { .. })));
        let named =
            matches!(rig.log().slot(slot), Err(Error::ReservedSlot { slot: s }) if s == slot);
        assert!(named);
    }
    assert!(batch.is_empty());
}

#[test]
fn slots_and_records_of_a_replica_are_kept_apart() {
    let mut rig = Rig::new();
    rig.write(|batch| {
        batch.put_slot(R, 256, "low").unwrap().put_slot(R, u16::MAX, "").unwrap();
        batch.put_slot(N, 256, "other").unwrap().set_membership(R, "").set_applied(R, id(0, 0));
        batch.set_snapshot(R, Snapshot { id: id(300, u64::MAX), data: vec![0xff; 40].into() })
    })
    .unwrap();
    rig.settle();
    let log = rig.log();
    assert_eq!(log.slot(256).unwrap().unwrap(), "low");
    assert_eq!(log.slot(u16::MAX).unwrap().unwrap(), "", "an empty value is a value");
    assert_eq!(log.membership().unwrap().unwrap(), "");
    assert_eq!(log.applied().unwrap(), Some(id(0, 0)));
    let snapshot = log.snapshot().unwrap().unwrap();
    assert_eq!((snapshot.id, snapshot.data.as_ref()), (id(300, u64::MAX), &[0xff; 40][..]));
    assert_eq!(log.last_index().unwrap(), None, "slots are no log");
    rig.write(|batch| {
        batch.put_slot(R, 257, "x").unwrap().remove_slot(R, 257).unwrap();
        batch.remove_slot(R, 256).unwrap().remove_slot(R, u16::MAX).unwrap()
    })
    .unwrap();
    rig.settle();
    assert_eq!(rig.log().slot(256).unwrap(), None);
    assert_eq!(rig.log().slot(257).unwrap(), None);
    assert_eq!(rig.store().log(N).slot(256).unwrap().unwrap(), "other");
}

#[test]
fn another_leader_of_the_same_term_starts_another_run() {
    let mut rig = Rig::new();
    let leader = |name| led(0, 0, name).leader;
    rig.write(|batch| {
        batch.append_led(R, leader("a"), run(1, 1..=2)).append_led(R, leader("b"), run(1, 3..=4));
        batch.append_led(R, leader("b"), run(1, 5..=5)).replace_from_led(
            R,
            leader("c"),
            run(2, 5..=6),
        )
    })
    .unwrap();
    rig.settle();
    let log = rig.log();
    let leaders: Vec<_> = (1..=6).map(|index| log.id(index).unwrap()).collect();
    let expected = [
        led(1, 1, "a"),
        led(1, 2, "a"),
        led(1, 3, "b"),
        led(1, 4, "b"),
        led(2, 5, "c"),
        led(2, 6, "c"),
    ];
    assert_eq!(leaders, expected);
    assert_eq!(log.last().unwrap(), Some(led(2, 6, "c")));
    assert_eq!(log.last_index_of_term(1).unwrap(), Some(4));
}

#[test]
fn a_batch_without_changes_is_only_a_sync() {
    let mut rig = Rig::new();
    rig.log().append(run(1, 1..=2), Durability::Buffered).unwrap();
    rig.store().sync().unwrap();
    rig.log().append(run(1, 3..=4), Durability::Buffered).unwrap();
    rig.cut_power().unwrap();
    assert_eq!(ids(&rig.log()), [(1, 1), (1, 2)]);
}
