//! The engine itself.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
use crate::write::Writer;
use crate::{RedbOptions, Repair, read, verify};

/// The engine's name.
const NAME: &str = "redb";
/// The redb release that this crate is built and tested with.
const REDB_VERSION: &str = "4.4.0";
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
    database: Database,
    /// How the last sync went, which is that of dropping the database.
    watch: Watch,
    /// Holds the store's lock. `None` on a storage backend of the caller's.
    store: Option<StoreDir>,
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
        Ok(Self::new(database, watch, Some(store), options))
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
        let view = database.begin_read().map_err(|error| failed("begin a read", error))?;
        if read::table(&view, META.name())?.is_none() {
            create_tables(&database)?;
        }
        drop(view);
        Ok(Self::new(database, Watch::default(), None, options))
    }

    fn new(
        database: Database,
        watch: Watch,
        store: Option<StoreDir>,
        options: &RedbOptions,
    ) -> Self {
        let poison = store.as_ref().map(StoreDir::poison).unwrap_or_default();
        Self {
            open: RwLock::new(Some(Open { database, watch, store })),
            unsynced: Mutex::new(false),
            poison,
            cache_bytes: options.cache_bytes,
            repair: options.repair,
        }
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

    /// Runs `read` on one view of the database.
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T>) -> Result<T> {
        let shared = self.shared();
        let view = shared.open()?.database.begin_read();
        view.map_err(|error| failed("begin a read", error)).and_then(|view| read(&view)).map_err(
            |error| match error {
                Error::Io { .. } | Error::DiskFull { .. } => self.poison.latch(error),
                other => other,
            },
        )
    }

    /// Applies the batches in one transaction of redb, with the writer's lock held.
    fn commit(
        &self,
        database: &Database,
        unsynced: &mut bool,
        batches: &[&WriteBatch],
        durability: Durability,
    ) -> Result<()> {
        self.poison.check()?;
        let nothing_to_sync = durability == Durability::Buffered || !*unsynced;
        if nothing_to_sync && batches.iter().all(|batch| batch.is_empty()) {
            return Ok(());
        }
        *unsynced = true;
        self.transact(database, batches, durability)
            .map_err(|error| self.poison.latch(failed("write", error)))?;
        *unsynced = durability == Durability::Buffered;
        Ok(())
    }

    fn transact(
        &self,
        database: &Database,
        batches: &[&WriteBatch],
        durability: Durability,
    ) -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        match durability {
            Durability::Buffered => transaction.set_durability(redb::Durability::None)?,
            Durability::Synced => {
                transaction.set_durability(redb::Durability::Immediate)?;
                transaction.set_quick_repair(self.repair == Repair::Quick);
            }
        }
        let mut writer = Writer::new(&transaction);
        for operation in batches.iter().flat_map(|batch| batch.operations()) {
            writer.apply(operation)?;
        }
        writer.finish()?;
        Ok(transaction.commit()?)
    }
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
        }
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.read(|view| match read::log_table(view, key.log.replica)? {
            Some(table) => {
                let (first, last) = (key.encode(), key.encode_last());
                read::value(&table, first.within_replica(), last.within_replica())
            }
            None => Ok(None),
        })
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.read(|view| match read::log_table(view, log.replica)? {
            Some(table) if !range.is_empty() => {
                read::scan(&table, log, &range, order, budget_bytes, visitor)
            }
            _ => Ok(()),
        })
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.read(|view| read::value(&read::meta_table(view)?, &key.encode(), &key.encode_last()))
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.read(|view| read::scan_meta(&read::meta_table(view)?, visitor))
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.read(|view| read::logs(view, visitor))
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        let shared = self.shared();
        let database = &shared.open()?.database;
        self.commit(database, &mut self.writer(), batches, durability)
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
        let database = &mut exclusive.as_mut().ok_or(Error::Closed)?.database;
        self.poison.check()?;
        for _ in 0..MAX_COMPACTIONS {
            let compacted = database.compact();
            if !compacted.map_err(|error| self.poison.latch(failed("compact", error)))? {
                break;
            }
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let shared = self.shared();
        let open = shared.open()?;
        let mut unsynced = self.writer();
        self.commit(&open.database, &mut unsynced, &[], Durability::Synced)?;
        verify::check(&open.database, open.file().as_deref(), self.cache_bytes)
    }

    fn close(&self) -> Result<()> {
        let mut exclusive = self.exclusive();
        let Some(open) = exclusive.take() else {
            return Ok(());
        };
        let committed = self.commit(&open.database, &mut self.writer(), &[], Durability::Synced);
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
