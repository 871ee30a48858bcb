//! `kvlogdb compare` as a user runs it. What is checked is what it says and leaves, never a speed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{SAMPLE, command, kvlogdb, refused, start, stderr, stdout};
use serde_json::Value;

/// One short row on one engine.
const TINY: [&str; 8] =
    ["--quick", "--engine", "redb", "--only", "append", "--batch", "4", "--entry-bytes=100"];

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn compare<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["compare"], rest].concat()
}

#[test]
fn a_comparison_leaves_a_record_and_a_page_and_says_what_to_take() {
    let dir = tempfile::tempdir().unwrap();
    let output = kvlogdb(dir.path(), &compare(&[&["here"], &TINY[..]].concat()));
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let found = names(&dir.path().join("here"));
    assert_eq!(found.len(), 2, "{found:?}");
    let (html, jsonl) =
        (dir.path().join("here").join(&found[0]), dir.path().join("here").join(&found[1]));
    let said = stdout(&output);
    for expected in
        ["durable append of 4, 100 B", "kvlogdb on redb", "control, growing", "For latency"]
    {
        assert!(said.contains(expected), "no {expected}: {said}");
    }
    let page = fs::read_to_string(html).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg "), "{page}");

    let record = lines(&jsonl);
    assert_eq!(record[0]["line"], "header");
    assert_eq!(record[0]["seed"], 1);
    assert!(record[0]["machine"]["cpus"].as_u64().unwrap() > 0);
    let stores: Vec<_> = record[1..].iter().map(|cell| cell["subject"].as_str().unwrap()).collect();
    for store in ["control, pre-written", "control, growing", "kvlogdb on redb"] {
        assert!(stores.contains(&store), "{stores:?}");
    }
    for cell in &record[1..] {
        let measured = &cell["outcome"]["measured"];
        let main = &measured["phases"]["main"];
        assert!(main["entries"].as_u64().unwrap() > 0, "{cell}");
        assert_eq!(main["latency"]["count"], main["calls"]);
        assert!(measured["checked"].as_u64().unwrap() > 0, "read back and compared: {cell}");
        assert!(measured["payload_bytes"].as_u64().unwrap() >= 100);
    }

    let path = jsonl.to_str().unwrap();
    let same = kvlogdb(dir.path(), &compare(&["--diff", path, path]));
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let shown = kvlogdb(dir.path(), &compare(&["--render", path]));
    assert!(stdout(&shown).contains("durable append of 4, 100 B"));
}

#[test]
fn sync_calls_are_counted_where_they_can_be() {
    let strace = Command::new("strace").args(["-f", "-qq", "true"]).stderr(Stdio::null()).status();
    let can_trace = strace.is_ok_and(|status| status.success());
    let dir = tempfile::tempdir().unwrap();
    let output = kvlogdb(dir.path(), &compare(&[&["here", "--json"], &TINY[..]].concat()));
    let said = stdout(&output);
    let mut counts = 0;
    for line in said.lines().skip(1) {
        let cell: Value = serde_json::from_str(line).unwrap();
        if can_trace {
            let (syncs, acknowledged) =
                (&cell["counted"]["syncs"], &cell["counted"]["acknowledged"]);
            assert!(syncs.as_u64().unwrap() >= acknowledged.as_u64().unwrap(), "{cell}");
            assert!(acknowledged.as_u64().unwrap() > 0, "{cell}");
        } else {
            assert!(cell["counted"].is_null(), "{cell}");
        }
        counts += 1;
    }
    assert!(counts >= 3, "{said}");
}

#[test]
fn a_trace_is_written_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["here", "--quick", "--engine", "redb", "--only", "trace", "--trace", SAMPLE, "--json"];
    let output = kvlogdb(dir.path(), &compare(&args));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    let cell: Value = serde_json::from_str(said.lines().nth(1).unwrap()).unwrap();
    assert_eq!(cell["name"], "trace of 4912 entries");
    assert_eq!(cell["outcome"]["measured"]["phases"]["main"]["entries"], 4912);
    assert_eq!(cell["outcome"]["measured"]["checked"], 4832);
}

#[test]
fn bad_input_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/thesis.txt"), b"mine").unwrap();
    refused(dir.path(), &compare(&["mine", "--quick"]), 2, "thesis.txt");
    refused(dir.path(), &compare(&["mine/thesis.txt", "--quick"]), 2, "not a directory");
    refused(dir.path(), &compare(&["new/deep", "--quick"]), 3, "cannot make");
    refused(dir.path(), &compare(&["new", "--quick", "--full"]), 2, "cannot be used");
    refused(dir.path(), &compare(&["new", "--need", "beauty"]), 2, "latency, throughput");
    refused(dir.path(), &compare(&["new", "--trace", "none.jsonl"]), 2, "none.jsonl");
    let huge = ["new", "--only", "reopen", "--entries=10000000", "--entry-bytes=1048576"];
    refused(dir.path(), &compare(&huge), 2, "MiB free");
    refused(dir.path(), &compare(&["--diff", "a", "b"]), 2, "cannot open a");
    fs::write(dir.path().join("a"), b"{\"line\":\"header\"}\n{}\n").unwrap();
    refused(dir.path(), &compare(&["--render", "a"]), 2, "of the record");
    assert_eq!(names(dir.path()), ["a", "mine"]);
    assert_eq!(names(&dir.path().join("mine")), ["thesis.txt"]);
}

/// Waits until `holds`, for a while.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "no {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_in_the_middle_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path(), &compare(&["new", "--only", "append"]));
    let cell = || {
        let place = fs::read_dir(dir.path().join("new")).ok()?.flatten().next()?;
        place.path().join("cell").exists().then_some(())
    };
    wait_for("measurement", || cell().is_some());
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_cannot_be_written_is_said() {
    // Not even root can write there.
    let output = command(Path::new("/"), &compare(&["/proc/new", "--quick"])).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot make /proc/new"), "{}", stderr(&output));
}
