//! What the end of a commit says, to whom, and how often.

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kvlogdb_engine_api::Error as EngineError;
use kvlogdb_log::{Accepted, Durability, Durable, Error, LogBatch, LogId, ReplicaId, WhenFull};

use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::logs::{Fill, Logs, N, R, entry, expect_runs, hard_state, id, run};
use crate::recorder::WriteFault;

fn filled(fill: impl Fill) -> LogBatch {
    let mut batch = LogBatch::new();
    fill(&mut batch);
    batch
}

fn submit(logs: &Logs, fill: impl Fill) -> Checked<Accepted> {
    Ok(logs.store().submit(&filled(fill), WhenFull::Wait)?)
}

fn durable(logs: &Logs, replica: ReplicaId) -> Checked<Option<LogId>> {
    Ok(logs.log(replica).durable()?.map(|durable| durable.id))
}

fn vouched(durable: &[Durable]) -> Vec<Option<LogId>> {
    durable.iter().map(|durable| durable.last).collect()
}

/// What is accepted is read at once, all of it and by every kind of read, while its commit is held
/// up; and it is not called durable before the commit has ended. Traps 7 and 37.
pub(in crate::cases) fn what_is_accepted_is_read_and_not_called_durable(
    logs: &mut Logs,
) -> Checked {
    logs.synced(|batch| batch.append(R, run(R, 1, 1..=3)))?;
    let hold = logs.writes().hold();
    let first = submit(logs, |batch| batch.append(R, run(R, 1, 4..=5)))?;
    hold.await_writer()?;
    let second = submit(logs, |batch| {
        batch.replace_from(R, run(R, 2, 5..=7)).set_hard_state(R, hard_state(2, Some(1), None))
    })?;
    let third = submit(logs, |batch| batch.append(N, run(N, 4, 9..=9)))?;
    expect_runs(&logs.log(R), &[(1, 1..=4), (2, 5..=7)])?;
    expect_runs(&logs.log(N), &[(4, 9..=9)])?;
    expect_eq("one entry", &logs.log(R).entry(7)?, &entry(R, 2, 7))?;
    expect_eq("the vote", &logs.log(R).hard_state()?, &Some(hard_state(2, Some(1), None)))?;
    expect_eq("what is durable", &durable(logs, R)?, &Some(id(1, 3)))?;
    expect_eq("what is durable next door", &durable(logs, N)?, &None)?;
    ensure!(!first.is_done() && !second.is_done() && !third.is_done(), "done while held up");
    drop(hold);
    expect_eq("the third vouches for", &vouched(&third.wait()?), &vec![Some(id(4, 9))])?;
    expect_eq("the second vouches for", &vouched(&second.wait()?), &vec![Some(id(2, 7))])?;
    expect_eq("what is durable", &durable(logs, R)?, &Some(id(2, 7)))
}

/// A commit that ends after its entries were replaced does not vouch for those in their place, and
/// the truncation takes the durable index back before anything is written. Trap 4.
pub(in crate::cases) fn a_late_end_does_not_vouch_for_what_was_replaced(
    logs: &mut Logs,
) -> Checked {
    logs.synced(|batch| batch.append(R, run(R, 1, 1..=5)))?;
    let hold = logs.writes().hold();
    let late = submit(logs, |batch| batch.append(R, run(R, 1, 6..=9)))?;
    hold.await_writer()?;
    let replaced = submit(logs, |batch| batch.replace_from(R, run(R, 2, 4..=9)))?;
    expect_eq("behind the truncation", &durable(logs, R)?, &Some(id(1, 3)))?;
    drop(hold);
    let late = vouched(&late.wait()?);
    expect_eq("the late one vouches for", &late, &vec![None])?;
    expect_eq("the new one vouches for", &vouched(&replaced.wait()?), &vec![Some(id(2, 9))])?;
    expect_eq("in the end", &durable(logs, R)?, &Some(id(2, 9)))?;
    let reset = submit(logs, |batch| batch.reset(R))?;
    expect_eq("behind a reset", &durable(logs, R)?, &None)?;
    reset.wait().map(drop).during("a reset")
}

