//! Records for the tests of what is made from them.

use crate::child::Counted;
use crate::machine::Machine;
use crate::measured::{Latency, MAIN, Measured, PERCENTILES, Phase};
use crate::record::{CellRecord, Header, Outcome, Record, VERSION};
use crate::workload::{Work, Workload};

pub(crate) fn workload() -> Workload {
    let work = Work::Append { writers: 1, groups: 1, batch: 1, synced: true };
    Workload { work, entry_bytes: 256, measure_ms: 100 }
}

/// A record of one durable append, with these rates in three rounds; every commit synced once.
pub(crate) fn record(rates: &[(&str, [f64; 3])]) -> Record {
    let header = Header {
        version: VERSION,
        title: "a test".to_owned(),
        began_at_s: 1_700_000_000,
        seed: 1,
        machine: Machine::default(),
        versions: vec![("kvlogdb".to_owned(), "0.1.0".to_owned())],
    };
    let mut cells = Vec::new();
    for &(subject, rates) in rates {
        for (round, rate) in (1..).zip(rates) {
            cells.push(cell(subject, round, rate));
        }
    }
    Record { header, cells }
}

fn cell(subject: &str, round: usize, rate: f64) -> CellRecord {
    let took_us = 1e6 / rate;
    let latency =
        Latency { count: 100, percentiles_us: vec![took_us; PERCENTILES.len()], max_us: took_us };
    let phase =
        Phase { entries: 100, calls: 100, elapsed_s: 100.0 / rate, latency, series: vec![50, 50] };
    let measured = Measured {
        phases: [(MAIN.to_owned(), phase)].into(),
        payload_bytes: 25_600,
        disk_bytes: 51_200,
        checked: 100,
        ..Measured::default()
    };
    CellRecord {
        subject: subject.to_owned(),
        name: workload().name(),
        workload: workload(),
        round,
        outcome: Outcome::Measured(Box::new(measured)),
        probe_before_us: 100.0,
        probe_after_us: 100.0,
        attempts: 1,
        counted: Some(Counted { syncs: 100, acknowledged: 100 }),
        load: Some(0.1),
    }
}

/// Makes the record say that a store made so many sync calls for 100 commits.
pub(crate) fn with_syncs(record: &mut Record, subject: &str, syncs: u64) {
    for cell in record.cells.iter_mut().filter(|cell| cell.subject == subject) {
        cell.counted = Some(Counted { syncs, acknowledged: 100 });
    }
}
