//! Many threads on one store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use kvlogdb_engine_api::{Durability, KvLogDb, LogName, MetaKey, Order, WriteBatch};

use super::{LOG, log, put_all};
use crate::case::message;
use crate::env::{Store, batch};
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::model::{scan, scan_meta};

/// What threads tell each other while one writes and others read.
#[derive(Debug, Default)]
struct Progress {
    /// The last write that has returned.
    written: AtomicU64,
    over: AtomicBool,
}

/// Lets the readers end, also when the writer panics.
struct EndsReaders<'a>(&'a AtomicBool);

impl Drop for EndsReaders<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `write` beside three readers that repeat `read` until it is done, and hands every failure
/// on. `read` gets its number and what had been written when it began.
pub(in crate::cases) fn beside_readers(
    write: impl FnOnce(&AtomicU64) -> Checked,
    read: impl Fn(usize, &AtomicU64) -> Checked + Sync,
) -> Checked {
    let progress = Progress::default();
    let (read, shared) = (&read, &progress);
    thread::scope(|scope| {
        let reader = |number| {
            scope.spawn(move || {
                loop {
                    let over = shared.over.load(Ordering::SeqCst);
                    read(number, &shared.written)?;
                    if over {
                        return Checked::Ok(());
                    }
                }
            })
        };
        let readers = [reader(0), reader(1), reader(2)];
        let ends = EndsReaders(&shared.over);
        write(&shared.written)?;
        drop(ends);
        for reader in readers {
            reader.join().unwrap_or_else(|panic| Err(message(&*panic).into()))?;
        }
        Ok(())
    })
}

const OTHER: LogName = log(u64::MAX, 3, 0);
const META: [MetaKey; 2] = [
    MetaKey { scope: kvlogdb_engine_api::Scope::Store, slot: 256 },
    MetaKey { scope: kvlogdb_engine_api::Scope::Replica(OTHER.replica), slot: 1 },
];

/// The two batches of one write: the same generation in two entries of two logs each and in two
/// metadata values.
fn generation(number: u64) -> Checked<[WriteBatch; 2]> {
    let bytes = number.to_be_bytes();
    let padding = vec![0; usize::try_from(number % 3 * 700).unwrap_or(0)];
    let parts: [&[u8]; 2] = [&bytes, &padding];
    let first = batch(|batch| {
        batch.put_entry(LOG.at(1), &parts)?;
        batch.put_entry(OTHER.at(1), &parts)?;
        batch.put_meta(META[0], &parts)
    })?;
    let second = batch(|batch| {
        batch.put_meta(META[1], &parts)?;
        batch.put_entry(OTHER.at(u64::MAX), &parts)?;
        batch.put_entry(LOG.at(2), &parts)
    })?;
    Ok([first, second])
}

/// The generation that all the values carry.
fn one_generation(what: &str, values: &[Bytes], wanted: usize) -> Checked<u64> {
    expect_eq(format_args!("values in {what}"), &values.len(), &wanted)?;
    let numbers: Vec<u64> = values
        .iter()
        .filter_map(|value| value.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)))
        .collect();
    ensure!(numbers.len() == wanted, "{what} has a value of too few bytes");
    ensure!(numbers.iter().all(|n| Some(n) == numbers.first()), "{what} mixes writes {numbers:?}");
    numbers.first().copied().ok_or_else(|| what.into())
}

/// Readers see each write, over logs, metadata and the batches of one call, whole or not at all;
/// they see what had returned before they began, and never go back. Trap 36.
pub(in crate::cases) fn readers_see_every_write_whole(store: &mut Store) -> Checked {
    const WRITES: u64 = 200;
    let [first, second] = generation(0)?;
    store.write(&[&first, &second], Durability::Buffered)?;
    let engine = store.engine();
    let write = |written: &AtomicU64| {
        for number in 1..=WRITES {
            let [first, second] = generation(number)?;
            engine.write(&[&first, &second], durability(number)).during("writing")?;
            written.store(number, Ordering::SeqCst);
        }
        Ok(())
    };
    beside_readers(write, |reader, written| {
        let mut floor = written.load(Ordering::SeqCst);
        let order = if reader == 1 { Order::Descending } else { Order::Ascending };
        let views: [&dyn Fn() -> Checked<u64>; 4] = [
            &|| log_generation(engine, LOG, order),
            &|| log_generation(engine, OTHER, order),
            &|| {
                let values: Vec<_> = scan_meta(engine)?.into_iter().map(|found| found.1).collect();
                one_generation("the scan of metadata", &values, 2)
            },
            &|| {
                let value = engine.entry(LOG.at(1))?;
                one_generation("entry 1", value.as_slice(), 1)
            },
        ];
        for at in 0..4 {
            let view = views.iter().cycle().nth(reader + at).ok_or("no view")?;
            let found = view()?;
            ensure!(found >= floor, "read write {found} after write {floor} had been seen");
            floor = found;
        }
        Ok(())
    })?;
    for batch in generation(WRITES)? {
        store.has_written(&batch);
    }
    Ok(())
}

