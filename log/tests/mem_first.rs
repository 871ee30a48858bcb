//! Writes that are answered before they are durable, and working sets in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::time::Duration;

use common::faulty::Fault;
use common::{
    R, Rig, Step, batch, eventually, hard_state, id, ids, immediate, is_poisoned, run, soon,
    unhurried, within_patience,
};
use kvlogdb_log::{
    Durability, Entry, Error, FlushPolicy, LogOptions, ReplicaId, Snapshot, Strategy,
};

const PLENTY: usize = 1 << 30;

fn mem_first(memory_bytes: usize, flush: FlushPolicy) -> LogOptions {
    let mut options = unhurried();
    (options.strategy, options.flush) = (Strategy::MemFirst { memory_bytes }, flush);
    options
}

fn collecting(entries: usize) -> FlushPolicy {
    FlushPolicy::Batch { entries, interval: Duration::MAX }
}

fn durable_index(rig: &Rig) -> Option<u64> {
    rig.log().durable().unwrap().map(|durable| durable.id.index)
}

fn append(rig: &Rig, term: u64, range: std::ops::RangeInclusive<u64>) -> Result<(), Error> {
    rig.log().append(run(term, range), Durability::Buffered)
}

/// Whether every entry from `first` on is read without the engine.
fn is_in_memory(rig: &Rig, first: u64) -> bool {
    rig.faults.set(Fault::Read, 0);
    let read = rig.log().entries(first.., u64::MAX);
    rig.faults.clear();
    read.is_ok()
}

#[test]
fn a_write_is_answered_and_read_while_the_engine_still_writes() {
    for flush in [FlushPolicy::Immediate, FlushPolicy::Adaptive, collecting(1)] {
        let mut rig = Rig::with(mem_first(PLENTY, flush));
        rig.faults.gate.shut();
        append(&rig, 1, 1..=3).unwrap();
        append(&rig, 1, 4..=4).unwrap();
        rig.log().replace_from(run(2, 4..=5), Durability::Buffered).unwrap();
        assert_eq!(ids(&rig.log()), [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5)]);
        assert_eq!(durable_index(&rig), None, "{flush:?}");
        rig.faults.gate.open();
        eventually(|| durable_index(&rig) == Some(5));
        rig.settle();
    }
}

#[test]
fn the_policy_says_when_what_is_accepted_is_synced() {
    for (flush, synced) in [
        (FlushPolicy::Immediate, true),
        (FlushPolicy::Adaptive, true),
        (collecting(3), true),
        (collecting(4), false),
        (FlushPolicy::Batch { entries: 4, interval: Duration::from_millis(1) }, true),
    ] {
        let rig = Rig::with(mem_first(PLENTY, flush));
        for index in 1..=3 {
            append(&rig, 1, index..=index).unwrap();
        }
        if synced {
            eventually(|| durable_index(&rig) == Some(3));
            let writes = rig.faults.take_writes();
            assert!(writes.iter().all(|asked| *asked == Durability::Synced), "{writes:?}");
        } else {
            assert!(!soon(|| durable_index(&rig).is_some()), "{flush:?}");
            append(&rig, 1, 4..=4).unwrap();
            eventually(|| durable_index(&rig) == Some(4));
        }
    }
}

#[test]
fn what_asks_to_be_synced_waits_for_it_whatever_the_policy() {
    let all: [Step<'_>; 3] = [
        &|batch| batch.append(R, run(1, 3..=3)),
        &|batch| batch.set_hard_state(R, hard_state(3, Some(1), None)),
        &|batch| batch,
    ];
    for (number, fill) in all.into_iter().enumerate() {
        let rig = Rig::with(mem_first(PLENTY, collecting(1000)));
        append(&rig, 1, 1..=2).unwrap();
        // A change of a promise is more than was asked for, the others are what was asked for.
        let asked = if number == 1 { Durability::Buffered } else { Durability::Synced };
        rig.store().write(&batch(fill), asked).unwrap();
        assert!(durable_index(&rig) >= Some(2), "{number}");
    }
}

#[test]
fn listeners_hear_when_it_is_durable_and_not_when_it_is_accepted() {
    let rig = Rig::with(mem_first(PLENTY, FlushPolicy::Immediate));
    rig.faults.gate.shut();
    let accepted = rig.submit(|batch| batch.append(R, run(1, 1..=2)));
    assert_eq!(ids(&rig.log()), [(1, 1), (1, 2)]);
    assert!(!soon(|| accepted.is_done()));
    rig.faults.gate.open();
    let durable = accepted.wait().unwrap();
    assert_eq!(durable[0].last, Some(id(1, 2)));
}

