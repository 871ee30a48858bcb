//! The rules that openraft states for a log storage, beyond what its suite looks at.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![cfg(all(feature = "openraft-0-9", feature = "openraft-0-10"))]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use common::machine10::Config;
use common::rig::{Rig, Storage, append, entry, id, ids, run};
use futures_util::TryStreamExt;
use kvlogdb::{FlushPolicy, LogOptions};
use openraft_0_10 as openraft;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::VoteOf;
use openraft::{EntryPayload, RaftLogReader};

type Vote = VoteOf<Config>;

fn unhurried() -> LogOptions {
    let mut options = LogOptions::default();
    options.mark_interval = Duration::from_secs(3600);
    options.flush = FlushPolicy::Immediate;
    options
}

#[tokio::test]
async fn log_ids_keep_their_leader_through_a_reopening() {
    let rig = Rig::with(unhurried());
    let mut storage = rig.storage();
    append(&mut storage, run((1, 4), 1..=3)).await;
    // Another leader of the same term, as openraft allows.
    append(&mut storage, run((1, 5), 4..=6)).await;
    storage.purge(id(1, 4, 2)).await.unwrap();
    storage.save_committed(Some(id(1, 5, 5))).await.unwrap();
    storage.save_vote(&Vote::new_committed(2, 9)).await.unwrap();
    for _ in 0..2 {
        let state = storage.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(id(1, 4, 2)));
        assert_eq!(state.last_log_id, Some(id(1, 5, 6)));
        assert_eq!(ids(&mut storage).await, [id(1, 4, 3), id(1, 5, 4), id(1, 5, 5), id(1, 5, 6)]);
        assert_eq!(storage.read_committed().await.unwrap(), Some(id(1, 5, 5)));
        assert_eq!(storage.read_vote().await.unwrap(), Some(Vote::new_committed(2, 9)));
        rig.store.reopen().unwrap();
        storage = rig.storage();
    }
}

#[tokio::test]
async fn an_append_is_read_at_once_and_called_back_when_it_is_durable() {
    let rig = Rig::with(unhurried());
    let mut storage = rig.storage();
    append(&mut storage, run((1, 1), 1..=1)).await;
    rig.control.shut();
    let mut reader = storage.get_log_reader().await;
    let mut ends = Vec::new();
    for index in 2..=5 {
        let (done, end) = Config::oneshot();
        let entries = run((1, 1), index..=index);
        storage.append(entries, IOFlushed::signal(done)).await.unwrap();
        assert_eq!(ids(&mut reader).await.last(), Some(&id(1, 1, index)));
        ends.push(end);
    }
    thread::sleep(Duration::from_millis(20));
    assert!(ends.iter_mut().all(|end| end.try_recv().is_err()), "nothing is durable");
    rig.control.open();
    for end in ends {
        end.await.unwrap().unwrap();
    }
    assert_eq!(rig.log().durable().unwrap().unwrap().id.index, 5);
}

#[tokio::test]
async fn callbacks_come_once_each_and_in_order() {
    let rig = Rig::new();
    let mut storage = rig.storage();
    let mut ends = Vec::new();
    for index in 1..=200 {
        let (done, end) = Config::oneshot();
        let entries = run((1, 1), index..=index);
        storage.append(entries, IOFlushed::signal(done)).await.unwrap();
        ends.push(end);
    }
    // An end that is there has all before it.
    let mut last = ends.pop().unwrap();
    (&mut last).await.unwrap().unwrap();
    assert!(ends.iter_mut().all(|end| matches!(end.try_recv(), Ok(Ok(())))));
}

#[tokio::test]
async fn a_vote_is_durable_with_every_append_before_it() {
    let rig = Rig::with(unhurried());
    let mut storage = rig.storage();
    storage.append(run((1, 1), 1..=9), IOFlushed::noop()).await.unwrap();
    storage.save_vote(&Vote::new(2, 1)).await.unwrap();
    assert_eq!(rig.log().durable().unwrap().unwrap().id.index, 9);
    rig.store.reopen().unwrap();
    assert_eq!(rig.storage().read_vote().await.unwrap(), Some(Vote::new(2, 1)));
}

