//! A node's log: append, vote, replace a tail, restart.
//!
//! ```text
//! cargo run -p kvlogdb --example first_steps [DIR]
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use kvlogdb::{Durability, Entry, HardState, LogBatch, LogId, ReplicaId, Result};

fn main() -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = std::env::args_os().nth(1).unwrap_or_else(|| temporary.path().join("log").into());
    let replica = ReplicaId::from(1);

    // A follower in term 1 takes three entries from its leader. What is accepted and what is
    // promised go to disk together, and the call returns when both are there.
    let store = kvlogdb::open(&dir)?;
    let mut batch = LogBatch::new();
    batch
        .append(replica, (1..=3).map(|index| Entry::new(1, index, "first")).collect::<Vec<_>>())
        .set_hard_state(replica, HardState { term: 1, vote: Some(7), commit: Some(1) });
    store.write(&batch, Durability::Synced)?;

    // A new leader has other entries from index 2 on. The old tail goes in the same step in which
    // the new one comes: a crash leaves one or the other.
    let log = store.log(replica);
    let conflict = log.find_conflict(&[LogId::new(1, 1), LogId::new(2, 2)])?;
    assert_eq!(conflict, Some(LogId::new(2, 2)));
    let mut batch = LogBatch::new();
    batch
        .replace_from(replica, vec![Entry::new(2, 2, "second")])
        .set_hard_state(replica, HardState { term: 2, vote: None, commit: Some(1) });
    store.write(&batch, Durability::Synced)?;

    // What the log refuses, it refuses before anything is written.
    let gap = log.append(vec![Entry::new(2, 9, "too far")], Durability::Synced);
    println!("refused: {}", gap.expect_err("a gap is refused"));
    store.close()?;

    // After a restart everything is there, and the replaced tail is not.
    let log = kvlogdb::open(&dir)?.log(replica);
    for entry in log.entries(.., u64::MAX)? {
        println!("{}: {:?}", entry.id, entry.payload);
    }
    println!("{:?}", log.hard_state()?);
    assert_eq!(log.last_index()?, Some(2));
    Ok(())
}
