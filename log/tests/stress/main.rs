//! Many threads with replicas of their own, each against a reference, over one store with small
//! limits; and one more thread that checks, settles and syncs meanwhile.
//!
//! `KVLOGDB_SEED` repeats a run as far as threads allow.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../model/draw.rs"]
mod draw;
#[allow(dead_code, reason = "the model uses the rest")]
#[path = "../model/reference.rs"]
mod reference;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Random, Rig, unhurried, view};
use kvlogdb_log::{Durability, FlushPolicy, LogBatch, LogStore, ReplicaId, WhenFull};
use reference::Reference;

const THREADS: u64 = 4;
const REPLICAS: u64 = 3;
const STEPS: u64 = 1500;

type Mine = Vec<(ReplicaId, Reference)>;

/// How many batches were submitted with a callback, and how many callbacks were called.
#[derive(Default)]
struct Calls {
    submitted: AtomicU64,
    called: Arc<AtomicU64>,
}

fn run(store: &LogStore, seed: u64, thread: u64, calls: &Calls) -> Mine {
    let mut random = Random(seed ^ (thread << 32));
    let replica = |number| ReplicaId { group: 7, node: thread * REPLICAS + number };
    let mut mine: Mine =
        (0..REPLICAS).map(|number| (replica(number), Reference::default())).collect();
    for _ in 0..STEPS {
        let which = usize::try_from(random.below(REPLICAS)).unwrap();
        let (id, state) = &mut mine[which];
        let (mut batch, mut next, mut outcome) = (LogBatch::new(), state.clone(), Ok(()));
        for _ in 0..=random.below(3) {
            let change = draw::change(&mut random, &next);
            outcome = outcome.and_then(|()| next.apply(&change, false));
            change.add_to(&mut batch, *id);
        }
        let outcome = outcome.and_then(|()| next.settle());
        let answer = apply(store, &batch, &mut random, calls);
        assert_eq!(answer.is_ok(), outcome.is_ok(), "{answer:?} {outcome:?} {batch:?}");
        if outcome.is_ok() {
            *state = next;
        }
        if random.below(4) == 0 {
            assert_eq!(view(&store.log(*id)), state.view(), "{id}");
        }
        let (durable, last) = (store.log(*id).durable().unwrap(), state.last());
        let index = |id: Option<kvlogdb_log::Boundary>| id.map(|id| id.id.index);
        assert!(index(durable) <= index(last));
    }
    mine
}

fn apply(
    store: &LogStore,
    batch: &LogBatch,
    random: &mut Random,
    calls: &Calls,
) -> kvlogdb_log::Result<()> {
    match random.below(8) {
        0 => store.write(batch, Durability::Synced),
        1 => store.submit(batch, WhenFull::Wait)?.wait().map(drop),
        2 | 3 => store.submit(batch, WhenFull::Wait).map(drop),
        4 => {
            let called = Arc::clone(&calls.called);
            let callback = move |answer: kvlogdb_log::Result<&[_]>| {
                called.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
            };
            store.submit_with(batch, WhenFull::Wait, callback)?;
            calls.submitted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        _ => store.write(batch, Durability::Buffered),
    }
}

fn stress(flush: FlushPolicy, seed: u64) {
    let mut options = unhurried();
    (options.flush, options.mark_interval) = (flush, Duration::from_millis(2));
    (options.cache_bytes, options.queue_bytes, options.queue_entries) = (2_000, 20_000, 40);
    let mut rig = Rig::with(options);
    let (done, calls) = (AtomicBool::new(false), Calls::default());
    let all: Vec<Mine> = thread::scope(|scope| {
        let (store, calls, done) = (rig.store(), &calls, &done);
        let beside = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                common::assert_clean(store);
                store.settle().unwrap();
                store.sync().unwrap();
            }
        });
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || run(store, seed, thread, calls)))
            .collect();
        let all = threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>();
        done.store(true, Ordering::Relaxed);
        beside.join().unwrap();
        all.into_iter().map(Result::unwrap).collect()
    });
    rig.store().sync().unwrap();
    common::eventually(|| {
        calls.called.load(Ordering::Relaxed) == calls.submitted.load(Ordering::Relaxed)
    });
    for reopened in [false, true] {
        for (id, state) in all.iter().flatten() {
            let log = rig.store().log(*id);
            assert_eq!(view(&log), state.view(), "{id}, reopened: {reopened}");
            assert_eq!(log.durable().unwrap(), state.last(), "{id}");
        }
        rig.settle();
    }
    assert_eq!(rig.store().waiting_for_deletion(), 0);
}

#[test]
fn threads_beside_each_other_see_each_their_own_history() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = std::env::var("KVLOGDB_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seed = seed.unwrap_or_else(|| u64::from(clock.subsec_nanos()));
    println!("KVLOGDB_SEED={seed}");
    let interval = Duration::from_millis(1);
    for flush in [
        FlushPolicy::Immediate,
        FlushPolicy::Adaptive,
        FlushPolicy::Batch { entries: 10, interval },
    ] {
        stress(flush, seed);
    }
}
