//! Commits: what they share, what they vouch for, and when they begin.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{
    R, Rig, Step, eventually, hard_state, id, ids, immediate, purged, run, soon, unhurried,
    within_patience,
};
use kvlogdb_log::{
    Accepted, Durability, Durable, Entry, FlushPolicy, LogBatch, LogId, LogOptions, ReplicaId,
    Snapshot, WhenFull,
};

fn collecting(entries: usize, interval: Duration) -> LogOptions {
    let mut options = unhurried();
    options.flush = FlushPolicy::Batch { entries, interval };
    options
}

const NEVER: Duration = Duration::MAX;

fn durable_index(rig: &Rig) -> Option<u64> {
    rig.log().durable().unwrap().map(|durable| durable.id.index)
}

#[test]
fn writers_that_wait_share_one_write_and_one_sync() {
    for options in [immediate(), unhurried()] {
        let rig = Rig::with(options);
        rig.faults.gate.shut();
        thread::scope(|scope| {
            let write = |group: u64| {
                let log = rig.store().log(group.into());
                scope.spawn(move || log.append(run(1, 1..=1), Durability::Synced).unwrap());
            };
            write(0);
            rig.faults.gate.await_writer();
            (1..=32).for_each(write);
            eventually(|| rig.store().replicas().unwrap().len() == 33);
            rig.faults.gate.open();
        });
        assert_eq!(rig.faults.take_writes(), [Durability::Synced; 2], "33 writers");
    }
}

