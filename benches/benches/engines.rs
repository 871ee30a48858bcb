//! Append and read through the log, beside the bare engine doing the same work.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails has nothing to say")]

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kvlogdb::{Durability, EngineKind};
use kvlogdb_benches::BenchStores;
use kvlogdb_compare::subject::{bare, log_on};
use kvlogdb_compare::{Settings, Stores};

const GROUP: u64 = 1;
const PAYLOAD: [u8; 256] = [0x5a; 256];
const READ_ENTRIES: u64 = 64;
const READ_LOG: u64 = 10_000;

fn payloads(count: u64) -> Vec<Bytes> {
    (0..count).map(|_| Bytes::copy_from_slice(&PAYLOAD)).collect()
}

fn append(criterion: &mut Criterion) {
    for engine in EngineKind::available() {
        for count in [1, 64] {
            let mut group = criterion.benchmark_group(format!("{engine}: append {count} synced"));
            group.throughput(Throughput::Elements(count));
            group.sample_size(20).measurement_time(Duration::from_secs(4));
            for (name, subject) in [("log", log_on(engine)), ("bare", bare(engine))] {
                let (dir, next) = (tempfile::tempdir_in(".").unwrap(), Cell::new(1));
                let store = BenchStores.open(&subject, dir.path(), &Settings::default()).unwrap();
                group.bench_function(name, |bencher| {
                    bencher.iter(|| {
                        let first = next.replace(next.get() + count);
                        let payloads = payloads(count);
                        store.append(GROUP, first, &payloads, Durability::Synced).unwrap();
                    });
                });
            }
            group.finish();
        }
    }
}

fn read(criterion: &mut Criterion) {
    for engine in EngineKind::available() {
        let mut group = criterion.benchmark_group(format!("{engine}: read {READ_ENTRIES}"));
        group.throughput(Throughput::Elements(READ_ENTRIES));
        group.measurement_time(Duration::from_secs(3));
        for (name, subject) in [("log", log_on(engine)), ("bare", bare(engine))] {
            let (dir, next) = (tempfile::tempdir_in(".").unwrap(), Cell::new(1));
            let store = BenchStores.open(&subject, dir.path(), &Settings::default()).unwrap();
            store.append(GROUP, 1, &payloads(READ_LOG), Durability::Synced).unwrap();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let first = next.get();
                    next.set((first + READ_ENTRIES * 7) % (READ_LOG - READ_ENTRIES) + 1);
                    let found = store.read(GROUP, first, READ_ENTRIES, &mut |_, _| ()).unwrap();
                    assert_eq!(found, READ_ENTRIES);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, append, read);
criterion_main!(benches);
