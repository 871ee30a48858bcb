//! `check` names every invariant that does not hold, and none that does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::raw::{self, Fields, life};
use common::{N, R, Rig, described, hard_state, id, run};
use kvlogdb_engine_api::{KvLogDb, MetaKey, ReplicaId, WriteBatch};
use kvlogdb_log::check::{MAX_PROBLEMS, ProblemKind};
use kvlogdb_log::{Durability, check};

/// [`R`] from 5 to 12 behind a boundary at 4, terms 1 and from 9 on 2, with commit at 9; and [`N`].
fn filled() -> Rig {
    let rig = Rig::new();
    rig.write(|batch| {
        batch
            .append(R, run(1, 1..=8))
            .append(R, run(2, 9..=12))
            .purge_through(R, id(1, 4))
            .set_hard_state(R, hard_state(2, Some(1), Some(9)))
            .append(N, run(3, 1..=5))
    })
    .unwrap();
    rig
}

fn stored(engine: &dyn KvLogDb, index: u64) -> Vec<u8> {
    engine.entry(life(R, 0).at(index)).unwrap().unwrap().to_vec()
}

/// Puts the entry at `index` anew, with other fields and a checksum that is right.
fn rewrite(engine: &dyn KvLogDb, batch: &mut WriteBatch, index: u64, change: fn(&mut Fields)) {
    let record = stored(engine, index);
    let mut fields = raw::fields(&record);
    change(&mut fields);
    let key = life(R, 0).at(index);
    batch.put_entry(key, &[&raw::entry_record(key, fields, &record[32..])]).unwrap();
}

type Damage = fn(&dyn KvLogDb, &mut WriteBatch);
type Named = (ProblemKind, Option<ReplicaId>, Option<u64>);

const fn of(kind: ProblemKind, index: u64) -> Named {
    (kind, Some(R), Some(index))
}