#[tokio::test]
async fn a_vote_never_goes_back() {
    let rig = Rig::new();
    let mut storage = rig.storage();
    for vote in [Vote::new(3, 2), Vote::new(3, 2), Vote::new(3, 4), Vote::new_committed(3, 4)] {
        storage.save_vote(&vote).await.unwrap();
    }
    for vote in [Vote::new(3, 4), Vote::new(3, 3), Vote::new_committed(2, 9), Vote::new(0, 0)] {
        let error = storage.save_vote(&vote).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot save the vote"), "{error}");
    }
    assert_eq!(storage.read_vote().await.unwrap(), Some(Vote::new_committed(3, 4)));
    assert!(storage.read_vote().await.unwrap().unwrap().is_committed());
}

#[tokio::test]
async fn the_committed_id_and_a_purge_cost_no_sync_of_their_own() {
    let rig = Rig::with(unhurried());
    let mut storage = rig.storage();
    append(&mut storage, run((1, 1), 1..=100)).await;
    rig.control.take_syncs();
    for index in 1..=100 {
        storage.save_committed(Some(id(1, 1, index))).await.unwrap();
    }
    storage.purge(id(1, 1, 50)).await.unwrap();
    storage.truncate_after(Some(id(1, 1, 90))).await.unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(rig.control.take_syncs(), 0);
    assert_eq!(storage.read_committed().await.unwrap(), Some(id(1, 1, 100)));
    append(&mut storage, run((2, 1), 91..=91)).await;
    assert_eq!(rig.control.take_syncs(), 1, "and are durable with the next append");
}

#[tokio::test]
async fn appends_that_wait_together_share_a_sync() {
    let rig = Rig::with(unhurried());
    let mut storage = rig.storage();
    rig.control.shut();
    rig.control.take_syncs();
    let mut ends = Vec::new();
    for index in 1..=64 {
        let (done, end) = Config::oneshot();
        storage.append(run((1, 1), index..=index), IOFlushed::signal(done)).await.unwrap();
        ends.push(end);
    }
    rig.control.open();
    for end in ends {
        end.await.unwrap().unwrap();
    }
    let syncs = rig.control.take_syncs();
    assert!(syncs <= 2, "{syncs} syncs for 64 appends");
}

#[tokio::test]
async fn a_read_for_replication_has_a_limit_and_begins_where_it_was_asked() {
    let rig = Rig::new();
    let mut storage = rig.storage().read_bytes(100);
    append(&mut storage, run((1, 1), 1..=50)).await;
    let read = storage.limited_get_log_entries(11, 40).await.unwrap();
    assert!((2..20).contains(&read.len()), "{}", read.len());
    assert_eq!(read[0].log_id, id(1, 1, 11));
    // One entry over the limit comes alone, and never nothing.
    append(&mut storage, vec![entry(1, 1, 51, &"x".repeat(500))]).await;
    assert_eq!(storage.limited_get_log_entries(51, 52).await.unwrap().len(), 1);
    // What is purged is not made up for by what comes behind it: that would be a hole.
    storage.purge(id(1, 1, 20)).await.unwrap();
    assert!(storage.limited_get_log_entries(11, 40).await.unwrap().is_empty());
    assert_eq!(storage.try_get_log_entries(11..40).await.unwrap().len(), 19);
    assert_eq!(storage.try_get_log_entries(5..=20).await.unwrap().len(), 0);
    assert_eq!(storage.try_get_log_entries(50..99).await.unwrap().len(), 2);
}

