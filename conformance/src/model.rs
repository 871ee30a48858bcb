//! What a store must hold, kept as plainly as it can be said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};

use bytes::Bytes;
use kvlogdb_engine_api::{KvLogDb, LogKey, LogName, MetaKey, Operation, Order, WriteBatch};

use crate::failure::{Checked, Context, expect_eq};

/// How many entries of one log are read one by one in a comparison; scans read all of them.
const POINT_READS: usize = 200;

/// The contents that a store must have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    entries: BTreeMap<LogKey, Bytes>,
    meta: BTreeMap<MetaKey, Bytes>,
    /// Every log that an operation named, whether or not it has entries now.
    known_logs: BTreeSet<LogName>,
    /// Every metadata key that an operation named.
    known_meta: BTreeSet<MetaKey>,
}

impl Model {
    pub(crate) fn apply(&mut self, batch: &WriteBatch) {
        for operation in batch.operations() {
            match operation {
                Operation::PutEntry { key, value } => {
                    self.known_logs.insert(key.log);
                    self.entries.insert(key, Bytes::copy_from_slice(value));
                }
                Operation::RemoveEntries { log, first, last } => {
                    self.known_logs.insert(log);
                    self.entries
                        .retain(|key, _| key.log != log || key.index < first || key.index > last);
                }
                Operation::RemoveLog { log } => {
                    self.known_logs.insert(log);
                    self.entries.retain(|key, _| key.log != log);
                }
                Operation::PutMeta { key, value } => {
                    self.known_meta.insert(key);
                    self.meta.insert(key, Bytes::copy_from_slice(value));
                }
                Operation::RemoveMeta { key } => {
                    self.known_meta.insert(key);
                    self.meta.remove(&key);
                }
            }
        }
    }

    /// What a scan must visit.
    pub(crate) fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
    ) -> Vec<(u64, Bytes)> {
        let mut all: Vec<_> = self.log(log).filter(|entry| range.contains(&entry.0)).collect();
        if order == Order::Descending {
            all.reverse();
        }
        let mut visited_bytes = 0;
        let mut found = Vec::new();
        for (index, value) in all {
            visited_bytes += value.len();
            found.push((index, value));
            if visited_bytes >= budget_bytes {
                break;
            }
        }
        found
    }

    fn log(&self, log: LogName) -> impl Iterator<Item = (u64, Bytes)> {
        let all = self.entries.range(log.at(0)..=log.at(u64::MAX));
        all.map(|(key, value)| (key.index, value.clone()))
    }

    /// Compares the model with all that the engine answers: lists, scans in both orders, and
    /// single reads, also of what must be absent.
    pub(crate) fn check(&self, engine: &dyn KvLogDb) -> Checked {
        let with_entries: BTreeSet<_> = self.entries.keys().map(|key| key.log).collect();
        let names: Vec<String> = logs(engine)?.iter().map(ToString::to_string).collect();
        let wanted: Vec<String> = with_entries.iter().map(ToString::to_string).collect();
        expect_eq("the list of logs", &names, &wanted)?;
        for &log in &self.known_logs {
            self.check_log(engine, log)?;
        }
        self.check_meta(engine)
    }

    fn check_log(&self, engine: &dyn KvLogDb, log: LogName) -> Checked {
        for order in [Order::Ascending, Order::Descending] {
            let found = scan(engine, log, 0..=u64::MAX, order, usize::MAX)?;
            let wanted = self.scan(log, 0..=u64::MAX, order, usize::MAX);
            same(format_args!("{order:?} scan of log {log}"), &found, &wanted)?;
        }
        let count = self.log(log).count();
        let some = self.log(log).map(|entry| entry.0).step_by(count / POINT_READS + 1);
        let near = some.flat_map(|i| [i.checked_sub(1), Some(i), i.checked_add(1)]);
        for index in near.flatten().chain([0, 1, u64::MAX]) {
            let key = log.at(index);
            let found = engine.entry(key).during("reading an entry")?;
            let wanted = self.entries.get(&key).map(AsRef::as_ref);
            expect_value(format_args!("entry {index} of log {log}"), found, wanted)?;
        }
        Ok(())
    }

    fn check_meta(&self, engine: &dyn KvLogDb) -> Checked {
        let wanted: Vec<_> = self.meta.iter().map(|(&key, value)| (key, value.clone())).collect();
        same("the scan of metadata", &scan_meta(engine)?, &wanted)?;
        for &key in &self.known_meta {
            let found = engine.meta(key).during("reading metadata")?;
            let wanted = self.meta.get(&key).map(AsRef::as_ref);
            expect_value(format_args!("metadata of {key}"), found, wanted)?;
        }
        Ok(())
    }
}

