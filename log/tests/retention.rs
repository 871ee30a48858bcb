//! Retention: what may go by count, bytes and age, and never above what the caller allows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvlogdb_engine_api::MemoryEngine;
use kvlogdb_log::{Durability, Entry, Log, LogId, LogOptions, LogStore, ReplicaId, Retention};

/// Every record is a header of 32 bytes and a payload of 68.
const RECORD_BYTES: u64 = 100;
const ALL: u64 = u64::MAX;

fn log(entries: u64) -> Log {
    let options = LogOptions::default();
    let store = LogStore::open(|| Ok(Arc::new(MemoryEngine::new())), options).unwrap();
    let log = store.log(ReplicaId::from(1));
    append(&log, 1..=entries);
    log
}

fn append(log: &Log, indexes: std::ops::RangeInclusive<u64>) {
    let entries: Vec<_> = indexes.map(|index| Entry::new(1, index, vec![0; 68])).collect();
    log.append(entries, Durability::Synced).unwrap();
}

fn went(log: &Log, keep: Retention, last_removable: u64) -> Option<u64> {
    let went = log.retain(&keep, last_removable, Durability::Synced).unwrap();
    let purged = log.purged().unwrap().map(|purged| purged.id);
    assert!(went.is_none() || went == purged, "{went:?} {purged:?}");
    went.map(|id| id.index)
}

fn by_count(entries: u64) -> Retention {
    Retention { max_entries: Some(entries), ..Retention::default() }
}

fn by_bytes(bytes: u64) -> Retention {
    Retention { max_bytes: Some(bytes), ..Retention::default() }
}

fn by_age(age: Duration) -> Retention {
    Retention { max_age: Some(age), ..Retention::default() }
}

#[test]
fn without_a_limit_nothing_goes() {
    let log = log(10);
    assert_eq!(went(&log, Retention::default(), ALL), None);
    assert_eq!(log.len().unwrap(), 10);
}

#[test]
fn a_count_is_kept_exactly_and_again() {
    for (keep, gone) in [(0, Some(10)), (1, Some(9)), (9, Some(1)), (10, None), (11, None)] {
        let log = log(10);
        assert_eq!(went(&log, by_count(keep), ALL), gone, "{keep}");
        assert_eq!(log.len().unwrap(), keep.min(10));
        assert_eq!(went(&log, by_count(keep), ALL), None);
    }
}

#[test]
fn bytes_are_kept_up_to_the_limit() {
    for (bytes, kept) in [
        (0, 0),
        (RECORD_BYTES - 1, 0),
        (RECORD_BYTES, 1),
        (2 * RECORD_BYTES - 1, 1),
        (7 * RECORD_BYTES, 7),
        (10 * RECORD_BYTES, 10),
        (u64::MAX, 10),
    ] {
        let log = log(10);
        went(&log, by_bytes(bytes), ALL);
        assert_eq!(log.len().unwrap(), kept, "{bytes}");
    }
}

#[test]
fn bytes_are_counted_right_behind_a_truncation_and_a_purge() {
    let log = log(20);
    log.truncate_from(11, Durability::Synced).unwrap();
    log.purge_through(LogId::new(1, 4), Durability::Synced).unwrap();
    append(&log, 11..=12);
    went(&log, by_bytes(3 * RECORD_BYTES), ALL);
    assert_eq!(log.first_index().unwrap(), Some(10));
}

#[test]
fn nothing_goes_above_what_the_caller_allows() {
    for keep in [by_count(1), by_bytes(0)] {
        let log = log(10);
        assert_eq!(went(&log, keep, 0), None);
        assert_eq!(went(&log, keep, 4), Some(4));
        assert_eq!(went(&log, keep, 4), None);
    }
}

#[test]
fn entries_go_by_age_once_they_are_old_enough() {
    let log = log(10);
    assert_eq!(went(&log, by_age(Duration::from_secs(3600)), ALL), None);
    let age = Duration::from_millis(50);
    let old = Instant::now();
    while old.elapsed() <= 2 * age {
        std::thread::yield_now();
    }
    let young = Instant::now();
    append(&log, 11..=12);
    let gone = went(&log, by_age(age), ALL);
    // Where the machine took its time, the young ones are old, too.
    assert!(gone == Some(10) || young.elapsed() > age && gone >= Some(10), "{gone:?}");
}

#[test]
fn the_strictest_limit_decides() {
    let log = log(10);
    let keep = Retention { max_entries: Some(8), max_bytes: Some(5 * RECORD_BYTES), max_age: None };
    assert_eq!(went(&log, keep, ALL), Some(5));
}

#[test]
fn an_empty_log_has_nothing_to_give() {
    let log = log(0);
    assert_eq!(went(&log, by_count(0), ALL), None);
    append(&log, 1..=3);
    assert_eq!(went(&log, by_count(0), ALL), Some(3));
    assert_eq!(went(&log, by_count(0), ALL), None);
}