#[test]
fn what_was_accepted_is_gone_with_the_commit_that_fails() {
    let rig = Rig::with(mem_first(PLENTY, FlushPolicy::Immediate));
    append(&rig, 1, 1..=2).unwrap();
    rig.store().sync().unwrap();
    rig.faults.set(Fault::WriteLost, 0);
    append(&rig, 1, 3..=4).unwrap();
    eventually(|| is_poisoned(&rig.log().last_index()));
    assert!(is_poisoned(&rig.log().entries(.., u64::MAX)) && is_poisoned(&rig.log().durable()));
    assert!(is_poisoned(&append(&rig, 1, 5..=5)));
    let reopened = rig.store().reopen().unwrap();
    assert_eq!((reopened[0].last_before, reopened[0].last_after), (Some(4), Some(2)));
    assert_eq!(ids(&rig.log()), [(1, 1), (1, 2)]);
    assert!(is_in_memory(&rig, 1), "the working set was not loaded again");
    append(&rig, 1, 3..=3).unwrap();
}

/// Entries of a kilobyte each.
fn kilobytes(first: u64, count: u64) -> Vec<Entry> {
    (first..first + count).map(|index| Entry::new(1, index, vec![7; 1024])).collect()
}

fn is_full<T>(answer: &Result<T, Error>) -> bool {
    match answer {
        Err(Error::MemoryFull { needed_bytes, limit_bytes }) => needed_bytes > limit_bytes,
        _ => false,
    }
}

/// A store that has room for one more kilobyte and holds 59 entries.
fn nearly_full() -> Rig {
    let rig = Rig::with(mem_first(66_000, FlushPolicy::Immediate));
    rig.log().append(kilobytes(1, 59), Durability::Buffered).unwrap();
    rig
}

#[test]
fn a_full_working_set_refuses_entries_and_nothing_else() {
    let mut rig = nearly_full();
    let other = rig.store().log(ReplicaId::from(3));
    for _ in 0..2 {
        assert!(is_full(&rig.log().append(kilobytes(60, 2), Durability::Synced)));
        assert!(is_full(&other.append(kilobytes(1, 2), Durability::Buffered)), "one limit for all");
        let more = batch(|batch| batch.append(R, kilobytes(60, 2)));
        assert!(is_full(&rig.store().submit(&more, kvlogdb_log::WhenFull::Wait)));
        assert_eq!(rig.log().last_index().unwrap(), Some(59));
    }
    rig.log().set_hard_state(hard_state(2, Some(1), Some(7)), Durability::Buffered).unwrap();
    rig.log().replace_from(kilobytes(40, 20), Durability::Buffered).unwrap();
    rig.log().append(kilobytes(60, 1), Durability::Buffered).unwrap();
    assert!(is_full(&rig.log().replace_from(kilobytes(40, 22), Durability::Buffered)));
    assert!(is_full(&rig.write(|batch| {
        batch.truncate_from(R, 59).append(R, kilobytes(59, 1)).append(R, kilobytes(60, 2))
    })));
    rig.write(|batch| batch.append(R, kilobytes(61, 9)).truncate_from(R, 60)).unwrap();
    rig.settle();
    assert!(is_in_memory(&rig, 1));
}

#[test]
fn whatever_shrinks_the_working_set_makes_room() {
    let snapshot = Snapshot { id: id(1, 20), data: "file".into() };
    let steps: [Step<'_>; 6] = [
        &|batch| batch.set_snapshot(R, snapshot.clone()),
        &|batch| batch.purge_through(R, id(1, 20)),
        &|batch| batch.truncate_from(R, 40),
        &|batch| batch.install(R, id(3, 100)),
        &|batch| batch.reset(R),
        &|batch| batch.remove_replica(R),
    ];
    for (number, fill) in steps.into_iter().enumerate() {
        let mut rig = nearly_full();
        let other = ReplicaId::from(3);
        assert!(is_full(&rig.store().log(other).append(kilobytes(1, 15), Durability::Buffered)));
        rig.store().write(&batch(fill), Durability::Buffered).unwrap();
        rig.store().log(other).append(kilobytes(1, 15), Durability::Buffered).unwrap();
        // In the batch that makes room, too.
        assert!(is_full(&rig.store().log(other).append(kilobytes(16, 60), Durability::Buffered)));
        rig.write(|batch| batch.remove_replica(other).append(other, kilobytes(1, 15))).unwrap();
        assert_eq!(rig.store().log(other).len().unwrap(), 15, "{number}");
        rig.settle();
    }
}

