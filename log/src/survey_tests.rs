use std::sync::Arc;

use kvlogdb_engine_api::{Durability, MemoryDisk, MemoryEngine, MetaKey, WriteBatch};

use super::*;
use crate::record::{self, RECORD_HEADER_BYTES, slot};
use crate::trash::Trash;
use crate::{Entry, LogBatch, LogOptions, LogStore};

const ONE: ReplicaId = ReplicaId { group: 1, node: 0 };
const TWO: ReplicaId = ReplicaId { group: 2, node: 0 };

fn put_record(engine: &MemoryEngine, key: MetaKey, body: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put_meta(key, &[&record::header(key, [body, &[]]), body]).unwrap();
    engine.write(&[&batch], Durability::Synced).unwrap();
}

fn store() -> MemoryEngine {
    let disk = MemoryDisk::default();
    let opener = disk.clone();
    let open = move || Ok(Arc::new(opener.open()?) as Arc<dyn KvLogDb>);
    let store = LogStore::open(open, LogOptions::default()).unwrap();
    let mut batch = LogBatch::new();
    batch
        .append(ONE, (1..=9).map(|index| Entry::new(4, index, "12345")).collect::<Vec<_>>())
        .purge_through(ONE, LogId::new(4, 3))
        .set_applied(ONE, LogId::new(4, 2))
        .append(TWO, [Entry::new(1, 1, "")])
        .purge_through(TWO, LogId::new(2, 8));
    store.write(&batch, Durability::Synced).unwrap();
    store.settle().unwrap();
    store.close().unwrap();
    disk.open().unwrap()
}

#[test]
fn a_replica_is_told_by_its_ends_and_live_bytes_leave_the_purged_out() {
    let survey = survey(&store(), None).unwrap();
    let [(ONE, Ok(one)), (TWO, Ok(two))] = &survey.replicas[..] else { panic!("{survey:?}") };
    assert_eq!((one.first, one.last, one.entries), (Some(4), Some(LogId::new(4, 9)), 6));
    assert_eq!(one.record_bytes, 6 * (RECORD_HEADER_BYTES as u64 + 5));
    assert_eq!((one.purged, one.applied), (Some(LogId::new(4, 3)), Some(LogId::new(4, 2))));
    assert_eq!((two.first, two.last, two.entries), (None, Some(LogId::new(2, 8)), 0));
    assert_eq!((two.record_bytes, two.removed, two.trash), (0, false, 0));
}

#[test]
fn damage_to_one_replica_or_to_the_store_is_in_the_answer() {
    let engine = store();
    let mut batch = WriteBatch::new();
    let replica = kvlogdb_engine_api::LogName { replica: ONE, incarnation: 0 };
    batch.put_entry(replica.at(4), &[b"rot"]).unwrap();
    batch.put_meta(MetaKey::store(slot::STORE), &[b"rot"]).unwrap();
    engine.write(&[&batch], Durability::Synced).unwrap();
    let survey = survey(&engine, None).unwrap();
    assert!(survey.mark.is_err());
    assert!(survey.replicas[0].1.as_ref().unwrap_err().contains("index 4"), "{survey:?}");
    assert!(survey.replicas[1].1.is_ok());
}

#[test]
fn what_waits_for_deletion_is_counted_and_a_removed_replica_is_told_from_one_that_is_there() {
    let engine = store();
    let mut trash = Trash::default();
    trash.add(3, 10, 19);
    trash.add(4, 0, u64::MAX);
    let gone = ReplicaId::from(9);
    for replica in [ONE, gone] {
        put_record(&engine, MetaKey::replica(replica, slot::TRASH), &trash.to_body());
    }
    let survey = survey(&engine, None).unwrap();
    let of = |id| survey.replicas.iter().find(|(replica, _)| *replica == id).unwrap();
    let (one, gone) = (of(ONE).1.as_ref().unwrap(), of(gone).1.as_ref().unwrap());
    assert!(!one.removed && gone.removed);
    assert_eq!((one.trash, gone.trash), (u64::MAX, u64::MAX));
}

#[test]
fn both_marks_are_told() {
    let (engine, dir) = (store(), tempfile::tempdir().unwrap());
    let path = dir.path().join("SEQ");
    assert_eq!(survey(&MemoryEngine::new(), Some(&path)).unwrap().mark, Ok(None));
    let survey_of = |engine: &MemoryEngine| {
        let survey = survey(engine, Some(&path)).unwrap();
        (survey.mark, survey.sidecar)
    };
    assert_eq!(survey_of(&engine), (Ok(Some(1)), None));
    Sidecar::create(&path, 7).unwrap();
    assert_eq!(survey_of(&engine), (Ok(Some(1)), Some(7)));
}
