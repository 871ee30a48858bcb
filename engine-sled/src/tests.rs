//! What can only be seen from inside.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use kvlogdb_engine_api::{
    Durability, Error, KvLogDb, LogName, MetaKey, Order, ReplicaId, WriteBatch,
};

use super::{SledEngine, View, abandon};
use crate::SledOptions;
use crate::layout::PIECE_BYTES;

const LOG: LogName = LogName { replica: ReplicaId { group: 7, node: 1 }, incarnation: 1 };

fn open(dir: &Path) -> kvlogdb_engine_api::Result<SledEngine> {
    let mut options = SledOptions::default();
    options.store.lock_wait = Duration::from_millis(500);
    SledEngine::open(dir, &options)
}

fn put(engine: &SledEngine, index: u64, value: &[u8], durability: Durability) {
    let mut batch = WriteBatch::new();
    batch.put_entry(LOG.at(index), &[value]).unwrap();
    engine.write(&[&batch], durability).unwrap();
}

/// How many keys sled holds, without the marker.
fn key_count(engine: &SledEngine) -> usize {
    engine.read(|db| Ok(db.len() - 1)).unwrap()
}

/// Up to where the log is written once everything is flushed.
fn log_end(engine: &SledEngine) -> i64 {
    let end = engine.read(|db| {
        db.flush().unwrap();
        Ok(db.context.pagecache.log.stable_offset())
    });
    end.unwrap()
}

#[test]
fn a_buffered_write_never_leaves_the_flushed_log_in_an_unsynced_segment() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let mut segments = 0;
    for index in 0..48 {
        put(&engine, index, &vec![1; 1 << 20], Durability::Buffered);
        let reached = log_end(&engine) / (8 << 20);
        let synced = engine.journal.lock().unwrap().as_ref().unwrap().synced_segment();
        assert_eq!(synced, reached);
        segments = reached;
    }
    assert!(segments > 4, "only {segments} segments were written");
}

#[test]
fn reads_do_not_write() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    for round in 0..40 {
        let mut batch = WriteBatch::new();
        for index in 0..50 {
            let scattered = (round * 50 + index) * 7919 % 2000;
            batch.put_entry(LOG.at(scattered), &[&[3; 500]]).unwrap();
        }
        batch.remove_entries(LOG, round * 40, round * 40 + 30);
        engine.write(&[&batch], Durability::Buffered).unwrap();
    }
    for first in (10_000..12_000).step_by(50) {
        let mut batch = WriteBatch::new();
        for index in first..first + 50 {
            batch.put_entry(LOG.at(index), &[&[4; 300]]).unwrap();
        }
        batch.remove_entries(LOG, first - 50, first - 20);
        engine.write(&[&batch], Durability::Buffered).unwrap();
    }
    put(&engine, 20_000, &vec![5; 100 * PIECE_BYTES], Durability::Buffered);
    let before = log_end(&engine);
    for order in [Order::Ascending, Order::Descending] {
        let mut count = 0;
        let mut visitor = |_, _: std::borrow::Cow<'_, [u8]>| {
            count += 1;
            ControlFlow::Continue(())
        };
        let all = 0..=u64::MAX;
        engine.scan(LOG, all, order, usize::MAX, &mut visitor).unwrap();
        assert!(count > 500, "{count}");
    }
    engine.verify().unwrap();
    assert_eq!(log_end(&engine), before);
}

#[test]
fn removals_leave_no_piece_behind_whenever_it_was_put() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let meta = MetaKey::replica(LOG.replica, 300);
    let (large, small) = (vec![5; 5 * PIECE_BYTES], vec![6; PIECE_BYTES]);
    put(&engine, 1, &large, Durability::Buffered);
    let mut first = WriteBatch::new();
    first.put_entry(LOG.at(2), &[&large]).unwrap();
    first.put_entry(LOG.at(2), &[&small]).unwrap();
    first.put_meta(meta, &[&large]).unwrap();
    let mut second = WriteBatch::new();
    second.remove_entries(LOG, 0, u64::MAX);
    second.remove_meta(meta);
    second.put_entry(LOG.at(1), &[b"new"]).unwrap();
    engine.write(&[&first, &second], Durability::Synced).unwrap();
    assert_eq!(key_count(&engine), 1);
    assert_eq!(engine.entry(LOG.at(1)).unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(engine.meta(meta).unwrap(), None);
}

