//! Stores that nothing happens to: who waits is told, in order, and memory keeps its limits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Unscheduled};

use kvlogdb_log::{
    Durability, Error, Event, LogBatch, LogId, LogOptions, LogStore, Observer, WhenFull,
};
use shuttle::future::block_on;
use shuttle::thread;

use crate::engine::Disk;
use crate::explore::explore;
use crate::ledger::{Ledger, expect_durable, expect_engine_order, expect_honest};
use crate::{A, B, C, D, append, draw, entries, ids, open, options};

/// Keeps how many entries every commit carried.
#[derive(Default)]
struct Commits(Unscheduled<Vec<usize>>);

impl Observer for Commits {
    fn event(&self, event: &Event) {
        if let Event::Committed { entries, .. } = event
            && *entries > 0
        {
            self.0.lock().unwrap().push(*entries);
        }
    }
}

#[test]
fn every_writer_hears_once_and_in_order_that_its_batch_is_durable() {
    explore(|| {
        let (disk, commits, ledger) =
            (Disk::default(), Arc::new(Commits::default()), Ledger::default());
        let mut options = options();
        options.observer = Some(Arc::clone(&commits) as _);
        let store = open(&disk, options);
        let blocked = {
            let (store, disk) = (store.clone(), disk.clone());
            thread::spawn(move || {
                for index in 1..=2 {
                    let log = store.log(A);
                    log.append(entries(1, index..=index), Durability::Synced).unwrap();
                    assert!(disk.past().durable.contains(&(A, LogId::new(1, index))));
                    assert!(log.durable().unwrap().unwrap().id.index >= index);
                }
            })
        };
        let called = [B, C].map(|replica| {
            let (store, disk, ledger) = (store.clone(), disk.clone(), ledger.clone());
            thread::spawn(move || {
                for index in 1..=2 {
                    let batch = append(replica, 1, index..=index);
                    let label = (replica.group, index);
                    ledger.submit(&store, &disk, label, &batch, || ()).unwrap();
                }
            })
        });
        let awaited = {
            let (store, disk) = (store.clone(), disk.clone());
            thread::spawn(move || {
                let accepted = store.submit(&append(D, 1, 1..=1), WhenFull::Wait).unwrap();
                let durable =
                    if draw(&[true, false]) { block_on(accepted) } else { accepted.wait() };
                let durable = durable.unwrap();
                assert_eq!(durable[0].last, Some(LogId::new(1, 1)));
                expect_durable(&disk, &durable);
            })
        };
        for replica in [A, B, C, D] {
            expect_honest(&store, &disk, replica);
        }
        for thread in called {
            thread.join().unwrap();
        }
        blocked.join().unwrap();
        awaited.join().unwrap();
        let told = ledger.await_all();
        assert!(told.iter().all(|(_, ok)| *ok));
        let told: Vec<_> =
            told.iter().map(|&((group, index), _)| (group.into(), LogId::new(1, index))).collect();
        expect_engine_order(&disk, &told);
        store.close().unwrap();
        let written: Vec<_> =
            disk.past().writes.iter().map(Vec::len).filter(|len| *len > 0).collect();
        assert_eq!(*commits.0.lock().unwrap(), written, "commits are told in their order");
    });
}

#[test]
fn what_nobody_waits_for_becomes_durable_all_the_same() {
    explore(|| {
        let disk = Disk::default();
        let mut options = options();
        let dir = tempfile::tempdir().unwrap();
        if draw(&[true, false]) {
            options.sidecar = Some(dir.path().join("SEQ"));
        }
        // Writers that find the queue full lead commits without a sync.
        options.queue_entries = draw(&[1, 100]);
        let store = open(&disk, options);
        let writers = [A, B].map(|replica| {
            let store = store.clone();
            thread::spawn(move || {
                for index in 1..=2 {
                    let entries = entries(1, index..=index);
                    store.log(replica).append(entries, Durability::Buffered).unwrap();
                }
            })
        });
        if draw(&[true, false]) {
            assert!(store.check().unwrap().is_clean());
        }
        for writer in writers {
            writer.join().unwrap();
        }
        for replica in [A, B] {
            let log = store.log(replica);
            while log.durable().unwrap().map(|durable| durable.id.index) != Some(2) {
                expect_honest(&store, &disk, replica);
                thread::yield_now();
            }
        }
        expect_honest(&store, &disk, A);
        expect_honest(&store, &disk, B);
    });
}

/// Counts how often the sidecar was written.
#[derive(Default)]
struct Marks(AtomicUsize);

impl Observer for Marks {
    fn event(&self, event: &Event) {
        self.0.fetch_add(usize::from(matches!(event, Event::Marked { .. })), Ordering::Relaxed);
    }
}

#[test]
fn a_write_is_marked_although_none_follows() {
    explore(|| {
        let (disk, marks) = (Disk::default(), Arc::new(Marks::default()));
        let dir = tempfile::tempdir().unwrap();
        let mut options = options();
        options.sidecar = Some(dir.path().join("SEQ"));
        options.observer = Some(Arc::clone(&marks) as _);
        let store = open(&disk, options);
        let before = marks.0.load(Ordering::Relaxed);
        store.log(A).append(entries(1, 1..=1), Durability::Synced).unwrap();
        while marks.0.load(Ordering::Relaxed) == before {
            thread::yield_now();
        }
    });
}

