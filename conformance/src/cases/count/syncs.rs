//! Sync calls, as strace counts them.
//!
//! A call that returned shows that the engine has asked the kernel to make something durable. It
//! does not show that this was enough, nor that the disk has done it. An engine that opened its
//! files for synchronous writing would make no such call; none does.

use kvlogdb_engine_api::{Durability, KvLogDb, MetaKey};
use kvlogdb_log::{LogOptions, LogStore};

use crate::cases::engine::{LOG, put_all};
use crate::child::{Child, Stage, say};
use crate::env::{Env, batch};
use crate::failure::{Checked, ensure};
use crate::logs::{R, hard_state, run};
use crate::platform::{syncs_between_lines, with_trace};

const WRITES: u64 = 20;
const BUFFERED_WRITES: u64 = 200;
/// How many Buffered writes there are at least to a sync call of theirs.
const BUFFERED_TO_A_SYNC: u64 = 10;

/// How many sync calls a part makes between `will n` and `did n`, in order.
fn count(env: &Env, part: &str) -> Checked<Vec<u64>> {
    let trace = env.beside("trace");
    let said = Child::start_under(&with_trace(&trace), env, part, &[])?.rest()?;
    let done = said.iter().filter(|line| line.word == "did").count();
    let between = syncs_between_lines(&trace)?;
    let during = between.into_iter().filter(|(said, _)| said.starts_with("will "));
    let counts: Vec<u64> = during.map(|(_, count)| count).collect();
    ensure!(done > 0 && counts.len() == done, "{done} writes, {} in the trace", counts.len());
    Ok(counts)
}

/// Fails unless every one of them made a call.
fn each_makes_one(what: &str, counts: &[u64]) -> Checked {
    ensure!(!counts.contains(&0), "sync calls of each {what}: {counts:?}");
    Ok(())
}

fn put(engine: &dyn KvLogDb, index: u64, durability: Durability) -> Checked {
    let batch = batch(|batch| {
        put_all(batch, LOG, [index])?;
        batch.put_meta(MetaKey::store(256), &[&index.to_be_bytes()])
    })?;
    Ok(engine.write(&[&batch], durability)?)
}

/// What the child does for the case below.
pub(in crate::cases) fn write_synced(stage: &Stage) -> Checked {
    let engine = stage.env().open()?;
    for number in 1..=WRITES {
        say("will", number)?;
        put(&*engine, number, Durability::Synced)?;
        say("did", number)?;
    }
    Ok(engine.close()?)
}

/// No Synced write returns before a sync call has. Traps 7 and 8.
pub(in crate::cases) fn every_synced_write_makes_a_sync_call(env: &Env) -> Checked {
    each_makes_one("Synced write", &count(env, "write synced")?)
}

/// What the child does for the case below.
pub(in crate::cases) fn write_and_sync(stage: &Stage) -> Checked {
    let engine = stage.env().open()?;
    for number in 1..=WRITES {
        put(&*engine, number, Durability::Buffered)?;
        say("will", number)?;
        match number % 3 {
            0 => engine.write(&[], Durability::Synced)?,
            _ => engine.sync()?,
        }
        say("did", number)?;
    }
    Ok(engine.close()?)
}

/// No sync behind a Buffered write, and no Synced write of nothing, returns before a sync call
/// has. Traps 8 and 10.
pub(in crate::cases) fn every_sync_of_something_makes_a_sync_call(env: &Env) -> Checked {
    each_makes_one("sync", &count(env, "write and sync")?)
}

/// What the child does for the case below.
pub(in crate::cases) fn write_buffered(stage: &Stage) -> Checked {
    let engine = stage.env().open()?;
    say("will", 1)?;
    for index in 1..=BUFFERED_WRITES {
        put(&*engine, index, Durability::Buffered)?;
    }
    say("did", 1)?;
    Ok(engine.close()?)
}

/// Buffered writes do not pay for what they do not promise: ten of them make less than one sync
/// call.
pub(in crate::cases) fn buffered_writes_make_no_sync_call_each(env: &Env) -> Checked {
    let calls: u64 = count(env, "write buffered")?.into_iter().sum();
    let limit = BUFFERED_WRITES / BUFFERED_TO_A_SYNC;
    ensure!(calls < limit, "{BUFFERED_WRITES} Buffered writes make {calls} sync calls");
    Ok(())
}

/// The logs without a sidecar, whose own sync calls would be counted with the engine's.
fn open_logs(stage: &Stage) -> Checked<LogStore> {
    let opener = stage.env().opener();
    Ok(LogStore::open(move || opener(), LogOptions::default())?)
}

/// What the child does for the case below.
pub(in crate::cases) fn vote(stage: &Stage) -> Checked {
    let store = open_logs(stage)?;
    let log = store.log(R);
    for term in 1..=WRITES {
        log.append(run(R, term, term..=term), Durability::Buffered)?;
        say("will", term)?;
        log.set_hard_state(hard_state(term, Some(term), None), Durability::Buffered)?;
        say("did", term)?;
    }
    Ok(store.close()?)
}

/// No vote is given before a sync call has returned, although nobody asked for one. Traps 8 and 9.
pub(in crate::cases) fn every_vote_makes_a_sync_call(env: &Env) -> Checked {
    each_makes_one("vote", &count(env, "vote")?)
}

/// What the child does for the case below.
pub(in crate::cases) fn append_synced(stage: &Stage) -> Checked {
    let store = open_logs(stage)?;
    for index in 1..=WRITES {
        say("will", index)?;
        store.log(R).append(run(R, 1, index..=index), Durability::Synced)?;
        say("did", index)?;
    }
    Ok(store.close()?)
}

/// No Synced append returns before a sync call has. Traps 7 and 8.
pub(in crate::cases) fn every_synced_append_makes_a_sync_call(env: &Env) -> Checked {
    each_makes_one("Synced append", &count(env, "append synced")?)
}
