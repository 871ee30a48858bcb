//! The contract over sled.

use std::fmt;
use std::mem;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Mutex, RwLock, RwLockReadGuard};

use bytes::Bytes;
use kvlogdb_engine_api::{
    BufferedIn, Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MetaKey, MetaVisitor, Order, Poison, RangeRemoval, Reclaim, Result, StoreDir, WriteBatch,
    fs as durable,
};
use sled::Db;

use crate::alarm::Alarm;
use crate::error::from_sled;
use crate::journal::Journal;
use crate::layout::{self, LAYOUT, Staged};
use crate::open::{MARKER_KEY, check_marker, create, let_go, locked, remove_half_snapshots, start};
use crate::options::SledOptions;
use crate::read;

const NAME: &str = "sled";
/// The version of sled that the workspace's lock file names.
const VERSION: &str = "0.34.7";
/// sled applies a batch in no order, and lets go of no page that it replaces before the batch has
/// ended: larger ones take half the speed and many times the memory.
const WRITE_BYTES: usize = 256 << 10;
/// How many keys `verify` checks before it lets writers in.
const VERIFY_STEP: usize = 1024;

/// A store kept in sled.
///
/// # Durability
///
/// A write that is [`Synced`](Durability::Synced) ends in an `fdatasync` of sled's log, and costs
/// one. A [`Buffered`](Durability::Buffered) one is handed to the kernel, in which it survives a
/// kill; one in several megabytes of log is synced on the way. Writers are served one after
/// another.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::{Durability, KvLogDb, LogName, WriteBatch};
/// use kvlogdb_engine_sled::{SledEngine, SledOptions};
///
/// let dir = tempfile::tempdir()?;
/// let engine = SledEngine::open(dir.path(), &SledOptions::default())?;
/// let mut batch = WriteBatch::new();
/// batch.put_entry(LogName::default().at(1), &[b"first"])?;
/// engine.write(&[&batch], Durability::Synced)?;
/// engine.close()?;
///
/// let engine = SledEngine::open(dir.path(), &SledOptions::default())?;
/// assert_eq!(engine.entry(LogName::default().at(1))?.as_deref(), Some(&b"first"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SledEngine {
    /// `None` once closed. Taken before `view` by all that writes.
    journal: Mutex<Option<Journal>>,
    /// Readers share it; a batch is applied under it alone, so that each sees all of it or nothing.
    view: RwLock<View>,
    poison: Poison,
}

enum View {
    Open {
        db: Db,
        alarm: Alarm,
        dir: StoreDir,
    },
    /// A batch broke off in sled's memory; see [`SledEngine::apply`].
    Abandoned {
        /// Held for its lock.
        _dir: StoreDir,
    },
    Closed,
}

/// sled's own form would be its whole contents.
impl fmt::Debug for SledEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledEngine").field("poison", &self.poison).finish_non_exhaustive()
    }
}

impl SledEngine {
    /// Opens the store in `dir`, or makes it there.
    ///
    /// # Errors
    ///
    /// Those of [`StoreDir::open`]; [`Error::AlreadyOpen`] when somebody has sled itself open on
    /// the store's files, [`Error::RestartNeeded`] when that is this process, because sled kept
    /// its lock after a failure; [`Error::Corrupt`] when sled notices damage or has lost the
    /// store; [`Error::Format`] when another version of sled made the files;
    /// [`Error::DiskFull`], because sled writes when it opens.
    ///
    /// # Panics
    ///
    /// sled 0.34 panics over some kinds of damage instead of reporting them.
    pub fn open(dir: &Path, options: &SledOptions) -> Result<Self> {
        let create = |temporary: &Path| create(temporary, options);
        let dir = StoreDir::open(dir, NAME, LAYOUT, &options.store, create)?;
        let files = dir.engine_dir();
        if dir.is_in_doubt() {
            return Err(locked(&files, "a handle that failed still holds its files"));
        }
        remove_half_snapshots(&files)
            .map_err(|error| Error::io("remove what a cut open left", error))?;
        // A killed process may have left more in the page cache than on the disk. sled clears space
        // when it opens, on the strength of all that it finds.
        dir.sync()?;
        let db = start(&files, options).map_err(|error| dir.doubt(error))?;
        match serve(&db, &dir) {
            Ok((journal, alarm)) => Ok(Self {
                journal: Mutex::new(Some(journal)),
                poison: dir.poison(),
                view: RwLock::new(View::Open { db, alarm, dir }),
            }),
            Err(error) => {
                let _ = let_go(db); // the first failure is the one to tell
                Err(dir.doubt(error))
            }
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Db) -> Result<T>) -> Result<T> {
        self.with(&*self.share()?, read)
    }

