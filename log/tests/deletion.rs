//! The background deletion of what was purged or dropped.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::faulty::Fault;
use common::{N, R, Rig, eventually, id, ids, immediate, purged, run, soon};
use kvlogdb_log::{Durability, Error};

/// The most entries that one commit may delete.
const SLICE_ENTRIES: u64 = 4096;

fn filled(last: u64) -> Rig {
    let rig = Rig::with(immediate());
    rig.log().append(run(1, 1..=last), Durability::Synced).unwrap();
    rig.faults.take_writes();
    rig
}

/// A store of which `deleted` or more of 20,000 purged entries are deleted and the next slice
/// stands at the gate.
fn half_way() -> Rig {
    let rig = filled(20_010);
    rig.faults.gate.shut();
    let purge = rig.submit(|batch| batch.purge_through(R, id(1, 20_000)));
    for _ in 0..3 {
        rig.faults.gate.await_writer();
        rig.faults.gate.pass_one();
    }
    purge.wait().unwrap();
    rig.faults.gate.await_writer();
    rig
}

#[test]
fn the_boundary_moves_at_once_and_the_keys_go_in_bounded_slices() {
    let mut rig = filled(20_010);
    rig.faults.gate.shut();
    let purge = rig.submit(|batch| batch.purge_through(R, id(1, 20_000)));
    assert_eq!(rig.log().first_index().unwrap(), Some(20_001));
    assert!(matches!(rig.log().entry(20_000), Err(Error::Purged { .. })));
    assert!(rig.store().waiting_for_deletion() > 10_000);
    rig.faults.gate.open();
    purge.wait().unwrap();
    eventually(|| rig.store().waiting_for_deletion() == 0);
    rig.store().sync().unwrap();
    let slices = rig.faults.take_removals();
    assert_eq!(slices.iter().sum::<u64>(), 20_000, "each once, and none from zero on again");
    assert!(slices.iter().all(|slice| *slice <= SLICE_ENTRIES), "{slices:?}");
    assert_eq!(rig.store().check().unwrap().entries, 10);
    rig.settle();
}

#[test]
fn appends_go_on_among_the_slices() {
    let mut rig = half_way();
    let before = rig.store().waiting_for_deletion();
    assert!(before > 5_000, "{before}");
    for index in 20_011..=20_013 {
        let append = rig.submit(|batch| batch.append(R, run(1, index..=index)));
        // The slice that stands at the gate, and then the commit with the append.
        rig.faults.gate.pass_one();
        rig.faults.gate.await_writer();
        rig.faults.gate.pass_one();
        append.wait().unwrap();
        rig.faults.gate.await_writer();
    }
    assert!(rig.store().waiting_for_deletion() > 0, "the appends did not wait for the end");
    rig.faults.gate.open();
    rig.settle();
    assert_eq!(ids(&rig.log()).len(), 13);
}

#[test]
fn a_deletion_goes_on_by_itself_after_a_power_cut_half_way() {
    let mut rig = half_way();
    rig.end_engine();
    rig.faults.gate.open();
    assert!(common::is_poisoned(&rig.store().sync()));
    rig.store().reopen().unwrap();
    eventually(|| rig.store().waiting_for_deletion() == 0);
    assert_eq!(rig.store().check().unwrap().entries, 10);
    assert_eq!(purged(&rig.log()), Some((1, 20_000)));
    rig.settle();
}

#[test]
fn a_deletion_goes_on_by_itself_after_a_close_half_way() {
    for anew in [true, false] {
        let mut rig = half_way();
        rig.faults.gate.pass_one();
        rig.faults.gate.open();
        if anew {
            rig.reopen().unwrap();
        } else {
            rig.store().reopen().unwrap();
        }
        eventually(|| rig.store().waiting_for_deletion() == 0);
        assert_eq!(rig.store().check().unwrap().entries, 10);
        rig.settle();
    }
}

/// The slice that was accepted and never carried must not be waited for.
#[test]
fn a_deletion_goes_on_after_a_failure_that_took_its_slice() {
    let mut taken = 0;
    for _ in 0..10 {
        let mut rig = filled(20_010);
        rig.faults.gate.shut();
        let log = rig.store().log(N);
        let writer = std::thread::spawn(move || log.append(run(1, 1..=1), Durability::Synced));
        rig.faults.gate.await_writer();
        let purge = rig.submit(|batch| batch.purge_through(R, id(1, 20_000)));
        // Unless the store's own thread stands at the gate.
        taken += u32::from(soon(|| rig.store().waiting_for_deletion() < 20_000));
        rig.faults.set(Fault::WriteLost, 0);
        rig.faults.gate.open();
        assert!(writer.join().unwrap().is_err() && purge.wait().is_err());
        rig.store().reopen().unwrap();
        assert_eq!(ids(&rig.log()).len(), 20_010);
        rig.log().purge_through(id(1, 20_000), Durability::Synced).unwrap();
        eventually(|| rig.store().waiting_for_deletion() == 0);
        rig.settle();
    }
    assert!(taken > 0);
}

#[test]
fn settling_deletes_all_of_many_replicas() {
    let mut rig = Rig::with(immediate());
    for group in 0..50u64 {
        rig.store().log(group.into()).append(run(1, 1..=100), Durability::Buffered).unwrap();
    }
    for group in 0..50u64 {
        let log = rig.store().log(group.into());
        if group % 2 == 0 {
            log.purge_through(id(1, 90), Durability::Buffered).unwrap();
        } else {
            rig.write(|batch| batch.remove_replica(group.into())).unwrap();
        }
    }
    rig.store().settle().unwrap();
    assert_eq!(rig.store().waiting_for_deletion(), 0);
    assert_eq!(rig.faults.take_writes().last(), Some(&Durability::Synced));
    assert_eq!(rig.store().check().unwrap().entries, 250);
    rig.cut_power().unwrap();
    assert_eq!(rig.store().check().unwrap().entries, 250, "settled is synced");
    rig.settle();
}

/// A store that is never idle deletes all the same. The background thread takes 64 keys or more at
/// a time, and only where nobody has written for a while: a busy machine may let that happen.
#[test]
fn keys_go_with_the_commits_of_whoever_writes() {
    let rig = Rig::with(immediate());
    let mut next = 1;
    let rode = (0..50).any(|_| {
        rig.log().append(run(1, next..=next + 1999), Durability::Synced).unwrap();
        rig.log().purge_through(id(1, next + 1998), Durability::Synced).unwrap();
        next += 2000;
        while rig.store().waiting_for_deletion() > 0 {
            rig.log().append(run(1, next..=next), Durability::Synced).unwrap();
            next += 1;
        }
        let slices = rig.faults.take_removals();
        slices.iter().filter(|slice| (32..64).contains(*slice)).count() > 1
    });
    assert!(rode);
    assert_eq!(rig.log().last_index().unwrap(), Some(next - 1));
}
