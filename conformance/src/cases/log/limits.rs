//! Memory is bounded, and deletion in the background holds nobody up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kvlogdb_log::{Durability, Entry, Error, LogBatch, ReplicaId, Strategy, WhenFull};

use crate::case::message;
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::logs::{Logs, N, R, expect_bounds, expect_runs, id, run};

const QUEUE_ENTRIES: usize = 40;
const MEMORY_BYTES: usize = 600_000;
const PAYLOAD_BYTES: usize = 1000;
/// How many entries can be under way: in the queue, in the commit that took what the queue held
/// before, in the one whose callbacks are being called, and with every writer.
const UNDER_WAY: u64 = 3 * (QUEUE_ENTRIES as u64 + BATCH) + WRITERS * BATCH;
const WRITERS: u64 = 4;
const BATCH: u64 = 5;

/// On a disk that takes long for each write, no more entries wait than the queue allows, whether
/// its writers wait for room or are told that there is none; and where working sets are in memory,
/// no more entries are accepted than fit.
pub(in crate::cases) fn queue_and_memory_limits_hold_on_a_slow_disk(logs: &mut Logs) -> Checked {
    let mem_first = logs.mode().is_mem_first();
    logs.reopen_as(|options| {
        options.queue_entries = QUEUE_ENTRIES;
        if mem_first {
            options.strategy = Strategy::MemFirst { memory_bytes: MEMORY_BYTES };
        }
    })?;
    logs.writes().slow_down(Duration::from_millis(2));
    let shared = &*logs;
    let waiting = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=WRITERS)
            .map(|group| {
                let waiting = Arc::clone(&waiting);
                scope.spawn(move || write_in_a_hurry(shared, group.into(), &waiting))
            })
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|panic| Err(message(&*panic).into()))
        })
    })?;
    logs.writes().slow_down(Duration::ZERO);
    logs.store().sync()?;
    if mem_first {
        let lens = (1..=WRITERS).map(|group| logs.log(group.into()).len());
        let entries: u64 = lens.sum::<kvlogdb_log::Result<_>>()?;
        let bytes = usize::try_from(entries).unwrap_or(usize::MAX) * PAYLOAD_BYTES;
        ensure!(bytes < MEMORY_BYTES, "{entries} entries are more than memory takes");
        ensure!(bytes > MEMORY_BYTES / 2, "only {entries} entries are accepted");
        logs.reopen().during("loading working sets at their limit")?;
    }
    Ok(())
}

/// Submits batches until there have been many, or memory is full.
fn write_in_a_hurry(logs: &Logs, replica: ReplicaId, waiting: &Arc<AtomicU64>) -> Checked {
    let when_full = if replica.group.is_multiple_of(2) { WhenFull::Wait } else { WhenFull::Busy };
    let (mut next, mut busy) = (1, 0_u64);
    while next <= 60 * BATCH {
        let entries: Vec<_> = (next..next + BATCH)
            .map(|index| Entry::new(1, index, vec![1; PAYLOAD_BYTES]))
            .collect();
        let (mut batch, done) = (LogBatch::new(), Arc::clone(waiting));
        batch.append(replica, entries);
        waiting.fetch_add(BATCH, Ordering::SeqCst);
        let answer = logs.store().submit_with(&batch, when_full, move |_| {
            done.fetch_sub(BATCH, Ordering::SeqCst);
        });
        let now = waiting.load(Ordering::SeqCst);
        match answer {
            Ok(()) => next += BATCH,
            Err(error) => {
                waiting.fetch_sub(BATCH, Ordering::SeqCst);
                match error {
                    Error::Busy => busy += 1,
                    Error::MemoryFull { .. } if logs.mode().is_mem_first() => break,
                    other => return Err(other).during("a batch in a hurry"),
                }
                thread::yield_now();
            }
        }
        ensure!(now <= UNDER_WAY, "{now} entries are under way");
    }
    let last = logs.log(replica).last_index()?;
    expect_eq("the last index", &last, &Some(next - 1).filter(|&last| last > 0))?;
    ensure!(when_full == WhenFull::Busy || busy == 0, "a writer that waits is told to");
    Ok(())
}

/// Deleting a large prefix goes in slices, each its own part of a write among the appends of
/// others, and what is purged is never seen again. Traps 24 and 47.
pub(in crate::cases) fn a_large_purge_is_deleted_in_slices_among_appends(
    logs: &mut Logs,
) -> Checked {
    const LAST: u64 = 30_000;
    const MAX_SLICE: u64 = 4096;
    for first in (1..=LAST).step_by(2500) {
        logs.fill(R, 1, first..=first + 2499)?;
    }
    logs.store().sync()?;
    logs.writes().take_removed();
    logs.log(R).purge_through(id(1, LAST - 10), Durability::Synced)?;
    expect_bounds(&logs.log(R), Some(LAST - 9), Some(LAST), Some(id(1, LAST - 10)))?;
    let mut appended = 0;
    while logs.store().waiting_for_deletion() > 0 {
        appended += 1;
        logs.log(N).append(run(N, 1, appended..=appended), Durability::Synced)?;
    }
    let removed = logs.writes().take_removed();
    ensure!(removed.iter().all(|&slice| slice <= MAX_SLICE), "slices of {removed:?}");
    expect_runs(&logs.log(N), &[(1, 1..=appended)])?;
    expect_runs(&logs.log(R), &[(1, LAST - 9..=LAST)])?;
    logs.store().settle()?;
    logs.expect_stored(10 + appended)
}
