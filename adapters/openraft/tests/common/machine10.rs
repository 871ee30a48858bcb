//! A state machine in memory for openraft 0.10: the commands that were applied, in order.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, TryStreamExt};
use openraft_0_10 as openraft;

use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

openraft::declare_raft_types!(
    /// Commands are strings, and the answer says how many there were.
    pub Config: D = String, R = u64
);

/// What a snapshot holds.
pub(crate) type Commands = Vec<String>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    applied: Option<LogIdOf<Config>>,
    membership: StoredMembershipOf<Config>,
    commands: Commands,
    snapshot: Option<(SnapshotMetaOf<Config>, Commands)>,
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The commands that were applied.
    pub(crate) fn commands(&self) -> Commands {
        self.lock().commands.clone()
    }
}

impl RaftSnapshotBuilder<Config> for Machine {
    type SnapshotData = Commands;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Config, Commands>> {
        let mut state = self.lock();
        let meta = SnapshotMetaOf::<Config> {
            last_log_id: state.applied,
            last_membership: state.membership.clone(),
        };
        let snapshot = state.commands.clone();
        state.snapshot = Some((meta.clone(), snapshot.clone()));
        Ok(Snapshot { meta, snapshot })
    }
}

impl RaftStateMachine<Config> for Machine {
    type SnapshotData = Commands;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Config>>, StoredMembershipOf<Config>)> {
        let state = self.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Config>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.lock();
            state.applied = Some(entry.log_id());
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => state.commands.push(command),
                EntryPayload::Membership(members) => {
                    state.membership = StoredMembershipOf::<Config>::new(state.applied, members);
                }
            }
            if let Some(responder) = responder {
                responder.send(state.commands.len() as u64);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Config>,
        snapshot: Commands,
    ) -> io::Result<()> {
        let mut state = self.lock();
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.commands.clone_from(&snapshot);
        state.snapshot = Some((meta.clone(), snapshot));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Config, Commands>>> {
        let snapshot = self.lock().snapshot.clone();
        Ok(snapshot.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}
