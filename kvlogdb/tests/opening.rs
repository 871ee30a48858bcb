//! What opening a store, and nothing else, does to it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvlogdb::{
    Creation, Durability, EngineError, EngineKind, Entry, HardState, LogBatch, Opening, Options,
    ReplicaId, sidecar_path, transfer,
};

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn existing() -> Options {
    Options::new().creation(Creation::Never).lock_wait(Duration::from_secs(2))
}

fn make(engine: EngineKind, dir: &Path) {
    let store = Options::new().engine(engine).open(dir).unwrap();
    let replica = ReplicaId::from(1);
    for index in 1..=50 {
        let mut batch = LogBatch::new();
        let state = HardState { term: index, vote: Some(1), commit: None };
        batch.append(replica, [Entry::new(index, index, vec![7; 300])]);
        batch.set_hard_state(replica, state);
        store.write(&batch, Durability::Buffered).unwrap();
    }
    store.close().unwrap();
}

type Record = (transfer::RecordKey, Vec<u8>);

fn records(dir: &Path) -> Vec<Record> {
    let engine = existing().open_engine(dir).unwrap();
    let records = transfer::records(&*engine).unwrap().map(Result::unwrap).collect();
    engine.close().unwrap();
    records
}

#[test]
fn an_engine_writes_when_it_is_opened_as_its_kind_says() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(engine, dir.path());
        for round in 0..3 {
            let before = files(dir.path());
            existing().open_engine(dir.path()).unwrap().close().unwrap();
            let changed = files(dir.path()) != before;
            match engine.opening() {
                Opening::Writes => assert!(changed, "{engine} {round}"),
                _ => assert!(!changed || round == 0, "{engine} {round}"),
            }
        }
    }
}

#[test]
fn a_log_writes_no_record_and_no_mark_where_its_store_is_sound() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(engine, dir.path());
        let sidecar = || fs::read(sidecar_path(dir.path())).unwrap();
        let before = (records(dir.path()), sidecar());
        let store = existing().open(dir.path()).unwrap();
        assert_eq!(store.log(ReplicaId::from(1)).last_index().unwrap(), Some(50));
        store.close().unwrap();
        assert!((records(dir.path()), sidecar()) == before, "{engine}");
    }
}

#[test]
fn nothing_is_made_where_creation_is_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, empty) = (dir.path().join("missing"), dir.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    for place in [&missing, &empty] {
        for engine in EngineKind::available() {
            let options = existing().engine(engine);
            let refused = options.open_engine(place);
            assert!(matches!(refused, Err(EngineError::NotAStore { .. })), "{refused:?}");
            assert!(options.open(place).is_err());
        }
    }
    assert!(!missing.exists());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}
