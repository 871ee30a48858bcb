//! The engine.

use std::borrow::Cow;
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Readable, Snapshot};
use kvlogdb_engine_api::{
    BufferedIn, Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MetaKey, MetaVisitor, Order, Poison, RangeRemoval, Reclaim, Result, StoreDir, WriteBatch,
    fs as durable,
};

use crate::layout::{self, Keyspaces, LAYOUT};
use crate::options::FjallOptions;
use crate::{error, read, room, write};

const NAME: &str = "fjall";
/// The version of fjall in the lock file.
const FJALL_VERSION: &str = "3.1.13";

/// A batch is in memory several times until it is committed.
const WRITE_BYTES: usize = 1 << 20;
/// How many filled memtables of a keyspace may wait for their tables before a write waits. fjall
/// itself begins to wait at 4, and then without noticing that its workers have failed.
const MAX_SEALED_MEMTABLES: usize = 2;
/// How many tables may wait for their merge before a write waits: fjall begins to wait at 30.
const MAX_UNMERGED_TABLES: usize = 24;
const WORKER_POLL: Duration = Duration::from_millis(2);
/// A key that sorts before every canonical one and is never put.
const NO_KEY: [u8; 1] = [0];
/// After a failed write the journal's buffer is not empty, and a worker thread may be the last to
/// drop it, a moment after the database is gone. It must be gone before another handle opens.
const WORKER_FAREWELL: Duration = Duration::from_millis(100);

/// A store on fjall.
///
/// Any number of threads may use it at once; writes go one after the other, reads beside them. The
/// contract is [`KvLogDb`]'s, to which this engine adds:
///
/// - A removed range costs one tombstone a key, written in the batch. A scan passes over them until
///   a merge drops them, so it should start at an index that is known to exist.
/// - A full disk is [`Error::DiskFull`] inside [`Error::Poisoned`]. Where a background thread of
///   fjall meets it first, fjall does not tell: the engine then tries whether there is room, so
///   another failure of such a thread on a disk that is full is called the same.
/// - Data blocks carry checksums that are verified when a block is read from its file, not when it
///   is served from the cache.
pub struct FjallEngine {
    /// `None` once closed.
    store: RwLock<Option<Store>>,
    poison: Poison,
}

/// What is open. The database goes before the directory's lock.
struct Store {
    keyspaces: Keyspaces,
    /// What reads see: everything that was committed, and nothing of what is on its way.
    ///
    /// A view that fjall opens at any other moment than between two commits is not safe to read: a
    /// flush that ends while a batch is being committed makes fjall show the batch, item by item
    /// as it is applied.
    view: RwLock<Snapshot>,
    writer: Mutex<()>,
    dir: StoreDir,
}

impl FjallEngine {
    /// Opens the store in `dir`, or makes it there.
    ///
    /// # Durability
    ///
    /// Everything that the store shows is durable when the call returns.
    ///
    /// # Errors
    ///
    /// Those of [`StoreDir::open`]; [`Error::TornTail`], which
    /// [`TornTail::Repair`](crate::TornTail::Repair) answers; [`Error::Corrupt`] and
    /// [`Error::Format`] where fjall cannot read its files; [`Error::DiskFull`] and [`Error::Io`].
    /// After any of them the call can be made again.
    pub fn open(dir: &Path, options: &FjallOptions) -> Result<Self> {
        options.check()?;
        let create = |temporary: &Path| layout::create(temporary, options);
        let dir = StoreDir::open(dir, NAME, LAYOUT, &options.store, create)?;
        let keyspaces =
            layout::open(&dir.engine_dir(), options).map_err(|error| dir.doubt(error))?;
        dir.sync()?;
        let poison = dir.poison();
        let view = RwLock::new(keyspaces.db.snapshot());
        let store = Store { keyspaces, view, writer: Mutex::new(()), dir };
        Ok(Self { store: RwLock::new(Some(store)), poison })
    }

    fn with<T>(&self, run: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        run(store.as_ref().ok_or(Error::Closed)?)
    }

    /// Runs a write with no other beside it. A failure is the last write of this handle.
    fn alone(&self, store: &Store, write: impl FnOnce() -> Result<()>) -> Result<()> {
        let Ok(_writer) = store.writer.lock() else {
            let source = "an earlier write panicked".into();
            let operation = "write";
            return Err(self.poison.latch(Error::Io { operation, source }));
        };
        self.poison.check()?;
        write().map_err(|error| self.poison.latch(error))
    }

    fn persist(&self, store: &Store, mode: PersistMode) -> Result<()> {
        self.poison.check()?;
        let persisted = store.keyspaces.db.persist(mode);
        persisted.map_err(|error| self.poison.latch(store.failed("sync", error)))
    }
}

impl Store {
    /// What a write fails with, which may be something that befell a thread of fjall.
    fn failed(&self, operation: &'static str, error: fjall::Error) -> Error {
        let of_thread = matches!(error, fjall::Error::Poisoned);
        match of_thread.then(|| room::shortage(&self.dir.engine_dir())).flatten() {
            Some(shortage) => Error::io(operation, shortage),
            None => error::from_fjall(operation, error),
        }
    }

    fn view(&self) -> Snapshot {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.clone()
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        let failed = |error| self.failed("write", error);
        self.wait_for_workers().map_err(failed)?;
        let mode = match durability {
            Durability::Buffered => PersistMode::Buffer,
            Durability::Synced => PersistMode::SyncData,
        };
        let batch = write::assemble(&self.keyspaces, &self.view(), batches)?;
        if batch.is_empty() {
            return self.keyspaces.db.persist(mode).map_err(failed);
        }
        self.commit(batch, mode).map_err(failed)
    }

