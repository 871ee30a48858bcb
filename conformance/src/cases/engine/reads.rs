//! What reads give.

use std::ops::{ControlFlow, RangeInclusive};

use kvlogdb_engine_api::{KvLogDb, MetaKey, Order};

use super::{LOG, log, put_all};
use crate::env::Store;
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::model::{expect_value, indexes, logs, scan, scan_meta};

const ORDERS: [Order; 2] = [Order::Ascending, Order::Descending];

/// Entries come in index order or against it, whatever the order in which they were put.
pub(in crate::cases) fn entries_come_back_in_index_order(store: &mut Store) -> Checked {
    store.buffered(|batch| put_all(batch, LOG, [5, 256, 1, 65_536, 3]))?;
    store.buffered(|batch| put_all(batch, LOG, [255, 2, 1 << 40]))?;
    store.twice(|engine| {
        let mut wanted = vec![1, 2, 3, 5, 255, 256, 65_536, 1 << 40];
        expect_eq("ascending", &found(engine, 0..=u64::MAX, Order::Ascending)?, &wanted)?;
        wanted.reverse();
        expect_eq("descending", &found(engine, 0..=u64::MAX, Order::Descending)?, &wanted)
    })
}

/// Both bounds of a scan belong to it, also at the largest index. Trap 25.
pub(in crate::cases) fn bounds_of_a_scan_are_inclusive(store: &mut Store) -> Checked {
    const MAX: u64 = u64::MAX;
    store.buffered(|batch| put_all(batch, LOG, [0, 1, 5, MAX - 1, MAX]))?;
    let ranges: [(RangeInclusive<u64>, &[u64]); 11] = [
        (0..=0, &[0]),
        (0..=1, &[0, 1]),
        (1..=1, &[1]),
        (1..=5, &[1, 5]),
        (2..=4, &[]),
        (2..=5, &[5]),
        (5..=MAX - 1, &[5, MAX - 1]),
        (5..=MAX, &[5, MAX - 1, MAX]),
        (6..=MAX - 2, &[]),
        (MAX..=MAX, &[MAX]),
        (0..=MAX, &[0, 1, 5, MAX - 1, MAX]),
    ];
    store.twice(|engine| {
        for (range, wanted) in &ranges {
            for order in ORDERS {
                let mut wanted = wanted.to_vec();
                if order == Order::Descending {
                    wanted.reverse();
                }
                let found = found(engine, range.clone(), order)?;
                expect_eq(format_args!("{order:?} {range:?}"), &found, &wanted)?;
            }
        }
        Ok(())
    })
}

/// A range whose end is below its start holds nothing, and asking for it is no error.
pub(in crate::cases) fn an_empty_range_visits_nothing(store: &mut Store) -> Checked {
    store.buffered(|batch| put_all(batch, LOG, [0, 1, 4, 5, u64::MAX]))?;
    store.twice(|engine| {
        for (first, last) in [(5, 4), (1, 0), (u64::MAX, 0), (u64::MAX, u64::MAX - 1)] {
            for order in ORDERS {
                let range = RangeInclusive::new(first, last);
                let found = found(engine, range, order)?;
                expect_eq(format_args!("{order:?} {first}..={last}"), &found, &Vec::new())?;
            }
        }
        Ok(())
    })
}

/// The budget is reached by the values visited: neither an entry more nor one less. Trap 34.
pub(in crate::cases) fn a_scan_ends_behind_the_entry_that_reaches_its_budget(
    store: &mut Store,
) -> Checked {
    store.buffered(|batch| {
        for index in 1..=5 {
            batch.put_entry(LOG.at(index), &[&[7; 10]])?;
        }
        (10..=12).try_for_each(|index| batch.put_entry(LOG.at(index), &[]))
    })?;
    let budgets: [(usize, usize); 9] =
        [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (49, 5), (50, 5), (51, 5)];
    store.twice(|engine| {
        for (budget_bytes, wanted) in budgets {
            for order in ORDERS {
                let found = scan(engine, LOG, 1..=5, order, budget_bytes)?.len();
                expect_eq(format_args!("{order:?}, {budget_bytes} B"), &found, &wanted)?;
            }
        }
        let of_nothing = scan(engine, LOG, 10..=12, Order::Ascending, 1)?.len();
        expect_eq("empty values do not use the budget", &of_nothing, &3)?;
        let of_nothing = scan(engine, LOG, 10..=12, Order::Ascending, 0)?.len();
        expect_eq("a budget of nothing is reached at once", &of_nothing, &1)
    })
}

/// A budget never keeps a reader from going on. Trap 34.
pub(in crate::cases) fn an_entry_larger_than_the_budget_comes_alone(store: &mut Store) -> Checked {
    let large = crate::random::value(1, 300_000);
    store.buffered(|batch| (1..=3).try_for_each(|i| batch.put_entry(LOG.at(i), &[&large])))?;
    store.twice(|engine| {
        for (order, index) in [(Order::Ascending, 1), (Order::Descending, 3)] {
            let found = scan(engine, LOG, 0..=u64::MAX, order, 1000)?;
            ensure!(
                found.iter().map(|entry| (entry.0, &entry.1[..])).eq([(index, &large[..])]),
                "{order:?}: wanted entry {index} whole and nothing else, found {} entries",
                found.len()
            );
        }
        Ok(())
    })
}

