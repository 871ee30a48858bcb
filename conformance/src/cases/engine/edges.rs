//! The smallest and the largest keys, and their neighbours.

use kvlogdb_engine_api::{LogName, MetaKey, WriteBatch};

use super::{log, put_all};
use crate::env::Store;
use crate::failure::{Checked, Context, expect_eq};
use crate::model::{expect_value, indexes, logs};

const EDGES: [u64; 4] = [0, 1, u64::MAX - 1, u64::MAX];
const INCARNATIONS: [u32; 4] = [0, 1, u32::MAX - 1, u32::MAX];

/// Logs at every edge of group and node, and at every edge of the incarnation in the corners.
fn edge_logs() -> Vec<LogName> {
    let mut logs = Vec::new();
    for group in EDGES {
        for node in EDGES {
            logs.push(log(group, node, 0));
        }
    }
    for incarnation in INCARNATIONS {
        for (group, node) in [(0, 0), (1, u64::MAX), (u64::MAX, u64::MAX)] {
            logs.push(log(group, node, incarnation));
        }
    }
    logs.sort_unstable();
    logs.dedup();
    logs
}

/// Entries at every edge of every edge log, and metadata of the same replicas.
fn fill(store: &mut Store) -> Checked {
    store.buffered(|batch| {
        for log in edge_logs() {
            put_all(batch, log, EDGES)?;
            for slot in [0, u16::MAX] {
                batch.put_meta(MetaKey::replica(log.replica, slot), &[b"meta"])?;
            }
        }
        for slot in [0, u16::MAX] {
            batch.put_meta(MetaKey::store(slot), &[b"meta"])?;
        }
        Ok(())
    })
}

/// The smallest and largest group, node, incarnation and index, and those next to them, are keys
/// like any other. Trap 25.
pub(in crate::cases) fn every_edge_of_every_key_field_holds_an_entry(store: &mut Store) -> Checked {
    fill(store)?;
    store.twice(|engine| {
        expect_eq("logs", &logs(engine)?, &edge_logs())?;
        for log in edge_logs() {
            expect_eq(log, &indexes(engine, log)?, &EDGES.to_vec())?;
            for index in EDGES {
                let found = engine.entry(log.at(index))?;
                let wanted = format!("{log}@{index}");
                expect_value(log, found, Some(wanted.as_bytes()))?;
            }
        }
        Ok(())
    })
}

/// Applies each change to each edge log in turn, compares everything, and puts the log back.
fn change_each_log(store: &mut Store, change: impl Fn(&mut WriteBatch, LogName)) -> Checked {
    fill(store)?;
    for log in edge_logs() {
        store.buffered(|batch| {
            change(batch, log);
            Ok(())
        })?;
        store.check().during(format_args!("after a change of log {log}"))?;
        store.buffered(|batch| put_all(batch, log, EDGES))?;
    }
    store.reopen()?;
    store.check()
}

/// One entry goes; every other, in its log and in the logs around it, stays as it was. Traps 25
/// and 26.
pub(in crate::cases) fn removing_one_entry_leaves_its_neighbours(store: &mut Store) -> Checked {
    for index in EDGES {
        change_each_log(store, |batch, log| batch.remove_entries(log, index, index))?;
    }
    Ok(())
}

/// A removal from 0 or up to the largest index ends at its bounds and its log. Traps 25 and 26.
pub(in crate::cases) fn removing_half_a_log_leaves_its_neighbours(store: &mut Store) -> Checked {
    for (first, last) in [(0, 1), (1, u64::MAX - 1), (u64::MAX - 1, u64::MAX)] {
        change_each_log(store, |batch, log| batch.remove_entries(log, first, last))?;
    }
    Ok(())
}

/// A log goes as a whole, in both ways of saying so; the logs and metadata around it stay. Traps
/// 25 and 26.
pub(in crate::cases) fn removing_a_log_leaves_its_neighbours(store: &mut Store) -> Checked {
    change_each_log(store, WriteBatch::remove_log)?;
    change_each_log(store, |batch, log| batch.remove_entries(log, 0, u64::MAX))
}

/// Entries put one at a time, each with a value of its own, change nothing beside themselves.
/// Traps 25 and 26.
pub(in crate::cases) fn putting_an_entry_leaves_its_neighbours(store: &mut Store) -> Checked {
    for log in edge_logs() {
        for index in EDGES {
            store.buffered(|batch| put_all(batch, log, [index]))?;
        }
        store.check().during(format_args!("after puts to log {log}"))?;
    }
    Ok(())
}
