//! Removing a prefix, and what stays known of it.

use kvlogdb_log::{Durability, Error, Log, LogBatch, LogId, PurgeGuard, ReplicaId, Snapshot};

use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::logs::{Fill, Logs, N, R, entry, expect_bounds, expect_runs, id, run};

/// A log of which everything was purged remembers where it was: it is no new one. Trap 17.
pub(in crate::cases) fn an_emptied_log_is_not_a_new_one(logs: &mut Logs) -> Checked {
    logs.fill(R, 4, 1..=9)?;
    logs.store().sync()?;
    logs.log(R).purge_through(id(4, 9), Durability::Synced)?;
    logs.settle()?;
    let log = logs.log(R);
    expect_bounds(&log, Some(10), Some(9), Some(id(4, 9)))?;
    expect_eq("the last id", &log.last()?.map(|last| last.id), &Some(id(4, 9)))?;
    expect_eq("whether it is empty", &log.is_empty()?, &true)?;
    let answer = logs.unchanged(|batch| batch.append(R, run(R, 4, 1..=1)))?;
    expect_refused!("an old index", answer, Error::Purged { index: 1, .. });
    let answer = logs.unchanged(|batch| batch.append(R, run(R, 4, 11..=11)))?;
    expect_refused!("a gap", answer, Error::Gap { expected: 10, found: 11, .. });
    logs.fill(R, 4, 10..=11)?;
    expect_runs(&logs.log(R), &[(4, 10..=11)])
}

/// What a purge of a log from 5 to 9, terms 1 and 2, makes of it.
enum Outcome {
    /// Nothing.
    Unchanged,
    /// This first index, with the given id as the boundary.
    First(u64),
    /// Refused because the log holds another id there.
    Mismatch,
    /// Refused because terms would go back.
    Backward,
}

/// A purge is defined at every position: below the log, at its edges, inside, at its end and
/// behind it, with the right term and with another, and so is the same
/// purge again, or one below it. Trap 18.
pub(in crate::cases) fn a_purge_is_defined_at_every_position(logs: &mut Logs) -> Checked {
    let table = [
        (id(1, 0), Outcome::Unchanged),
        (id(1, 3), Outcome::Unchanged),
        (id(9, 3), Outcome::Unchanged),
        (id(1, 4), Outcome::First(5)),
        (id(0, 4), Outcome::First(5)),
        (id(2, 4), Outcome::Backward),
        (id(1, 5), Outcome::First(6)),
        (id(2, 5), Outcome::Mismatch),
        (id(1, 6), Outcome::First(7)),
        (id(2, 8), Outcome::First(9)),
        (id(1, 8), Outcome::Mismatch),
        (id(2, 9), Outcome::First(10)),
        (id(3, 9), Outcome::Mismatch),
        (id(2, 10), Outcome::First(11)),
        (id(3, 1000), Outcome::First(1001)),
        (id(1, 1000), Outcome::Backward),
    ];
    for ((to, outcome), group) in table.into_iter().zip(20..) {
        let log = logs.log(group.into());
        logs.fill(log.replica(), 1, 5..=6)?;
        logs.fill(log.replica(), 2, 7..=9)?;
        purge_at(logs, &log, to, &outcome).during(format_args!("purge through {to}"))?;
    }
    logs.settle()
}

fn purge(replica: ReplicaId, to: LogId) -> impl Fill {
    move |batch: &mut LogBatch| batch.purge_through(replica, to)
}

fn purge_at(logs: &Logs, log: &Log, to: LogId, outcome: &Outcome) -> Checked {
    let purge = || purge(log.replica(), to);
    match outcome {
        Outcome::Unchanged => logs.unchanged(purge())?.during("a purge of nothing"),
        Outcome::Mismatch => {
            expect_refused!("another id", logs.unchanged(purge())?, Error::IdMismatch { .. });
            Ok(())
        }
        Outcome::Backward => {
            expect_refused!("a lower term", logs.unchanged(purge())?, Error::TermWentBack { .. });
            Ok(())
        }
        Outcome::First(first) => {
            logs.write(purge())?;
            let last = log.last_index()?;
            expect_bounds(log, Some(*first), Some(to.index.max(9)), Some(to))?;
            let below = log.entries(..=to.index, u64::MAX)?;
            expect_eq("entries below", &below, &Vec::new())?;
            logs.unchanged(purge())?.during("the same purge again")?;
            for below in [0, to.index - 1] {
                let purge = self::purge(log.replica(), id(to.term, below));
                logs.unchanged(purge)?.during("a purge below the boundary")?;
            }
            expect_eq("the last index", &log.last_index()?, &last)
        }
    }
}