#[test]
fn metadata_overwritten_by_a_shorter_value_leaves_no_piece_behind() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    let meta = MetaKey::store(300);
    let lengths = [5 * PIECE_BYTES, 2 * PIECE_BYTES, PIECE_BYTES - 1, 0];
    for (len, keys) in lengths.into_iter().zip([6, 3, 1, 1]) {
        let mut batch = WriteBatch::new();
        batch.put_meta(meta, &[&vec![1; 7 * PIECE_BYTES]]).unwrap();
        batch.put_meta(meta, &[&vec![2; len]]).unwrap();
        engine.write(&[&batch], Durability::Synced).unwrap();
        assert_eq!(engine.meta(meta).unwrap().unwrap(), vec![2; len]);
        assert_eq!(key_count(&engine), keys);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_sync_refuses_writes_until_reopened_and_keeps_the_batch_whole() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    put(&engine, 1, b"before", Durability::Synced);
    let unsyncable = File::options().write(true).open("/dev/null").unwrap();
    engine.journal.lock().unwrap().as_mut().unwrap().replace_log(unsyncable);
    let mut batch = WriteBatch::new();
    batch.put_entry(LOG.at(2), &[b"unknown"]).unwrap();
    batch.put_entry(LOG.at(3), &[b"unknown"]).unwrap();
    for _ in 0..2 {
        let refused = engine.write(&[&batch], Durability::Synced);
        let Err(Error::Poisoned { cause }) = refused else {
            panic!("{refused:?}");
        };
        assert!(matches!(*cause, Error::Io { .. }), "{cause:?}");
    }
    let buffered = engine.write(&[], Durability::Buffered);
    assert!(matches!(buffered, Err(Error::Poisoned { .. })));
    assert!(matches!(engine.sync(), Err(Error::Poisoned { .. })));
    assert_eq!(engine.entry(LOG.at(1)).unwrap().as_deref(), Some(&b"before"[..]));
    assert!(matches!(engine.close(), Err(Error::Poisoned { .. })));
    let engine = open(dir.path()).unwrap();
    assert_eq!(engine.entry(LOG.at(1)).unwrap().as_deref(), Some(&b"before"[..]));
    let unknown = [2, 3].map(|index| engine.entry(LOG.at(index)).unwrap());
    assert_eq!(unknown[0], unknown[1]);
    put(&engine, 4, b"after", Durability::Synced);
}

