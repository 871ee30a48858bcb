//! `kvlogdb check` as a user runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::{
    ONE, damage, files, fine, json, kvlogdb, make, names, open, refused, refuses_what_is_no_store,
    stderr, stdout,
};
use kvlogdb::{Durability, EngineKind, Entry, HardState, LogBatch};

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// A fjall store as a power cut can leave it: its last batch lacks a sector. The last write may
/// also change the vote, which marks it in the sidecar.
fn torn(dir: &Path, last: impl FnOnce(&mut LogBatch)) {
    let whole = dir.join("whole");
    make(&whole, EngineKind::Fjall);
    let store = open(&whole, EngineKind::Fjall);
    let mut batch = LogBatch::new();
    batch.append(ONE, [Entry::new(3, 10, vec![b'x'; 3000])]);
    last(&mut batch);
    store.write(&batch, Durability::Synced).unwrap();
    copy_tree(&whole, &dir.join("store"));
    store.close().unwrap();
    fs::remove_dir_all(&whole).unwrap();
    let journal = dir.join("store/engine/0.jnl");
    let mut bytes = fs::read(&journal).unwrap();
    let value = bytes.windows(3000).position(|window| window == [b'x'; 3000]).unwrap();
    bytes[value + 1000..value + 1512].fill(0);
    fs::write(&journal, bytes).unwrap();
}

#[test]
fn a_sound_store_is_said_to_be_sound_on_every_engine() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store"), engine);
        let report = json(&fine(dir.path(), &["check", "--json", "store"]));
        assert_eq!((&report["clean"], &report["entries"]), (&true.into(), &7.into()));
        assert_eq!(report["replicas"][0]["intact_through"], 9);
        assert!(stdout(&fine(dir.path(), &["check", "store"])).contains("sound: 7 entries"));
        let said = stderr(&fine(dir.path(), &["check", "--repair", "store"]));
        assert!(said.contains("nothing to repair"), "{said}");
        assert_eq!(names(dir.path()), ["store"]);
    }
}

#[test]
fn a_damaged_entry_is_named_with_what_is_intact_before_it() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store"), engine);
        damage(&dir.path().join("store"));
        let output = kvlogdb(dir.path(), &["check", "--json", "store"]);
        assert_eq!(output.status.code(), Some(1));
        let report = json(&output);
        assert_eq!(report["clean"], false);
        assert_eq!(report["replicas"][0]["intact_through"], 6);
        assert_eq!(
            (&report["problems"][0]["index"], &report["problems"][0]["kind"]),
            (&7.into(), &"Record".into())
        );
        let output = kvlogdb(dir.path(), &["check", "--repair", "store"]);
        assert_eq!(output.status.code(), Some(1), "--repair does not repair this");
        assert!(stdout(&output).contains("replica 1/0: index 7"), "{}", stdout(&output));
        assert_eq!(names(dir.path()), ["store"]);
    }
}

#[test]
fn stores_that_the_log_refuses_are_checked_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    make(&store, EngineKind::Redb);
    copy_tree(&store.join("engine"), &dir.path().join("before"));
    let state = HardState { term: 9, vote: Some(1), commit: Some(9) };
    let log = open(&store, EngineKind::Redb).log(ONE);
    log.set_hard_state(state, Durability::Synced).unwrap();
    log.store().close().unwrap();
    fs::remove_dir_all(store.join("engine")).unwrap();
    fs::rename(dir.path().join("before"), store.join("engine")).unwrap();
    assert!(matches!(kvlogdb::open(&store), Err(kvlogdb::Error::LostSyncedData { .. })));
    let output = kvlogdb(dir.path(), &["check", "store"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("Sidecar: the engine lost synced data"),
        "{}",
        stdout(&output)
    );
    refused(dir.path(), &["export", "store", "out"], 1, "lost synced data");
    assert!(stderr(&fine(dir.path(), &["dump", "store"])).contains("lost synced data"));

    fs::remove_file(store.join("SEQ")).unwrap();
    assert!(matches!(kvlogdb::open(&store), Err(kvlogdb::Error::StoreDamaged { .. })));
    let output = kvlogdb(dir.path(), &["check", "store"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("the sidecar is missing"), "{}", stdout(&output));
    assert!(!store.join("SEQ").exists(), "looking makes nothing");
}

#[test]
fn a_torn_journal_is_repaired_when_asked_and_after_a_copy_was_made() {
    let dir = tempfile::tempdir().unwrap();
    torn(dir.path(), |_| ());
    let before = files(&dir.path().join("store"));
    refused(dir.path(), &["check", "store"], 1, "check --repair");
    let output = kvlogdb(dir.path(), &["check", "--json", "store"]);
    assert_eq!((output.status.code(), &json(&output)["opened"]), (Some(1), &false.into()));
    for command in ["info", "dump", "export"] {
        refused(dir.path(), &[command, "store"], 1, "torn batch");
    }
    assert!(files(&dir.path().join("store")) == before, "nothing repairs unasked");

    fs::create_dir(dir.path().join("store.before-repair-1")).unwrap();
    let output = fine(dir.path(), &["check", "--repair", "store"]);
    assert!(stdout(&output).contains("as it was: store.before-repair-2"), "{}", stdout(&output));
    assert!(stderr(&output).contains("behind what it promised"));
    let copy = dir.path().join("store.before-repair-2");
    let relative = |tree: std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>, root: &Path| {
        let strip = |path: &Path| path.strip_prefix(root).unwrap().to_owned();
        tree.into_iter().map(|(path, bytes)| (strip(&path), bytes)).collect::<Vec<_>>()
    };
    let store = dir.path().join("store");
    assert!(relative(files(&copy), &copy) == relative(before, &store), "the copy is the original");
    let log = kvlogdb::open(&store).unwrap().log(ONE);
    assert_eq!(log.last_index().unwrap(), Some(9));
}

#[test]
fn a_repair_that_loses_what_was_marked_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    torn(dir.path(), |batch| {
        batch.set_hard_state(ONE, HardState { term: 8, vote: Some(1), commit: Some(9) });
    });
    let output = kvlogdb(dir.path(), &["check", "--repair", "store"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains("the engine lost synced data"), "{}", stdout(&output));
    assert!(dir.path().join("store.before-repair-1/MANIFEST").exists());
}

#[test]
fn a_missing_engine_file_is_damage_and_nothing_that_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("store"), EngineKind::Fjall);
    fs::remove_file(dir.path().join("store/engine/version")).unwrap();
    refused(dir.path(), &["check", "--repair", "store"], 1, "nothing that --repair repairs");
    assert_eq!(names(dir.path()), ["store"]);
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    refuses_what_is_no_store(|dir| vec!["check".into(), dir.into()]);
    refuses_what_is_no_store(|dir| vec!["check".into(), "--repair".into(), dir.into()]);
}
