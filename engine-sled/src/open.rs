//! How sled itself comes and goes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kvlogdb_engine_api::{Cause, Error, Result};
use sled::Db;

use crate::error::{from_sled, is_locked};
use crate::layout::SEGMENT_BYTES;
use crate::options::SledOptions;
use crate::read;

/// Written when a store is made and never removed: a sled that lost its log opens empty and does
/// not say so. It sorts before every key of the contract.
pub(crate) const MARKER_KEY: &[u8] = &[0];
const MARKER: &[u8] = b"kvlogdb";
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The engine directories on which this process has had sled open.
static OPENED_HERE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Makes sled's files in an empty directory.
pub(crate) fn create(dir: &Path, options: &SledOptions) -> Result<()> {
    let db = start(dir, options)?;
    let made = db
        .insert(MARKER_KEY, MARKER)
        .and_then(|_| db.flush())
        .map(|_| ())
        .map_err(|error| from_sled("make the store", error));
    made.and(let_go(db))
}

/// sled takes a snapshot that was being written when the process ended for a whole one, and then
/// cannot open any more.
pub(crate) fn remove_half_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("snap.") && text.ends_with(".generating") {
            fs::remove_file(dir.join(&name))?;
        }
    }
    Ok(())
}

/// Opens sled itself. Its lock may be held for a moment by a process that is dying, or by a thread
/// of a handle that this process has just closed.
pub(crate) fn start(dir: &Path, options: &SledOptions) -> Result<Db> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES as usize)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(None);
    let give_up = Instant::now() + options.store.lock_wait;
    loop {
        match config.open() {
            Ok(db) => {
                opened_here().insert(absolute(dir));
                return Ok(db);
            }
            Err(error) if is_locked(&error) && Instant::now() < give_up => {
                thread::sleep(LOCK_RETRY);
            }
            Err(error) if is_locked(&error) => return Err(locked(dir, error)),
            Err(error) => return Err(from_sled("open the store", error)),
        }
    }
}

/// The store's own lock is ours by now, so sled's lock is held by a leak of this process or by
/// somebody who opened the files without this crate.
pub(crate) fn locked(dir: &Path, source: impl Into<Cause>) -> Error {
    if opened_here().contains(&absolute(dir)) {
        return Error::RestartNeeded { source: source.into() };
    }
    Error::AlreadyOpen { dir: dir.to_owned() }
}

fn opened_here() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OPENED_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn absolute(dir: &Path) -> PathBuf {
    fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())
}

pub(crate) fn check_marker(db: &Db) -> Result<()> {
    match read::fetch(db, MARKER_KEY)? {
        Some(marker) if &*marker == MARKER => Ok(()),
        _ => Err(Error::corrupt("sled came up without what the store was made with")),
    }
}

/// Drops sled, which syncs its file once more on the way and panics where that fails.
pub(crate) fn let_go(db: Db) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| drop(db)))
        .map_err(|_| Error::Io { operation: "close sled", source: "its last sync failed".into() })
}
