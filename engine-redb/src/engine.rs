//! The engine itself.

use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use kvlogdb_engine_api::{
    BufferedIn, Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MetaKey, MetaVisitor, Order, Poison, RangeRemoval, Reclaim, Result, StoreDir, WriteBatch, fs,
};
#[cfg(any(test, feature = "storage-hook"))]
use redb::TableHandle;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase};

use crate::error::{failed, not_opened};
use crate::file::{Watch, WatchedFile};
use crate::layout::{FILE, LAYOUT, META};
use crate::staging::{self, Staged, Step};
use crate::write::Writer;
use crate::{RedbOptions, Repair, read, verify};

/// The engine's name.
const NAME: &str = "redb";
/// The redb release that this crate is built and tested with.
const REDB_VERSION: &str = "4.4.0";
/// A transaction is in memory until it is committed, beside its batches.
const WRITE_BYTES: usize = 4 << 20;
/// How often [`KvLogDb::reclaim`] lets redb compact, which it says itself when to end.
const MAX_COMPACTIONS: usize = 16;

/// A store kept by redb: one file, a copy-on-write B+tree, no thread of its own.
///
/// # Durability
///
/// A Synced write is one commit of redb with one sync of its file. Buffered writes stay in the
/// process: a kill takes them, and so does a power cut; the next sync, Synced write or clean close
/// makes them durable, all at once. A sync with nothing to make durable touches no file.
///
/// # Concurrency
///
/// One write at a time; reads never wait for writes, nor writes for reads.
/// [`reclaim`](KvLogDb::reclaim) and [`close`](KvLogDb::close) wait for running calls and hold up
/// later ones, [`verify`](KvLogDb::verify) holds up writes.
///
/// # Errors
///
/// redb lets nobody write after the file system has failed it, be it in a read. So a read that
/// fails in this way poisons the engine and answers [`Error::Poisoned`] itself.
///
/// # Panics
///
/// redb keeps checksums of its pages and compares them only when it recovers from a crash and in
/// [`verify`](KvLogDb::verify). A page that rots is served as it is; where its structure is
/// damaged, redb may panic in any call, open included.
pub struct RedbEngine {
    /// `None` once closed. Held for writing by what stops the world.
    open: RwLock<Option<Open>>,
    /// Held by the one writer: whether anything waits for its sync.
    unsynced: Mutex<bool>,
    poison: Poison,
    cache_bytes: usize,
    repair: Repair,
}

/// What closing lets go of, in this order.
struct Open {
    shown: RwLock<Shown>,
    database: Database,
    /// How the last sync went, which is that of dropping the database.
    watch: Watch,
    /// Holds the store's lock. `None` on a storage backend of the caller's.
    store: Option<StoreDir>,
}

/// What reads see: everything that was committed. Both parts change in one step, after the commit
/// that changes them; a view that a read began by itself could be newer than what it finds staged.
struct Shown {
    /// `None` where redb could not begin a read, which has poisoned the engine.
    view: Option<Arc<ReadTransaction>>,
    staged: Staged,
}

impl RedbEngine {
    /// Opens the store in `dir`, or makes it there.
    ///
    /// After a crash this may take a while; see [`Repair`].
    ///
    /// # Errors
    ///
    /// What [`StoreDir::open`] answers; [`Error::Corrupt`] where redb's file is missing, cut short
    /// or damaged in a way that shows; [`Error::Format`] for a file of a redb release too old;
    /// failures of the file system, after which the call can be made again.
    pub fn open(dir: &Path, options: &RedbOptions) -> Result<Self> {
        let store = StoreDir::open(dir, NAME, LAYOUT, &options.store, |dir| {
            create(&dir.join(FILE), options)
        })?;
        let opened = WatchedFile::open(&store.engine_dir().join(FILE))
            .and_then(|(file, watch)| Ok((builder(options).create_with_backend(file)?, watch)));
        let (database, watch) = opened.map_err(|error| store.doubt(not_opened(dir, error)))?;
        store.sync()?;
        Self::new(database, watch, Some(store), options)
    }

    /// Opens an engine on a storage backend, which may be empty, for tests that cut the power.
    #[doc(hidden)]
    #[cfg(any(test, feature = "storage-hook"))]
    pub fn open_with_backend(
        backend: impl redb::StorageBackend,
        options: &RedbOptions,
    ) -> Result<Self> {
        let database = builder(options).create_with_backend(backend);
        let database = database.map_err(|error| not_opened(Path::new("backend"), error))?;
        if read::table(&*begin_read(&database)?, META.name())?.is_none() {
            create_tables(&database)?;
        }
        Self::new(database, Watch::default(), None, options)
    }

