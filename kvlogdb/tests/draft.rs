//! A store in the making: its target is absent or complete, and what others own stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use kvlogdb::{Draft, EngineError};

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A file in the draft, in place of a store.
fn fill(draft: &Draft) {
    fs::create_dir(draft.dir()).unwrap();
    fs::write(draft.dir().join("made"), b"whole").unwrap();
}

/// What a draft leaves that is cut short.
fn leftover(target: &Path) -> PathBuf {
    let draft = Draft::begin(target).unwrap();
    fill(&draft);
    let place = draft.dir().parent().unwrap().to_owned();
    let copy = place.with_extension("copy");
    fs::rename(&place, &copy).unwrap();
    drop(draft);
    fs::rename(copy, &place).unwrap();
    place
}

#[test]
fn a_target_appears_when_it_is_published_and_nothing_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("deep/store");
    let draft = Draft::begin(&target).unwrap();
    fill(&draft);
    assert!(!target.exists());
    draft.publish().unwrap();
    assert_eq!(names(&dir.path().join("deep")), ["store"]);
    assert_eq!(names(&target), ["made"]);
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let draft = Draft::begin(&dir.path().join("store")).unwrap();
    fill(&draft);
    drop(draft);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn whatever_a_cut_draft_leaves_is_removed_by_the_next() {
    let cuts: [fn(&Path); 5] = [
        |_| (),
        |place| fs::remove_dir_all(place.join("store")).unwrap(),
        |place| {
            fs::remove_dir_all(place.join("store")).unwrap();
            fs::write(place.join("OWNER"), b"kvlog").unwrap();
        },
        |place| {
            fs::remove_dir_all(place).unwrap();
            fs::create_dir(place).unwrap();
        },
        |place| fs::remove_dir_all(place).unwrap(),
    ];
    for cut in cuts {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("store");
        cut(&leftover(&target));
        let draft = Draft::begin(&target).unwrap();
        assert!(!draft.dir().exists());
        fill(&draft);
        draft.publish().unwrap();
        assert_eq!(names(dir.path()), ["store"]);
    }
}

#[test]
fn a_target_that_exists_is_refused_and_its_leftover_removed() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("store");
    leftover(&target);
    fs::create_dir(&target).unwrap();
    let refused = Draft::begin(&target);
    assert!(matches!(refused, Err(EngineError::Invalid { .. })), "{refused:?}");
    assert_eq!(names(dir.path()), ["store"]);
    assert!(matches!(Draft::begin(&target), Err(EngineError::Invalid { .. })));
    assert_eq!(names(dir.path()), ["store"]);
    for no_name in ["/", "..", ""] {
        assert!(matches!(Draft::begin(Path::new(no_name)), Err(EngineError::Invalid { .. })));
    }
}

#[test]
fn a_target_that_appears_meanwhile_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("store");
    let draft = Draft::begin(&target).unwrap();
    fill(&draft);
    fs::create_dir(&target).unwrap();
    assert!(matches!(draft.publish(), Err(EngineError::Invalid { .. })));
    assert_eq!((names(dir.path()), names(&target)), (vec!["store".to_owned()], Vec::new()));
}

#[test]
fn what_others_put_in_a_drafts_place_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("store");
    let place = dir.path().join("store.kvlogdb-draft");
    let check = || {
        let before = names(&place);
        let refused = Draft::begin(&target);
        assert!(matches!(refused, Err(EngineError::NotAStore { .. })), "{refused:?}");
        assert_eq!(names(&place), before);
    };
    fs::create_dir(&place).unwrap();
    fs::write(place.join("diary.txt"), b"mine").unwrap();
    check();
    fs::write(place.join("OWNER"), b"me").unwrap();
    check();
    fs::write(place.join("OWNER"), b"").unwrap();
    check();
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, b"a file").unwrap();
    assert!(matches!(Draft::begin(&target), Err(EngineError::NotAStore { .. })));
    assert_eq!(fs::read(&place).unwrap(), b"a file");
}

#[test]
fn two_drafts_of_one_target_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("store");
    let first = Draft::begin(&target).unwrap();
    fill(&first);
    let second = Draft::begin(&target);
    assert!(matches!(second, Err(EngineError::AlreadyOpen { .. })), "{second:?}");
    first.publish().unwrap();
    assert_eq!(names(&target), ["made"]);
}