#[test]
fn what_is_accepted_is_read_before_it_is_written() {
    let mut rig = Rig::with(immediate());
    rig.log().append(run(1, 1..=8), Durability::Synced).unwrap();
    rig.faults.gate.shut();
    let snapshot = Snapshot { id: id(2, 6), data: "file".into() };
    let steps: [(Step<'_>, &[(u64, u64)]); 6] = [
        (&|batch| batch.append(R, run(1, 9..=9)), &[(1, 8), (1, 9)]),
        (&|batch| batch.replace_from(R, run(2, 6..=7)), &[(2, 6), (2, 7)]),
        (&|batch| batch.truncate_from(R, 7), &[(2, 6)]),
        (&|batch| batch.purge_through(R, id(1, 5)), &[(2, 6)]),
        (&|batch| batch.set_snapshot(R, snapshot.clone()).set_membership(R, "all"), &[]),
        (&|batch| batch.install(R, id(4, 20)).append(R, run(5, 21..=22)), &[(5, 22)]),
    ];
    let accepted = steps.map(|(fill, tail)| {
        let accepted = rig.submit(fill);
        assert!(ids(&rig.log()).ends_with(tail), "{tail:?}");
        assert_eq!(durable_index(&rig).max(Some(8)), Some(8));
        accepted
    });
    assert_eq!(ids(&rig.log()), [(5, 21), (5, 22)]);
    assert_eq!(purged(&rig.log()), Some((4, 20)));
    assert_eq!(rig.log().snapshot().unwrap(), Some(snapshot));
    assert_eq!(rig.log().membership().unwrap().unwrap(), "all");
    assert!(accepted.iter().all(|accepted| !accepted.is_done()));
    rig.faults.gate.open();
    for accepted in accepted {
        accepted.wait().unwrap();
    }
    assert_eq!(durable_index(&rig), Some(22));
    rig.settle();
}

#[test]
fn log_bytes_are_right_behind_truncations_of_what_is_not_written() {
    let mut rig = Rig::with(immediate());
    rig.log().append(run(1, 1..=8), Durability::Synced).unwrap();
    rig.reopen().unwrap(); // nothing is in memory
    rig.faults.gate.shut();
    for first in [9, 12, 10, 13, 4, 2, 3] {
        let entries = run(1, first..=first + 5);
        drop(rig.submit(|batch| batch.replace_from(R, entries).truncate_from(R, first + 4)));
    }
    rig.faults.gate.open();
    rig.settle();
    assert_eq!(ids(&rig.log()), (1..=6).map(|index| (1, index)).collect::<Vec<_>>());
}

#[test]
fn the_durable_index_goes_back_with_a_truncation_and_waits_for_the_disk() {
    let rig = Rig::with(immediate());
    rig.log().append(run(1, 1..=5), Durability::Synced).unwrap();
    assert_eq!(durable_index(&rig), Some(5));
    rig.faults.gate.shut();
    let cut = rig.submit(|batch| batch.truncate_from(R, 3));
    assert_eq!(durable_index(&rig), Some(2));
    rig.faults.gate.await_writer();
    let grown = rig.submit(|batch| batch.append(R, run(2, 3..=9)));
    assert_eq!(durable_index(&rig), Some(2));
    rig.faults.gate.pass_one();
    assert_eq!(cut.wait().unwrap(), [Durable { replica: R, last: Some(id(1, 2)) }]);
    assert_eq!(durable_index(&rig), Some(2));
    rig.faults.gate.open();
    assert_eq!(grown.wait().unwrap(), [Durable { replica: R, last: Some(id(2, 9)) }]);
    assert_eq!(durable_index(&rig), Some(9));
}

#[test]
fn a_buffered_write_is_durable_with_the_next_sync_and_not_before() {
    let rig = Rig::with(immediate());
    rig.log().append(run(1, 1..=5), Durability::Buffered).unwrap();
    common::assert_clean(rig.store()); // which writes what was accepted
    assert_eq!((durable_index(&rig), ids(&rig.log()).len()), (None, 5));
    rig.store().log(ReplicaId::from(99)).append(run(1, 1..=1), Durability::Synced).unwrap();
    assert_eq!(durable_index(&rig), Some(5));
}

/// What is submitted is carried by the store's thread, however much it is; a write of that size
/// is carried by its own.
#[test]
fn a_buffered_batch_that_is_submitted_never_waits_for_the_engine() {
    let rig = Rig::with(immediate());
    rig.faults.gate.shut();
    let large = Entry::new(1, 1, vec![7; 2 << 20]);
    let batch = common::batch(|batch| batch.append(R, vec![large.clone()]));
    rig.store().submit_buffered(&batch, WhenFull::Busy).unwrap();
    assert_eq!(rig.log().entry(1).unwrap(), large);
    assert!(rig.store().submit_buffered(&batch, WhenFull::Busy).is_err(), "a gap");
    rig.faults.gate.await_writer();
    assert_eq!(durable_index(&rig), None);
    rig.faults.gate.open();
    rig.store().sync().unwrap();
    assert_eq!(durable_index(&rig), Some(1));
}

/// A log that was emptied may begin again below what was durable.
#[test]
fn another_beginning_is_not_durable_by_an_old_index() {
    let rig = Rig::with(immediate());
    rig.log().append(run(1, 1000..=1005), Durability::Synced).unwrap();
    rig.faults.gate.shut();
    drop(rig.submit(|batch| batch.truncate_from(R, 1000).append(R, run(2, 500..=1500))));
    assert_eq!(durable_index(&rig), None);
    rig.faults.gate.open();
    rig.store().sync().unwrap();
    assert_eq!(durable_index(&rig), Some(1500));
}

/// Ends the log that holds 1 to 3, and makes another with other entries.
fn replacements() -> [(&'static str, Vec<LogBatch>, LogId); 5] {
    let batch = |fill: fn(&mut LogBatch) -> &mut LogBatch| common::batch(fill);
    [
        ("replace", vec![batch(|batch| batch.replace_from(R, run(2, 2..=2)))], id(2, 2)),
        (
            "truncate, append",
            vec![
                batch(|batch| batch.truncate_from(R, 1)),
                batch(|batch| batch.append(R, run(2, 1..=7))),
            ],
            id(2, 7),
        ),
        (
            "reset, append",
            vec![batch(|batch| batch.reset(R)), batch(|batch| batch.append(R, run(1, 1..=3)))],
            id(1, 3),
        ),
        ("install", vec![batch(|batch| batch.install(R, id(9, 3)))], id(9, 3)),
        (
            "remove, append",
            vec![
                batch(|batch| batch.remove_replica(R)),
                batch(|batch| batch.append(R, run(1, 1..=3))),
            ],
            id(1, 3),
        ),
    ]
}

#[test]
fn a_late_completion_does_not_vouch_for_what_was_replaced() {
    for (name, batches, last) in replacements() {
        let mut rig = Rig::with(immediate());
        rig.faults.gate.shut();
        let first = rig.submit(|batch| batch.append(R, run(1, 1..=3)));
        rig.faults.gate.await_writer();
        let submit = |batch| rig.store().submit(batch, kvlogdb_log::WhenFull::Busy).unwrap();
        let later: Vec<Accepted> = batches.iter().map(submit).collect();
        rig.faults.gate.pass_one();
        assert_eq!(first.wait().unwrap(), [Durable { replica: R, last: None }], "{name}");
        assert_eq!(durable_index(&rig), None, "{name}");
        rig.faults.gate.open();
        let vouched = later.into_iter().map(|accepted| accepted.wait().unwrap()).next_back();
        assert_eq!(vouched.unwrap(), [Durable { replica: R, last: Some(last) }], "{name}");
        assert_eq!(durable_index(&rig), Some(last.index), "{name}");
        rig.settle();
    }
}

#[test]
fn a_vote_is_synced_before_the_call_returns_with_all_before_it() {
    for options in [immediate(), unhurried(), collecting(1000, NEVER)] {
        let mut rig = Rig::with(options);
        rig.log().append(run(1, 1..=3), Durability::Buffered).unwrap();
        rig.faults.gate.shut();
        let log = rig.log();
        let vote = thread::spawn(move || {
            log.set_hard_state(hard_state(2, Some(1), None), Durability::Buffered)
        });
        rig.faults.gate.await_writer();
        assert!(!vote.is_finished(), "before its sync");
        rig.faults.gate.open();
        within_patience(move || vote.join().unwrap()).unwrap();
        rig.cut_power().unwrap();
        assert_eq!(rig.log().hard_state().unwrap(), Some(hard_state(2, Some(1), None)));
        assert_eq!(ids(&rig.log()).len(), 3);
        rig.settle();
    }
}

#[test]
fn a_commit_that_collects_begins_with_the_number_of_entries() {
    let rig = Rig::with(collecting(10, NEVER));
    let append = |index| rig.submit(|batch| batch.append(R, run(1, index..=index)));
    let mut accepted: Vec<_> = (1..10).map(append).collect();
    assert!(accepted.iter().all(|accepted| !accepted.is_done()));
    accepted.push(append(10));
    for accepted in accepted {
        within_patience(move || accepted.wait()).unwrap();
    }
    assert_eq!(rig.faults.take_writes(), [Durability::Synced]);
}

#[test]
fn writers_that_wait_fill_a_commit_that_collects() {
    let rig = Rig::with(collecting(8, NEVER));
    thread::scope(|scope| {
        for group in 0..8u64 {
            let log = rig.store().log(group.into());
            scope.spawn(move || log.append(run(1, 1..=1), Durability::Synced).unwrap());
        }
    });
    assert_eq!(rig.faults.take_writes(), [Durability::Synced]);
}

#[test]
fn a_commit_that_collects_begins_with_the_end_of_its_interval() {
    let interval = Duration::from_millis(30);
    let rig = Rig::with(collecting(1000, interval));
    for index in 1..=3 {
        let began = Instant::now();
        rig.log().append(run(1, index..=index), Durability::Synced).unwrap();
        assert!(began.elapsed() >= interval, "{:?}", began.elapsed());
    }
    assert_eq!(rig.faults.take_writes(), [Durability::Synced; 3]);
    rig.log().append(run(1, 4..=4), Durability::Buffered).unwrap();
    eventually(|| durable_index(&rig) == Some(4));
}

#[test]
fn a_sync_does_not_wait_for_a_commit_to_fill() {
    let rig = Rig::with(collecting(1000, NEVER));
    rig.log().append(run(1, 1..=3), Durability::Buffered).unwrap();
    let store = rig.store().clone();
    within_patience(move || store.sync()).unwrap();
    assert_eq!(durable_index(&rig), Some(3));
    let (store, log) = (rig.store().clone(), rig.log());
    let last = thread::spawn(move || log.append(run(1, 4..=4), Durability::Synced));
    eventually(|| rig.log().last_index().unwrap() == Some(4));
    within_patience(move || store.close()).unwrap();
    within_patience(move || last.join().unwrap()).unwrap();
}

/// The deletion of an ended log is accepted before it is written; the next log of the replica may
/// begin in between.
#[test]
fn a_replica_is_made_anew_while_its_old_keys_are_being_deleted() {
    let other = ReplicaId::from(99);
    let mut on_their_way = 0;
    for _ in 0..10 {
        let mut rig = Rig::with(immediate());
        rig.log().append(run(1, 1..=10), Durability::Synced).unwrap();
        rig.faults.gate.shut();
        let log = rig.store().log(other);
        let leader = thread::spawn(move || log.append(run(1, 1..=1), Durability::Synced));
        rig.faults.gate.await_writer();
        let removed = rig.submit(|batch| batch.remove_replica(R));
        assert_eq!(rig.store().replicas().unwrap(), [other]);
        // Unless the store's own thread stands at the gate.
        on_their_way += u32::from(soon(|| rig.store().waiting_for_deletion() == 0));
        let made = rig.submit(|batch| batch.append(R, run(2, 5..=6)));
        assert_eq!(ids(&rig.log()), [(2, 5), (2, 6)]);
        rig.faults.gate.open();
        removed.wait().unwrap();
        assert_eq!(made.wait().unwrap(), [Durable { replica: R, last: Some(id(2, 6)) }]);
        assert_eq!(ids(&rig.log()), [(2, 5), (2, 6)]);
        leader.join().unwrap().unwrap();
        rig.settle();
        assert_eq!(rig.store().check().unwrap().entries, 3);
    }
    assert!(on_their_way > 0);
}

/// What a batch writes to a log that it ends itself is never seen.
#[test]
fn entries_of_a_log_that_the_same_batch_removes_are_not_kept_in_memory() {
    let endings: [Step<'_>; 2] =
        [&|batch| batch.append(R, run(1, 15..=17)).remove_replica(R), &|batch| {
            batch.append(R, run(1, 15..=17)).reset(R)
        }];
    for end in endings {
        let mut rig = Rig::with(immediate());
        rig.write(end).unwrap();
        eventually(|| rig.store().waiting_for_deletion() == 0);
        rig.write(|batch| batch.append(R, run(3, 14..=15))).unwrap();
        assert_eq!(ids(&rig.log()), [(3, 14), (3, 15)]);
        rig.settle();
    }
}

#[test]
fn many_small_buffered_writes_do_not_wait_for_a_sync_without_end() {
    let rig = Rig::with(immediate());
    let empty = LogBatch::new();
    for _ in 0..70_000 {
        rig.store().write(&empty, Durability::Buffered).unwrap();
        if rig.faults.take_writes().contains(&Durability::Synced) {
            return;
        }
    }
    common::assert_clean(rig.store());
    rig.store().write(&empty, Durability::Buffered).unwrap();
    common::assert_clean(rig.store());
    assert!(rig.faults.take_writes().contains(&Durability::Synced));
}
