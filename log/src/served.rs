//! What readers see: every replica as it was accepted, and in memory what the engine may not have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use kvlogdb_engine_api::{
    Error as EngineError, FIRST_USER_SLOT, KvLogDb, LogName, MetaKey, ReplicaId,
};

use crate::cached::Cached;
use crate::census::Census;
use crate::plan::{Plan, Step};
use crate::record::slot;
use crate::recover::Held;
use crate::state::Replica;
use crate::ticket::{Durable, Effect, Ticket};
use crate::types::{Boundary, Entry};
use crate::{Error, LogOptions, Result, Strategy};

/// One replica that is served.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) state: Arc<Replica>,
    /// Changes with whatever makes entries go that had been accepted, and never comes back, also
    /// where the replica is forgotten and made anew: nothing that was true of the log's end in
    /// another epoch is true in this one.
    pub(crate) epoch: u64,
    /// The number behind that of the last ticket that changes the replica.
    next_number: u64,
    /// The last index that the engine has.
    written: Option<u64>,
    /// The last index that is durable.
    pub(crate) durable: Option<u64>,
    pub(crate) cached: Cached,
}

/// Why nothing is served any more.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    Closed,
    Poisoned(Arc<EngineError>),
}

impl Refusal {
    pub(crate) fn to_error(&self) -> EngineError {
        match self {
            Self::Closed => EngineError::Closed,
            Self::Poisoned(cause) => EngineError::Poisoned { cause: Arc::clone(cause) },
        }
    }
}

/// What a read begins with, and what must still hold when it ends.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) engine: Arc<dyn KvLogDb>,
    pub(crate) state: Arc<Replica>,
    epoch: u64,
}

pub(crate) struct Served {
    pub(crate) engine: Arc<dyn KvLogDb>,
    /// The replicas that exist, damaged ones among them.
    pub(crate) census: Census,
    replicas: BTreeMap<ReplicaId, Result<Live, Arc<str>>>,
    /// Metadata records that the engine may not have: the number of the ticket that wrote them,
    /// and the body, `None` for one that was removed.
    metadata: HashMap<MetaKey, (u64, Option<Bytes>)>,
    /// The number of the first ticket that the engine may not have, and of the first that may not
    /// be durable.
    next_written: u64,
    next_durable: u64,
    /// The last epoch that was given to a replica.
    last_epoch: u64,
    cached_bytes: usize,
    /// What the working sets take of that; see [`Live::working_set_bytes`].
    pub(crate) working_set_bytes: usize,
    /// Where the search for entries to evict goes on.
    hand: ReplicaId,
    pub(crate) refusal: Option<Refusal>,
}

impl Served {
    pub(crate) fn new(
        engine: Arc<dyn KvLogDb>,
        census: Census,
        replicas: HashMap<ReplicaId, Held>,
    ) -> Self {
        let live = |state: Arc<Replica>| {
            let last = state.last_index();
            Live { state, written: last, durable: last, ..Live::default() }
        };
        let replicas = replicas.into_iter().map(|(id, held)| (id, held.map(live)));
        Self {
            engine,
            census,
            replicas: replicas.collect(),
            metadata: HashMap::new(),
            next_written: 0,
            next_durable: 0,
            last_epoch: 0,
            cached_bytes: 0,
            working_set_bytes: 0,
            hand: ReplicaId::default(),
            refusal: None,
        }
    }

    /// Puts the end of a log that is all in the engine into memory.
    pub(crate) fn preload(&mut self, id: ReplicaId, entries: &[Entry]) {
        if let Some(Ok(live)) = self.replicas.get_mut(&id) {
            live.cached.append(entries);
            self.cached_bytes += live.cached.bytes();
            self.working_set_bytes += live.working_set_bytes();
        }
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        self.refusal.as_ref().map_or(Ok(()), |refusal| Err(refusal.to_error()))
    }

    /// A replica that is served; `None` for one that does not exist.
    pub(crate) fn live(&self, id: ReplicaId) -> Result<Option<&Live>> {
        self.check()?;
        match self.replicas.get(&id) {
            None => Ok(None),
            Some(Ok(live)) => Ok(Some(live)),
            Some(Err(what)) => Err(Error::Damaged { replica: id, what: what.to_string() }),
        }
    }

    pub(crate) fn view(&self, id: ReplicaId) -> Result<View> {
        let live = self.live(id)?;
        let (state, epoch) =
            live.map_or_else(Default::default, |live| (Arc::clone(&live.state), live.epoch));
        Ok(View { engine: Arc::clone(&self.engine), state, epoch })
    }

    /// Whether a view still says where the log begins, and which entries it has.
    pub(crate) fn holds(&self, id: ReplicaId, view: &View) -> bool {
        let now = self.view(id);
        now.is_ok_and(|now| {
            now.epoch == view.epoch
                && now.state.incarnation == view.state.incarnation
                && now.state.purged == view.state.purged
                && Arc::ptr_eq(&now.engine, &view.engine)
        })
    }

