//! Long logs.

use bytes::Bytes;
use kvlogdb_engine_api::{Durability, KvLogDb, MetaKey, Order};

use super::{LOG, log, put_all};
use crate::env::{Store, batch};
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::model::{expect_value, indexes, scan, scan_all};
use crate::random::value;

const LONG: u64 = 20_000;
const BUDGET_BYTES: usize = 4096;

fn fill(store: &mut Store) -> Checked {
    for first in (1..=LONG).step_by(1000) {
        store.buffered(|batch| put_all(batch, LOG, first..first + 1000))?;
    }
    Ok(store.engine().sync()?)
}

/// Pages of a few KiB, each beginning where the last ended, make up the log, in both orders. Trap
/// 34.
pub(in crate::cases) fn pages_of_a_long_log_make_the_whole(store: &mut Store) -> Checked {
    fill(store)?;
    store.twice(|engine| {
        let mut whole = scan_all(engine, LOG)?;
        expect_eq("entries", &(whole.len() as u64), &LONG)?;
        ensure!(pages(engine, Order::Ascending)? == whole, "pages upwards are not the log");
        whole.reverse();
        ensure!(pages(engine, Order::Descending)? == whole, "pages downwards are not the log");
        Ok(())
    })
}

fn pages(engine: &dyn KvLogDb, order: Order) -> Checked<Vec<(u64, Bytes)>> {
    let mut all = Vec::new();
    let mut rest = Some(0..=u64::MAX);
    while let Some(range) = rest {
        let mut page = scan(engine, LOG, range, order, BUDGET_BYTES)?;
        let page_bytes: usize = page.iter().map(|entry| entry.1.len()).sum();
        ensure!(page_bytes < BUDGET_BYTES + 100, "a page of {page_bytes} B");
        rest = page.last().and_then(|last| match order {
            Order::Ascending => Some(last.0.checked_add(1)?..=u64::MAX),
            Order::Descending => Some(0..=last.0.checked_sub(1)?),
        });
        all.append(&mut page);
    }
    Ok(all)
}

/// Nothing has to be synced for writes to go on: an engine that lets un-synced writes pile up until
/// it stops does not come back.
pub(in crate::cases) fn thousands_of_buffered_writes_need_no_sync(store: &mut Store) -> Checked {
    for index in 1..=3000 {
        store.buffered(|batch| {
            put_all(batch, LOG, [index])?;
            batch.put_meta(MetaKey::store(256), &[&index.to_be_bytes()])
        })?;
    }
    store.twice(|engine| expect_eq("indexes", &indexes(engine, LOG)?, &(1..=3000).collect()))
}

/// A prefix goes in slices, each from where the last ended, with its cursor in the same batch; at
/// each step the log begins behind the slice. Trap 24.
pub(in crate::cases) fn a_long_log_goes_in_slices(store: &mut Store) -> Checked {
    const SLICE: u64 = 250;
    const KEPT_FROM: u64 = 15_001;
    let cursor = MetaKey::replica(LOG.replica, 1);
    fill(store)?;
    for first in (1..KEPT_FROM).step_by(250) {
        let slice = batch(|batch| {
            batch.remove_entries(LOG, first, first + SLICE - 1);
            batch.put_meta(cursor, &[&(first + SLICE).to_be_bytes()])
        })?;
        store.write(&[&slice], Durability::Buffered)?;
        let head = scan(store.engine(), LOG, 0..=u64::MAX, Order::Ascending, 1)?;
        expect_eq("the first entry", &head.first().map(|e| e.0), &Some(first + SLICE))?;
    }
    store.twice(|engine| {
        expect_eq("indexes", &indexes(engine, LOG)?, &(KEPT_FROM..=LONG).collect())?;
        let stored = engine.meta(cursor)?;
        expect_value("the cursor", stored, Some(&KEPT_FROM.to_be_bytes()))
    })
}

/// Logs that are filled and emptied again and again hold what the last round kept. Trap 24.
pub(in crate::cases) fn fill_and_remove_cycles_leave_what_was_kept(store: &mut Store) -> Checked {
    for cycle in 0..10 {
        let first = cycle * 1000;
        store.buffered(|batch| {
            for group in 1..=2 {
                put_all(batch, log(group, 0, 0), first..first + 1000)?;
                batch.put_entry(log(group, 0, 0).at(first), &[&value(first, 100_000)])?;
            }
            Ok(())
        })?;
        store.buffered(|batch| {
            batch.remove_entries(log(1, 0, 0), 0, first + 989);
            batch.remove_log(log(2, 0, 0));
            Ok(())
        })?;
        if cycle == 4 {
            store.engine().reclaim().during("reclaim")?;
            store.reopen()?;
        }
        store.check().during(format_args!("after cycle {cycle}"))?;
    }
    store.twice(|engine| {
        expect_eq("what was kept", &indexes(engine, log(1, 0, 0))?, &(9990..10_000).collect())
    })
}
