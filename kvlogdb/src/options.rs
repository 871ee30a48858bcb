//! How a store is opened through the facade.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kvlogdb_engine_api::{
    Creation, Error, KvLogDb, Manifest, Result as EngineResult, StoreOptions,
};
use kvlogdb_log::{
    FlushPolicy, LogOptions, LogStore, LostData, Observer, PurgeGuard, Result, Strategy,
};

use crate::EngineKind;

/// The sidecar's name in a store's directory.
const SIDECAR: &str = "SEQ";

/// Where the sidecar of the store in `dir` lies.
pub fn sidecar_path(dir: &Path) -> PathBuf {
    dir.join(SIDECAR)
}

/// Settings for opening a store; each has a default.
///
/// # Examples
///
/// ```
/// # fn main() -> kvlogdb::Result<()> {
/// # let Some(engine) = kvlogdb::EngineKind::available().first().copied() else { return Ok(()) };
/// # let temporary = tempfile::tempdir().expect("a temporary directory");
/// # let dir = temporary.path();
/// let options = kvlogdb::Options::new().engine(engine).identity("cluster 7, node 2");
/// options.open(dir)?.close()?;
///
/// let other = kvlogdb::Options::new().identity("cluster 7, node 3").open(dir);
/// assert!(matches!(
///     other,
///     Err(kvlogdb::Error::Engine(kvlogdb::EngineError::WrongIdentity { .. }))
/// ));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Options {
    engine: Option<EngineKind>,
    pub(crate) store: StoreOptions,
    log: LogOptions,
    #[cfg(feature = "redb")]
    pub(crate) redb: kvlogdb_engine_redb::RedbOptions,
    #[cfg(feature = "fjall")]
    pub(crate) fjall: kvlogdb_engine_fjall::FjallOptions,
    #[cfg(feature = "sled")]
    pub(crate) sled: kvlogdb_engine_sled::SledOptions,
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The engine. A store of another engine is refused. Without it, an existing store opens with
    /// its own, and a new one is made with the first of [`EngineKind::available`].
    #[must_use]
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Whose store this is, in up to [`MAX_IDENTITY_BYTES`](crate::MAX_IDENTITY_BYTES) bytes: kept
    /// when the store is made, compared when it is opened. Without it, nothing is compared.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<Vec<u8>>) -> Self {
        self.store.identity = Some(identity.into());
        self
    }

    /// How long to wait for another handle to let go of the store; one second unless set.
    #[must_use]
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.store.lock_wait = wait;
        self
    }

    /// What to do where there is no store: make one, unless set.
    #[must_use]
    pub fn creation(mut self, creation: Creation) -> Self {
        self.store.creation = creation;
        self
    }

    /// What a purge is held against; nothing unless set.
    #[must_use]
    pub fn purge_guard(mut self, guard: PurgeGuard) -> Self {
        self.log.purge_guard = guard;
        self
    }

    /// What to do about a store that has lost synced data; refused unless set.
    #[must_use]
    pub fn lost_data(mut self, lost_data: LostData) -> Self {
        self.log.lost_data = lost_data;
        self
    }

    /// How often, at the most, a write carries a mark for the sidecar; one second unless set.
    #[must_use]
    pub fn mark_interval(mut self, interval: Duration) -> Self {
        self.log.mark_interval = interval;
        self
    }

    /// Whether a write waits for the disk, and what is kept in memory; [`Strategy::DiskFirst`]
    /// unless set.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.log.strategy = strategy;
        self
    }

    /// How long a commit may collect; [`FlushPolicy::Adaptive`] unless set.
    #[must_use]
    pub fn flush_policy(mut self, policy: FlushPolicy) -> Self {
        self.log.flush = policy;
        self
    }

    /// [`Strategy::DiskFirst`]: how much memory entries may take that the engine has already; 16
    /// MiB unless set. What pages the engine keeps is a setting of its own.
    #[must_use]
    pub fn entry_cache_bytes(mut self, bytes: usize) -> Self {
        self.log.cache_bytes = bytes;
        self
    }

    /// How much accepted batches may come to that wait to be written; 8 MiB and 16,384 entries
    /// unless set. One batch may go over it.
    #[must_use]
    pub fn queue_limits(mut self, bytes: usize, entries: usize) -> Self {
        self.log.queue_bytes = bytes;
        self.log.queue_entries = entries;
        self
    }

    /// Who hears of what happens in the store, from its opening on; nobody unless set. The features
    /// `metrics` and `tracing` bring observers for these facades.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.log.observer = Some(observer);
        self
    }

    /// Settings that only redb has; their `store` is overruled by these options.
    #[cfg(feature = "redb")]
    #[must_use]
    pub fn redb(mut self, options: kvlogdb_engine_redb::RedbOptions) -> Self {
        self.redb = options;
        self
    }

    /// Settings that only fjall has; their `store` is overruled by these options.
    #[cfg(feature = "fjall")]
    #[must_use]
    pub fn fjall(mut self, options: kvlogdb_engine_fjall::FjallOptions) -> Self {
        self.fjall = options;
        self
    }

    /// Settings that only sled has; their `store` is overruled by these options.
    #[cfg(feature = "sled")]
    #[must_use]
    pub fn sled(mut self, options: kvlogdb_engine_sled::SledOptions) -> Self {
        self.sled = options;
        self
    }

    /// Opens the store in `dir`, or makes one there. The directory may be missing or empty.
    ///
    /// # Errors
    ///
    /// A directory that is no store, a store of another engine, layout or identity, one that is in
    /// use, and an engine that is not compiled in are refused before anything is written. A store
    /// that has lost synced data or whose own records are damaged is refused as
    /// [`LogStore::open`] says.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<LogStore> {
        let dir = dir.as_ref().to_owned();
        let mut log = self.log.clone();
        log.sidecar = Some(sidecar_path(&dir));
        LogStore::open(move || self.open_engine(&dir), log)
    }

    /// Opens the engine of the store in `dir` and no log over it: for tools that look below the
    /// log, also where [`open`](Self::open) refuses. Whoever writes here answers for the log's
    /// rules.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) that are the engine's.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # if kvlogdb::EngineKind::available().is_empty() { return Ok(()) }
    /// # let temporary = tempfile::tempdir()?;
    /// # let dir = temporary.path();
    /// use kvlogdb::{Creation, Options};
    ///
    /// kvlogdb::open(dir)?.close()?;
    /// let engine = Options::new().creation(Creation::Never).open_engine(dir)?;
    /// let report = kvlogdb::check(&*engine, Some(&kvlogdb::sidecar_path(dir)))?;
    /// assert!(report.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_engine(&self, dir: impl AsRef<Path>) -> EngineResult<Arc<dyn KvLogDb>> {
        let dir = dir.as_ref();
        self.engine_of(dir)?.open(dir, self)
    }

    /// The engine that was asked for, or else the one that made the store, or else the default.
    fn engine_of(&self, dir: &Path) -> EngineResult<EngineKind> {
        if let Some(engine) = self.engine {
            return Ok(engine);
        }
        if let Some(manifest) = Manifest::read(dir)? {
            return manifest.engine.parse();
        }
        let what = || "no engine is compiled in: enable a feature".to_owned();
        EngineKind::available().first().copied().ok_or_else(|| Error::Invalid { what: what() })
    }
}
