//! What an observer hears of a store, and that it can do no harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use common::faulty::Fault;
use common::raw;
use common::{
    N, R, Rig, batch, eventually, id, ids, immediate, is_poisoned, run, unhurried, within_patience,
};
use kvlogdb_log::{
    Durability, Entry, Error, Event, LogOptions, LogStore, Observer, ReplicaId, Strategy, WhenFull,
};

/// Keeps what it hears.
#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    fn on(mut options: LogOptions) -> (Arc<Self>, LogOptions) {
        let heard = Arc::new(Self::default());
        options.observer = Some(Arc::clone(&heard) as _);
        (heard, options)
    }

    /// The events for which `pick` gives something, in the order in which they were heard.
    fn all<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.0.lock().unwrap().iter().filter_map(pick).collect()
    }

    /// The one event for which `pick` gives something, which may be on its way.
    fn one<T: std::fmt::Debug>(&self, pick: impl Fn(&Event) -> Option<T>) -> T {
        eventually(|| !self.all(&pick).is_empty());
        let mut found = self.all(pick);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.all(|event| is(event).then_some(())).len()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// A store with an observer that has forgotten how it was opened.
fn observed(options: LogOptions) -> (Rig, Arc<Heard>) {
    let (heard, options) = Heard::on(options);
    let rig = Rig::with(options);
    heard.clear();
    (rig, heard)
}

/// Entries with payloads of ten bytes.
fn tens(term: u64, range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| Entry::new(term, index, vec![1; 10])).collect()
}

#[test]
fn a_batch_is_told_with_its_sizes_when_accepted_and_when_committed() {
    let (mut rig, heard) = observed(immediate());
    rig.write(|batch| batch.append(R, tens(1, 1..=3)).append(N, tens(1, 1..=2))).unwrap();
    rig.close();
    let accepted = heard.one(|event| match event {
        Event::Accepted { entries, entry_bytes, queue, .. } => {
            Some((*entries, *entry_bytes, queue.batches, queue.entries, queue.bytes > 50))
        }
        _ => None,
    });
    assert_eq!(accepted, (5, 50, 1, 5, true));
    let committed = heard.one(|event| match event {
        Event::Committed {
            batches,
            appends,
            entries,
            entry_bytes,
            bytes,
            durability,
            durable_batches,
            queue,
            ..
        } => {
            assert!(*bytes > 50 + 5 * 32, "{bytes}");
            assert_eq!(queue.batches, 0);
            let counts = (*batches, *appends, *entries, *entry_bytes);
            Some((counts, *durability, *durable_batches))
        }
        _ => None,
    });
    assert_eq!(committed, ((1, 1, 5, 50), Durability::Synced, 1));
}

#[test]
fn a_sync_tells_how_many_earlier_batches_it_made_durable() {
    let (mut rig, heard) = observed(immediate());
    for index in 1..=3 {
        rig.log().append(tens(1, index..=index), Durability::Buffered).unwrap();
    }
    rig.store().settle().unwrap();
    rig.close();
    let durable = heard.all(|event| match event {
        Event::Committed { batches, durability, durable_batches, .. } => {
            assert_eq!(*durability == Durability::Synced, *durable_batches > 0);
            Some((*batches, *durable_batches))
        }
        _ => None,
    });
    let sums = durable.iter().fold((0, 0), |sums, next| (sums.0 + next.0, sums.1 + next.1));
    assert_eq!(sums, (4, 4), "three appends and the sync itself: {durable:?}");
}

#[test]
fn commits_are_told_in_their_order() {
    let (mut rig, heard) = observed(immediate());
    rig.faults.take_puts();
    thread::scope(|scope| {
        for group in 0..8 {
            let log = rig.store().log(ReplicaId::from(group));
            scope.spawn(move || {
                let mut next = 1;
                for round in 0..100 {
                    let count = group * 16 + round % 16 + 1;
                    log.append(tens(1, next..=next + count - 1), Durability::Synced).unwrap();
                    next += count;
                }
            });
        }
    });
    rig.close();
    let told = heard.all(|event| match event {
        Event::Committed { entries, .. } => Some(*entries),
        _ => None,
    });
    let mut written = rig.faults.take_puts();
    written.retain(|puts| *puts > 0);
    assert_eq!(told, written);
}

