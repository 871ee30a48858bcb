//! Values of no bytes up to the largest, and their neighbours.

use kvlogdb_engine_api::{
    Error, LogKey, MAX_BATCH_BYTES, MAX_PAYLOAD_BYTES, MAX_VALUE_BYTES, MetaKey, Order, WriteBatch,
};

use super::{LOG, log, put_all};
use crate::env::{Store, batch};
use crate::failure::{Checked, expect_eq, expect_refused};
use crate::model::{expect_value, indexes, scan, scan_meta};
use crate::random::value;

const SIZES: [usize; 6] = [0, 1, 64 << 10, 1 << 20, MAX_PAYLOAD_BYTES, MAX_VALUE_BYTES];

/// Entries from nothing to the limit come back byte for byte, read singly and scanned in both
/// orders, also after reopen. Trap 39.
pub(in crate::cases) fn entries_of_every_size_come_back(store: &mut Store) -> Checked {
    store.buffered(|batch| {
        let mut sizes = SIZES.iter().zip(1..);
        sizes.try_for_each(|(&len, index)| batch.put_entry(LOG.at(index), &[&value(index, len)]))
    })?;
    store.engine().sync()?;
    store.twice(|engine| {
        for (&len, index) in SIZES.iter().zip(1..) {
            let found = engine.entry(LOG.at(index))?;
            expect_value(entry(LOG.at(index)), found, Some(&value(index, len)))?;
        }
        for order in [Order::Ascending, Order::Descending] {
            for (index, found) in scan(engine, LOG, 0..=u64::MAX, order, usize::MAX)? {
                let len = SIZES.iter().zip(1..).find(|size| size.1 == index);
                let wanted = value(index, len.map_or(0, |size| *size.0));
                expect_value(entry(LOG.at(index)), Some(found), Some(&wanted))?;
            }
        }
        Ok(())
    })
}

/// Metadata has the limit of entries, read singly and in the scan. Trap 39.
pub(in crate::cases) fn metadata_of_every_size_comes_back(store: &mut Store) -> Checked {
    let keys = || SIZES.iter().zip(300..).map(|(&len, slot)| (MetaKey::store(slot), len));
    store.buffered(|batch| {
        put_all(batch, LOG, 1..=3)?;
        keys().try_for_each(|(key, len)| batch.put_meta(key, &[&value(key.slot.into(), len)]))?;
        batch.put_meta(MetaKey::replica(LOG.replica, 0), &[b"after the large ones"])
    })?;
    store.engine().sync()?;
    store.twice(|engine| {
        for (key, len) in keys() {
            let (found, wanted) = (engine.meta(key)?, value(key.slot.into(), len));
            expect_value(key, found, Some(&wanted))?;
        }
        let lens: Vec<_> = scan_meta(engine)?.iter().map(|found| found.1.len()).collect();
        expect_eq("lengths in the scan", &lens, &[&SIZES[..], &[20]].concat())
    })
}

/// No length is special: not those at which an engine may cut values into pieces. Trap 39.
pub(in crate::cases) fn lengths_around_powers_of_two_come_back(store: &mut Store) -> Checked {
    store.buffered(|batch| {
        for power in 0..=18_u32 {
            for (len, offset) in [(1 << power) - 1, 1 << power, (1 << power) + 1].iter().zip(0..) {
                let index = u64::from(power) * 10 + offset;
                batch.put_entry(LOG.at(index), &[&value(index, *len)])?;
                let slot = 256 + u16::try_from(index).unwrap_or(0);
                batch.put_meta(MetaKey::store(slot), &[&value(index, *len)])?;
            }
        }
        Ok(())
    })?;
    store.twice(|engine| expect_eq("entries", &indexes(engine, LOG)?.len(), &57))
}

/// A large value replaced by a small one, and back: nothing of the other shows. Trap 39.
pub(in crate::cases) fn a_large_value_shrinks_and_grows_in_place(store: &mut Store) -> Checked {
    let (middle, key) = (LOG.at(5), MetaKey::store(256));
    store.buffered(|batch| put_all(batch, LOG, [4, 6]))?;
    for len in [MAX_VALUE_BYTES, 10, 3 << 20, 200_000, 0, 64 << 10, 2 << 20, 1] {
        let new = value(len as u64, len);
        store.buffered(|batch| {
            batch.put_entry(middle, &[&new])?;
            batch.put_meta(key, &[&new])
        })?;
        expect_value(entry(middle), store.engine().entry(middle)?, Some(&new))?;
        store.check()?;
    }
    store.twice(|engine| {
        expect_value(entry(middle), engine.entry(middle)?, Some(&value(1, 1)))?;
        expect_eq("indexes", &indexes(engine, LOG)?, &vec![4, 5, 6])
    })
}

