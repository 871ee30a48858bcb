//! Long runs under a watchdog: sled 0.34 hangs for good when too much goes into it unflushed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use kvlogdb_engine_api::{Durability, KvLogDb, LogName, MetaKey, WriteBatch};
use kvlogdb_engine_sled::{SledEngine, SledOptions};

/// Fails the test when `work` is not done in time. A hung thread is left behind; the process ends
/// with the test.
fn within(limit: Duration, work: impl FnOnce(&Path) + Send + 'static) {
    let (done, finished) = channel();
    let worker = thread::spawn(move || {
        let dir = tempfile::tempdir().unwrap();
        work(dir.path());
        drop(dir);
        done.send(()).unwrap();
    });
    let outcome = finished.recv_timeout(limit);
    assert_ne!(outcome, Err(RecvTimeoutError::Timeout), "it hangs");
    worker.join().unwrap();
}

#[test]
fn two_hundred_thousand_buffered_writes_with_purges_come_to_an_end() {
    within(Duration::from_secs(600), |dir| {
        let engine = SledEngine::open(dir, &SledOptions::default()).unwrap();
        let (log, meta) = (LogName::default(), MetaKey::store(1));
        let mut batch = WriteBatch::new();
        for index in 0..200_000_u64 {
            batch.clear();
            batch.put_entry(log.at(index), &[&[7; 256]]).unwrap();
            if index % 100 == 99 {
                let last = index.saturating_sub(1000);
                batch.remove_entries(log, last.saturating_sub(200), last);
                batch.put_meta(meta, &[&last.to_be_bytes()]).unwrap();
            }
            engine.write(&[&batch], Durability::Buffered).unwrap();
        }
        assert!(engine.entry(log.at(198_999)).unwrap().is_none());
        assert!(engine.entry(log.at(199_000)).unwrap().is_some());
        // Only the last thousand entries are alive, so the log has gone round many times.
        let bytes = engine.disk_bytes().unwrap();
        assert!(bytes < 160 << 20, "{bytes}");
        engine.close().unwrap();
    });
}

#[test]
fn large_writes_that_replace_each_other_come_to_an_end() {
    within(Duration::from_secs(300), |dir| {
        let engine = SledEngine::open(dir, &SledOptions::default()).unwrap();
        let log = LogName::default();
        for round in 0..10_u64 {
            let mut batch = WriteBatch::new();
            batch.remove_entries(log, 0, u64::MAX);
            for index in 0..48 {
                batch.put_entry(log.at(round + index), &[&vec![9; 1 << 20]]).unwrap();
            }
            engine.write(&[&batch], Durability::Synced).unwrap();
            assert!(engine.entry(log.at(round)).unwrap().is_some());
        }
        engine.close().unwrap();
    });
}