    /// Commits with the writer's lock held, and shows the result to reads.
    fn commit(&self, batch: OwnedWriteBatch, mode: PersistMode) -> fjall::Result<()> {
        batch.durability(Some(mode)).commit()?;
        let view = self.keyspaces.db.snapshot();
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(())
    }

    /// Moves on to a new view without changing anything: what only the old one showed can go.
    fn renew_view(&self) -> fjall::Result<()> {
        let mut batch = OwnedWriteBatch::with_capacity(self.keyspaces.db.clone(), 1);
        batch.remove(&self.keyspaces.meta, NO_KEY);
        self.commit(batch, PersistMode::Buffer)
    }

    /// Waits while fjall's workers lag behind, and fails when they have failed.
    fn wait_for_workers(&self) -> fjall::Result<()> {
        let lags = |keyspace: &Keyspace| {
            keyspace.sealed_memtable_count() > MAX_SEALED_MEMTABLES
                || keyspace.l0_table_count() > MAX_UNMERGED_TABLES
        };
        while lags(&self.keyspaces.log) || lags(&self.keyspaces.meta) {
            self.rest()?;
        }
        Ok(())
    }

    /// Sleeps for a moment, and fails when a worker has failed.
    fn rest(&self) -> fjall::Result<()> {
        self.keyspaces.db.persist(PersistMode::Buffer)?;
        thread::sleep(WORKER_POLL);
        Ok(())
    }

    /// Moves what is in memory to tables, and lets go of tables that no view shows.
    fn flush(&self, keyspace: &Keyspace) -> fjall::Result<()> {
        keyspace.rotate_memtable()?;
        while keyspace.sealed_memtable_count() > 0 {
            self.rest()?;
        }
        Ok(())
    }

    fn compact(&self) -> fjall::Result<()> {
        for keyspace in [&self.keyspaces.log, &self.keyspaces.meta] {
            self.flush(keyspace)?;
            keyspace.major_compact()?;
        }
        Ok(())
    }
}

impl KvLogDb for FjallEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: NAME,
            version: FJALL_VERSION,
            layout: LAYOUT,
            buffered_in: BufferedIn::Kernel,
            range_removal: RangeRemoval::Tombstones,
            reclaim: Reclaim::Concurrent,
            write_bytes: WRITE_BYTES,
        }
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.with(|store| read::value(&store.view(), &store.keyspaces.log, key))
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.with(|store| {
            if range.is_empty() {
                return Ok(());
            }
            let keys = log.at(*range.start()).encode()..=log.at(*range.end()).encode_last();
            let items = store.view().range(&store.keyspaces.log, keys);
            let mut visited_bytes = 0_usize;
            let mut visit = |key: LogKey, value: Cow<'_, [u8]>| {
                visited_bytes = visited_bytes.saturating_add(value.len());
                let flow = visitor(key.index, value);
                if visited_bytes >= budget_bytes {
                    return ControlFlow::Break(());
                }
                flow
            };
            match order {
                Order::Ascending => read::ascend(items, &mut visit),
                Order::Descending => read::descend(items, &mut visit),
            }
        })
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.with(|store| read::value(&store.view(), &store.keyspaces.meta, key))
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.with(|store| {
            let items = store.view().iter(&store.keyspaces.meta);
            read::ascend(items, visitor)
        })
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.with(|store| read::logs(&store.view(), &store.keyspaces.log, visitor))
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.with(|store| self.alone(store, || store.write(batches, durability)))
    }

    fn sync(&self) -> Result<()> {
        self.with(|store| self.persist(store, PersistMode::SyncData))
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.with(|store| {
            durable::tree_bytes(store.dir.root())
                .map_err(|error| Error::io("measure the store", error))
        })
    }

    fn reclaim(&self) -> Result<()> {
        self.with(|store| {
            let failed = |error| store.failed("reclaim space", error);
            let renew_view = || store.renew_view().map_err(failed);
            self.alone(store, renew_view)?;
            store.compact().map_err(failed)?;
            self.alone(store, renew_view)?;
            store.flush(&store.keyspaces.meta).map_err(failed)
        })
    }

    fn verify(&self) -> Result<()> {
        self.with(|store| {
            let Keyspaces { log, meta, .. } = &store.keyspaces;
            let view = store.view();
            read::ascend(view.iter(log), &mut |_: LogKey, _| ControlFlow::Continue(()))?;
            read::ascend(view.iter(meta), &mut |_: MetaKey, _| ControlFlow::Continue(()))
        })
    }

    fn close(&self) -> Result<()> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = slot.take() else {
            return Ok(());
        };
        let synced = self.persist(&store, PersistMode::SyncAll);
        let Store { keyspaces, dir, .. } = store;
        drop(keyspaces);
        if synced.is_err() {
            thread::sleep(WORKER_FAREWELL);
        }
        drop(dir);
        synced
    }
}

impl Drop for FjallEngine {
    fn drop(&mut self) {
        // There is nobody to tell; whoever wants to know calls close.
        let _ = self.close();
    }
}

impl fmt::Debug for FjallEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let dir = store.as_ref().map(|store| store.dir.root());
        f.debug_struct("FjallEngine").field("dir", &dir).finish_non_exhaustive()
    }
}
