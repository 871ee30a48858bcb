//! The log store for openraft 0.10.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::vec;

use futures_util::{Stream, stream};
use kvlogdb_log::{Boundary, EntryKind, Log};
use openraft_0_10 as openraft;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, VoteOf};
use openraft::vote::{RaftTerm, RaftVote, leader_id_adv, leader_id_std};
use openraft::{LogState, NodeId, OptionalSend, RaftLogReader, RaftTypeConfig};

use crate::error::{Cause, Error};
use crate::runs::{self, Parts};
use crate::store::{Range, Store, from};
use crate::{codec, error};

type Result<T, E = io::Error> = std::result::Result<T, E>;

/// The term in the leader of a log id, by which the log orders its entries. Both of openraft's own
/// kinds of leader id have it; one of the application's says it here.
pub trait LeaderTerm {
    /// The term as a number; `None` where it is none.
    fn term_number(&self) -> Option<u64>;
}

impl<T: RaftTerm, N: NodeId> LeaderTerm for leader_id_adv::LeaderId<T, N> {
    fn term_number(&self) -> Option<u64> {
        self.term.as_u64()
    }
}

impl<T: RaftTerm> LeaderTerm for leader_id_std::CommittedLeaderId<T> {
    fn term_number(&self) -> Option<u64> {
        self.as_u64()
    }
}

/// The log of one Raft group as the log storage of openraft 0.10, and its own reader.
///
/// Clones are cheap and lead to the same log. The [crate] says what is met where.
#[derive(Debug)]
pub struct LogStorage<C> {
    store: Store,
    sends: Sends,
    config: PhantomData<fn() -> C>,
}

/// Which entries other nodes may have.
#[derive(Debug, Clone, Copy)]
enum Sends {
    /// Those that this node has on its disk.
    Durable,
    /// Every one that is in the log.
    Accepted,
}

impl<C> Clone for LogStorage<C> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), sends: self.sends, config: PhantomData }
    }
}

impl<C> LogStorage<C>
where
    C: RaftTypeConfig,
    CommittedLeaderIdOf<C>: LeaderTerm,
{
    /// Takes on the log of a group for the node `node`, and notes that in a log that is new.
    ///
    /// It may wait for the disk, as opening a store does: from a future, call it where blocking
    /// is allowed.
    ///
    /// # Errors
    ///
    /// [`Foreign`](Cause::Foreign) for the log of another node, and what the log answers.
    pub fn new(log: Log, node: &C::NodeId) -> error::Result<Self> {
        let store = Store::open(log, node)?;
        Ok(Self { store, sends: Sends::Durable, config: PhantomData })
    }

    /// How much of the log one read for replication brings, in bytes as they are stored; at least
    /// one entry. A mebibyte unless set.
    #[must_use]
    pub fn read_bytes(mut self, limit_bytes: u64) -> Self {
        self.store.read_bytes = limit_bytes;
        self
    }

    /// Lets other nodes have entries before this one has them on its disk, which saves the time of
    /// a sync.
    ///
    /// It takes an openraft with `Config::enable_leader_restore` set to `false`. With that left on,
    /// a leader that is killed and started again goes on in its term. If it has lost entries that
    /// others have, it gives their ids to other entries, and the nodes differ for good without
    /// anybody noticing. That is why nothing is sent early unless this is called.
    #[must_use]
    pub fn send_before_durable(mut self) -> Self {
        self.sends = Sends::Accepted;
        self
    }

    /// The log underneath.
    pub fn log(&self) -> &Log {
        self.store.log()
    }

    async fn decoded(&self, range: Range) -> error::Result<Vec<EntryOf<C>>> {
        decode::<C>(&self.store, &self.store.entries(range).await?)
    }
}

fn decode<C>(store: &Store, entries: &[kvlogdb_log::Entry]) -> error::Result<Vec<EntryOf<C>>>
where
    C: RaftTypeConfig,
    CommittedLeaderIdOf<C>: LeaderTerm,
{
    store.attempt("read the log", |_| {
        runs::decode(entries, |entry: &EntryOf<C>| {
            let (leader, index) = entry.log_id_parts();
            (leader.term_number(), index)
        })
    })
}

fn term<L: LeaderTerm + Debug>(leader: &L) -> Result<u64, Cause> {
    leader.term_number().ok_or_else(|| Cause::Unencodable {
        what: "a log id",
        reason: format!("the term of {leader:?} is not a number"),
    })
}

fn boundary<L: LeaderTerm + Debug + serde::Serialize>(
    leader: &L,
    index: u64,
) -> Result<Boundary, Cause> {
    runs::boundary(leader, term(leader)?, index)
}

fn parts<E: RaftEntry>(entry: &E) -> Result<Parts<E::CommittedLeaderId>, Cause>
where
    E::CommittedLeaderId: LeaderTerm,
{
    let (leader, index) = entry.log_id_parts();
    let kind = match entry.get_membership() {
        Some(_) => EntryKind::CONFIG,
        None => EntryKind::NORMAL,
    };
    Ok(Parts { leader: leader.clone(), term: term(leader)?, index, kind })
}

