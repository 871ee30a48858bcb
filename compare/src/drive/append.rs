//! Appending: blocked writers, commits in flight, and filling.

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kvlogdb::Durability;

use super::{Bench, Driven, Ends, GROUP, MAX_PAYLOAD_BYTES, Window, begin, end, main_phase};
use crate::measured::Tally;
use crate::store::Store;
use crate::workload::Workload;
use crate::{Error, Result};

/// Writers have little on their stacks.
const STACK_BYTES: usize = 256 << 10;

/// Writers that wait for their commits.
pub(super) fn blocked(
    bench: &Bench<'_>,
    writers: usize,
    groups: u64,
    batch: usize,
    synced: bool,
) -> Result<Driven> {
    let store = bench.open()?;
    let durability = Workload::durability(synced);
    let (ready, bytes) = (Barrier::new(writers + 1), AtomicU64::new(0));
    let before = begin();
    let (outcomes, window) = thread::scope(|scope| -> Result<_> {
        let mut threads = Vec::new();
        for writer in 0..writers {
            let own = (1..=groups).filter(|group| group % writers as u64 == writer as u64);
            let own: Vec<u64> = own.collect();
            let (store, ready, bytes) = (&*store, &ready, &bytes);
            let work = move || {
                ready.wait();
                let writer = Writer { bench, store, own, batch, durability, bytes };
                writer.run(bench.window())
            };
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            let spawned = builder.spawn_scoped(scope, work);
            threads.push(spawned.map_err(|error| Error::io("start a writer", error))?);
        }
        ready.wait();
        let window = bench.window();
        let joined = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::Child("a writer panicked".into())))
        });
        Ok((joined.collect::<Result<Vec<_>>>()?, window))
    })?;
    let elapsed = window.elapsed();
    if !synced {
        store.sync()?;
    }
    let written = end(before);
    let (mut tally, mut ends) = (Tally::new(), Ends::new());
    for (own, written_to) in outcomes {
        tally.add(&own);
        ends.extend(written_to);
    }
    Ok(Driven {
        phases: main_phase(tally.into_phase(elapsed)),
        written,
        payload_bytes: bytes.into_inner(),
        left: Some((store, ends)),
        ..Driven::default()
    })
}

struct Writer<'a> {
    bench: &'a Bench<'a>,
    store: &'a dyn Store,
    own: Vec<u64>,
    batch: usize,
    durability: Durability,
    bytes: &'a AtomicU64,
}

impl Writer<'_> {
    fn run(self, window: Window) -> Result<(Tally, Ends)> {
        let mut tally = Tally::new();
        let mut ends: Vec<(u64, u64)> = self.own.iter().map(|&group| (group, 0)).collect();
        let step_bytes = self.bench.bytes_of(self.batch as u64);
        'out: loop {
            for (group, last) in &mut ends {
                let full = self.bytes.load(Ordering::Relaxed) >= MAX_PAYLOAD_BYTES;
                if window.is_over() || full {
                    break 'out;
                }
                let payloads = self.bench.payloads.make_many(*group, *last + 1, self.batch);
                let at = Instant::now();
                self.store.append(*group, *last + 1, &payloads, self.durability)?;
                let took = at.elapsed();
                *last += self.batch as u64;
                self.bytes.fetch_add(step_bytes, Ordering::Relaxed);
                if let Some(counted) = window.counted(at) {
                    tally.note(self.batch as u64, took, counted);
                }
            }
        }
        let ends = ends.into_iter().filter(|&(_, last)| last > 0);
        Ok((tally, ends.map(|(group, last)| (group, (1, last))).collect()))
    }
}

/// One writer with several commits under way.
pub(super) fn in_flight(
    bench: &Bench<'_>,
    commits: usize,
    groups: u64,
    batch: usize,
) -> Result<Driven> {
    let store = bench.open()?;
    let before = begin();
    let window = bench.window();
    let (done, ended) = mpsc::channel::<(Instant, Duration, Result<()>)>();
    let (mut tally, mut pending, mut bytes) = (Tally::new(), 0, 0);
    let mut lasts: Vec<(u64, u64)> = (1..=groups).map(|group| (group, 0)).collect();
    let mut note = |(at, took, outcome): (Instant, Duration, Result<()>)| {
        if let Some(counted) = window.counted(at) {
            tally.note(batch as u64, took, counted);
        }
        outcome
    };
    'out: loop {
        for (group, last) in &mut lasts {
            if window.is_over() || bytes >= MAX_PAYLOAD_BYTES {
                break 'out;
            }
            let payloads = bench.payloads.make_many(*group, *last + 1, batch);
            let (at, done) = (Instant::now(), done.clone());
            let told = move |outcome| {
                // The writer listens until the last one.
                let _ = done.send((at, at.elapsed(), outcome));
            };
            store.submit(*group, *last + 1, &payloads, Box::new(told))?;
            *last += batch as u64;
            bytes += bench.bytes_of(batch as u64);
            pending += 1;
            while let Ok(end) = ended.try_recv() {
                pending -= 1;
                note(end)?;
            }
            if pending >= commits {
                note(ended.recv().map_err(|_| lost())?)?;
                pending -= 1;
            }
        }
    }
    for _ in 0..pending {
        note(ended.recv().map_err(|_| lost())?)?;
    }
    let elapsed = window.elapsed();
    let written = end(before);
    let ends = lasts.into_iter().filter(|&(_, last)| last > 0);
    Ok(Driven {
        phases: main_phase(tally.into_phase(elapsed)),
        written,
        payload_bytes: bytes,
        left: Some((store, ends.map(|(group, last)| (group, (1, last))).collect())),
        ..Driven::default()
    })
}

fn lost() -> Error {
    Error::Child("a commit ended without telling".into())
}

/// Many entries without a sync for each commit, and one at the end.
pub(super) fn fill(bench: &Bench<'_>, entries: u64, batch: usize) -> Result<Driven> {
    let store: Arc<dyn Store> = bench.open()?;
    let entries = bench.scaled(entries);
    let before = begin();
    let (began, mut tally, mut next) = (Instant::now(), Tally::new(), 1);
    while next <= entries {
        let count = usize::try_from(entries - next + 1).unwrap_or(batch).min(batch);
        let payloads = bench.payloads.make_many(GROUP, next, count);
        let at = Instant::now();
        store.append(GROUP, next, &payloads, Durability::Buffered)?;
        tally.note(count as u64, at.elapsed(), began.elapsed());
        next += count as u64;
    }
    store.sync()?;
    let elapsed = began.elapsed();
    let written = end(before);
    Ok(Driven {
        phases: main_phase(tally.into_phase(elapsed)),
        written,
        payload_bytes: bench.bytes_of(entries),
        left: Some((store, Ends::from([(GROUP, (1, entries))]))),
        ..Driven::default()
    })
}
