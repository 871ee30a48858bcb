//! What a write does.

use kvlogdb_engine_api::{Durability, MetaKey, ReplicaId, WriteBatch};

use super::{LOG, log, put_all};
use crate::env::{Store, batch};
use crate::failure::{Checked, expect_eq};
use crate::model::{expect_value, indexes};

/// A second put of an index replaces the value and nothing else.
pub(in crate::cases) fn a_put_replaces_the_value_in_place(store: &mut Store) -> Checked {
    store.buffered(|batch| put_all(batch, LOG, 1..=5))?;
    for value in [&b"other"[..], b"a longer value than the one before", b""] {
        store.buffered(|batch| batch.put_entry(LOG.at(3), &[value]))?;
        store.twice(|engine| {
            expect_value("entry 3", engine.entry(LOG.at(3))?, Some(value))?;
            expect_eq("indexes", &indexes(engine, LOG)?, &vec![1, 2, 3, 4, 5])
        })?;
    }
    Ok(())
}

/// Indexes need not follow each other: gaps are the business of the log above.
pub(in crate::cases) fn holes_are_legal(store: &mut Store) -> Checked {
    store.buffered(|batch| put_all(batch, LOG, [10, 2, 1000]))?;
    store.buffered(|batch| {
        put_all(batch, LOG, [500])?;
        batch.remove_entries(LOG, 10, 10);
        Ok(())
    })?;
    store.twice(|engine| expect_eq("indexes", &indexes(engine, LOG)?, &vec![2, 500, 1000]))
}

/// A removal sees what stands before it in its own batch.
pub(in crate::cases) fn a_removal_covers_what_its_batch_put_before(store: &mut Store) -> Checked {
    let key = MetaKey::replica(LOG.replica, 256);
    store.buffered(|batch| put_all(batch, LOG, [1, 5]))?;
    store.buffered(|batch| {
        put_all(batch, LOG, 2..=9)?;
        put_all(batch, log(8, 0, 0), 1..=3)?;
        batch.put_meta(key, &[b"short-lived"])?;
        batch.remove_entries(LOG, 4, 8);
        batch.remove_log(log(8, 0, 0));
        batch.remove_meta(key);
        Ok(())
    })?;
    store.twice(|engine| {
        expect_eq("indexes", &indexes(engine, LOG)?, &vec![1, 2, 3, 9])?;
        expect_eq("indexes", &indexes(engine, log(8, 0, 0))?, &Vec::new())?;
        expect_eq("metadata", &engine.meta(key)?, &None)
    })
}

/// A removal does not see what stands after it in its own batch.
pub(in crate::cases) fn a_put_after_a_removal_in_its_batch_stays(store: &mut Store) -> Checked {
    let key = MetaKey::store(256);
    store.buffered(|batch| {
        put_all(batch, LOG, 1..=9)?;
        put_all(batch, log(8, 0, 0), 1..=9)?;
        batch.put_meta(key, &[b"old"])
    })?;
    store.buffered(|batch| {
        batch.remove_entries(LOG, 3, u64::MAX);
        batch.put_entry(LOG.at(4), &[b"new"])?;
        batch.remove_log(log(8, 0, 0));
        batch.put_entry(log(8, 0, 0).at(6), &[b"new"])?;
        batch.remove_meta(key);
        batch.put_meta(key, &[b"new"])
    })?;
    store.twice(|engine| {
        expect_eq("indexes", &indexes(engine, LOG)?, &vec![1, 2, 4])?;
        expect_eq("indexes", &indexes(engine, log(8, 0, 0))?, &vec![6])?;
        for found in [engine.entry(LOG.at(4))?, engine.entry(log(8, 0, 0).at(6))?] {
            expect_value("the entry put again", found, Some(b"new"))?;
        }
        expect_value("the metadata put again", engine.meta(key)?, Some(b"new"))
    })
}

/// Within a batch and across the batches of one write, the last operation on a key decides.
pub(in crate::cases) fn the_last_write_to_a_key_wins(store: &mut Store) -> Checked {
    let key = MetaKey::store(u16::MAX);
    let versions = |values: [&[u8]; 2]| {
        batch(|batch| {
            for value in values {
                batch.put_entry(LOG.at(1), &[value])?;
                batch.put_meta(key, &[value])?;
            }
            Ok(())
        })
    };
    let (early, late) = (versions([b"1", b"2"])?, versions([b"3", b"4"])?);
    store.write(&[&early], Durability::Buffered)?;
    expect_value("after one", store.engine().entry(LOG.at(1))?, Some(b"2"))?;
    store.write(&[&late, &early], Durability::Buffered)?;
    expect_value("backwards", store.engine().entry(LOG.at(1))?, Some(b"2"))?;
    store.write(&[&early, &late], Durability::Buffered)?;
    store.twice(|engine| {
        expect_value("the entry", engine.entry(LOG.at(1))?, Some(b"4"))?;
        expect_value("the metadata", engine.meta(key)?, Some(b"4"))
    })
}

/// A later batch of a write sees what an earlier one did: put, remove, put again.
pub(in crate::cases) fn batches_of_one_write_apply_in_order(store: &mut Store) -> Checked {
    let fill = batch(|batch| put_all(batch, LOG, 1..=10))?;
    let cut = batch(|batch| {
        batch.remove_entries(LOG, 4, u64::MAX);
        Ok(())
    })?;
    let refill = batch(|batch| put_all(batch, LOG, 4..=6))?;
    let nothing = WriteBatch::new();
    store.write(&[&fill, &nothing, &cut, &refill], Durability::Synced)?;
    store.twice(|engine| expect_eq("indexes", &indexes(engine, LOG)?, &(1..=6).collect()))?;
    store.write(&[&refill, &fill, &cut], Durability::Buffered)?;
    store.twice(|engine| expect_eq("indexes", &indexes(engine, LOG)?, &vec![1, 2, 3]))
}

