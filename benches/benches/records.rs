//! What an entry costs before any engine sees it.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kvlogdb_engine_api::{LogName, WriteBatch};
use kvlogdb_log::EntryKind;
use kvlogdb_log::record::Header;

const HEADER: Header =
    Header { term: 7, kind: EntryKind::NORMAL, appended_at_ms: 1_700_000_000_000, log_bytes: 1 };

fn records(criterion: &mut Criterion) {
    let log = LogName::default();
    for payload_bytes in [0_usize, 64, 256, 4096, 65536] {
        let payload = vec![0x5a; payload_bytes];
        let record = [&HEADER.encode(log.at(9), &payload)[..], &payload].concat();
        let mut group = criterion.benchmark_group(format!("record of {payload_bytes} B"));
        group.throughput(Throughput::Bytes(record.len() as u64));
        group.bench_function("encode", |bencher| {
            bencher.iter(|| HEADER.encode(black_box(log.at(9)), black_box(&payload)));
        });
        group.bench_function("decode", |bencher| {
            bencher.iter(|| Header::decode(black_box(log.at(9)), black_box(&record)).is_ok());
        });
        group.bench_function("put into a batch of 64", |bencher| {
            bencher.iter_batched_ref(
                WriteBatch::new,
                |batch| {
                    for index in 0..64 {
                        let header = HEADER.encode(log.at(index), &payload);
                        let put = batch.put_entry(log.at(index), &[&header, &payload]);
                        assert!(put.is_ok());
                    }
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
    criterion.bench_function("key encode", |bencher| {
        bencher.iter(|| black_box(log.at(9)).encode());
    });
}

criterion_group!(benches, records);
criterion_main!(benches);