/// The term of the entry before the first stays known, so that a leader can match it. Trap 19.
pub(in crate::cases) fn the_term_before_the_first_entry_stays_known(logs: &mut Logs) -> Checked {
    logs.fill(R, 3, 1..=4)?;
    logs.fill(R, 8, 5..=9)?;
    for (term, index) in [(3, 2), (3, 4), (8, 5), (8, 9)] {
        logs.log(R).purge_through(id(term, index), Durability::Buffered)?;
        logs.settle()?;
        let log = logs.log(R);
        expect_eq("its term", &log.term(index)?, &term)?;
        expect_eq("its id", &log.id(index)?.id, &id(term, index))?;
        let below = log.term(index - 1);
        expect_refused!("the one below", below, Error::Purged { .. });
        expect_eq("a conflict", &log.find_conflict(&[id(term, index)])?, &None)?;
    }
    Ok(())
}

/// A purged index is named as purged by every read, never as the end of the log. Trap 36.
pub(in crate::cases) fn a_purged_index_is_named_as_purged(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=9)?;
    logs.log(R).purge_through(id(1, 5), Durability::Buffered)?;
    logs.settle()?;
    let log = logs.log(R);
    for index in [0, 1, 5] {
        expect_refused!(
            "an entry",
            log.entry(index),
            Error::Purged { purged: LogId { index: 5, .. }, .. }
        );
        expect_refused!("a read", log.entries(index.., 1), Error::Purged { .. });
        let first = log.scan(index..).next().ok_or("the scan is empty")?;
        expect_refused!("a scan", first, Error::Purged { .. });
    }
    let found = log.entries(6.., u64::MAX)?;
    expect_eq("the rest", &found, &run(R, 1, 6..=9))
}

/// Appends and purges take turns, across reopens.
pub(in crate::cases) fn appends_go_on_behind_purges(logs: &mut Logs) -> Checked {
    for round in 0..4_u64 {
        let (first, term) = (round * 10 + 1, round + 1);
        logs.fill(R, term, first..=first + 9)?;
        let all_but = 2 * (round % 2);
        logs.log(R).purge_through(id(term, first + 9 - all_but), Durability::Buffered)?;
        logs.settle().during(format_args!("round {round}"))?;
    }
    expect_runs(&logs.log(R), &[(4, 39..=40)])
}

/// A thousand small purges leave the rest as it is, and nothing waits for deletion after them.
/// Trap 24.
pub(in crate::cases) fn many_small_purges_leave_the_rest(logs: &mut Logs) -> Checked {
    const PURGES: u64 = 1000;
    logs.fill(N, 1, 1..=5)?;
    for first in (1..=PURGES * 5).step_by(1000) {
        logs.fill(R, 1, first..=first + 999)?;
    }
    for purge in 1..PURGES {
        logs.log(R).purge_through(id(1, purge * 5), Durability::Buffered)?;
        let first = logs.log(R).entries(.., 0)?;
        expect_eq("the first entry", &first, &vec![entry(R, 1, purge * 5 + 1)])?;
    }
    logs.settle()?;
    logs.expect_stored(10)?;
    expect_runs(&logs.log(N), &[(1, 1..=5)])
}

/// What was purged gives way on the disk too: filling and purging again and again does not fill
/// the store. Trap 48.
pub(in crate::cases) fn purged_entries_leave_the_engine(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=3000)?;
    logs.log(R).purge_through(id(1, 2999), Durability::Synced)?;
    logs.expect_stored(1)?;
    logs.fill(R, 1, 3001..=3100)?;
    logs.log(R).install(id(2, 3050), Durability::Synced)?;
    logs.expect_stored(0)?;
    logs.fill(R, 2, 3051..=3060)?;
    logs.write(|batch| batch.remove_replica(R))?;
    logs.expect_stored(0)
}

/// In guarded mode nothing is purged that the recorded snapshot does not cover. Trap 22.
pub(in crate::cases) fn a_guarded_purge_stops_at_the_snapshot(logs: &mut Logs) -> Checked {
    logs.reopen_as(|options| options.purge_guard = PurgeGuard::Snapshot)?;
    logs.fill(R, 1, 1..=10)?;
    let purge = |index| purge(R, id(1, index));
    let answer = logs.unchanged(purge(1))?;
    expect_refused!("without a snapshot", answer, Error::AboveSnapshot { snapshot: None, .. });
    let snapshot = Snapshot { id: id(1, 6), data: "file".into() };
    logs.write(|batch| batch.set_snapshot(R, snapshot))?;
    logs.settle()?;
    for index in [7, 10, 11] {
        let answer = logs.unchanged(purge(index))?;
        expect_refused!(index, answer, Error::AboveSnapshot { .. });
    }
    logs.write(purge(6))?;
    let both = Snapshot { id: id(1, 8), data: "next".into() };
    logs.write(|batch| batch.set_snapshot(R, both).purge_through(R, id(1, 8)))?;
    ensure!(logs.log(R).first_index()? == Some(9), "a purge with its snapshot");
    expect_runs(&logs.log(R), &[(1, 9..=10)])
}
