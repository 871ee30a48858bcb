//! What survives.

use kvlogdb_engine_api::MetaKey;

use super::{LOG, log, put_all};
use crate::env::Store;
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::model::indexes;

/// A Buffered write is read at once by every kind of read. Trap 37.
pub(in crate::cases) fn buffered_writes_are_visible_at_once(store: &mut Store) -> Checked {
    for index in 1..=50 {
        store.buffered(|batch| {
            put_all(batch, LOG, [index])?;
            put_all(batch, log(8, 0, 0), [index, index + 1])?;
            batch.remove_entries(log(8, 0, 0), 0, index);
            batch.put_meta(MetaKey::store(256), &[&index.to_le_bytes()])
        })?;
        store.check().during(format_args!("at once after write {index}"))?;
    }
    Ok(())
}

/// A Synced write, and the Buffered ones before it, need no close.
pub(in crate::cases) fn synced_writes_survive_a_drop(store: &mut Store) -> Checked {
    store.buffered(|batch| put_all(batch, LOG, 1..=5))?;
    store.synced(|batch| {
        batch.remove_entries(LOG, 1, 2);
        put_all(batch, LOG, 6..=8)?;
        batch.put_meta(MetaKey::store(256), &[b"synced"])
    })?;
    store.drop_and_open()?;
    expect_eq("indexes", &indexes(store.engine(), LOG)?, &(3..=8).collect())?;
    store.check()
}

/// What was written before a sync needs no close.
pub(in crate::cases) fn buffered_writes_survive_a_sync_and_a_drop(store: &mut Store) -> Checked {
    for index in 1..=30 {
        store.buffered(|batch| put_all(batch, LOG, [index]))?;
    }
    store.engine().sync()?;
    store.drop_and_open()?;
    expect_eq("indexes", &indexes(store.engine(), LOG)?, &(1..=30).collect())?;
    store.check()
}

/// A close syncs: Buffered writes are there when the store is opened again.
pub(in crate::cases) fn buffered_writes_survive_a_close(store: &mut Store) -> Checked {
    for index in 1..=30 {
        store.buffered(|batch| put_all(batch, LOG, [index]))?;
    }
    store.reopen()?;
    expect_eq("indexes", &indexes(store.engine(), LOG)?, &(1..=30).collect())
}

/// Opening and closing is no change, and a store that was reopened takes writes.
pub(in crate::cases) fn twenty_reopens_change_nothing(store: &mut Store) -> Checked {
    store.synced(|batch| {
        put_all(batch, LOG, 1..=20)?;
        batch.put_entry(LOG.at(21), &[&crate::random::value(21, 100_000)])?;
        batch.put_meta(MetaKey::store(256), &[b"kept"])
    })?;
    for round in 1..=20 {
        store.reopen()?;
        store.check().during(format_args!("after reopen {round}"))?;
    }
    store.buffered(|batch| put_all(batch, LOG, 30..=35))
}

/// Checking, reclaiming and counting answer well and show the same contents as before, on an
/// empty store, a full one, and one from which most was removed.
pub(in crate::cases) fn upkeep_changes_nothing_visible(store: &mut Store) -> Checked {
    upkeep(store).during("upkeep of an empty store")?;
    store.buffered(|batch| {
        for group in 0..5 {
            for index in 0..200 {
                let bytes = crate::random::value(index, 500);
                batch.put_entry(log(group, 0, 0).at(index), &[&bytes])?;
            }
            batch.put_meta(MetaKey::store(256), &[b"kept"])?;
        }
        Ok(())
    })?;
    upkeep(store).during("upkeep of a full store")?;
    store.synced(|batch| {
        (0..4).for_each(|group| batch.remove_log(log(group, 0, 0)));
        batch.remove_entries(log(4, 0, 0), 0, 180);
        Ok(())
    })?;
    upkeep(store).during("upkeep after removal")?;
    store.reopen()?;
    upkeep(store).during("upkeep after reopen")
}

fn upkeep(store: &Store) -> Checked {
    let engine = store.engine();
    engine.verify().during("verify")?;
    let before = engine.disk_bytes().during("disk_bytes")?;
    engine.reclaim().during("reclaim")?;
    let after = engine.disk_bytes().during("disk_bytes")?;
    engine.verify().during("verify after reclaim")?;
    ensure!(
        after <= before.saturating_mul(2).saturating_add(64 << 20),
        "reclaim went from {before} to {after} B"
    );
    store.check()
}
