//! Opens the store that a run is about.

use std::path::PathBuf;
use std::sync::Arc;

use kvlogdb::{FjallOptions, Options, RedbOptions, Repair, TornTail, sidecar_path};
use kvlogdb_engine_api::{KvLogDb, Result as EngineResult};
use kvlogdb_engine_redb::RedbEngine;
use kvlogdb_log::{LogOptions, LogStore};

use crate::lies;
use crate::record::memory::MemoryDisk;
use crate::spec::{Engine, Lie, Marking, Spec};

/// The memtable of [`Engine::FjallSmall`].
const SMALL_MEMTABLE_BYTES: u64 = 32 << 10;
/// A mark that is written once in a run.
const SELDOM: std::time::Duration = std::time::Duration::from_secs(1);

/// Where a store lies.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In a directory.
    Dir(PathBuf),
    /// On a disk in memory, which redb alone can use.
    Memory(MemoryDisk),
}

/// Opens the store of a run, with the lie that the run tells.
pub(crate) fn open(spec: &Spec, place: &Place, torn: TornTail) -> kvlogdb_log::Result<LogStore> {
    let (spec, place) = (*spec, place.clone());
    match &place {
        Place::Dir(dir) if spec.lie == Lie::None => options(&spec, torn).open(dir),
        _ => {
            let log = log_options(&spec, &place);
            let opener = move || open_engine(&spec, &place, torn);
            LogStore::open(move || lies::tell(spec.lie, opener.clone()), log)
        }
    }
}

/// The facade's settings for a run.
fn options(spec: &Spec, torn: TornTail) -> Options {
    let mut options = Options::new()
        .flush_policy(spec.policy.flush())
        .mark_interval(mark_interval(spec))
        .strategy(spec.strategy.setting())
        .redb(redb_options(spec));
    if let Some(kind) = spec.engine.kind() {
        options = options.engine(kind);
    }
    let mut fjall = FjallOptions::default();
    fjall.torn_tail = torn;
    if spec.engine == Engine::FjallSmall {
        fjall.log_memtable_bytes = SMALL_MEMTABLE_BYTES;
    }
    options.fjall(fjall)
}

fn redb_options(spec: &Spec) -> RedbOptions {
    let mut redb = RedbOptions::default();
    if spec.engine == Engine::RedbQuick {
        redb.repair = Repair::Quick;
    }
    redb
}

fn mark_interval(spec: &Spec) -> std::time::Duration {
    match spec.marking {
        Marking::Always => std::time::Duration::ZERO,
        Marking::Seldom => SELDOM,
    }
}

fn log_options(spec: &Spec, place: &Place) -> LogOptions {
    let mut log = LogOptions::default();
    log.flush = spec.policy.flush();
    log.mark_interval = mark_interval(spec);
    log.strategy = spec.strategy.setting();
    if let Place::Dir(dir) = place {
        log.sidecar = Some(sidecar_path(dir));
    }
    log
}

fn open_engine(spec: &Spec, place: &Place, torn: TornTail) -> EngineResult<Arc<dyn KvLogDb>> {
    match place {
        Place::Dir(dir) => options(spec, torn).open_engine(dir),
        Place::Memory(disk) => {
            Ok(Arc::new(RedbEngine::open_with_backend(disk.clone(), &redb_options(spec))?))
        }
    }
}
