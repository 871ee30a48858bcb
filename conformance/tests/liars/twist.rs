//! What a liar makes of the batches that it is given.

use std::ops::ControlFlow;
use std::sync::Mutex;

use kvlogdb_engine_api::{
    Error, KvLogDb, LogKey, LogName, MemoryEngine, MetaKey, Operation, Order, ReplicaId, Result,
    Scope, WriteBatch,
};

use crate::memory::{Lie, removes_entries};

/// An entry that was removed, for a liar that brings it back.
#[derive(Debug, Clone)]
pub(crate) struct Removed {
    pub(crate) key: LogKey,
    pub(crate) value: Vec<u8>,
}

/// The batches that are written in place of `batches`.
pub(crate) fn twist(
    lie: Lie,
    honest: &MemoryEngine,
    batches: &[&WriteBatch],
    removed: &Mutex<Vec<Removed>>,
) -> Result<Vec<WriteBatch>> {
    let mut told: Vec<WriteBatch> = batches.iter().copied().cloned().collect();
    let operations = || batches.iter().flat_map(|batch| batch.operations());
    match lie {
        Lie::ReversesBatches => told.reverse(),
        Lie::NothingIsAnError if operations().next().is_none() => {
            return Err(Error::Invalid { what: "a write of nothing".into() });
        }
        Lie::RemovesBeforeItPuts | Lie::PutsBeforeItRemoves => {
            let removes_first = lie == Lie::RemovesBeforeItPuts;
            let early = |o: &Operation<'_>| removes_entries(o) == removes_first;
            let (early, late): (Vec<_>, Vec<_>) = operations().partition(early);
            told = vec![of(early.into_iter().chain(late))?];
        }
        Lie::DropsTheLastOperation => {
            let last = operations().count().saturating_sub(1);
            told = vec![of(operations().take(last))?];
        }
        Lie::TakesFourThousandOperations => told = vec![of(operations().take(4000))?],
        Lie::RemovalsComeBack => remember(honest, operations(), removed)?,
        _ => {
            told = Vec::new();
            for batch in batches {
                let mut twisted = WriteBatch::new();
                for operation in batch.operations() {
                    twist_one(lie, honest, &mut twisted, operation)?;
                }
                told.push(twisted);
            }
        }
    }
    Ok(told)
}

/// A batch of these operations.
pub(crate) fn of<'a>(operations: impl IntoIterator<Item = Operation<'a>>) -> Result<WriteBatch> {
    let mut batch = WriteBatch::new();
    operations.into_iter().try_for_each(|operation| add(&mut batch, operation))?;
    Ok(batch)
}

/// Adds one operation as it is.
pub(crate) fn add(batch: &mut WriteBatch, operation: Operation<'_>) -> Result<()> {
    match operation {
        Operation::PutEntry { key, value } => batch.put_entry(key, &[value])?,
        Operation::RemoveEntries { log, first, last } => batch.remove_entries(log, first, last),
        Operation::RemoveLog { log } => batch.remove_log(log),
        Operation::PutMeta { key, value } => batch.put_meta(key, &[value])?,
        Operation::RemoveMeta { key } => batch.remove_meta(key),
    }
    Ok(())
}

