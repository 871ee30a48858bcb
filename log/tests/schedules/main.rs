//! Accepting, combining and completing under explored schedules: every order in which threads may
//! go on is a test of its own. Built and run only with `--cfg shuttle`; see CONTRIBUTING.md.
#![cfg(shuttle)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod endings;
mod engine;
mod explore;
mod ledger;
mod orders;

use std::sync::Arc;
use std::time::Duration;

use kvlogdb_engine_api::{KvLogDb, Result as EngineResult};
use kvlogdb_log::{Entry, FlushPolicy, LogBatch, LogOptions, LogStore, ReplicaId, Strategy};
use shuttle::rand::{Rng, thread_rng};

use engine::Disk;

const A: ReplicaId = ReplicaId { group: 1, node: 0 };
const B: ReplicaId = ReplicaId { group: 2, node: 0 };
const C: ReplicaId = ReplicaId { group: 3, node: 0 };
const D: ReplicaId = ReplicaId { group: 4, node: 0 };

/// One of some things; which one is a part of the schedule.
fn draw<T: Clone>(all: &[T]) -> T {
    all[thread_rng().gen_range(0..all.len())].clone()
}

/// Some options, of every strategy and policy.
fn options() -> LogOptions {
    let mut options = LogOptions::default();
    options.mark_interval = Duration::from_millis(50);
    let interval = Duration::from_millis(20);
    options.flush = draw(&[
        FlushPolicy::Immediate,
        FlushPolicy::Adaptive,
        FlushPolicy::Batch { entries: 2, interval },
    ]);
    options.strategy = draw(&[Strategy::DiskFirst, Strategy::MemFirst { memory_bytes: 1 << 20 }]);
    options
}

fn opener(disk: &Disk) -> impl Fn() -> EngineResult<Arc<dyn KvLogDb>> + Send + Sync + 'static {
    let disk = disk.clone();
    move || disk.open()
}

fn open(disk: &Disk, options: LogOptions) -> LogStore {
    LogStore::open(opener(disk), options).unwrap()
}

fn entries(term: u64, range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| Entry::new(term, index, "entry")).collect()
}

fn append(replica: ReplicaId, term: u64, range: std::ops::RangeInclusive<u64>) -> LogBatch {
    let mut batch = LogBatch::new();
    batch.append(replica, entries(term, range));
    batch
}

/// The ids of all entries that can be read.
fn ids(store: &LogStore, replica: ReplicaId) -> Vec<(u64, u64)> {
    let entries = store.log(replica).entries(.., u64::MAX).unwrap();
    entries.iter().map(|entry| (entry.id.term, entry.id.index)).collect()
}
