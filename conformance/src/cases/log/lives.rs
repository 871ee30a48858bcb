//! Removing a replica, and making it again.

use kvlogdb_log::{Error, LogBatch};

use crate::failure::{Checked, Context, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, expect_bounds, expect_runs, hard_state, id, run};
use crate::view::View;

/// A replica with everything that a replica can have.
fn furnish(logs: &Logs, term: u64) -> Checked {
    let mut batch = LogBatch::new();
    batch
        .append(R, run(R, term, 1..=40))
        .purge_through(R, id(term, 10))
        .set_hard_state(R, hard_state(term, Some(3), Some(20)))
        .set_applied(R, id(term, 15))
        .set_membership(R, "members")
        .set_snapshot(R, kvlogdb_log::Snapshot { id: id(term, 12), data: "file".into() })
        .put_slot(R, 256, "the user's")?;
    logs.apply(&batch).during("making the replica")
}

/// Fails where anything of a replica shows.
fn expect_nothing(logs: &Logs) -> Checked {
    let log = logs.log(R);
    expect_bounds(&log, None, None, None)?;
    expect_runs(&log, &[])?;
    expect_eq("hard state", &log.hard_state()?, &None)?;
    expect_eq("what is applied", &log.applied()?, &None)?;
    expect_eq("the snapshot", &log.snapshot()?, &None)?;
    expect_eq("membership", &log.membership()?, &None)?;
    expect_eq("the user's slot", &log.slot(256)?, &None)?;
    expect_eq("the list of replicas", &logs.store().replicas()?.contains(&R), &false)
}

/// A replica that was removed shows nothing, and is not listed; its neighbour shows all that it
/// showed. Traps 26 and 28.
pub(in crate::cases) fn a_removed_replica_shows_nothing(logs: &mut Logs) -> Checked {
    furnish(logs, 2)?;
    logs.fill(N, 1, 1..=5)?;
    let neighbour = |logs: &Logs| -> Checked<Option<View>> { Ok(logs.views()?.remove(&N)) };
    let before = neighbour(logs)?;
    logs.write(|batch| batch.remove_replica(R))?;
    expect_nothing(logs)?;
    logs.settle()?;
    expect_nothing(logs)?;
    expect_eq("the neighbour", &neighbour(logs)?, &before)?;
    logs.expect_stored(5)?;
    logs.unchanged(|batch| batch.remove_replica(R))?.during("removing it again")
}

/// A replica that is made again under the same id holds the new entries only, begins at any index
/// and any term, and owes nothing to the promises of its past. Trap 28.
pub(in crate::cases) fn a_replica_made_again_shows_nothing_of_its_past(logs: &mut Logs) -> Checked {
    for (term, first) in [(9, 5), (1, 0), (1, 100), (3, 30)] {
        furnish(logs, 10)?;
        logs.write(|batch| batch.remove_replica(R))?;
        logs.write(|batch| {
            let hard_state = hard_state(1, Some(8), None);
            batch.append(R, run(R, term, first..=first + 2)).set_hard_state(R, hard_state)
        })?;
        logs.settle()?;
        expect_runs(&logs.log(R), &[(term, first..=first + 2)])?;
        expect_bounds(&logs.log(R), Some(first), Some(first + 2), None)?;
        let vote = Some(hard_state(1, Some(8), None));
        expect_eq("hard state", &logs.log(R).hard_state()?, &vote)?;
        expect_eq("membership", &logs.log(R).membership()?, &None)?;
        logs.write(|batch| batch.remove_replica(R))?;
    }
    expect_nothing(logs)
}

/// One batch can remove a replica and make it again, and another time the other way round. Trap
/// 28.
pub(in crate::cases) fn a_replica_is_removed_and_made_again_in_one_batch(
    logs: &mut Logs,
) -> Checked {
    for term in 1..=4 {
        furnish(logs, 7)?;
        logs.write(|batch| batch.remove_replica(R).append(R, run(R, term, 20..=25)))?;
        logs.settle()?;
        expect_runs(&logs.log(R), &[(term, 20..=25)])?;
        let answer = logs.unchanged(|batch| batch.append(R, run(R, term, 27..=27)))?;
        expect_refused!("a gap", answer, Error::Gap { expected: 26, .. });
        logs.write(|batch| batch.append(R, run(R, term, 26..=30)).remove_replica(R))?;
        logs.settle()?;
        expect_nothing(logs)?;
    }
    logs.fill(R, 1, 1..=5)?;
    logs.write(|batch| batch.truncate_from(R, 1).remove_replica(R).append(R, run(R, 1, 3..=4)))?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(1, 3..=4)])
}

/// A thousand entries of a replica that was removed are never part of the next replica of that id,
/// which is shorter and starts inside their range. Trap 28.
pub(in crate::cases) fn a_long_past_does_not_show_behind_a_short_present(
    logs: &mut Logs,
) -> Checked {
    logs.fill(R, 1, 1..=5000)?;
    logs.write(|batch| batch.remove_replica(R).append(R, run(R, 2, 2000..=2003)))?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(2, 2000..=2003)])?;
    expect_refused!("behind", logs.log(R).entry(2004), Error::Unavailable { .. });
    logs.fill(R, 2, 2004..=2004)?;
    logs.expect_stored(5)
}
