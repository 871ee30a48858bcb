//! Readers beside a writer: every answer is a log that was, or says why there is none.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{N, R, Random, Rig, run};
use kvlogdb_log::{Durability, Entry, Error, Log, LogBatch, LogId};

/// Ends the readers when the writer is done, and also when it has failed.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An entry that names the one before it: entries of two logs cannot be chained.
fn linked(before: LogId, term: u64) -> Entry {
    let payload = [before.term.to_le_bytes(), before.index.to_le_bytes()].concat();
    Entry::new(term, before.index + 1, payload)
}

fn chain(mut before: LogId, term: u64, count: u64) -> Vec<Entry> {
    (0..count)
        .map(|_| {
            let entry = linked(before, term);
            before = entry.id;
            entry
        })
        .collect()
}

fn assert_chained(entries: &[Entry]) {
    for pair in entries.windows(2) {
        let expected = linked(pair[0].id, pair[1].id.term);
        assert_eq!(pair[1], expected, "behind {}", pair[0].id);
    }
}

/// Changes a log in every way for a while; every term is used once.
fn write(log: &Log, random: &mut Random, until: Instant) {
    let mut ids = vec![LogId::new(0, 0)];
    let mut term = 1;
    while Instant::now() < until {
        term += 1;
        let len = ids.len() as u64;
        let at = usize::try_from(len - 1 - random.below(len.min(6))).unwrap();
        let before = ids[at];
        match random.below(10) {
            0..4 => {
                let fresh = chain(*ids.last().unwrap(), term, 1 + random.below(20));
                ids.extend(fresh.iter().map(|entry| entry.id));
                log.append(fresh, Durability::Buffered).unwrap();
            }
            4..6 => {
                let fresh = chain(before, term, 1 + random.below(9));
                ids.truncate(at + 1);
                ids.extend(fresh.iter().map(|entry| entry.id));
                log.replace_from(fresh, Durability::Buffered).unwrap();
            }
            6 => {
                log.truncate_from(before.index + 1, Durability::Buffered).unwrap();
                ids.truncate(at + 1);
            }
            7 => {
                log.purge_through(ids[0], Durability::Buffered).unwrap();
                let middle = ids.len() / 2;
                log.purge_through(ids[middle], Durability::Buffered).unwrap();
                ids.drain(..middle);
            }
            8 => {
                let to = LogId::new(term, ids.last().unwrap().index + 5);
                log.install(to, Durability::Buffered).unwrap();
                ids = vec![to];
            }
            _ => {
                let mut batch = LogBatch::new();
                let base = LogId::new(term, random.below(40));
                let fresh = chain(base, term, 30);
                batch.remove_replica(R).install(R, base).append(R, fresh.clone());
                log.store().write(&batch, Durability::Buffered).unwrap();
                ids = vec![base];
                ids.extend(fresh.iter().map(|entry| entry.id));
            }
        }
    }
}

/// Reads in every way; counts the answers with entries.
fn read(log: &Log, random: &mut Random, done: &AtomicBool) -> u64 {
    let mut answers = 0;
    while !done.load(Ordering::Relaxed) {
        let first = log.first_index().unwrap().unwrap_or(0) + random.below(20);
        let answer = match random.below(4) {
            0 => log.entries(.., u64::MAX),
            1 => log.entries(first.., 100),
            2 => log.entry(first).map(|entry| vec![entry]),
            _ => log.scan(first..).collect(),
        };
        match answer {
            Ok(entries) => {
                assert_chained(&entries);
                answers += u64::from(!entries.is_empty());
            }
            Err(Error::Purged { .. } | Error::Unavailable { .. } | Error::IdMismatch { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        match log.term(first) {
            Ok(_) | Err(Error::Purged { .. } | Error::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    answers
}

#[test]
fn readers_beside_a_writer_see_a_log_that_was_and_never_damage() {
    let rig = Rig::new();
    rig.log().install(LogId::new(0, 0), Durability::Synced).unwrap();
    let done = AtomicBool::new(false);
    let answers: u64 = thread::scope(|scope| {
        let (rig, done) = (&rig, &done);
        let readers: Vec<_> = (1..4)
            .map(|seed| scope.spawn(move || read(&rig.log(), &mut Random(seed), done)))
            .collect();
        let writing = Done(done);
        write(&rig.log(), &mut Random(9), Instant::now() + Duration::from_millis(700));
        drop(writing);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(answers > 100, "{answers}");
    common::assert_clean(rig.store());
}

#[test]
fn writers_of_many_replicas_do_not_disturb_each_other() {
    let mut rig = Rig::new();
    thread::scope(|scope| {
        for group in 0..4u64 {
            let log = rig.store().log(group.into());
            scope.spawn(move || {
                for index in 1..=300 {
                    log.append(run(group, index..=index), Durability::Buffered).unwrap();
                    if index % 50 == 0 {
                        log.purge_through(LogId::new(group, index - 10), Durability::Buffered)
                            .unwrap();
                    }
                }
            });
        }
    });
    for group in 0..4u64 {
        let found = common::ids(&rig.store().log(group.into()));
        assert_eq!(found, (291..=300).map(|index| (group, index)).collect::<Vec<_>>());
    }
    rig.settle();
}

/// Two replicas change in every batch. A reader that asks for the second after the first may be
/// behind, and never sees more of the first than of the second.
#[test]
fn a_batch_over_two_replicas_is_seen_whole() {
    let rig = Rig::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (rig, done) = (&rig, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let one = rig.log().last_index().unwrap();
                let two = rig.store().log(N).last_index().unwrap();
                assert!(one <= two, "{one:?} and then {two:?}");
            }
        });
        let _writing = Done(done);
        for index in 1..=2000 {
            let mut batch = LogBatch::new();
            batch.append(R, run(1, index..=index)).append(N, run(1, index..=index));
            rig.store().write(&batch, Durability::Buffered).unwrap();
        }
    });
}

#[test]
fn readers_beside_a_reopening_are_served_or_told() {
    let rig = Rig::new();
    rig.log().append(run(1, 1..=50), Durability::Synced).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (rig, done) = (&rig, &done);
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    match rig.log().entries(.., u64::MAX) {
                        Ok(entries) => assert_eq!(entries.len(), 50),
                        Err(Error::Engine(kvlogdb_engine_api::Error::Closed)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let _writing = Done(done);
        for _ in 0..200 {
            let report = rig.store().reopen().unwrap();
            assert_eq!(report[0].last_after, Some(50));
        }
    });
}
