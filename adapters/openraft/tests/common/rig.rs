//! A store over a memory engine under control, and storages of openraft 0.10 over its logs.

use std::sync::Arc;

use kvlogdb::{Log, LogOptions, LogStore, ReplicaId};
use kvlogdb_engine_api::MemoryDisk;
use kvlogdb_openraft::v010::LogStorage;
use openraft_0_10 as openraft;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{EntryOf, LogIdOf};
use openraft::{RaftLogReader, testing};

use super::machine10::Config;
use super::watched::{Control, Watched};

pub(crate) type Storage = LogStorage<Config>;

pub(crate) const REPLICA: ReplicaId = ReplicaId { group: 7, node: 1 };
/// The node whose log it is.
pub(crate) const NODE: u64 = 1;

#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) control: Arc<Control>,
    pub(crate) store: LogStore,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(LogOptions::default())
    }

    pub(crate) fn with(options: LogOptions) -> Self {
        let (disk, control) = (MemoryDisk::default(), Arc::<Control>::default());
        let watch = control.clone();
        let open = move || Ok(Arc::new(Watched::new(Arc::new(disk.open()?), watch.clone())) as _);
        let store = LogStore::open(open, options).expect("an empty disk");
        Self { control, store }
    }

    pub(crate) fn log(&self) -> Log {
        self.store.log(REPLICA)
    }

    pub(crate) fn storage(&self) -> Storage {
        Storage::new(self.log(), &NODE).expect("a log of this node")
    }
}

pub(crate) fn id(term: u64, node: u64, index: u64) -> LogIdOf<Config> {
    testing::log_id::<Config>(term, node, index)
}

pub(crate) fn entry(term: u64, node: u64, index: u64, command: &str) -> EntryOf<Config> {
    EntryOf::<Config>::new_normal(id(term, node, index), command.to_owned())
}

/// Entries of one leader.
pub(crate) fn run(
    (term, node): (u64, u64),
    indexes: std::ops::RangeInclusive<u64>,
) -> Vec<EntryOf<Config>> {
    indexes.map(|index| entry(term, node, index, &format!("command {index}"))).collect()
}

/// Appends and waits until that is durable.
pub(crate) async fn append(storage: &mut Storage, entries: Vec<EntryOf<Config>>) {
    let (done, end) = Config::oneshot();
    storage.append(entries, IOFlushed::signal(done)).await.expect("an append");
    end.await.expect("an end").expect("a durable end");
}

/// The log ids of all entries.
pub(crate) async fn ids(storage: &mut Storage) -> Vec<LogIdOf<Config>> {
    let entries = storage.try_get_log_entries(..).await.expect("readable entries");
    entries.iter().map(RaftEntry::log_id).collect()
}
