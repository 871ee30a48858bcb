//! Opening a store that is damaged: the replica is refused by name, the others are served.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::raw::{self, Fields, life};
use common::{N, R, Rig, entry, hard_state, id, ids, run};
use kvlogdb_engine_api::{KvLogDb, MetaKey, WriteBatch};
use kvlogdb_log::{Durability, Error, LogBatch, ReplicaId};

/// Two replicas: [`R`] from 5 to 12 behind a boundary at 4, terms 1 and from 9 on 2; and [`N`].
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

type Damage = fn(&dyn KvLogDb, &mut WriteBatch);

fn flip(engine: &dyn KvLogDb, batch: &mut WriteBatch, slot: u16) {
    let key = MetaKey::replica(R, slot);
    let mut record = engine.meta(key).unwrap().unwrap().to_vec();
    *record.last_mut().unwrap() ^= 1;
    batch.put_meta(key, &[&record]).unwrap();
}

/// Puts an entry of [`R`] whose checksum is right.
fn plant(batch: &mut WriteBatch, incarnation: u32, index: u64, term: u64) {
    let key = life(R, incarnation).at(index);
    let fields = Fields { term, appended_at_ms: u64::MAX / 2, log_bytes: 1000 };
    batch.put_entry(key, &[&raw::entry_record(key, fields, b"planted")]).unwrap();
}

fn put_state(batch: &mut WriteBatch, purged: Option<u64>, runs: &[(u64, u64)]) {
    let purged = purged.map(|index| (index, 1, vec![]));
    let runs = runs.iter().map(|&(index, term)| (index, term, vec![])).collect();
    raw::put_meta(batch, R, raw::STATE, &raw::state_body(0, purged, runs, 1));
}

const DAMAGES: [(&str, Damage); 18] = [
    ("a flipped bit in the state", |engine, batch| flip(engine, batch, raw::STATE)),
    ("a flipped bit in the hard state", |engine, batch| flip(engine, batch, raw::HARD_STATE)),
    ("a state record cut short", |_, batch| {
        batch.put_meta(MetaKey::replica(R, raw::STATE), &[&[1, 2]]).unwrap();
    }),
    ("a state under the wrong key", |engine, batch| {
        let record = engine.meta(MetaKey::replica(N, raw::STATE)).unwrap().unwrap();
        batch.put_meta(MetaKey::replica(R, raw::STATE), &[&record]).unwrap();
    }),
    ("a state with bytes behind it", |_, batch| {
        let body = [raw::state_body(0, None, vec![(5, 1, vec![])], 1), vec![0]].concat();
        raw::put_meta(batch, R, raw::STATE, &body);
    }),
    ("a state of another shape", |_, batch| {
        let runs: Vec<raw::Run> = vec![(5, 1, vec![])];
        let body = raw::body(&(1u8, 0u32, None::<raw::Run>, runs, 1u32));
        raw::put_meta(batch, R, raw::STATE, &body);
    }),
    ("entries without a state", |_, batch| {
        batch.remove_meta(MetaKey::replica(R, raw::STATE));
    }),
    ("a hard state that is gone", |_, batch| {
        batch.remove_meta(MetaKey::replica(R, raw::HARD_STATE));
    }),
    ("a state without entries", |_, batch| batch.remove_log(life(R, 0))),
    ("a log that ends before its last term begins", |_, batch| {
        batch.remove_entries(life(R, 0), 9, u64::MAX);
    }),
    ("a commit index behind the end", |_, batch| {
        raw::put_meta(batch, R, raw::HARD_STATE, &raw::body(&(2u64, Some(1u64), Some(13u64))));
    }),
    ("a last entry that is damaged", |engine, batch| {
        let key = life(R, 0).at(12);
        let mut record = engine.entry(key).unwrap().unwrap().to_vec();
        record[20] ^= 4;
        batch.put_entry(key, &[&record]).unwrap();
    }),
    ("a last entry of another term", |_, batch| plant(batch, 0, 12, 3)),
    ("an entry in a log that is empty", |_, batch| put_state(batch, Some(4), &[])),
    ("terms that go back", |_, batch| put_state(batch, Some(4), &[(5, 2), (9, 1)])),
    ("term runs out of order", |_, batch| put_state(batch, Some(4), &[(5, 1), (5, 2)])),
    ("a boundary that is not before the first entry", |_, batch| {
        put_state(batch, Some(3), &[(5, 1), (9, 2)]);
    }),
    ("a slot of the log that is not known", |_, batch| raw::put_meta(batch, R, 77, b"")),
];