    /// A replica as it was accepted last, also where nothing is served any more.
    pub(crate) fn state(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.get(&id)?.as_ref().ok().map(|live| &*live.state)
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = (ReplicaId, Result<&Live, &Arc<str>>)> {
        self.replicas.iter().map(|(&id, held)| (id, held.as_ref()))
    }

    /// The body of a metadata record that the engine may not have yet.
    pub(crate) fn pending_body(&self, key: MetaKey) -> Option<&Option<Bytes>> {
        self.metadata.get(&key).map(|(_, body)| body)
    }

    /// Shows what a plan comes to, under the ticket that carries it to the engine.
    pub(crate) fn accept(&mut self, plan: &Plan<'_>, number: u64) -> Vec<Effect> {
        self.last_epoch += 1;
        let epoch = self.last_epoch;
        for (&id, state) in &plan.replicas {
            let fresh = || Ok(Live { epoch, ..Live::default() });
            if let Ok(live) = self.replicas.entry(id).or_insert_with(fresh) {
                self.cached_bytes -= live.cached.bytes();
                self.working_set_bytes -= live.working_set_bytes();
                live.begin(state, epoch);
                live.next_number = number + 1;
            }
        }
        for step in &plan.steps {
            self.accept_step(step, number);
        }
        self.census = plan.census.unwrap_or(self.census);
        plan.replicas.iter().filter_map(|(&id, state)| self.finish(id, state)).collect()
    }

    fn accept_step(&mut self, step: &Step<'_>, number: u64) {
        match step {
            Step::Put { log, entries, .. } => {
                if let Some(live) = self.in_log(*log) {
                    live.cached.append(entries);
                }
            }
            Step::Remove { log, first, left, .. } => {
                let epoch = self.last_epoch;
                if let Some(live) = self.in_log(*log) {
                    live.rewind(*first, *left, epoch);
                }
            }
            Step::PutMeta { key, body, data } if is_read_from_engine(*key) => {
                let body = Bytes::from([body, *data].concat());
                self.metadata.insert(*key, (number, Some(body)));
            }
            Step::RemoveMeta { key } if is_read_from_engine(*key) => {
                self.metadata.insert(*key, (number, None));
            }
            Step::PutMeta { .. } | Step::RemoveMeta { .. } => {}
        }
    }

    /// A replica, where `log` is the life of it that goes on: the batch may end what it wrote to.
    fn in_log(&mut self, log: LogName) -> Option<&mut Live> {
        let live = self.replicas.get_mut(&log.replica)?.as_mut().ok()?;
        let goes_on = live.state.slots.contains(&slot::STATE);
        (goes_on && live.state.incarnation == log.incarnation).then_some(live)
    }

    fn finish(&mut self, id: ReplicaId, state: &Replica) -> Option<Effect> {
        let live = self.replicas.get_mut(&id)?.as_mut().ok()?;
        if let Some(purged) = state.purged_index() {
            live.cached.drop_through(purged);
        }
        self.cached_bytes += live.cached.bytes();
        self.working_set_bytes += live.working_set_bytes();
        let durable = Durable { replica: id, last: state.last_id() };
        Some(Effect { epoch: live.epoch, durable })
    }

    /// The engine has these tickets' batches.
    pub(crate) fn written(&mut self, tickets: &[Arc<Ticket>]) {
        for ticket in tickets {
            self.next_written = ticket.number + 1;
            for key in &ticket.metadata {
                if self.metadata.get(key).is_some_and(|(number, _)| *number == ticket.number) {
                    self.metadata.remove(key);
                }
            }
            self.raise(ticket, |live, last| live.written = live.written.max(Some(last)));
        }
    }

    /// These tickets' batches are durable. What they vouch for is what of it still holds.
    pub(crate) fn durable(&mut self, tickets: &[Arc<Ticket>]) {
        for ticket in tickets {
            self.next_durable = ticket.number + 1;
            self.raise(ticket, |live, last| live.durable = live.durable.max(Some(last)));
            ticket.keep_effects(|effect| {
                let live = self.replicas.get(&effect.durable.replica);
                live.is_some_and(|live| live.as_ref().is_ok_and(|live| live.epoch == effect.epoch))
            });
        }
    }

    /// Raises a mark of each replica that a ticket changed and no later one rewound.
    fn raise(&mut self, ticket: &Ticket, raise: impl Fn(&mut Live, u64)) {
        for effect in ticket.effects() {
            let Durable { replica, last } = effect.durable;
            if let Some(Ok(live)) = self.replicas.get_mut(&replica)
                && let Some(last) = last.filter(|_| live.epoch == effect.epoch)
            {
                raise(live, last.index);
            }
        }
    }

    /// Whether the engine has everything that was accepted for a replica.
    pub(crate) fn is_written(&self, id: ReplicaId) -> bool {
        let live = self.replicas.get(&id).and_then(|held| held.as_ref().ok());
        live.is_none_or(|live| live.next_number <= self.next_written)
    }

    /// Forgets replicas of which nothing is left and nothing is on its way.
    pub(crate) fn forget_empty(&mut self, ids: impl Iterator<Item = ReplicaId>) {
        for id in ids {
            let gone = |held: &Result<Live, _>| {
                held.as_ref().is_ok_and(|live| {
                    live.state.slots.is_empty() && live.next_number <= self.next_durable
                })
            };
            if self.replicas.get(&id).is_some_and(gone) {
                self.replicas.remove(&id);
            }
        }
    }

    /// How much memory entries take.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Keeps in memory what was read of a log, where it still holds.
    pub(crate) fn keep_read(&mut self, id: ReplicaId, view: &View, entries: &[Entry]) {
        if !self.holds(id, view) {
            return;
        }
        if let Some(Ok(live)) = self.replicas.get_mut(&id) {
            self.cached_bytes -= live.cached.bytes();
            live.cached.keep_read(entries);
            self.cached_bytes += live.cached.bytes();
        }
    }

    /// Evicts entries that the engine has until the cache is within its limit, or nothing more
    /// can go. Working sets stay where the strategy keeps them. Answers how much memory that freed.
    pub(crate) fn evict(&mut self, options: &LogOptions) -> usize {
        let limit_bytes = options.entry_bytes();
        if self.cached_bytes <= limit_bytes {
            return 0;
        }
        let cached_bytes = self.cached_bytes;
        // A little more than needed, so that not every commit has to look.
        let mut over = self.cached_bytes - limit_bytes / 8 * 7;
        let behind = (Bound::Excluded(self.hand), Bound::Unbounded);
        let ids: Vec<_> = self.replicas.range(behind).map(|(&id, _)| id).collect();
        let all: Vec<_> =
            ids.into_iter().chain(self.replicas.range(..=self.hand).map(|(&id, _)| id)).collect();
        for id in all {
            let Some(Ok(live)) = self.replicas.get_mut(&id) else { continue };
            let before = (live.cached.bytes(), live.working_set_bytes());
            let last = live.last_evictable(options.strategy);
            live.cached.evict(last, over);
            let freed = before.0 - live.cached.bytes();
            self.cached_bytes -= freed;
            self.working_set_bytes -= before.1 - live.working_set_bytes();
            over = over.saturating_sub(freed);
            self.hand = id;
            if over == 0 {
                break;
            }
        }
        cached_bytes - self.cached_bytes
    }
}

/// Whether a record's body is not kept in memory for good.
pub(crate) fn is_read_from_engine(key: MetaKey) -> bool {
    matches!(key.slot, slot::SNAPSHOT | slot::MEMBERSHIP | FIRST_USER_SLOT..)
}

impl Live {
    /// Whether `state` is of the life of the log that this is.
    pub(crate) fn goes_on_as(&self, state: &Replica) -> bool {
        let removed = |slots: &BTreeSet<u16>| !slots.contains(&slot::STATE);
        let ended = removed(&state.slots) && !removed(&self.state.slots);
        self.state.incarnation == state.incarnation && !ended
    }

