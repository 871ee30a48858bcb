//! Appending, truncating and replacing: what is accepted, what is refused, and what is then left.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use common::{R, Rig, entry, hard_state, id, ids, run};
use kvlogdb_log::{
    Durability, Entry, EntryKind, Error, LogBatch, MAX_PAYLOAD_BYTES, MAX_TERM_RUNS,
};

/// Entries 3 to 7: terms 1, 1, 2, 2, 4.
fn filled() -> Rig {
    Rig::holding(&[(1, 3), (1, 4), (2, 5), (2, 6), (4, 7)])
}

fn append(rig: &Rig, entries: Vec<Entry>) -> kvlogdb_log::Result<()> {
    rig.log().append(entries, Durability::Synced)
}

#[test]
fn a_log_begins_at_any_index_and_goes_on_without_gaps() {
    for first in [0, 1, 500, u64::MAX - 1] {
        let mut rig = Rig::new();
        append(&rig, vec![entry(5, first), entry(5, first + 1)]).unwrap();
        rig.settle();
        assert_eq!(rig.log().first_index().unwrap(), Some(first));
        assert_eq!(ids(&rig.log()), [(5, first), (5, first + 1)]);
    }
}

#[test]
fn a_gap_is_refused_and_so_is_an_index_that_is_there() {
    let rig = filled();
    for index in [0, 3, 6, 7, 9, 10, u64::MAX] {
        let error = rig.refused(|batch| batch.append(R, vec![entry(9, index)]));
        let named = matches!(error, Error::Gap { expected: 8, found, .. } if found == index);
        assert!(named, "{index}: {error}");
    }
    let error = rig.refused(|batch| batch.append(R, vec![entry(4, 8), entry(4, 10)]));
    assert!(matches!(error, Error::Gap { expected: 9, found: 10, .. }), "{error}");
}

#[test]
fn a_term_that_goes_back_is_refused_within_an_append_and_behind_the_log() {
    let rig = filled();
    for entries in [vec![entry(3, 8)], vec![entry(5, 8), entry(4, 9)]] {
        let error = rig.refused(|batch| batch.append(R, entries));
        assert!(matches!(error, Error::TermWentBack { .. }), "{error}");
    }
    append(&rig, vec![entry(4, 8)]).unwrap();
}

#[test]
fn the_largest_index_is_an_entry_and_nothing_follows_it() {
    let mut rig = Rig::new();
    append(&rig, run(1, u64::MAX - 2..=u64::MAX)).unwrap();
    rig.settle();
    for index in [0, u64::MAX - 1, u64::MAX] {
        let error = rig.refused(|batch| batch.append(R, vec![entry(1, index)]));
        assert!(matches!(error, Error::Full { .. }), "{error}");
    }
    let log = rig.log();
    assert_eq!(log.entry(u64::MAX).unwrap(), entry(1, u64::MAX));
    log.truncate_from(u64::MAX, Durability::Synced).unwrap();
    rig.settle();
    assert_eq!(ids(&rig.log()), [(1, u64::MAX - 2), (1, u64::MAX - 1)]);
    append(&rig, vec![entry(2, u64::MAX)]).unwrap();
    rig.log().replace_from(vec![entry(3, u64::MAX)], Durability::Synced).unwrap();
    rig.log().purge_through(id(1, u64::MAX - 1), Durability::Synced).unwrap();
    rig.settle();
    assert_eq!(ids(&rig.log()), [(3, u64::MAX)]);
    rig.log().purge_through(id(3, u64::MAX), Durability::Synced).unwrap();
    rig.settle();
    let log = rig.log();
    assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (None, Some(u64::MAX)));
    assert_eq!(log.entries(.., 1).unwrap(), []);
    let refused = append(&rig, vec![entry(3, u64::MAX)]);
    assert!(matches!(refused, Err(Error::Purged { .. } | Error::Full { .. })), "{refused:?}");
}

