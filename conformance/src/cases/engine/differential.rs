//! Random operations against the model.

use std::ops::RangeInclusive;

use kvlogdb_engine_api::{Durability, LogName, MetaKey, Order, ReplicaId, Result, WriteBatch};

use super::log;
use crate::env::Store;
use crate::failure::Checked;
use crate::model::{same, scan};
use crate::random::{Random, repeat, value};

const STEPS: u32 = 200;
const LOGS: [LogName; 6] = [
    log(0, 0, 0),
    log(1, 0, 0),
    log(1, 0, 1),
    log(1, 1, 0),
    log(2, 0, u32::MAX),
    log(u64::MAX, u64::MAX, u32::MAX),
];
/// Mostly small; a few that an engine may cut into pieces.
const LENS: [usize; 10] = [0, 1, 7, 30, 30, 100, 1000, 4096, 20_000, 130_000];

/// Random batches, several a write, in both durabilities, with removals between any bounds,
/// random scans, reopens and upkeep: after each step everything is as the model says.
pub(in crate::cases) fn random_operations_match_the_model(store: &mut Store) -> Checked {
    repeat(STEPS, |random| step(store, random))
}

fn step(store: &mut Store, random: &mut Random) -> Checked {
    match random.below(25) {
        0 => store.reopen()?,
        1 => store.engine().sync()?,
        2 => store.engine().reclaim()?,
        3 => store.engine().verify()?,
        _ => write(store, random)?,
    }
    store.check()?;
    (0..3).try_for_each(|_| scan_anything(store, random))
}

fn write(store: &mut Store, random: &mut Random) -> Checked {
    let mut batches = Vec::new();
    for _ in 0..random.below(4) {
        let mut batch = WriteBatch::new();
        for _ in 0..random.below(9) {
            add_operation(&mut batch, random)?;
        }
        batches.push(batch);
    }
    let durability = match random.below(6) {
        0 => Durability::Synced,
        _ => Durability::Buffered,
    };
    store.write(&batches.iter().collect::<Vec<_>>(), durability)
}

/// Adds an operation that may be anything.
pub(in crate::cases) fn add_operation(batch: &mut WriteBatch, random: &mut Random) -> Result<()> {
    let log = *random.pick(&LOGS);
    match random.below(20) {
        0..=10 => {
            let bytes = value(random.next(), *random.pick(&LENS));
            batch.put_entry(log.at(index(random)), &[&bytes])?;
        }
        11..=13 => {
            let range = range(random);
            batch.remove_entries(log, *range.start(), *range.end());
        }
        14 => batch.remove_log(log),
        15..=17 => {
            let bytes = value(random.next(), *random.pick(&LENS));
            batch.put_meta(meta_key(random), &[&bytes])?;
        }
        _ => batch.remove_meta(meta_key(random)),
    }
    Ok(())
}

/// Indexes collide often and lie at both ends.
fn index(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => u64::MAX - random.below(3),
        1 => (1 << 32) - 2 + random.below(4),
        _ => random.below(24),
    }
}

/// Bounds in any order, so that some ranges are empty.
fn range(random: &mut Random) -> RangeInclusive<u64> {
    let (first, last) = (index(random), index(random));
    match random.below(4) {
        0 => RangeInclusive::new(first, last),
        1 => first..=u64::MAX,
        2 => 0..=last,
        _ => first.min(last)..=first.max(last),
    }
}

fn meta_key(random: &mut Random) -> MetaKey {
    let slot = *random.pick(&[0, 1, 255, 256, u16::MAX]);
    match *random.pick(&[None, Some(0), Some(1), Some(u64::MAX)]) {
        None => MetaKey::store(slot),
        Some(group) => MetaKey::replica(ReplicaId { group, node: group }, slot),
    }
}

fn scan_anything(store: &Store, random: &mut Random) -> Checked {
    let (log, range) = (*random.pick(&LOGS), range(random));
    let order = *random.pick(&[Order::Ascending, Order::Descending]);
    let budget_bytes = *random.pick(&[0, 1, 50, 5000, 100_000, usize::MAX]);
    let found = scan(store.engine(), log, range.clone(), order, budget_bytes)?;
    let wanted = store.model().scan(log, range.clone(), order, budget_bytes);
    let what = format_args!("{order:?} scan of log {log}, {range:?}, {budget_bytes} B");
    same(what, &found, &wanted)
}