/// A leader that is killed and goes on in its term must not have given away what it has lost.
#[tokio::test]
async fn other_nodes_get_what_is_durable_on_this_one() {
    let rig = Rig::with(unhurried());
    let mut storage = rig.storage();
    append(&mut storage, run((1, 1), 1..=3)).await;
    rig.control.shut();
    storage.append(run((1, 1), 4..=6), IOFlushed::noop()).await.unwrap();
    let sent = storage.limited_get_log_entries(2, 7).await.unwrap();
    assert_eq!(sent.len(), 2, "what is durable of it");
    let mut reader = storage.get_log_reader().await;
    let waiting = tokio::spawn(async move { reader.limited_get_log_entries(4, 7).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!waiting.is_finished());
    let mut early = rig.storage().send_before_durable();
    assert_eq!(early.limited_get_log_entries(4, 7).await.unwrap().len(), 3);
    rig.control.open();
    assert_eq!(waiting.await.unwrap().unwrap().len(), 3);
}

#[tokio::test]
async fn who_waits_for_what_is_durable_hears_of_a_failure_and_of_a_truncation() {
    for fails in [true, false] {
        let rig = Rig::with(unhurried());
        let mut storage = rig.storage();
        append(&mut storage, run((1, 1), 1..=3)).await;
        rig.control.shut();
        storage.append(run((1, 1), 4..=6), IOFlushed::noop()).await.unwrap();
        let mut reader = storage.get_log_reader().await;
        let waiting = tokio::spawn(async move { reader.limited_get_log_entries(4, 7).await });
        tokio::time::sleep(Duration::from_millis(30)).await;
        if fails {
            rig.control.fill_disk();
            rig.control.open();
            assert!(waiting.await.unwrap().is_err());
        } else {
            storage.truncate_after(Some(id(1, 1, 3))).await.unwrap();
            assert!(waiting.await.unwrap().unwrap().is_empty());
            rig.control.open();
        }
    }
}

#[tokio::test]
async fn a_stream_brings_every_entry_a_page_at_a_time() {
    for cache_bytes in [0, 16 << 20] {
        let mut options = LogOptions::default();
        options.cache_bytes = cache_bytes;
        let rig = Rig::with(options);
        let mut storage = rig.storage().read_bytes(64);
        append(&mut storage, run((1, 1), 3..=60)).await;
        let stream = storage.entries_stream(0..50).await;
        let entries: Vec<_> = stream.try_collect().await.unwrap();
        let wanted: Vec<_> = (3..50).map(|index| id(1, 1, index)).collect();
        assert_eq!(entries.iter().map(|entry| entry.log_id).collect::<Vec<_>>(), wanted);
        // What is cut off while it runs is an error behind what it has brought, not the end.
        let mut stream = std::pin::pin!(storage.entries_stream(..).await);
        let first = stream.try_next().await.unwrap().unwrap();
        assert_eq!(first.log_id, id(1, 1, 3));
        rig.storage().purge(id(1, 1, 59)).await.unwrap();
        let rest: Result<Vec<_>, _> = stream.try_collect().await;
        assert!(rest.unwrap_err().to_string().starts_with("cannot read the log"));
    }
}

#[tokio::test]
async fn a_snapshot_goes_over_a_tail_that_was_never_committed() {
    for (tail, purge) in [((7, 1), id(5, 2, 20)), ((7, 1), id(5, 2, 6)), ((3, 1), id(5, 2, 3))] {
        let rig = Rig::new();
        let mut storage = rig.storage();
        append(&mut storage, run(tail, 4..=6)).await;
        if purge.index == 6 {
            // Another entry stands where the snapshot ends: openraft truncates before it purges.
            assert!(storage.purge(purge).await.is_err());
            storage.truncate_after(Some(id(7, 1, 5))).await.unwrap();
        }
        storage.purge(purge).await.unwrap();
        let state = storage.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(purge));
        assert_eq!(state.last_log_id, Some(purge));
        append(&mut storage, run((8, 3), purge.index + 1..=purge.index + 2)).await;
        assert_eq!(ids(&mut storage).await.len(), 2);
    }
}

#[tokio::test]
async fn an_append_of_any_size_is_called_back_once_when_all_of_it_is_durable() {
    let rig = Rig::with(unhurried());
    let mut storage = rig.storage();
    let command = "x".repeat(3 << 20);
    let large = |index| entry(1, 1, index, &command);
    append(&mut storage, (1..=30).map(large).collect()).await;
    assert_eq!(rig.log().durable().unwrap().unwrap().id.index, 30);
    // One that is too large is refused before anything of the append is accepted.
    let mut entries: Vec<_> = (31..=50).map(large).collect();
    entries.push(entry(1, 1, 51, &"x".repeat((16 << 20) + 1)));
    let error = storage.append(entries, IOFlushed::noop()).await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("over the limit"));
    assert_eq!(storage.get_log_state().await.unwrap().last_log_id, Some(id(1, 1, 30)));
}

#[tokio::test]
async fn a_full_queue_holds_up_no_thread_that_drives_futures() {
    let mut options = unhurried();
    options.queue_entries = 2;
    let rig = Rig::with(options);
    let mut storage = rig.storage();
    append(&mut storage, run((1, 1), 1..=1)).await;
    rig.control.shut();
    let writer = tokio::spawn(async move {
        for index in 2..=40 {
            storage.append(run((1, 1), index..=index), IOFlushed::noop()).await.unwrap();
            storage.save_committed(Some(id(1, 1, index))).await.unwrap();
        }
        append(&mut storage, run((1, 1), 41..=41)).await;
    });
    // This runtime has one thread: it would not come back from a call that blocks.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!writer.is_finished());
    rig.control.open();
    writer.await.unwrap();
    assert_eq!(rig.log().durable().unwrap().unwrap().id.index, 41);
}

