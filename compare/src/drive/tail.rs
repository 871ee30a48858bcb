//! Overwriting a tail.

use std::time::Instant;

use kvlogdb::Durability;

use super::{Bench, Driven, Ends, GROUP, LOAD_BATCH, MAX_PAYLOAD_BYTES, begin, end, main_phase};
use crate::Result;
use crate::measured::Tally;

/// How long the log is before its tail is overwritten.
const LOG: u64 = 4 * LOAD_BATCH as u64;

/// Replaces the last entries and appends one, so that the log moves on: durably, again and again.
pub(super) fn overwrite(bench: &Bench<'_>, entries: usize) -> Result<Driven> {
    let store = bench.open()?;
    bench.load(&*store, LOG)?;
    store.sync()?;
    let before = begin();
    let window = bench.window();
    let (mut tally, mut last, mut calls) = (Tally::new(), LOG, 0);
    let full = |calls| bench.bytes_of(calls * (entries as u64 + 1)) >= MAX_PAYLOAD_BYTES;
    while !window.is_over() && !full(calls) {
        let first = last + 1 - entries as u64;
        let payloads = bench.payloads.make_many(GROUP, first, entries + 1);
        let at = Instant::now();
        store.replace(GROUP, first, &payloads)?;
        last += 1;
        calls += 1;
        if let Some(counted) = window.counted(at) {
            tally.note(payloads.len() as u64, at.elapsed(), counted);
        }
    }
    let elapsed = window.elapsed();
    let written = end(before);
    let payload_bytes = bench.bytes_of(calls * (entries as u64 + 1));
    let ends = Ends::from([(GROUP, (1, last))]);
    // A last plain append: the log goes on behind what was replaced.
    let payloads = bench.payloads.make_many(GROUP, last + 1, 1);
    store.append(GROUP, last + 1, &payloads, Durability::Synced)?;
    let ends = ends.into_keys().map(|group| (group, (1, last + 1))).collect();
    Ok(Driven {
        phases: main_phase(tally.into_phase(elapsed)),
        written,
        payload_bytes,
        left: Some((store, ends)),
        ..Driven::default()
    })
}
