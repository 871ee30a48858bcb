//! The store's directory: what is refused, and what is made good.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kvlogdb_engine_api::{Durability, Error, Manifest, StoreDir, StoreOptions};

use super::copies::copy_tree;
use super::{LOG, put_all};
use crate::env::{Env, batch};
use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::model::indexes;
use crate::random::value;

/// A directory that is there and empty, or the root of a file system, becomes a store.
pub(in crate::cases) fn an_empty_directory_becomes_a_store(env: &Env) -> Checked {
    for own in [None, Some("lost+found")] {
        fs::create_dir_all(env.dir().join(own.unwrap_or_default()))?;
        works(env).during(format_args!("a directory with {own:?}"))?;
        fs::remove_dir_all(env.dir())?;
    }
    Ok(())
}

/// A store can be made where even its parents are missing.
pub(in crate::cases) fn missing_parents_of_a_store_are_made(env: &Env) -> Checked {
    let deep = env.dir().join("deep/down");
    let engine = env.open_in(&deep)?;
    engine.close()?;
    ensure!(Manifest::read(&deep)?.is_some(), "the store has no MANIFEST");
    Ok(())
}

/// What no store wrote is not taken over, even where parts of it look like ours. Trap 31.
pub(in crate::cases) fn a_foreign_directory_is_refused_untouched(env: &Env) -> Checked {
    for foreign in ["notes.txt", "data/more.txt", "SEQ", "engine.old"] {
        let path = env.dir().join(foreign);
        fs::create_dir_all(path.parent().unwrap_or(env.dir()))?;
        fs::write(&path, b"somebody's")?;
        fs::create_dir_all(env.dir().join("engine"))?;
        fs::write(env.dir().join("engine/data"), b"somebody's")?;
        let before = tree(env.dir())?;
        expect_refused!(foreign, env.try_open(), Error::NotAStore { .. });
        expect_eq(foreign, &tree(env.dir())?, &before)?;
        fs::remove_dir_all(env.dir())?;
    }
    Ok(())
}

/// A file where the directory should be is refused. Trap 31.
pub(in crate::cases) fn a_file_in_the_way_is_refused_untouched(env: &Env) -> Checked {
    fs::write(env.dir(), b"somebody's")?;
    expect_refused!("a file", env.try_open(), Error::NotAStore { .. });
    expect_eq("the file", &fs::read(env.dir())?, &b"somebody's".to_vec())
}

/// A store that another engine made is refused by name, and nothing is written. Trap 31.
pub(in crate::cases) fn a_store_of_another_engine_is_refused_untouched(env: &Env) -> Checked {
    make_store(env.dir(), "another-engine", 1)?;
    let before = tree(env.dir())?;
    expect_refused!("another engine's", env.try_open(), Error::WrongEngine { .. });
    expect_eq("another engine's", &tree(env.dir())?, &before)
}

/// A store of this engine in a layout that it does not know is refused, and nothing is written.
/// Trap 31.
pub(in crate::cases) fn a_store_of_a_newer_layout_is_refused_untouched(env: &Env) -> Checked {
    let info = works(env)?;
    fs::remove_dir_all(env.dir())?;
    make_store(env.dir(), info.name, info.layout + 1)?;
    let before = tree(env.dir())?;
    expect_refused!("a newer layout", env.try_open(), Error::Format { .. });
    expect_eq("a newer layout", &tree(env.dir())?, &before)
}

/// A MANIFEST that cannot be read is damage: not a new store, and not a guess. Traps 31 and 43.
pub(in crate::cases) fn a_damaged_manifest_is_refused_untouched(env: &Env) -> Checked {
    works(env)?;
    let path = env.dir().join("MANIFEST");
    let good = fs::read(&path)?;
    let mut flipped = good.clone();
    for byte in flipped.iter_mut().rev().take(3) {
        *byte ^= 1;
    }
    let half = good.get(..good.len() / 2).unwrap_or_default().to_vec();
    for bad in [flipped, half, Vec::new()] {
        fs::write(&path, &bad)?;
        let before = tree(env.dir())?;
        expect_refused!("a damaged MANIFEST", env.try_open(), Error::Corrupt { .. });
        expect_eq("a damaged MANIFEST", &tree(env.dir())?, &before)?;
    }
    fs::write(&path, &good)?;
    still_there(env)
}

/// The MANIFEST says which engine made the store and in which layout. Trap 31.
pub(in crate::cases) fn a_store_names_its_engine(env: &Env) -> Checked {
    let info = works(env)?;
    let manifest = Manifest::read(env.dir())?.ok_or("there is no MANIFEST")?;
    expect_eq("the engine", &manifest.engine.as_str(), &info.name)?;
    expect_eq("the layout", &manifest.layout, &info.layout)
}

/// The lock is on the file LOCK, where another process would hold it. Trap 32.
pub(in crate::cases) fn a_store_locked_from_outside_is_refused(env: &Env) -> Checked {
    works(env)?;
    let held = File::options().write(true).open(env.dir().join("LOCK")).during("opening LOCK")?;
    held.try_lock().map_err(|error| format!("locking LOCK: {error}"))?;
    expect_refused!("a locked store", env.try_open(), Error::AlreadyOpen { .. });
    drop(held);
    still_there(env)
}

