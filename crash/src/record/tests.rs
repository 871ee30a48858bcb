//! A whole database on the disk in memory, and that disk's faults.

use bytes::Bytes;
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};

use super::memory::{FILE, MemoryDisk};
use super::*;
use crate::faults::{Call, Effect, Fault, FaultPlan, Start};
use crate::{Mark, Model, Op, Plan, Points, states};

const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");
const COMMITS: u64 = 6;

fn failing(call: Call, nth: u64, effect: Effect) -> FaultPlan {
    FaultPlan { fault: Some(Fault { call, nth, effect }), ..FaultPlan::default() }
}

fn open(disk: &MemoryDisk) -> Result<Database, redb::Error> {
    Ok(Database::builder().create_with_backend(disk.clone())?)
}

fn commit(database: &Database, number: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?.insert(0, number)?;
    Ok(transaction.commit()?)
}

/// The last number that was committed.
fn last(database: &Database) -> u64 {
    let Ok(table) = database.begin_read().unwrap().open_table(TABLE) else { return 0 };
    table.get(0).unwrap().map_or(0, |number| number.value())
}

#[test]
fn every_cut_of_a_database_holds_what_was_acknowledged_and_at_most_one_commit_more() {
    let made = MemoryDisk::record(&Image::default(), FaultPlan::default());
    drop(open(&made).unwrap());
    let disk = MemoryDisk::record(&made.recorded().end, FaultPlan::default());
    let database = open(&disk).unwrap();
    for number in 1..=COMMITS {
        commit(&database, number).unwrap();
        disk.mark(Mark::Did(Bytes::new()));
    }
    let recorded = disk.recorded();
    for model in Model::OF_FILES {
        let plan = Plan { seed: 1, budget: 600, points: Points::All };
        let mut seen = 0;
        for state in states(&recorded.trace, &recorded.base, model, &plan) {
            let acked = state.acked as u64;
            let found =
                last(&open(&MemoryDisk::record(&state.image, FaultPlan::default())).unwrap());
            assert!(
                found == acked || found == acked + 1,
                "{found} after {acked}: {}",
                state.choice
            );
            seen += 1;
        }
        assert!(seen > 300, "{model}: {seen}");
    }
}

#[test]
fn without_its_syncs_a_database_loses_what_was_acknowledged() {
    let disk = MemoryDisk::record(&Image::default(), FaultPlan::default());
    let database = open(&disk).unwrap();
    for number in 1..=COMMITS {
        commit(&database, number).unwrap();
        disk.mark(Mark::Did(Bytes::new()));
    }
    let recorded = disk.recorded();
    let lying: Trace =
        recorded.trace.ops().iter().filter(|op| !matches!(op, Op::Sync { .. })).cloned().collect();
    let plan = Plan { seed: 1, budget: 300, points: Points::All };
    let lost = states(&lying, &recorded.base, Model::Journal, &plan).any(|state| {
        let disk = MemoryDisk::record(&state.image, FaultPlan::default());
        open(&disk).map_or(true, |database| last(&database) < state.acked as u64)
    });
    assert!(lost);
}

#[test]
fn the_end_of_a_recording_is_what_a_kill_leaves() {
    let disk = MemoryDisk::record(&Image::default(), failing(Call::Sync, 4, Effect::Kill));
    let database = open(&disk);
    let survived =
        database.and_then(|database| commit(&database, 1).and_then(|()| commit(&database, 2)));
    assert!(survived.is_err());
    let recorded = disk.recorded();
    assert_eq!(recorded.struck, 1);
    disk.mark(Mark::Did(Bytes::new()));
    assert!(disk.len().is_ok() && disk.read(0, &mut [0]).is_err() && disk.write(0, b"x").is_err());
    assert_eq!(disk.recorded().trace, recorded.trace, "a killed process does nothing more");
    disk.revive();
    assert!(last(&open(&disk).unwrap()) <= 2);
}

#[test]
fn a_full_disk_in_memory_fails_until_it_is_freed() {
    let plan = FaultPlan { room_bytes: Some(8192), start: Start::Armed, ..FaultPlan::default() };
    let disk = MemoryDisk::record(&Image::default(), plan);
    disk.write(0, &vec![1; 20_000]).unwrap();
    disk.control(ARM);
    // It was full before it was armed.
    let full = disk.write(20_480, &[1; 10]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    assert!(disk.recorded().struck > 0);
    disk.control(FREE);
    disk.write(20_480, &[1; 10]).unwrap();
}

#[test]
fn a_bit_flipped_on_read_stays_whole_at_rest() {
    let disk = MemoryDisk::record(&Image::default(), failing(Call::Read, 1, Effect::FlipBit(9)));
    disk.write(0, b"text").unwrap();
    let mut out = [0; 4];
    disk.read(0, &mut out).unwrap();
    assert_eq!(&out, b"tgxt");
    disk.read(0, &mut out).unwrap();
    assert_eq!(&out, b"text");
    let recorded = disk.recorded();
    let file = recorded.end.find(FILE).unwrap();
    assert_eq!(recorded.end.content(file).unwrap().len(), 4);
}