#[test]
fn the_event_of_a_commit_comes_before_the_callbacks_of_its_batches() {
    let (mut rig, heard) = observed(immediate());
    for round in 1..=50 {
        let (heard, before) = (Arc::clone(&heard), Arc::new(OnceLock::new()));
        let found = Arc::clone(&before);
        let callback = move |_: Result<&[_], _>| {
            let commits = heard.count(|event| matches!(event, Event::Committed { .. }));
            found.set(commits).unwrap();
        };
        let batch = batch(|batch| batch.append(R, run(1, round..=round)));
        rig.store().submit_with(&batch, WhenFull::Wait, callback).unwrap();
        eventually(|| before.get().is_some());
        assert_eq!(before.get().copied().map(|commits| commits as u64), Some(round));
    }
    rig.close();
}

#[test]
fn the_later_failure_of_a_batch_that_nobody_waits_for_is_told() {
    for strategy in [Strategy::DiskFirst, Strategy::MemFirst { memory_bytes: 1 << 20 }] {
        let mut options = immediate();
        options.strategy = strategy;
        expect_the_later_failure(options);
    }
}

fn expect_the_later_failure(options: LogOptions) {
    let (mut rig, heard) = observed(options);
    rig.faults.set(Fault::WriteLost, 0);
    rig.log().append(tens(1, 1..=3), Durability::Buffered).unwrap();
    let failed = heard.one(|event| match event {
        Event::Failed { batches, unheard_batches, entries, cause, .. } => {
            Some((*batches, *unheard_batches, *entries, cause.to_string()))
        }
        _ => None,
    });
    assert_eq!((failed.0, failed.1, failed.2), (1, 1, 3));
    let cause = heard.one(|event| match event {
        Event::Poisoned { cause, .. } => Some(cause.to_string()),
        _ => None,
    });
    assert_eq!(cause, failed.3);
    assert!(is_poisoned(&rig.log().append(tens(1, 1..=3), Durability::Buffered)));
    rig.store().reopen().unwrap();
    let reopened = heard.one(|event| match event {
        Event::Reopened { replicas, damaged, shortened, .. } => {
            Some((*replicas, *damaged, *shortened))
        }
        _ => None,
    });
    assert_eq!(reopened, (0, 0, 1), "three entries are gone");
    rig.close();
    let closed = heard.one(|event| match event {
        Event::Closed { failure, .. } => Some(failure.clone()),
        _ => None,
    });
    assert_eq!(closed, None);
}

#[test]
fn a_close_that_fails_is_told_with_what_it_loses_although_nobody_listens() {
    let (rig, heard) = observed(immediate());
    rig.log().append(tens(1, 1..=3), Durability::Buffered).unwrap();
    rig.faults.set(Fault::Close, 0);
    drop(rig);
    let failed = heard.one(|event| match event {
        Event::Failed { unheard_batches, entries, .. } => Some((*unheard_batches, *entries)),
        _ => None,
    });
    assert_eq!(failed, (1, 3));
    let closed = heard.one(|event| match event {
        Event::Closed { failure, .. } => Some(failure.clone()),
        _ => None,
    });
    assert!(closed.unwrap().contains("a fault of the test"));
}

#[test]
fn a_full_queue_and_the_wait_for_room_are_told() {
    let mut options = immediate();
    options.queue_entries = 4;
    let (mut rig, heard) = observed(options);
    rig.faults.gate.shut();
    let first = rig.submit(|batch| batch.append(N, run(1, 1..=1)));
    rig.faults.gate.await_writer();
    let second = rig.submit(|batch| batch.append(R, run(1, 1..=4)));
    let third = batch(|batch| batch.append(R, run(1, 5..=5)));
    let answer = rig.store().submit(&third, WhenFull::Busy);
    assert!(matches!(answer, Err(Error::Busy)));
    let busy = heard.one(|event| match event {
        Event::Busy { queue, .. } => Some((queue.batches, queue.entries)),
        _ => None,
    });
    assert_eq!(busy, (1, 4));
    let pause = Duration::from_millis(30);
    thread::scope(|scope| {
        scope.spawn(|| rig.store().write(&third, Durability::Synced).unwrap());
        thread::sleep(2 * pause);
        rig.faults.gate.open();
    });
    first.wait().unwrap();
    second.wait().unwrap();
    rig.close();
    let waited = heard.one(|event| match event {
        Event::Waited { took, .. } => Some(*took),
        _ => None,
    });
    assert!(waited > pause, "{waited:?}");
}

