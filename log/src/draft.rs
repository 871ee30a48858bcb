//! The rules of the log: what each change makes of its replica, or why it is refused.

use std::ops::ControlFlow;
use std::sync::Arc;

use kvlogdb_engine_api::{MAX_PAYLOAD_BYTES, MetaKey, Order, ReplicaId};

use crate::batch::Change;
use crate::marks;
use crate::plan::{Ground, Step};
use crate::record::{self, Header, RECORD_HEADER_BYTES, StateRecord, slot};
use crate::runs::MAX_TERM_RUNS;
use crate::state::{Replica, Tail};
use crate::types::{Boundary, Entry, HardState, Leader, LogId};
use crate::{Error, PurgeGuard, Result};

/// A replica while a batch is decided.
pub(crate) struct Draft<'b> {
    id: ReplicaId,
    pub(crate) before: Arc<Replica>,
    pub(crate) state: Replica,
    /// Whether the replica has a log, or this batch has begun one.
    has_log: bool,
    /// Whether the batch puts a promise into a slot.
    promises: bool,
    /// Entries that this batch appended, with the log bytes before them: the engine has not seen
    /// them yet.
    appended: Vec<(&'b [Entry], u64)>,
}

impl<'b> Draft<'b> {
    pub(crate) fn new(id: ReplicaId, before: Arc<Replica>) -> Self {
        let state = Replica::clone(&before);
        let has_log = state.slots.contains(&slot::STATE);
        Self { id, before, state, has_log, promises: false, appended: Vec::new() }
    }

    /// Whether the batch makes a promise to other nodes: a term, a vote, or what stands for one.
    pub(crate) fn changes_vote(&self) -> bool {
        self.promises || self.state.promise() != self.before.promise()
    }

    pub(crate) fn apply(
        &mut self,
        change: &'b Change,
        ground: &Ground<'_>,
        steps: &mut Vec<Step<'b>>,
    ) -> Result<()> {
        match change {
            Change::Append { leader, entries } => self.append(leader, entries, ground, steps),
            Change::ReplaceFrom { leader, entries } => {
                let Some(first) = entries.first() else {
                    return Ok(());
                };
                self.truncate_from(first.id.index, ground, steps)?;
                self.append(leader, entries, ground, steps)
            }
            Change::TruncateFrom(first) => self.truncate_from(*first, ground, steps),
            Change::PurgeThrough(boundary) => self.purge_through(boundary, ground),
            Change::Install(boundary) => self.install(boundary, ground, steps),
            Change::Reset => self.reset(steps),
            Change::SetHardState(state) => self.save_hard_state(*state, steps),
            Change::SetSnapshot(snapshot) => {
                self.state.snapshot = Some(snapshot.id);
                let id = (snapshot.id.term, snapshot.id.index);
                self.put(slot::SNAPSHOT, record::to_body(&id), &snapshot.data, steps)
            }
            Change::SetApplied(id) => {
                self.state.applied = Some(*id);
                self.put(slot::APPLIED, record::to_body(&(id.term, id.index)), &[], steps)
            }
            Change::SetMembership(data) => self.put(slot::MEMBERSHIP, Vec::new(), data, steps),
            Change::PutSlot(slot, data) => self.put(*slot, Vec::new(), data, steps),
            Change::PutPromise(slot, data) => {
                self.promises = true;
                self.put(*slot, Vec::new(), data, steps)
            }
            Change::RemoveSlot(slot) => {
                self.remove(*slot, steps);
                Ok(())
            }
            Change::RemoveReplica => {
                self.remove_replica(steps);
                Ok(())
            }
        }
    }

