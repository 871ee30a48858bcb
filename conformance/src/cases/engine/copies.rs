//! What is in the files while the engine runs: a copy of them is what a killed process leaves.
//!
//! This shows that a write has left the process, and nothing about the disk behind the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use kvlogdb_engine_api::{Durability, KvLogDb, LogName, MetaKey, WriteBatch};

use super::{LOG, log, put_all};
use crate::env::{Env, batch};
use crate::failure::{Checked, Context, expect_eq};
use crate::model::{Model, indexes};

/// When a Synced write returns, it and all before it are in the files. Traps 7 and 8.
pub(in crate::cases) fn a_synced_write_is_in_the_files_when_it_returns(env: &Env) -> Checked {
    let engine = env.open()?;
    let mut model = Model::default();
    for round in 1..=5 {
        for (offset, durability) in [(0, Durability::Buffered), (1, Durability::Synced)] {
            let batch = numbered(round * 2 + offset)?;
            engine.write(&[&batch], durability)?;
            model.apply(&batch);
        }
        with_copy(env, &format!("copy {round}"), |copy| model.check(copy))?;
    }
    Ok(engine.close()?)
}

/// When a sync returns, every write before it is in the files. Traps 7 and 8.
pub(in crate::cases) fn a_sync_brings_buffered_writes_into_the_files(env: &Env) -> Checked {
    let sync = |engine: &dyn KvLogDb| Ok(engine.sync()?);
    buffered_then(env, sync)
}

/// A Synced write takes all before it along, even when it changes nothing itself. Traps 8 and 10.
pub(in crate::cases) fn a_synced_write_of_nothing_brings_buffered_writes_into_the_files(
    env: &Env,
) -> Checked {
    buffered_then(env, |engine| Ok(engine.write(&[], Durability::Synced)?))?;
    buffered_then(env, |engine| Ok(engine.write(&[&WriteBatch::new()], Durability::Synced)?))
}

fn buffered_then(env: &Env, make_durable: fn(&dyn KvLogDb) -> Checked) -> Checked {
    let engine = env.open()?;
    let mut model = Model::default();
    for round in 1..=40 {
        let batch = numbered(round)?;
        engine.write(&[&batch], Durability::Buffered)?;
        model.apply(&batch);
    }
    make_durable(&*engine)?;
    with_copy(env, "copy", |copy| model.check(copy))?;
    Ok(engine.close()?)
}

/// Of Buffered writes a prefix may be in the files: never a later one without an earlier one,
/// never half of one. Trap 14.
pub(in crate::cases) fn buffered_writes_in_the_files_are_a_prefix(env: &Env) -> Checked {
    let engine = env.open()?;
    for round in 1..=60 {
        engine.write(&[&numbered(round)?], Durability::Buffered)?;
    }
    with_copy(env, "copy", |copy| {
        let count = indexes(copy, LOG)?.len() as u64;
        let mut model = Model::default();
        for round in 1..=count {
            model.apply(&numbered(round)?);
        }
        expect_eq("indexes", &indexes(copy, LOG)?, &(1..=count).collect())?;
        expect_eq("the other log", &indexes(copy, OTHER)?.len(), &usize::from(count > 0))?;
        if count > 0 {
            model.check(copy)?;
        }
        Ok(())
    })?;
    Ok(engine.close()?)
}

const OTHER: LogName = log(9, 9, 9);

/// Write number `round`: an entry to one log, a moving entry in another, and metadata.
fn numbered(round: u64) -> Checked<WriteBatch> {
    batch(|batch| {
        put_all(batch, LOG, [round])?;
        batch.put_entry(OTHER.at(round), &[&crate::random::value(round, 3000)])?;
        batch.remove_entries(OTHER, 0, round - 1);
        batch.put_meta(MetaKey::store(256), &[&round.to_le_bytes()])
    })
}

/// Opens a copy of the store's files and checks what is in it.
fn with_copy(env: &Env, name: &str, check: impl FnOnce(&dyn KvLogDb) -> Checked) -> Checked {
    let to = env.beside(name);
    copy_quiet_files(env.dir(), &to).during("copying the store's files")?;
    let copy = env.open_in(&to).during("a copy of the files")?;
    check(&*copy).during("in a copy of the files")?;
    copy.close()?;
    drop(copy);
    Ok(fs::remove_dir_all(&to)?)
}

/// Copies the files once no thread of the engine's has changed them meanwhile: a copy takes time,
/// and a kill does not.
pub(in crate::cases) fn copy_quiet_files(from: &Path, to: &Path) -> Checked {
    for _ in 0..50 {
        if copy_files(from, to)? {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err("the files never stayed the same for the time of a copy".into())
}

/// Whether the copy is of files that nobody changed; failures while they change are passed over.
fn copy_files(from: &Path, to: &Path) -> Checked<bool> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let Ok(before) = stamps(from) else {
        return Ok(false);
    };
    let copied = copy_tree(from, to);
    match stamps(from) {
        Ok(after) if after == before => copied.map(|()| true).map_err(Into::into),
        _ => Ok(false),
    }
}

/// Size and time of the last change of every file.
fn stamps(dir: &Path) -> std::io::Result<BTreeMap<PathBuf, (u64, SystemTime)>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            found.append(&mut stamps(&entry.path())?);
        }
        found.insert(entry.path(), (metadata.len(), metadata.modified()?));
    }
    Ok(found)
}

pub(in crate::cases) fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.metadata()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
