//! Going on from an installed snapshot, and starting over.

use kvlogdb_log::{Durability, Error, Log, LogBatch, LogId, Snapshot};

use crate::failure::{Checked, Context, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, expect_bounds, expect_runs, hard_state, id, run};
use crate::view::same_views;

/// Where the snapshots of the table below end.
const AT: u64 = 20;

/// A snapshot at one index, installed into logs that end below, at and above it, with the term
/// that the log has there and with lower and higher ones. What is left is the tail where the log
/// holds the snapshot's id, and nothing otherwise. The same install again is harmless. Trap 20.
pub(in crate::cases) fn a_snapshot_goes_into_a_log_of_any_length(logs: &mut Logs) -> Checked {
    let mut group = 30;
    for end in [0, AT - 5, AT, AT + 5] {
        for term in [1, 2, 3] {
            group += 1;
            let log = logs.log(group.into());
            if end > 0 {
                logs.fill(log.replica(), 1, 1..=4)?;
                logs.fill(log.replica(), 2, 5..=end)?;
            }
            install_into(logs, &log, id(term, AT), end)
                .during(format_args!("term {term} into a log that ends at {end}"))?;
        }
    }
    logs.settle()?;
    for group in 31..=group {
        let log = logs.log(group.into());
        let next = log.last_index()?.ok_or("no last index")? + 1;
        logs.fill(log.replica(), 3, next..=next + 1).during(format_args!("group {group}"))?;
    }
    Ok(())
}

fn install_into(logs: &Logs, log: &Log, to: LogId, end: u64) -> Checked {
    log.install(to, Durability::Buffered)?;
    let keeps_tail = end > to.index && to.term == 2;
    let last = if keeps_tail { end } else { to.index };
    expect_bounds(log, Some(to.index + 1), Some(last), Some(to))?;
    let tail = if keeps_tail { vec![(2, to.index + 1..=end)] } else { Vec::new() };
    expect_runs(log, &tail)?;
    let commit = log.hard_state()?.and_then(|state| state.commit);
    expect_eq("the commit index", &commit, &Some(to.index))?;
    logs.unchanged(|batch| batch.install(log.replica(), to))?.during("once more")
}

/// A snapshot from inside the log keeps the newer entries, and one from below the boundary changes
/// nothing. Trap 21.
pub(in crate::cases) fn an_old_snapshot_keeps_the_newer_entries(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=4)?;
    logs.fill(R, 2, 5..=12)?;
    logs.log(R).install(id(2, 8), Durability::Buffered)?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(2, 9..=12)])?;
    for old in [id(2, 8), id(7, 8), id(2, 7), id(1, 3), id(9, 0)] {
        logs.unchanged(|batch| batch.install(R, old))?.during(old)?;
    }
    logs.fill(R, 2, 13..=13)?;
    expect_bounds(&logs.log(R), Some(9), Some(13), Some(id(2, 8)))
}

/// An install raises the commit index to the snapshot, never lowers it, and leaves term and vote.
/// Trap 11.
pub(in crate::cases) fn an_install_raises_the_commit_index(logs: &mut Logs) -> Checked {
    logs.fill(R, 2, 1..=20)?;
    logs.write(|batch| batch.set_hard_state(R, hard_state(4, Some(9), Some(12))))?;
    for (to, commit) in [(8, 12), (14, 14), (30, 30)] {
        logs.log(R).install(id(2, to), Durability::Buffered)?;
        let wanted = hard_state(4, Some(9), Some(commit));
        expect_eq(to, &logs.log(R).hard_state()?, &Some(wanted))?;
        logs.settle().during(format_args!("installed at {to}"))?;
    }
    expect_bounds(&logs.log(R), Some(31), Some(30), Some(id(2, 30)))
}

/// Snapshot, its description and the install are one step of one batch.
pub(in crate::cases) fn an_install_is_one_step_with_what_describes_it(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=60)?;
    let snapshot = Snapshot { id: id(3, 50), data: "snapshot 50".into() };
    let mut batch = LogBatch::new();
    batch
        .install(R, snapshot.id)
        .set_snapshot(R, snapshot.clone())
        .set_applied(R, snapshot.id)
        .set_membership(R, "three nodes");
    let mut holed = batch.clone();
    holed.append(R, run(R, 3, 53..=53));
    let answer = logs.unchanged(|empty| {
        *empty = holed;
        empty
    })?;
    expect_refused!("a gap behind it", answer, Error::Gap { expected: 51, found: 53, .. });
    batch.append(R, run(R, 3, 51..=52));
    logs.apply(&batch)?;
    logs.settle()?;
    let log = logs.log(R);
    expect_runs(&log, &[(3, 51..=52)])?;
    expect_eq("the snapshot", &log.snapshot()?, &Some(snapshot))?;
    expect_eq("what is applied", &log.applied()?, &Some(id(3, 50)))
}

/// A tail that an install dropped never comes back, however often that happens. Traps 1 and 20.
pub(in crate::cases) fn what_an_install_dropped_stays_gone(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=30)?;
    logs.fill(N, 1, 1..=30)?;
    for (to, term) in [(10, 2), (12, 3), (25, 4), (26, 5)] {
        logs.log(R).install(id(term, to), Durability::Buffered)?;
        expect_runs(&logs.log(R), &[])?;
        logs.fill(R, term, to + 1..=to + 3)?;
        logs.settle()?;
        expect_runs(&logs.log(R), &[(term, to + 1..=to + 3)])?;
    }
    expect_runs(&logs.log(N), &[(1, 1..=30)])
}

/// A reset leaves an empty log without boundary or commit index. Term, vote and slots stay, and
/// the log begins anywhere. Trap 50.
pub(in crate::cases) fn a_reset_empties_the_log_and_keeps_the_promises(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=10)?;
    logs.write(|batch| {
        batch
            .purge_through(R, id(1, 4))
            .set_hard_state(R, hard_state(6, Some(2), Some(8)))
            .set_membership(R, "members")
    })?;
    logs.write(|batch| batch.reset(R))?;
    logs.settle()?;
    let log = logs.log(R);
    expect_bounds(&log, None, None, None)?;
    expect_runs(&log, &[])?;
    expect_eq("hard state", &log.hard_state()?, &Some(hard_state(6, Some(2), None)))?;
    expect_eq("membership", &log.membership()?, &Some("members".into()))?;
    expect_refused!("an old entry", log.entry(7), Error::Unavailable { .. });
    logs.fill(R, 1, 3..=5)?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(1, 3..=5)])
}

/// After many resets only what was written last is there, also where one batch resets a log and
/// writes to the same indexes. An empty log can be reset too. Traps
/// 28 and 50.
pub(in crate::cases) fn many_resets_show_the_last_life_only(logs: &mut Logs) -> Checked {
    logs.unchanged(|batch| batch.reset(R))?.during("a reset of nothing")?;
    for life in 1..=12_u64 {
        logs.fill(R, life, life * 3..=life * 3 + 20)?;
        logs.write(|batch| batch.reset(R))?;
        if life % 4 == 0 {
            logs.settle()?;
        }
    }
    let before = logs.views()?;
    logs.write(|batch| batch.reset(R).reset(R))?;
    same_views(&logs.views()?, &before)?;
    logs.fill(R, 20, 30..=50)?;
    logs.write(|batch| batch.reset(R).append(R, run(R, 20, 40..=41)))?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(20, 40..=41)])?;
    logs.expect_stored(2)
}
