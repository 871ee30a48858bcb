//! An engine that fails: nothing is served from a state that is not known, and reopening shows
//! the batch whole or not at all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::faulty::Fault;
use common::{N, R, Rig, entry, hard_state, id, ids, run};
use kvlogdb_engine_api::{Error as EngineError, MemoryDisk};
use kvlogdb_log::{Durability, Error, LogBatch, LogOptions, LogStore, Reopened, WhenFull};

fn filled() -> Rig {
    let rig = Rig::new();
    rig.write(|batch| {
        batch
            .append(R, run(1, 1..=10))
            .set_hard_state(R, hard_state(1, Some(1), Some(5)))
            .append(N, run(1, 1..=3))
    })
    .unwrap();
    rig
}

fn poisoned<T>(answer: Result<T, Error>) -> bool {
    answer.is_err_and(|error| matches!(error, Error::Engine(EngineError::Poisoned { .. })))
}

/// Something that reads from the engine.
type Reading = fn(&Rig) -> Result<(), Error>;

/// Every kind of change, each to a store as [`filled`] makes it.
fn changes() -> Vec<LogBatch> {
    let change = |fill: for<'a> fn(&'a mut LogBatch) -> &'a mut LogBatch| {
        let mut batch = LogBatch::new();
        fill(&mut batch);
        batch
    };
    vec![
        change(|batch| batch.append(R, run(2, 11..=12))),
        change(|batch| batch.replace_from(R, run(2, 8..=9)).append(N, run(1, 4..=4))),
        change(|batch| batch.truncate_from(R, 6)),
        change(|batch| batch.purge_through(R, id(1, 7)).purge_through(N, id(1, 3))),
        change(|batch| batch.install(R, id(4, 30)).append(R, run(4, 31..=32))),
        change(|batch| batch.reset(R).append(R, run(4, 3..=4))),
        change(|batch| batch.remove_replica(R)),
        change(|batch| batch.remove_replica(R).append(R, run(4, 3..=4))),
        change(|batch| batch.set_hard_state(R, hard_state(2, Some(2), Some(6)))),
        change(|batch| batch.set_membership(R, "new").set_applied(N, id(1, 2))),
    ]
}

#[test]
fn a_failed_write_is_whole_or_absent_after_reopening() {
    for batch in changes() {
        let done = filled();
        done.store().write(&batch, Durability::Synced).unwrap();
        for (fault, after) in
            [(Fault::WriteLost, filled().views()), (Fault::WriteDone, done.views())]
        {
            let mut rig = filled();
            rig.faults.set(fault, 0);
            assert!(poisoned(rig.store().write(&batch, Durability::Synced)), "{batch:?}");
            rig.store().reopen().unwrap();
            assert_eq!(rig.views(), after, "{fault:?} {batch:?}");
            rig.settle();
        }
    }
}

/// A slice of deletions that fails is not the caller's failure, and comes again.
#[test]
fn a_deletion_that_fails_behind_a_purge_poisons_and_is_repeated() {
    for fault in [Fault::WriteLost, Fault::WriteDone] {
        for passing in 1..=4 {
            let mut rig = Rig::new();
            rig.log().append(run(1, 1..=3000), Durability::Synced).unwrap();
            rig.faults.set(fault, passing);
            rig.log().purge_through(id(1, 2500), Durability::Synced).unwrap();
            // At the least one write follows the purge: a slice, with or without the sync.
            let failed = poisoned(rig.store().settle());
            assert!(failed || passing > 1, "{fault:?} {passing}");
            assert_eq!(poisoned(rig.log().last_index()), failed);
            rig.faults.clear();
            rig.store().reopen().unwrap();
            common::assert_clean(rig.store());
            assert_eq!(ids(&rig.log()).len(), 500);
            assert!(matches!(rig.log().entry(2500), Err(Error::Purged { .. })));
            rig.log().append(vec![entry(1, 3001)], Durability::Synced).unwrap();
            rig.store().settle().unwrap();
            assert_eq!(rig.store().check().unwrap().entries, 501, "keys are left behind");
            rig.settle();
        }
    }
}

