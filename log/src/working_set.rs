//! What [`Strategy::MemFirst`] keeps in memory, and what it refuses for want of it.

use std::collections::HashMap;
use std::sync::Arc;

use kvlogdb_engine_api::{KvLogDb, ReplicaId};

use crate::commit::Core;
use crate::plan::{Plan, Step};
use crate::read::{PAGE, Reader};
use crate::recover::Held;
use crate::served::{Live, Served};
use crate::state::Replica;
use crate::types::Entry;
use crate::window::memory_bytes;
use crate::{Error, Result, Strategy};

impl Core {
    /// Refuses a plan that would take the working sets beyond their limit, unless it only takes
    /// from them.
    pub(crate) fn check_memory(&self, plan: &Plan<'_>) -> Result<()> {
        let Strategy::MemFirst { memory_bytes: limit_bytes } = self.options.strategy else {
            return Ok(());
        };
        let served = self.read_served();
        let before = served.working_set_bytes;
        if plan.size.entries == 0 || before.saturating_add(plan.size.bytes) <= limit_bytes {
            return Ok(()); // in a plan an entry is larger than in memory
        }
        let needed_bytes = served.working_sets_after(plan);
        if needed_bytes > limit_bytes && needed_bytes > before {
            return Err(Error::MemoryFull { needed_bytes, limit_bytes });
        }
        Ok(())
    }
}

impl Served {
    /// What the working sets will come to with a plan.
    fn working_sets_after(&self, plan: &Plan<'_>) -> usize {
        let mut bytes = self.working_set_bytes;
        for (&id, state) in &plan.replicas {
            let live = self.live(id).ok().flatten();
            bytes -= live.map_or(0, Live::working_set_bytes);
            bytes += working_set_after(id, state, live, &plan.steps);
        }
        bytes
    }
}

fn working_set_after(
    id: ReplicaId,
    state: &Replica,
    live: Option<&Live>,
    steps: &[Step<'_>],
) -> usize {
    let floor = state.purged_index().max(state.snapshot.map(|snapshot| snapshot.index));
    let (mut end, mut bytes) = (u64::MAX, 0);
    // From the last step back: what a step put stays where no later one has removed it.
    for step in steps.iter().rev() {
        match step {
            Step::Remove { log, first, .. } if *log == state.log(id) => end = end.min(*first),
            Step::Put { log, entries, .. } if *log == state.log(id) => {
                let stay = entries.iter().filter(|entry| {
                    entry.id.index < end && floor.is_none_or(|floor| entry.id.index > floor)
                });
                bytes += stay.map(memory_bytes).sum::<usize>();
            }
            _ => {}
        }
    }
    let kept = live.filter(|live| live.goes_on_as(state));
    bytes + kept.map_or(0, |live| live.cached.bytes_between(floor, end))
}

/// Reads every working set. Where an entry of one is damaged, its replica becomes so.
pub(crate) fn load(
    engine: &dyn KvLogDb,
    replicas: &mut HashMap<ReplicaId, Held>,
    strategy: Strategy,
) -> Result<Vec<(ReplicaId, Vec<Entry>)>> {
    let Strategy::MemFirst { memory_bytes: limit_bytes } = strategy else {
        return Ok(Vec::new());
    };
    let (mut loaded, mut left_bytes) = (Vec::new(), limit_bytes);
    for (&id, held) in replicas.iter_mut() {
        let Ok(replica) = held else { continue };
        match read(engine, id, replica, &mut left_bytes) {
            Ok(Some(entries)) => loaded.push((id, entries)),
            Ok(None) => {
                return Err(Error::MemoryFull { needed_bytes: limit_bytes + 1, limit_bytes });
            }
            Err(Error::Corrupt { index, what, .. }) => {
                *held = Err(Arc::from(format!("its entry at index {index}: {what}")));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(loaded)
}

/// Reads one working set; `None` where it takes more than is left.
fn read(
    engine: &dyn KvLogDb,
    id: ReplicaId,
    replica: &Replica,
    left_bytes: &mut usize,
) -> Result<Option<Vec<Entry>>> {
    let (Some(first), Some(tail)) = (replica.runs.first(), replica.tail) else {
        return Ok(Some(Vec::new()));
    };
    let behind = replica.snapshot.map_or(0, |snapshot| snapshot.index.saturating_add(1));
    let (mut next, mut entries) = (first.max(behind), Vec::new());
    while next <= tail.index {
        let mut reader = Reader::new(id, replica, &(next..=tail.index), PAGE);
        reader.read_engine(engine, tail.index)?;
        for entry in &reader.found {
            let Some(left) = left_bytes.checked_sub(memory_bytes(entry)) else {
                return Ok(None);
            };
            *left_bytes = left;
        }
        let reached = reader.found.last().map_or(tail.index, |last| last.id.index);
        entries.append(&mut reader.found);
        let Some(after) = reached.checked_add(1) else { break };
        next = after;
    }
    Ok(Some(entries))
}