#[tokio::test]
async fn entries_in_memory_are_read_without_the_engine() {
    let rig = Rig::new();
    let mut storage = rig.storage();
    append(&mut storage, run((1, 1), 1..=50)).await;
    rig.control.refuse_reads();
    assert_eq!(ids(&mut storage).await.len(), 50);
    assert_eq!(storage.limited_get_log_entries(3, 9).await.unwrap().len(), 6);
    assert!(storage.get_log_state().await.is_ok());
    // The vote comes from the engine; that it cannot be read is not the same as no vote.
    let error = storage.read_vote().await.unwrap_err().to_string();
    assert!(error.starts_with("cannot read the vote"), "{error}");
}

#[tokio::test]
async fn a_log_of_version_0_9_is_read_by_0_10() {
    use common::machine09::Config as Config9;
    use openraft_0_9 as openraft9;
    use openraft9::storage::{RaftLogStorage as _, RaftLogStorageExt as _};

    let rig = Rig::new();
    let leader = openraft9::CommittedLeaderId::new(3, 5);
    let id9 = |index| openraft9::LogId::new(leader, index);
    let mut old =
        kvlogdb_openraft::v09::LogStorage::<Config9>::new(rig.log(), &common::rig::NODE).unwrap();
    let members = vec![[1, 2, 3].into_iter().collect()];
    let entries = [
        openraft9::EntryPayload::Blank,
        openraft9::EntryPayload::Normal("set x".to_owned()),
        openraft9::EntryPayload::Membership(openraft9::Membership::new(members, None)),
    ];
    let entries = entries.into_iter().zip(1..);
    let entries = entries.map(|(payload, at)| openraft9::Entry { log_id: id9(at), payload });
    old.blocking_append(entries.collect::<Vec<_>>()).await.unwrap();
    old.purge(id9(0)).await.unwrap();
    old.save_committed(Some(id9(2))).await.unwrap();
    old.save_vote(&openraft9::Vote::new_committed(3, 5)).await.unwrap();

    let mut new = rig.storage();
    let state = new.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(id(3, 5, 0)));
    assert_eq!(state.last_log_id, Some(id(3, 5, 3)));
    assert_eq!(new.read_committed().await.unwrap(), Some(id(3, 5, 2)));
    assert_eq!(new.read_vote().await.unwrap(), Some(Vote::new_committed(3, 5)));
    let entries = new.try_get_log_entries(..).await.unwrap();
    assert!(matches!(entries[0].payload, EntryPayload::Blank));
    assert!(matches!(&entries[1].payload, EntryPayload::Normal(command) if command == "set x"));
    let EntryPayload::Membership(members) = &entries[2].payload else { panic!("{entries:?}") };
    assert_eq!(members.voter_ids().collect::<Vec<_>>(), [1, 2, 3]);
}

/// Wakes a thread that waits for a future.
struct Thread(thread::Thread, AtomicBool);

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.1.store(true, SeqCst);
        self.0.unpark();
    }
}

/// A runtime of four lines, to show that none is needed.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let thread = Arc::new(Thread(thread::current(), AtomicBool::new(true)));
    let mut future = std::pin::pin!(future);
    loop {
        if thread.1.swap(false, SeqCst) {
            let waker = Waker::from(thread.clone());
            if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return answer;
            }
        }
        thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn every_call_works_without_a_runtime() {
    let mut options = LogOptions::default();
    options.cache_bytes = 0;
    let rig = Rig::with(options);
    block_on(async {
        let mut storage: Storage = rig.storage();
        append(&mut storage, run((1, 1), 1..=9)).await;
        storage.save_vote(&Vote::new(1, 1)).await.unwrap();
        storage.truncate_after(Some(id(1, 1, 7))).await.unwrap();
        storage.purge(id(1, 1, 2)).await.unwrap();
        rig.store.sync().unwrap();
        assert_eq!(ids(&mut storage).await.len(), 5);
        assert_eq!(storage.read_vote().await.unwrap(), Some(Vote::new(1, 1)));
    });
}
