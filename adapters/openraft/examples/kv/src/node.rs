//! The node: one store, and a Raft group for each part of the keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::select_all;
use kvlogdb::{EngineKind, LogStore, Options, ReplicaId};
use kvlogdb_openraft::v010::LogStorage;
use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, SnapshotPolicy};
use tokio::task::spawn_blocking;

use crate::Result;
use crate::machine::{Config, Machine, Peer};
use crate::network::Network;

/// What a node is told when it starts.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) id: u64,
    pub(crate) peers: BTreeMap<u64, Peer>,
    pub(crate) dir: PathBuf,
    pub(crate) engine: EngineKind,
    pub(crate) groups: u64,
    pub(crate) snapshot_every: u64,
}

/// A group's Raft and what it has applied.
pub(crate) struct Group {
    pub(crate) raft: Raft<Config, Machine>,
    pub(crate) machine: Machine,
}

pub(crate) struct Node {
    groups: Vec<Group>,
    store: LogStore,
}

impl Node {
    pub(crate) async fn start(settings: Settings) -> Result<Self> {
        let config = openraft::Config {
            cluster_name: "kv".to_owned(),
            heartbeat_interval: 150,
            election_timeout_min: 600,
            election_timeout_max: 1200,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_every),
            max_in_snapshot_log_to_keep: settings.snapshot_every / 10,
            // A leader that comes back is elected anew, and knows by that what was committed. Gone
            // on with in its old term, it could serve reads that are older than others have seen.
            enable_leader_restore: Some(false),
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate()?);
        let (id, peers) = (settings.id, settings.peers.clone());
        // Opening may wait for the disk.
        let (store, opened) = spawn_blocking(move || open(&settings)).await??;
        let mut groups = Vec::new();
        for (number, (storage, machine)) in (0..).zip(opened) {
            let network = Network { group: number };
            let raft = Raft::new(id, config.clone(), network, storage, machine.clone()).await?;
            if !raft.is_initialized().await? {
                // Every node does this with the same members, which openraft allows for.
                raft.initialize(peers.clone()).await?;
            }
            groups.push(Group { raft, machine });
        }
        Ok(Self { groups, store })
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(crate) fn group(&self, number: u64) -> Option<&Group> {
        self.groups.get(usize::try_from(number).ok()?)
    }

    /// The group that a key belongs to.
    pub(crate) fn group_of(&self, key: &str) -> Option<&Group> {
        let groups = u64::try_from(self.groups.len()).ok()?;
        let number = u64::from(crc32c::crc32c(key.as_bytes())).checked_rem(groups)?;
        self.group(number)
    }

    /// Waits until a group has stopped, and says why. openraft stops a group whose storage fails,
    /// and does not start it again: that is for whoever starts the process.
    pub(crate) async fn failed(&self) -> Box<dyn std::error::Error + Send + Sync> {
        let stopped = self.groups.iter().map(|group| {
            Box::pin(async {
                let mut metrics = group.raft.metrics();
                loop {
                    let state = metrics.borrow_watched().running_state.clone();
                    if let Err(error) = state {
                        return error.into();
                    }
                    if metrics.changed().await.is_err() {
                        return "a group has ended".into();
                    }
                }
            })
        });
        select_all(stopped).await.0
    }

    /// Ends all groups and closes the store.
    pub(crate) async fn stop(&self) -> Result<()> {
        for group in &self.groups {
            group.raft.shutdown().await?;
        }
        let store = self.store.clone();
        Ok(spawn_blocking(move || store.close()).await??)
    }
}

/// The store and, for each group, its log and its state machine.
type Opened = (LogStore, Vec<(LogStorage<Config>, Machine)>);

fn open(settings: &Settings) -> Result<Opened> {
    let snapshots = settings.dir.join("snapshots");
    fs::create_dir_all(&snapshots)?;
    // The store of another node is refused, and so is one of other groups.
    let identity = format!("kv node {} with {} groups", settings.id, settings.groups);
    let options = Options::new().engine(settings.engine).identity(identity);
    let store = options.open(settings.dir.join("store"))?;
    let open_group = |number: u64| {
        let storage = LogStorage::new(store.log(ReplicaId::from(number)), &settings.id)?;
        Ok((storage, Machine::open(snapshots.join(format!("group-{number}")))?))
    };
    let groups: Result<_> = (0..settings.groups).map(open_group).collect();
    Ok((store, groups?))
}
