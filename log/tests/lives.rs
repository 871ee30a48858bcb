//! Removing, resetting and making a log anew: no old entry is ever seen again, in whatever order
//! it happens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::raw::{self, life};
use common::{N, R, Rig, View, entry, hard_state, id, ids, purged, run, view};
use kvlogdb_engine_api::KvLogDb;
use kvlogdb_log::{Durability, Error, LogBatch, LogId, Snapshot};

/// A change to [`R`].
type Step = for<'a> fn(&'a mut LogBatch) -> &'a mut LogBatch;

/// Ways to end what a log was, each with the first index that the next entry then may have.
const ENDINGS: [(&str, Step); 8] = [
    ("remove", |batch| batch.remove_replica(R)),
    ("reset", |batch| batch.reset(R)),
    ("install", |batch| batch.install(R, id(9, 30))),
    ("truncate and remove", |batch| batch.truncate_from(R, 0).remove_replica(R)),
    ("purge and remove", |batch| batch.purge_through(R, id(1, 3)).remove_replica(R)),
    ("purge and reset", |batch| batch.purge_through(R, id(1, 10)).reset(R)),
    ("reset and remove", |batch| batch.reset(R).remove_replica(R)),
    ("remove, append, remove", |batch| {
        batch.remove_replica(R).append(R, run(4, 1..=3)).remove_replica(R)
    }),
];

fn filled() -> Rig {
    let rig = Rig::holding(&(1..=10).map(|index| (1, index)).collect::<Vec<_>>());
    rig.write(|batch| batch.append(N, run(3, 1..=10)).put_slot(N, 256, "neighbour").unwrap())
        .unwrap();
    rig
}

fn neighbour(rig: &Rig) -> View {
    view(&rig.store().log(N))
}

#[test]
fn a_log_that_ends_and_begins_again_shows_only_the_new_entries() {
    for (name, end) in ENDINGS {
        for together in [true, false] {
            let mut rig = filled();
            let before = neighbour(&rig);
            let first = if name == "install" { 31 } else { 4 };
            let what = format!("{name}, together: {together}");
            if !together {
                rig.write(end).unwrap();
                rig.settle();
            }
            rig.write(|batch| {
                if together {
                    end(batch);
                }
                batch.append(R, run(9, first..=first + 2))
            })
            .unwrap_or_else(|error| panic!("{what}: {error}"));
            rig.settle();
            let expected = [(9, first), (9, first + 1), (9, first + 2)];
            assert_eq!(ids(&rig.log()), expected, "{what}");
            assert_eq!(rig.log().entries(first + 3.., 9).unwrap(), []);
            assert_eq!(neighbour(&rig), before, "{what}");
        }
    }
}

#[test]
fn endings_follow_one_another_in_one_batch() {
    for (one, first_end) in ENDINGS {
        for (two, second_end) in ENDINGS {
            let mut rig = filled();
            let before = neighbour(&rig);
            let answer = rig.write(|batch| {
                first_end(batch);
                let first = if one == "install" { 31 } else { 1 };
                batch.append(R, run(9, first..=first + 9)).truncate_from(R, first + 9);
                second_end(batch)
            });
            assert_eq!(neighbour(&rig), before);
            match answer {
                Ok(()) => {}
                // The second ending may name what the log in between does not have.
                Err(
                    Error::IdMismatch { .. } | Error::TermWentBack { .. } | Error::Purged { .. },
                ) if two.starts_with("purge") || two.starts_with("truncate") => {
                    assert_eq!(ids(&rig.log()).len(), 10);
                }
                Err(error) => panic!("{one}, then {two}: {error}"),
            }
            rig.settle();
            let next = rig.log().last_index().unwrap().map_or(6, |last| last + 1);
            rig.log().append(vec![entry(9, next)], Durability::Synced).unwrap();
            rig.settle();
        }
    }
}