/// Whether saving `new` over `saved` keeps what was promised: a higher leader, or the same one with
/// a quorum behind it.
fn check_follows<V: RaftVote>(new: &V, saved: &[u8]) -> Result<(), Cause> {
    let saved: V = codec::decode("the vote", saved)?;
    let follows = match new.leader_id().partial_cmp(saved.leader_id()) {
        Some(Ordering::Greater) => true,
        Some(Ordering::Equal) => new.is_committed() || !saved.is_committed(),
        Some(Ordering::Less) => false,
        // Two candidates of one term, where a term has one leader: the one that has won it.
        None => new.is_committed() && !saved.is_committed(),
    };
    if follows {
        return Ok(());
    }
    Err(Cause::VoteWentBack { saved: saved.to_string(), found: new.to_string() })
}

impl<C> RaftLogStorage<C> for LogStorage<C>
where
    C: RaftTypeConfig,
    CommittedLeaderIdOf<C>: LeaderTerm,
{
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>> {
        let id = |what, end: Option<Boundary>| {
            let id = |end: &Boundary| {
                let leader = runs::leader(what, end, CommittedLeaderIdOf::<C>::term_number)?;
                Ok::<_, Cause>(LogIdOf::<C>::new(leader, end.id.index))
            };
            end.as_ref().map(id).transpose()
        };
        Ok(self.store.ends(|purged, last| {
            let last_purged_log_id = id("the last purged log id", purged)?;
            Ok(LogState { last_purged_log_id, last_log_id: id("the last log id", last)? })
        })?)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<()> {
        let (bytes, vote) = (codec::encode("a vote", vote), vote.clone());
        Ok(self.store.save_vote(bytes, move |saved| check_follows(&vote, saved)).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<()> {
        Ok(self.store.save_committed(codec::encode("a log id", &committed)).await?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>> {
        let saved = self.store.committed().await?;
        let decode = |bytes| codec::decode("the committed log id", bytes);
        let decoded = self
            .store
            .attempt("read the committed log id", |_| saved.as_deref().map(decode).transpose());
        Ok(decoded?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<()>
    where
        I: IntoIterator<Item = EntryOf<C>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let batches = self
            .store
            .attempt("append to the log", |log| runs::batches(log.replica(), entries, parts))?;
        let done = |ended: Result<(), Error>| callback.io_completed(ended.map_err(io::Error::from));
        Ok(self.store.append(batches, done).await?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> Result<()> {
        let first_removed = match last_log_id {
            None => Some(0),
            Some(last) => last.index().checked_add(1),
        };
        match first_removed {
            Some(first_removed) => Ok(self.store.truncate_from(first_removed).await?),
            None => Ok(()),
        }
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> Result<()> {
        let to = boundary(log_id.committed_leader_id(), log_id.index());
        Ok(self.store.purge(to).await?)
    }
}

impl<C> RaftLogReader<C> for LogStorage<C>
where
    C: RaftTypeConfig,
    CommittedLeaderIdOf<C>: LeaderTerm,
{
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<EntryOf<C>>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.decoded(from(range)).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>> {
        let saved = self.store.vote().await?;
        let decode = |bytes| codec::decode("the vote", bytes);
        Ok(self.store.attempt("read the vote", |_| saved.as_deref().map(decode).transpose())?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<EntryOf<C>>> {
        let page = match self.sends {
            Sends::Durable => self.store.durable_page(start, end).await?,
            Sends::Accepted => self.store.page(start, end).await?,
        };
        Ok(decode::<C>(&self.store, &page)?)
    }

    /// A page at a time: what openraft applies may be far more than should be in memory at once.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<EntryOf<C>>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let pages =
            Pages { storage: self.clone(), page: Vec::new().into_iter(), left: from(range) };
        stream::try_unfold(pages, |mut pages| async move {
            let next = pages.next().await?;
            Ok(next.map(|entry| (entry, pages)))
        })
    }
}

/// The entries of a range in order.
struct Pages<C: RaftTypeConfig> {
    storage: LogStorage<C>,
    page: vec::IntoIter<EntryOf<C>>,
    /// What comes behind the page.
    left: Range,
}

impl<C> Pages<C>
where
    C: RaftTypeConfig,
    CommittedLeaderIdOf<C>: LeaderTerm,
{
    async fn next(&mut self) -> Result<Option<EntryOf<C>>> {
        if self.page.as_slice().is_empty() {
            let page = self.storage.store.page_of(self.left).await?;
            if let Some(last) = page.last() {
                self.left.0 = Bound::Excluded(last.id.index);
            }
            self.page = decode::<C>(&self.storage.store, &page)?.into_iter();
        }
        Ok(self.page.next())
    }
}
