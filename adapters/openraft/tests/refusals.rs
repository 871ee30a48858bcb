//! What cannot be served is an error that names what was tried, and never an empty answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![cfg(all(feature = "openraft-0-9", feature = "openraft-0-10"))]

mod common;

use std::error::Error as _;
use std::io;

use common::machine10::Config;
use common::rig::{NODE, REPLICA, Rig, Storage, append, id, run};
use kvlogdb::{Boundary, Durability, Entry, FIRST_USER_SLOT, Leader, LogBatch, LogId};
use kvlogdb_openraft::{Cause, v09};
use openraft_0_10 as openraft;

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::VoteOf;

/// An error with everything behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

fn assert_says(error: &io::Error, kind: io::ErrorKind, words: [&str; 2]) {
    let said = chain(error);
    assert_eq!(error.kind(), kind, "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

/// A store in which something was put into a slot of the adapter's.
async fn with_slot(slot: u16, value: &'static [u8]) -> Storage {
    let rig = Rig::new();
    let mut storage = rig.storage();
    append(&mut storage, run((1, 1), 1..=3)).await;
    let mut batch = LogBatch::new();
    batch.put_slot(REPLICA, slot, value).unwrap();
    rig.store.write(&batch, Durability::Synced).unwrap();
    rig.store.reopen().unwrap();
    rig.storage()
}

const BAD: [&[u8]; 4] = [b"", b"\x02", b"\x01", b"\x01\x03\xff\xff"];

#[tokio::test]
async fn a_vote_that_cannot_be_decoded_is_an_error_and_is_not_written_over() {
    for bad in BAD {
        let mut storage = with_slot(FIRST_USER_SLOT, bad).await;
        let error = storage.read_vote().await.unwrap_err();
        assert_says(&error, io::ErrorKind::InvalidData, ["cannot read the vote", "decoded"]);
        let error = storage.save_vote(&VoteOf::<Config>::new(9, 9)).await.unwrap_err();
        assert_says(&error, io::ErrorKind::InvalidData, ["cannot save the vote", "decoded"]);
    }
}

#[tokio::test]
async fn a_committed_id_that_cannot_be_decoded_is_an_error() {
    for bad in BAD {
        let mut storage = with_slot(FIRST_USER_SLOT + 1, bad).await;
        let error = storage.read_committed().await.unwrap_err();
        assert_says(&error, io::ErrorKind::InvalidData, ["the committed log id", "decoded"]);
    }
}

#[tokio::test]
async fn ends_that_cannot_be_decoded_are_errors() {
    for leader in [&b""[..], b"\x02", b"\x01\x09\x01"] {
        let rig = Rig::new();
        let mut storage = rig.storage();
        append(&mut storage, run((1, 1), 1..=3)).await;
        let leader = Leader::new(leader).unwrap();
        let mut batch = LogBatch::new();
        batch.append_led(REPLICA, leader.clone(), vec![Entry::new(2, 4, "")]);
        rig.store.write(&batch, Durability::Synced).unwrap();
        let error = storage.get_log_state().await.unwrap_err();
        assert_says(&error, io::ErrorKind::InvalidData, ["the last log id", "decoded"]);
        let to = Boundary { id: LogId::new(2, 8), leader };
        rig.log().purge_through(to, Durability::Synced).unwrap();
        let error = storage.get_log_state().await.unwrap_err();
        assert_says(&error, io::ErrorKind::InvalidData, ["the last purged log id", "decoded"]);
    }
}

#[tokio::test]
async fn entries_of_other_types_or_under_another_id_are_errors() {
    let rig = Rig::new();
    let mut storage = rig.storage();
    append(&mut storage, run((1, 1), 1..=3)).await;
    let third = rig.log().entry(3).unwrap();
    for payload in [b"".as_slice(), b"\x02", b"\x01\xff", &third.payload] {
        rig.log()
            .replace_from(vec![Entry::new(1, 2, payload.to_vec())], Durability::Synced)
            .unwrap();
        let error = storage.try_get_log_entries(..).await.unwrap_err();
        assert_says(&error, io::ErrorKind::InvalidData, ["cannot read the log", "an entry"]);
        let error = storage.limited_get_log_entries(2, 3).await.unwrap_err();
        assert_says(&error, io::ErrorKind::InvalidData, ["cannot read the log", "an entry"]);
        assert_eq!(storage.try_get_log_entries(1..2).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn another_nodes_log_is_refused() {
    let rig = Rig::new();
    append(&mut rig.storage(), run((1, 1), 1..=3)).await;
    let error = Storage::new(rig.log(), &2).unwrap_err();
    assert!(matches!(error.cause(), Cause::Foreign { .. }), "{error:?}");
    assert_eq!((error.operation(), error.replica()), ("take on the log", REPLICA));
    let older = v09::LogStorage::<common::machine09::Config>::new(rig.log(), &2).unwrap_err();
    assert!(matches!(older.cause(), Cause::Foreign { .. }), "{older:?}");
    rig.storage();
}

#[test]
fn a_log_that_this_adapter_did_not_write_is_refused() {
    let rig = Rig::new();
    rig.log().append(vec![Entry::new(1, 1, "a")], Durability::Synced).unwrap();
    let error = Storage::new(rig.log(), &NODE).unwrap_err();
    assert!(matches!(error.cause(), Cause::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn what_breaks_a_rule_of_the_log_is_refused_and_changes_nothing() {
    let rig = Rig::new();
    let mut storage = rig.storage();
    append(&mut storage, run((2, 1), 1..=3)).await;
    for entries in [run((2, 1), 5..=5), run((2, 1), 3..=3), run((1, 1), 4..=4)] {
        let error = storage.append(entries, IOFlushed::noop()).await.unwrap_err();
        assert_says(&error, io::ErrorKind::InvalidInput, ["cannot append", "replica 7/1"]);
    }
    storage.purge(id(2, 1, 2)).await.unwrap();
    let error = storage.truncate_after(Some(id(2, 1, 1))).await.unwrap_err();
    assert_says(&error, io::ErrorKind::InvalidInput, ["cannot truncate", "purged"]);
    append(&mut storage, run((2, 1), 4..=4)).await;
}

#[tokio::test]
async fn after_a_failure_every_call_fails_for_good() {
    let rig = Rig::new();
    let mut storage = rig.storage();
    append(&mut storage, run((1, 1), 1..=3)).await;
    let mut reader = storage.get_log_reader().await;
    rig.control.fill_disk();
    let (done, end) = Config::oneshot();
    storage.append(run((1, 1), 4..=4), IOFlushed::signal(done)).await.unwrap();
    let error = end.await.unwrap().unwrap_err();
    assert_says(&error, io::ErrorKind::StorageFull, ["cannot append", "commit"]);
    // Reopening the store repairs it for a new handle. Who saw the failure does not go on: what it
    // knows of the log may be more than what is left.
    for _ in 0..2 {
        let full = io::ErrorKind::StorageFull;
        let words = |operation| [operation, "commit"];
        let vote = VoteOf::<Config>::new(2, 1);
        assert_says(&storage.save_vote(&vote).await.unwrap_err(), full, words("save the vote"));
        assert_says(&storage.purge(id(1, 1, 1)).await.unwrap_err(), full, words("purge"));
        let cut = storage.truncate_after(None).await.unwrap_err();
        assert_says(&cut, full, words("truncate"));
        let more = storage.append(run((1, 1), 5..=5), IOFlushed::noop()).await.unwrap_err();
        assert_says(&more, full, words("append"));
        assert_says(&storage.get_log_state().await.unwrap_err(), full, words("ends"));
        assert_says(&reader.read_vote().await.unwrap_err(), full, words("read the vote"));
        assert_says(&reader.try_get_log_entries(..).await.unwrap_err(), full, words("read"));
        rig.store.reopen().unwrap();
    }
    let mut anew = rig.storage();
    assert_eq!(anew.get_log_state().await.unwrap().last_log_id, Some(id(1, 1, 3)));
    append(&mut anew, run((1, 1), 4..=4)).await;
}

#[tokio::test]
async fn a_closed_store_is_an_error() {
    let rig = Rig::new();
    let mut storage = rig.storage();
    rig.store.close().unwrap();
    let error = storage.get_log_state().await.unwrap_err();
    assert!(error.source().is_some());
    assert_says(&error, io::ErrorKind::Other, ["ends of the log", "closed"]);
}
