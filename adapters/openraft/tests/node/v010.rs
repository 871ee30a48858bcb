//! The node under openraft 0.10.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;

use kvlogdb::{LogStore, ReplicaId};
use kvlogdb_openraft::v010::LogStorage;
use openraft_0_10 as openraft;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::RaftLogStorage;
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{BasicNode, Raft, RaftLogReader, RaftNetworkFactory, Vote};

use crate::Checked;
use crate::cluster::{self, GROUP, NODE, Node, PATIENCE};
use crate::common::machine10::{Commands, Config, Machine};

pub(crate) struct Raft10 {
    raft: Raft<Config, Machine>,
    machine: Machine,
}

/// There is nobody else.
struct Nowhere;

impl RaftNetworkFactory<Config> for Nowhere {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _node: &BasicNode) -> Self {
        Self
    }
}

fn nobody() -> Unreachable<Config> {
    Unreachable::new(&io::Error::other("there is no other node"))
}

impl RaftNetworkV2<Config> for Nowhere {
    type SnapshotData = Commands;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Config>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        Err(nobody().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<Config>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        Err(nobody().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<Config>,
        _snapshot: SnapshotOf<Config, Commands>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        Err(nobody().into())
    }
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