#[test]
fn a_removed_replica_is_gone_with_everything_it_had() {
    let mut rig = filled();
    rig.write(|batch| {
        batch
            .set_hard_state(R, hard_state(4, Some(1), Some(5)))
            .set_snapshot(R, Snapshot { id: id(1, 4), data: "file".into() })
            .set_applied(R, id(1, 3))
            .set_membership(R, "members")
            .put_slot(R, 300, "user")
            .unwrap()
    })
    .unwrap();
    rig.settle();
    let empty = view(&Rig::new().log());
    rig.write(|batch| batch.remove_replica(R)).unwrap();
    for _ in 0..2 {
        assert_eq!(view(&rig.log()), empty);
        assert_eq!(rig.log().slot(300).unwrap(), None);
        assert_eq!(rig.store().replicas().unwrap(), [N]);
        rig.settle();
    }
    rig.write(|batch| batch.set_hard_state(R, hard_state(1, Some(2), None))).unwrap();
    rig.settle();
    assert_eq!(rig.log().hard_state().unwrap(), Some(hard_state(1, Some(2), None)));
    rig.close();
    let engine = rig.disk.open().unwrap();
    let mut logs = Vec::new();
    engine
        .logs(&mut |log| {
            logs.push(log.replica);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(logs, [N], "the removed log's keys are still in the engine");
}

#[test]
fn a_reset_keeps_term_vote_and_slots() {
    let mut rig = filled();
    rig.write(|batch| {
        batch
            .purge_through(R, id(1, 2))
            .set_hard_state(R, hard_state(4, Some(1), Some(5)))
            .set_membership(R, "members")
            .put_slot(R, 256, "user")
            .unwrap()
    })
    .unwrap();
    for _ in 0..2 {
        rig.write(|batch| batch.reset(R)).unwrap();
        rig.settle();
        let log = rig.log();
        assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (None, None));
        assert_eq!(purged(&log), None);
        assert_eq!(log.hard_state().unwrap(), Some(hard_state(4, Some(1), None)));
        assert_eq!(log.slot(256).unwrap().unwrap(), "user");
        assert_eq!(log.membership().unwrap().unwrap(), "members");
    }
    rig.log().append(run(2, 0..=1), Durability::Synced).unwrap();
    rig.settle();
    assert_eq!(ids(&rig.log()), [(2, 0), (2, 1)]);
}

#[test]
fn many_lives_in_a_row_leave_no_key_behind() {
    let mut rig = Rig::new();
    for round in 0..40u64 {
        let first = round % 7 * 3;
        rig.log().append(run(round, first..=first + 9), Durability::Buffered).unwrap();
        match round % 4 {
            0 => rig.write(|batch| batch.remove_replica(R)).unwrap(),
            1 => rig.write(|batch| batch.reset(R)).unwrap(),
            2 => {
                let to = LogId::new(round, first + 20);
                rig.write(|batch| batch.install(R, to).reset(R)).unwrap();
            }
            _ => {
                let to = LogId::new(round, first + 4);
                rig.write(|batch| batch.purge_through(R, to).remove_replica(R)).unwrap();
            }
        }
        assert_eq!(ids(&rig.log()), []);
        if round % 3 == 0 {
            rig.settle();
        }
    }
    rig.write(|batch| batch.remove_replica(R)).unwrap();
    rig.settle();
    rig.close();
    let engine = rig.disk.open().unwrap();
    let mut logs = 0;
    engine
        .logs(&mut |_| {
            logs += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(logs, 0);
}

/// What a crash between two slices leaves: keys that wait for deletion, and the record of them.
#[test]
fn keys_that_still_wait_for_deletion_are_never_shown() {
    let mut rig = Rig::new();
    rig.edit(|_, batch| {
        for incarnation in [0, 4] {
            for index in 1..=3000 {
                let key = life(R, incarnation).at(index);
                let fields = raw::Fields { term: 1, appended_at_ms: 5, log_bytes: 33 * index };
                batch.put_entry(key, &[&raw::entry_record(key, fields, b"x")]).unwrap();
            }
        }
        let waiting = vec![(0u32, 1u64, 3000u64), (4, 1, 3000)];
        raw::put_meta(batch, R, raw::TRASH, &raw::body(&waiting));
    });
    rig.faults.gate.shut(); // the deletion begins with the opening, and waits here
    rig.open().unwrap();
    assert_eq!(rig.store().replicas().unwrap(), []);
    assert_eq!(ids(&rig.log()), []);
    assert_eq!(rig.log().last_index().unwrap(), None);
    let append = rig.submit(|batch| batch.append(R, run(7, 10..=12)));
    assert_eq!(ids(&rig.log()), [(7, 10), (7, 11), (7, 12)]);
    rig.faults.gate.open();
    append.wait().unwrap();
    common::assert_clean(rig.store());
    rig.settle();
    assert_eq!(ids(&rig.log()), [(7, 10), (7, 11), (7, 12)]);
    rig.close();
    let engine = rig.disk.open().unwrap();
    for incarnation in 0..=4 {
        assert_eq!(engine.entry(life(R, incarnation).at(2000)).unwrap(), None, "{incarnation}");
    }
    assert!(engine.entry(life(R, 5).at(10)).unwrap().is_some(), "a new incarnation");
}

#[test]
fn after_an_open_what_waits_is_deleted_without_any_write() {
    let mut rig = filled();
    rig.edit(|_, batch| {
        for index in 1..=2000 {
            batch.put_entry(life(R, 7).at(index), &[b"old"]).unwrap();
        }
        raw::put_meta(batch, R, raw::TRASH, &raw::body(&vec![(7u32, 1u64, 2000u64)]));
    });
    rig.open().unwrap();
    common::eventually(|| rig.store().waiting_for_deletion() == 0);
    assert_eq!(rig.store().check().unwrap().entries, 20);
    rig.settle();
}

#[test]
fn a_replica_that_used_up_its_incarnations_is_refused_by_name() {
    let mut rig = Rig::new();
    rig.write(|batch| batch.purge_through(R, common::id(1, 3))).unwrap();
    rig.edit(|_, batch| {
        let body = raw::state_body(u32::MAX, Some((3, 1, vec![])), vec![], 0);
        raw::put_meta(batch, R, raw::STATE, &body);
    });
    rig.open().unwrap();
    let error = rig.refused(|batch| batch.reset(R));
    assert!(matches!(error, Error::Damaged { replica: R, .. }), "{error}");
    rig.log().append(vec![entry(1, 4)], Durability::Synced).unwrap();
    rig.settle();
}