/// A creation cut short at any step left nothing that was acknowledged: the next open starts
/// again. Trap 12.
pub(in crate::cases) fn what_a_cut_creation_left_is_cleaned_up(env: &Env) -> Checked {
    let root = env.dir();
    let cuts: [fn(&Path) -> std::io::Result<()>; 5] = [
        |root| fs::remove_file(root.join("MANIFEST")),
        |root| {
            fs::remove_file(root.join("MANIFEST"))?;
            fs::rename(root.join("engine"), root.join("engine.tmp"))
        },
        |root| fs::rename(root.join("MANIFEST"), root.join("MANIFEST.tmp")),
        |root| {
            fs::remove_dir_all(root)?;
            fs::create_dir_all(root.join("engine.tmp/half"))?;
            fs::write(root.join("engine.tmp/half/made"), b"half")?;
            fs::write(root.join("MANIFEST.tmp"), b"half")
        },
        |root| {
            fs::remove_dir_all(root)?;
            fs::create_dir(root)?;
            fs::write(root.join("LOCK"), b"")
        },
    ];
    for (cut, number) in cuts.into_iter().zip(1..) {
        env.open()?.close()?;
        cut(root).during("cutting the creation")?;
        works(env).during(format_args!("after cut {number}"))?;
        ensure!(!root.join("engine.tmp").exists(), "cut {number}: engine.tmp is still there");
        fs::remove_dir_all(root)?;
    }
    Ok(())
}

/// A store that has a MANIFEST and lost its engine's files has lost data: it is never opened as an
/// empty one. With the files back it is whole. Trap 17.
pub(in crate::cases) fn a_store_without_its_engine_files_is_not_taken_for_a_new_one(
    env: &Env,
) -> Checked {
    works(env)?;
    let (files, aside) = (env.dir().join("engine"), env.beside("aside"));
    for what_is_left in ["nothing", "an empty directory"] {
        fs::rename(&files, &aside).during("moving the engine's files")?;
        if what_is_left == "an empty directory" {
            fs::create_dir(&files)?;
        }
        if let Ok(engine) = env.try_open() {
            let found = indexes(&*engine, LOG)?;
            return Err(format!("opened with {what_is_left} left, indexes {found:?}").into());
        }
        if files.exists() {
            fs::remove_dir_all(&files)?;
        }
        fs::rename(&aside, &files)?;
        still_there(env).during("with the files back")?;
    }
    Ok(())
}

/// A store whose files hold garbage, or nothing but zeros, is refused: it is not opened as an empty
/// one, and brings nobody down. With the files back it is whole. Traps 17 and 43.
pub(in crate::cases) fn a_store_of_garbage_is_not_taken_for_an_empty_one(env: &Env) -> Checked {
    works(env)?;
    let (files, aside) = (env.dir().join("engine"), env.beside("aside"));
    for kind in ["garbage", "zeros"] {
        copy_tree(&files, &aside).during("copying the engine's files")?;
        overwrite(&files, |len| if kind == "zeros" { vec![0; len] } else { value(7, len) })?;
        if let Ok(engine) = env.try_open() {
            let found = indexes(&*engine, LOG)?;
            return Err(format!("{kind} are opened, indexes {found:?}").into());
        }
        fs::remove_dir_all(&files)?;
        fs::rename(&aside, &files)?;
        still_there(env).during("with the files back")?;
    }
    Ok(())
}

/// Puts other bytes, as many, into every file at and below `dir`.
fn overwrite(dir: &Path, bytes: impl Fn(usize) -> Vec<u8> + Copy) -> Checked {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            overwrite(&entry.path(), bytes)?;
            continue;
        }
        let len = usize::try_from(entry.metadata()?.len()).map_err(|_| "a file without end")?;
        fs::write(entry.path(), bytes(len))?;
    }
    Ok(())
}

/// What the engine says of its size is what the file system says, up to a factor of two.
pub(in crate::cases) fn disk_bytes_follow_the_files(env: &Env) -> Checked {
    let engine = env.open()?;
    for index in 0..8 {
        let large = crate::random::value(index, 1 << 20);
        let batch = batch(|batch| batch.put_entry(LOG.at(index), &[&large]))?;
        engine.write(&[&batch], Durability::Synced)?;
    }
    let said = engine.disk_bytes()?;
    let files = kvlogdb_engine_api::fs::tree_bytes(env.dir())?;
    ensure!(said >= 8 << 20, "8 MiB of random bytes are said to take {said} B");
    ensure!(
        said / 2 <= files && files / 2 <= said,
        "the engine says {said} B, the file system {files} B"
    );
    Ok(engine.close()?)
}

/// Makes the store, or takes the one there is, which is empty; writes, reopens and reads.
fn works(env: &Env) -> Checked<kvlogdb_engine_api::EngineInfo> {
    let engine = env.open()?;
    expect_eq("a new store's indexes", &indexes(&*engine, LOG)?, &Vec::new())?;
    engine.write(&[&batch(|batch| put_all(batch, LOG, 1..=3))?], Durability::Synced)?;
    let info = engine.info();
    engine.close()?;
    drop(engine);
    still_there(env)?;
    Ok(info)
}

/// What `works` wrote is there.
fn still_there(env: &Env) -> Checked {
    let engine = env.open()?;
    expect_eq("indexes", &indexes(&*engine, LOG)?, &vec![1, 2, 3])?;
    Ok(engine.close()?)
}

/// A store as an engine of that name would make it, with a file of its own.
fn make_store(dir: &Path, engine: &'static str, layout: u32) -> Checked {
    let create = |dir: &Path| {
        fs::write(dir.join("data"), b"another's").map_err(|error| Error::io("create", error))
    };
    StoreDir::open(dir, engine, layout, &StoreOptions::default(), create)?;
    Ok(())
}

/// Every path below `dir`, with the bytes of each file.
fn tree(dir: &Path) -> Checked<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut tree(&path)?);
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path)?;
            found.insert(path, Some(bytes));
        }
    }
    Ok(found)
}
