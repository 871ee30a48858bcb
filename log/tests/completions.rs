//! Whoever waits for a batch hears of its end: in order, once, and whatever becomes of the store.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use common::faulty::Fault;
use common::{
    R, Rig, batch, entry, eventually, ids, immediate, is_poisoned, run, unhurried, within_patience,
};
use kvlogdb_engine_api::{Error as EngineError, MemoryDisk};
use kvlogdb_log::{Accepted, Durability, Error, LogBatch, LogStore, ReplicaId, Result, WhenFull};

/// Who was told what, in the order of the calls.
type Told = Arc<Mutex<Vec<(u64, bool)>>>;

fn append(group: u64, index: u64) -> LogBatch {
    batch(|batch| batch.append(group.into(), run(1, index..=index)))
}

fn submit_telling(store: &LogStore, number: u64, told: &Told) {
    let told = Arc::clone(told);
    let note = move |answer: Result<&[_]>| told.lock().unwrap().push((number, answer.is_ok()));
    store.submit_with(&append(1000 + number, 1), WhenFull::Wait, note).unwrap();
}

/// Waits for a future as plainly as can be: no runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

/// Everybody who can wait: callbacks 0 to 9, ten futures, ten blocked callers.
struct Crowd {
    told: Told,
    futures: Vec<thread::JoinHandle<Result<()>>>,
    blocked: Vec<thread::JoinHandle<Result<()>>>,
}

impl Crowd {
    /// All behind one commit that stands at the gate.
    fn wait_at(rig: &Rig) -> Self {
        rig.faults.gate.shut();
        let told = Told::default();
        submit_telling(rig.store(), 0, &told);
        rig.faults.gate.await_writer();
        let (mut futures, mut blocked) = (Vec::new(), Vec::new());
        for number in 1..10 {
            submit_telling(rig.store(), number, &told);
            let accepted = rig.store().submit(&append(2000 + number, 1), WhenFull::Wait).unwrap();
            futures.push(thread::spawn(move || block_on(accepted).map(drop)));
            let log = rig.store().log(ReplicaId::from(3000 + number));
            blocked.push(thread::spawn(move || log.append(run(1, 1..=1), Durability::Synced)));
        }
        eventually(|| rig.store().replicas().unwrap().len() == 28);
        Self { told, futures, blocked }
    }

    fn ends(self) -> Vec<Result<()>> {
        let all = self.futures.into_iter().chain(self.blocked);
        let answers: Vec<_> = within_patience(|| all.map(|one| one.join().unwrap()).collect());
        eventually(|| self.told.lock().unwrap().len() == 10);
        let numbers: Vec<_> = self.told.lock().unwrap().iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "in order and once");
        answers
    }

    fn all_told(&self, ok: bool) -> bool {
        self.told.lock().unwrap().iter().all(|(_, told)| *told == ok)
    }
}

#[test]
fn everybody_hears_of_success_in_order_and_once() {
    for options in [immediate(), unhurried()] {
        let mut rig = Rig::with(options);
        let crowd = Crowd::wait_at(&rig);
        assert_eq!(*crowd.told.lock().unwrap(), []);
        let told = Arc::clone(&crowd.told);
        rig.faults.gate.open();
        assert!(crowd.ends().iter().all(Result::is_ok));
        assert!(told.lock().unwrap().iter().all(|(_, ok)| *ok));
        rig.settle();
        assert_eq!(told.lock().unwrap().len(), 10, "nobody is told again");
    }
}

#[test]
fn everybody_hears_the_cause_of_a_failure_and_the_store_refuses_until_reopened() {
    for fault in [Fault::WriteLost, Fault::WriteDone, Fault::WritePanics] {
        let mut rig = Rig::with(immediate());
        let crowd = Crowd::wait_at(&rig);
        let told = Arc::clone(&crowd.told);
        rig.faults.set(fault, 0);
        rig.faults.gate.open();
        for answer in crowd.ends() {
            let Err(Error::Engine(EngineError::Poisoned { cause })) = answer else {
                panic!("{answer:?}")
            };
            let text = format!("{cause:?}");
            let expected = if fault == Fault::WritePanics { "panicked" } else { "a fault" };
            assert!(text.contains(expected), "{text}");
        }
        assert!(told.lock().unwrap().iter().all(|(_, ok)| !ok));
        assert!(is_poisoned(&rig.store().sync()) && is_poisoned(&rig.log().hard_state()));
        assert!(is_poisoned(&rig.store().submit(&append(5, 1), WhenFull::Busy)));
        rig.store().reopen().unwrap();
        let expected = usize::from(fault == Fault::WriteDone);
        assert_eq!(rig.store().replicas().unwrap().len(), expected, "whole or not at all");
        rig.log().append(run(1, 1..=1), Durability::Synced).unwrap();
        rig.settle();
        assert_eq!(told.lock().unwrap().len(), 10, "nobody is told again");
    }
}

