//! What a write that finds no room leaves behind.

use kvlogdb_engine_api::{Durability, Error as EngineError, KvLogDb, MetaKey};
use kvlogdb_log::{Error, LogStore};

use crate::cases::engine::LOG;
use crate::child::{Child, Stage, last, only, say};
use crate::env::{Env, batch};
use crate::failure::{Checked, Context, chain, ensure, expect_eq, expect_refused};
use crate::logs::{R, hard_state, open_elsewhere};
use crate::model::{expect_value, indexes};
use crate::platform::{SmallDisk, with_file_limit};
use crate::random::value;

/// A small store of any engine fits, and a few dozen writes beside it.
const SMALL_MIB: u64 = 32;
const ROOM_MIB: u64 = 400;
const FILE_BYTES: u64 = 24 << 20;
const VALUE_BYTES: usize = 400_000;
/// Writes that must have fitted, or the case has seen nothing.
const LEAST: u64 = 15;
/// More than fit: an engine that still takes writes does not notice that there is no room.
const MOST: u64 = 200;

/// One write: an entry, and metadata that has to go with it.
fn put(engine: &dyn KvLogDb, index: u64) -> Checked<kvlogdb_engine_api::Result<()>> {
    let batch = batch(|batch| {
        batch.put_entry(LOG.at(index), &[&value(index, VALUE_BYTES)])?;
        batch.put_meta(MetaKey::store(256), &[&index.to_be_bytes()])
    })?;
    Ok(engine.write(&[&batch], Durability::Synced))
}

/// Fails unless the engine says that it is closed to writes, and names the want of room, also
/// where a thread of its own has met the full disk first.
fn expect_full(what: &str, answer: kvlogdb_engine_api::Result<()>) -> Checked {
    let Err(EngineError::Poisoned { cause }) = answer else {
        return Err(format!("{what} is answered {answer:?}, wanted Poisoned").into());
    };
    ensure!(matches!(*cause, EngineError::DiskFull { .. }), "{what}: {}", chain(&*cause));
    Ok(())
}

/// What the child does: writes until there is no room, and then tries to go on.
pub(in crate::cases) fn fill_engine(stage: &Stage) -> Checked {
    let engine = stage.env().open()?;
    let mut count = 0;
    let refused = loop {
        match put(&*engine, count + 1)? {
            Ok(()) => count += 1,
            refused => break refused,
        }
        ensure!(count <= MOST, "{count} writes are acknowledged, which cannot fit");
    };
    expect_full("the write without room", refused)?;
    expect_full("the next write", put(&*engine, count + 2)?)?;
    expect_full("a sync", engine.sync())?;
    say("filled", count)?;
    drop(engine);
    say("ended", count)
}

/// What another child does while there is no room yet: looks whether the store opens, and says
/// what is wrong if not.
pub(in crate::cases) fn look_at_full(stage: &Stage) -> Checked {
    match stage.env().try_open() {
        Ok(engine) => {
            let found = indexes(&*engine, LOG)?.len() as u64;
            say("opened", found)
        }
        Err(EngineError::DiskFull { .. }) => say("refused", 0),
        Err(other) => Err(other).during("opening on a full disk"),
    }
}

/// Everything acknowledged is there, the write that failed is whole or absent, and the store can
/// be used.
fn check(env: &Env, count: u64) -> Checked {
    let engine = env.open().during("opening with room")?;
    let found = indexes(&*engine, LOG)?;
    let end = found.last().copied().unwrap_or(0);
    ensure!(end == count || end == count + 1, "{count} writes acknowledged, {end} found");
    expect_eq("indexes", &found, &(1..=end).collect())?;
    for index in 1..=end {
        let found = engine.entry(LOG.at(index))?;
        expect_value(format_args!("entry {index}"), found, Some(&value(index, VALUE_BYTES)))?;
    }
    let number = engine.meta(MetaKey::store(256))?;
    expect_value("the number of the last write", number, Some(&end.to_be_bytes()))?;
    engine.verify().during("verifying")?;
    put(&*engine, end + 1)?.during("writing with room")?;
    let engine = env.reopen(engine)?;
    expect_eq(
        "entries with one more",
        &indexes(&*engine, LOG)?.len(),
        &found.len().wrapping_add(1),
    )?;
    Ok(engine.close()?)
}

