//! Reading: single entries, from the start, and behind a writer.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use kvlogdb::Durability;

use super::{Bench, Driven, Ends, GROUP, MAX_PAYLOAD_BYTES, Window, begin, end, main_phase};
use crate::measured::Tally;
use crate::payload::Random;
use crate::store::Store;
use crate::workload::GetOrder;
use crate::{Error, Result};

/// How many single reads go between two looks at the clock.
const BURST: u64 = 64;
/// How long the tail is.
const TAIL: u64 = 64;

/// Single entries of a log that was just written. One in [`BURST`] is timed on its own.
pub(super) fn get(bench: &Bench<'_>, entries: u64, order: GetOrder) -> Result<Driven> {
    let store = bench.open()?;
    bench.load(&*store, entries)?;
    // Whoever has a cache may fill it.
    for index in 1..=entries {
        get_one(bench, &*store, index)?;
    }
    let mut random = Random::new(bench.spec.seed ^ 0x67_65_74);
    let mut step = 0;
    let mut next = move || match order {
        GetOrder::Random => 1 + random.below(entries),
        GetOrder::Tail => {
            step = (step + 1) % TAIL.min(entries);
            entries - step
        }
    };
    let before = begin();
    let (window, mut tally) = (bench.window(), Tally::new());
    while !window.is_over() {
        let at = Instant::now();
        let counted = window.counted(at);
        get_one(bench, &*store, next())?;
        if counted.is_some() {
            tally.note_time(at.elapsed());
        }
        for _ in 1..BURST {
            let index = next();
            let mut len = 0;
            let found = store.get(GROUP, index, &mut |_, payload| len = payload.len())?;
            if !found || len != bench.spec.workload.entry_bytes {
                return Err(Error::Wrong { group: GROUP, index, what: "a read brought nothing" });
            }
        }
        if let Some(counted) = counted {
            tally.count(BURST, counted);
        }
    }
    let elapsed = window.elapsed();
    let written = end(before);
    Ok(Driven {
        phases: main_phase(tally.into_phase(elapsed)),
        written,
        payload_bytes: bench.bytes_of(entries),
        left: Some((store, Ends::from([(GROUP, (1, entries))]))),
        ..Driven::default()
    })
}

/// Reads one entry and compares it.
fn get_one(bench: &Bench<'_>, store: &dyn Store, index: u64) -> Result<()> {
    let mut outcome = Ok(());
    let found = store.get(GROUP, index, &mut |_, payload| {
        outcome = bench.payloads.check(GROUP, index, payload);
    })?;
    outcome?;
    if !found {
        return Err(Error::Wrong { group: GROUP, index, what: "an entry is missing" });
    }
    Ok(())
}

/// The whole log from its start, in pages, after the store was opened again. Every entry is
/// compared.
pub(super) fn catch_up(bench: &Bench<'_>, entries: u64, page: u64) -> Result<Driven> {
    let store = bench.open()?;
    bench.load(&*store, entries)?;
    store.close()?;
    drop(store);
    let store = bench.open()?;
    let before = begin();
    let (window, mut tally) = (bench.window(), Tally::new());
    let mut next = 1;
    while !window.is_over() {
        let at = Instant::now();
        let count = page.min(entries + 1 - next);
        read_page(bench, &*store, next, count)?;
        if let Some(counted) = window.counted(at) {
            tally.note(count, at.elapsed(), counted);
        }
        next = if next + count > entries { 1 } else { next + count };
    }
    let elapsed = window.elapsed();
    let written = end(before);
    Ok(Driven {
        phases: main_phase(tally.into_phase(elapsed)),
        written,
        payload_bytes: bench.bytes_of(entries),
        left: Some((store, Ends::from([(GROUP, (1, entries))]))),
        ..Driven::default()
    })
}

/// One thread appends durably, another reads what was appended as soon as it is told. Timed is
/// from the end of an append to the end of the read.
pub(super) fn follow(bench: &Bench<'_>, batch: usize) -> Result<Driven> {
    let store = bench.open()?;
    let before = begin();
    let window = bench.window();
    let (tell, told) = mpsc::sync_channel(1);
    let (tally, last) = thread::scope(|scope| -> Result<_> {
        let follower = &*store;
        let reader = scope.spawn(move || read_behind(bench, follower, window, &told));
        let (mut first, count) = (1, batch as u64);
        while !window.is_over() && bench.bytes_of(first) < MAX_PAYLOAD_BYTES {
            let payloads = bench.payloads.make_many(GROUP, first, batch);
            store.append(GROUP, first, &payloads, Durability::Synced)?;
            if tell.send((first, count, Instant::now())).is_err() {
                break; // the reader has an error to tell
            }
            first += count;
        }
        drop(tell);
        let joined = reader.join();
        let tally = joined.unwrap_or_else(|_| Err(Error::Child("the reader panicked".into())))?;
        Ok((tally, first - 1))
    })?;
    let elapsed = window.elapsed();
    let written = end(before);
    Ok(Driven {
        phases: main_phase(tally.into_phase(elapsed)),
        written,
        payload_bytes: bench.bytes_of(last),
        left: Some((store, Ends::from([(GROUP, (1, last))]))),
        ..Driven::default()
    })
}

/// Reads, compares and times whatever it is told of: first index, count, and since when.
fn read_behind(
    bench: &Bench<'_>,
    store: &dyn Store,
    window: Window,
    told: &mpsc::Receiver<(u64, u64, Instant)>,
) -> Result<Tally> {
    let mut tally = Tally::new();
    while let Ok((first, count, at)) = told.recv() {
        read_page(bench, store, first, count)?;
        if let Some(counted) = window.counted(at) {
            tally.note(count, at.elapsed(), counted);
        }
    }
    Ok(tally)
}

/// Reads a page and compares every entry of it.
fn read_page(bench: &Bench<'_>, store: &dyn Store, first: u64, count: u64) -> Result<()> {
    let mut outcome = Ok(());
    let found = store.read(GROUP, first, count, &mut |index, payload| {
        if outcome.is_ok() {
            outcome = bench.payloads.check(GROUP, index, payload);
        }
    })?;
    outcome?;
    if found != count {
        return Err(Error::Wrong { group: GROUP, index: first, what: "a page is short" });
    }
    Ok(())
}