#[test]
fn a_close_tells_everybody_before_it_returns() {
    let rig = Rig::with(immediate());
    let crowd = Crowd::wait_at(&rig);
    let store = rig.store().clone();
    let told = Arc::clone(&crowd.told);
    let closing = thread::spawn(move || {
        store.close().unwrap();
        told.lock().unwrap().len()
    });
    let closed =
        |answer: Result<Option<u64>>| matches!(answer, Err(Error::Engine(EngineError::Closed)));
    let refused = || rig.store().submit(&append(1, 1), WhenFull::Busy).is_err();
    eventually(refused);
    rig.faults.gate.open();
    assert_eq!(within_patience(move || closing.join().unwrap()), 10);
    assert!(crowd.all_told(true));
    assert!(crowd.ends().iter().all(Result::is_ok));
    assert!(closed(rig.log().last_index()));
}

#[test]
fn a_reopening_lets_what_waits_end_first() {
    let rig = Rig::with(immediate());
    let crowd = Crowd::wait_at(&rig);
    let store = rig.store().clone();
    let reopening = thread::spawn(move || store.reopen().map(drop));
    rig.faults.gate.open();
    within_patience(move || reopening.join().unwrap()).unwrap();
    let told = Arc::clone(&crowd.told);
    assert!(crowd.ends().iter().all(Result::is_ok));
    assert!(told.lock().unwrap().iter().all(|(_, ok)| *ok));
    assert_eq!(rig.store().replicas().unwrap().len(), 28);
}

#[test]
fn a_callback_that_panics_holds_nobody_up() {
    let mut rig = Rig::with(immediate());
    rig.faults.gate.shut();
    let told = Told::default();
    for number in 0..10 {
        let panics = |_: Result<&[_]>| panic!("a callback's own fault");
        rig.store().submit_with(&append(number, 1), WhenFull::Wait, panics).unwrap();
        submit_telling(rig.store(), number, &told);
    }
    rig.faults.gate.open();
    let store = rig.store().clone();
    within_patience(move || store.sync()).unwrap();
    eventually(|| told.lock().unwrap().len() == 10);
    rig.settle();
}

#[test]
fn a_waker_that_panics_holds_nobody_up() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker's own fault");
        }
    }
    let mut rig = Rig::with(immediate());
    rig.faults.gate.shut();
    let mut futures: Vec<Accepted> = (0..5)
        .map(|group| rig.submit(|batch| batch.append(ReplicaId::from(group), run(1, 1..=1))))
        .collect();
    let told = Told::default();
    submit_telling(rig.store(), 0, &told);
    let waker = Waker::from(Arc::new(Panics));
    for future in &mut futures {
        let poll = pin!(future).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    rig.faults.gate.open();
    let store = rig.store().clone();
    within_patience(move || store.sync()).unwrap();
    eventually(|| told.lock().unwrap().len() == 1);
    assert!(futures.iter().all(Accepted::is_done));
    drop(futures);
    rig.settle();
}

/// What a callback can do with its store.
type Use = fn(&LogStore) -> Result<()>;

#[test]
fn a_callback_may_use_the_store() {
    let uses: [Use; 8] = [
        |store| store.log(R).append(vec![entry(1, 1)], Durability::Buffered),
        |store| store.log(R).append(vec![entry(1, 1)], Durability::Synced),
        |store| {
            store
                .log(R)
                .append(vec![kvlogdb_log::Entry::new(1, 1, vec![0; 2 << 20])], Durability::Buffered)
        },
        |store| store.submit(&append(7, 1), WhenFull::Wait).map(drop),
        |store| store.check().map(drop),
        LogStore::settle,
        |store| store.reopen().map(drop),
        LogStore::close,
    ];
    for (number, store_use) in uses.into_iter().enumerate() {
        let mut rig = Rig::with(immediate());
        rig.faults.gate.shut();
        let (sender, receiver) = mpsc::channel();
        let store = rig.store().clone();
        let callback = move |_: Result<&[_]>| sender.send(store_use(&store)).unwrap();
        rig.store().submit_with(&append(1, 1), WhenFull::Wait, callback).unwrap();
        rig.faults.gate.await_writer();
        // Behind it, and so to be told after it.
        let told = Told::default();
        (0..3).for_each(|number| submit_telling(rig.store(), number, &told));
        let log = rig.store().log(ReplicaId::from(9));
        let beside = thread::spawn(move || log.append(run(1, 1..=1), Durability::Synced));
        eventually(|| rig.store().replicas().unwrap().len() == 5);
        rig.faults.gate.open();
        let answer = receiver.recv_timeout(std::time::Duration::from_secs(20));
        answer.unwrap_or_else(|_| panic!("use {number} does not end")).unwrap();
        within_patience(move || beside.join().unwrap()).unwrap();
        eventually(|| told.lock().unwrap().len() == 3);
        assert_eq!(*told.lock().unwrap(), [(0, true), (1, true), (2, true)]);
        rig.reopen().unwrap();
        rig.settle();
    }
}

