//! The command as a user runs it: output, exit codes, what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kvlogdb::{Durability, Entry, Options, ReplicaId};
use serde_json::Value;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/etcd-node1.jsonl.gz");
const ENTRY: &str = r#"{"entry": {"term": 1, "index": 1, "kind": 0, "data": "YQ=="}}"#;
const HARD_STATE: &str = r#"{"hard_state": {"term": 1, "vote": 3, "commit": 1}}"#;
const GAP: &str = r#"{"entry": {"term": 1, "index": 5, "kind": 0, "data": ""}}"#;

fn kvlogdb(dir: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvlogdb"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that refuses its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// As `| head` would have it.
#[test]
fn it_is_no_failure_that_nobody_reads_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    fs::write(&trace, format!("{ENTRY}\n")).unwrap();
    for format in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_kvlogdb"))
            .args(["replay", "trace", "--engine", "redb"])
            .args(format)
            .current_dir(dir.path())
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    }
}

#[test]
fn the_sample_ends_in_the_state_that_its_node_was_in() {
    let dir = tempfile::tempdir().unwrap();
    let output = kvlogdb(dir.path(), &["replay", "--json", SAMPLE], "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = json(&output);
    let engines = report["engines"].as_array().unwrap();
    let names: Vec<_> = engines.iter().map(|engine| engine["engine"].as_str().unwrap()).collect();
    assert_eq!(names, ["redb", "fjall", "sled"]);
    for engine in engines {
        assert_eq!(engine["entries"], 4912);
        assert_eq!(engine["overwrites"], 2);
        assert_eq!((&engine["first_index"], &engine["last_index"]), (&1.into(), &4832.into()));
        let state = &engine["hard_state"];
        assert_eq!(state["term"], 8);
        assert_eq!(state["vote"], 3_990_370_604_368_066_554_u64);
        assert_eq!(state["commit"], 4832);
        assert_eq!(engine["snapshot"]["index"], 3001);
        assert_eq!(engine["snapshot"]["term"], 5);
        assert_eq!(engine["verdict"], "same");
        assert!(engine["disk_bytes"].as_u64().unwrap() > 3_000_000);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the temporary folder is gone");
}

#[test]
fn a_kept_store_holds_the_log_and_is_not_replayed_onto_twice() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["replay", "--engine", "redb,sled", "--dir", "kept", "-"];
    let trace = [ENTRY, HARD_STATE].join("\n");
    let output = kvlogdb(dir.path(), &args, &trace);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("same"));
    for engine in ["redb", "sled"] {
        let store = kvlogdb::open(dir.path().join("kept").join(engine)).unwrap();
        assert_eq!(store.log(ReplicaId::from(1)).entry(1).unwrap().payload, "a");
    }
    assert!(!dir.path().join("kept/fjall").exists());
    let again = kvlogdb(dir.path(), &args, &trace);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("not empty"), "{}", stderr(&again));
}

#[test]
fn a_bad_line_is_named_and_everything_before_it_is_in_the_store() {
    let cut = &ENTRY[..20];
    for (line, bad) in [(3, "nonsense"), (3, cut), (3, GAP)] {
        let dir = tempfile::tempdir().unwrap();
        let trace = [ENTRY, HARD_STATE, bad].join("\n");
        let output =
            kvlogdb(dir.path(), &["replay", "--engine", "redb", "--dir", "kept", "-"], &trace);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        let text = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("line {line} of the trace")), "{text}");
        let store = kvlogdb::open(dir.path().join("kept/redb")).unwrap();
        assert_eq!(store.log(ReplicaId::from(1)).last_index().unwrap(), Some(1));
    }
}

#[test]
fn a_gzip_file_that_ends_early_is_named_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(SAMPLE).unwrap();
    fs::write(dir.path().join("cut.gz"), &whole[..20_000]).unwrap();
    let output = kvlogdb(dir.path(), &["replay", "--engine", "redb", "--json", "cut.gz"], "");
    assert_eq!(output.status.code(), Some(2));
    let report = json(&output);
    let line = report["defect"]["line"].as_u64().unwrap();
    assert!(line > 10, "{line}");
    assert!(stderr(&output).contains(&format!("line {line} ")), "{}", stderr(&output));
    let engine = &report["engines"][0];
    assert_eq!(engine["verdict"], "same");
    assert!(engine["entries"].as_u64().unwrap() > 10);
}

#[test]
fn what_cannot_be_opened_is_said_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let replay = |engine: &str| {
        let args = ["replay", "--engine", engine, "--dir", "stores", "-"];
        let output = kvlogdb(dir.path(), &args, ENTRY);
        (output.status.code(), stderr(&output))
    };
    let foreign = dir.path().join("stores/redb/diary.txt");
    fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    fs::write(&foreign, "mine").unwrap();
    let (code, text) = replay("redb");
    assert!(code == Some(3) && text.contains("not a kvlogdb store"), "{code:?} {text}");
    assert_eq!(fs::read_dir(foreign.parent().unwrap()).unwrap().count(), 1);

    let fjall = dir.path().join("stores/fjall");
    Options::new().engine(kvlogdb::EngineKind::Redb).open(&fjall).unwrap().close().unwrap();
    let (code, text) = replay("fjall");
    assert!(code == Some(3) && text.contains("engine redb"), "{code:?} {text}");

    let sled = dir.path().join("stores/sled");
    let held = Options::new().engine(kvlogdb::EngineKind::Sled).open(&sled).unwrap();
    held.log(ReplicaId::from(1)).append([Entry::new(1, 1, "a")], Durability::Synced).unwrap();
    let (code, text) = replay("sled");
    assert!(code == Some(3) && text.contains("in use"), "{code:?} {text}");
}

#[test]
fn bad_arguments_are_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["replay", "missing.jsonl"][..],
        &["replay", "--engine", "rocksdb", SAMPLE],
        &["replay"],
        &["rewind"],
    ] {
        let output = kvlogdb(dir.path(), args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
}
