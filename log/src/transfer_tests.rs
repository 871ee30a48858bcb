use std::sync::Arc;

use kvlogdb_engine_api::{MemoryDisk, MemoryEngine, ReplicaId};

use super::*;
use crate::{Entry, HardState, LogBatch, LogId, LogOptions, LogStore, check};

const EDGE: ReplicaId = ReplicaId { group: u64::MAX, node: u64::MAX };

/// A store with two replicas, of which one fills several pages and one is at the edge.
pub(crate) fn sample() -> MemoryEngine {
    let disk = MemoryDisk::default();
    let opener = disk.clone();
    let open = move || Ok(Arc::new(opener.open()?) as Arc<dyn KvLogDb>);
    let store = LogStore::open(open, LogOptions::default()).unwrap();
    let mut batch = LogBatch::new();
    let large = vec![7; PAGE_BYTES / 2];
    let entries: Vec<_> = (1..=8).map(|index| Entry::new(2, index, large.clone())).collect();
    batch
        .append(ReplicaId::from(1), entries)
        .purge_through(ReplicaId::from(1), LogId::new(2, 3))
        .append(EDGE, [Entry::new(1, u64::MAX - 1, "a"), Entry::new(3, u64::MAX, "")])
        .set_hard_state(EDGE, HardState { term: 3, vote: Some(0), commit: Some(u64::MAX) })
        .put_slot(EDGE, u16::MAX, "mine")
        .unwrap();
    store.write(&batch, Durability::Synced).unwrap();
    store.settle().unwrap();
    store.close().unwrap();
    disk.open().unwrap()
}

fn unwatched(_: &Totals) {}

fn keys(engine: &dyn KvLogDb) -> Vec<RecordKey> {
    records(engine).unwrap().map(|record| record.unwrap().0).collect()
}

#[test]
fn every_record_comes_once_and_in_key_order() {
    let engine = sample();
    let keys = keys(&engine);
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    let entries = keys.iter().filter(|key| matches!(key, RecordKey::Entry(_))).count();
    assert_eq!((entries, keys.len()), (7, 7 + 6));
}

#[test]
fn a_copy_has_the_same_records_and_opens_as_the_log_does() {
    let (source, disk) = (sample(), MemoryDisk::default());
    let target = disk.open().unwrap();
    let mut calls = 0;
    let copied = copy(&source, &target, &mut |_| calls += 1).unwrap();
    assert_eq!((copied.metadata, copied.entries), (6, 7));
    assert!(calls > 1, "{calls}");
    assert_eq!(compare(&source, &target, &mut unwatched).unwrap(), (copied, None));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("SEQ");
    create_sidecar(&target, &path).unwrap();
    assert!(check(&target, Some(&path)).unwrap().is_clean());
    target.close().unwrap();
    let options = LogOptions { sidecar: Some(path.clone()), ..LogOptions::default() };
    let before = std::fs::read(&path).unwrap();
    let store = LogStore::open(move || Ok(Arc::new(disk.open()?)), options).unwrap();
    assert_eq!(store.log(EDGE).last_index().unwrap(), Some(u64::MAX));
    store.close().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before, "opening a sound store writes nothing");
}

#[test]
fn a_target_that_holds_anything_is_refused_and_left_alone() {
    let (source, target) = (sample(), sample());
    let before = keys(&target);
    let refused = copy(&source, &target, &mut unwatched);
    assert!(matches!(refused, Err(Error::Engine(EngineError::Invalid { .. }))), "{refused:?}");
    assert_eq!(keys(&target), before);
}

#[test]
fn every_record_that_is_missing_added_or_changed_is_named() {
    let source = sample();
    for (key, record) in records(&source).unwrap().map(Result::unwrap) {
        for kind in
            [DifferenceKind::OnlyInFirst, DifferenceKind::OnlyInSecond, DifferenceKind::Bytes]
        {
            let other = MemoryEngine::new();
            copy(&source, &other, &mut unwatched).unwrap();
            let mut batch = WriteBatch::new();
            match (key, kind) {
                (RecordKey::Meta(key), DifferenceKind::Bytes) => {
                    batch.put_meta(key, &[&record, b"x"]).unwrap();
                }
                (RecordKey::Entry(key), DifferenceKind::Bytes) => {
                    batch.put_entry(key, &[&record, b"x"]).unwrap();
                }
                (RecordKey::Meta(key), _) => batch.remove_meta(key),
                (RecordKey::Entry(LogKey { log, index }), _) => {
                    batch.remove_entries(log, index, index);
                }
            }
            other.write(&[&batch], Durability::Synced).unwrap();
            let (first, second): (&dyn KvLogDb, &dyn KvLogDb) = match kind {
                DifferenceKind::OnlyInSecond => (&other, &source),
                _ => (&source, &other),
            };
            let (_, found) = compare(first, second, &mut unwatched).unwrap();
            assert_eq!(found, Some(Difference { key, kind }));
        }
    }
}

#[test]
fn a_store_without_a_log_is_sound_and_gets_no_sidecar() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("SEQ");
    let engine = MemoryEngine::new();
    assert!(check(&engine, Some(&path)).unwrap().is_clean());
    create_sidecar(&engine, &path).unwrap();
    assert!(!path.exists());
    Sidecar::create(&path, 0).unwrap();
    assert!(!check(&engine, Some(&path)).unwrap().is_clean(), "its record is lost");
    let orphaned = sample();
    let mut batch = WriteBatch::new();
    batch.remove_meta(MetaKey::store(crate::record::slot::STORE));
    orphaned.write(&[&batch], Durability::Synced).unwrap();
    assert!(matches!(create_sidecar(&orphaned, &path), Err(Error::StoreDamaged { .. })));
}
