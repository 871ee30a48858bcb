//! `kvlogdb export` and `kvlogdb import` as a user runs them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::{
    SAMPLE, damage, feed, fine, json, make, names, open, refused, refuses_what_is_no_store, stderr,
    stdout,
};
use kvlogdb::{EngineKind, ReplicaId};

fn engines() -> [&'static str; 3] {
    EngineKind::ALL.map(EngineKind::name)
}

#[test]
fn the_sample_comes_through_every_engine_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    fine(dir.path(), &["import", SAMPLE, "first", "--engine", "redb"]);
    fine(dir.path(), &["export", "first", "first.kvx"]);
    let stream = fs::read(dir.path().join("first.kvx")).unwrap();
    let dumped = stdout(&fine(dir.path(), &["dump", "first", "--json"]));
    assert_eq!(dumped.lines().count(), 4832 + 2);
    for engine in engines() {
        let store = format!("store-{engine}");
        let args = ["import", "first.kvx", &store, "--engine", engine, "--json"];
        let report = json(&fine(dir.path(), &args));
        assert_eq!((&report["entries"], &report["engine"]), (&4832.into(), &engine.into()));
        assert!(stdout(&fine(dir.path(), &["dump", &store, "--json"])) == dumped, "{engine}");
        let output = fine(dir.path(), &["export", &store]);
        assert!(output.stdout == stream, "{engine} exports other bytes");
        assert!(stderr(&output).contains("exported 4832 entries"));
        let log = kvlogdb::open(dir.path().join(&store)).unwrap().log(ReplicaId::from(1));
        assert_eq!(log.last_index().unwrap(), Some(4832));
    }
    assert!(!dir.path().join("first.kvx.tmp").exists());
}

#[test]
fn everything_beside_the_entries_and_the_identity_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("store"), EngineKind::Sled);
    let report = json(&fine(dir.path(), &["export", "store", "out", "--json"]));
    assert_eq!(report["entries"], 7);
    let whole = fs::read(dir.path().join("out")).unwrap();
    let piped = feed(dir.path(), &["import", "-", "new", "--engine", "fjall"], &whole);
    assert_eq!(piped.status.code(), Some(0), "{}", stderr(&piped));
    let store = open(&dir.path().join("new"), EngineKind::Fjall); // with its identity
    assert_eq!(store.log(common::EDGE).slot(300).unwrap().unwrap(), "mine");
    assert_eq!(store.log(common::ONE).snapshot().unwrap().unwrap().data, "a file");
    store.close().unwrap();
    let info = |store: &str| {
        let mut info = json(&fine(dir.path(), &["info", store, "--json"]));
        info["replicas"].take()
    };
    assert_eq!(info("new"), info("store"));
}

#[test]
fn an_export_never_replaces_a_file_and_cleans_up_after_a_killed_one() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("store"), EngineKind::Redb);
    fs::write(dir.path().join("taken"), "mine").unwrap();
    refused(dir.path(), &["export", "store", "taken"], 2, "taken exists");
    fs::write(dir.path().join("out.tmp"), "my own text").unwrap();
    refused(dir.path(), &["export", "store", "out"], 2, "out.tmp exists and is no export");
    assert_eq!(names(dir.path()), ["out.tmp", "store", "taken"]);
    assert_eq!(fs::read(dir.path().join("out.tmp")).unwrap(), b"my own text");
    let long = [&b"kvlogexp"[..], &vec![b'x'; 100_000]].concat();
    for leftover in [&b""[..], b"kvlog", &long] {
        fs::write(dir.path().join("out.tmp"), leftover).unwrap();
        fine(dir.path(), &["export", "store", "out"]);
        fine(dir.path(), &["import", "out", "new", "--engine", "redb"]);
        fs::remove_file(dir.path().join("out")).unwrap();
        fs::remove_dir_all(dir.path().join("new")).unwrap();
    }
    refused(dir.path(), &["export", "store", "no/such/dir/out"], 3, "cannot make");
}

#[test]
fn a_damaged_store_is_not_exported() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store"), engine);
        damage(&dir.path().join("store"));
        for args in [&["export", "store", "out"][..], &["export", "store"]] {
            refused(dir.path(), args, 1, "replica 1/0: index 7");
        }
        assert_eq!(names(dir.path()), ["store"]);
    }
}

/// A stream of few bytes, and the refusal of what is made of it.
fn small(dir: &Path) -> Vec<u8> {
    let store = open(&dir.join("small"), EngineKind::Redb);
    let entries = vec![kvlogdb::Entry::new(1, 1, "a")];
    store.log(common::ONE).append(entries, kvlogdb::Durability::Synced).unwrap();
    store.close().unwrap();
    fine(dir, &["export", "small"]).stdout
}