    fn share(&self) -> Result<RwLockReadGuard<'_, View>> {
        self.view.read().map_err(|_| self.panicked())
    }

    /// A panic in sled, which is where damage can end, is a failed write like any other.
    fn panicked(&self) -> Error {
        self.poison.latch(Error::Io {
            operation: "write",
            source: "sled panicked over an earlier write".into(),
        })
    }

    fn with<T>(&self, view: &View, work: impl FnOnce(&Db) -> Result<T>) -> Result<T> {
        match view {
            View::Open { db, alarm, .. } => {
                let _in_use = alarm.begin();
                work(db)
            }
            View::Abandoned { .. } => Err(self.poison.check().err().unwrap_or(Error::Closed)),
            View::Closed => Err(Error::Closed),
        }
    }

    /// Runs a change with all other writers kept out; its first failure poisons.
    fn change(&self, change: impl FnOnce(&mut Journal) -> Result<()>) -> Result<()> {
        let mut journal = self.journal.lock().map_err(|_| self.panicked())?;
        let journal = journal.as_mut().ok_or(Error::Closed)?;
        self.poison.check()?;
        change(journal).map_err(|error| self.poison.latch(error))
    }

    /// Applies a batch, with readers kept out.
    fn apply(&self, staged: Staged, journal: &mut Journal) -> Result<()> {
        let mut view = self.view.write().map_err(|_| self.panicked())?;
        self.with(&view, |db| journal.flush(db))?; // a read may have moved sled's pages since
        let applied = self.with(&view, |db| {
            db.apply_batch(staged.batch).map_err(|error| from_sled("apply a batch", error))
        });
        if let Err(error) = applied {
            let error = self.poison.latch(error);
            abandon(&mut view);
            return Err(error);
        }
        // sled splits and joins pages when it next comes by, which would let reads write without
        // bounds. So it is sent by at once, and what that writes is flushed with the batch.
        self.with(&view, |db| {
            staged.visits.iter().try_for_each(|key| read::fetch(db, key).map(drop))
        })
    }

    fn end(&self, journal: Option<Journal>) -> Result<()> {
        let Some(mut journal) = journal else {
            return Ok(());
        };
        let mut view = self.view.write().unwrap_or_else(|panicked| {
            let mut view = panicked.into_inner();
            let _ = self.panicked(); // latched
            abandon(&mut view);
            self.view.clear_poison();
            view
        });
        let sync = |()| self.with(&view, |db| journal.sync(db));
        let synced = self.poison.check().and_then(sync).map_err(|error| self.poison.latch(error));
        let View::Open { db, alarm, dir } = mem::replace(&mut *view, View::Closed) else {
            return synced;
        };
        drop(alarm); // it has sled open, too
        let closed = let_go(db);
        drop(dir); // only now may the next handle come
        synced.and(closed)
    }
}

impl KvLogDb for SledEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: NAME,
            version: VERSION,
            layout: LAYOUT,
            buffered_in: BufferedIn::Kernel,
            range_removal: RangeRemoval::InPlace,
            reclaim: Reclaim::Unsupported,
            write_bytes: WRITE_BYTES,
        }
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.read(|db| read::value(db, |chunk| key.encode_chunk(chunk)))
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.read(|db| {
            if range.is_empty() {
                return Ok(());
            }
            read::scan(db, log, &range, order, budget_bytes, visitor)
        })
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.read(|db| read::value(db, |chunk| key.encode_chunk(chunk)))
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.read(|db| read::scan_meta(db, visitor))
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.read(|db| read::logs(db, visitor))
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.change(|journal| {
            let staged = self.read(|db| layout::stage(db, batches))?;
            if !staged.visits.is_empty() {
                self.apply(staged, journal)?;
            }
            self.read(|db| match durability {
                Durability::Buffered => journal.flush(db),
                Durability::Synced => journal.sync(db),
            })
        })
    }

    fn sync(&self) -> Result<()> {
        self.change(|journal| self.read(|db| journal.sync(db)))
    }

    fn disk_bytes(&self) -> Result<u64> {
        match &*self.share()? {
            View::Open { dir, .. } | View::Abandoned { _dir: dir } => {
                durable::tree_bytes(dir.root())
                    .map_err(|error| Error::io("measure the store's files", error))
            }
            View::Closed => Err(Error::Closed),
        }
    }

    fn reclaim(&self) -> Result<()> {
        self.read(|_| Ok(()))
    }

    fn verify(&self) -> Result<()> {
        self.read(check_marker)?;
        let mut passed = sled::IVec::from(MARKER_KEY);
        while let Some(last) = self.read(|db| read::check(db, &passed, VERIFY_STEP))? {
            passed = last;
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        let journal = match self.journal.lock() {
            Ok(mut journal) => journal.take(),
            Err(panicked) => {
                let _ = self.panicked(); // latched
                let journal = panicked.into_inner().take();
                self.journal.clear_poison();
                journal
            }
        };
        self.end(journal)
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        let _ = self.close(); // nobody is left to tell
    }
}

/// What stands between an open sled and the first answer.
fn serve(db: &Db, dir: &StoreDir) -> Result<(Journal, Alarm)> {
    check_marker(db)?;
    db.flush().map_err(|error| from_sled("open the store", error))?;
    dir.sync()?;
    let alarm = Alarm::set(db).map_err(|error| Error::io("start a thread", error))?;
    Ok((Journal::new(&dir.engine_dir(), db)?, alarm))
}

/// A batch that broke off is half in sled's memory, and any flush would put that half on the disk
/// without the mark that belongs to it. Where sled has not shut itself down over the failure, it
/// is kept from flushing by being forgotten: its lock goes with the process only.
fn abandon(view: &mut View) {
    if let View::Open { db, alarm, dir } = mem::replace(view, View::Closed) {
        drop(alarm); // it has sled open, too
        if db.context.global_error().is_ok() {
            mem::forget(db);
        } else {
            let _ = let_go(db); // the write has failed already
        }
        *view = View::Abandoned { _dir: dir };
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
