//! `kvlogdb dump` as a user runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{
    SAMPLE, command, damage, fine, kvlogdb, make, refused, refuses_what_is_no_store, stderr, stdout,
};
use kvlogdb::EngineKind;

fn store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("store"), EngineKind::Fjall);
    dir
}

#[test]
fn the_table_has_a_line_an_entry_and_nothing_that_steers_a_terminal() {
    let dir = store();
    let text = stdout(&fine(dir.path(), &["dump", "store"]));
    assert!(!text.contains('\x1b') && text.lines().all(|line| line.chars().count() <= 100));
    let lines: Vec<_> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["#", "replica", "1/0"]);
    assert_eq!(lines[1], ["index", "term", "kind", "bytes", "payload"]);
    assert_eq!(lines[2], ["4", "2", "config", "14", "add", "\\x1b[31m", "node"]);
    assert_eq!(&lines[3][..4], ["5", "2", "normal", "3000"]);
    assert!(lines[3][4].ends_with('…'));
    assert_eq!(lines[8][..3], ["#", "6", "entries,"]);
    assert_eq!(lines[9][2], "18446744073709551615/7");
    assert_eq!(lines[11], ["18446744073709551615", "4", "normal", "4", "last"]);
}

#[test]
fn range_kind_and_replica_choose() {
    let dir = store();
    let hex = |args: &[&str]| {
        let args = [&["dump", "store", "--format", "hex", "--replica", "1"], args].concat();
        let text = stdout(&fine(dir.path(), &args));
        let first = |line: &str| line.split(' ').next().unwrap().to_owned();
        text.lines().skip(1).map(first).collect::<Vec<_>>()
    };
    assert_eq!(hex(&["--range", "5..7"]), ["5", "6"]);
    assert_eq!(hex(&["--range", "5..=7"]), ["5", "6", "7"]);
    assert_eq!(hex(&["--range", "8.."]), ["8", "9"]);
    assert_eq!(hex(&["--range", "..6"]), ["4", "5"]);
    assert_eq!(hex(&["--range", "9"]), ["9"]);
    assert_eq!(hex(&["--kind", "config"]), ["4"]);
    assert_eq!(hex(&["--kind", "1", "--range", "5.."]), [""; 0]);
    let text = stdout(&fine(
        dir.path(),
        &["dump", "store", "--format", "hex", "--range", "4..5", "--replica", "1/0"],
    ));
    assert_eq!(text, "# replica 1/0\n4 2 1 616464201b5b33316d206e6f6465\n");
    refused(dir.path(), &["dump", "store", "--range", "1..5"], 2, "index 1 is purged");
    refused(dir.path(), &["dump", "store", "--replica", "2"], 2, "there is no replica 2/0");
    for bad in [["--range", "x"], ["--kind", "256"], ["--replica", "1/x"], ["--format", "xml"]] {
        refused(dir.path(), &["dump", "store", bad[0], bad[1]], 2, bad[1]);
    }
}

#[test]
fn json_lines_make_the_same_log_again() {
    let dir = store();
    refused(dir.path(), &["dump", "store", "--json"], 2, "name it with --replica");
    let args = ["dump", "store", "--json", "--replica", "1"];
    let lines = stdout(&fine(dir.path(), &args));
    let kinds: Vec<_> = lines.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(kinds[..2], ["snapshot", "entry"]);
    assert_eq!(kinds[7..], ["hard_state", "snapshot"]);
    fs::write(dir.path().join("lines"), &lines).unwrap();
    fine(dir.path(), &["import", "lines", "again", "--engine", "sled", "--replica", "1"]);
    assert_eq!(stdout(&fine(dir.path(), &["dump", "again", "--json"])), lines);
    let replayed = fine(dir.path(), &["replay", "--json", "--engine", "redb", "lines"]);
    assert!(stdout(&replayed).contains("\"same\""));
    let part =
        stdout(&fine(dir.path(), &["dump", "store", "--json", "--replica", "1", "--range", "5.."]));
    assert!(part.lines().all(|line| line.starts_with("{\"entry\"")));
}

#[test]
fn a_decoder_answers_line_by_line_or_all_at_the_end() {
    let dir = store();
    let decode = |command: &str| {
        [
            "dump",
            "store",
            "--replica",
            "1",
            "--format",
            "hex",
            "--range",
            "4..6",
            "--decode",
            command,
        ]
        .map(str::to_owned)
    };
    for command in ["while read line; do echo ${#line}; done", "awk '{ print length($0) }'"] {
        let args = decode(command);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let text = stdout(&fine(dir.path(), &args));
        assert_eq!(text, "# replica 1/0\n4 2 1 28\n5 2 0 6000\n");
    }
    for (command, words) in [
        ("exit 7", "ended after 0 answers: exit status: 7"),
        ("read line; echo one", "ended after 1 answers"),
        ("cat; echo more", "answered more than 2"),
        ("yes", "answered more than 2"),
        ("cat; exit 3", "the decoder failed: exit status: 3"),
        ("cat; exec >&-; exec sleep 60", "went on running"),
        ("no-such-decoder", "ended after 0 answers"),
    ] {
        let args = decode(command);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        refused(dir.path(), &args, 2, words);
    }
    let args = ["dump", "store", "--replica", "1", "--json", "--decode", "cat"];
    refused(dir.path(), &args, 2, "--decode has no place");
}

#[test]
fn a_log_that_does_not_fit_into_any_pipe_is_decoded() {
    let dir = tempfile::tempdir().unwrap();
    fine(dir.path(), &["import", SAMPLE, "store", "--engine", "redb"]);
    for decoder in ["cat", "sort -s -k 9,9", "tac | tac"] {
        let args = ["dump", "store", "--format", "hex", "--decode", decoder];
        let text = stdout(&fine(dir.path(), &args));
        assert_eq!(text, stdout(&fine(dir.path(), &args[..4])), "{decoder}");
    }
}

#[test]
fn damage_is_told_where_it_stands_after_everything_before_it() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store"), engine);
        damage(&dir.path().join("store"));
        let output = kvlogdb(dir.path(), &["dump", "store", "--format", "hex"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("index 7 is corrupt"), "{}", stderr(&output));
        let text = stdout(&output);
        let shown = text.lines().map(|line| line.split(' ').next().unwrap());
        let edge = "18446744073709551615";
        assert_eq!(shown.collect::<Vec<_>>(), ["#", "4", "5", "6", "#", edge], "{text}");
        let behind = ["dump", "store", "--replica", "1", "--range", "8..", "--format", "hex"];
        assert_eq!(stdout(&fine(dir.path(), &behind)).lines().count(), 3);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    fine(dir.path(), &["import", SAMPLE, "store", "--engine", "redb"]);
    for args in [&["dump", "store"][..], &["dump", "store", "--decode", "cat"]] {
        let piped = Stdio::piped;
        let mut child = command(dir.path(), args).stdout(piped()).stderr(piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
    fine(dir.path(), &["check", "store"]);
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    refuses_what_is_no_store(|dir| vec!["dump".into(), dir.into()]);
}