#[test]
fn after_a_failed_write_every_call_says_poisoned() {
    let rig = filled();
    rig.faults.set(Fault::WriteLost, 0);
    rig.log().append(run(2, 11..=11), Durability::Buffered).unwrap();
    let error = rig.store().sync().unwrap_err();
    let Error::Engine(EngineError::Poisoned { cause }) = &error else { panic!("{error}") };
    assert!(matches!(**cause, EngineError::Io { operation: "write", .. }), "{cause}");
    let (store, log) = (rig.store(), rig.log());
    assert!(poisoned(log.append(run(2, 11..=11), Durability::Buffered)));
    assert!(poisoned(store.sync()) && poisoned(store.settle()));
    assert!(poisoned(store.submit(&LogBatch::new(), WhenFull::Wait)));
    assert!(poisoned(log.durable()));
    assert!(poisoned(store.write(&LogBatch::new(), Durability::Buffered)));
    assert!(poisoned(log.entries(.., 1)) && poisoned(log.entry(1)));
    assert!(poisoned(log.scan(..).next().unwrap()));
    assert!(poisoned(log.hard_state()) && poisoned(log.snapshot()) && poisoned(log.membership()));
    assert!(poisoned(log.applied()) && poisoned(log.slot(256)) && poisoned(log.purged()));
    assert!(poisoned(log.first_index()) && poisoned(log.last_index()) && poisoned(log.last()));
    assert!(poisoned(log.len()) && poisoned(log.is_empty()) && poisoned(log.term(1)));
    assert!(poisoned(log.id(1)) && poisoned(log.first_index_of_term(1)));
    assert!(poisoned(log.last_index_of_term(1)) && poisoned(log.find_conflict(&[])));
    assert!(poisoned(log.find_agreement(1, 1)));
    assert!(poisoned(store.replicas()) && poisoned(store.damaged()) && poisoned(store.check()));
    assert!(poisoned(store.disk_bytes()) && poisoned(store.reclaim()));
    assert_eq!(store.info().name, "memory");
    assert!(poisoned(store.log(N).entries(.., 1)), "the neighbour's too");
}

#[test]
fn a_rule_is_decided_before_anything_is_written() {
    let rig = filled();
    rig.faults.take_writes();
    rig.faults.set(Fault::WriteLost, 0);
    rig.refused(|batch| batch.append(R, run(1, 90..=91)));
    assert_eq!(rig.faults.take_writes(), []);
    rig.faults.clear();
    rig.log().append(run(1, 11..=11), Durability::Synced).unwrap();
}

#[test]
fn a_failed_read_is_told_and_changes_nothing() {
    let reads: [Reading; 7] = [
        |rig| rig.log().entries(.., u64::MAX).map(drop),
        |rig| rig.log().entry(4).map(drop),
        |rig| rig.log().membership().map(drop),
        |rig| rig.log().scan(..).collect::<Result<Vec<_>, _>>().map(drop),
        |rig| rig.store().check().map(drop),
        |rig| rig.log().truncate_from(7, Durability::Synced),
        |rig| rig.store().log(7.into()).slot(300).map(drop),
    ];
    for read in reads {
        let mut rig = filled();
        let before = rig.views();
        rig.reopen().unwrap(); // nothing is in memory
        rig.faults.set(Fault::Read, 0);
        let error = read(&rig).unwrap_err();
        assert!(matches!(error, Error::Engine(EngineError::Io { .. })), "{error}");
        assert_eq!(rig.views(), before);
        rig.settle();
    }
}

#[test]
fn a_read_that_fails_while_opening_fails_the_open() {
    let mut passing = 0;
    loop {
        let mut rig = filled();
        rig.close();
        rig.faults.set(Fault::Read, passing);
        match rig.open() {
            Ok(()) => break,
            Err(error) => {
                assert!(matches!(error, Error::Engine(EngineError::Io { .. })), "{error}");
            }
        }
        rig.faults.clear();
        rig.open().unwrap();
        assert_eq!(ids(&rig.log()).len(), 10);
        passing += 1;
    }
    assert_eq!(passing, 3, "one scan of metadata, and the last record of each of two logs");
}

#[test]
fn reopening_tells_what_became_of_each_log() {
    let rig = filled();
    rig.faults.set(Fault::WriteLost, 1);
    rig.log().append(run(1, 11..=13), Durability::Buffered).unwrap();
    common::assert_clean(rig.store()); // which writes what was accepted
    assert!(poisoned(rig.log().append(run(1, 14..=14), Durability::Synced)));
    let log = rig.log();
    let report = rig.store().reopen().unwrap();
    let expected = [
        Reopened { replica: R, last_before: Some(14), last_after: Some(13) },
        Reopened { replica: N, last_before: Some(3), last_after: Some(3) },
    ];
    assert_eq!(report, expected);
    assert_eq!(log.last_index().unwrap(), Some(13), "old handles go on");
    log.append(run(1, 14..=14), Durability::Synced).unwrap();
}