/// [`N`] has no other record than its state.
const LOSSES: [(&str, Damage); 4] = [
    ("a replica that is gone", |_, batch| batch.remove_meta(MetaKey::replica(N, raw::STATE))),
    ("a replica under another name", |engine, batch| {
        let key = MetaKey::replica(N, raw::STATE);
        let record = engine.meta(key).unwrap().unwrap();
        batch.remove_meta(key);
        let other = ReplicaId { group: N.group ^ 8, ..N };
        batch.put_meta(MetaKey::replica(other, raw::STATE), &[&record]).unwrap();
    }),
    ("a replica that was never made", |_, batch| {
        let body = raw::state_body(0, Some((3, 1, vec![])), vec![], 0);
        raw::put_meta(batch, ReplicaId::from(80), raw::STATE, &body);
    }),
    ("a census that is gone", |_, batch| batch.remove_meta(MetaKey::store(1))),
];

#[test]
fn a_store_that_lost_a_replica_is_refused_because_nobody_can_tell_which() {
    for (what, loss) in LOSSES {
        let mut rig = filled();
        rig.edit(loss);
        let answer = rig.open();
        assert!(matches!(answer, Err(Error::StoreDamaged { .. })), "{what}: {answer:?}");
    }
}

#[test]
fn a_damaged_replica_is_refused_by_name_and_the_others_are_served() {
    for (what, damage) in DAMAGES {
        let mut rig = filled();
        rig.edit(damage);
        rig.open().unwrap_or_else(|error| panic!("{what}: {error}"));
        let store = rig.store();
        let damaged: Vec<_> = store.damaged().unwrap().into_iter().map(|named| named.0).collect();
        assert_eq!(damaged, [R], "{what}");
        assert_eq!(store.replicas().unwrap(), [R, N], "{what}");
        let log = store.log(R);
        let refused = |answer: Result<(), Error>| {
            let named = matches!(answer, Err(Error::Damaged { replica: R, .. }));
            assert!(named, "{what}: {answer:?}");
        };
        refused(log.entries(.., 1).map(drop));
        refused(log.entry(10).map(drop));
        refused(log.last_index().map(drop));
        refused(log.term(9).map(drop));
        refused(log.hard_state().map(drop));
        refused(log.scan(..).next().unwrap().map(drop));
        refused(log.append(vec![entry(9, 13)], Durability::Synced));
        refused(log.slot(256).map(drop));
        let mut batch = LogBatch::new();
        batch.append(N, run(3, 6..=6)).reset(R);
        refused(store.write(&batch, Durability::Synced));
        assert_eq!(ids(&store.log(N)).len(), 5, "{what}");
        store.log(N).append(run(3, 6..=7), Durability::Synced).unwrap();
        store.log(ReplicaId::from(90)).append(run(1, 1..=1), Durability::Synced).unwrap();
        let report = store.check().unwrap();
        assert!(report.problems.iter().any(|problem| problem.replica == Some(R)), "{what}");
        assert!(report.problems.iter().all(|problem| problem.replica == Some(R)), "{what}");
        rig.reopen().unwrap();
        assert_eq!(rig.store().damaged().unwrap().len(), 1, "{what}: it went away by itself");
        assert_eq!(ids(&rig.store().log(N)).len(), 7);
    }
}

/// Without a commit index, which would give the damage away by itself.
#[test]
fn damage_is_noticed_without_a_commit_index_too() {
    let leader = |name: &'static str| common::led(0, 0, name).leader;
    let damages: [Damage; 3] = [
        |_, batch| batch.remove_meta(MetaKey::replica(R, raw::STATE)),
        |_, batch| put_state(batch, Some(0), &[]),
        // What is left of the log has the term of the run that is lost.
        |_, batch| batch.remove_entries(life(R, 0), 4, 6),
    ];
    for damage in damages {
        let mut rig = Rig::new();
        rig.write(|batch| {
            batch.append_led(R, leader("a"), run(1, 1..=3)).append_led(
                R,
                leader("b"),
                run(1, 4..=6),
            );
            batch.set_hard_state(R, hard_state(1, Some(1), None))
        })
        .unwrap();
        rig.edit(damage);
        rig.open().unwrap();
        assert!(matches!(rig.log().last_index(), Err(Error::Damaged { replica: R, .. })));
        assert_eq!(rig.store().damaged().unwrap().len(), 1);
        assert!(!rig.store().check().unwrap().is_clean());
    }
}