/// What is done to the store, and what of it must be named.
const DAMAGES: [(&str, Damage, &[Named]); 20] = [
    ("nothing", |_, _| {}, &[]),
    (
        "a flipped bit",
        |engine, batch| {
            let mut record = stored(engine, 7);
            record[33] ^= 1;
            batch.put_entry(life(R, 0).at(7), &[&record]).unwrap();
        },
        &[of(ProblemKind::Record, 7)],
    ),
    (
        "an entry that is missing in the middle",
        |_, batch| batch.remove_entries(life(R, 0), 7, 7),
        &[of(ProblemKind::Hole, 7)],
    ),
    (
        "the first entries missing",
        |_, batch| batch.remove_entries(life(R, 0), 5, 6),
        &[of(ProblemKind::Hole, 5)],
    ),
    (
        "the last term missing",
        |_, batch| batch.remove_entries(life(R, 0), 9, 12),
        &[of(ProblemKind::Hole, 9), (ProblemKind::Commit, Some(R), None)],
    ),
    (
        "the whole log missing",
        |_, batch| batch.remove_log(life(R, 0)),
        &[of(ProblemKind::Hole, 9), (ProblemKind::Commit, Some(R), None)],
    ),
    (
        "two entries swapped",
        |engine, batch| {
            batch.put_entry(life(R, 0).at(6), &[&stored(engine, 7)]).unwrap();
            batch.put_entry(life(R, 0).at(7), &[&stored(engine, 6)]).unwrap();
        },
        &[of(ProblemKind::Record, 6), of(ProblemKind::Record, 7)],
    ),
    (
        "another term",
        |engine, batch| rewrite(engine, batch, 8, |fields| fields.term = 2),
        &[of(ProblemKind::Term, 8)],
    ),
    (
        "another sum of bytes",
        |engine, batch| rewrite(engine, batch, 7, |fields| fields.log_bytes += 1),
        &[of(ProblemKind::LogBytes, 7), of(ProblemKind::LogBytes, 8)],
    ),
    (
        "a sum of bytes that cannot be added to",
        |engine, batch| rewrite(engine, batch, 7, |fields| fields.log_bytes = u64::MAX),
        &[of(ProblemKind::LogBytes, 7), of(ProblemKind::LogBytes, 8)],
    ),
    (
        "a clock that goes back",
        |engine, batch| rewrite(engine, batch, 7, |fields| fields.appended_at_ms -= 1),
        &[of(ProblemKind::Clock, 7)],
    ),
    (
        "an entry of another incarnation",
        |engine, batch| {
            let key = life(R, 3).at(6);
            let fields = raw::fields(&stored(engine, 6));
            batch.put_entry(key, &[&raw::entry_record(key, fields, b"")]).unwrap();
        },
        &[of(ProblemKind::Orphan, 6)],
    ),
    (
        "an entry below the boundary",
        |engine, batch| {
            let key = life(R, 0).at(2);
            let fields = raw::fields(&stored(engine, 6));
            batch.put_entry(key, &[&raw::entry_record(key, fields, b"")]).unwrap();
        },
        &[of(ProblemKind::Orphan, 2)],
    ),
    (
        "an entry of nobody",
        |_, batch| batch.put_entry(life(ReplicaId::from(80), 0).at(0), &[b""]).unwrap(),
        &[(ProblemKind::Orphan, Some(ReplicaId { group: 80, node: 0 }), Some(0))],
    ),
    (
        "a commit index behind the end",
        |_, batch| {
            let body = raw::body(&(2u64, Some(1u64), Some(13u64)));
            raw::put_meta(batch, R, raw::HARD_STATE, &body);
        },
        &[(ProblemKind::Commit, Some(R), None)],
    ),
    (
        "hard state without a state record",
        |_, batch| {
            let body = raw::body(&(2u64, Some(1u64), Some(0u64)));
            raw::put_meta(batch, ReplicaId::from(80), raw::HARD_STATE, &body);
        },
        &[(ProblemKind::Metadata, Some(ReplicaId { group: 80, node: 0 }), None)],
    ),
    (
        "a state record that cannot be read",
        |_, batch| batch.put_meta(MetaKey::replica(R, raw::STATE), &[b"bad"]).unwrap(),
        &[(ProblemKind::Metadata, Some(R), None)],
    ),
    (
        "a state record that is missing",
        |_, batch| batch.remove_meta(MetaKey::replica(N, raw::STATE)),
        &[
            (ProblemKind::StoreRecord, None, None),
            (ProblemKind::Orphan, Some(N), Some(1)),
            (ProblemKind::Orphan, Some(N), Some(2)),
            (ProblemKind::Orphan, Some(N), Some(3)),
            (ProblemKind::Orphan, Some(N), Some(4)),
            (ProblemKind::Orphan, Some(N), Some(5)),
        ],
    ),
    (
        "the store's record missing",
        |_, batch| batch.remove_meta(MetaKey::store(0)),
        &[(ProblemKind::StoreRecord, None, None)],
    ),
    (
        "the store's record damaged",
        |_, batch| batch.put_meta(MetaKey::store(0), &[b"\0\0\0\0\x01\x01"]).unwrap(),
        &[(ProblemKind::StoreRecord, None, None)],
    ),
];

#[test]
fn every_kind_of_damage_is_named_with_replica_and_index() {
    for (what, damage, expected) in DAMAGES {
        let mut rig = filled();
        rig.store().settle().unwrap();
        rig.edit(damage);
        let engine = rig.disk.open().unwrap();
        let report = check(&engine, None).unwrap();
        let named: Vec<_> = report
            .problems
            .iter()
            .map(|problem| (problem.kind, problem.replica, problem.index))
            .collect();
        assert_eq!(named, expected, "{what}: {}", described(&report));
        assert_eq!(report.is_clean(), expected.is_empty());
        assert_eq!(report.more_problems, 0);
    }
}

#[test]
fn what_waits_for_deletion_is_no_orphan_and_what_does_not_is() {
    let mut rig = filled();
    rig.edit(|engine, batch| {
        for index in [1, 4] {
            let key = life(R, 0).at(index);
            let fields = raw::fields(&stored(engine, 6));
            batch.put_entry(key, &[&raw::entry_record(key, fields, b"")]).unwrap();
        }
        raw::put_meta(batch, R, raw::TRASH, &raw::body(&vec![(0u32, 1u64, 3u64)]));
    });
    let engine = rig.disk.open().unwrap();
    let report = check(&engine, None).unwrap();
    let named: Vec<_> =
        report.problems.iter().map(|problem| (problem.kind, problem.index)).collect();
    assert_eq!(named, [(ProblemKind::Orphan, Some(4))], "{}", described(&report));
}