    fn new(
        database: Database,
        watch: Watch,
        store: Option<StoreDir>,
        options: &RedbOptions,
    ) -> Result<Self> {
        let view = begin_read(&database)?;
        let staged = staging::load(&view)?;
        let shown = RwLock::new(Shown { view: Some(view), staged });
        let poison = store.as_ref().map(StoreDir::poison).unwrap_or_default();
        Ok(Self {
            open: RwLock::new(Some(Open { shown, database, watch, store })),
            unsynced: Mutex::new(false),
            poison,
            cache_bytes: options.cache_bytes,
            repair: options.repair,
        })
    }

    fn shared(&self) -> Shared<'_> {
        Shared(self.open.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Option<Open>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, bool> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes with `pick` what is staged, and runs `read` on that and the view that belongs to it.
    fn read<P, T>(
        &self,
        pick: impl FnOnce(&Staged) -> P,
        read: impl FnOnce(&ReadTransaction, P) -> Result<T>,
    ) -> Result<T> {
        let shared = self.shared();
        let (view, picked) = {
            let shown = shared.open()?.shown();
            (shown.view.clone(), pick(&shown.staged))
        };
        let Some(view) = view else {
            return Err(self.poison.check().err().unwrap_or(Error::Closed));
        };
        read(&view, picked).map_err(|error| match error {
            Error::Io { .. } | Error::DiskFull { .. } => self.poison.latch(error),
            other => other,
        })
    }

    /// Applies the batches in one transaction of redb, with the writer's lock held.
    fn commit(
        &self,
        open: &Open,
        unsynced: &mut bool,
        batches: &[&WriteBatch],
        durability: Durability,
    ) -> Result<()> {
        self.poison.check()?;
        let step = open.shown().staged.next_step(batches);
        let nothing_to_sync = durability == Durability::Buffered || !*unsynced;
        if nothing_to_sync && matches!(step, Step::Sync) {
            return Ok(());
        }
        self.run(open, unsynced, step, batches, durability)
    }

    /// Settles what is staged, as [`commit`](Self::commit) does; nothing where nothing is.
    fn settle(&self, open: &Open, unsynced: &mut bool) -> Result<()> {
        self.poison.check()?;
        let step = if open.shown().staged.is_empty() { Step::Sync } else { Step::Settle };
        if matches!(step, Step::Sync) && !*unsynced {
            return Ok(());
        }
        self.run(open, unsynced, step, &[], Durability::Synced)
    }

    fn run(
        &self,
        open: &Open,
        unsynced: &mut bool,
        step: Step,
        batches: &[&WriteBatch],
        durability: Durability,
    ) -> Result<()> {
        *unsynced = true;
        self.transact(open, &step, batches, durability)
            .map_err(|error| self.poison.latch(failed("write", error)))?;
        *unsynced = durability == Durability::Buffered;
        self.show(open, |staged| staged.take(step))
    }

    fn transact(
        &self,
        open: &Open,
        step: &Step,
        batches: &[&WriteBatch],
        durability: Durability,
    ) -> Result<(), redb::Error> {
        let mut transaction = open.database.begin_write()?;
        match durability {
            Durability::Buffered => transaction.set_durability(redb::Durability::None)?,
            Durability::Synced => {
                transaction.set_durability(redb::Durability::Immediate)?;
                transaction.set_quick_repair(self.repair == Repair::Quick);
            }
        }
        match step {
            Step::Sync => {}
            Step::Stage(blob) => staging::store(blob, &transaction)?,
            Step::Settle => {
                open.shown().staged.settle(&transaction)?;
                let mut writer = Writer::new(&transaction);
                for operation in batches.iter().flat_map(|batch| batch.operations()) {
                    writer.apply(operation)?;
                }
                writer.finish()?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Shows what has been committed.
    fn show(&self, open: &Open, change: impl FnOnce(&mut Staged)) -> Result<()> {
        let view = begin_read(&open.database).map_err(|error| self.poison.latch(error));
        let (view, failed) = match view {
            Ok(view) => (Some(view), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let mut shown = open.shown.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut shown.view, view);
        change(&mut shown.staged);
        drop(shown);
        drop(before); // ends a transaction, where no read goes on in it
        failed
    }
}

fn begin_read(database: &Database) -> Result<Arc<ReadTransaction>> {
    database.begin_read().map(Arc::new).map_err(|error| failed("begin a read", error))
}

fn builder(options: &RedbOptions) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    builder
}

/// Makes redb's file, complete and closed.
fn create(path: &Path, options: &RedbOptions) -> Result<()> {
    let made = |error| failed("create its file", error);
    let (file, watch) = WatchedFile::create(path).map_err(made)?;
    let database = builder(options).create_with_backend(file).map_err(made)?;
    create_tables(&database)?;
    drop(database);
    watch.check("create its file")
}

fn create_tables(database: &Database) -> Result<()> {
    let create = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?;
        Ok(transaction.commit()?)
    };
    create().map_err(|error| failed("create its tables", error))
}

/// Keeps the engine open for as long as a call runs.
struct Shared<'a>(RwLockReadGuard<'a, Option<Open>>);

impl Shared<'_> {
    fn open(&self) -> Result<&Open> {
        self.0.as_ref().ok_or(Error::Closed)
    }
}

impl Open {
    fn shown(&self) -> RwLockReadGuard<'_, Shown> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> Option<PathBuf> {
        self.store.as_ref().map(|store| store.engine_dir().join(FILE))
    }
}