/// Keeps the entries that the operations are going to remove.
fn remember<'a>(
    honest: &MemoryEngine,
    operations: impl Iterator<Item = Operation<'a>>,
    removed: &Mutex<Vec<Removed>>,
) -> Result<()> {
    for operation in operations {
        let (log, range) = match operation {
            Operation::RemoveEntries { log, first, last } => (log, first..=last),
            Operation::RemoveLog { log } => (log, 0..=u64::MAX),
            _ => continue,
        };
        honest.scan(log, range, Order::Ascending, usize::MAX, &mut |index, value| {
            let (key, value) = (log.at(index), value.into_owned());
            removed.lock().unwrap().push(Removed { key, value });
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}

fn twist_one(
    lie: Lie,
    honest: &MemoryEngine,
    batch: &mut WriteBatch,
    operation: Operation<'_>,
) -> Result<()> {
    match operation {
        Operation::PutEntry { key, value } => put(lie, honest, batch, key, value),
        Operation::RemoveEntries { log, first, last } => {
            remove(lie, honest, batch, log, first, last)
        }
        Operation::RemoveLog { log } => {
            remove_log(lie, batch, log);
            Ok(())
        }
        Operation::PutMeta { key, value } => batch.put_meta(scope(lie, key), &[cut(lie, value)]),
        Operation::RemoveMeta { key } => {
            match lie {
                Lie::MetadataStays => return Ok(()),
                Lie::RemovingMetadataTakesTheNext => {
                    let slot = key.slot.saturating_add(1);
                    batch.remove_meta(MetaKey { slot, ..key });
                }
                _ => {}
            }
            batch.remove_meta(scope(lie, key));
            Ok(())
        }
    }
}

fn scope(lie: Lie, key: MetaKey) -> MetaKey {
    match (lie, key.scope) {
        (Lie::AllReplicasShareMetadata, Scope::Replica(_)) => {
            MetaKey::replica(ReplicaId::default(), key.slot)
        }
        _ => key,
    }
}

fn cut(lie: Lie, value: &[u8]) -> &[u8] {
    let len = match lie {
        Lie::CutsAtSixteenMebibytes => value.len().min(16 << 20),
        Lie::LosesTheEndOfFullPages if !value.is_empty() && value.len().is_multiple_of(4096) => {
            value.len() - 1
        }
        _ => value.len(),
    };
    value.get(..len).unwrap_or_default()
}

fn next(log: LogName) -> LogName {
    LogName { incarnation: log.incarnation.wrapping_add(1), ..log }
}

fn next_replica(log: LogName) -> LogName {
    let replica = ReplicaId { node: log.replica.node.wrapping_add(1), ..log.replica };
    LogName { replica, ..log }
}

fn put(
    lie: Lie,
    honest: &MemoryEngine,
    batch: &mut WriteBatch,
    key: LogKey,
    value: &[u8],
) -> Result<()> {
    let old = honest.entry(key)?;
    match lie {
        Lie::PutKeepsTheFirst if old.is_some() => return Ok(()),
        Lie::DropsEntriesBehindAGap if key.index > 2 => {
            let before = honest.entry(key.log.at(key.index - 1))?;
            if before.is_none() {
                return Ok(());
            }
        }
        Lie::ValuesUnderTheNextKey if key.index == 3 => {
            return batch.put_entry(key.log.at(4), &[value]);
        }
        Lie::LargestIndexWraps if key.index == u64::MAX => {
            return batch.put_entry(key.log.at(0), &[value]);
        }
        Lie::PutTouchesTheNextLog => {
            batch.remove_entries(next(key.log), key.index, key.index);
        }
        Lie::LargePutTakesTheNext if value.len() > 100_000 => {
            let next = key.index.wrapping_add(1);
            batch.remove_entries(key.log, next, next);
        }
        Lie::OldTailsShow => {
            let tail = old.as_ref().and_then(|old| old.get(value.len()..));
            return batch.put_entry(key, &[value, tail.unwrap_or_default()]);
        }
        _ => {}
    }
    batch.put_entry(key, &[cut(lie, value)])
}

fn remove(
    lie: Lie,
    honest: &MemoryEngine,
    batch: &mut WriteBatch,
    log: LogName,
    first: u64,
    last: u64,
) -> Result<()> {
    let last_value = honest.entry(log.at(last))?;
    let (first, last) = match lie {
        Lie::RemovingAbsentFails if last_value.is_none() => {
            return Err(Error::Invalid { what: "nothing to remove".into() });
        }
        Lie::RemovesFifteenThousandEntries => (first, nth(honest, log, first, 15_000)?.min(last)),
        Lie::RemovesAThousandIndexes => (first, last.min(first.saturating_add(999))),
        Lie::MirrorsEmptyRemovals => (first.min(last), first.max(last)),
        Lie::RemovalEndIsExclusive if last == 0 => return Ok(()),
        Lie::RemovalEndIsExclusive => (first, last - 1),
        Lie::RemovalSparesALargeLast if last_value.is_some_and(|v| v.len() > 100_000) => {
            (first, last.saturating_sub(1))
        }
        Lie::RemovalTouchesTheNextLog => {
            batch.remove_entries(next(log), first, last);
            (first, last)
        }
        Lie::RemovalTouchesTheNextReplica => {
            batch.remove_entries(next_replica(log), first, last);
            (first, last)
        }
        _ => (first, last),
    };
    batch.remove_entries(log, first, last);
    Ok(())
}

/// The index of an entry so many behind `first`; the largest index where there are fewer.
fn nth(honest: &MemoryEngine, log: LogName, first: u64, count: u64) -> Result<u64> {
    let (mut seen, mut found) = (0, u64::MAX);
    honest.scan(log, first..=u64::MAX, Order::Ascending, usize::MAX, &mut |index, _| {
        seen += 1;
        if seen < count {
            return ControlFlow::Continue(());
        }
        found = index;
        ControlFlow::Break(())
    })?;
    Ok(found)
}

fn remove_log(lie: Lie, batch: &mut WriteBatch, log: LogName) {
    match lie {
        Lie::RemovalTouchesTheNextLog => batch.remove_log(next(log)),
        Lie::RemovalTouchesTheNextReplica => batch.remove_log(next_replica(log)),
        Lie::RemovesEveryLife => {
            (0..8).for_each(|incarnation| batch.remove_log(LogName { incarnation, ..log }));
        }
        Lie::RemovingALogTakesMetadata => batch.remove_meta(MetaKey::replica(log.replica, 0)),
        _ => {}
    }
    batch.remove_log(log);
}
