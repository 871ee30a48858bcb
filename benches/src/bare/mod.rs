//! The engines without a log.
//!
//! Each gets the work that the log gives it: the same keys, values as long as the log's records,
//! one commit a batch, one real sync a synced commit. There are no rules, checksums or state. Each
//! is set up as its kvlogdb crate sets it up.

mod fjall;
mod redb;
mod sled;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kvlogdb::EngineKind;
use kvlogdb_compare::subject::bare_engine;
use kvlogdb_compare::{Error, OwnStores, Result, Settings, Store, Stores};

pub use fjall::BareFjall;
pub use redb::BareRedb;
pub use sled::BareSled;

/// What stands before a payload, as long as a record's header.
const HEADER: [u8; 32] = [0x11; 32];
const ONLY_BLOCKS: Error = Error::Unsupported("a bare engine only blocks");

/// What can be measured here: kvlogdb on each engine, the bare engines, and the controls.
#[derive(Debug, Clone, Copy, Default)]
pub struct BenchStores;

impl Stores for BenchStores {
    fn open(&self, name: &str, dir: &Path, settings: &Settings) -> Result<Arc<dyn Store>> {
        match bare_engine(name) {
            Some(engine) => open(engine, dir),
            None => OwnStores.open(name, dir, settings),
        }
    }
}

/// Opens a bare engine.
pub fn open(engine: EngineKind, dir: &Path) -> Result<Arc<dyn Store>> {
    Ok(match engine {
        EngineKind::Redb => Arc::new(BareRedb::open(dir)?),
        EngineKind::Fjall => Arc::new(BareFjall::open(dir)?),
        EngineKind::Sled => Arc::new(BareSled::open(dir)?),
        other => return Err(Error::BadInput(format!("no bare {other}"))),
    })
}

/// The value of a payload, as long as a record of it.
fn value(payload: &Bytes, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&HEADER);
    into.extend_from_slice(payload);
}

/// The payload in a value.
fn payload(value: &[u8]) -> &[u8] {
    value.get(HEADER.len()..).unwrap_or_default()
}

/// The key of an entry in the one tree of all groups: as long as kvlogdb's.
fn key(group: u64, index: u64) -> [u8; 29] {
    let mut key = [0; 29];
    let (_, after_kind) = key.split_at_mut(1);
    if let Some(at) = after_kind.first_chunk_mut() {
        *at = group.to_be_bytes();
    }
    if let Some(at) = key.last_chunk_mut() {
        *at = index.to_be_bytes();
    }
    key
}

/// The index in a key.
fn index(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |index| u64::from_be_bytes(*index))
}
