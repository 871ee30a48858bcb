//! Append and read through the log, beside the bare engine doing the same work.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails has nothing to say")]

use std::cell::Cell;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kvlogdb::{Durability, EngineKind, Entry, HardState, LogBatch, Options, ReplicaId};
use kvlogdb_benches::VALUE_BYTES;

const REPLICA: ReplicaId = ReplicaId { group: 1, node: 0 };
const PAYLOAD: [u8; 256] = [0x5a; 256];
const READ_ENTRIES: u64 = 64;
const READ_LOG: u64 = 10_000;

/// Entries and the commit index that they raise, as one batch.
fn batch(first: u64, count: u64) -> LogBatch {
    let entries = (first..first + count).map(|index| Entry::new(1, index, &PAYLOAD[..]));
    let mut batch = LogBatch::new();
    batch
        .append(REPLICA, entries.collect::<Vec<_>>())
        .set_hard_state(REPLICA, HardState { term: 1, vote: None, commit: Some(first) });
    batch
}

fn append(criterion: &mut Criterion) {
    for engine in EngineKind::available() {
        for count in [1, 64] {
            let mut group = criterion.benchmark_group(format!("{engine}: append {count} synced"));
            group.throughput(Throughput::Elements(count));
            group.sample_size(20).measurement_time(Duration::from_secs(4));
            let (dir, next) = (tempfile::tempdir_in(".").unwrap(), Cell::new(1));
            let store = Options::new().engine(engine).open(dir.path()).unwrap();
            group.bench_function("log", |bencher| {
                bencher.iter(|| {
                    let first = next.replace(next.get() + count);
                    store.write(&batch(first, count), Durability::Synced).unwrap();
                });
            });
            let (dir, next) = (tempfile::tempdir_in(".").unwrap(), Cell::new(1));
            let bare = kvlogdb_benches::open(engine, dir.path()).unwrap();
            let value = [0x5a; VALUE_BYTES];
            group.bench_function("bare", |bencher| {
                bencher.iter(|| {
                    bare.append(next.replace(next.get() + count), count, &value).unwrap();
                });
            });
            group.finish();
        }
    }
}

fn read(criterion: &mut Criterion) {
    for engine in EngineKind::available() {
        let mut group = criterion.benchmark_group(format!("{engine}: read {READ_ENTRIES}"));
        group.throughput(Throughput::Elements(READ_ENTRIES));
        group.measurement_time(Duration::from_secs(3));
        let (dir, next) = (tempfile::tempdir_in(".").unwrap(), Cell::new(1));
        let step = || {
            let first = next.get();
            next.set((first + READ_ENTRIES * 7) % (READ_LOG - READ_ENTRIES) + 1);
            first
        };
        let store = Options::new().engine(engine).open(dir.path()).unwrap();
        store.write(&batch(1, READ_LOG), Durability::Synced).unwrap();
        let log = store.log(REPLICA);
        group.bench_function("log", |bencher| {
            bencher.iter(|| {
                let first = step();
                let found = log.entries(first..first + READ_ENTRIES, u64::MAX).unwrap();
                assert_eq!(found.len() as u64, READ_ENTRIES);
            });
        });
        let dir = tempfile::tempdir_in(".").unwrap();
        let bare = kvlogdb_benches::open(engine, dir.path()).unwrap();
        bare.append(1, READ_LOG, &[0x5a; VALUE_BYTES]).unwrap();
        group.bench_function("bare", |bencher| {
            bencher.iter(|| {
                let found = bare.read(step(), READ_ENTRIES).unwrap();
                assert_eq!(found as u64, READ_ENTRIES);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, append, read);
criterion_main!(benches);