/// Hundreds of batches from several threads end in the order in which they were accepted, each
/// once, and at every end what it vouches for is durable. Traps 5 and 15.
pub(in crate::cases) fn batches_end_once_and_in_order(logs: &mut Logs) -> Checked {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let shared = &*logs;
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=4_u64)
            .map(|group| {
                let ends = Arc::clone(&ends);
                scope.spawn(move || submit_all(shared, group.into(), &ends))
            })
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|panic| Err(crate::case::message(&*panic).into()))
        })
    })?;
    let began = Instant::now();
    while ends.lock().unwrap_or_else(PoisonError::into_inner).len() < 4 * EACH {
        ensure!(began.elapsed() < PATIENCE, "callbacks that are not called");
        thread::yield_now();
    }
    logs.reopen()?; // and nobody is called again
    let ends = std::mem::take(&mut *ends.lock().unwrap_or_else(PoisonError::into_inner));
    for group in 1..=4_u64 {
        let mine = ends.iter().filter(|(replica, _, _)| *replica == ReplicaId::from(group));
        let mine: Vec<_> = mine.map(|&(_, last, ahead)| (last, ahead)).collect();
        let wanted: Vec<_> = (1..).take(EACH).map(|index| (Some(id(1, index)), true)).collect();
        expect_eq(format_args!("the ends of group {group}"), &mine, &wanted)?;
    }
    Ok(())
}

/// How many batches each thread submits.
const EACH: usize = 150;

type Ends = Arc<Mutex<Vec<(ReplicaId, Option<LogId>, bool)>>>;

/// Submits single entries, with callbacks that note what each end vouches for, and whether the log
/// calls that durable.
fn submit_all(logs: &Logs, replica: ReplicaId, ends: &Ends) -> Checked {
    for index in (1..).take(EACH) {
        let (log, ends) = (logs.log(replica), Arc::clone(ends));
        let batch = filled(|batch| batch.append(replica, run(replica, 1, index..=index)));
        logs.store().submit_with(&batch, WhenFull::Wait, move |end| {
            let last = end.ok().and_then(|durable| durable.first()?.last);
            let now = log.durable().ok().flatten().map(|durable| durable.id);
            let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
            ends.push((replica, last, now >= last));
        })?;
    }
    Ok(())
}

/// How listeners hear of a batch: by callback, and by waiting.
fn listen(logs: &Logs, first: u64) -> Checked<(Receiver<bool>, Accepted)> {
    let (tell, told) = mpsc::channel();
    let batch = filled(|batch| batch.append(R, run(R, 2, first..=first)));
    logs.store().submit_with(&batch, WhenFull::Wait, move |end| {
        let _ = tell.send(end.is_ok());
    })?;
    let accepted = submit(logs, |batch| batch.append(R, run(R, 2, first + 1..=first + 1)))?;
    Ok((told, accepted))
}

/// Longer than anything takes that ends at all.
const PATIENCE: Duration = Duration::from_secs(30);

fn expect_told(told: &Receiver<bool>, wanted: bool) -> Checked {
    let found = told.recv_timeout(PATIENCE).map_err(|_| "a callback is not called")?;
    expect_eq("what a callback hears", &found, &wanted)?;
    match told.recv_timeout(PATIENCE) {
        Ok(again) => Err(format!("a callback is called again: {again}").into()),
        Err(_) => Ok(()),
    }
}

fn is_poisoned<T>(answer: &kvlogdb_log::Result<T>) -> bool {
    matches!(answer, Err(Error::Engine(EngineError::Poisoned { .. })))
}

