//! What a batch comes to, decided as a whole before anything is encoded or written.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvlogdb_engine_api::{KvLogDb, LogName, MAX_BATCH_BYTES, MetaKey, ReplicaId};

use crate::batch::LogBatch;
use crate::census::Census;
use crate::draft::Draft;
use crate::record::RECORD_HEADER_BYTES;
use crate::state::Replica;
use crate::types::Entry;
use crate::{Error, PurgeGuard, Result};

/// One step of a plan, ready to be encoded.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// Consecutive entries that follow `log_bytes` bytes of log.
    Put { log: LogName, entries: &'a [Entry], log_bytes: u64, appended_at_ms: u64 },
    /// Entries that go, both bounds inclusive; `left` is the last index afterwards.
    Remove { log: LogName, first: u64, last: u64, left: Option<u64> },
    /// A metadata record whose body is `body`, then `data`.
    PutMeta { key: MetaKey, body: Vec<u8>, data: &'a [u8] },
    /// A metadata record that goes.
    RemoveMeta { key: MetaKey },
}

/// What a batch comes to: what to write, and the replicas as they are once it is written.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) steps: Vec<Step<'a>>,
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
    /// The census, where it changes.
    pub(crate) census: Option<Census>,
    /// Whether a term or a vote changes, or what stands for one.
    pub(crate) changes_vote: bool,
    pub(crate) size: Size,
}

/// How much a batch is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    /// How many bytes the steps come to at the most.
    pub(crate) bytes: usize,
    /// How many entries they put, and the bytes of their payloads.
    pub(crate) entries: usize,
    pub(crate) entry_bytes: usize,
    /// How many entries go that no longer belonged to a log.
    pub(crate) deleted: u64,
}

/// More than any operation takes in a batch beside its value.
const STEP_BYTES: usize = 64;

impl Plan<'_> {
    /// A plan that changes one replica's state in memory; what it writes is encoded already.
    pub(crate) fn of_replica(id: ReplicaId, replica: Replica, size: Size) -> Self {
        let replicas = BTreeMap::from([(id, replica)]);
        Self { steps: Vec::new(), replicas, census: None, changes_vote: false, size }
    }

    /// Adds up what the steps come to, which must fit into one batch.
    fn measure(mut self) -> Result<Self> {
        for step in &self.steps {
            let (values, bytes) = match step {
                Step::Put { entries, .. } => {
                    let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
                    self.size.entries += entries.len();
                    self.size.entry_bytes += bytes;
                    (entries.len(), entries.len() * RECORD_HEADER_BYTES + bytes)
                }
                Step::PutMeta { body, data, .. } => (1, body.len() + data.len()),
                Step::Remove { .. } | Step::RemoveMeta { .. } => (1, 0),
            };
            self.size.bytes += values * STEP_BYTES + bytes;
        }
        if self.size.bytes > MAX_BATCH_BYTES {
            let (len_bytes, limit_bytes) = (self.size.bytes, MAX_BATCH_BYTES);
            return Err(Error::TooLarge { what: "a batch", len_bytes, limit_bytes });
        }
        Ok(self)
    }
}

/// What the rules are decided against.
pub(crate) struct Ground<'a> {
    pub(crate) engine: &'a dyn KvLogDb,
    pub(crate) guard: PurgeGuard,
    /// The replicas that exist.
    pub(crate) census: Census,
    pub(crate) now_ms: u64,
    /// The log bytes through an index, where memory tells: the engine may not have the entry yet.
    pub(crate) log_bytes: &'a dyn Fn(ReplicaId, u64) -> Option<u64>,
    /// Whether the engine has everything that was accepted for a replica.
    pub(crate) is_written: &'a dyn Fn(ReplicaId) -> bool,
}

impl Ground<'_> {
    /// Decides `batch`; `current` gives a replica as it stands.
    pub(crate) fn plan<'b>(
        &self,
        batch: &'b LogBatch,
        current: impl Fn(ReplicaId) -> Result<Arc<Replica>>,
    ) -> Result<Plan<'b>> {
        let mut drafts = BTreeMap::new();
        let mut steps = Vec::with_capacity(batch.changes.len() + 1);
        for (replica, change) in &batch.changes {
            let draft = match drafts.entry(*replica) {
                std::collections::btree_map::Entry::Occupied(draft) => draft.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Draft::new(*replica, current(*replica)?))
                }
            };
            draft.apply(change, self, &mut steps)?;
        }
        let (replicas, size) = (BTreeMap::new(), Size::default());
        let mut plan = Plan { steps, replicas, census: None, changes_vote: false, size };
        let mut census = self.census;
        for (replica, mut draft) in drafts {
            if draft.state.exists() {
                // Whatever a replica has, it has a state record: without one it is damaged.
                draft.begin_log(self)?;
            }
            plan.changes_vote |= draft.changes_vote();
            let existed = draft.before.exists();
            let state = draft.finish(&mut plan.steps)?;
            census.note(replica, existed, state.exists());
            plan.replicas.insert(replica, state);
        }
        if census != self.census {
            plan.steps.push(census.step());
            plan.census = Some(census);
        }
        plan.measure()
    }
}