#[test]
fn a_late_completion_vouches_for_nothing_that_was_replaced() {
    explore(|| {
        let (disk, ledger) = (Disk::default(), Ledger::default());
        let store = open(&disk, options());
        store.log(A).append(entries(1, 1..=3), Durability::Synced).unwrap();
        let [one, two] = [1, 2].map(|writer| {
            let (store, disk, ledger) = (store.clone(), disk.clone(), ledger.clone());
            thread::spawn(move || {
                let mut batch = LogBatch::new();
                match writer {
                    1 => batch.append(A, entries(1, 4..=5)),
                    _ => batch.replace_from(A, entries(2, 3..=4)),
                };
                // The other writer may have been first.
                let _ = ledger.submit(&store, &disk, (writer, 1), &batch, || ());
                expect_honest(&store, &disk, A);
                if writer == 2 {
                    let batch = append(A, 2, 5..=5);
                    ledger.submit(&store, &disk, (writer, 2), &batch, || ()).unwrap();
                }
            })
        });
        for _ in 0..4 {
            expect_honest(&store, &disk, A);
        }
        one.join().unwrap();
        two.join().unwrap();
        ledger.await_all();
        expect_honest(&store, &disk, A);
        store.sync().unwrap();
        assert_eq!(ids(&store, A), [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5)]);
        assert_eq!(store.log(A).durable().unwrap(), store.log(A).last().unwrap());
    });
}

#[test]
fn entries_are_deleted_beside_appends_and_reads() {
    explore(|| {
        let disk = Disk::default();
        let store = open(&disk, options());
        store.log(A).append(entries(1, 1..=200), Durability::Synced).unwrap();
        let remove = draw(&[true, false]);
        let appended = if remove { B } else { A };
        let purger = {
            let store = store.clone();
            thread::spawn(move || {
                let mut batch = LogBatch::new();
                if remove {
                    batch.remove_replica(A).append(A, entries(1, 151..=200));
                } else {
                    batch.purge_through(A, LogId::new(1, 150));
                }
                store.write(&batch, draw(&[Durability::Synced, Durability::Buffered])).unwrap();
            })
        };
        let writer = {
            let store = store.clone();
            thread::spawn(move || {
                for index in 201..=202 {
                    let entries = entries(1, index..=index);
                    store.log(appended).append(entries, Durability::Synced).unwrap();
                }
            })
        };
        let read = store.log(A).entries(150..=160, u64::MAX);
        assert!(read.as_ref().is_ok_and(|read| read.len() == 11) || gone(&read), "{read:?}");
        purger.join().unwrap();
        writer.join().unwrap();
        finish_deletion(&store);
        assert!(store.check().unwrap().is_clean());
        let expected = |range: std::ops::RangeInclusive<u64>| range.map(|index| (1, index));
        assert!(ids(&store, appended).ends_with(&[(1, 201), (1, 202)]));
        assert!(ids(&store, A).into_iter().take(50).eq(expected(151..=200)));
        assert_eq!(store.check().unwrap().entries, 52);
    });
}

fn gone<T>(read: &Result<T, Error>) -> bool {
    matches!(read, Err(Error::Purged { .. } | Error::Unavailable { .. }))
}

/// Has the deletion finished by the call, or waits for the store's own thread.
fn finish_deletion(store: &LogStore) {
    if draw(&[true, false]) {
        return store.settle().unwrap();
    }
    while store.waiting_for_deletion() > 0 {
        thread::yield_now();
    }
    store.sync().unwrap();
}

/// Keeps the most entries that waited at any time.
#[derive(Default)]
struct Most(AtomicUsize);

impl Observer for Most {
    fn event(&self, event: &Event) {
        if let Event::Accepted { queue, .. } = event {
            self.0.fetch_max(queue.entries, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_full_queue_holds_writers_up_and_lets_each_of_them_in() {
    const LIMIT: usize = 2;
    const EACH: usize = 2;
    explore(|| {
        let (disk, most) = (Disk::default(), Arc::new(Most::default()));
        let mut options: LogOptions = options();
        options.observer = Some(Arc::clone(&most) as _);
        options.queue_entries = LIMIT;
        let store = open(&disk, options);
        let writers = [A, B, C].map(|replica| {
            let store = store.clone();
            thread::spawn(move || {
                for first in [1, 1 + EACH as u64] {
                    let batch = append(replica, 1, first..=first - 1 + EACH as u64);
                    match replica {
                        A => store.write(&batch, Durability::Synced).unwrap(),
                        B => drop(store.submit(&batch, WhenFull::Wait).unwrap()),
                        _ => press(&store, &batch),
                    }
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        store.sync().unwrap();
        for replica in [A, B, C] {
            assert_eq!(ids(&store, replica), [(1, 1), (1, 2), (1, 3), (1, 4)]);
        }
        assert!(most.0.load(Ordering::Relaxed) < LIMIT + EACH, "over the limit");
    });
}

/// Submits a batch as often as it takes.
fn press(store: &LogStore, batch: &LogBatch) {
    loop {
        match store.submit(batch, WhenFull::Busy) {
            Ok(_) => return,
            Err(Error::Busy) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}
