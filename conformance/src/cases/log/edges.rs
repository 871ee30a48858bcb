//! Replicas and indexes at the edges of their numbers, and what an operation on one leaves of the
//! others.

use kvlogdb_log::{Error, Log, LogBatch, ReplicaId};

use crate::failure::{Checked, Context, expect_eq, expect_refused};
use crate::logs::{Logs, expect_bounds, expect_runs, hard_state, id, run};
use crate::view::same_views;

const MAX: u64 = u64::MAX;
const FIRST: u64 = MAX - 3;

/// Every edge of group and node.
fn replicas() -> impl Iterator<Item = ReplicaId> {
    let edges = [0, 1, MAX - 1, MAX];
    edges.into_iter().flat_map(move |group| [0, 1, MAX].map(|node| ReplicaId { group, node }))
}

/// Gives every replica the last four indexes and metadata.
fn furnish(logs: &Logs) -> Checked {
    let mut batch = LogBatch::new();
    for replica in replicas() {
        batch
            .append(replica, run(replica, 1, FIRST..=MAX))
            .set_hard_state(replica, hard_state(1, Some(replica.group), None))
            .put_slot(replica, u16::MAX, replica.to_string())?;
    }
    logs.apply(&batch)
}

/// Does something to each replica in turn. After each, that replica is as `check` wants it, and
/// every other is what it was; in the end all of it is the same after a reopen.
fn each_leaves_its_neighbours(
    logs: &mut Logs,
    change: for<'a> fn(&'a mut LogBatch, ReplicaId) -> &'a mut LogBatch,
    check: fn(&Log) -> Checked,
) -> Checked {
    furnish(logs)?;
    for replica in replicas() {
        let mut before = logs.views()?;
        logs.write(|batch| change(batch, replica))?;
        logs.store().settle().during("deleting what it left")?;
        check(&logs.log(replica)).during(format_args!("replica {replica}"))?;
        let mut after = logs.views()?;
        before.remove(&replica);
        after.remove(&replica);
        same_views(&after, &before).during(format_args!("after a change of {replica}"))?;
    }
    logs.settle()?;
    replicas().try_for_each(|replica| check(&logs.log(replica)))
}

/// Entries at the largest index are read one by one, in ranges of every kind of end, and by scans,
/// in every group. Trap 25.
pub(in crate::cases) fn the_largest_index_is_read_like_any_other(logs: &mut Logs) -> Checked {
    furnish(logs)?;
    logs.settle()?;
    for replica in replicas() {
        let log = logs.log(replica);
        let all = run(replica, 1, FIRST..=MAX);
        expect_eq("all", &log.entries(.., MAX)?, &all)?;
        expect_eq("up to the last", &log.entries(FIRST..=MAX, MAX)?, &all)?;
        expect_eq(
            "without the last",
            &log.entries(FIRST..MAX, MAX)?,
            &run(replica, 1, FIRST..=MAX - 1),
        )?;
        expect_eq("the last", &log.entries(MAX.., MAX)?, &run(replica, 1, MAX..=MAX))?;
        expect_eq("the last by itself", &vec![log.entry(MAX)?], &run(replica, 1, MAX..=MAX))?;
        expect_eq("how many a scan finds", &log.scan(MAX - 1..).count(), &2)?;
        expect_eq("its term", &log.term(MAX)?, &1)?;
    }
    expect_eq("replicas", &logs.store().replicas()?, &replicas().collect())
}

/// A purge at the edges leaves the neighbours. Traps 25 and 26.
pub(in crate::cases) fn purging_at_the_edges_leaves_the_neighbours(logs: &mut Logs) -> Checked {
    each_leaves_its_neighbours(
        logs,
        |batch, replica| batch.purge_through(replica, id(1, MAX - 1)),
        |log| {
            expect_bounds(log, Some(MAX), Some(MAX), Some(id(1, MAX - 1)))?;
            expect_runs(log, &[(1, MAX..=MAX)])
        },
    )
}

/// A purge through the largest index leaves a log that is empty, full and known as such, and the
/// neighbours. Traps 17, 25 and 26.
pub(in crate::cases) fn purging_the_largest_index_leaves_the_neighbours(
    logs: &mut Logs,
) -> Checked {
    each_leaves_its_neighbours(
        logs,
        |batch, replica| batch.purge_through(replica, id(1, MAX)),
        |log| {
            expect_bounds(log, None, Some(MAX), Some(id(1, MAX)))?;
            expect_runs(log, &[])?;
            expect_refused!("the last", log.entry(MAX), Error::Purged { index: MAX, .. });
            Ok(())
        },
    )
}

/// Cutting off the entry at the largest index leaves the neighbours. Traps 25 and 26.
pub(in crate::cases) fn truncating_at_the_edges_leaves_the_neighbours(logs: &mut Logs) -> Checked {
    each_leaves_its_neighbours(
        logs,
        |batch, replica| batch.truncate_from(replica, MAX),
        |log| {
            expect_bounds(log, Some(FIRST), Some(MAX - 1), None)?;
            expect_runs(log, &[(1, FIRST..=MAX - 1)])
        },
    )
}

/// Replacing the tail at the edges leaves the neighbours. Traps 25 and 26.
pub(in crate::cases) fn replacing_at_the_edges_leaves_the_neighbours(logs: &mut Logs) -> Checked {
    each_leaves_its_neighbours(
        logs,
        |batch, replica| batch.replace_from(replica, run(replica, 2, MAX - 1..=MAX)),
        |log| expect_runs(log, &[(1, FIRST..=MAX - 2), (2, MAX - 1..=MAX)]),
    )
}

/// An install at the edges that drops the log leaves the neighbours. Traps 20, 25 and 26.
pub(in crate::cases) fn installing_at_the_edges_leaves_the_neighbours(logs: &mut Logs) -> Checked {
    each_leaves_its_neighbours(
        logs,
        |batch, replica| batch.install(replica, id(5, MAX - 1)),
        |log| {
            expect_bounds(log, Some(MAX), Some(MAX - 1), Some(id(5, MAX - 1)))?;
            expect_runs(log, &[])
        },
    )
}

/// A reset at the edges leaves the neighbours. Traps 25, 26 and 50.
pub(in crate::cases) fn resetting_at_the_edges_leaves_the_neighbours(logs: &mut Logs) -> Checked {
    each_leaves_its_neighbours(
        logs,
        |batch, replica| batch.reset(replica),
        |log| {
            expect_bounds(log, None, None, None)?;
            expect_runs(log, &[])
        },
    )
}

/// Removing a replica at the edges leaves the neighbours. Traps 25 and 26.
pub(in crate::cases) fn removing_at_the_edges_leaves_the_neighbours(logs: &mut Logs) -> Checked {
    each_leaves_its_neighbours(
        logs,
        |batch, replica| batch.remove_replica(replica),
        |log| {
            expect_eq("hard state", &log.hard_state()?, &None)?;
            expect_eq("the user's slot", &log.slot(u16::MAX)?, &None)?;
            expect_runs(log, &[])
        },
    )
}