#[test]
fn full_memory_is_told() {
    let mut options = immediate();
    options.strategy = Strategy::MemFirst { memory_bytes: 1000 };
    let (rig, heard) = observed(options);
    let answer = rig.log().append(tens(1, 1..=100), Durability::Buffered);
    let Err(Error::MemoryFull { needed_bytes, .. }) = answer else { panic!("{answer:?}") };
    let told = heard.one(|event| match event {
        Event::MemoryFull { needed_bytes, limit_bytes, .. } => Some((*needed_bytes, *limit_bytes)),
        _ => None,
    });
    assert_eq!(told, (needed_bytes, 1000));
    assert_eq!(heard.count(|event| matches!(event, Event::Accepted { .. })), 0);
}

#[test]
fn reads_tell_what_came_from_memory_and_evictions_what_went() {
    let mut options = immediate();
    options.cache_bytes = 1000;
    let (rig, heard) = observed(options);
    for index in 1..=100 {
        rig.log().append(tens(1, index..=index), Durability::Synced).unwrap();
    }
    let evicted = || {
        heard.all(|event| match event {
            Event::Evicted { bytes, cached_bytes, .. } => {
                assert!(*cached_bytes <= 1000 && *bytes > 0);
                Some(*bytes)
            }
            _ => None,
        })
    };
    let held = || {
        heard.all(|event| match event {
            Event::Committed { cached_bytes, .. } => Some(*cached_bytes),
            _ => None,
        })
    };
    eventually(|| held().len() == 100);
    let (last, each) = (*held().last().unwrap(), held()[0]);
    eventually(|| evicted().iter().sum::<usize>() + last == 100 * each);
    let in_memory = (last / each) as u64;
    for (range, from_memory) in [(101 - in_memory..=100, in_memory), (1..=5, 0)] {
        let count = rig.log().entries(range, u64::MAX).unwrap().len();
        let read = heard.one(|event| match event {
            Event::Read { replica, from_memory, from_engine, entry_bytes, .. } => {
                Some((*replica, *from_memory as u64, *from_engine, *entry_bytes))
            }
            _ => None,
        });
        let from_engine = count - usize::try_from(from_memory).unwrap();
        assert_eq!(read, (R, from_memory, from_engine, 10 * count));
        heard.clear();
    }
}

#[test]
fn what_goes_from_a_log_is_told_with_how_much_went() {
    let (rig, heard) = observed(immediate());
    rig.write(|batch| batch.append(R, run(1, 1..=20)).append(N, run(1, 1..=5))).unwrap();
    rig.write(|batch| batch.replace_from(R, run(2, 18..=18))).unwrap();
    rig.write(|batch| batch.purge_through(R, id(1, 7))).unwrap();
    rig.write(|batch| batch.install(R, id(3, 30)).reset(N)).unwrap();
    rig.write(|batch| batch.append(R, run(3, 31..=33)).append(N, run(1, 1..=2))).unwrap();
    rig.write(|batch| batch.remove_replica(R)).unwrap();
    let told = heard.all(|event| match event {
        Event::Truncated { replica, first, last, .. } => {
            Some(("truncated", *replica, *first, *last))
        }
        Event::Purged { replica, through, entries, .. } => {
            Some(("purged", *replica, through.index, *entries))
        }
        Event::Dropped { replica, entries, .. } => Some(("dropped", *replica, 0, *entries)),
        _ => None,
    });
    let expected = [
        ("truncated", R, 18, 20),
        ("purged", R, 7, 7),
        ("dropped", R, 0, 11),
        ("dropped", N, 0, 5),
        ("dropped", R, 0, 3),
    ];
    assert_eq!(told, expected);
    let deleted = || {
        heard.all(|event| match event {
            Event::Deleted { entries, waiting, .. } => Some((*entries, *waiting)),
            _ => None,
        })
    };
    let sum = || deleted().iter().map(|(entries, _)| entries).sum::<u64>();
    eventually(|| sum() == 7 + 11 + 5 + 3);
    assert_eq!(deleted().last().unwrap().1, 0);
}

