//! What the engine is opened with.

use kvlogdb_engine_api::StoreOptions;

/// How the engine comes back after a kill or a power cut. A clean close costs nothing to come back
/// from under either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Repair {
    /// The next open reads and checks every page in use: up to a second or so for each gigabyte
    /// of live data, more on a slow disk. Commits carry nothing extra.
    #[default]
    Full,
    /// The next open takes milliseconds, whatever the size. Every Synced write syncs twice instead
    /// of once and also records which pages are in use, which grows with the file.
    Quick,
}

/// What [`RedbEngine::open`](crate::RedbEngine::open) is told.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_redb::{RedbOptions, Repair};
///
/// let mut options = RedbOptions::default();
/// options.cache_bytes = 64 << 20;
/// options.repair = Repair::Quick;
/// options.store.identity = Some(b"node-1".to_vec());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedbOptions {
    /// What every engine is opened with.
    pub store: StoreOptions,
    /// How much memory redb may use for pages, read and not yet written ones together. 16 MiB
    /// unless set; the largest open transaction and what the log keeps come on top.
    pub cache_bytes: usize,
    /// How the engine comes back after a crash. May differ from one open to the next.
    pub repair: Repair,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { store: StoreOptions::default(), cache_bytes: 16 << 20, repair: Repair::default() }
    }
}
