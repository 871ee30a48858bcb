//! What a node keeps beside its log.

use kvlogdb_log::{Durability, Error, LogBatch, LostData, Snapshot};

use crate::failure::{Checked, Context, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, expect_bounds, expect_runs, hard_state, id, leave_alone, run};
use crate::random::value;

/// Term, vote and commit index come back as one, with every number that they can have, and with
/// none. Trap 9.
pub(in crate::cases) fn the_hard_state_comes_back(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 0..=20)?;
    expect_eq("before any", &logs.log(R).hard_state()?, &None)?;
    for wanted in [
        hard_state(0, None, None),
        hard_state(0, Some(0), None),
        hard_state(1, Some(u64::MAX), Some(0)),
        hard_state(2, None, Some(7)),
        hard_state(2, Some(3), Some(20)),
        hard_state(u64::MAX, Some(1), Some(20)),
    ] {
        logs.write(|batch| batch.set_hard_state(R, wanted))?;
        expect_eq("hard state", &logs.log(R).hard_state()?, &Some(wanted))?;
        logs.settle()?;
        expect_eq("after reopen", &logs.log(R).hard_state()?, &Some(wanted))?;
        logs.unchanged(|batch| batch.set_hard_state(R, wanted))?.during("the same again")?;
    }
    Ok(())
}

/// A promise is not taken back: no lower term, no other vote in the same term, no lower commit
/// index. Traps 23 and 41.
pub(in crate::cases) fn a_promise_is_not_taken_back(logs: &mut Logs) -> Checked {
    logs.write(|batch| {
        let state = hard_state(5, Some(2), Some(7));
        batch.append(R, run(R, 1, 1..=9)).set_hard_state(R, state)
    })?;
    logs.settle()?;
    for back in [
        hard_state(4, Some(2), Some(7)),
        hard_state(5, Some(3), Some(7)),
        hard_state(5, None, Some(7)),
        hard_state(5, Some(2), Some(6)),
        hard_state(6, Some(2), None),
    ] {
        let answer = logs.unchanged(|batch| batch.set_hard_state(R, back))?;
        expect_refused!(format_args!("{back:?}"), answer, Error::HardStateWentBack { .. });
    }
    logs.write(|batch| batch.set_hard_state(R, hard_state(6, None, Some(7))))
}

/// A change of term or vote is synced, whatever was asked, alone and in company, with a sidecar and
/// without one; a change of the commit index is not. Traps 8, 9 and 10.
pub(in crate::cases) fn a_vote_is_synced_whatever_was_asked(logs: &mut Logs) -> Checked {
    let sidecar = logs.sidecar();
    for sidecar in [None, Some(sidecar)] {
        logs.reopen_as(|options| {
            leave_alone(options);
            options.lost_data = LostData::Accept;
            options.sidecar = sidecar;
        })?;
        votes_are_synced(logs)?;
        logs.write(|batch| batch.remove_replica(R))?;
        logs.store().settle()?; // or its deletions are counted with the next writes
    }
    Ok(())
}

fn votes_are_synced(logs: &Logs) -> Checked {
    let asked_by = |fill: &dyn Fn(&mut LogBatch)| -> Checked<Vec<Durability>> {
        let mut batch = LogBatch::new();
        fill(&mut batch);
        logs.writes().take();
        logs.apply(&batch)?;
        logs.store().check()?; // what was accepted is written by then, and not synced for it
        Ok(logs.writes().take())
    };
    let append = |index| {
        move |batch: &mut LogBatch| {
            batch.append(R, run(R, 1, index..=index));
        }
    };
    let save = |state| {
        move |batch: &mut LogBatch| {
            batch.set_hard_state(R, state);
        }
    };
    let [synced, buffered] =
        [Durability::Synced, Durability::Buffered].map(|asked| vec![logs.mode().durability(asked)]);
    expect_eq("an append", &asked_by(&append(1))?, &buffered)?;
    expect_eq("a term", &asked_by(&save(hard_state(1, None, None)))?, &synced)?;
    expect_eq("a vote", &asked_by(&save(hard_state(1, Some(4), None)))?, &synced)?;
    expect_eq("a commit", &asked_by(&save(hard_state(1, Some(4), Some(1))))?, &buffered)?;
    let both = |batch: &mut LogBatch| {
        append(2)(batch);
        batch.set_hard_state(N, hard_state(3, Some(1), None));
    };
    expect_eq("another's vote", &asked_by(&both)?, &synced)?;
    let removal = |batch: &mut LogBatch| {
        batch.remove_replica(N);
    };
    expect_eq("forgetting a vote", &asked_by(&removal)?.first(), &synced.first())?;
    expect_runs(&logs.log(R), &[(1, 1..=2)])
}