#[test]
fn a_stores_own_record_that_is_missing_or_damaged_is_refused() {
    let damages: [Damage; 3] = [
        |_, batch| batch.remove_meta(MetaKey::store(0)),
        |_, batch| batch.put_meta(MetaKey::store(0), &[b"nonsense"]).unwrap(),
        |_, batch| batch.put_meta(MetaKey::store(9), &[b"unknown"]).unwrap(),
    ];
    for damage in damages {
        let mut rig = filled();
        rig.edit(damage);
        let error = rig.open().unwrap_err();
        assert!(matches!(error, Error::StoreDamaged { .. }), "{error}");
        let error = rig.open().unwrap_err();
        assert!(matches!(error, Error::StoreDamaged { .. }), "refused once only: {error}");
    }
}

#[test]
fn entries_that_nobody_knows_are_not_followed_by_an_append() {
    let mut rig = filled();
    let stranger = ReplicaId::from(50);
    rig.edit(|_, batch| {
        let key = life(stranger, 0).at(7);
        let fields = Fields { term: 1, appended_at_ms: 1, log_bytes: 33 };
        batch.put_entry(key, &[&raw::entry_record(key, fields, b"x")]).unwrap();
    });
    rig.open().unwrap();
    for index in [0, 8] {
        let answer = rig.store().log(stranger).append(run(1, index..=index), Durability::Synced);
        let named = matches!(answer, Err(Error::Damaged { replica, .. }) if replica == stranger);
        assert!(named, "{answer:?}");
    }
    let answer = rig.store().log(stranger).install(id(1, 90), Durability::Synced);
    assert!(matches!(answer, Err(Error::Damaged { .. })), "{answer:?}");
}

#[test]
fn opening_twice_changes_nothing() {
    let mut rig = filled();
    rig.store().settle().unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        rig.edit(|engine, _| {
            let mut all = Vec::new();
            engine
                .scan_meta(&mut |key, value| {
                    if key != MetaKey::store(0) {
                        all.push((key, value.into_owned()));
                    }
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
            seen.push(all);
        });
        rig.open().unwrap();
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    rig.settle();
}

#[test]
fn a_power_cut_leaves_a_prefix_of_whole_batches() {
    let mut rig = Rig::new();
    for round in 1..=20u64 {
        let mut batch = LogBatch::new();
        batch.append(R, run(1, round..=round)).append(N, run(1, round..=round));
        let durability = if round == 12 { Durability::Synced } else { Durability::Buffered };
        rig.store().write(&batch, durability).unwrap();
    }
    rig.cut_power().unwrap();
    let last = rig.log().last_index().unwrap();
    assert_eq!(last, Some(12));
    assert_eq!(rig.store().log(N).last_index().unwrap(), last);
    rig.settle();
}

#[test]
fn an_install_that_was_not_synced_leaves_the_old_log() {
    let mut rig = filled();
    let before = rig.views();
    rig.log().install(id(7, 90), Durability::Buffered).unwrap();
    rig.log().append(run(7, 91..=95), Durability::Buffered).unwrap();
    assert_eq!(ids(&rig.log()).len(), 5);
    rig.cut_power().unwrap();
    assert_eq!(rig.views(), before);
    rig.settle();
}

#[test]
fn ten_thousand_replicas_open_quickly() {
    let mut rig = Rig::new();
    let replicas = 10_000;
    rig.write(|batch| {
        for group in 0..replicas {
            batch.append(ReplicaId::from(group), vec![entry(1, group)]);
        }
        batch
    })
    .unwrap();
    rig.close();
    let began = std::time::Instant::now();
    rig.open().unwrap();
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(rig.store().replicas().unwrap().len() as u64, replicas);
}