#[test]
fn the_contiguous_intact_prefix_is_reported_and_not_the_maximum() {
    let intact = |damage: Damage| {
        let mut rig = filled();
        rig.edit(damage);
        let report = check(&rig.disk.open().unwrap(), None).unwrap();
        let checked = report.replicas[0];
        assert_eq!((checked.replica, checked.first), (R, Some(5)));
        (checked.intact_through, checked.last)
    };
    assert_eq!(intact(|_, _| {}), (Some(12), Some(12)));
    assert_eq!(intact(|_, batch| batch.remove_entries(life(R, 0), 7, 8)), (Some(6), Some(12)));
    assert_eq!(intact(|_, batch| batch.remove_entries(life(R, 0), 5, 5)), (None, Some(12)));
    let damaged: Damage = |_, batch| batch.put_entry(life(R, 0).at(8), &[b"bad"]).unwrap();
    assert_eq!(intact(damaged), (Some(7), Some(12)));
    let wrong_term: Damage = |engine, batch| rewrite(engine, batch, 6, |fields| fields.term = 9);
    assert_eq!(intact(wrong_term), (Some(5), Some(12)));
    assert_eq!(intact(|_, batch| batch.remove_log(life(R, 0))), (None, None));
}

#[test]
fn a_problem_says_where_it_is() {
    let mut rig = filled();
    rig.edit(|_, batch| batch.remove_entries(life(R, 0), 7, 8));
    let report = check(&rig.disk.open().unwrap(), None).unwrap();
    let text = report.problems[0].to_string();
    assert!(text.starts_with("replica 7/0: index 7: "), "{text}");
    assert!(text.ends_with("index 9"), "{text}");
}

#[test]
fn problems_over_the_limit_are_counted() {
    let mut rig = Rig::new();
    rig.log().append(run(1, 1..=3000), Durability::Synced).unwrap();
    rig.edit(|_, batch| {
        for index in 1..=3000 {
            batch.put_entry(life(R, 0).at(index), &[b"bad"]).unwrap();
        }
    });
    let report = check(&rig.disk.open().unwrap(), None).unwrap();
    assert_eq!(report.problems.len(), MAX_PROBLEMS);
    assert_eq!(report.more_problems, 2000);
    assert!(!report.is_clean());
}

#[test]
fn many_pages_are_walked_to_their_end() {
    let mut rig = Rig::new();
    let entries: Vec<_> = (u64::MAX - 99..=u64::MAX)
        .map(|index| kvlogdb_log::Entry::new(1, index, vec![1; 50_000]))
        .collect();
    rig.log().append(entries, Durability::Synced).unwrap();
    rig.settle();
    let report = rig.store().check().unwrap();
    assert_eq!(report.entries, 100);
    assert_eq!(report.replicas[0].intact_through, Some(u64::MAX));
    rig.edit(|_, batch| batch.remove_entries(life(R, 0), u64::MAX - 3, u64::MAX - 1));
    let report = check(&rig.disk.open().unwrap(), None).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].index, Some(u64::MAX - 3));
    assert_eq!(report.replicas[0].last, Some(u64::MAX));
}

#[test]
fn a_store_that_is_not_damaged_is_clean_and_checking_changes_nothing() {
    let mut rig = filled();
    rig.store().settle().unwrap();
    let before = rig.views();
    for _ in 0..3 {
        assert_eq!(rig.store().check().unwrap().entries, 13);
    }
    assert_eq!(rig.views(), before);
    rig.faults.take_writes();
    rig.store().check().unwrap();
    assert_eq!(rig.faults.take_writes(), []);
    rig.settle();
}

#[test]
fn the_clock_of_appends_does_not_go_back_behind_an_entry_of_the_future() {
    let mut rig = filled();
    rig.edit(|engine, batch| {
        rewrite(engine, batch, 12, |fields| fields.appended_at_ms = u64::MAX / 2);
    });
    rig.open().unwrap();
    rig.log().append(run(2, 13..=14), Durability::Synced).unwrap();
    rig.log().truncate_from(14, Durability::Synced).unwrap();
    rig.log().append(run(2, 14..=15), Durability::Synced).unwrap();
    rig.settle();
}
