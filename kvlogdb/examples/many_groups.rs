//! A thousand Raft groups in one store: one sync carries the entries of them all.
//!
//! ```text
//! cargo run --release -p kvlogdb --example many_groups
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use kvlogdb::{Durability, Entry, LogBatch, LogId, ReplicaId, Result};

const GROUPS: u64 = 1000;

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = kvlogdb::open(dir.path())?;

    // One round of every group's appends is one batch: one atomic write and one sync.
    for index in 1..=10 {
        let mut round = LogBatch::new();
        for group in 0..GROUPS {
            let payload = format!("entry {index} of group {group}");
            round.append(ReplicaId::from(group), vec![Entry::new(1, index, payload)]);
        }
        store.write(&round, Durability::Synced)?;
    }

    // Groups come and go on their own; their neighbours never notice.
    let mut batch = LogBatch::new();
    batch
        .purge_through(ReplicaId::from(1), LogId::new(1, 9))
        .truncate_from(ReplicaId::from(2), 4)
        .remove_replica(ReplicaId::from(3));
    store.write(&batch, Durability::Synced)?;
    store.close()?;

    let began = Instant::now();
    let store = kvlogdb::open(dir.path())?;
    println!("opened {} groups in {:?}", store.replicas()?.len(), began.elapsed());
    for group in [0, 1, 2, 3] {
        let log = store.log(ReplicaId::from(group));
        println!("group {group}: {:?} to {:?}", log.first_index()?, log.last_index()?);
    }
    assert_eq!(store.replicas()?.len() as u64, GROUPS - 1);
    assert!(store.check()?.is_clean());
    Ok(())
}