fn log_generation(engine: &dyn KvLogDb, log: LogName, order: Order) -> Checked<u64> {
    let entries = scan(engine, log, 0..=u64::MAX, order, usize::MAX)?;
    let values: Vec<_> = entries.into_iter().map(|entry| entry.1).collect();
    one_generation("a scan", &values, 2)
}

fn durability(number: u64) -> Durability {
    if number.is_multiple_of(50) { Durability::Synced } else { Durability::Buffered }
}

/// A window slides over the log, each step one write that removes below and puts above: a scan
/// finds the whole window without a hole, in one of its places. Trap 36.
pub(in crate::cases) fn readers_under_removal_see_no_hole(store: &mut Store) -> Checked {
    const STEPS: u64 = 300;
    const WINDOW: u64 = 40;
    let step = |number: u64| {
        batch(|batch| {
            batch.remove_entries(LOG, 0, number);
            put_all(batch, LOG, [number + WINDOW])
        })
    };
    store.buffered(|batch| put_all(batch, LOG, 1..=WINDOW))?;
    let engine = store.engine();
    let write = |written: &AtomicU64| {
        for number in 1..=STEPS {
            engine.write(&[&step(number)?], durability(number)).during("writing")?;
            written.store(number, Ordering::SeqCst);
        }
        Ok(())
    };
    beside_readers(write, |reader, written| {
        let floor = written.load(Ordering::SeqCst);
        let order = if reader == 1 { Order::Descending } else { Order::Ascending };
        let mut entries = scan(engine, LOG, 0..=u64::MAX, order, usize::MAX)?;
        if order == Order::Descending {
            entries.reverse();
        }
        let first = entries.first().map_or(0, |entry| entry.0);
        let found: Vec<_> = entries.iter().map(|entry| entry.0).collect();
        let window: Vec<_> = (first..first + WINDOW).collect();
        expect_eq(format_args!("{order:?} scan of the window"), &found, &window)?;
        ensure!(first > floor, "entry {first} was seen after it had been removed");
        let values =
            entries.iter().all(|(index, value)| value == format!("{LOG}@{index}").as_bytes());
        ensure!(values, "a value of the window is another entry's");
        Ok(())
    })?;
    for number in 1..=STEPS {
        store.has_written(&step(number)?);
    }
    Ok(())
}

/// Checking, reclaiming, counting and syncing go on while others read and write; all of it
/// answers well. Trap 36.
pub(in crate::cases) fn upkeep_runs_beside_reads_and_writes(store: &mut Store) -> Checked {
    let writes = (1..=60).map(|n| batch(|batch| put_all(batch, LOG, n * 10..n * 10 + 10)));
    let writes = writes.collect::<Checked<Vec<_>>>()?;
    let engine = store.engine();
    let write = |written: &AtomicU64| {
        for (batch, number) in writes.iter().zip(1..) {
            engine.write(&[batch], durability(number * 5)).during("writing")?;
            written.store(number, Ordering::SeqCst);
        }
        Ok(())
    };
    beside_readers(write, |reader, written| {
        match reader {
            0 => {
                let floor = written.load(Ordering::SeqCst);
                let entries = scan(engine, LOG, 0..=u64::MAX, Order::Ascending, usize::MAX)?;
                let found = entries.len() as u64;
                ensure!(found >= floor * 10, "{found} entries after {floor} writes of 10");
            }
            1 => {
                engine.verify().during("verify")?;
                engine.disk_bytes().during("disk_bytes")?;
            }
            _ => {
                engine.reclaim().during("reclaim")?;
                engine.sync().during("sync")?;
            }
        }
        Ok(())
    })?;
    for batch in &writes {
        store.has_written(batch);
    }
    Ok(())
}