#[test]
fn a_cut_or_flipped_stream_leaves_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let stream = small(dir.path());
    let import = |bytes: &[u8], what: &str| {
        let output = feed(dir.path(), &["import", "-", "new", "--engine", "fjall"], bytes);
        assert_eq!(output.status.code(), Some(2), "{what}: {}", stderr(&output));
        let words = ["cut short", "damaged", "neither an export", "of version"];
        let said = stderr(&output);
        assert!(words.iter().any(|words| said.contains(words)), "{what}: {said}");
        assert_eq!(names(dir.path()), ["small"], "{what}");
    };
    let places = (0..24).chain((24..stream.len()).step_by(9)).chain(stream.len() - 6..stream.len());
    for at in places {
        let mut flipped = stream.clone();
        flipped[at] ^= 1 << (at % 8);
        import(&flipped, &format!("byte {at} flipped"));
        import(&stream[..at], &format!("cut at {at}"));
    }
    import(&[&stream[..], b"x"].concat(), "a byte too many");
    import(b"hello", "a text");
    import(b"", "nothing");
}

#[test]
fn records_that_are_no_sound_store_are_not_imported() {
    let dir = tempfile::tempdir().unwrap();
    let engine = kvlogdb_engine_api::MemoryEngine::new();
    let mut batch = kvlogdb_engine_api::WriteBatch::new();
    batch.put_entry(kvlogdb_engine_api::LogName::default().at(1), &[b"no record"]).unwrap();
    kvlogdb::KvLogDb::write(&engine, &[&batch], kvlogdb::Durability::Synced).unwrap();
    let mut bytes = Vec::new();
    kvlogdb::stream::export(&engine, b"", &mut bytes, &mut |_| ()).unwrap();
    let output = feed(dir.path(), &["import", "-", "new", "--engine", "redb"], &bytes);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_trace_with_a_bad_line_leaves_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let entry = |index: u64| {
        format!("{{\"entry\":{{\"term\":1,\"index\":{index},\"kind\":0,\"data\":\"YQ==\"}}}}\n")
    };
    for bad in ["nonsense\n".to_owned(), entry(9), entry(2)[..30].to_owned()] {
        let state = "{\"hard_state\":{\"term\":1,\"vote\":0,\"commit\":0}}\n";
        let trace = entry(1) + state + &bad;
        let args = ["import", "-", "new", "--engine", "redb"];
        let output = feed(dir.path(), &args, trace.as_bytes());
        assert_eq!(output.status.code(), Some(2), "{bad}");
        assert!(stderr(&output).contains("line 3 of -"), "{}", stderr(&output));
        assert_eq!(names(dir.path()), [""; 0]);
    }
    let whole = fs::read(SAMPLE).unwrap();
    fs::write(dir.path().join("cut.gz"), &whole[..20_000]).unwrap();
    refused(dir.path(), &["import", "cut.gz", "new", "--engine", "redb"], 2, "line ");
    assert_eq!(names(dir.path()), ["cut.gz"]);
}

#[test]
fn an_import_never_touches_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let stream = small(dir.path());
    fs::write(dir.path().join("in"), stream).unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    let before = common::files(dir.path());
    for taken in ["small", "empty", "in"] {
        let args = ["import", "in", taken, "--engine", "redb"];
        refused(dir.path(), &args, 2, &format!("{taken} exists"));
    }
    refused(
        dir.path(),
        &["import", "missing", "new", "--engine", "redb"],
        2,
        "cannot read missing",
    );
    refused(dir.path(), &["import", "in", "new", "--engine", "lmdb"], 2, "lmdb");
    refused(dir.path(), &["import", "in", "new"], 2, "--engine");
    let args = ["import", "in", "new", "--engine", "redb", "--replica", "1"];
    refused(dir.path(), &args, 2, "--replica is for traces");
    fs::create_dir(dir.path().join("new.kvlogdb-draft")).unwrap();
    fs::write(dir.path().join("new.kvlogdb-draft/diary.txt"), "mine").unwrap();
    refused(dir.path(), &["import", "in", "new", "--engine", "redb"], 3, "no OWNER");
    fs::remove_dir_all(dir.path().join("new.kvlogdb-draft")).unwrap();
    assert!(common::files(dir.path()) == before);
}

#[test]
fn what_is_no_store_is_not_exported_and_left_alone() {
    refuses_what_is_no_store(|dir| vec!["export".into(), dir.into(), "new".into()]);
}
