//! What the service keeps: a map of each group, and its snapshots in a file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures_util::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

openraft::declare_raft_types!(
    /// What the groups agree on.
    pub(crate) Config: D = Command, R = Answer, Node = Peer
);

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) raft: String,
    pub(crate) http: String,
}

/// A change of one key: its new value, or its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.key, self.value)
    }
}

/// What was in the place of a change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) previous: Option<String>,
}

/// Everything that a snapshot has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    applied: Option<LogIdOf<Config>>,
    membership: StoredMembershipOf<Config>,
    map: BTreeMap<String, String>,
}

impl State {
    fn meta(&self) -> SnapshotMetaOf<Config> {
        let last_membership = self.membership.clone();
        SnapshotMetaOf::<Config> { last_log_id: self.applied, last_membership }
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        postcard::to_stdvec(self).map_err(io::Error::other)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        postcard::from_bytes(bytes).map_err(io::Error::other)
    }
}

/// The state machine of one group. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    state: Arc<RwLock<State>>,
    /// The snapshot's file, and the last id in it. One writes it at a time.
    file: Arc<Mutex<SnapshotFile>>,
}

impl Machine {
    /// Opens the state machine whose snapshot is in a file, or a new one. Blocks.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let state = match read_snapshot(&path)? {
            Some(bytes) => State::decode(&bytes)?,
            None => State::default(),
        };
        let file = SnapshotFile { path, last: state.applied };
        Ok(Self { state: Arc::new(RwLock::new(state)), file: Arc::new(Mutex::new(file)) })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key as far as this node has applied.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.read().map.get(key).cloned()
    }

    /// All keys as far as this node has applied.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        self.read().map.clone()
    }

    /// Saves a snapshot, unless the file has a later one.
    async fn save(&self, last: Option<LogIdOf<Config>>, bytes: Vec<u8>) -> io::Result<()> {
        let mut file = self.file.lock().await;
        if file.last <= last {
            let path = file.path.clone();
            spawn_blocking(move || write_snapshot(&path, &bytes)).await??;
            file.last = last;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SnapshotFile {
    path: PathBuf,
    last: Option<LogIdOf<Config>>,
}

/// A snapshot's bytes behind their checksum.
fn write_snapshot(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&crc32c::crc32c(bytes).to_le_bytes())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The log is purged after this: the name has to survive, too.
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn read_snapshot(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let sound = bytes
        .split_first_chunk()
        .is_some_and(|(sum, bytes)| u32::from_le_bytes(*sum) == crc32c::crc32c(bytes));
    if !sound {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot is damaged"));
    }
    Ok(Some(bytes.split_off(4)))
}

impl RaftSnapshotBuilder<Config> for Machine {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Config, Vec<u8>>> {
        let state = self.read().clone();
        let (meta, snapshot) = (state.meta(), state.encode()?);
        self.save(meta.last_log_id, snapshot.clone()).await?;
        Ok(Snapshot { meta, snapshot })
    }
}

impl RaftStateMachine<Config> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Config>>, StoredMembershipOf<Config>)> {
        let state = self.read();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Config>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.write();
            state.applied = Some(entry.log_id());
            let previous = match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(Command { key, value: Some(value) }) => {
                    state.map.insert(key, value)
                }
                EntryPayload::Normal(Command { key, value: None }) => state.map.remove(&key),
                EntryPayload::Membership(members) => {
                    state.membership = StoredMembershipOf::<Config>::new(state.applied, members);
                    None
                }
            };
            if let Some(responder) = responder {
                responder.send(Answer { previous });
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
        snapshot: Vec<u8>,
    ) -> io::Result<()> {
        let state = State::decode(&snapshot)?;
        self.save(meta.last_log_id, snapshot).await?;
        *self.write() = state;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Config, Vec<u8>>>> {
        let file = self.file.lock().await;
        let path = file.path.clone();
        let Some(snapshot) = spawn_blocking(move || read_snapshot(&path)).await?? else {
            return Ok(None);
        };
        Ok(Some(Snapshot { meta: State::decode(&snapshot)?.meta(), snapshot }))
    }
}
