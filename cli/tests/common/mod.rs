//! What the tests of the commands share: running them, and stores of every condition.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kvlogdb::{
    Durability, EngineKind, Entry, EntryKind, HardState, LogBatch, LogId, LogStore, Options,
    ReplicaId, Snapshot,
};
use kvlogdb_engine_api::{LogName, WriteBatch};
use serde_json::Value;

pub(crate) const SAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/etcd-node1.jsonl.gz");
pub(crate) const ONE: ReplicaId = ReplicaId { group: 1, node: 0 };
pub(crate) const EDGE: ReplicaId = ReplicaId { group: u64::MAX, node: 7 };

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvlogdb"));
    command.args(args).current_dir(dir);
    command
}

pub(crate) fn start(dir: &Path, args: &[&str]) -> Child {
    let null = Stdio::null;
    command(dir, args).stdin(null()).stdout(null()).stderr(null()).spawn().unwrap()
}

pub(crate) fn kvlogdb(dir: &Path, args: &[&str]) -> Output {
    feed(dir, args, b"")
}

pub(crate) fn feed(dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let piped = Stdio::piped;
    let mut child =
        command(dir, args).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    // A child that refuses its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Runs a command that has to end well.
pub(crate) fn fine(dir: &Path, args: &[&str]) -> Output {
    let output = kvlogdb(dir, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    output
}

/// Runs a command that has to end in `code` and to say `words`.
pub(crate) fn refused(dir: &Path, args: &[&str], code: i32, words: &str) {
    let output = kvlogdb(dir, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
    assert!(stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names and contents of every file below `dir`; a missing directory has none.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(crate) fn open(dir: &Path, engine: EngineKind) -> LogStore {
    Options::new().engine(engine).identity("node \x01").open(dir).unwrap()
}

/// Makes a store of two replicas: one purged, with everything beside its log, and one at the edge.
pub(crate) fn make(dir: &Path, engine: EngineKind) {
    let store = open(dir, engine);
    let mut batch = LogBatch::new();
    let config = Entry { kind: EntryKind::CONFIG, ..Entry::new(2, 4, "add \x1b[31m node") };
    batch
        .append(ONE, (1..=3).map(|index| Entry::new(1, index, "old")).collect::<Vec<_>>())
        .append(ONE, [config])
        .append(ONE, (5..=9).map(|index| Entry::new(2, index, vec![7; 3000])).collect::<Vec<_>>())
        .set_snapshot(ONE, Snapshot { id: LogId::new(2, 4), data: "a file".into() })
        .purge_through(ONE, LogId::new(1, 3))
        .set_applied(ONE, LogId::new(2, 6))
        .set_hard_state(ONE, HardState { term: 3, vote: Some(9), commit: Some(8) })
        .append(EDGE, [Entry::new(4, u64::MAX, "last")]);
    batch.put_slot(EDGE, 300, "mine").unwrap();
    store.write(&batch, Durability::Synced).unwrap();
    store.settle().unwrap();
    store.close().unwrap();
}

/// Overwrites the entry at index 7 below the log.
pub(crate) fn damage(dir: &Path) {
    let engine = Options::new().open_engine(dir).unwrap();
    let key = LogName { replica: ONE, incarnation: 0 }.at(7);
    let mut record = engine.entry(key).unwrap().unwrap().to_vec();
    *record.last_mut().unwrap() ^= 1;
    let mut batch = WriteBatch::new();
    batch.put_entry(key, &[&record]).unwrap();
    engine.write(&[&batch], Durability::Synced).unwrap();
    engine.close().unwrap();
}

/// Directories in which there is no store to use: what each is, and the exit code and the words
/// that answer it. The guard is to be kept.
pub(crate) fn unusable(dir: &Path) -> (Vec<(&'static str, i32, &'static str)>, LogStore) {
    fs::create_dir(dir.join("empty")).unwrap();
    fs::create_dir(dir.join("foreign")).unwrap();
    fs::write(dir.join("foreign/diary.txt"), "mine").unwrap();
    fs::create_dir_all(dir.join("half/engine.tmp")).unwrap();
    fs::write(dir.join("file"), "text").unwrap();
    fs::create_dir(dir.join("unknown")).unwrap();
    fs::write(dir.join("unknown/MANIFEST"), "kvlogdb manifest 9\nnew\n").unwrap();
    fs::create_dir(dir.join("rotten")).unwrap();
    fs::write(dir.join("rotten/MANIFEST"), "kvlogdb manifest 1\nengine redb\n").unwrap();
    let held = open(&dir.join("held"), EngineKind::Redb);
    let cases = vec![
        ("missing", 3, "there is no such directory"),
        ("empty", 3, "it has no MANIFEST"),
        ("foreign", 3, "diary.txt"),
        ("half", 3, "it has no MANIFEST"),
        ("file", 3, "not a directory"),
        ("unknown", 3, "MANIFEST version 9"),
        ("rotten", 1, "MANIFEST"),
        ("held", 3, "in use"),
    ];
    (cases, held)
}

/// Runs a command on everything that is no usable store: each is refused by name and untouched.
pub(crate) fn refuses_what_is_no_store(args: impl Fn(&str) -> Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (cases, _held) = unusable(dir.path());
    for (name, code, words) in cases {
        let before = files(dir.path());
        let args = args(name);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        refused(dir.path(), &args, code, words);
        assert!(files(dir.path()) == before, "{args:?} has written");
        assert!(!dir.path().join("missing").exists() && !dir.path().join("new").exists());
    }
    assert!(files(&dir.path().join("empty")).is_empty());
}