/// A file system that runs full ends the writes by name. What was acknowledged is there as soon as
/// there is room, and while there is none the store opens with all of it or says why not. Trap 46.
pub(in crate::cases) fn a_full_disk_ends_the_writes_and_loses_none(env: &Env) -> Checked {
    let (disk, env) = small_disk(env)?;
    let said = Child::start(&env, "fill", &[])?.rest()?;
    let count = only(&said, "filled")?;
    ensure!(count >= LEAST, "only {count} writes fitted");
    let said = Child::start(&env, "look", &[])?.rest()?;
    if let Some(found) = last(&said, "opened") {
        ensure!(found == count || found == count + 1, "{count} acknowledged, {found} found");
    } else {
        only(&said, "refused")?;
    }
    // What never got into the cache needs no copy, for which there would be no room.
    ensure!(!env.dir().join("DOUBT").exists(), "a full file system is taken for a failing disk");
    disk.grow(ROOM_MIB)?;
    check(&env, count)
}

/// A file that may not grow ends the writes as a full disk does. Trap 46.
pub(in crate::cases) fn a_file_that_may_not_grow_ends_the_writes_and_loses_none(
    env: &Env,
) -> Checked {
    env.open()?.close().during("making the store")?;
    let said = Child::start_under(&with_file_limit(FILE_BYTES), env, "fill", &[])?.rest()?;
    let count = only(&said, "filled")?;
    ensure!(count >= LEAST, "only {count} writes fitted");
    check(env, count)
}

/// The case's directory on a file system with little room.
fn small_disk(env: &Env) -> Checked<(SmallDisk, Env)> {
    let place = env.elsewhere("small disk")?;
    let disk = SmallDisk::mount(place.place(), SMALL_MIB)?;
    let env = Env::at(env.subject().clone(), disk.root().to_owned());
    Ok((disk, env))
}

fn open(env: &Env) -> Checked<LogStore> {
    open_elsewhere(env, env.dir(), env.beside("SEQ")).during("opening the logs")
}

/// One batch: an entry, and a vote of its term.
fn append(store: &LogStore, index: u64) -> kvlogdb_log::Result<()> {
    let mut batch = kvlogdb_log::LogBatch::new();
    let payload = value(index, VALUE_BYTES);
    batch.append(R, vec![kvlogdb_log::Entry::new(index, index, payload)]);
    batch.set_hard_state(R, hard_state(index, Some(1), Some(index)));
    store.write(&batch, Durability::Synced)
}

/// What the child does: fills a log, and tries to go on.
pub(in crate::cases) fn fill_log(stage: &Stage) -> Checked {
    let store = open(stage.env())?;
    let mut count = 0;
    let refused = loop {
        match append(&store, count + 1) {
            Ok(()) => count += 1,
            Err(Error::Engine(refused)) => break Err(refused),
            Err(other) => return Err(other.into()),
        }
        ensure!(count <= MOST, "{count} batches are acknowledged, which cannot fit");
    };
    expect_full("the batch without room", refused)?;
    let next = append(&store, count + 1);
    expect_refused!("the next batch", next, Error::Engine(EngineError::Poisoned { .. }));
    let vote = store.log(R).hard_state();
    expect_refused!("the vote", vote, Error::Engine(EngineError::Poisoned { .. }));
    say("filled", count)
}

/// A log whose disk runs full refuses by name and answers nothing more, no vote either. With room
/// again every batch that was acknowledged is there, entry and vote alike, and the log goes on.
/// Traps 22 and 46.
pub(in crate::cases) fn a_log_on_a_full_disk_loses_no_batch(env: &Env) -> Checked {
    let (disk, env) = small_disk(env)?;
    let said = Child::start(&env, "fill log", &[])?.rest()?;
    let count = only(&said, "filled")?;
    ensure!(count >= LEAST, "only {count} batches fitted");
    disk.grow(ROOM_MIB)?;
    let store = open(&env)?;
    let log = store.log(R);
    let end = log.last_index()?.unwrap_or(0);
    ensure!(end == count || end == count + 1, "{count} batches acknowledged, {end} found");
    let state = hard_state(end, Some(1), Some(end));
    expect_eq("the hard state", &log.hard_state()?, &Some(state))?;
    for index in 1..=end {
        let entry = log.entry(index)?;
        ensure!(entry.payload == value(index, VALUE_BYTES), "entry {index} is another");
    }
    expect_eq("problems", &store.check()?.problems, &Vec::new())?;
    append(&store, end + 1).during("with room")?;
    Ok(store.close()?)
}