#[test]
fn opening_and_marks_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = unhurried();
    options.sidecar = Some(dir.path().join("SEQ"));
    options.mark_interval = Duration::ZERO;
    let (heard, options) = Heard::on(options);
    let mut rig = Rig::with(options);
    let opened = |event: &Event| match event {
        Event::Opened { replicas, damaged, .. } => Some((*replicas, *damaged)),
        _ => None,
    };
    let marks = || {
        heard.all(|event| match event {
            Event::Marked { mark, .. } => Some(*mark),
            _ => None,
        })
    };
    assert_eq!(heard.one(opened), (0, 0));
    assert_eq!(marks(), [1], "a new store is marked");
    rig.log().append(run(1, 1..=3), Durability::Synced).unwrap();
    eventually(|| marks() == [1, 2]);
    rig.edit(|_, batch| batch.remove_entries(raw::life(R, 0), 1, 3));
    heard.clear();
    rig.open().unwrap();
    assert_eq!(heard.one(opened), (1, 1));
}

/// Panics whatever it hears.
struct Panicking;

impl Observer for Panicking {
    fn event(&self, _: &Event) {
        panic!("a panic of the test");
    }
}

#[test]
fn an_observer_that_panics_changes_nothing() {
    let mut options = immediate();
    options.observer = Some(Arc::new(Panicking));
    let mut rig = Rig::with(options);
    within_patience(move || {
        rig.log().append(run(1, 1..=9), Durability::Synced).unwrap();
        rig.submit(|batch| batch.replace_from(R, run(2, 8..=12))).wait().unwrap();
        rig.write(|batch| batch.purge_through(R, id(1, 4))).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let append = batch(|batch| batch.append(R, run(2, 13..=13)));
        let callback = move |durable: Result<&[_], _>| sender.send(durable.is_ok()).unwrap();
        rig.store().submit_with(&append, WhenFull::Wait, callback).unwrap();
        assert!(receiver.recv().unwrap());
        assert_eq!(ids(&rig.log()).len(), 9);
        rig.faults.set(Fault::WriteLost, 0);
        assert!(is_poisoned(&rig.log().append(run(2, 14..=14), Durability::Synced)));
        rig.store().reopen().unwrap();
        assert_eq!(rig.log().last_index().unwrap(), Some(13));
        rig.settle();
    });
}

/// Uses the store for every event that is not of its own making.
#[derive(Default)]
struct Busybody {
    store: OnceLock<LogStore>,
    within: Mutex<Option<thread::ThreadId>>,
    calls: Mutex<usize>,
}

impl Observer for Busybody {
    fn event(&self, event: &Event) {
        let Some(store) = self.store.get() else { return };
        let me = thread::current().id();
        if matches!(event, Event::Read { .. } | Event::Accepted { .. } | Event::Committed { .. }) {
            let mut within = self.within.lock().unwrap();
            if within.is_some() {
                return;
            }
            *within = Some(me);
            drop(within);
            let log = store.log(N);
            let next = log.last_index().unwrap().map_or(1, |last| last + 1);
            log.append(run(1, next..=next), Durability::Buffered).unwrap();
            assert_eq!(log.entries(next.., u64::MAX).unwrap().len(), 1);
            *self.calls.lock().unwrap() += 1;
            *self.within.lock().unwrap() = None;
        }
    }
}

#[test]
fn an_observer_may_use_the_store() {
    let observer = Arc::new(Busybody::default());
    let mut options = immediate();
    options.observer = Some(Arc::clone(&observer) as _);
    let rig = Rig::with(options);
    assert!(observer.store.set(rig.store().clone()).is_ok());
    within_patience(move || {
        thread::scope(|scope| {
            for group in 20..24 {
                let log = rig.store().log(ReplicaId::from(group));
                scope.spawn(move || {
                    for index in 1..=20 {
                        log.append(run(1, index..=index), Durability::Synced).unwrap();
                        assert_eq!(log.entry(index).unwrap().id.index, index);
                    }
                });
            }
        });
        rig.store().sync().unwrap();
        assert!(*observer.calls.lock().unwrap() > 0);
        assert!(rig.log().last_index().unwrap().is_none());
    });
}