/// What a scan of the engine visits.
pub(crate) fn scan(
    engine: &dyn KvLogDb,
    log: LogName,
    range: RangeInclusive<u64>,
    order: Order,
    budget_bytes: usize,
) -> Checked<Vec<(u64, Bytes)>> {
    let mut found = Vec::new();
    engine
        .scan(log, range, order, budget_bytes, &mut |index, value| {
            found.push((index, Bytes::from(value.into_owned())));
            ControlFlow::Continue(())
        })
        .during(format_args!("scanning log {log}"))?;
    Ok(found)
}

/// The whole log in index order.
pub(crate) fn scan_all(engine: &dyn KvLogDb, log: LogName) -> Checked<Vec<(u64, Bytes)>> {
    scan(engine, log, 0..=u64::MAX, Order::Ascending, usize::MAX)
}

/// The indexes in the log, in order.
pub(crate) fn indexes(engine: &dyn KvLogDb, log: LogName) -> Checked<Vec<u64>> {
    Ok(scan_all(engine, log)?.into_iter().map(|entry| entry.0).collect())
}

/// What a scan of all metadata visits.
pub(crate) fn scan_meta(engine: &dyn KvLogDb) -> Checked<Vec<(MetaKey, Bytes)>> {
    let mut found = Vec::new();
    engine
        .scan_meta(&mut |key, value| {
            found.push((key, Bytes::from(value.into_owned())));
            ControlFlow::Continue(())
        })
        .during("scanning metadata")?;
    Ok(found)
}

/// The logs that the engine lists.
pub(crate) fn logs(engine: &dyn KvLogDb) -> Checked<Vec<LogName>> {
    let mut found = Vec::new();
    engine
        .logs(&mut |log| {
            found.push(log);
            ControlFlow::Continue(())
        })
        .during("listing logs")?;
    Ok(found)
}

/// Fails unless the two lists are equal, and says where they part.
pub(crate) fn same<K: PartialEq + fmt::Debug>(
    what: impl fmt::Display,
    found: &[(K, Bytes)],
    wanted: &[(K, Bytes)],
) -> Checked {
    if found == wanted {
        return Ok(());
    }
    let at = found.iter().zip(wanted).take_while(|(found, wanted)| found == wanted).count();
    let (has, should) = (item(found.get(at)), item(wanted.get(at)));
    let (found, wanted) = (found.len(), wanted.len());
    Err(format!("{what}: {found} values, wanted {wanted}; number {at} is {has}, wanted {should}")
        .into())
}

fn item<K: fmt::Debug>(item: Option<&(K, Bytes)>) -> String {
    item.map_or_else(|| ABSENT.to_owned(), |(key, value)| format!("{key:?} with {}", shown(value)))
}

/// Fails unless the value is the wanted one.
pub(crate) fn expect_value(
    what: impl fmt::Display,
    found: Option<Bytes>,
    wanted: Option<&[u8]>,
) -> Checked {
    if found.as_deref() == wanted {
        return Ok(());
    }
    let found = found.map_or_else(|| ABSENT.to_owned(), |value| shown(&value));
    let wanted = wanted.map_or_else(|| ABSENT.to_owned(), shown);
    Err(format!("{what}: found {found}, wanted {wanted}").into())
}

const ABSENT: &str = "nothing";

/// A value's length and first bytes.
fn shown(value: &[u8]) -> String {
    let head: Vec<u8> = value.iter().copied().take(12).collect();
    format!("{} B \"{}\"", value.len(), head.escape_ascii())
}