/// When a commit fails, by an error or a panic, before the engine has done anything or when it has
/// done all, every listener hears of it once, what was accepted is no longer read, nothing is
/// written any more, and a reopening brings the batch whole or not at all. Traps 13, 14, 15 and 16.
pub(in crate::cases) fn a_commit_that_fails_ends_everything_until_a_reopening(
    logs: &mut Logs,
) -> Checked {
    for (round, fault) in (0..).zip([WriteFault::Lost, WriteFault::Done, WriteFault::Panics]) {
        logs.synced(|batch| batch.reset(R))?;
        logs.store().settle()?;
        logs.synced(|batch| batch.append(R, run(R, 1, 1..=4)))?;
        logs.synced(|batch| batch.set_hard_state(R, hard_state(2 + round, Some(1), None)))?;
        fail_one(logs, fault).during(format_args!("a write that fails as {fault:?}"))?;
        let vote = Some(hard_state(2 + round, Some(1), None));
        expect_eq("the vote", &logs.log(R).hard_state()?, &vote)?;
    }
    Ok(())
}

fn fail_one(logs: &Logs, fault: WriteFault) -> Checked {
    let hold = logs.writes().hold();
    logs.writes().fail_next(fault);
    let (told, accepted) = listen(logs, 5)?;
    hold.await_writer()?;
    let (later_told, later) = listen(logs, 7)?;
    expect_runs(&logs.log(R), &[(1, 1..=4), (2, 5..=8)])?;
    drop(hold);
    ensure!(is_poisoned(&accepted.wait()), "a batch whose commit failed ends well");
    ensure!(is_poisoned(&later.wait()), "a batch behind it ends well");
    expect_told(&told, false)?;
    expect_told(&later_told, false)?;
    let log = logs.log(R);
    ensure!(is_poisoned(&log.entries(.., u64::MAX)), "what was accepted is still read");
    ensure!(is_poisoned(&log.hard_state()), "a vote is still read");
    ensure!(is_poisoned(&log.durable()), "something is still called durable");
    let answer = logs.try_write(|batch| batch.append(R, run(R, 3, 9..=9)));
    expect_refused!("a write", answer, Error::Engine(EngineError::Poisoned { .. }));
    let reopened = logs.store().reopen().during("reopening in place")?;
    let mine = reopened.iter().find(|reopened| reopened.replica == R);
    let before = mine.and_then(|reopened| reopened.last_before);
    expect_eq("the last index before", &before, &Some(8))?;
    let last = log.last_index()?;
    let kept = fault == WriteFault::Done;
    ensure!(last == Some(4) || kept && last >= Some(5), "the log ends at {last:?}");
    log.append(run(R, 3, last.unwrap_or(0) + 1..=last.unwrap_or(0) + 1), Durability::Synced)?;
    expect_eq("what is durable", &durable(logs, R)?, &log.last()?.map(|last| last.id))
}

/// A read that fails says so: no read, no truncation, no purge, no check and no opening takes it
/// for the end of the log. Trap 16.
pub(in crate::cases) fn a_read_that_fails_is_an_error_and_not_an_end(logs: &mut Logs) -> Checked {
    logs.synced(|batch| batch.append(R, run(R, 1, 1..=40)).set_membership(R, "all"))?;
    for passing in 0.. {
        logs.close()?;
        logs.writes().fail_read_behind(Some(passing));
        let answer = read_everything(logs);
        let failed = logs.writes().read_has_failed();
        logs.writes().fail_read_behind(None);
        logs.close()?;
        logs.try_open().during("opening behind a read that failed")?;
        if !failed {
            ensure!(passing > 2, "only {passing} reads");
            return expect_eq("what is read", &answer?, &(40, 38));
        }
        ensure!(answer.is_err(), "read {passing} failed, and the answer is {answer:?}");
    }
    Ok(())
}

/// Opens the logs and reads them in every way; how many entries a read and a scan bring.
fn read_everything(logs: &mut Logs) -> kvlogdb_log::Result<(usize, usize)> {
    logs.try_open()?;
    let log = logs.log(R);
    let read = log.entries(.., u64::MAX)?.len();
    let scanned = log.scan(3..).collect::<kvlogdb_log::Result<Vec<_>>>()?.len();
    log.entry(7)?;
    log.membership()?;
    logs.store().check()?;
    Ok((read, scanned))
}
