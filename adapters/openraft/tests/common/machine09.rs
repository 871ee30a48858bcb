//! A state machine in memory for openraft 0.9: the commands that were applied, in order.

use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_0_9 as openraft;

use openraft::storage::RaftStateMachine;
use openraft::{
    EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};

openraft::declare_raft_types!(
    /// Commands are strings, and the answer says how many there were.
    pub Config: D = String, R = u64
);

type Result<T> = std::result::Result<T, StorageError<u64>>;
type Members = StoredMembership<u64, openraft::BasicNode>;
type Meta = SnapshotMeta<u64, openraft::BasicNode>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    applied: Option<LogId<u64>>,
    membership: Members,
    commands: Vec<String>,
    snapshot: Option<(Meta, Vec<u8>)>,
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The commands that were applied.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.lock().commands.clone()
    }
}

fn snapshot((meta, bytes): (Meta, Vec<u8>)) -> Snapshot<Config> {
    Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }
}

impl RaftSnapshotBuilder<Config> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Config>> {
        let mut state = self.lock();
        let meta = SnapshotMeta {
            last_log_id: state.applied,
            last_membership: state.membership.clone(),
            snapshot_id: format!("{:?}", state.applied),
        };
        let bytes = postcard::to_stdvec(&state.commands);
        let bytes = bytes.map_err(|error| StorageIOError::write_snapshot(None, &error))?;
        state.snapshot = Some((meta.clone(), bytes.clone()));
        Ok(snapshot((meta, bytes)))
    }
}

impl RaftStateMachine<Config> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, Members)> {
        let state = self.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<u64>>
    where
        I: IntoIterator<Item = openraft::Entry<Config>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.lock();
        let mut answers = Vec::new();
        for entry in entries {
            state.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => state.commands.push(command),
                EntryPayload::Membership(members) => {
                    state.membership = StoredMembership::new(state.applied, members);
                }
            }
            answers.push(state.commands.len() as u64);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<()> {
        let bytes = snapshot.into_inner();
        let commands = postcard::from_bytes(&bytes);
        let mut state = self.lock();
        state.commands = commands.map_err(|error| StorageIOError::read_snapshot(None, &error))?;
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some((meta.clone(), bytes));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Config>>> {
        Ok(self.lock().snapshot.clone().map(snapshot))
    }
}
