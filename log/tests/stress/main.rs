//! Many threads with replicas of their own, each against a reference, over one store with small
//! limits; and one more thread that checks, settles and syncs meanwhile.
//!
//! `KVLOGDB_SEED` repeats a run as far as threads allow.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

#[path = "../common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Rig, unhurried, view, wanted};
use kvlogdb_conformance::reference::{References, log_batch};
use kvlogdb_conformance::{Random, draw};
use kvlogdb_log::{
    Durability, FlushPolicy, LogBatch, LogStore, PurgeGuard, ReplicaId, Strategy, WhenFull,
};

const THREADS: u64 = 4;
const REPLICAS: u64 = 3;
const STEPS: u64 = 1500;

/// One thread's replicas and what they must hold.
type Mine = (Vec<ReplicaId>, References);

/// How many batches were submitted with a callback, and how many callbacks were called.
#[derive(Default)]
struct Calls {
    submitted: AtomicU64,
    called: Arc<AtomicU64>,
}

fn run(store: &LogStore, seed: u64, thread: u64, calls: &Calls) -> Mine {
    let mut random = Random::new(seed ^ (thread << 32));
    let replica = |number| ReplicaId { group: 7, node: thread * REPLICAS + number };
    let replicas: Vec<_> = (0..REPLICAS).map(replica).collect();
    let mut mine = References::default();
    for _ in 0..STEPS {
        let changes = draw::batch(&mut random, &replicas, &mine, PurgeGuard::None);
        let batch = log_batch(&changes).unwrap();
        let answer = apply(store, &batch, &mut random, calls);
        match mine.after(&changes, PurgeGuard::None) {
            Ok(next) => {
                answer.unwrap();
                mine = next;
            }
            Err(refusal) => assert!(answer.is_err(), "{refusal:?} {changes:?}"),
        }
        let id = *random.pick(&replicas);
        let state = mine.of(id);
        if random.below(4) == 0 {
            assert_eq!(view(&store.log(id)), wanted(&state), "{id}");
        }
        let (durable, last) = (store.log(id).durable().unwrap(), state.last());
        let index = |id: Option<kvlogdb_log::Boundary>| id.map(|id| id.id.index);
        assert!(index(durable) <= index(last));
    }
    (replicas, mine)
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

fn stress((strategy, flush): (Strategy, FlushPolicy), seed: u64) {
    let mut options = unhurried();
    (options.strategy, options.flush) = (strategy, flush);
    options.mark_interval = Duration::from_millis(2);
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
        for (replicas, mine) in &all {
            for &id in replicas {
                let (log, state) = (rig.store().log(id), mine.of(id));
                assert_eq!(view(&log), wanted(&state), "{id}, reopened: {reopened}");
                assert_eq!(log.durable().unwrap(), state.last(), "{id}");
            }
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
    for mode in common::modes() {
        stress(mode, seed);
    }
}