/// A removal that starts, ends or lies at large values takes them whole or not at all, at the
/// largest index too. Traps 26 and 39.
pub(in crate::cases) fn removing_around_large_values_is_exact(store: &mut Store) -> Checked {
    const ALL: [u64; 6] = [0, 1, 5, 6, u64::MAX - 1, u64::MAX];
    for (first, last) in [(5, 5), (1, 4), (2, 5), (6, u64::MAX - 1), (u64::MAX, u64::MAX), (0, 0)] {
        store.buffered(|batch| {
            for index in ALL {
                batch.put_entry(LOG.at(index), &[&value(index, 400_000)])?;
            }
            Ok(())
        })?;
        store.buffered(|batch| {
            batch.remove_entries(LOG, first, last);
            Ok(())
        })?;
        store.check()?;
    }
    store.reopen()?;
    store.check()?;
    store.buffered(|batch| put_all(batch, LOG, ALL))?;
    store.twice(|engine| expect_eq("small again", &indexes(engine, LOG)?, &ALL.to_vec()))
}

/// Large values between small ones, in entries and metadata, next to other logs: each is found in
/// its place and only there. Traps 26 and 39.
pub(in crate::cases) fn large_values_leave_small_neighbours_alone(store: &mut Store) -> Checked {
    let logs = [log(7, 0, 0), LOG, log(7, 0, 2), log(7, 1, 0)];
    store.buffered(|batch| {
        for log in logs {
            put_all(batch, log, [0, 2, u64::MAX - 1])?;
            for index in [1, 3, u64::MAX] {
                batch.put_entry(log.at(index), &[&value(index, 150_000)])?;
            }
            for (slot, len) in [(0, 150_000), (1, 3), (u16::MAX, 150_000)] {
                let key = MetaKey::replica(log.replica, slot);
                batch.put_meta(key, &[&value(slot.into(), len)])?;
            }
        }
        Ok(())
    })?;
    store.check()?;
    for log in logs {
        store.buffered(|batch| {
            batch.remove_log(log);
            batch.remove_meta(MetaKey::replica(log.replica, 0));
            Ok(())
        })?;
        store.check()?;
    }
    Ok(())
}

/// One byte too many is refused when the batch is built; the batch keeps what it had and the store
/// takes it. Trap 39.
pub(in crate::cases) fn a_value_over_the_limit_is_refused_and_the_store_goes_on(
    store: &mut Store,
) -> Checked {
    let mut batch = batch(|batch| put_all(batch, LOG, [1]))?;
    let before = batch.len_bytes();
    let over = vec![0; MAX_VALUE_BYTES + 1];
    let refused = batch.put_entry(LOG.at(2), &[&over]);
    expect_refused!("an entry", refused, Error::TooLarge { .. });
    let refused = batch.put_meta(MetaKey::store(256), &[&over]);
    expect_refused!("metadata", refused, Error::TooLarge { .. });
    expect_eq("the batch", &(batch.len(), batch.len_bytes()), &(1, before))?;
    batch.put_entry(LOG.at(3), &[b"after"])?;
    store.write(&[&batch], kvlogdb_engine_api::Durability::Synced)?;
    store.twice(|engine| expect_eq("indexes", &indexes(engine, LOG)?, &vec![1, 3]))
}

/// The largest batch that can be built lands as a whole. Trap 39.
pub(in crate::cases) fn a_batch_at_the_limit_is_written_whole(store: &mut Store) -> Checked {
    let mut batch = WriteBatch::new();
    let large = value(1, MAX_PAYLOAD_BYTES);
    let mut index = 0;
    while batch.put_entry(LOG.at(index), &[&large]).is_ok() {
        index += 1;
    }
    let rest = MAX_BATCH_BYTES.saturating_sub(batch.len_bytes());
    batch.put_entry(LOG.at(index), &[large.get(..rest).unwrap_or_default()])?;
    store.write(&[&batch], kvlogdb_engine_api::Durability::Synced)?;
    expect_eq("entries", &indexes(store.engine(), LOG)?, &(0..=index).collect())
}

fn entry(key: LogKey) -> String {
    format!("entry {}", key.index)
}
