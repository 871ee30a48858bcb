//! Failures from inside, on an engine that can be told to fail.

use kvlogdb_engine_api::{Durability, Error as EngineError, KvLogDb, WriteBatch};
use kvlogdb_log::{Error, LogBatch};

use crate::cases::engine::{LOG, log, put_all};
use crate::env::{Env, batch};
use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::faults::{Fault, Faults};
use crate::logs::{Logs, N, R, expect_runs, hard_state, run};
use crate::model::{Model, indexes};

/// A batch over two logs, of which one is another replica's.
fn pair(index: u64) -> Checked<WriteBatch> {
    batch(|batch| {
        put_all(batch, LOG, [index])?;
        put_all(batch, log(7, 1, 0), [index])
    })
}

/// Fails unless the engine refuses every kind of write.
fn expect_closed_to_writes(engine: &dyn KvLogDb) -> Checked {
    for durability in [Durability::Buffered, Durability::Synced] {
        let answer = engine.write(&[&pair(50)?], durability);
        expect_refused!("a write behind a failure", answer, EngineError::Poisoned { .. });
        let answer = engine.write(&[], durability);
        expect_refused!("a write of nothing", answer, EngineError::Poisoned { .. });
    }
    expect_refused!("a sync", engine.sync(), EngineError::Poisoned { .. });
    Ok(())
}

/// Writes five batches, fails the sixth, and opens the store anew; `check` gets what must be
/// there if the sixth is absent, and the sixth.
fn fail(
    env: &Env,
    faults: &Faults,
    fault: Fault,
    check: impl Fn(&dyn KvLogDb, &Model, &WriteBatch) -> Checked,
) -> Checked {
    let env = env.elsewhere(&format!("{fault:?}"))?;
    let engine = env.open()?;
    let mut model = Model::default();
    for index in 1..=5 {
        engine.write(&[&pair(index)?], Durability::Synced)?;
        model.apply(&pair(index)?);
    }
    faults.arm(env.dir(), fault);
    let sixth = pair(6)?;
    let answer = engine.write(&[&sixth], Durability::Synced);
    expect_refused!("a write that fails", answer, EngineError::Poisoned { .. });
    expect_closed_to_writes(&*engine)?;
    // It has nothing to sync, or cannot: closing may say so, and ends it either way.
    let _ = engine.close();
    expect_refused!(
        "a write behind a close",
        engine.write(&[], Durability::Buffered),
        EngineError::Closed
    );
    drop(engine);
    let engine = env.open().during("opening behind a failure")?;
    check(&*engine, &model, &sixth).during(format_args!("behind {fault:?}"))?;
    engine.write(&[&pair(7)?], Durability::Synced).during("writing behind a failure")?;
    Ok(engine.close()?)
}

const FAULTS: [Fault; 3] = [Fault::WriteLost, Fault::WriteDone, Fault::Sync];

/// After a failed write or sync the engine takes no write until it is opened anew. Traps 13 and 14.
pub(in crate::cases) fn a_failure_closes_the_store_to_writes(
    env: &Env,
    faults: &Faults,
) -> Checked {
    for fault in FAULTS {
        fail(env, faults, fault, |engine, _, _| {
            ensure!(!indexes(engine, LOG)?.contains(&50), "a refused write is there");
            Ok(())
        })?;
    }
    Ok(())
}

/// A batch that failed is there as a whole or not at all when the store is opened anew, and all
/// before it is there. Traps 11 and 14.
pub(in crate::cases) fn a_failed_batch_is_whole_or_absent(env: &Env, faults: &Faults) -> Checked {
    for fault in FAULTS {
        fail(env, faults, fault, |engine, model, sixth| {
            let mut whole = model.clone();
            whole.apply(sixth);
            let absent = model.check(engine);
            let neither = |other| format!("neither whole nor absent: {other}; {absent:?}");
            if absent.is_err() {
                whole.check(engine).map_err(neither)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A sync that failed is not made good by the next: it is refused, and what was Buffered is a
/// prefix when the store is opened anew. Trap 13.
pub(in crate::cases) fn a_failed_sync_is_not_made_good_by_the_next(
    env: &Env,
    faults: &Faults,
) -> Checked {
    let engine = env.open()?;
    engine.write(&[&pair(1)?], Durability::Synced)?;
    for index in 2..=9 {
        engine.write(&[&pair(index)?], Durability::Buffered)?;
    }
    faults.arm(env.dir(), Fault::Sync);
    expect_refused!("a sync that fails", engine.sync(), EngineError::Poisoned { .. });
    expect_closed_to_writes(&*engine)?;
    let _ = engine.close();
    drop(engine);
    let engine = env.open().during("opening behind a failed sync")?;
    let found = indexes(&*engine, LOG)?;
    let end = found.len() as u64;
    ensure!(end >= 1, "what was synced before is gone");
    expect_eq("indexes", &found, &(1..=end).collect())?;
    expect_eq("the other log", &indexes(&*engine, log(7, 1, 0))?, &found)?;
    Ok(engine.close()?)
}

/// A log whose engine fails answers nothing more, no vote either, until it is reopened in place;
/// then the batch is whole or absent, what was acknowledged is there, and the log goes on. Traps 13
/// and 16.
pub(in crate::cases) fn a_log_answers_nothing_behind_a_failure_until_reopened(
    env: &Env,
    faults: &Faults,
) -> Checked {
    for fault in FAULTS {
        let env = env.elsewhere(&format!("{fault:?}"))?;
        fail_log(&env, faults, fault).during(format_args!("behind {fault:?}"))?;
    }
    Ok(())
}

fn fail_log(env: &Env, faults: &Faults, fault: Fault) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.synced(|batch| batch.append(R, run(R, 1, 1..=5)).append(N, run(N, 1, 1..=5)))?;
    logs.write(|batch| batch.set_hard_state(R, hard_state(3, Some(1), None)))?;
    faults.arm(env.dir(), fault);
    let mut batch = LogBatch::new();
    batch.append(R, run(R, 3, 6..=8)).append(N, run(N, 3, 6..=8));
    let answer = logs.store().write(&batch, kvlogdb_log::Durability::Synced);
    expect_refused!("a batch", answer, Error::Engine(EngineError::Poisoned { .. }));
    let vote = logs.log(R).hard_state();
    expect_refused!("a vote", vote, Error::Engine(EngineError::Poisoned { .. }));
    let read = logs.log(R).entries(.., u64::MAX);
    expect_refused!("a read", read, Error::Engine(EngineError::Poisoned { .. }));
    logs.store().reopen().during("reopening in place")?;
    let state = hard_state(3, Some(1), None);
    expect_eq("the vote", &logs.log(R).hard_state()?, &Some(state))?;
    let whole = logs.log(R).last_index()? == Some(8);
    let runs: &[_] = if whole { &[(1, 1..=5), (3, 6..=8)] } else { &[(1, 1..=5)] };
    expect_runs(&logs.log(R), runs)?;
    expect_runs(&logs.log(N), runs)?;
    let next = logs.log(R).last_index()?.unwrap_or(0) + 1;
    logs.fill(R, 4, next..=next)?;
    logs.settle()?;
    logs.close()
}
