//! Many writers on one store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kvlogdb_engine_api::{Durability, Error, KvLogDb, LogName, MetaKey, WriteBatch};

use super::{log, put_all};
use crate::case::message;
use crate::env::{Env, batch};
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::model::{indexes, scan_all, scan_meta};

const WRITERS: u64 = 4;
const SHARED: LogName = log(100, 0, 0);

/// Write `number` of one writer: an entry of its own log, and the same bytes to keys that all
/// writers write.
fn write_of(writer: u64, number: u64) -> Checked<WriteBatch> {
    let bytes = [writer.to_be_bytes(), number.to_be_bytes()].concat();
    batch(|batch| {
        batch.put_entry(SHARED.at(1), &[&bytes])?;
        put_all(batch, log(writer, 0, 0), [number])?;
        batch.put_meta(MetaKey::store(256), &[&bytes])?;
        batch.put_entry(SHARED.at(2), &[&bytes])
    })
}

/// Runs `write` for each writer in a thread of its own with a counter, and `meanwhile` beside them
/// with all counters, which it gives back.
fn with_writers(
    write: impl Fn(u64, &AtomicU64) -> Checked + Sync,
    meanwhile: impl FnOnce(&[AtomicU64]) -> Checked,
) -> Checked<Vec<u64>> {
    let counters: Vec<_> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let write = &write;
    thread::scope(|scope| {
        let numbered = (0..).zip(&counters);
        let writers: Vec<_> =
            numbered.map(|(n, count)| scope.spawn(move || write(n, count))).collect();
        meanwhile(&counters)?;
        for writer in writers {
            writer.join().unwrap_or_else(|panic| Err(message(&*panic).into()))?;
        }
        Checked::Ok(())
    })?;
    Ok(counters.into_iter().map(AtomicU64::into_inner).collect())
}

/// The keys that all writers write carry the bytes of one and the same write.
fn expect_one_last_write(engine: &dyn KvLogDb) -> Checked {
    let shared: Vec<_> = scan_all(engine, SHARED)?.into_iter().map(|entry| entry.1).collect();
    let meta: Vec<_> = scan_meta(engine)?.into_iter().map(|found| found.1).collect();
    let mut all = shared.iter().chain(&meta);
    expect_eq("shared keys", &(shared.len(), meta.len()), &(2, 1))?;
    ensure!(
        all.all(|value| Some(value) == shared.first()),
        "the shared keys mix writes: {shared:?} and {meta:?}"
    );
    Ok(())
}

/// Four writers at once, Buffered and Synced: every write lands, each as a whole, and a reopen
/// finds the same last one.
pub(in crate::cases) fn concurrent_writes_all_land_whole(env: &Env) -> Checked {
    const WRITES: u64 = 60;
    let engine = env.open()?;
    let write = |writer, _: &AtomicU64| {
        for number in 1..=WRITES {
            let durability = match (number + writer) % 20 {
                0 => Durability::Synced,
                _ => Durability::Buffered,
            };
            engine.write(&[&write_of(writer, number)?], durability).during("writing")?;
        }
        Ok(())
    };
    with_writers(write, |_| Ok(engine.sync()?))?;
    let check = |engine: &dyn KvLogDb| {
        for writer in 0..WRITERS {
            let found = indexes(engine, log(writer, 0, 0))?;
            expect_eq(format_args!("writer {writer}"), &found, &(1..=WRITES).collect())?;
        }
        expect_one_last_write(engine)
    };
    check(&*engine)?;
    let last = engine.meta(MetaKey::store(256))?;
    let engine = env.reopen(engine)?;
    check(&*engine).during("after reopen")?;
    expect_eq("the last write", &engine.meta(MetaKey::store(256))?, &last)?;
    Ok(engine.close()?)
}

/// A close beside running writers: each write is answered with ok, and is there after reopen, or
/// with `Closed`.
pub(in crate::cases) fn closing_under_load_loses_no_answered_write(env: &Env) -> Checked {
    const UPMOST: u64 = 100_000;
    let engine = env.open()?;
    let write = |writer, answered: &AtomicU64| {
        for number in 1..=UPMOST {
            match engine.write(&[&write_of(writer, number)?], Durability::Buffered) {
                Ok(()) => answered.store(number, Ordering::SeqCst),
                Err(Error::Closed) => return Ok(()),
                Err(other) => return Err(other).during("writing beside a close"),
            }
        }
        Err("no close was noticed".into())
    };
    let answered = with_writers(write, |answered| {
        let under_way = || answered.iter().all(|last| last.load(Ordering::SeqCst) >= 10);
        for _ in (0..5000).take_while(|_| !under_way()) {
            thread::sleep(Duration::from_millis(1));
        }
        engine.close().during("closing beside writers")
    })?;
    drop(engine);
    let engine = env.open()?;
    for (writer, last) in (0..).zip(answered) {
        let found = indexes(&*engine, log(writer, 0, 0))?;
        expect_eq(format_args!("writer {writer}"), &found, &(1..=last).collect())?;
    }
    expect_one_last_write(&*engine)?;
    Ok(engine.close()?)
}