#[test]
fn a_working_set_that_is_larger_than_the_limit_is_not_opened() {
    let mut rig = nearly_full();
    rig.options.strategy = Strategy::MemFirst { memory_bytes: 40_000 };
    assert!(is_full(&rig.reopen()));
    rig.options.strategy = Strategy::DiskFirst;
    rig.open().unwrap();
    let snapshot = Snapshot { id: id(1, 30), data: "file".into() };
    rig.write(|batch| batch.set_snapshot(R, snapshot)).unwrap();
    rig.options.strategy = Strategy::MemFirst { memory_bytes: 40_000 };
    rig.reopen().unwrap();
    assert!(is_in_memory(&rig, 31) && !is_in_memory(&rig, 30));
    assert_eq!(rig.log().entries(.., u64::MAX).unwrap(), kilobytes(1, 59));
}

#[test]
fn a_working_set_is_never_evicted_and_the_rest_is() {
    let mut rig = Rig::with(mem_first(40_000, FlushPolicy::Immediate));
    for first in (1..=160).step_by(10) {
        rig.log().append(kilobytes(first, 10), Durability::Synced).unwrap();
        let snapshot = Snapshot { id: id(1, first), data: "file".into() };
        rig.write(|batch| batch.set_snapshot(R, snapshot)).unwrap();
    }
    assert!(is_in_memory(&rig, 152) && !is_in_memory(&rig, 100));
    assert_eq!(rig.log().entries(.., u64::MAX).unwrap(), kilobytes(1, 160));
    rig.reopen().unwrap();
    assert!(is_in_memory(&rig, 152) && !is_in_memory(&rig, 151));
}

#[test]
fn a_replica_whose_working_set_is_damaged_is_refused_by_name() {
    let mut rig = Rig::with(mem_first(PLENTY, FlushPolicy::Immediate));
    append(&rig, 1, 1..=9).unwrap();
    let other = rig.store().log(ReplicaId::from(3));
    other.append(run(1, 1..=2), Durability::Buffered).unwrap();
    rig.edit(|_, batch| {
        let log = kvlogdb_engine_api::LogName { replica: R, incarnation: 0 };
        batch.put_entry(log.at(5), &[b"not a record"]).unwrap();
    });
    rig.open().unwrap();
    let answer = rig.log().last_index();
    assert!(
        matches!(&answer, Err(Error::Damaged { what, .. }) if what.contains("index 5")),
        "{answer:?}"
    );
    assert_eq!(ids(&rig.store().log(ReplicaId::from(3))), [(1, 1), (1, 2)]);
}

#[test]
fn a_writer_in_a_hurry_is_held_up_by_the_queue() {
    let mut options = mem_first(PLENTY, FlushPolicy::Immediate);
    options.queue_entries = 10;
    let mut rig = Rig::with(options);
    rig.faults.gate.shut();
    let log = rig.log();
    let writer = std::thread::spawn(move || {
        for index in 1..=100 {
            log.append(run(1, index..=index), Durability::Buffered).unwrap();
        }
    });
    rig.faults.gate.await_writer();
    assert!(!soon(|| rig.log().last_index().unwrap() > Some(30)));
    rig.faults.gate.open();
    within_patience(move || writer.join().unwrap());
    rig.settle();
    assert_eq!(rig.log().len().unwrap(), 100);
}

/// What a reader of old entries needs next is there before it asks.
#[test]
fn entries_behind_those_that_were_read_are_read_ahead() {
    let mut rig = Rig::with(immediate());
    rig.log().append(run(1, 1..=1000), Durability::Synced).unwrap();
    rig.reopen().unwrap();
    let read = |first: u64| rig.log().entries(first..first + 10, u64::MAX).unwrap();
    assert_eq!(read(1), run(1, 1..=10));
    rig.faults.set(Fault::Read, 0);
    assert_eq!(read(1), run(1, 1..=10), "what was read is kept");
    assert!(rig.log().entries(11..=20, u64::MAX).is_err(), "a first read reads nothing ahead");
    assert_eq!(read(11), run(1, 11..=20));
    rig.faults.set(Fault::Read, 0);
    for first in (21..1000).step_by(10) {
        assert_eq!(read(first), run(1, first..=(first + 9).min(1000)), "{first}");
    }
    rig.faults.clear();
    rig.log().replace_from(run(2, 500..=510), Durability::Synced).unwrap();
    assert_eq!(rig.log().entries(499..=501, u64::MAX).unwrap()[1].id, id(2, 500));
    rig.settle();
}