#[test]
fn truncation_at_every_position() {
    let all = [(1, 3), (1, 4), (2, 5), (2, 6), (4, 7)];
    for from in (0..=10).chain([u64::MAX]) {
        let mut rig = filled();
        rig.log().truncate_from(from, Durability::Synced).unwrap();
        rig.settle();
        let left: Vec<_> = all.into_iter().filter(|&(_, index)| index < from).collect();
        assert_eq!(ids(&rig.log()), left, "from {from}");
        assert_eq!(rig.log().last_index().unwrap(), left.last().map(|last| last.1));
        let (term, index) = left.last().map_or((1, 70), |&(term, index)| (term, index + 1));
        append(&rig, vec![entry(term, index), entry(8, index + 1)]).unwrap();
        rig.settle();
        assert_eq!(ids(&rig.log())[left.len()..], [(term, index), (8, index + 1)]);
    }
}

#[test]
fn truncated_entries_stay_gone_when_shorter_ones_take_their_place() {
    let mut rig = Rig::holding(&(1..=10).map(|index| (1, index)).collect::<Vec<_>>());
    rig.log().truncate_from(6, Durability::Synced).unwrap();
    append(&rig, run(2, 6..=7)).unwrap();
    rig.settle();
    let log = rig.log();
    assert_eq!(ids(&log)[5..], [(2, 6), (2, 7)]);
    assert_eq!(log.len().unwrap(), 7);
    assert!(matches!(log.entry(8), Err(Error::Unavailable { index: 8, .. })));
}

#[test]
fn truncation_of_purged_and_of_committed_entries_is_refused() {
    let rig = filled();
    rig.log().purge_through(id(1, 4), Durability::Synced).unwrap();
    rig.log().set_hard_state(hard_state(4, None, Some(6)), Durability::Synced).unwrap();
    for from in [0, 3, 4] {
        for whole in [true, false] {
            let error = rig.refused(|batch| {
                if whole {
                    batch.truncate_from(R, from)
                } else {
                    batch.replace_from(R, run(9, from..=9))
                }
            });
            let named = matches!(error, Error::Purged { index, purged, .. }
                if index == from && purged == id(1, 4));
            assert!(named, "{error}");
        }
    }
    for from in [5, 6] {
        let error = rig.refused(|batch| batch.truncate_from(R, from));
        let named = matches!(error, Error::Committed { index, commit: 6, .. } if index == from);
        assert!(named, "{error}");
    }
    rig.log().truncate_from(7, Durability::Synced).unwrap();
    rig.log().truncate_from(7, Durability::Synced).unwrap();
    assert_eq!(ids(&rig.log()), [(2, 5), (2, 6)]);
}

#[test]
fn replacing_at_every_position_leaves_the_head_and_the_new_tail() {
    let all = [(1, 3), (1, 4), (2, 5), (2, 6), (4, 7)];
    for from in 1..=8 {
        for count in [1, 2, 9] {
            let mut rig = filled();
            let fresh = run(5, from..=from + count - 1);
            rig.log().replace_from(fresh, Durability::Synced).unwrap();
            rig.settle();
            let head = all.into_iter().filter(|&(_, index)| index < from);
            let expected: Vec<_> =
                head.chain((from..from + count).map(|index| (5, index))).collect();
            assert_eq!(ids(&rig.log()), expected, "{count} from {from}");
        }
    }
}

#[test]
fn replacing_is_refused_as_the_truncation_or_the_append_would_be() {
    let rig = filled();
    let gap = rig.refused(|batch| batch.replace_from(R, run(9, 9..=9)));
    assert!(matches!(gap, Error::Gap { expected: 8, found: 9, .. }), "{gap}");
    let back = rig.refused(|batch| batch.replace_from(R, run(1, 6..=6)));
    assert!(matches!(back, Error::TermWentBack { last, .. } if last == id(2, 5)), "{back}");
    rig.log().replace_from(vec![], Durability::Synced).unwrap();
    rig.log().append(vec![], Durability::Synced).unwrap();
    assert_eq!(ids(&rig.log()).len(), 5);
    assert_eq!(Rig::new().store().replicas().unwrap(), []);
}

#[test]
fn empty_appends_do_not_make_a_replica() {
    let mut rig = Rig::new();
    rig.write(|batch| {
        batch.append(R, vec![]).replace_from(R, vec![]).truncate_from(R, 5).reset(R);
        batch.remove_replica(R).remove_slot(R, 300).unwrap()
    })
    .unwrap();
    assert_eq!(rig.store().replicas().unwrap(), []);
    rig.settle();
}

