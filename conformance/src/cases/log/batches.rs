//! Several changes as one.

use kvlogdb_log::{Durability, Error, LogBatch};

use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, expect_bounds, expect_runs, hard_state, id, leave_alone, run};

/// Changes to a few replicas of every kind, none of them to be refused.
fn mixed() -> Checked<LogBatch> {
    let mut batch = LogBatch::new();
    for group in 50..55_u64 {
        let replica = group.into();
        batch
            .append(replica, run(replica, 1, 1..=10))
            .purge_through(replica, id(1, 2))
            .set_hard_state(replica, hard_state(group, Some(1), Some(10)))
            .set_applied(replica, id(1, 5))
            .put_slot(replica, 257, "slot")?;
    }
    batch.append(R, run(R, 1, 1..=3)).set_membership(N, "members");
    Ok(batch)
}

/// Entries and metadata of several replicas go in with one write of the engine. Trap 11.
pub(in crate::cases) fn one_batch_covers_entries_and_metadata_of_many_replicas(
    logs: &mut Logs,
) -> Checked {
    logs.writes().take();
    let batch = LogBatch::clone(&mixed()?);
    logs.apply(&batch)?;
    let asked = logs.writes().take();
    ensure!(asked.first() == Some(&Durability::Synced), "a batch with votes is {asked:?}");
    logs.settle()?;
    for group in 50..55_u64 {
        let log = logs.log(group.into());
        expect_runs(&log, &[(1, 3..=10)])?;
        let wanted = hard_state(group, Some(1), Some(10));
        expect_eq("hard state", &log.hard_state()?, &Some(wanted))?;
    }
    expect_runs(&logs.log(R), &[(1, 1..=3)])?;
    expect_eq("membership", &logs.log(N).membership()?, &Some("members".into()))
}

/// A batch of which one part is refused does nothing at all, wherever that part stands: not even
/// one write reaches the engine. Traps 11 and 40.
pub(in crate::cases) fn a_batch_with_one_refused_part_does_nothing(logs: &mut Logs) -> Checked {
    logs.reopen_as(leave_alone)?;
    logs.fill(N, 4, 1..=3)?;
    logs.settle()?;
    logs.writes().take();
    let refuse = |batch: LogBatch, what: &str| -> Checked {
        let answer = logs.unchanged(|empty| {
            *empty = batch;
            empty
        })?;
        ensure!(answer.is_err(), "{what} is taken");
        expect_eq(what, &logs.writes().take(), &Vec::new())
    };
    let mut batch = mixed()?;
    batch.append(N, run(N, 4, 5..=5));
    refuse(batch, "a gap at the end")?;
    let mut batch = LogBatch::new();
    batch.truncate_from(N, 2).append(N, run(N, 3, 2..=2)).append(R, run(R, 1, 1..=1));
    refuse(batch, "a term that goes back at the start")?;
    let mut batch = mixed()?;
    batch.purge_through(N, id(7, 2)).remove_replica(R);
    refuse(batch, "another id in the middle")?;
    let mut batch = mixed()?;
    batch.truncate_from(50.into(), 9);
    refuse(batch, "a cut below the commit index of the batch itself")?;
    let mut batch = mixed()?;
    batch.append(N, vec![kvlogdb_log::Entry::new(4, 4, vec![0; (16 << 20) + 1])]);
    refuse(batch, "an entry too large")?;
    expect_eq("replicas", &logs.store().replicas()?, &vec![N])
}

/// A later change of a batch sees the earlier ones.
pub(in crate::cases) fn changes_of_a_batch_apply_in_order(logs: &mut Logs) -> Checked {
    logs.write(|batch| {
        batch
            .append(R, run(R, 1, 1..=9))
            .truncate_from(R, 6)
            .append(R, run(R, 2, 6..=7))
            .purge_through(R, id(1, 3))
            .replace_from(R, run(R, 3, 7..=8))
            .append(N, run(N, 1, 1..=2))
            .reset(N)
            .append(N, run(N, 1, 40..=41))
    })?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(1, 4..=5), (2, 6..=6), (3, 7..=8)])?;
    expect_bounds(&logs.log(R), Some(4), Some(8), Some(id(1, 3)))?;
    expect_runs(&logs.log(N), &[(1, 40..=41)])
}

/// A batch without changes is taken and changes nothing, in either durability.
pub(in crate::cases) fn an_empty_batch_changes_nothing(logs: &mut Logs) -> Checked {
    logs.unchanged(|batch| batch)?.during("of an empty store")?;
    logs.fill(R, 1, 1..=3)?;
    logs.unchanged(|batch| batch)?.during("Buffered")?;
    logs.store().sync()?;
    logs.unchanged(|batch| batch.append(R, Vec::new()).replace_from(N, Vec::new()))?
        .during("appends of nothing")?;
    expect_eq("replicas", &logs.store().replicas()?, &vec![R])
}

/// Entries and the commit index that covers them go in together; a commit index behind the end of
/// the log, as the batch leaves it, is refused. Trap 11.
pub(in crate::cases) fn the_commit_index_never_passes_the_end(logs: &mut Logs) -> Checked {
    let commit = |index| hard_state(1, None, Some(index));
    let answer = logs.unchanged(|batch| batch.set_hard_state(R, commit(1)))?;
    expect_refused!("an empty log", answer, Error::CommitBehindEnd { commit: 1, last: None, .. });
    logs.write(|batch| batch.set_hard_state(R, commit(5)).append(R, run(R, 1, 1..=5)))?;
    for index in [6, u64::MAX] {
        let answer = logs.unchanged(|batch| batch.set_hard_state(R, commit(index)))?;
        expect_refused!(index, answer, Error::CommitBehindEnd { last: Some(5), .. });
    }
    logs.write(|batch| batch.append(R, run(R, 1, 6..=8)).set_hard_state(R, commit(8)))?;
    logs.write(|batch| batch.purge_through(R, id(1, 8)))?;
    logs.settle()?;
    let state = logs.log(R).hard_state()?;
    expect_eq("the commit index", &state.and_then(|state| state.commit), &Some(8))
}
