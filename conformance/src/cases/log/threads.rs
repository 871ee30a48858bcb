//! Many threads on one store of logs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kvlogdb_log::{Durability, Error};

use crate::case::message;
use crate::cases::engine::concurrency::beside_readers;
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::logs::{Logs, R, entry, expect_bounds, expect_runs, hard_state, id, run};

/// Eight threads, each with a replica of its own, append, replace, purge and vote at once, and
/// each finds in its log what it did.
pub(in crate::cases) fn eight_threads_keep_eight_logs(logs: &mut Logs) -> Checked {
    let shared = &*logs;
    thread::scope(|scope| {
        let own: Vec<_> =
            (1..=8_u64).map(|group| scope.spawn(move || keep_a_log(shared, group))).collect();
        own.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| Err(message(&*panic).into()))
        })
    })?;
    logs.settle()?;
    for group in 1..=8_u64 {
        let log = logs.log(group.into());
        expect_runs(&log, &[(group, 25..=35), (group + 1, 36..=41)])?;
        expect_bounds(&log, Some(25), Some(41), Some(id(group, 24)))?;
        let wanted = hard_state(group + 1, Some(group), Some(30));
        expect_eq("hard state", &log.hard_state()?, &Some(wanted))?;
    }
    Ok(())
}

fn keep_a_log(logs: &Logs, group: u64) -> Checked {
    let log = logs.log(group.into());
    for index in 1..=40 {
        let durability = if index % 20 == 0 { Durability::Synced } else { Durability::Buffered };
        log.append(run(log.replica(), group, index..=index), durability)?;
        ensure!(log.last_index()? == Some(index), "an append that is not seen");
        if index % 8 == 0 && index <= 24 {
            log.purge_through(id(group, index), Durability::Buffered)?;
        }
    }
    log.replace_from(run(log.replica(), group + 1, 36..=41), Durability::Buffered)?;
    log.set_hard_state(hard_state(group + 1, Some(group), Some(30)), Durability::Buffered)?;
    Ok(())
}

/// Readers beside purges and appends get the right entries, or are told that they are purged;
/// never a hole, never damage, never a short answer from the middle. Trap 36.
pub(in crate::cases) fn readers_under_purge_get_the_entry_or_are_told(logs: &mut Logs) -> Checked {
    const ROUNDS: u64 = 60;
    const WINDOW: u64 = 30;
    logs.fill(R, 1, 1..=WINDOW)?;
    let log = logs.log(R);
    let write = |written: &AtomicU64| {
        for round in 1..=ROUNDS {
            let last = WINDOW + round * 5;
            logs.fill(R, 1, last - 4..=last)?;
            log.purge_through(id(1, last - WINDOW), Durability::Buffered).during("purging")?;
            written.store(round, Ordering::SeqCst);
        }
        Ok(())
    };
    beside_readers(write, |reader, written| {
        let round = written.load(Ordering::SeqCst);
        let (first, last) = (round * 5 + 1 + reader as u64 * 7, WINDOW + round * 5);
        match log.entries(first.., u64::MAX) {
            Ok(found) => {
                let end = found.last().ok_or("an answer without entries")?.id.index;
                ensure!(end >= last, "an answer that ends at {end}, {last} was written");
                expect_eq("a read", &found, &run(R, 1, first..=end))
            }
            Err(Error::Purged { index, purged, .. }) => {
                ensure!(index == first && purged.index >= first, "{first} purged by {purged}");
                Ok(())
            }
            Err(other) => Err(other).during(format_args!("a read from {first}")),
        }
    })?;
    expect_runs(&log, &[(1, ROUNDS * 5 + 1..=ROUNDS * 5 + WINDOW)])
}

/// Readers beside a writer that replaces the tail see the old tail or the new one, never parts of
/// both, and always the prefix. Trap 36.
pub(in crate::cases) fn readers_under_replacement_see_one_tail(logs: &mut Logs) -> Checked {
    const ROUNDS: u64 = 60;
    logs.fill(R, 1, 1..=10)?;
    logs.fill(R, 2, 11..=30)?;
    let log = logs.log(R);
    let write = |written: &AtomicU64| {
        for round in 1..=ROUNDS {
            let tail = run(R, 2 + round, 11..=30);
            log.replace_from(tail, Durability::Buffered).during("replacing")?;
            written.store(round, Ordering::SeqCst);
        }
        Ok(())
    };
    beside_readers(write, |_, written| {
        let round = written.load(Ordering::SeqCst);
        let found = log.entries(.., u64::MAX).during("reading")?;
        let term = found.last().ok_or("an answer without entries")?.id.term;
        ensure!(term >= 2 + round, "a tail of term {term} after round {round}");
        let wanted = [run(R, 1, 1..=10), run(R, term, 11..=30)].concat();
        expect_eq("a read", &found, &wanted)?;
        expect_eq("an entry of the prefix", &log.entry(7)?, &entry(R, 1, 7))
    })?;
    expect_runs(&log, &[(1, 1..=10), (2 + ROUNDS, 11..=30)])
}