#[test]
fn kinds_and_payloads_come_back_whole() {
    let mut rig = Rig::new();
    let lens = [0, 1, 31, 32, 33, 65_536];
    let make = |(index, len): (u64, &usize)| Entry {
        id: id(1, index),
        kind: EntryKind(u8::try_from(index * 51).unwrap()),
        payload: vec![u8::try_from(index).unwrap(); *len].into(),
    };
    let entries: Vec<_> = (0..).zip(&lens).map(make).collect();
    append(&rig, entries.clone()).unwrap();
    rig.settle();
    assert_eq!(rig.log().entries(.., u64::MAX).unwrap(), entries);
}

#[test]
fn a_payload_of_the_limit_is_kept_and_a_larger_one_refused() {
    let mut rig = Rig::new();
    let sized = |len| vec![Entry::new(1, 1, vec![7; len])];
    let error = append(&rig, sized(MAX_PAYLOAD_BYTES + 1)).unwrap_err();
    let named = matches!(error, Error::TooLarge { len_bytes, limit_bytes, .. }
        if len_bytes == MAX_PAYLOAD_BYTES + 1 && limit_bytes == MAX_PAYLOAD_BYTES);
    assert!(named, "{error}");
    assert_eq!(rig.store().replicas().unwrap(), []);
    append(&rig, sized(MAX_PAYLOAD_BYTES)).unwrap();
    rig.reopen().unwrap();
    assert_eq!(rig.log().entry(1).unwrap().payload.len(), MAX_PAYLOAD_BYTES);
    let error =
        rig.refused(|batch| batch.put_slot(R, 256, vec![1; MAX_PAYLOAD_BYTES + 1]).unwrap());
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    rig.write(|batch| batch.put_slot(R, 256, vec![1; MAX_PAYLOAD_BYTES]).unwrap()).unwrap();
    assert_eq!(rig.log().slot(256).unwrap().unwrap().len(), MAX_PAYLOAD_BYTES);
}

#[test]
fn a_batch_over_the_limit_is_refused_and_the_store_goes_on() {
    let mut rig = Rig::holding(&[(1, 1)]);
    let large = bytes::Bytes::from(vec![3; MAX_PAYLOAD_BYTES]);
    let error = rig.refused(|batch| {
        batch.set_hard_state(R, hard_state(3, Some(1), None));
        batch
            .append(R, (2..=6).map(|index| Entry::new(1, index, large.clone())).collect::<Vec<_>>())
    });
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    append(&rig, vec![entry(1, 2)]).unwrap();
    rig.settle();
    assert_eq!(ids(&rig.log()), [(1, 1), (1, 2)]);
}

#[test]
fn more_term_runs_than_a_record_takes_are_refused_until_a_purge() {
    let mut rig = Rig::new();
    let limit = MAX_TERM_RUNS as u64;
    let terms = |range: std::ops::RangeInclusive<u64>| {
        range.map(|index| Entry::new(index, index, "")).collect::<Vec<_>>()
    };
    append(&rig, terms(1..=limit)).unwrap();
    let error = append(&rig, terms(limit + 1..=limit + 1)).unwrap_err();
    let named = matches!(error, Error::TooManyTermRuns { limit, .. } if limit == MAX_TERM_RUNS);
    assert!(named, "{error}");
    append(&rig, vec![Entry::new(limit, limit + 1, "")]).unwrap();
    rig.reopen().unwrap();
    let mut batch = LogBatch::new();
    batch.purge_through(R, id(1, 1)).append(R, vec![Entry::new(limit + 1, limit + 2, "")]);
    rig.store().write(&batch, Durability::Synced).unwrap();
    rig.reopen().unwrap();
    assert_eq!(rig.log().last_index().unwrap(), Some(limit + 2));
    assert_eq!(rig.log().term(limit + 1).unwrap(), limit);
}

#[test]
fn log_bytes_stay_right_through_truncations_and_replacements() {
    // `check` adds the sizes up again; a wrong base after a truncation shows there.
    let mut rig = filled();
    for from in [7, 5, 6, 4] {
        rig.log().truncate_from(from, Durability::Synced).unwrap();
        append(&rig, run(6, from..=from + 3)).unwrap();
        rig.log().replace_from(run(6, from + 2..=from + 5), Durability::Synced).unwrap();
        rig.settle();
        rig.log().truncate_from(3, Durability::Synced).unwrap();
        append(&rig, run(1, 3..=9)).unwrap();
        rig.settle();
    }
}
