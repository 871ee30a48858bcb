//! Reading: ranges, limits, holes, terms, and where two logs agree.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::ops::Bound;

use common::raw::{self, life};
use common::{R, Rig, entry, id, ids, run};
use kvlogdb_log::{Durability, Entry, Error, Log, LogId};

type Range = (Bound<u64>, Bound<u64>);

/// Entries 10 to 14 behind a boundary at 9: terms 2, 2, 4, 4, 7.
fn filled() -> Rig {
    let rig = Rig::holding(&[(1, 8), (2, 9), (2, 10), (2, 11), (4, 12), (4, 13), (7, 14)]);
    rig.log().purge_through(id(2, 9), Durability::Synced).unwrap();
    rig
}

fn indexes(log: &Log, range: Range) -> Result<Vec<u64>, Error> {
    let entries = log.entries(range, u64::MAX)?;
    let scanned: Vec<_> = log.scan(range).map(Result::unwrap).collect();
    assert_eq!(scanned, entries, "{range:?}");
    Ok(entries.iter().map(|entry| entry.id.index).collect())
}

#[test]
fn ranges_of_every_kind() {
    use Bound::{Excluded, Included, Unbounded};
    let rig = filled();
    let rows: [(Range, &[u64]); 14] = [
        ((Unbounded, Unbounded), &[10, 11, 12, 13, 14]),
        ((Unbounded, Excluded(12)), &[10, 11]),
        ((Unbounded, Included(12)), &[10, 11, 12]),
        ((Included(10), Included(10)), &[10]),
        ((Excluded(9), Included(11)), &[10, 11]),
        ((Excluded(11), Excluded(14)), &[12, 13]),
        ((Included(13), Unbounded), &[13, 14]),
        ((Included(13), Included(u64::MAX)), &[13, 14]),
        ((Included(15), Unbounded), &[]),
        ((Included(u64::MAX), Included(u64::MAX)), &[]),
        ((Excluded(u64::MAX), Unbounded), &[]),
        ((Included(12), Excluded(12)), &[]),
        ((Unbounded, Excluded(0)), &[]),
        ((Unbounded, Included(3)), &[]),
    ];
    for (range, expected) in rows {
        assert_eq!(indexes(&rig.log(), range).unwrap(), expected, "{range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "such a range is what is tested")]
    let backwards = 14..=10;
    assert_eq!(rig.log().entries(backwards, 1).unwrap(), []);
}

#[test]
fn a_range_that_begins_in_the_purged_prefix_says_so() {
    let rig = filled();
    for first in [0, 1, 8, 9] {
        let error = rig.log().entries(first.., u64::MAX).unwrap_err();
        let named = matches!(error, Error::Purged { index, purged, .. }
            if index == first && purged == id(2, 9));
        assert!(named, "{error}");
        let error = rig.log().scan(first..).next().unwrap().unwrap_err();
        assert!(matches!(error, Error::Purged { .. }), "{error}");
        assert!(matches!(rig.log().entry(first), Err(Error::Purged { .. })));
    }
    let mut scan = rig.log().scan(3..);
    assert!(scan.next().unwrap().is_err());
    assert!(scan.next().is_none(), "a scan ends after its first error");
}

#[test]
fn a_range_that_begins_before_a_log_without_boundary_is_unavailable() {
    let rig = Rig::holding(&[(1, 5), (1, 6)]);
    for first in [0, 4] {
        let error = rig.log().entries(first.., u64::MAX).unwrap_err();
        assert!(matches!(error, Error::Unavailable { index, .. } if index == first), "{error}");
        assert!(matches!(rig.log().entry(first), Err(Error::Unavailable { .. })));
        assert!(matches!(rig.log().term(first), Err(Error::Unavailable { .. })));
    }
}

#[test]
fn a_log_that_is_empty_answers_with_nothing() {
    let mut rig = Rig::new();
    let log = rig.log();
    assert_eq!(log.entries(.., u64::MAX).unwrap(), []);
    assert_eq!(log.entries(5.., u64::MAX).unwrap(), []);
    assert_eq!(log.scan(..).count(), 0);
    assert!(matches!(log.entry(0), Err(Error::Unavailable { .. })));
    assert_eq!((log.first_index().unwrap(), log.last().unwrap()), (None, None));
    assert_eq!((log.len().unwrap(), log.is_empty().unwrap()), (0, true));
    log.purge_through(id(3, 9), Durability::Synced).unwrap();
    rig.reopen().unwrap();
    let log = rig.log();
    assert_eq!(log.entries(.., u64::MAX).unwrap(), []);
    assert_eq!(log.entries(10.., u64::MAX).unwrap(), []);
    assert!(matches!(log.entries(9.., u64::MAX), Err(Error::Purged { .. })));
    assert!(matches!(log.entry(10), Err(Error::Unavailable { .. })));
}

#[test]
fn limits_count_payload_and_give_at_least_one_entry() {
    let rig = Rig::new();
    let lens = [10, 0, 5, 5, 0, 100, 1];
    let entries: Vec<_> =
        (0..).zip(lens).map(|(index, len)| Entry::new(1, index, vec![9; len])).collect();
    rig.log().append(entries.clone(), Durability::Synced).unwrap();
    let rows = [
        (0, 0, 2),
        (0, 9, 2),
        (0, 10, 2),
        (0, 14, 2),
        (0, 15, 3),
        (0, 20, 5),
        (0, 119, 5),
        (0, 120, 6),
        (0, 121, 7),
        (0, u64::MAX, 7),
        (5, 0, 1),
        (4, 1, 1),
        (6, 0, 1),
    ];
    for (first, limit, count) in rows {
        let found = rig.log().entries(first.., limit).unwrap();
        let from = usize::try_from(first).unwrap();
        assert_eq!(found, entries[from..from + count], "{limit} from {first}");
    }
}

#[test]
fn a_hole_is_an_error_and_never_the_end() {
    for hole in [10, 12, 14] {
        let mut rig = filled();
        rig.log().append(run(7, 15..=16), Durability::Synced).unwrap();
        rig.edit(|_, batch| batch.remove_entries(life(R, 0), hole, hole));
        rig.open().unwrap();
        let log = rig.log();
        for (first, last) in [(10, 16), (10, hole), (hole, hole), (hole, u64::MAX)] {
            let error = log.entries(first..=last, u64::MAX).unwrap_err();
            let named = matches!(error, Error::Corrupt { index, .. } if index == hole);
            assert!(named, "{first}..={last} without {hole}: {error}");
        }
        assert!(matches!(log.entry(hole), Err(Error::Corrupt { index, .. }) if index == hole));
        let scanned: Vec<_> = log.scan(10..).collect();
        assert!(matches!(scanned[..], [Err(Error::Corrupt { .. })]));
        assert_eq!(log.entries(hole + 1.., u64::MAX).unwrap().len() as u64, 16 - hole);
        assert_eq!(log.entries(10..hole, u64::MAX).unwrap().len() as u64, hole - 10);
    }
}

/// The record is intact and not the one that was appended: memory knows better.
#[test]
fn an_entry_of_another_term_than_the_state_says_is_never_served() {
    for term in [1, 2, 5, u64::MAX] {
        let mut rig = filled();
        rig.edit(|engine, batch| {
            let key = life(R, 0).at(12);
            let fields = raw::fields(&engine.entry(key).unwrap().unwrap());
            let record = raw::entry_record(key, raw::Fields { term, ..fields }, b"other");
            batch.put_entry(key, &[&record]).unwrap();
        });
        rig.open().unwrap();
        for answer in [rig.log().entries(.., u64::MAX), rig.log().entries(12..=12, 0)] {
            let error = answer.unwrap_err();
            assert!(matches!(error, Error::Corrupt { index: 12, .. }), "{error}");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_record_is_noticed() {
    let mut rig = filled();
    rig.close();
    let key = life(R, 0).at(12);
    let mut intact = Vec::new();
    rig.edit(|engine, _| intact = engine.entry(key).unwrap().unwrap().to_vec());
    for bit in 0..intact.len() * 8 {
        let mut record = intact.clone();
        record[bit / 8] ^= 1 << (bit % 8);
        rig.edit(|_, batch| batch.put_entry(key, &[&record]).unwrap());
        rig.open().unwrap();
        for answer in [rig.log().entries(.., u64::MAX), rig.log().entries(12.., 0)] {
            let error = answer.unwrap_err();
            assert!(matches!(error, Error::Corrupt { replica: R, index: 12, .. }), "{error}");
        }
        let report = rig.store().check().unwrap();
        assert_eq!(report.problems.len(), 1, "{}", common::described(&report));
    }
    for len in 0..intact.len() {
        rig.edit(|_, batch| batch.put_entry(key, &[&intact[..len]]).unwrap());
        rig.open().unwrap();
        assert!(matches!(rig.log().entry(12), Err(Error::Corrupt { index: 12, .. })), "{len}");
    }
}

#[test]
fn terms_of_entries_and_of_the_boundary_are_known() {
    let mut rig = filled();
    rig.reopen().unwrap();
    let log = rig.log();
    let terms: Vec<_> = (9..=14).map(|index| log.term(index).unwrap()).collect();
    assert_eq!(terms, [2, 2, 2, 4, 4, 7]);
    for index in [0, 8] {
        assert!(matches!(log.term(index), Err(Error::Purged { .. })));
    }
    for index in [15, u64::MAX] {
        assert!(matches!(log.term(index), Err(Error::Unavailable { .. })));
    }
    let bounds =
        |term| (log.first_index_of_term(term).unwrap(), log.last_index_of_term(term).unwrap());
    let expected = [
        (0, (None, None)),
        (1, (None, None)),
        (2, (Some(10), Some(11))),
        (3, (None, None)),
        (4, (Some(12), Some(13))),
        (7, (Some(14), Some(14))),
        (8, (None, None)),
    ];
    for (term, expected) in expected {
        assert_eq!(bounds(term), expected, "{term}");
    }
}

#[test]
fn the_first_conflict_is_the_first_id_that_is_not_held() {
    let rig = filled();
    let log = rig.log();
    let conflict = |ids: &[(u64, u64)]| {
        let ids: Vec<_> = ids.iter().map(|&(term, index)| LogId::new(term, index)).collect();
        log.find_conflict(&ids).unwrap().map(|id| (id.term, id.index))
    };
    assert_eq!(conflict(&[]), None);
    assert_eq!(conflict(&[(9, 3), (2, 9), (2, 10), (7, 14)]), None);
    assert_eq!(conflict(&[(3, 9), (2, 10)]), Some((3, 9)));
    assert_eq!(conflict(&[(2, 11), (3, 12), (9, 14)]), Some((3, 12)));
    assert_eq!(conflict(&[(7, 14), (7, 15)]), Some((7, 15)));
    assert_eq!(Rig::new().log().find_conflict(&[id(0, 0)]).unwrap(), Some(id(0, 0)));
}

/// Held against a search through all ids, for every index and term.
#[test]
fn agreement_is_the_highest_id_within_index_and_term() {
    let emptied = Rig::holding(&[(2, 4)]);
    emptied.log().purge_through(id(2, 4), Durability::Synced).unwrap();
    for rig in [filled(), emptied, Rig::new(), Rig::holding(&[(3, 0), (3, 1), (8, 2)])] {
        let log = rig.log();
        let mut held: Vec<_> = log.purged().unwrap().map(|purged| purged.id).into_iter().collect();
        held.extend(ids(&log).into_iter().map(|(term, index)| id(term, index)));
        for index in (0..18).chain([u64::MAX]) {
            for term in (0..10).chain([u64::MAX]) {
                let within = |held: &&LogId| held.index <= index && held.term <= term;
                let expected = held.iter().rfind(within).copied();
                assert_eq!(log.find_agreement(index, term).unwrap(), expected, "{index} {term}");
            }
        }
    }
}

fn long() -> Rig {
    let rig = Rig::new();
    let entries: Vec<_> = (1..=50).map(|index| Entry::new(1, index, vec![1; 100_000])).collect();
    rig.log().append(entries, Durability::Synced).unwrap();
    rig
}

#[test]
fn a_scan_of_many_pages_brings_every_entry_once() {
    let rig = long();
    let found: Vec<_> = rig.log().scan(3..).map(|entry| entry.unwrap().id.index).collect();
    assert_eq!(found, (3..=50).collect::<Vec<_>>());
}

/// Scans up to an entry in the first page, changes the log, and answers how the scan goes on.
fn overtaken(change: impl FnOnce(&Log)) -> (Vec<LogId>, Option<Error>) {
    let rig = long();
    let mut scan = rig.log().scan(..);
    let mut found: Vec<_> = scan.by_ref().take(2).map(|entry| entry.unwrap().id).collect();
    change(&rig.log());
    let mut end = None;
    for answer in scan {
        match answer {
            Ok(entry) => found.push(entry.id),
            Err(error) => end = Some(error),
        }
    }
    assert!(found.iter().zip(1..).all(|(id, index)| id.index == index), "{found:?}");
    (found, end)
}

#[test]
fn a_scan_that_is_overtaken_ends_in_an_error_and_never_mixes_two_tails() {
    let (_, end) = overtaken(|log| log.purge_through(id(1, 30), Durability::Synced).unwrap());
    assert!(matches!(end, Some(Error::Purged { .. })), "{end:?}");
    let (found, end) = overtaken(|log| log.purge_through(id(1, 5), Durability::Synced).unwrap());
    assert_eq!((found.len(), end.is_none()), (50, true));
    let (_, end) = overtaken(|log| log.truncate_from(4, Durability::Synced).unwrap());
    assert!(matches!(end, Some(Error::Unavailable { .. })), "{end:?}");
    let (found, end) =
        overtaken(|log| log.replace_from(run(2, 4..=60), Durability::Synced).unwrap());
    assert!(matches!(end, Some(Error::IdMismatch { .. })), "{end:?}");
    assert!(found.iter().all(|id| id.term == 1));
    let (found, end) =
        overtaken(|log| log.replace_from(run(2, 40..=60), Durability::Synced).unwrap());
    assert!(end.is_none(), "entries that were not yet brought may be the new ones");
    assert_eq!(found.last(), Some(&id(2, 60)));
    let (found, end) = overtaken(|log| log.install(id(3, 70), Durability::Synced).unwrap());
    assert!(matches!(end, Some(Error::Purged { .. })), "{end:?}");
    assert!(found.iter().all(|id| id.term == 1));
    let (found, end) = overtaken(|log| {
        log.install(id(3, 70), Durability::Synced).unwrap();
        let mut batch = kvlogdb_log::LogBatch::new();
        batch.reset(R).append(R, run(4, 0..=60));
        log.store().write(&batch, Durability::Synced).unwrap();
    });
    assert!(matches!(end, Some(Error::IdMismatch { .. })), "{end:?}");
    assert!(found.iter().all(|id| id.term == 1));
}

#[test]
fn own_writes_are_read_before_any_sync() {
    let rig = Rig::new();
    for index in 1..=20 {
        rig.log().append(vec![entry(1, index)], Durability::Buffered).unwrap();
        assert_eq!(rig.log().entry(index).unwrap(), entry(1, index));
        assert_eq!(rig.log().last_index().unwrap(), Some(index));
    }
}

#[test]
fn a_full_range_over_few_entries_is_small() {
    let rig = Rig::holding(&[(1, 0), (1, 1)]);
    assert_eq!(rig.log().entries(0..=u64::MAX, u64::MAX).unwrap().len(), 2);
    assert!(rig.log().entries(0..=u64::MAX, u64::MAX).unwrap().capacity() <= 64);
}