/// Nothing is visited after a visitor broke: entries, metadata and logs.
pub(in crate::cases) fn a_visitor_ends_its_scan(store: &mut Store) -> Checked {
    store.buffered(|batch| {
        for group in 1..=4 {
            put_all(batch, log(group, 0, 0), 1..=4)?;
            batch.put_meta(MetaKey::store(u16::try_from(group).unwrap_or(0)), &[b"m"])?;
        }
        Ok(())
    })?;
    store.twice(|engine| {
        for wanted in 1..=3 {
            for order in ORDERS {
                let mut visits = 0;
                let range = 0..=u64::MAX;
                engine.scan(log(2, 0, 0), range, order, usize::MAX, &mut |_, _| {
                    break_at(&mut visits, wanted)
                })?;
                expect_eq("visits of a scan", &visits, &wanted)?;
            }
            let mut visits = 0;
            engine.scan_meta(&mut |_, _| break_at(&mut visits, wanted))?;
            expect_eq("visits of a scan of metadata", &visits, &wanted)?;
            let mut visits = 0;
            engine.logs(&mut |_| break_at(&mut visits, wanted))?;
            expect_eq("visits of a list of logs", &visits, &wanted)?;
        }
        Ok(())
    })
}

fn break_at(visits: &mut u32, last: u32) -> ControlFlow<()> {
    *visits += 1;
    if *visits >= last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// A scan of all indexes costs what is there, not what could be: one that walks or allocates the
/// range does not come back. Trap 33.
pub(in crate::cases) fn a_scan_over_every_index_finds_the_few_there_are(
    store: &mut Store,
) -> Checked {
    store.buffered(|batch| put_all(batch, LOG, [3, 1 << 33, 1 << 63]))?;
    store.twice(|engine| {
        for order in ORDERS {
            let count = found(engine, 0..=u64::MAX, order)?.len();
            expect_eq(format_args!("{order:?}"), &count, &3)?;
            let count = found(engine, (1 << 33) + 1..=(1 << 63) - 1, order)?.len();
            expect_eq(format_args!("{order:?} between entries"), &count, &0)?;
        }
        Ok(())
    })
}

/// Reading what is absent is no error, in an empty store and beside what is there.
pub(in crate::cases) fn what_was_never_written_is_absent(store: &mut Store) -> Checked {
    all_absent(store.engine()).during("in an empty store")?;
    store.buffered(|batch| {
        put_all(batch, log(7, 0, 0), [6, 8])?;
        put_all(batch, log(7, 0, 2), [6, 7, 8])?;
        batch.put_meta(MetaKey::replica(LOG.replica, 299), &[b"near"])
    })?;
    store.twice(all_absent)
}

fn all_absent(engine: &dyn KvLogDb) -> Checked {
    for index in [0, 6, 7, 8, u64::MAX] {
        expect_eq("an entry of no log", &engine.entry(LOG.at(index))?, &None)?;
    }
    expect_eq("an entry in a hole", &engine.entry(log(7, 0, 0).at(7))?, &None)?;
    expect_eq("indexes of no log", &indexes(engine, LOG)?, &Vec::new())?;
    for key in [MetaKey::store(300), MetaKey::replica(LOG.replica, 300)] {
        expect_eq(key, &engine.meta(key)?, &None)?;
    }
    Ok(())
}

/// A value of no bytes is there: it is read, scanned and listed. Trap 38.
pub(in crate::cases) fn an_empty_value_is_not_a_missing_one(store: &mut Store) -> Checked {
    let key = MetaKey::store(256);
    store.buffered(|batch| {
        batch.put_entry(LOG.at(1), &[])?;
        batch.put_entry(LOG.at(3), &[b"", b""])?;
        batch.put_meta(key, &[])
    })?;
    store.twice(|engine| {
        expect_value("entry 1", engine.entry(LOG.at(1))?, Some(&[]))?;
        expect_value("entry 2", engine.entry(LOG.at(2))?, None)?;
        expect_eq("indexes", &indexes(engine, LOG)?, &vec![1, 3])?;
        expect_eq("logs", &logs(engine)?, &vec![LOG])?;
        expect_value(key, engine.meta(key)?, Some(&[]))?;
        expect_eq("metadata", &scan_meta(engine)?.len(), &1)
    })
}

/// Index 0 is neither a marker nor out of bounds. Trap 27.
pub(in crate::cases) fn index_zero_is_an_entry_like_any_other(store: &mut Store) -> Checked {
    store.buffered(|batch| put_all(batch, log(0, 0, 0), 0..=2))?;
    store.twice(|engine| expect_eq("indexes", &indexes(engine, log(0, 0, 0))?, &vec![0, 1, 2]))?;
    store.buffered(|batch| {
        batch.remove_entries(log(0, 0, 0), 0, 0);
        Ok(())
    })?;
    store.twice(|engine| expect_eq("indexes", &indexes(engine, log(0, 0, 0))?, &vec![1, 2]))
}

fn found(engine: &dyn KvLogDb, range: RangeInclusive<u64>, order: Order) -> Checked<Vec<u64>> {
    let entries = scan(engine, LOG, range, order, usize::MAX)?;
    Ok(entries.into_iter().map(|entry| entry.0).collect())
}
