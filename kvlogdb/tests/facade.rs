//! What the facade decides: which engine opens, and what is refused untouched.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvlogdb::{
    Durability, EngineError, EngineKind, Entry, Error, LogStore, LostData, Options, ReplicaId,
    Result,
};

const REPLICA: ReplicaId = ReplicaId { group: 1, node: 0 };

fn options() -> Options {
    Options::new().lock_wait(Duration::from_secs(2))
}

fn fill(store: &LogStore) {
    let entries = vec![Entry::new(1, 1, "one"), Entry::new(1, 2, "two")];
    store.log(REPLICA).append(entries, Durability::Synced).unwrap();
}

fn contents(root: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_dir() { None } else { fs::read(&path).ok() };
        if bytes.is_none() && path.is_dir() {
            found.extend(contents(&path));
        }
        found.push((path, bytes));
    }
    found.sort();
    found
}

fn engine_error(answer: Result<LogStore>) -> EngineError {
    match answer {
        Err(Error::Engine(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_opens_with_the_engine_that_made_it() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        let store = options().engine(engine).open(dir.path()).unwrap();
        fill(&store);
        store.close().unwrap();
        let store = kvlogdb::open(dir.path()).unwrap();
        assert_eq!(store.info().name, engine.name());
        assert_eq!(store.log(REPLICA).entry(2).unwrap().payload, "two");
        assert!(store.check().unwrap().is_clean());
    }
}

#[test]
fn another_engines_store_is_refused_and_left_alone() {
    for made in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        options().engine(made).open(dir.path()).unwrap().close().unwrap();
        let before = contents(dir.path());
        for other in EngineKind::ALL.into_iter().filter(|&other| other != made) {
            let refused = engine_error(options().engine(other).open(dir.path()));
            match refused {
                EngineError::WrongEngine { found, .. } => assert_eq!(found, made.name()),
                EngineError::Invalid { .. } => assert!(!other.is_available()),
                refused => panic!("{refused:?}"),
            }
        }
        assert_eq!(contents(dir.path()), before);
    }
}

#[test]
fn a_store_in_use_is_refused_until_it_is_closed() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        let store = options().engine(engine).open(dir.path()).unwrap();
        let second = engine_error(options().open(dir.path()));
        assert!(matches!(second, EngineError::AlreadyOpen { .. }), "{second:?}");
        store.close().unwrap();
        options().open(dir.path()).unwrap();
    }
}

#[test]
fn foreign_directories_and_other_identities_are_refused_untouched() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("diary.txt"), "dear diary").unwrap();
        let refused = engine_error(options().engine(engine).open(dir.path()));
        assert!(matches!(refused, EngineError::NotAStore { .. }), "{refused:?}");
        assert_eq!(contents(dir.path()).len(), 1);

        let dir = tempfile::tempdir().unwrap();
        let mine = options().engine(engine).identity("mine");
        mine.open(dir.path()).unwrap().close().unwrap();
        let before = contents(dir.path());
        let refused = engine_error(options().identity("yours").open(dir.path()));
        assert!(matches!(refused, EngineError::WrongIdentity { .. }), "{refused:?}");
        assert_eq!(contents(dir.path()), before);
    }
}

/// An engine that comes up empty, or older than it was, has lost what it had acknowledged. Only
/// the sidecar can know.
#[test]
fn an_engine_that_lost_synced_data_is_refused_unless_that_is_accepted() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        let options = || options().engine(engine).mark_interval(Duration::ZERO);
        let old = dir.path().join("old");
        let store = options().open(dir.path().join("store")).unwrap();
        store.close().unwrap();
        copy(&dir.path().join("store/engine"), &old);
        let store = options().open(dir.path().join("store")).unwrap();
        fill(&store);
        store.close().unwrap();

        fs::remove_dir_all(dir.path().join("store/engine")).unwrap();
        copy(&old, &dir.path().join("store/engine"));
        let refused = options().open(dir.path().join("store"));
        assert!(matches!(refused, Err(Error::LostSyncedData { .. })), "{refused:?}");
        let store = options().lost_data(LostData::Accept).open(dir.path().join("store")).unwrap();
        assert_eq!(store.log(REPLICA).last_index().unwrap(), None);
        fill(&store);
        store.close().unwrap();
        options().open(dir.path().join("store")).unwrap();
    }
}

#[test]
fn a_missing_sidecar_is_damage() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        options().engine(engine).open(dir.path()).unwrap().close().unwrap();
        fs::remove_file(dir.path().join("SEQ")).unwrap();
        let refused = options().open(dir.path());
        assert!(matches!(refused, Err(Error::StoreDamaged { .. })), "{refused:?}");
    }
}

#[test]
fn an_engine_that_is_not_compiled_in_says_so() {
    for engine in EngineKind::ALL.into_iter().filter(|engine| !engine.is_available()) {
        let dir = tempfile::tempdir().unwrap();
        let refused = engine_error(options().engine(engine).open(dir.path()));
        assert!(refused.to_string().contains(engine.name()), "{refused}");
        assert!(contents(dir.path()).is_empty());
    }
    if EngineKind::available().is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(engine_error(kvlogdb::open(dir.path())), EngineError::Invalid { .. }));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
