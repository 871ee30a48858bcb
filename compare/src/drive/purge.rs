//! Appending beside purges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvlogdb::Durability;

use super::{Bench, Driven, Ends, GROUP, begin, end, main_phase};
use crate::measured::{MAIN, Phase, STEP, Tally};
use crate::meter;
use crate::store::Store;
use crate::{Error, Result};

/// How many entries a purge of a whole log leaves.
const LEFT: u64 = 1000;
/// How long a purge may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The name of the phase before the purge.
pub(crate) const QUIET: &str = "quiet";

/// Appends durably and purges behind a window, until the deletions have been made, too.
pub(super) fn behind_window(
    bench: &Bench<'_>,
    entries: u64,
    batch: usize,
    window: u64,
    step: u64,
) -> Result<Driven> {
    let store = bench.open()?;
    let entries = bench.scaled(entries);
    let before = begin();
    let (began, mut tally, mut next, mut purged) = (Instant::now(), Tally::new(), 1, 0);
    let mut disk_series = Vec::new();
    while next <= entries {
        let payloads = bench.payloads.make_many(GROUP, next, batch);
        let at = Instant::now();
        store.append(GROUP, next, &payloads, Durability::Synced)?;
        tally.note(batch as u64, at.elapsed(), began.elapsed());
        next += batch as u64;
        let last = next - 1;
        if last.saturating_sub(purged) >= window + step {
            purged = last - window;
            store.purge(GROUP, purged)?;
        }
        let steps = began.elapsed().as_millis() / STEP.as_millis();
        if steps >= disk_series.len() as u128 {
            disk_series.push(meter::disk_bytes(bench.dir()));
        }
    }
    let elapsed = began.elapsed();
    let phase = tally.into_phase(elapsed);
    wait_for_deletion(&*store)?;
    store.sync()?;
    let written = end(before);
    Ok(Driven {
        phases: main_phase(phase),
        written,
        payload_bytes: bench.bytes_of(next - 1),
        disk_series,
        left: Some((store, Ends::from([(GROUP, (purged + 1, next - 1))]))),
        ..Driven::default()
    })
}

fn wait_for_deletion(store: &dyn Store) -> Result<()> {
    let began = Instant::now();
    while store.waiting_for_deletion() > 0 {
        if began.elapsed() > PATIENCE {
            return Err(Error::Child("deletion did not come to an end".into()));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Appends one entry at a time, durably: for a while, and then until a purge has come to its end.
pub(super) fn while_appending(bench: &Bench<'_>, entries: u64) -> Result<Driven> {
    let store = bench.open()?;
    let entries = bench.scaled(entries);
    bench.load(&*store, entries)?;
    let before = begin();
    let mut last = entries;
    let quiet = {
        let window = bench.window();
        appends(bench, &*store, &mut last, &mut || !window.is_over())?
    };
    let finished = AtomicBool::new(false);
    let purging = thread::scope(|scope| -> Result<Phase> {
        let (store, finished) = (&*store, &finished);
        let purge = scope.spawn(move || -> Result<()> {
            let outcome = store.purge(GROUP, entries.saturating_sub(LEFT));
            let outcome = outcome.and_then(|()| wait_for_deletion(store));
            finished.store(true, Ordering::Release);
            outcome
        });
        let mut goes_on = || !finished.load(Ordering::Acquire);
        let phase = appends(bench, store, &mut last, &mut goes_on);
        let purged = purge.join();
        purged.unwrap_or_else(|_| Err(Error::Child("the purge panicked".into())))?;
        phase
    })?;
    let written = end(before);
    let first = entries.saturating_sub(LEFT) + 1;
    Ok(Driven {
        phases: vec![(QUIET, quiet), (MAIN, purging)],
        written,
        payload_bytes: bench.bytes_of(last - entries),
        left: Some((Arc::clone(&store), Ends::from([(GROUP, (first, last))]))),
        ..Driven::default()
    })
}

/// Appends while `goes_on`, and at least once.
fn appends(
    bench: &Bench<'_>,
    store: &dyn Store,
    last: &mut u64,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Phase> {
    let (began, mut tally) = (Instant::now(), Tally::new());
    loop {
        let payloads = bench.payloads.make_many(GROUP, *last + 1, 1);
        let at = Instant::now();
        store.append(GROUP, *last + 1, &payloads, Durability::Synced)?;
        tally.note(1, at.elapsed(), began.elapsed());
        *last += 1;
        if !goes_on() {
            return Ok(tally.into_phase(began.elapsed()));
        }
    }
}