#[test]
fn the_last_handle_may_go_within_a_callback_with_more_behind_it() {
    let disk = MemoryDisk::default();
    for _ in 0..50 {
        let other = disk.clone();
        let opener = move || Ok(Arc::new(other.open()?) as _);
        let store = LogStore::open(opener, immediate()).unwrap();
        let told = Told::default();
        let index = store.log(ReplicaId::from(1)).last_index().unwrap().unwrap_or(0) + 1;
        let first = batch(|batch| batch.append(ReplicaId::from(1), run(1, index..=index)));
        let handle = store.clone();
        let callback = move |_: Result<&[_]>| drop(handle);
        store.submit_with(&first, WhenFull::Wait, callback).unwrap();
        let second = Arc::clone(&told);
        let next = batch(|batch| batch.append(ReplicaId::from(1), run(1, index + 1..=index + 1)));
        let note = move |answer: Result<&[_]>| second.lock().unwrap().push((1, answer.is_ok()));
        store.submit_with(&next, WhenFull::Wait, note).unwrap();
        drop(store);
        eventually(|| told.lock().unwrap().len() == 1);
        assert_eq!(*told.lock().unwrap(), [(1, true)]);
        eventually(|| disk.open().is_ok());
    }
}

#[test]
fn callbacks_are_called_although_the_last_handle_goes_while_another_is() {
    let rig = Rig::with(immediate());
    let (began, inside) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let busy = move |_: Result<&[_]>| {
        began.send(()).unwrap();
        wait.recv().unwrap();
    };
    rig.store().submit_with(&append(1, 1), WhenFull::Wait, busy).unwrap();
    inside.recv().unwrap();
    let told = Told::default();
    for number in 0..3 {
        submit_telling(rig.store(), number, &told);
    }
    drop(rig);
    go.send(()).unwrap();
    eventually(|| *told.lock().unwrap() == [(0, true), (1, true), (2, true)]);
}

#[test]
fn a_batch_that_is_refused_calls_no_callback() {
    let rig = Rig::with(immediate());
    let called = Arc::new(AtomicBool::new(false));
    let inner = Arc::clone(&called);
    let gap = batch(|batch| batch.append(R, run(1, 1..=1)).append(R, run(1, 5..=5)));
    let callback = move |_: Result<&[_]>| inner.store(true, Ordering::Relaxed);
    let answer = rig.store().submit_with(&gap, WhenFull::Wait, callback);
    assert!(matches!(answer, Err(Error::Gap { .. })), "{answer:?}");
    rig.store().close().unwrap();
    assert!(!called.load(Ordering::Relaxed));
}

#[test]
fn a_listener_that_gives_up_changes_nothing() {
    let mut rig = Rig::with(immediate());
    rig.faults.gate.shut();
    drop(rig.submit(|batch| batch.append(R, run(1, 1..=3))));
    rig.faults.gate.open();
    rig.store().sync().unwrap();
    rig.settle();
    assert_eq!(ids(&rig.log()).len(), 3);
}

/// Stores are reopened and closed under load by several threads at once: every batch that was
/// accepted ends, and what the handles show is what is on the disk.
#[test]
fn concurrent_reopenings_lose_nothing_that_was_acknowledged() {
    let mut rig = Rig::with(immediate());
    let (done, ends) = (AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
    let accepted = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (store, done, ends, accepted) = (rig.store(), &done, &ends, &accepted);
        let writers: Vec<_> = (0..3u64)
            .map(|group| {
                scope.spawn(move || {
                    let log = store.log(group.into());
                    let mut mine = 0;
                    while mine < 100 {
                        let Ok(last) = log.last_index() else { continue };
                        let next = last.map_or(1, |last| last + 1);
                        let ends = Arc::clone(ends);
                        let callback = move |_: Result<&[_]>| {
                            ends.fetch_add(1, Ordering::Relaxed);
                        };
                        if store.submit_with(&append(group, next), WhenFull::Wait, callback).is_ok()
                        {
                            accepted.fetch_add(1, Ordering::Relaxed);
                            mine += 1;
                        }
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    store.reopen().unwrap();
                    thread::yield_now();
                }
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let accepted = accepted.into_inner();
    eventually(|| ends.load(Ordering::Relaxed) == accepted);
    let lens = (0..3).map(|group| rig.store().log(ReplicaId::from(group)).len().unwrap());
    assert_eq!(lens.sum::<u64>(), accepted as u64);
    rig.settle();
    assert_eq!(ends.load(Ordering::Relaxed), accepted);
}