impl KvLogDb for RedbEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: NAME,
            version: REDB_VERSION,
            layout: LAYOUT,
            buffered_in: BufferedIn::Process,
            range_removal: RangeRemoval::InPlace,
            reclaim: Reclaim::StopsTheWorld,
            write_bytes: WRITE_BYTES,
        }
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.read(|staged| staged.entry(key), |view, staged| read::entry(view, staged, key))
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        if range.is_empty() {
            return self.read(|_| (), |_, ()| Ok(()));
        }
        self.read(
            |staged| staged.entries(log, &range, order, budget_bytes),
            |view, staged| {
                let mut visited_bytes = 0_usize;
                read::entries(view, staged, log, &range, order, &mut |index, value| {
                    visited_bytes = visited_bytes.saturating_add(value.len());
                    match visitor(index, value) {
                        ControlFlow::Continue(()) if visited_bytes < budget_bytes => {
                            ControlFlow::Continue(())
                        }
                        _ => ControlFlow::Break(()),
                    }
                })
            },
        )
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.read(|staged| staged.meta(key), |view, staged| read::meta(view, staged, key))
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.read(Staged::all_meta, |view, staged| read::all_meta(view, staged, visitor))
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.read(Staged::logs, |view, mut all| {
            read::logs(view, &mut |log| {
                all.insert(log);
                ControlFlow::Continue(())
            })?;
            let _ = all.into_iter().try_for_each(visitor);
            Ok(())
        })
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        let shared = self.shared();
        self.commit(shared.open()?, &mut self.writer(), batches, durability)
    }

    fn sync(&self) -> Result<()> {
        self.write(&[], Durability::Synced)
    }

    fn disk_bytes(&self) -> Result<u64> {
        let shared = self.shared();
        match &shared.open()?.store {
            Some(store) => fs::tree_bytes(store.root())
                .map_err(|error| Error::io("measure the store's files", error)),
            None => Ok(0),
        }
    }

    fn reclaim(&self) -> Result<()> {
        let mut exclusive = self.exclusive();
        let open = exclusive.as_mut().ok_or(Error::Closed)?;
        self.settle(open, &mut self.writer())?;
        // redb compacts only where nobody reads.
        open.shown.get_mut().unwrap_or_else(PoisonError::into_inner).view = None;
        let mut compact = || -> Result<()> {
            for _ in 0..MAX_COMPACTIONS {
                if !open.database.compact().map_err(|error| failed("compact", error))? {
                    break;
                }
            }
            Ok(())
        };
        let compacted = compact().map_err(|error| self.poison.latch(error));
        self.show(open, |_| ()).and(compacted)
    }

    fn verify(&self) -> Result<()> {
        let shared = self.shared();
        let open = shared.open()?;
        let mut unsynced = self.writer();
        self.commit(open, &mut unsynced, &[], Durability::Synced)?;
        verify::check(&open.database, open.file().as_deref(), self.cache_bytes)
    }

    fn close(&self) -> Result<()> {
        let mut exclusive = self.exclusive();
        let Some(open) = exclusive.take() else {
            return Ok(());
        };
        let mut unsynced = self.writer();
        let committed = self.commit(&open, &mut unsynced, &[], Durability::Synced);
        if committed.is_ok() {
            let _ = self.settle(&open, &mut unsynced); // what is staged is as durable as the rest
        }
        drop(open.shown);
        drop(open.database);
        let dropped = open.watch.check("close its file");
        committed.and(dropped.map_err(|error| self.poison.latch(error)))
    }
}

impl Drop for RedbEngine {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

impl fmt::Debug for RedbEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let poisoned = self.poison.check().is_err();
        f.debug_struct("RedbEngine").field("poisoned", &poisoned).finish_non_exhaustive()
    }
}
