//! Snapshots: a leader that purges behind its own, and a follower that gets one installed.
//!
//! ```text
//! cargo run -p kvlogdb --example install_snapshot
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use kvlogdb::{
    Durability, Entry, Error, HardState, LogBatch, LogId, LogStore, Options, PurgeGuard, ReplicaId,
    Result, Snapshot,
};

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // With the guard, no entry goes that no recorded snapshot covers.
    let options = Options::new().purge_guard(PurgeGuard::Snapshot);
    let leader = options.clone().open(dir.path().join("leader"))?;
    let follower = options.open(dir.path().join("follower"))?;
    let replica = ReplicaId::from(1);

    append(&leader, replica, 1..=100)?;
    append(&follower, replica, 1..=10)?;

    // The leader's state machine has written a snapshot and synced it. Only then may the log know.
    let covered = LogId::new(1, 80);
    let early = leader.log(replica).purge_through(covered, Durability::Synced);
    assert!(matches!(early, Err(Error::AboveSnapshot { .. })));
    let mut batch = LogBatch::new();
    batch
        .set_snapshot(replica, Snapshot { id: covered, data: "snapshot-80.bin".into() })
        .purge_through(replica, covered);
    leader.write(&batch, Durability::Synced)?;

    // The follower asks from index 11 on, and that is gone: it needs the snapshot. Its own ten
    // entries are dropped, and its log goes on behind the snapshot.
    let missing = leader.log(replica).entry(11);
    println!("the leader answers: {}", missing.expect_err("index 11 is purged"));
    let mut batch = LogBatch::new();
    batch
        .install(replica, covered)
        .set_snapshot(replica, Snapshot { id: covered, data: "snapshot-80.bin".into() });
    follower.write(&batch, Durability::Synced)?;
    let tail = leader.log(replica).entries(81.., u64::MAX)?;
    follower.log(replica).append(tail, Durability::Synced)?;

    let log = follower.log(replica);
    println!("the follower has {:?} to {:?}", log.first_index()?, log.last_index()?);
    assert_eq!((log.first_index()?, log.last_index()?), (Some(81), Some(100)));
    assert_eq!(log.term(80)?, 1); // the boundary's term answers the leader's next question
    assert_eq!(log.hard_state()?.and_then(|state| state.commit), Some(80));
    Ok(())
}

fn append(store: &LogStore, replica: ReplicaId, indexes: impl Iterator<Item = u64>) -> Result<()> {
    let entries: Vec<_> = indexes.map(|index| Entry::new(1, index, "command")).collect();
    let mut batch = LogBatch::new();
    batch
        .append(replica, entries)
        .set_hard_state(replica, HardState { term: 1, vote: None, commit: None });
    store.write(&batch, Durability::Synced)
}
