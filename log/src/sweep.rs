//! The deletion of keys that no longer belong to a log, slice by slice among the other writes.

use std::borrow::Cow;
use std::ops::{ControlFlow, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kvlogdb_engine_api::{Durability, LogName, MetaKey, Order, ReplicaId, WriteBatch};

use crate::background::MAX_SLICE_ENTRIES;
use crate::commit::Core;
use crate::line::{Asks, Line, Need};
use crate::plan::{Plan, Size};
use crate::record::{self, slot};
use crate::state::Replica;
use crate::ticket::Listener;

/// What a call for a slice came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// No keys wait, or nothing is accepted.
    Nothing,
    /// Another slice waits for its commit.
    OnItsWay,
    Added,
}

impl Core {
    /// Adds the deletion of up to `entries` of the keys that wait for it to the writes, among which
    /// it takes its place like any batch.
    pub(crate) fn sweep(&self, entries: u64) -> Sweep {
        let mut line = self.lock_line();
        if line.queue.has_slice() {
            return Sweep::OnItsWay;
        }
        let next = if line.shut > 0 { None } else { self.next_littered(&mut line) };
        let Some((id, mut replica)) = next else {
            return Sweep::Nothing;
        };
        let mut batch = WriteBatch::new();
        let current = replica.slots.contains(&slot::STATE).then_some(replica.incarnation);
        let before = replica.trash.entries();
        replica.trash.take_slice(id, current, entries, &mut batch);
        let deleted = before.saturating_sub(replica.trash.entries());
        put_trash(id, &mut replica, &mut batch);
        if replica.trash.is_empty() {
            line.littered.remove(&id);
        }
        let size = Size { bytes: batch.len_bytes(), deleted, ..Size::default() };
        let plan = Plan::of_replica(id, replica, size);
        let asks = Asks {
            durability: Durability::Buffered,
            need: Need::Interval,
            waits: false,
            urgent: false,
        };
        let ticket = self.enter(&mut line, &plan, asks, Listener::Nobody);
        ticket.set_batch(batch);
        Sweep::Added
    }

    /// Deletes everything that waits for deletion.
    pub(crate) fn sweep_all(&self) {
        while self.sweep(MAX_SLICE_ENTRIES) != Sweep::Nothing {
            drop(self.move_up(self.lock_line()));
        }
    }

    /// The first replica of which keys wait for deletion, as it stands; others go off the list.
    fn next_littered(&self, line: &mut Line) -> Option<(ReplicaId, Replica)> {
        let served = self.read_served();
        served.check().ok()?; // what waits still does
        loop {
            let id = line.littered.first().copied()?;
            let found = served.live(id).ok().flatten();
            let replica = found.map(|live| Replica::clone(&live.state));
            if let Some(replica) = replica.filter(|replica| !replica.trash.is_empty()) {
                return Some((id, replica));
            }
            line.littered.remove(&id);
        }
    }

    /// The keys that are deleted next: a log, and the first range of it that waits. Whoever asks
    /// looks again, by itself where there are some, and else when it is woken.
    pub(crate) fn next_garbage(&self) -> Option<(LogName, RangeInclusive<u64>)> {
        let mut line = self.lock_line();
        let next = self.next_littered(&mut line);
        line.sweeping = next.is_some();
        let (replica, state) = next?;
        let garbage = state.trash.ranges().first()?;
        let log = LogName { replica, incarnation: garbage.incarnation };
        Some((log, garbage.first..=garbage.last))
    }

    /// Reads what slices will delete, so that the writes themselves need not wait for the disk.
    pub(crate) fn warm(&self, log: LogName, range: RangeInclusive<u64>) {
        let engine = Arc::clone(&self.read_served().engine);
        let mut pass = |_, _: Cow<'_, [u8]>| ControlFlow::Continue(());
        // What cannot be read is for the write to find, an engine that panics too.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            engine.scan(log, range, Order::Ascending, usize::MAX, &mut pass)
        }));
    }

    /// How many entries wait for deletion.
    pub(crate) fn waiting_for_deletion(&self) -> u64 {
        let line = self.lock_line();
        let served = self.read_served();
        let states = line.littered.iter().filter_map(|&id| served.state(id));
        states.map(|state| state.trash.entries()).fold(0, u64::saturating_add)
    }
}

/// Adds the record of what still waits for deletion to a slice's batch.
fn put_trash(id: ReplicaId, replica: &mut Replica, batch: &mut WriteBatch) {
    let key = MetaKey::replica(id, slot::TRASH);
    if replica.trash.is_empty() {
        replica.slots.remove(&slot::TRASH);
        batch.remove_meta(key);
    } else {
        let body = replica.trash.to_body();
        // A list of ranges is far below the limit for a value.
        let _ = batch.put_meta(key, &[&record::header(key, [&body, &[]]), &body]);
    }
}
