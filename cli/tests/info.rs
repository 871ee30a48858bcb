//! `kvlogdb info` as a user runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::{damage, fine, json, kvlogdb, make, refuses_what_is_no_store, stderr, stdout};
use kvlogdb::EngineKind;
use serde_json::Value;

#[test]
fn every_engine_tells_what_it_holds() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store"), engine);
        let info = json(&fine(dir.path(), &["info", "--json", "store"]));
        assert_eq!(info["engine"], engine.name());
        assert_eq!(info["identity_hex"], "6e6f646520".to_owned() + "01");
        assert_eq!(
            (&info["mark"], info["damaged"].as_bool()),
            (&info["sidecar_mark"], Some(false))
        );
        let replicas = info["replicas"].as_array().unwrap();
        assert_eq!(replicas.len(), 2);
        let one = &replicas[0];
        assert_eq!((&one["first_index"], &one["last"]["index"]), (&4.into(), &9.into()));
        assert_eq!(one["entries"], 6);
        assert_eq!(one["record_bytes"], 6 * 32 + 5 * 3000 + 14);
        assert_eq!((&one["purged"]["index"], &one["purged"]["term"]), (&3.into(), &1.into()));
        let state = &one["hard_state"];
        assert_eq!(
            (&state["term"], &state["vote"], &state["commit"]),
            (&3.into(), &9.into(), &8.into())
        );
        assert_eq!((&one["snapshot"]["index"], &one["applied"]["index"]), (&4.into(), &6.into()));
        assert_eq!(replicas[1]["first_index"], u64::MAX);
        assert!(info["disk_bytes"].as_u64() > info["record_bytes"].as_u64());

        let text = stdout(&fine(dir.path(), &["info", "store"]));
        for part in [engine.name(), "\"node \\x01\"", "18446744073709551615/7", "layout 1", "2/4"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.is_ascii() && !text.contains('\x01'));
    }
}

#[test]
fn a_damaged_replica_is_named_and_the_others_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    make(&store, EngineKind::Redb);
    let engine = kvlogdb::Options::new().open_engine(&store).unwrap();
    let mut batch = kvlogdb_engine_api::WriteBatch::new();
    let key = kvlogdb_engine_api::MetaKey::replica(common::EDGE, 0);
    batch.put_meta(key, &[b"rot"]).unwrap();
    engine.write(&[&batch], kvlogdb::Durability::Synced).unwrap();
    engine.close().unwrap();
    let output = kvlogdb(dir.path(), &["info", "store"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("replica 18446744073709551615/7 is damaged"), "{text}");
    let info = json(&kvlogdb(dir.path(), &["info", "--json", "store"]));
    assert_eq!(info["replicas"][0]["entries"], 6);
    assert!(info["replicas"][1]["damaged"].is_string());
}

#[test]
fn an_engine_behind_its_sidecar_is_told() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("old"), EngineKind::Sled);
    std::fs::write(dir.path().join("old/SEQ"), b"nonsense").unwrap();
    let output = kvlogdb(dir.path(), &["info", "old"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("sidecar missing or unreadable"));
}

#[test]
fn a_store_over_which_there_was_never_a_log_is_empty_for_every_command_and_stays_so() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let made = kvlogdb::Options::new().engine(engine).open_engine(&store).unwrap();
        made.close().unwrap();
        assert_eq!(json(&fine(dir.path(), &["info", "--json", "store"]))["mark"], Value::Null);
        fine(dir.path(), &["check", "store"]);
        assert_eq!(stdout(&fine(dir.path(), &["dump", "store"])), "");
        fine(dir.path(), &["migrate", "store", "moved", "--engine", "redb"]);
        fine(dir.path(), &["export", "moved", "out"]);
        fine(dir.path(), &["import", "out", "new", "--engine", "sled"]);
        for store in ["store", "moved", "new"] {
            assert!(!dir.path().join(store).join("SEQ").exists());
            let store = kvlogdb::open(dir.path().join(store)).unwrap();
            assert!(store.replicas().unwrap().is_empty());
        }
    }
}

#[test]
fn what_opening_does_to_an_engine_is_said_in_one_line() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store"), engine);
        damage(&dir.path().join("store"));
        // Damage inside the log is for `check` to find.
        let said = stderr(&fine(dir.path(), &["info", "store"]));
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(engine.name()) && said.contains("write"), "{said}");
    }
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    refuses_what_is_no_store(|dir| vec!["info".into(), dir.into()]);
}
