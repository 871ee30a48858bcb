//! What a sled store is opened with.

use kvlogdb_engine_api::StoreOptions;

/// What [`SledEngine::open`](crate::SledEngine::open) is told.
///
/// The struct may grow, so it is made by [`Default`] and then changed.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_sled::SledOptions;
///
/// let mut options = SledOptions::default();
/// options.cache_bytes = 16 << 20;
/// options.store.identity = Some(b"node 7".to_vec());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SledOptions {
    /// What is alike on every engine: whose store it is, how long to wait for its lock.
    pub store: StoreOptions,
    /// How many bytes of pages sled keeps in memory, as sled counts them. The process takes a
    /// small multiple of that. 32 MiB unless set; may differ from one open to the next.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { store: StoreOptions::default(), cache_bytes: 32 << 20 }
    }
}