#[test]
fn what_was_accepted_and_not_durable_is_dropped_as_a_whole() {
    let mut rig = filled();
    rig.log().append(run(1, 11..=13), Durability::Buffered).unwrap();
    rig.store().log(N).truncate_from(2, Durability::Buffered).unwrap();
    rig.faults.set(Fault::Close, 0);
    let report = rig.store().reopen().unwrap();
    assert_eq!(report[0], Reopened { replica: R, last_before: Some(13), last_after: Some(10) });
    assert_eq!(report[1], Reopened { replica: N, last_before: Some(1), last_after: Some(3) });
    rig.settle();
}

#[test]
fn a_reopening_that_fails_can_be_tried_again() {
    let disk = MemoryDisk::default();
    let other = disk.clone();
    let opener = move || Ok(std::sync::Arc::new(other.open()?) as _);
    let store = LogStore::open(opener, LogOptions::default()).unwrap();
    store.log(R).append(run(1, 1..=3), Durability::Synced).unwrap();
    store.close().unwrap();
    let thief = disk.open().unwrap();
    for _ in 0..2 {
        let answer = store.reopen();
        assert!(matches!(answer, Err(Error::Engine(EngineError::AlreadyOpen { .. }))));
        let closed = store.log(R).last_index();
        assert!(matches!(closed, Err(Error::Engine(EngineError::Closed))), "{closed:?}");
    }
    drop(thief);
    store.reopen().unwrap();
    assert_eq!(ids(&store.log(R)).len(), 3);
}

#[test]
fn after_a_close_everything_says_closed() {
    let rig = filled();
    let (store, log) = (rig.store().clone(), rig.log());
    store.close().unwrap();
    store.close().unwrap();
    let closed = |answer: Result<(), Error>| {
        assert!(matches!(answer, Err(Error::Engine(EngineError::Closed))), "{answer:?}");
    };
    closed(log.entries(.., 1).map(drop));
    closed(log.last_index().map(drop));
    closed(log.append(run(1, 11..=11), Durability::Synced));
    closed(store.sync());
    closed(store.check().map(drop));
    closed(store.replicas().map(drop));
    let reopened = store.reopen().unwrap();
    assert_eq!(reopened[0].last_after, Some(10));
    log.append(run(1, 11..=11), Durability::Synced).unwrap();
}

#[test]
fn a_close_that_fails_says_so_and_closes() {
    let rig = filled();
    rig.faults.set(Fault::Close, 0);
    let error = rig.store().close().unwrap_err();
    assert!(matches!(error, Error::Engine(EngineError::Io { operation: "close", .. })), "{error}");
    let answer = rig.log().last_index();
    assert!(matches!(answer, Err(Error::Engine(EngineError::Closed))), "{answer:?}");
}

#[test]
fn a_poisoned_store_can_be_closed() {
    let mut rig = filled();
    rig.faults.set(Fault::WriteLost, 0);
    assert!(poisoned(rig.store().sync()));
    rig.store().close().unwrap();
    assert!(poisoned(rig.log().last_index()), "the cause is still told");
    rig.reopen().unwrap();
    rig.settle();
}

#[test]
fn the_last_handle_that_goes_closes_the_store() {
    let disk = MemoryDisk::default();
    let other = disk.clone();
    let opener = move || Ok(std::sync::Arc::new(other.open()?) as _);
    let store = LogStore::open(opener, LogOptions::default()).unwrap();
    store.log(R).append(run(1, 1..=3), Durability::Buffered).unwrap();
    let (log, scan) = (store.log(R), store.log(R).scan(..));
    drop(store);
    drop(log);
    assert!(matches!(disk.open(), Err(EngineError::AlreadyOpen { .. })));
    drop(scan);
    let other = disk.clone();
    let opener = move || Ok(std::sync::Arc::new(other.open()?) as _);
    let store = LogStore::open(opener, LogOptions::default()).unwrap();
    assert_eq!(ids(&store.log(R)).len(), 3);
}

#[test]
fn every_write_of_a_history_can_fail_and_the_store_comes_back() {
    for fault in [Fault::WriteLost, Fault::WriteDone] {
        let mut passing = 0;
        loop {
            let mut rig = filled();
            rig.faults.set(fault, passing);
            let mut failed = false;
            for batch in changes() {
                // Without its predecessors a change may be refused.
                let _ = rig.store().write(&batch, Durability::Synced);
                if poisoned(rig.store().settle()) {
                    assert!(!failed, "one fault and two failures");
                    failed = true;
                    rig.store().reopen().unwrap();
                }
            }
            rig.faults.clear();
            rig.settle();
            if !failed {
                break;
            }
            passing += 1;
        }
        assert!(passing > 10, "{passing} writes");
    }
}
