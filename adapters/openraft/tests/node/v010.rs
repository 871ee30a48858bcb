//! The node under openraft 0.10.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvlogdb::{LogStore, ReplicaId};
use kvlogdb_openraft::v010::LogStorage;
use openraft_0_10 as openraft;

use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, Raft, RaftLogReader, Vote};

use crate::Checked;
use crate::cluster::{self, GROUP, NODE, Node, PATIENCE};
use crate::common::machine10::{Config, Machine};
use crate::common::nowhere10::Nowhere;

pub(crate) struct Raft10 {
    raft: Raft<Config, Machine>,
    machine: Machine,
}

impl Node for Raft10 {
    async fn start(store: &LogStore) -> Checked<Self> {
        let storage = LogStorage::new(store.log(ReplicaId::from(GROUP)), &NODE)?;
        let config = openraft::Config {
            heartbeat_interval: 20,
            election_timeout_min: 60,
            election_timeout_max: 100,
            ..openraft::Config::default()
        };
        let machine = Machine::default();
        let config = Arc::new(config.validate()?);
        let raft = Raft::new(NODE, config, Nowhere, storage, machine.clone()).await?;
        if !raft.is_initialized().await? {
            raft.initialize(BTreeMap::from([(NODE, BasicNode::default())])).await?;
        }
        Ok(Self { raft, machine })
    }

    async fn write(&self, command: String) -> Checked<u64> {
        Ok(self.raft.client_write(command).await?.data)
    }

    async fn recover(&self) -> Checked {
        self.raft.wait(Some(PATIENCE)).current_leader(NODE, "a leader").await?;
        self.raft.ensure_linearizable(openraft::ReadPolicy::ReadIndex).await?;
        Ok(())
    }

    async fn depose(store: &LogStore) -> Checked {
        let mut storage: LogStorage<Config> =
            LogStorage::new(store.log(ReplicaId::from(GROUP)), &NODE)?;
        let vote = storage.read_vote().await?.ok_or("no vote")?;
        Ok(storage.save_vote(&Vote::new(vote.leader_id.term + 1, NODE)).await?)
    }

    fn commands(&self) -> Vec<String> {
        self.machine.commands()
    }

    async fn stopped(&self) -> Checked<String> {
        let metrics = self.raft.metrics();
        cluster::eventually("stopping", || {
            metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string)
        })
        .await
    }

    async fn stop(self) -> Checked {
        Ok(self.raft.shutdown().await?)
    }
}
