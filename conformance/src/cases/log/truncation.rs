//! Cutting off a tail, and writing another.

use kvlogdb_log::{Boundary, Durability, Error, Leader, MAX_LEADER_BYTES};

use crate::failure::{Checked, Context, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, expect_bounds, expect_runs, hard_state, id, leave_alone, run};

/// Entries that were cut off stay away, and those written in their place have the new term. Trap
/// 1.
pub(in crate::cases) fn a_truncated_tail_stays_gone(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=10)?;
    logs.store().sync()?; // or the engine never has what is cut off
    logs.log(R).truncate_from(6, Durability::Synced)?;
    logs.fill(R, 2, 6..=7)?;
    logs.reopen()?;
    expect_runs(&logs.log(R), &[(1, 1..=5), (2, 6..=7)])?;
    for index in 8..=10 {
        expect_refused!(index, logs.log(R).entry(index), Error::Unavailable { .. });
    }
    expect_bounds(&logs.log(R), Some(1), Some(7), None)
}

/// A tail of twenty thousand entries goes as a whole, and the log grows on from where it was cut.
/// Trap 2, as far as it shows without a crash.
pub(in crate::cases) fn cutting_thousands_of_entries_leaves_no_hole(logs: &mut Logs) -> Checked {
    const LAST: u64 = 20_000;
    for first in (1..=LAST).step_by(2500) {
        logs.fill(R, 1, first..=first + 2499)?;
    }
    logs.fill(N, 1, 1..=3)?;
    logs.store().sync()?; // so that the engine has what it is to remove
    logs.log(R).truncate_from(101, Durability::Synced)?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(1, 1..=100)])?;
    logs.fill(R, 3, 101..=105)?;
    logs.reopen()?;
    expect_runs(&logs.log(R), &[(1, 1..=100), (3, 101..=105)])?;
    expect_runs(&logs.log(N), &[(1, 1..=3)])
}

/// Truncating and appending in one step is one write of the engine, whether the new tail is longer
/// or shorter, and keeps everything before it. Trap 3, as far as it shows without a crash.
pub(in crate::cases) fn replacing_a_tail_is_one_write_that_keeps_the_prefix(
    logs: &mut Logs,
) -> Checked {
    logs.reopen_as(leave_alone)?;
    logs.synced(|batch| batch.append(R, run(R, 1, 1..=10)))?; // or it is counted with the next
    for (term, indexes) in [(2, 8..=9), (3, 9..=30), (4, 30..=30), (5, 31..=33), (6, 2..=2)] {
        logs.writes().take();
        let (first, last) = (*indexes.start(), *indexes.end());
        logs.log(R).replace_from(run(R, term, indexes), Durability::Synced)?;
        expect_eq("writes", &logs.writes().take().len(), &1)?;
        logs.settle().during(format_args!("a tail from {first} to {last}"))?;
        expect_eq("the last index", &logs.log(R).last_index()?, &Some(last))?;
    }
    expect_runs(&logs.log(R), &[(1, 1..=1), (6, 2..=2)])
}

/// Cutting behind the end changes nothing, however far behind. Trap 18.
pub(in crate::cases) fn cutting_behind_the_end_changes_nothing(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=5)?;
    for first in [6, 7, 1000, u64::MAX] {
        logs.unchanged(|batch| batch.truncate_from(R, first))?.during(first)?;
        logs.unchanged(|batch| batch.truncate_from(N, first))?.during("an empty log")?;
    }
    logs.fill(R, 1, 6..=6)
}

/// A log that was cut down to nothing is empty, and begins again anywhere. Traps 1 and 6.
pub(in crate::cases) fn a_log_can_be_cut_down_to_nothing(logs: &mut Logs) -> Checked {
    for (first_removed, begins) in [(5, 5), (0, 100), (1, 0)] {
        logs.fill(R, 1, begins..=begins + 5)?;
        logs.log(R).truncate_from(first_removed.min(begins), Durability::Buffered)?;
        expect_bounds(&logs.log(R), None, None, None)?;
        logs.settle()?;
    }
    logs.fill(R, 1, 3..=4)?;
    expect_runs(&logs.log(R), &[(1, 3..=4)])
}

/// What is committed or purged is never cut off. Trap 23.
pub(in crate::cases) fn committed_and_purged_entries_are_not_cut_off(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=10)?;
    let state = hard_state(1, None, Some(6));
    logs.write(|batch| batch.purge_through(R, id(1, 3)).set_hard_state(R, state))?;
    logs.settle()?;
    for index in [6, 5, 4] {
        let answer = logs.unchanged(|batch| batch.truncate_from(R, index))?;
        expect_refused!(index, answer, Error::Committed { commit: 6, .. });
        let answer = logs.unchanged(|batch| batch.replace_from(R, run(R, 2, index..=index)))?;
        expect_refused!(index, answer, Error::Committed { commit: 6, .. });
    }
    for index in [3, 1, 0] {
        let answer = logs.unchanged(|batch| batch.truncate_from(R, index))?;
        expect_refused!(index, answer, Error::Purged { .. });
    }
    logs.log(R).truncate_from(7, Durability::Buffered)?;
    expect_runs(&logs.log(R), &[(1, 4..=6)])
}

/// A full id with a leader.
fn led_by(term: u64, index: u64, name: &'static str) -> Checked<Boundary> {
    Ok(Boundary { id: id(term, index), leader: Leader::new(name)? })
}

/// Who led a term comes back with the entries of the term, also where a tail was replaced in the
/// middle of one, and as the boundary.
pub(in crate::cases) fn leaders_come_back_with_their_terms(logs: &mut Logs) -> Checked {
    let (one, two) = (Leader::new("one")?, Leader::new("two")?);
    let widest = Leader::new(vec![b'l'; MAX_LEADER_BYTES])?;
    logs.write(|batch| {
        batch
            .append_led(R, one, run(R, 1, 1..=4))
            .append_led(R, two, run(R, 2, 5..=9))
            .replace_from_led(R, widest.clone(), run(R, 3, 8..=9))
            .append(R, run(R, 3, 10..=10))
    })?;
    logs.settle()?;
    let log = logs.log(R);
    for (index, wanted) in [
        (1, led_by(1, 1, "one")?),
        (4, led_by(1, 4, "one")?),
        (5, led_by(2, 5, "two")?),
        (7, led_by(2, 7, "two")?),
        (9, Boundary { id: id(3, 9), leader: widest }),
        (10, id(3, 10).into()),
    ] {
        expect_eq(index, &log.id(index)?, &wanted)?;
    }
    log.purge_through(id(2, 6), Durability::Buffered)?;
    logs.settle()?;
    let log = logs.log(R);
    expect_eq("the boundary", &log.purged()?, &Some(led_by(2, 6, "two")?))?;
    expect_eq("the first", &log.id(7)?, &led_by(2, 7, "two")?)?;
    let other = led_by(2, 7, "another")?;
    let answer = logs.unchanged(|batch| batch.purge_through(R, other))?;
    expect_refused!("another leader", answer, Error::IdMismatch { .. });
    let answer = Leader::new(vec![b'l'; MAX_LEADER_BYTES + 1]);
    expect_refused!(
        "a leader too long",
        answer,
        Error::TooLarge { limit_bytes: MAX_LEADER_BYTES, .. }
    );
    Ok(())
}
