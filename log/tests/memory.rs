//! Memory is bounded: what waits to be written, and what is kept although it is written.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::thread;

use common::faulty::Fault;
use common::{R, Rig, batch, eventually, ids, immediate, run, soon, within_patience};
use kvlogdb_log::{Accepted, Durability, Entry, Error, LogOptions, ReplicaId, WhenFull};

fn limited(queue_bytes: usize, queue_entries: usize) -> LogOptions {
    let mut options = immediate();
    (options.queue_bytes, options.queue_entries) = (queue_bytes, queue_entries);
    options
}

/// A store with a commit at the gate, so that what follows has to wait.
fn at_the_gate(options: LogOptions) -> (Rig, Accepted) {
    let rig = Rig::with(options);
    rig.faults.gate.shut();
    let first = rig.submit(|batch| batch.append(ReplicaId::from(99), run(1, 1..=1)));
    rig.faults.gate.await_writer();
    (rig, first)
}

fn kilobytes(first: u64, count: u64) -> Vec<Entry> {
    (first..first + count).map(|index| Entry::new(1, index, vec![7; 1024])).collect()
}

/// A writer that waits for no sync goes on while the engine writes, and not without end.
#[test]
fn a_buffered_writer_is_a_mebibyte_ahead_of_the_engine_at_the_most() {
    let (mut rig, first) = at_the_gate(immediate());
    let log = rig.log();
    let writer = thread::spawn(move || {
        for index in 1..=3000 {
            log.append(kilobytes(index, 1), Durability::Buffered).unwrap();
        }
    });
    let last = || rig.log().last_index().unwrap().unwrap_or_default();
    eventually(|| last() > 600); // each counts for more than its payload
    assert!(!soon(|| last() > 1024), "{}", last());
    rig.faults.gate.open();
    first.wait().unwrap();
    writer.join().unwrap();
    assert_eq!(last(), 3000);
    rig.settle();
}

#[test]
fn a_full_queue_is_told_and_changes_nothing() {
    // By entries, by bytes; and one batch may go over the limit.
    for (options, each, fits) in [
        (limited(usize::MAX, 10), 5, 2),
        (limited(usize::MAX, 10), 25, 1),
        (limited(10 << 10, usize::MAX), 5, 2),
        (limited(10 << 10, usize::MAX), 25, 1),
    ] {
        let (mut rig, first) = at_the_gate(options);
        for number in 0..fits {
            drop(rig.submit(|batch| batch.append(R, kilobytes(number * each + 1, each))));
        }
        let last = rig.log().last_index().unwrap();
        let more = batch(|batch| batch.append(R, kilobytes(fits * each + 1, 1)));
        for _ in 0..3 {
            let answer = rig.store().submit(&more, WhenFull::Busy);
            assert!(matches!(answer, Err(Error::Busy)), "{answer:?}");
        }
        assert_eq!(rig.log().last_index().unwrap(), last);
        rig.faults.gate.open();
        first.wait().unwrap();
        rig.store().sync().unwrap();
        rig.store().submit(&more, WhenFull::Busy).unwrap().wait().unwrap();
        assert_eq!(rig.log().last_index().unwrap(), Some(fits * each + 1));
        rig.settle();
    }
}

#[test]
fn whoever_waits_for_room_gets_it() {
    let (mut rig, _first) = at_the_gate(limited(usize::MAX, 10));
    drop(rig.submit(|batch| batch.append(R, run(1, 1..=10))));
    let waiting: Vec<_> = (0..6u64)
        .map(|group| {
            let log = rig.store().log(group.into());
            let synced = group % 2 == 0;
            let durability = if synced { Durability::Synced } else { Durability::Buffered };
            thread::spawn(move || log.append(run(1, 1..=8), durability))
        })
        .collect();
    thread::yield_now();
    assert_eq!(rig.store().replicas().unwrap(), [R, ReplicaId::from(99)], "over the limit");
    rig.faults.gate.open();
    for waiting in waiting {
        within_patience(move || waiting.join().unwrap()).unwrap();
    }
    assert_eq!(rig.store().replicas().unwrap().len(), 8);
    rig.settle();
}

#[test]
fn whoever_waits_for_room_hears_of_a_failure_and_of_a_close() {
    for fails in [true, false] {
        let (rig, _first) = at_the_gate(limited(usize::MAX, 10));
        drop(rig.submit(|batch| batch.append(R, run(1, 1..=10))));
        let log = rig.store().log(ReplicaId::from(5));
        let waiting = thread::spawn(move || log.append(run(1, 1..=8), Durability::Synced));
        if fails {
            rig.faults.set(Fault::WriteLost, 0);
            rig.faults.gate.open();
            assert!(within_patience(move || waiting.join().unwrap()).is_err());
        } else {
            let store = rig.store().clone();
            let closing = thread::spawn(move || store.close());
            rig.faults.gate.open();
            // It gets room before the close, or none.
            let _ = within_patience(move || waiting.join().unwrap());
            within_patience(move || closing.join().unwrap()).unwrap();
        }
    }
}

