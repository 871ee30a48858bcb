//! Opening: after a close, after a kill, and with many groups.

use std::time::Instant;

use kvlogdb::Durability;

use super::{Bench, Driven, Ends, GROUP, begin, end, main_phase};
use crate::cell::Mode;
use crate::measured::{MAIN, Phase, Tally};
use crate::workload::End;
use crate::{Error, Result, child};

/// How often a store is opened that was closed.
const OPENINGS: usize = 3;

/// Opens the store and reads the last entry, timed together.
pub(super) fn reopen(bench: &Bench<'_>, entries: u64, after: End) -> Result<Driven> {
    if bench.spec.mode == Mode::Prepare {
        return prepare_kill(bench, entries);
    }
    match after {
        End::Close => {
            let store = bench.open()?;
            bench.load(&*store, entries)?;
            store.close()?;
        }
        End::Kill => child::run_prepare(bench.spec)?,
    }
    let before = begin();
    let (began, mut tally) = (Instant::now(), Tally::new());
    let openings = if after == End::Kill { 1 } else { OPENINGS };
    let mut left = None;
    for opening in 1..=openings {
        let at = Instant::now();
        let store = bench.open()?;
        let last = store.last(GROUP)?;
        let mut found = false;
        store.get(GROUP, last, &mut |_, payload| {
            found = bench.payloads.check(GROUP, last, payload).is_ok();
        })?;
        tally.note(1, at.elapsed(), began.elapsed());
        if !found || last < entries {
            let what = "the reopened log does not have what was synced";
            return Err(Error::Wrong { group: GROUP, index: last, what });
        }
        if opening == openings {
            left = Some((store, Ends::from([(GROUP, (1, last))])));
        } else {
            store.close()?;
        }
    }
    let written = end(before);
    Ok(Driven {
        phases: main_phase(tally.into_phase(began.elapsed())),
        written,
        payload_bytes: bench.bytes_of(entries),
        left,
        ..Driven::default()
    })
}

/// Writes the log, goes on writing, and ends without closing anything.
fn prepare_kill(bench: &Bench<'_>, entries: u64) -> Result<Driven> {
    let store = bench.open()?;
    bench.load(&*store, entries)?;
    for index in entries + 1..=entries + 10 {
        let payloads = bench.payloads.make_many(GROUP, index, 1);
        store.append(GROUP, index, &payloads, Durability::Synced)?;
    }
    let payloads = bench.payloads.make_many(GROUP, entries + 11, 1);
    store.append(GROUP, entries + 11, &payloads, Durability::Buffered)?;
    std::process::abort();
}

/// Makes so many groups, opens the store again, and appends to them in turn.
pub(super) fn many(bench: &Bench<'_>, groups: u64) -> Result<Driven> {
    let store = bench.open()?;
    let groups = bench.scaled(groups);
    for group in 1..=groups {
        let payloads = bench.payloads.make_many(group, 1, 1);
        store.append(group, 1, &payloads, Durability::Buffered)?;
    }
    store.sync()?;
    store.close()?;
    drop(store);
    let at = Instant::now();
    let store = bench.open()?;
    let (elapsed, mut opened) = (at.elapsed(), Tally::new());
    opened.note(groups, elapsed, elapsed);
    let opened: Phase = opened.into_phase(elapsed);
    let before = begin();
    let (window, mut tally) = (bench.window(), Tally::new());
    let mut ends: Vec<(u64, u64)> = (1..=groups).map(|group| (group, 1)).collect();
    let mut appended = 0;
    'out: loop {
        for (group, last) in &mut ends {
            if window.is_over() {
                break 'out;
            }
            let payloads = bench.payloads.make_many(*group, *last + 1, 1);
            let at = Instant::now();
            store.append(*group, *last + 1, &payloads, Durability::Synced)?;
            *last += 1;
            appended += 1;
            if let Some(counted) = window.counted(at) {
                tally.note(1, at.elapsed(), counted);
            }
        }
    }
    let elapsed = window.elapsed();
    let written = end(before);
    Ok(Driven {
        phases: vec![(MAIN, tally.into_phase(elapsed)), (OPENED, opened)],
        written,
        payload_bytes: bench.bytes_of(appended),
        left: Some((store, ends.into_iter().map(|(group, last)| (group, (1, last))).collect())),
        ..Driven::default()
    })
}

/// The name of the phase in which a store is opened.
pub(crate) const OPENED: &str = "opened";
