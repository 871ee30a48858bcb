//! The sidecar: an engine that lost synced data is noticed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::faulty::Fault;
use common::raw;
use common::{R, Rig, entry, hard_state, id, ids, run};
use kvlogdb_engine_api::{KvLogDb, MemoryDisk, MetaKey, WriteBatch};
use kvlogdb_log::check::ProblemKind;
use kvlogdb_log::{Durability, Error, LogBatch, LogOptions, LogStore, LostData, ReplicaId};

const SLOT_DISTANCE: usize = 4096;

struct Site {
    rig: Rig,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn site(interval: Duration) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("SEQ");
    let mut options = LogOptions::default();
    options.sidecar = Some(path.clone());
    options.mark_interval = interval;
    Site { rig: Rig::with(options), path, _dir: dir }
}

fn marking_all() -> Site {
    site(Duration::ZERO)
}

/// Another disk with what a closed store's disk holds.
fn copy(disk: &MemoryDisk) -> MemoryDisk {
    let (from, into) = (disk.open().unwrap(), MemoryDisk::default());
    let to = into.open().unwrap();
    let mut batch = WriteBatch::new();
    from.scan_meta(&mut |key, value| {
        batch.put_meta(key, &[&value]).unwrap();
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    let mut logs = Vec::new();
    from.logs(&mut |log| {
        logs.push(log);
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    for log in logs {
        let range = 0..=u64::MAX;
        from.scan(
            log,
            range,
            kvlogdb_engine_api::Order::Ascending,
            usize::MAX,
            &mut |at, value| {
                batch.put_entry(log.at(at), &[&value]).unwrap();
                std::ops::ControlFlow::Continue(())
            },
        )
        .unwrap();
    }
    to.write(&[&batch], Durability::Synced).unwrap();
    to.close().unwrap();
    into
}

fn marks(path: &Path) -> [u64; 2] {
    let bytes = fs::read(path).unwrap();
    [0, SLOT_DISTANCE].map(|at| u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap()))
}

fn mark(path: &Path) -> u64 {
    *marks(path).iter().max().unwrap()
}

fn damage(path: &Path, slots: &[usize]) {
    let mut bytes = fs::read(path).unwrap();
    for slot in slots {
        bytes[slot * SLOT_DISTANCE..][..20].fill(0);
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_engine_that_lost_synced_data_is_refused() {
    let Site { mut rig, path, _dir } = marking_all();
    rig.log().append(run(1, 1..=3), Durability::Synced).unwrap();
    rig.close();
    let old = copy(&rig.disk);
    rig.open().unwrap();
    rig.log().append(run(1, 4..=5), Durability::Synced).unwrap();
    rig.close();
    let expected = mark(&path);
    for disk in [old, MemoryDisk::default()] {
        rig.disk = disk;
        rig.options.lost_data = LostData::Refuse;
        for _ in 0..2 {
            let error = rig.open().unwrap_err();
            let named = matches!(error, Error::LostSyncedData { found, expected: at }
                if found < expected && at == expected);
            assert!(named, "{error}");
        }
        assert_eq!(mark(&path), expected, "a refusal changes nothing");
    }
}

/// Whoever accepts the loss once has accepted it: the next open needs no override.
#[test]
fn an_accepted_loss_stays_accepted() {
    for crash in [true, false] {
        let Site { mut rig, path, _dir } = site(Duration::from_secs(3600));
        rig.log().append(run(1, 1..=3), Durability::Synced).unwrap();
        rig.close();
        let old = copy(&rig.disk);
        rig.open().unwrap();
        rig.log().set_hard_state(hard_state(1, None, None), Durability::Synced).unwrap();
        rig.close();
        rig.disk = old;
        rig.options.lost_data = LostData::Accept;
        rig.open().unwrap();
        assert_eq!(ids(&rig.log()).len(), 3);
        common::assert_clean(rig.store());
        rig.options.lost_data = LostData::Refuse;
        let opened = if crash { rig.cut_power() } else { rig.reopen() };
        opened.unwrap_or_else(|error| panic!("crash: {crash}: {error}"));
        rig.settle();
        assert!(mark(&path) > 2);
    }
}

#[test]
fn one_bad_slot_is_survived_and_two_are_damage() {
    for newest in [true, false] {
        let Site { mut rig, path, _dir } = marking_all();
        rig.log().append(run(1, 1..=3), Durability::Synced).unwrap();
        rig.close();
        let [one, two] = marks(&path);
        damage(&path, &[usize::from((two > one) == newest)]);
        rig.open().unwrap();
        rig.log().append(run(1, 4..=4), Durability::Synced).unwrap();
        rig.settle();
        damage(&path, &[0, 1]);
        let report = rig.store().check().unwrap();
        assert_eq!(report.problems.len(), 1);
        assert_eq!(report.problems[0].kind, ProblemKind::Sidecar);
        rig.close();
        damage(&path, &[0, 1]);
        assert!(matches!(rig.open(), Err(Error::StoreDamaged { .. })));
    }
}

#[test]
fn a_missing_or_unreadable_sidecar_is_damage_and_can_be_accepted() {
    let ruins: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, b"").unwrap(),
        |path| fs::write(path, vec![0; 2 * SLOT_DISTANCE]).unwrap(),
        |path| damage(path, &[0, 1]),
    ];
    for ruin in ruins {
        let Site { mut rig, path, _dir } = marking_all();
        rig.log().append(run(1, 1..=3), Durability::Synced).unwrap();
        rig.close();
        ruin(&path);
        for _ in 0..2 {
            let error = rig.open().unwrap_err();
            assert!(matches!(error, Error::StoreDamaged { .. }), "{error}");
        }
        let engine = rig.disk.open().unwrap();
        let report = kvlogdb_log::check(&engine, Some(&path)).unwrap();
        assert_eq!(report.problems[0].kind, ProblemKind::Sidecar);
        drop(engine);
        rig.options.lost_data = LostData::Accept;
        rig.open().unwrap();
        rig.options.lost_data = LostData::Refuse;
        rig.settle();
        assert_eq!(ids(&rig.log()).len(), 3);
    }
}

#[test]
fn creation_cut_short_anywhere_opens() {
    // The sidecar is there and the engine is empty; or the store's record is there, and the
    // sidecar is still at its first mark.
    for forget in [true, false] {
        let Site { mut rig, path, _dir } = marking_all();
        rig.close();
        if forget {
            rig.disk = MemoryDisk::default();
        }
        let mut bytes = fs::read(&path).unwrap();
        let (first, second) = bytes.split_at_mut(SLOT_DISTANCE);
        assert_eq!(marks(&path), [0, 1]);
        second.copy_from_slice(first);
        fs::write(&path, bytes).unwrap();
        rig.open().unwrap();
        rig.log().append(run(1, 1..=2), Durability::Synced).unwrap();
        rig.settle();
    }
}

#[test]
fn with_an_interval_marks_come_with_votes_and_the_close_only() {
    let Site { mut rig, path, _dir } = site(Duration::from_secs(3600));
    let first = mark(&path);
    rig.log().append(run(1, 1..=3), Durability::Synced).unwrap();
    assert_eq!(mark(&path), first);
    rig.log().set_hard_state(hard_state(1, Some(1), None), Durability::Buffered).unwrap();
    assert_eq!(mark(&path), first + 1);
    rig.log().append(run(1, 4..=5), Durability::Buffered).unwrap();
    rig.close();
    assert_eq!(mark(&path), first + 2);
    rig.open().unwrap();
    rig.close();
    assert_eq!(mark(&path), first + 2, "nothing new, no mark");
    rig.open().unwrap();
    rig.store().sync().unwrap();
    assert_eq!(mark(&path), first + 2);
}

#[test]
fn a_promise_in_a_slot_is_synced_and_marked_as_a_vote_is() {
    let Site { mut rig, path, _dir } = site(Duration::from_secs(3600));
    let first = mark(&path);
    rig.log().append(run(1, 1..=3), Durability::Buffered).unwrap();
    let mut batch = LogBatch::new();
    batch.put_promise(R, 256, "node 2").unwrap();
    assert!(batch.put_promise(R, 255, "").is_err(), "a slot of the log");
    rig.store().write(&batch, Durability::Buffered).unwrap();
    assert_eq!(rig.faults.take_writes().last(), Some(&Durability::Synced));
    assert_eq!(mark(&path), first + 1);
    rig.cut_power().unwrap();
    assert_eq!(rig.log().slot(256).unwrap().unwrap(), "node 2");
    assert_eq!(ids(&rig.log()).len(), 3);
}

#[test]
fn a_reopening_marks_what_was_written_before_it() {
    let Site { rig, path, _dir } = site(Duration::from_secs(3600));
    let first = mark(&path);
    rig.log().append(run(1, 1..=3), Durability::Synced).unwrap();
    rig.store().reopen().unwrap();
    assert_eq!(mark(&path), first + 1);
    rig.store().reopen().unwrap();
    assert_eq!(mark(&path), first + 1, "nothing new, no mark");
}

#[test]
fn without_an_interval_every_write_is_marked_and_synced() {
    let Site { mut rig, path, _dir } = marking_all();
    for index in 1..=5 {
        let before = mark(&path);
        rig.log().append(run(1, index..=index), Durability::Buffered).unwrap();
        common::assert_clean(rig.store()); // which writes what was accepted
        assert_eq!(mark(&path), before + 1);
    }
    rig.cut_power().unwrap();
    assert_eq!(ids(&rig.log()).len(), 5);
}

#[test]
fn after_the_interval_the_next_write_is_marked() {
    let Site { rig, path, _dir } = site(Duration::from_millis(30));
    let first = mark(&path);
    std::thread::sleep(Duration::from_millis(40));
    rig.log().append(run(1, 1..=1), Durability::Buffered).unwrap();
    common::assert_clean(rig.store());
    assert_eq!(mark(&path), first + 1);
    assert_eq!(rig.faults.take_writes().last(), Some(&Durability::Synced));
}

/// The mark goes out only after its sync: a failed write must not show in the sidecar.
#[test]
fn a_mark_never_runs_ahead_of_the_engine() {
    let Site { mut rig, path, _dir } = marking_all();
    rig.log().append(run(1, 1..=1), Durability::Synced).unwrap();
    let before = mark(&path);
    rig.faults.set(Fault::WriteLost, 0);
    assert!(rig.log().append(run(1, 2..=2), Durability::Synced).is_err());
    assert_eq!(mark(&path), before);
    rig.store().reopen().unwrap();
    rig.log().append(run(1, 2..=2), Durability::Synced).unwrap();
    rig.settle();
}

/// A write that is torn by a crash costs one slot. The next goes over that one, so that a second
/// torn write still leaves a slot to read.
#[test]
fn a_torn_slot_is_written_before_the_intact_one() {
    let Site { mut rig, path, _dir } = marking_all();
    rig.log().append(run(1, 1..=4), Durability::Synced).unwrap();
    for round in 0..6u64 {
        rig.close();
        let [one, two] = marks(&path);
        let newest = usize::from(two > one);
        damage(&path, &[newest]);
        let intact = marks(&path)[1 - newest];
        rig.open().unwrap();
        let index = 5 + round;
        rig.log().append(vec![entry(1, index)], Durability::Synced).unwrap();
        assert_eq!(marks(&path)[1 - newest], intact, "the only intact slot was written over");
    }
    rig.settle();
}

#[test]
fn a_sidecar_that_is_taken_away_stops_nothing_until_the_next_open() {
    let Site { mut rig, path, _dir } = marking_all();
    rig.log().append(run(1, 1..=3), Durability::Synced).unwrap();
    fs::remove_file(&path).unwrap();
    rig.log().append(run(1, 4..=4), Durability::Synced).unwrap();
    assert_eq!(ids(&rig.log()).len(), 4);
    assert!(rig.store().take_sidecar_failure().is_none());
    assert!(matches!(rig.reopen(), Err(Error::StoreDamaged { .. })));
}

#[test]
fn a_sidecar_in_a_directory_that_is_not_there_is_an_error_at_open() {
    let mut options = LogOptions::default();
    options.sidecar = Some("no/such/directory/SEQ".into());
    let disk = MemoryDisk::default();
    let answer = LogStore::open(move || Ok(std::sync::Arc::new(disk.open()?)), options).map(drop);
    assert!(matches!(answer, Err(Error::Engine(_))), "{answer:?}");
}

/// Nothing on a disk makes the store panic, the largest mark neither.
#[test]
fn the_largest_mark_is_followed_by_no_panic() {
    let Site { mut rig, path, _dir } = marking_all();
    rig.edit(|_, batch| {
        let key = MetaKey::store(0);
        let record = raw::meta_record(key, &raw::body(&u64::MAX));
        batch.put_meta(key, &[&record]).unwrap();
    });
    rig.open().unwrap();
    rig.write(|batch| batch.append(R, run(1, 1..=2))).unwrap();
    rig.close();
    rig.open().unwrap();
    assert_eq!(ids(&rig.log()).len(), 2);
    assert!(path.exists());
}

/// Makes an engine that has lost the end of one log: `first` and what follows it.
fn forget_from(rig: &mut Rig, first: u64) {
    rig.edit(|_, batch| batch.remove_entries(raw::life(R, 0), first, u64::MAX));
}

#[test]
fn a_log_that_lost_its_marked_end_is_refused() {
    for (every_write, interval) in [(true, Duration::ZERO), (false, Duration::from_secs(3600))] {
        let Site { mut rig, path, _dir } = site(interval);
        rig.log().append(run(1, 1..=5), Durability::Synced).unwrap();
        rig.log().set_hard_state(hard_state(1, Some(1), None), Durability::Synced).unwrap();
        rig.log().append(run(1, 6..=7), Durability::Synced).unwrap();
        rig.cut_power().unwrap();
        forget_from(&mut rig, 6);
        rig.open().unwrap();
        assert_eq!(rig.store().damaged().unwrap().len(), usize::from(every_write));
        forget_from(&mut rig, 5);
        rig.open().unwrap();
        let error = rig.log().last_index().unwrap_err();
        assert!(matches!(error, Error::Damaged { replica: R, .. }), "{error}");
        rig.close();
        let report = kvlogdb_log::check(&rig.disk.open().unwrap(), Some(&path)).unwrap();
        let marked_at = if every_write { 7 } else { 5 };
        let found: Vec<_> = report.problems.iter().map(|it| (it.kind, it.index)).collect();
        assert_eq!(found, [(ProblemKind::Hole, Some(marked_at))]);
    }
}

/// What was written since the last mark is marked by the next, also where a crash lies between.
#[test]
fn an_end_that_was_found_is_marked_with_the_next_mark() {
    let Site { mut rig, path: _path, _dir } = site(Duration::from_secs(3600));
    rig.log().append(run(1, 1..=5), Durability::Synced).unwrap();
    rig.cut_power().unwrap();
    let other = rig.store().log(ReplicaId::from(77));
    other.set_hard_state(hard_state(1, Some(1), None), Durability::Synced).unwrap();
    forget_from(&mut rig, 5);
    rig.open().unwrap();
    assert_eq!(rig.store().damaged().unwrap().len(), 1);
}

#[test]
fn whatever_takes_an_end_back_takes_its_mark_back() {
    type Change = fn(&mut LogBatch) -> &mut LogBatch;
    let changes: [(&str, Change, Option<u64>); 8] = [
        ("truncate", |batch| batch.truncate_from(R, 3), Some(2)),
        ("truncate to nothing", |batch| batch.truncate_from(R, 1), None),
        ("replace", |batch| batch.replace_from(R, run(2, 3..=4)), Some(4)),
        ("reset", |batch| batch.reset(R), None),
        ("remove", |batch| batch.remove_replica(R), None),
        ("purge", |batch| batch.purge_through(R, id(1, 8)), Some(8)),
        ("install", |batch| batch.install(R, id(2, 5)), Some(5)),
        (
            "remove and make again",
            |batch| batch.remove_replica(R).append(R, run(1, 1..=2)),
            Some(2),
        ),
    ];
    for interval in [Duration::ZERO, Duration::from_secs(3600)] {
        for (name, change, last) in changes {
            let Site { mut rig, path: _path, _dir } = site(interval);
            rig.log().append(run(1, 1..=8), Durability::Synced).unwrap();
            rig.reopen().unwrap(); // which marks it
            rig.write(change).unwrap();
            rig.cut_power().unwrap();
            assert_eq!(rig.store().damaged().unwrap(), [], "{name}");
            assert_eq!(rig.log().last_index().unwrap(), last, "{name}");
            rig.log().append(run(3, 9..=9), Durability::Synced).err();
            rig.settle();
        }
    }
}

#[test]
fn a_marked_end_of_nothing_is_damage() {
    let Site { mut rig, path: _path, _dir } = marking_all();
    rig.log().append(run(1, 1..=2), Durability::Synced).unwrap();
    let other = ReplicaId::from(77);
    rig.edit(|_, batch| raw::put_meta(batch, other, 6, &raw::body(&300_u64)));
    rig.open().unwrap();
    let damaged: Vec<_> = rig.store().damaged().unwrap();
    assert_eq!(damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [other]);
    assert_eq!(ids(&rig.log()).len(), 2);
}