    fn append(
        &mut self,
        leader: &Leader,
        entries: &'b [Entry],
        ground: &Ground<'_>,
        steps: &mut Vec<Step<'b>>,
    ) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.begin_log(ground)?;
        let appended_at_ms = self.state.appended_at_ms.max(ground.now_ms);
        let log_bytes = self.state.tail.map_or(0, |tail| tail.log_bytes);
        let mut end = log_bytes;
        for entry in entries {
            self.check_follows(entry.id)?;
            check_len("a payload", entry.payload.len())?;
            if self.state.runs.starts_run(entry.id.term, leader) {
                self.start_run(entry.id, leader)?;
            }
            end = end.saturating_add(record_bytes(entry));
            self.state.tail = Some(Tail { index: entry.id.index, log_bytes: end });
        }
        self.state.appended_at_ms = appended_at_ms;
        self.appended.push((entries, log_bytes));
        let log = self.state.log(self.id);
        steps.push(Step::Put { log, entries, log_bytes, appended_at_ms });
        Ok(())
    }

    /// Makes sure that the replica has a log: chooses the incarnation of one that begins. No key
    /// may stand in it, for entries without a state record are damage, not something to follow.
    /// Keys whose deletion is still on its way to the engine are not: what is written to the log
    /// comes behind it.
    pub(crate) fn begin_log(&mut self, ground: &Ground<'_>) -> Result<()> {
        if std::mem::replace(&mut self.has_log, true) {
            return Ok(());
        }
        let mut next = self.state.trash.next_incarnation();
        if self.before.slots.contains(&slot::STATE) {
            // This batch removed that log, and its keys are still there while this is decided.
            next = next.max(self.before.incarnation.checked_add(1));
        }
        self.state.incarnation = next.ok_or_else(|| self.worn_out())?;
        if !(ground.is_written)(self.id) {
            return Ok(());
        }
        let mut orphan = None;
        let log = self.state.log(self.id);
        ground.engine.scan(log, 0..=u64::MAX, Order::Ascending, 0, &mut |index, _| {
            orphan = Some(index);
            ControlFlow::Break(())
        })?;
        match orphan {
            None => Ok(()),
            Some(index) => Err(Error::Damaged {
                replica: self.id,
                what: format!("it has an entry at index {index} and no state record"),
            }),
        }
    }

    fn worn_out(&self) -> Error {
        let what = "it has used up every incarnation".to_owned();
        Error::Damaged { replica: self.id, what }
    }

    fn check_follows(&self, id: LogId) -> Result<()> {
        let replica = self.id;
        let Some(last) = self.state.last_id() else {
            return Ok(());
        };
        if id.index <= last.index && self.state.tail.is_none() {
            return Err(Error::Purged { replica, index: id.index, purged: last });
        }
        let Some(expected) = last.index.checked_add(1) else {
            return Err(Error::Full { replica });
        };
        if id.index != expected {
            return Err(Error::Gap { replica, expected, found: id.index });
        }
        if id.term < last.term {
            return Err(Error::TermWentBack { replica, last, found: id });
        }
        Ok(())
    }

    fn start_run(&mut self, id: LogId, leader: &Leader) -> Result<()> {
        if self.state.runs.len() >= MAX_TERM_RUNS {
            return Err(Error::TooManyTermRuns { replica: self.id, limit: MAX_TERM_RUNS });
        }
        self.state.runs.append(id.index, id.term, leader);
        Ok(())
    }

    fn truncate_from(
        &mut self,
        first_removed: u64,
        ground: &Ground<'_>,
        steps: &mut Vec<Step<'b>>,
    ) -> Result<()> {
        let (replica, index) = (self.id, first_removed);
        if let Some(purged) = self.state.purged.as_ref().filter(|purged| index <= purged.id.index) {
            return Err(Error::Purged { replica, index, purged: purged.id });
        }
        if let Some(commit) = self.state.commit().filter(|&commit| index <= commit) {
            return Err(Error::Committed { replica, index, commit });
        }
        let Some(tail) = self.state.tail.filter(|tail| index <= tail.index) else {
            return Ok(());
        };
        let first = self.state.runs.first().map_or(index, |first| first.max(index));
        let log = self.state.log(replica);
        self.state.tail = match first.checked_sub(1) {
            Some(last) if self.state.runs.first() < Some(first) => {
                Some(Tail { index: last, log_bytes: self.log_bytes_through(last, ground)? })
            }
            _ => None,
        };
        self.state.runs.cut_from(first);
        let left = self.state.last_index();
        steps.push(Step::Remove { log, first, last: tail.index, left });
        Ok(())
    }

    /// The log bytes up to and with the entry at `index`, from this batch or from the engine.
    fn log_bytes_through(&self, index: u64, ground: &Ground<'_>) -> Result<u64> {
        for (entries, before) in self.appended.iter().rev() {
            let within = entries.iter().take_while(|entry| entry.id.index <= index);
            if entries.first().is_some_and(|first| first.id.index <= index) {
                return Ok(before + within.map(record_bytes).sum::<u64>());
            }
        }
        if let Some(bytes) = (ground.log_bytes)(self.id, index) {
            return Ok(bytes);
        }
        let key = self.state.log(self.id).at(index);
        let corrupt = |what: String| Error::corrupt(self.id, index, what);
        let stored = ground.engine.entry(key)?.ok_or_else(|| corrupt("it is missing".into()))?;
        let (header, _) =
            Header::decode(key, &stored).map_err(|error| corrupt(error.to_string()))?;
        Ok(header.log_bytes)
    }

    fn purge_through(&mut self, to: &Boundary, ground: &Ground<'_>) -> Result<()> {
        let (replica, index) = (self.id, to.id.index);
        let below = self.state.purged_index().is_some_and(|purged| index < purged);
        let before_first = |first: u64| index.checked_add(1).is_some_and(|next| next < first);
        if below || self.state.runs.first().is_some_and(before_first) {
            return Ok(());
        }
        let to = self.agreed(to)?;
        if self.state.purged.as_ref() == Some(&to) {
            return Ok(());
        }
        let snapshot = self.state.snapshot;
        let covered = snapshot.is_some_and(|snapshot| index <= snapshot.index);
        if ground.guard == PurgeGuard::Snapshot && !covered {
            return Err(Error::AboveSnapshot { replica, snapshot, found: to.id });
        }
        self.begin_log(ground)?;
        self.move_boundary(to);
        Ok(())
    }

    /// `to`, with the leader that the log knows, where the log holds that id or does not reach it.
    fn agreed(&self, to: &Boundary) -> Result<Boundary> {
        let replica = self.id;
        if let Some(stored) = self.state.at(to.id.index) {
            let led = to.leader != Leader::default() && to.leader != stored.leader;
            if stored.id != to.id || led {
                return Err(Error::IdMismatch { replica, stored: stored.id, found: to.id });
            }
            return Ok(stored);
        }
        match self.state.last_id() {
            Some(last) if last.index < to.id.index && to.id.term < last.term => {
                Err(Error::TermWentBack { replica, last, found: to.id })
            }
            _ => match self.state.runs.iter().next() {
                Some(run) if to.id.index < run.first && to.id.term > run.term => {
                    let found = LogId::new(run.term, run.first);
                    Err(Error::TermWentBack { replica, last: to.id, found })
                }
                _ => Ok(to.clone()),
            },
        }
    }

    /// Moves the boundary up to `to`; the entries that it passes wait for deletion.
    fn move_boundary(&mut self, to: Boundary) {
        let index = to.id.index;
        let passed = self.state.runs.first().filter(|&first| first <= index);
        if let (Some(first), Some(tail)) = (passed, self.state.tail) {
            self.discard(first, index.min(tail.index));
            if index < tail.index {
                self.state.runs.cut_before(index + 1);
            } else {
                self.state.runs.clear();
                self.state.tail = None;
            }
        }
        self.state.purged = Some(to);
    }

    fn discard(&mut self, first: u64, last: u64) {
        self.state.trash.add(self.state.incarnation, first, last);
    }

    fn install(
        &mut self,
        to: &Boundary,
        ground: &Ground<'_>,
        steps: &mut Vec<Step<'b>>,
    ) -> Result<()> {
        if self.state.purged_index().is_some_and(|purged| to.id.index <= purged) {
            return Ok(());
        }
        self.begin_log(ground)?;
        let within = self.state.tail.is_none() || self.state.at(to.id.index).is_some();
        match self.agreed(to) {
            Ok(agreed) if within => self.move_boundary(agreed),
            _ => {
                self.drop_log()?;
                self.state.purged = Some(to.clone());
            }
        }
        if self.state.commit() < Some(to.id.index) {
            let commit = Some(to.id.index);
            let state = HardState { commit, ..self.state.hard_state.unwrap_or_default() };
            self.put_hard_state(state, steps)?;
        }
        Ok(())
    }

    /// Leaves an empty log without a boundary, of a new incarnation.
    fn drop_log(&mut self) -> Result<()> {
        if let (Some(first), Some(tail)) = (self.state.runs.first(), self.state.tail) {
            self.discard(first, tail.index);
        }
        let next = self.state.incarnation.checked_add(1);
        self.state.incarnation = next.ok_or_else(|| self.worn_out())?;
        self.state.purged = None;
        self.state.runs.clear();
        self.state.tail = None;
        self.appended.clear();
        Ok(())
    }

    fn reset(&mut self, steps: &mut Vec<Step<'b>>) -> Result<()> {
        if self.state.last_index().is_some() {
            self.drop_log()?;
        }
        if let Some(state) = self.state.hard_state.filter(|state| state.commit.is_some()) {
            self.put_hard_state(HardState { commit: None, ..state }, steps)?;
        }
        Ok(())
    }

    fn save_hard_state(&mut self, found: HardState, steps: &mut Vec<Step<'b>>) -> Result<()> {
        let current = self.state.hard_state.unwrap_or_default();
        if found.goes_back_from(&current) {
            return Err(Error::HardStateWentBack { replica: self.id, current, found });
        }
        self.put_hard_state(found, steps)
    }

    fn put_hard_state(&mut self, state: HardState, steps: &mut Vec<Step<'b>>) -> Result<()> {
        self.state.hard_state = Some(state);
        let body = record::to_body(&(state.term, state.vote, state.commit));
        self.put(slot::HARD_STATE, body, &[], steps)
    }

    fn put(
        &mut self,
        number: u16,
        body: Vec<u8>,
        data: &'b [u8],
        steps: &mut Vec<Step<'b>>,
    ) -> Result<()> {
        check_len("a metadata value", data.len())?;
        self.state.slots.insert(number);
        steps.push(Step::PutMeta { key: MetaKey::replica(self.id, number), body, data });
        Ok(())
    }

    fn remove(&mut self, number: u16, steps: &mut Vec<Step<'b>>) {
        if self.state.slots.remove(&number) {
            steps.push(Step::RemoveMeta { key: MetaKey::replica(self.id, number) });
        }
    }

    fn remove_replica(&mut self, steps: &mut Vec<Step<'b>>) {
        if let (Some(first), Some(tail)) = (self.state.runs.first(), self.state.tail) {
            self.discard(first, tail.index);
        }
        for number in std::mem::take(&mut self.state.slots) {
            if number == slot::TRASH {
                self.state.slots.insert(number);
            } else {
                steps.push(Step::RemoveMeta { key: MetaKey::replica(self.id, number) });
            }
        }
        self.state = Replica {
            appended_at_ms: self.state.appended_at_ms,
            slots: std::mem::take(&mut self.state.slots),
            trash: std::mem::take(&mut self.state.trash),
            ..Replica::default()
        };
        self.has_log = false;
        self.appended.clear();
    }

    /// Checks what only the batch as a whole must keep, and adds the records that it changed.
    pub(crate) fn finish(mut self, steps: &mut Vec<Step<'b>>) -> Result<Replica> {
        let (replica, last) = (self.id, self.state.last_index());
        if let Some(commit) = self.state.commit().filter(|&commit| Some(commit) > last) {
            return Err(Error::CommitBehindEnd { replica, commit, last });
        }
        if self.has_log && self.state.differs_on_disk(&self.before) {
            let others = self.state.others();
            self.state.named = others;
            let state = &self.state;
            let stored =
                StateRecord::new(state.incarnation, state.purged.as_ref(), &state.runs, others);
            self.put(slot::STATE, record::to_body(&stored), &[], steps)?;
        }
        if last < self.before.last_index() {
            steps.push(marks::marked_step(replica, last));
        }
        if self.state.trash != self.before.trash {
            let body = self.state.trash.to_body();
            self.put(slot::TRASH, body, &[], steps)?;
        }
        Ok(self.state)
    }
}

/// How much an entry adds to the log's bytes.
fn record_bytes(entry: &Entry) -> u64 {
    (RECORD_HEADER_BYTES + entry.payload.len()) as u64
}

fn check_len(what: &'static str, len_bytes: usize) -> Result<()> {
    if len_bytes > MAX_PAYLOAD_BYTES {
        return Err(Error::TooLarge { what, len_bytes, limit_bytes: MAX_PAYLOAD_BYTES });
    }
    Ok(())
}