/// A tail that is cut and rewritten in one batch: nothing of the old one comes back. Trap 1.
pub(in crate::cases) fn a_replaced_tail_stays_gone(store: &mut Store) -> Checked {
    store.synced(|batch| put_all(batch, LOG, 1..=10))?;
    store.synced(|batch| {
        batch.remove_entries(LOG, 6, u64::MAX);
        batch.put_entry(LOG.at(6), &[b"of a new term"])?;
        batch.put_entry(LOG.at(7), &[b"of a new term"])
    })?;
    store.twice(|engine| {
        expect_eq("indexes", &indexes(engine, LOG)?, &(1..=7).collect())?;
        for index in [6, 7] {
            let found = engine.entry(LOG.at(index))?;
            expect_value("the new tail", found, Some(b"of a new term"))?;
        }
        Ok(())
    })
}

/// Removing absent entries, logs and metadata is no error, in an empty store too. Trap 18.
pub(in crate::cases) fn removing_what_is_absent_changes_nothing(store: &mut Store) -> Checked {
    let remove = |batch: &mut WriteBatch| {
        batch.remove_entries(LOG, 4, 6);
        batch.remove_entries(LOG, u64::MAX, u64::MAX);
        batch.remove_log(log(7, 1, 1));
        batch.remove_log(log(u64::MAX, u64::MAX, u32::MAX));
        batch.remove_meta(MetaKey::store(1));
        batch.remove_meta(MetaKey::replica(LOG.replica, 1));
        Ok(())
    };
    store.buffered(remove)?;
    store.check()?;
    store.buffered(|batch| {
        put_all(batch, LOG, [3, 7])?;
        batch.put_meta(MetaKey::store(2), &[b"stays"])
    })?;
    store.synced(remove)?;
    store.buffered(remove)?;
    store.twice(|engine| expect_eq("indexes", &indexes(engine, LOG)?, &vec![3, 7]))
}

/// A removal of all indexes costs what is there, and ends at its own log. Trap 33.
pub(in crate::cases) fn a_removal_may_reach_far_beyond_the_entries(store: &mut Store) -> Checked {
    let (before, after) = (log(7, 0, 0), log(7, 0, 2));
    store.buffered(|batch| {
        put_all(batch, before, [0, u64::MAX])?;
        put_all(batch, LOG, [0, 1 << 20, u64::MAX])?;
        put_all(batch, after, [0, u64::MAX])
    })?;
    store.buffered(|batch| {
        batch.remove_entries(LOG, 1, u64::MAX - 1);
        Ok(())
    })?;
    store.twice(|engine| expect_eq("the ends", &indexes(engine, LOG)?, &vec![0, u64::MAX]))?;
    store.buffered(|batch| {
        batch.remove_entries(LOG, 0, u64::MAX);
        Ok(())
    })?;
    store.twice(|engine| {
        for near in [before, after] {
            expect_eq("a neighbour", &indexes(engine, near)?, &vec![0, u64::MAX])?;
        }
        expect_eq("nothing", &indexes(engine, LOG)?, &Vec::new())
    })
}

/// Bounds the wrong way round are an empty range, not an error and not their mirror. Trap 18.
pub(in crate::cases) fn a_removal_that_ends_before_it_starts_removes_nothing(
    store: &mut Store,
) -> Checked {
    store.buffered(|batch| put_all(batch, LOG, 0..=5))?;
    store.buffered(|batch| {
        batch.remove_entries(LOG, 4, 2);
        batch.remove_entries(LOG, 1, 0);
        batch.remove_entries(LOG, u64::MAX, 0);
        Ok(())
    })?;
    store.twice(|engine| expect_eq("indexes", &indexes(engine, LOG)?, &(0..=5).collect()))
}

/// One write may change any number of replicas and their metadata. Trap 11.
pub(in crate::cases) fn one_write_covers_many_replicas_and_metadata(store: &mut Store) -> Checked {
    let of_group = |group: u64| {
        batch(|batch| {
            put_all(batch, log(group, group % 3, 0), 1..=4)?;
            batch.put_meta(MetaKey::replica(ReplicaId::from(group), 1), &[b"state"])?;
            batch.remove_entries(log(group, group % 3, 0), 1, 1);
            batch.put_meta(MetaKey::store(1), &[&group.to_le_bytes()])
        })
    };
    let batches = (0..40).map(of_group).collect::<Checked<Vec<_>>>()?;
    store.write(&batches.iter().collect::<Vec<_>>(), Durability::Synced)?;
    store.twice(|engine| {
        for group in 0..40 {
            let found = indexes(engine, log(group, group % 3, 0))?;
            expect_eq(format_args!("group {group}"), &found, &vec![2, 3, 4])?;
        }
        let last = engine.meta(MetaKey::store(1))?;
        expect_value("the store's slot", last, Some(&39_u64.to_le_bytes()))
    })
}

/// No batches, empty batches: both answer well in both durabilities and change nothing.
pub(in crate::cases) fn a_write_of_nothing_is_fine(store: &mut Store) -> Checked {
    let nothing = WriteBatch::new();
    for durability in [Durability::Buffered, Durability::Synced] {
        store.write(&[], durability)?;
        store.write(&[&nothing], durability)?;
        store.write(&[&nothing, &nothing], durability)?;
        store.engine().sync()?;
        store.check()?;
        store.write(&[&batch(|batch| put_all(batch, LOG, 1..=2))?], durability)?;
        store.write(&[], durability)?;
        store.check()?;
    }
    Ok(())
}
