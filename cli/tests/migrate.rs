//! `kvlogdb migrate` as a user runs it, and whatever is killed while it builds a store.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{
    SAMPLE, damage, fine, json, make, names, refused, refuses_what_is_no_store, start, stdout,
};
use kvlogdb::{Creation, EngineKind, Options, transfer};

/// Whether two stores hold the same records and the same marks beside them.
fn same(first: &Path, second: &Path) -> bool {
    let open = |dir: &Path| Options::new().creation(Creation::Never).open_engine(dir).unwrap();
    let (one, two) = (open(first), open(second));
    let (_, difference) = transfer::compare(&*one, &*two, &mut |_| ()).unwrap();
    one.close().unwrap();
    two.close().unwrap();
    difference.is_none()
}

fn is_sound(dir: &Path) -> bool {
    let store = kvlogdb::open(dir).unwrap();
    let clean = store.check().unwrap().is_clean();
    store.close().unwrap();
    clean
}

#[test]
fn the_sample_moves_from_every_engine_to_every_other_and_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for from in EngineKind::ALL {
        let source = from.name();
        fine(dir.path(), &["import", SAMPLE, source, "--engine", source]);
        let dumped = stdout(&fine(dir.path(), &["dump", source, "--json"]));
        for to in EngineKind::ALL {
            if to == from {
                continue;
            }
            let target = format!("{from}-{to}");
            let args = ["migrate", source, &target, "--engine", to.name(), "--json"];
            let report = json(&fine(dir.path(), &args));
            assert_eq!((&report["entries"], &report["from"]), (&4832.into(), &source.into()));
            let (source, target) = (dir.path().join(source), dir.path().join(&target));
            assert!(same(&source, &target) && is_sound(&target), "{from} to {to}");
            assert_eq!(kvlogdb::open(&target).unwrap().info().name, to.name());
            assert_eq!(
                stdout(&fine(dir.path(), &["dump", &format!("{from}-{to}"), "--json"])),
                dumped
            );
            fs::remove_dir_all(target).unwrap();
        }
    }
    assert_eq!(names(dir.path()), ["fjall", "redb", "sled"]);
}

#[test]
fn identity_slots_and_marks_move_too() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("store"), EngineKind::Redb);
    fine(dir.path(), &["migrate", "store", "deep/down/new", "--engine", "sled"]);
    let store = common::open(&dir.path().join("deep/down/new"), EngineKind::Sled);
    assert_eq!(store.log(common::EDGE).slot(300).unwrap().unwrap(), "mine");
    store.close().unwrap();
    let mark = |store: &str| json(&fine(dir.path(), &["info", store, "--json"]))["mark"].clone();
    assert_eq!(mark("store"), mark("deep/down/new"));
}

#[test]
fn a_target_that_exists_overlaps_or_is_anothers_draft_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("store"), EngineKind::Fjall);
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::create_dir(dir.path().join("new.kvlogdb-draft")).unwrap();
    fs::write(dir.path().join("new.kvlogdb-draft/diary.txt"), "mine").unwrap();
    let before = common::files(dir.path());
    for (target, code, words) in [
        ("store", 2, "the same directory"),
        ("./empty/../store", 2, "the same directory"),
        ("store/new", 2, "lies in the source"),
        ("store/engine/new", 2, "lies in the source"),
        ("store/missing/new", 2, "lies in the source"),
        ("empty", 2, "empty exists"),
        ("..", 2, "is no name"),
        ("new", 3, "no OWNER"),
    ] {
        refused(dir.path(), &["migrate", "store", target, "--engine", "redb"], code, words);
        assert!(common::files(dir.path()) == before, "{target}");
    }
    assert_eq!(names(dir.path()), ["empty", "new.kvlogdb-draft", "store"]);
}

#[test]
fn a_damaged_source_is_refused_by_naming_the_damage() {
    for engine in EngineKind::available() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store"), engine);
        damage(&dir.path().join("store"));
        let args = ["migrate", "store", "new", "--engine", "redb"];
        refused(dir.path(), &args, 1, "replica 1/0: index 7");
        assert_eq!(names(dir.path()), ["store"]);
    }
}

#[test]
fn what_is_no_store_is_not_migrated_and_left_alone() {
    refuses_what_is_no_store(|dir| {
        ["migrate", dir, "new", "--engine", "redb"].map(str::to_owned).to_vec()
    });
}

/// Kills `args`, which make the store `new`, at moments spread over how long they take. After
/// each, `new` is absent or the same as `wanted`, and running again succeeds.
fn kill_at_many_moments(dir: &Path, args: &[&str], wanted: &Path, kills: u32) {
    let new = dir.join("new");
    let began = Instant::now();
    fine(dir, args);
    let whole = began.elapsed();
    assert!(same(wanted, &new));
    fs::remove_dir_all(&new).unwrap();
    let (mut absent, mut complete, mut leftovers) = (0, 0, 0);
    for kill in 0..kills {
        let mut child = start(dir, args);
        // From the first moment to a little after the last.
        std::thread::sleep(
            whole * kill * 11 / (10 * kills.max(1)) + Duration::from_micros(u64::from(kill) * 317),
        );
        let _ = child.kill(); // it may have ended
        child.wait().unwrap();
        leftovers += u32::from(dir.join("new.kvlogdb-draft").exists());
        if new.exists() {
            complete += 1;
        } else {
            absent += 1;
            fine(dir, args);
            assert!(!dir.join("new.kvlogdb-draft").exists(), "kill {kill} of {args:?}");
        }
        assert!(same(wanted, &new) && is_sound(&new), "kill {kill} of {args:?}");
        fs::remove_dir_all(&new).unwrap();
    }
    assert!(absent > 0 && leftovers > 0, "{absent} absent, {complete} complete, {leftovers}");
}

#[test]
fn a_killed_migration_leaves_the_source_and_no_half_target() {
    for (from, to) in [("redb", "fjall"), ("fjall", "sled"), ("sled", "redb")] {
        let dir = tempfile::tempdir().unwrap();
        fine(dir.path(), &["import", SAMPLE, "source", "--engine", from]);
        fine(dir.path(), &["export", "source", "before"]);
        fine(dir.path(), &["import", "before", "pristine", "--engine", "redb"]);
        let args = ["migrate", "source", "new", "--engine", to];
        kill_at_many_moments(dir.path(), &args, &dir.path().join("pristine"), 14);
        assert!(same(&dir.path().join("pristine"), &dir.path().join("source")), "{from}");
        assert!(is_sound(&dir.path().join("source")), "{from}");
    }
}

#[test]
fn a_killed_import_leaves_no_half_store() {
    for engine in EngineKind::ALL.map(EngineKind::name) {
        let dir = tempfile::tempdir().unwrap();
        fine(dir.path(), &["import", SAMPLE, "pristine", "--engine", "redb"]);
        fine(dir.path(), &["export", "pristine", "in"]);
        let args = ["import", "in", "new", "--engine", engine];
        kill_at_many_moments(dir.path(), &args, &dir.path().join("pristine"), 14);
    }
}

#[test]
fn a_leftover_beside_a_complete_target_goes_with_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("store"), EngineKind::Redb);
    let args = ["migrate", "store", "new", "--engine", "fjall"];
    fine(dir.path(), &args);
    fs::create_dir(dir.path().join("new.kvlogdb-draft")).unwrap();
    fs::write(dir.path().join("new.kvlogdb-draft/OWNER"), "kvlogdb draft 1\n").unwrap();
    refused(dir.path(), &args, 2, "new exists");
    assert_eq!(names(dir.path()), ["new", "store"]);
}
