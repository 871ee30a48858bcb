//! Metadata: values beside the logs.

use kvlogdb_engine_api::{FIRST_USER_SLOT, MetaKey, ReplicaId};

use super::{LOG, put_all};
use crate::env::Store;
use crate::failure::{Checked, Context, expect_eq};
use crate::model::{expect_value, indexes, logs, scan_meta};

const SLOTS: [u16; 6] = [0, 1, FIRST_USER_SLOT - 1, FIRST_USER_SLOT, u16::MAX - 1, u16::MAX];

/// Keys in key order: the store's slots, then those of each replica.
fn keys() -> Vec<MetaKey> {
    let mut keys: Vec<_> = SLOTS.map(MetaKey::store).to_vec();
    for group in [0, 1, u64::MAX] {
        for node in [0, 1, u64::MAX] {
            keys.extend(SLOTS.map(|slot| MetaKey::replica(ReplicaId { group, node }, slot)));
        }
    }
    keys
}

fn fill(store: &mut Store) -> Checked {
    store.buffered(|batch| {
        let mut keys = keys().into_iter().rev();
        keys.try_for_each(|key| batch.put_meta(key, &[key.to_string().as_bytes()]))
    })
}

/// A scan of metadata gives the store's slots first and then replica by replica, slot by slot.
pub(in crate::cases) fn metadata_comes_in_key_order_with_the_store_first(
    store: &mut Store,
) -> Checked {
    fill(store)?;
    store.twice(|engine| {
        let found: Vec<_> = scan_meta(engine)?.into_iter().map(|found| found.0).collect();
        expect_eq("the keys", &found, &keys())
    })
}

/// Slots of the log and slots of users are put, replaced and removed alike.
pub(in crate::cases) fn metadata_is_put_replaced_and_removed(store: &mut Store) -> Checked {
    for key in keys() {
        store.buffered(|batch| batch.put_meta(key, &[b"first"]))?;
        store.buffered(|batch| batch.put_meta(key, &[b"sec", b"ond"]))?;
        let found = store.engine().meta(key)?;
        expect_value(key, found, Some(b"second"))?;
    }
    store.twice(|engine| expect_eq("values", &scan_meta(engine)?.len(), &keys().len()))?;
    store.buffered(|batch| {
        for key in keys() {
            batch.remove_meta(key);
        }
        Ok(())
    })?;
    store.twice(|engine| expect_eq("values", &scan_meta(engine)?.len(), &0))
}

/// Entries and metadata of one replica share nothing: neither shows among the other, and a store
/// of metadata alone has no logs. Trap 27.
pub(in crate::cases) fn metadata_is_never_in_a_log_nor_entries_in_metadata(
    store: &mut Store,
) -> Checked {
    store.buffered(|batch| {
        for slot in SLOTS {
            batch.put_meta(MetaKey::store(slot), &[b"meta"])?;
            batch.put_meta(MetaKey::replica(LOG.replica, slot), &[b"meta"])?;
        }
        Ok(())
    })?;
    store.twice(|engine| {
        expect_eq("logs of metadata", &logs(engine)?, &Vec::new())?;
        expect_eq("entries of metadata", &indexes(engine, LOG)?, &Vec::new())
    })?;
    store.buffered(|batch| put_all(batch, LOG, [0, 1, u64::MAX]))?;
    store.twice(|engine| {
        expect_eq("indexes", &indexes(engine, LOG)?, &vec![0, 1, u64::MAX])?;
        expect_eq("values", &scan_meta(engine)?.len(), &(2 * SLOTS.len()))
    })
}

/// The same slot of the store and of each replica is another value. Trap 26.
pub(in crate::cases) fn one_slot_of_many_scopes_is_many_values(store: &mut Store) -> Checked {
    fill(store)?;
    store.twice(|engine| {
        for key in keys() {
            let (found, wanted) = (engine.meta(key)?, key.to_string());
            expect_value(key, found, Some(wanted.as_bytes()))?;
        }
        Ok(())
    })
}

/// Removing one value leaves every other as it was. Trap 26.
pub(in crate::cases) fn removing_metadata_leaves_its_neighbours(store: &mut Store) -> Checked {
    fill(store)?;
    store.buffered(|batch| put_all(batch, LOG, 0..=3))?;
    for key in keys() {
        store.buffered(|batch| {
            batch.remove_meta(key);
            Ok(())
        })?;
        store.check().during(format_args!("after removing {key}"))?;
        store.buffered(|batch| batch.put_meta(key, &[key.to_string().as_bytes()]))?;
    }
    Ok(())
}

/// Removing a log, or all of its entries, is no removal of its replica's metadata. Trap 26.
pub(in crate::cases) fn removing_a_log_leaves_its_metadata(store: &mut Store) -> Checked {
    let key = MetaKey::replica(LOG.replica, 0);
    for incarnation in 0..2 {
        let log = kvlogdb_engine_api::LogName { incarnation, ..LOG };
        store.buffered(|batch| {
            put_all(batch, log, 1..=3)?;
            batch.put_meta(key, &[b"state"])
        })?;
        store.buffered(|batch| {
            if incarnation == 0 {
                batch.remove_log(log);
            } else {
                batch.remove_entries(log, 0, u64::MAX);
            }
            Ok(())
        })?;
        store.twice(|engine| {
            expect_eq("indexes", &indexes(engine, log)?, &Vec::new())?;
            expect_value(key, engine.meta(key)?, Some(b"state"))
        })?;
    }
    Ok(())
}
