//! The log store for openraft 0.9.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use kvlogdb_log::{Boundary, EntryKind, Log};
use openraft_0_9 as openraft;

use openraft::entry::RaftPayload;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, CommittedLeaderId, LogId, LogState, NodeId, OptionalSend, RaftLogId, RaftLogReader,
    RaftTypeConfig, StorageError, StorageIOError, Vote,
};

use crate::codec;
use crate::error::{self, Cause, Error};
use crate::runs::{self, Parts};
use crate::store::{Store, from};

type Answer<T, C> = Result<T, StorageError<<C as RaftTypeConfig>::NodeId>>;

/// The log of one Raft group as the log storage of openraft 0.9, and its own reader.
///
/// Clones are cheap and lead to the same log. The [crate] says what is met where.
#[derive(Debug)]
pub struct LogStorage<C> {
    store: Store,
    config: PhantomData<fn() -> C>,
}

impl<C> Clone for LogStorage<C> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), config: PhantomData }
    }
}

impl<C: RaftTypeConfig> LogStorage<C> {
    /// Takes on the log of a group for the node `node`, and notes that in a log that is new.
    ///
    /// It may wait for the disk, as opening a store does: from a future, call it where blocking
    /// is allowed.
    ///
    /// # Errors
    ///
    /// [`Foreign`](Cause::Foreign) for the log of another node, and what the log answers.
    pub fn new(log: Log, node: &C::NodeId) -> error::Result<Self> {
        Ok(Self { store: Store::open(log, node)?, config: PhantomData })
    }

    /// How much of the log one read for replication brings, in bytes as they are stored; at least
    /// one entry. A mebibyte unless set.
    #[must_use]
    pub fn read_bytes(mut self, limit_bytes: u64) -> Self {
        self.store.read_bytes = limit_bytes;
        self
    }

    /// The log underneath.
    pub fn log(&self) -> &Log {
        self.store.log()
    }

    fn decode(&self, entries: &[kvlogdb_log::Entry]) -> error::Result<Vec<C::Entry>> {
        self.store.attempt("read the log", |_| {
            runs::decode(entries, |entry: &C::Entry| {
                let id = entry.get_log_id();
                (Some(id.leader_id.term), id.index)
            })
        })
    }
}

fn parts<C: RaftTypeConfig>(entry: &C::Entry) -> Parts<CommittedLeaderId<C::NodeId>> {
    let LogId { leader_id, index } = entry.get_log_id().clone();
    let kind = match entry.get_membership() {
        Some(_) => EntryKind::CONFIG,
        None => EntryKind::NORMAL,
    };
    Parts { term: leader_id.term, leader: leader_id, index, kind }
}

fn boundary<N: NodeId>(id: &LogId<N>) -> Result<Boundary, Cause> {
    runs::boundary(&id.leader_id, id.leader_id.term, id.index)
}

/// Whether saving `new` over `saved` keeps what was promised: a higher leader, or the same one with
/// a quorum behind it.
fn check_follows<N: NodeId>(new: &Vote<N>, saved: &[u8]) -> Result<(), Cause> {
    let saved: Vote<N> = codec::decode("the vote", saved)?;
    let follows = match new.leader_id.partial_cmp(&saved.leader_id) {
        Some(Ordering::Greater) => true,
        Some(Ordering::Equal) => new.committed || !saved.committed,
        Some(Ordering::Less) => false,
        // Two candidates of one term, where a term has one leader: the one that has won it.
        None => new.committed && !saved.committed,
    };
    if follows {
        return Ok(());
    }
    Err(Cause::VoteWentBack { saved: saved.to_string(), found: new.to_string() })
}

impl From<Error> for AnyError {
    fn from(error: Error) -> Self {
        Self::new(&error)
    }
}

fn read_logs<N: NodeId>(error: Error) -> StorageError<N> {
    StorageIOError::read_logs(error).into()
}

fn write_logs<N: NodeId>(error: Error) -> StorageError<N> {
    StorageIOError::write_logs(error).into()
}

fn read_vote<N: NodeId>(error: Error) -> StorageError<N> {
    StorageIOError::read_vote(error).into()
}

fn write_vote<N: NodeId>(error: Error) -> StorageError<N> {
    StorageIOError::write_vote(error).into()
}

impl<C: RaftTypeConfig> RaftLogStorage<C> for LogStorage<C> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Answer<LogState<C>, C> {
        let id = |what, end: Option<Boundary>| {
            let id = |end: &Boundary| {
                let term = |leader: &CommittedLeaderId<_>| Some(leader.term);
                let leader = runs::leader(what, end, term)?;
                Ok::<_, Cause>(LogId::new(leader, end.id.index))
            };
            end.as_ref().map(id).transpose()
        };
        let state = self.store.ends(|purged, last| {
            let last_purged_log_id = id("the last purged log id", purged)?;
            Ok(LogState { last_purged_log_id, last_log_id: id("the last log id", last)? })
        });
        state.map_err(read_logs)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<C::NodeId>) -> Answer<(), C> {
        let (bytes, vote) = (codec::encode("a vote", vote), vote.clone());
        let follows = move |saved: &[u8]| check_follows(&vote, saved);
        self.store.save_vote(bytes, follows).await.map_err(write_vote)
    }

    async fn read_vote(&mut self) -> Answer<Option<Vote<C::NodeId>>, C> {
        let saved = self.store.vote().await.map_err(read_vote)?;
        let decode = |bytes| codec::decode("the vote", bytes);
        let decoded =
            self.store.attempt("read the vote", |_| saved.as_deref().map(decode).transpose());
        decoded.map_err(read_vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId<C::NodeId>>) -> Answer<(), C> {
        let bytes = codec::encode("a log id", &committed);
        self.store.save_committed(bytes).await.map_err(write_logs)
    }

    async fn read_committed(&mut self) -> Answer<Option<LogId<C::NodeId>>, C> {
        let saved = self.store.committed().await.map_err(read_logs)?;
        let decode = |bytes| codec::decode("the committed log id", bytes);
        let decoded = self
            .store
            .attempt("read the committed log id", |_| saved.as_deref().map(decode).transpose());
        Ok(decoded.map_err(read_logs)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<C>) -> Answer<(), C>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let batches = self.store.attempt("append to the log", |log| {
            // What is purged was applied: this version may append it once more.
            let purged = log.purged()?.map(|purged| purged.id.index);
            let is_new = |entry: &C::Entry| Some(entry.get_log_id().index) > purged;
            let entries = entries.into_iter().filter(is_new);
            runs::batches(log.replica(), entries, |entry| Ok(parts::<C>(entry)))
        });
        let done = |ended: Result<(), Error>| {
            callback.log_io_completed(ended.map_err(io::Error::from));
        };
        self.store.append(batches.map_err(write_logs)?, done).await.map_err(write_logs)
    }

    async fn truncate(&mut self, log_id: LogId<C::NodeId>) -> Answer<(), C> {
        self.store.truncate_from(log_id.index).await.map_err(write_logs)
    }

    async fn purge(&mut self, log_id: LogId<C::NodeId>) -> Answer<(), C> {
        self.store.purge(boundary(&log_id)).await.map_err(write_logs)
    }
}

impl<C: RaftTypeConfig> RaftLogReader<C> for LogStorage<C> {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Answer<Vec<C::Entry>, C>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let entries = self.store.entries(from(range)).await;
        entries.and_then(|entries| self.decode(&entries)).map_err(read_logs)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Answer<Vec<C::Entry>, C> {
        let page = self.store.page(start, end).await;
        page.and_then(|page| self.decode(&page)).map_err(read_logs)
    }
}