    /// Takes a state on; what belongs to another life of the log goes.
    fn begin(&mut self, state: &Replica, epoch: u64) {
        if !self.goes_on_as(state) {
            self.cached.clear();
            self.written = None;
            self.durable = None;
            self.epoch = epoch;
        }
        self.state = Arc::new(state.clone());
    }

    /// Entries from `first` on go, and the last index that is left is `left`: a log that is empty
    /// may begin anywhere, below what was written before, too.
    fn rewind(&mut self, first: u64, left: Option<u64>, epoch: u64) {
        self.cached.truncate_from(first);
        self.written = self.written.min(left);
        self.durable = self.durable.min(left);
        self.epoch = epoch;
    }

    /// The id that is durable.
    pub(crate) fn durable_id(&self) -> Option<Boundary> {
        self.durable.and_then(|index| self.state.at(index))
    }

    /// The log bytes through `index`, where memory tells: everything behind it is there.
    pub(crate) fn log_bytes_through(&self, index: u64) -> Option<u64> {
        self.state.tail?.log_bytes.checked_sub(self.cached.log_bytes_behind(index)?)
    }

    /// What the entries take in memory that the recorded snapshot does not cover.
    pub(crate) fn working_set_bytes(&self) -> usize {
        self.cached.bytes_behind(self.state.snapshot.map(|snapshot| snapshot.index))
    }

    /// The last index that memory can do without.
    fn last_evictable(&self, strategy: Strategy) -> Option<u64> {
        match strategy {
            Strategy::DiskFirst => self.written,
            Strategy::MemFirst { .. } => {
                self.written.min(self.state.snapshot.map(|snapshot| snapshot.index))
            }
        }
    }
}