/// sled writes the buffer in which a change had begun when the change has ended, and wakes nobody
/// when that fails.
#[cfg(target_os = "linux")]
#[test]
fn a_flush_that_sled_would_leave_waiting_ends_with_the_error() {
    use std::env;
    use std::process::Command;
    use std::sync::{Arc, mpsc};

    /// Names the directory for a run of this program whose files are limited in size.
    const LIMITED: &str = "KVLOGDB_SLED_LIMITED";
    let Some(dir) = env::var_os(LIMITED) else {
        let dir = tempfile::tempdir().unwrap();
        // one segment, in blocks of 512 bytes; growing further raises a signal unless ignored
        let script = "trap '' XFSZ; ulimit -f 16384; exec \"$@\"";
        let name = "a_flush_that_sled_would_leave_waiting_ends_with_the_error";
        let mut limited = Command::new("sh");
        limited.args(["-c", script, "sh"]).arg(env::current_exe().unwrap());
        limited.arg(format!("engine::tests::{name}")).arg("--exact").env(LIMITED, dir.path());
        let output = limited.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let engine = Arc::new(open(Path::new(&dir)).unwrap());
    for index in (0..).take_while(|_| log_end(&engine) < 7 << 20) {
        put(&engine, index, &vec![1; 100 << 10], Durability::Buffered);
    }
    let (ended, wait) = mpsc::channel();
    let flushing = Arc::clone(&engine);
    engine
        .read(|db| {
            let (value, guard) = (sled::IVec::from(vec![7; 3 << 19]), sled::pin());
            let log = &db.context.pagecache.log;
            let begun = log.reserve(sled::LogKind::Replace, 1000, &value, &guard).unwrap();
            thread::spawn(move || ended.send(flushing.sync()).unwrap());
            thread::sleep(Duration::from_millis(300)); // by then the flush waits
            begun.complete().unwrap();
            Ok(())
        })
        .unwrap();
    let refused = wait.recv_timeout(Duration::from_secs(20)).expect("the flush still waits");
    assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
    assert!(matches!(engine.close(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_batch_that_broke_off_is_never_flushed_and_asks_for_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    put(&engine, 1, b"synced", Durability::Synced);
    let half = engine.read(|db| Ok(db.insert(&*LOG.at(2).encode(), b"half").unwrap()));
    assert_eq!(half.unwrap(), None);
    let _ = engine.poison.latch(Error::corrupt("a page could not be read"));
    abandon(&mut engine.view.write().unwrap());
    assert!(matches!(engine.entry(LOG.at(1)), Err(Error::Poisoned { .. })));
    assert!(matches!(engine.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(engine.close(), Err(Error::Poisoned { .. })));
    assert!(matches!(engine.entry(LOG.at(1)), Err(Error::Closed)));
    assert!(engine.close().is_ok());
    let refused = open(dir.path());
    assert!(matches!(refused, Err(Error::RestartNeeded { .. })), "{refused:?}");
    let copy = tempfile::tempdir().unwrap();
    copy_tree(dir.path(), copy.path());
    let after_restart = open(copy.path()).unwrap();
    assert_eq!(after_restart.entry(LOG.at(1)).unwrap().as_deref(), Some(&b"synced"[..]));
    assert_eq!(after_restart.entry(LOG.at(2)).unwrap(), None);
}

#[test]
fn a_panic_under_a_write_is_a_failed_write() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    put(&engine, 1, b"synced", Durability::Synced);
    thread::scope(|scope| {
        let panicked = scope.spawn(|| {
            let _view = engine.view.write().unwrap();
            panic!("as sled does over some kinds of damage");
        });
        assert!(panicked.join().is_err());
    });
    assert!(matches!(engine.entry(LOG.at(1)), Err(Error::Poisoned { .. })));
    assert!(matches!(engine.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(engine.close(), Err(Error::Poisoned { .. })));
    assert!(matches!(engine.entry(LOG.at(1)), Err(Error::Closed)));
    assert!(matches!(open(dir.path()), Err(Error::RestartNeeded { .. })));
}

#[test]
fn files_that_another_program_has_open_are_in_use() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let copy = tempfile::tempdir().unwrap();
    copy_tree(dir.path(), copy.path());
    let other = File::open(copy.path().join("engine/db")).unwrap();
    other.lock().unwrap();
    let refused = open(copy.path());
    assert!(matches!(refused, Err(Error::AlreadyOpen { .. })), "{refused:?}");
    drop(other);
    open(copy.path()).unwrap();
}

#[test]
fn a_lock_that_is_let_go_in_time_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let dying = File::open(dir.path().join("engine/db")).unwrap();
    dying.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            drop(dying);
        });
        SledEngine::open(dir.path(), &SledOptions::default()).unwrap();
    });
}

#[test]
fn an_engine_prints_itself_and_not_its_contents() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    put(&engine, 1, &[7; 1000], Durability::Buffered);
    let printed = format!("{engine:?}");
    assert!(printed.len() < 100, "{printed}");
}

#[test]
fn a_closed_engine_lets_the_next_one_in_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..20 {
        let engine = open(dir.path()).unwrap();
        put(&engine, index, &vec![0; 1 << 20], Durability::Buffered);
        engine.close().unwrap();
        assert!(matches!(&*engine.view.read().unwrap(), View::Closed));
        let next = open(dir.path()).unwrap();
        assert!(next.entry(LOG.at(index)).unwrap().is_some());
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
