//! Sync calls that the kernel refuses, one at a time.

use kvlogdb_engine_api::{Durability, Error, KvLogDb, MetaKey};

use crate::cases::engine::{LOG, put_all};
use crate::child::{Child, Stage, last, say};
use crate::env::{Env, batch};
use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::model::{expect_value, indexes};
use crate::platform::with_failing_sync;

/// How many sync calls are made to fail, each in a run of its own. Opening takes some of them.
const RUNS: u64 = 7;
/// By how much the number of the failing call grows from run to run.
const STRIDE: u64 = 5;
const WRITES: u64 = 40;

fn put(engine: &dyn KvLogDb, index: u64) -> Checked<kvlogdb_engine_api::Result<()>> {
    let batch = batch(|batch| {
        put_all(batch, LOG, [index])?;
        batch.put_meta(MetaKey::store(256), &[&index.to_be_bytes()])
    })?;
    Ok(engine.write(&[&batch], Durability::Synced))
}

/// What the child does: writes until a write fails, and then expects to be refused.
pub(in crate::cases) fn write_until_refused(stage: &Stage) -> Checked {
    let Ok(engine) = stage.env().try_open() else { return say("unopened", 0) };
    let first = indexes(&*engine, LOG)?.len() as u64 + 1;
    for index in first..first + WRITES {
        say("will", index)?;
        if put(&*engine, index)?.is_err() {
            say("refused", index)?;
            for _ in 0..3 {
                let again = put(&*engine, index + 1)?;
                expect_refused!("a write behind a failed one", again, Error::Poisoned { .. });
                expect_refused!("a sync behind it", engine.sync(), Error::Poisoned { .. });
            }
            return Ok(());
        }
        say("did", index)?;
    }
    Ok(())
}

/// A sync call that fails fails the write, closes the engine to writes, and is not made good by
/// asking again: what is acknowledged is there when the store is opened anew, and the write that
/// failed is whole or absent. A sync that fails while the store is opened loses nothing either.
/// Traps 13 and 14.
pub(in crate::cases) fn a_failed_sync_call_closes_the_store_to_writes(env: &Env) -> Checked {
    env.open()?.close().during("making the store")?;
    let mut refusals = 0;
    for run in 0..RUNS {
        let number = 1 + run * STRIDE;
        let through = with_failing_sync(&env.beside("trace"), number);
        let said = Child::start_under(&through, env, "write until refused", &[])?.rest()?;
        refusals += u64::from(last(&said, "refused").is_some());
        let engine = env.open().during("opening behind a failed sync")?;
        let found = indexes(&*engine, LOG)?;
        let end = found.last().copied().unwrap_or(0);
        expect_eq("indexes", &found, &(1..=end).collect())?;
        let (did, will) = (last(&said, "did").unwrap_or(0), last(&said, "will").unwrap_or(0));
        ensure!(end >= did, "call {number}: write {did} is acknowledged, {end} is the last");
        ensure!(will == 0 || end <= will, "call {number}: write {will} is begun, {end} is there");
        if end > 0 {
            let number = engine.meta(MetaKey::store(256))?;
            expect_value("the number of the last write", number, Some(&end.to_be_bytes()))?;
        }
        engine.close()?;
    }
    ensure!(refusals > 0, "of {RUNS} failed sync calls none failed a write");
    Ok(())
}