/// What is asked to be synced is passed on as such, and what is not is not.
pub(in crate::cases) fn durability_reaches_the_engine_as_it_was_asked(logs: &mut Logs) -> Checked {
    logs.reopen_as(leave_alone)?;
    logs.writes().take();
    let all = [Durability::Buffered, Durability::Synced, Durability::Buffered];
    for (durability, index) in all.into_iter().zip(1..) {
        logs.log(R).append(run(R, 1, index..=index), durability)?;
        logs.store().check()?; // what was accepted is written by then, and not synced for it
    }
    let wanted = all.map(|asked| logs.mode().durability(asked));
    expect_eq("writes", &logs.writes().take(), &wanted.to_vec())?;
    logs.store().sync()?;
    expect_eq("a sync", &logs.writes().take(), &vec![Durability::Synced])
}

/// The snapshot with its description, the membership and what is applied come back, small, empty
/// and large, and are replaced.
pub(in crate::cases) fn snapshot_membership_and_applied_come_back(logs: &mut Logs) -> Checked {
    for (index, len) in [(1, 10), (2, 0), (3, 300_000), (u64::MAX, 1)] {
        let data: bytes::Bytes = value(index, len).into();
        let snapshot = Snapshot { id: id(4, index), data: data.clone() };
        logs.write(|batch| {
            batch
                .set_snapshot(R, snapshot.clone())
                .set_membership(R, data.clone())
                .set_applied(R, id(4, index))
        })?;
        logs.settle()?;
        let log = logs.log(R);
        expect_eq("the snapshot", &log.snapshot()?, &Some(snapshot))?;
        expect_eq("the membership", &log.membership()?, &Some(data))?;
        expect_eq("what is applied", &log.applied()?, &Some(id(4, index)))?;
        expect_bounds(&log, None, None, None)?;
    }
    Ok(())
}

/// The caller's slots are put, replaced, emptied and removed, each by itself; those of the log are
/// not the caller's.
pub(in crate::cases) fn slots_of_the_caller_come_back(logs: &mut Logs) -> Checked {
    let put = |slot, text: &'static str| -> Checked {
        let mut batch = LogBatch::new();
        batch.put_slot(R, slot, text)?;
        logs.apply(&batch).during("putting a slot")
    };
    put(256, "first")?;
    put(257, "")?;
    put(u16::MAX, "last")?;
    put(256, "again")?;
    let mut batch = LogBatch::new();
    batch.remove_slot(R, u16::MAX)?.remove_slot(R, 300)?.put_slot(N, 256, "another's")?;
    logs.apply(&batch)?;
    for slot in [0, 4, 5, 255] {
        let answer = LogBatch::new().put_slot(R, slot, "").map(|_| ());
        expect_refused!(slot, answer, Error::ReservedSlot { .. });
        expect_refused!(slot, logs.log(R).slot(slot), Error::ReservedSlot { .. });
    }
    logs.settle()?;
    let wanted = [(256, Some("again")), (257, Some("")), (u16::MAX, None), (300, None)];
    for (slot, wanted) in wanted {
        expect_eq(slot, &logs.log(R).slot(slot)?, &wanted.map(bytes::Bytes::from))?;
    }
    expect_eq("the neighbour's", &logs.log(N).slot(256)?, &Some("another's".into()))
}

/// Metadata of every kind is no entry: a log with all of it is empty, begins anywhere, and shows
/// its entries only. Trap 27.
pub(in crate::cases) fn metadata_never_shows_in_a_log(logs: &mut Logs) -> Checked {
    let mut batch = LogBatch::new();
    batch
        .set_hard_state(R, hard_state(3, Some(1), None))
        .set_snapshot(R, Snapshot { id: id(2, 1), data: "data".into() })
        .set_applied(R, id(2, 1))
        .set_membership(R, "members")
        .put_slot(R, 256, "a")?
        .put_slot(R, u16::MAX, "b")?;
    logs.apply(&batch)?;
    logs.settle()?;
    expect_bounds(&logs.log(R), None, None, None)?;
    expect_runs(&logs.log(R), &[])?;
    logs.expect_stored(0)?;
    expect_eq("replicas", &logs.store().replicas()?, &vec![R])?;
    logs.fill(R, 1, 0..=6)?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(1, 0..=6)])?;
    logs.expect_stored(7)
}
