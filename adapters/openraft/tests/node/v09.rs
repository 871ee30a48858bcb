//! The node under openraft 0.9.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use kvlogdb::{LogStore, ReplicaId};
use kvlogdb_openraft::v09::LogStorage;
use openraft_0_9 as openraft;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, Raft, Vote};

use crate::Checked;
use crate::cluster::{self, GROUP, NODE, Node, PATIENCE};
use crate::common::machine09::{Config, Machine};

pub(crate) struct Raft9 {
    raft: Raft<Config>,
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

type Answer<T, E = RaftError<u64>> = Result<T, RPCError<u64, BasicNode, E>>;

fn nobody() -> Unreachable {
    Unreachable::new(&io::Error::other("there is no other node"))
}

impl RaftNetwork<Config> for Nowhere {
    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Config>,
        _option: RPCOption,
    ) -> Answer<AppendEntriesResponse<u64>> {
        Err(nobody().into())
    }

    async fn install_snapshot(
        &mut self,
        _rpc: InstallSnapshotRequest<Config>,
        _option: RPCOption,
    ) -> Answer<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>> {
        Err(nobody().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Answer<VoteResponse<u64>> {
        Err(nobody().into())
    }
}

impl Node for Raft9 {
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
            raft.initialize(BTreeSet::from([NODE])).await?;
        }
        Ok(Self { raft, machine })
    }

    async fn write(&self, command: String) -> Checked<u64> {
        Ok(self.raft.client_write(command).await?.data)
    }

    async fn recover(&self) -> Checked {
        self.raft.wait(Some(PATIENCE)).current_leader(NODE, "a leader").await?;
        self.raft.ensure_linearizable().await?;
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
            metrics.borrow().running_state.as_ref().err().map(ToString::to_string)
        })
        .await
    }

    async fn stop(self) -> Checked {
        Ok(self.raft.shutdown().await?)
    }
}