#[test]
fn without_anybody_who_leads_a_full_queue_is_drained_by_who_waits() {
    let mut options = limited(usize::MAX, 10);
    let interval = std::time::Duration::MAX;
    options.flush = kvlogdb_log::FlushPolicy::Batch { entries: usize::MAX, interval };
    let mut rig = Rig::with(options);
    let log = rig.log();
    within_patience(move || {
        for index in 1..=100 {
            log.append(run(1, index..=index), Durability::Buffered).unwrap();
        }
    });
    assert!(rig.faults.take_writes().len() >= 9);
    rig.settle();
}

#[test]
fn limits_of_nothing_let_one_batch_through_at_a_time() {
    let mut options = limited(0, 0);
    options.cache_bytes = 0;
    let mut rig = Rig::with(options);
    let log = rig.log();
    within_patience(move || {
        for index in 1..=50 {
            let durability = if index % 5 == 0 { Durability::Synced } else { Durability::Buffered };
            log.append(run(1, index..=index), durability).unwrap();
        }
    });
    assert_eq!(ids(&rig.log()).len(), 50);
    rig.settle();
}

/// Whether an entry is read without the engine.
fn is_in_memory(rig: &Rig, index: u64) -> bool {
    rig.faults.set(Fault::Read, 0);
    let read = rig.log().entry(index);
    rig.faults.clear();
    read.is_ok()
}

#[test]
fn the_newest_entries_are_kept_within_the_limit_and_the_rest_is_read() {
    let mut options = immediate();
    options.cache_bytes = 64 << 10;
    let mut rig = Rig::with(options);
    for first in (1..=400).step_by(10) {
        rig.log().append(kilobytes(first, 10), Durability::Synced).unwrap();
    }
    let kept = (1..=400).filter(|&index| is_in_memory(&rig, index)).count();
    assert!((40..64).contains(&kept), "{kept}");
    assert!(is_in_memory(&rig, 400) && !is_in_memory(&rig, 1));
    let all = rig.log().entries(.., u64::MAX).unwrap();
    assert_eq!(all, kilobytes(1, 400));
    rig.settle();
}

#[test]
fn a_read_from_memory_says_where_the_engine_would_have_to_be_asked() {
    let mut options = immediate();
    options.cache_bytes = 64 << 10;
    let rig = Rig::with(options);
    assert_eq!(rig.log().entries_in_memory(.., u64::MAX).unwrap(), Some(vec![]));
    for first in (1..=400).step_by(10) {
        rig.log().append(kilobytes(first, 10), Durability::Synced).unwrap();
    }
    let first = (1..=400).find(|&index| is_in_memory(&rig, index)).unwrap();
    rig.faults.set(Fault::Read, 0);
    let read = |from: u64, limit| rig.log().entries_in_memory(from.., limit).unwrap();
    assert_eq!(read(first, u64::MAX), Some(kilobytes(first, 401 - first)));
    assert_eq!(read(first, 2048), Some(kilobytes(first, 2)));
    assert_eq!(read(401, u64::MAX), Some(vec![]));
    assert_eq!(read(first - 1, u64::MAX), None);
    assert_eq!(read(1, 0), None);
    rig.faults.clear();
    rig.log().purge_through(kvlogdb_log::LogId::new(1, 2), Durability::Buffered).unwrap();
    let purged = rig.log().entries_in_memory(1.., u64::MAX);
    assert!(matches!(purged, Err(Error::Purged { index: 1, .. })), "{purged:?}");
}

#[test]
fn the_limit_holds_for_all_replicas_together() {
    let mut options = immediate();
    options.cache_bytes = 64 << 10;
    let rig = Rig::with(options);
    for group in 0..40u64 {
        rig.store().log(group.into()).append(kilobytes(1, 10), Durability::Synced).unwrap();
    }
    let kept = |group: u64| {
        let log = rig.store().log(ReplicaId::from(group));
        let read = |index: &u64| {
            rig.faults.set(Fault::Read, 0);
            log.entry(*index).is_ok()
        };
        (1..=10).filter(read).count()
    };
    let kept: usize = (0..40).map(kept).sum();
    rig.faults.clear();
    assert!((30..64).contains(&kept), "{kept}");
}

#[test]
fn what_is_not_written_is_never_evicted() {
    let mut options = immediate();
    options.cache_bytes = 0;
    let mut rig = Rig::with(options);
    rig.log().append(kilobytes(1, 50), Durability::Synced).unwrap();
    assert!(!is_in_memory(&rig, 50), "nothing is kept");
    rig.faults.gate.shut();
    let taken = rig.submit(|batch| batch.replace_from(R, kilobytes(41, 20)));
    rig.faults.gate.await_writer();
    let waiting = rig.submit(|batch| batch.append(R, kilobytes(61, 20)));
    let cut = rig.submit(|batch| batch.replace_from(R, kilobytes(56, 20)));
    assert!((41..=75).all(|index| is_in_memory(&rig, index)));
    assert!(!is_in_memory(&rig, 40));
    assert_eq!(rig.log().entries(.., u64::MAX).unwrap(), kilobytes(1, 75));
    rig.faults.gate.pass_one();
    taken.wait().unwrap();
    rig.faults.gate.await_writer();
    assert!((56..=75).all(|index| is_in_memory(&rig, index)), "they are not written");
    assert_eq!(rig.log().entries(.., u64::MAX).unwrap(), kilobytes(1, 75));
    rig.faults.gate.open();
    waiting.wait().unwrap();
    cut.wait().unwrap();
    eventually(|| !is_in_memory(&rig, 75));
    rig.settle();
}
