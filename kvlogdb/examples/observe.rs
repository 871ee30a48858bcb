//! What a store tells whoever runs it: how many writers shared a sync, how long syncs took, what
//! was purged and deleted.
//!
//! ```text
//! cargo run --release -p kvlogdb --example observe
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use kvlogdb::{Durability, Entry, Event, LogId, Observer, Options, ReplicaId, Result};

const WRITERS: u64 = 8;
const ENTRIES: u64 = 50;

/// Counts what is of interest, and prints what an operator should see at once.
#[derive(Default)]
struct Operator {
    syncs: AtomicUsize,
    batches: AtomicUsize,
    sync_micros: AtomicU64,
    deleted: AtomicU64,
}

impl Observer for Operator {
    // It is called by writers and by the store's own thread, with no lock held; it must not block.
    fn event(&self, event: &Event) {
        match event {
            Event::Committed { batches, durability: Durability::Synced, took, .. } => {
                self.syncs.fetch_add(1, Relaxed);
                self.batches.fetch_add(*batches, Relaxed);
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.sync_micros.fetch_add(micros, Relaxed);
            }
            Event::Deleted { entries, .. } => {
                self.deleted.fetch_add(*entries, Relaxed);
            }
            Event::Opened { replicas, took, .. } => {
                println!("opened {replicas} replicas in {took:?}");
            }
            Event::Purged { replica, through, entries, .. } => {
                println!("purged {entries} entries of group {} through {through}", replica.group);
            }
            Event::Poisoned { cause, .. } => println!("the store has failed: {cause}"),
            Event::MarkFailed { what, .. } => println!("the sidecar could not be written: {what}"),
            _ => {}
        }
    }
}

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let operator = Arc::new(Operator::default());
    // With the features of these names, `MetricsObserver` and `TracingObserver` go here as well.
    let store = Options::new().observer(operator.clone()).open(dir.path())?;

    thread::scope(|scope| {
        let write = |group: u64| {
            let log = store.log(ReplicaId::from(group));
            scope.spawn(move || -> Result<()> {
                for index in 1..=ENTRIES {
                    let entry = Entry::new(1, index, format!("entry {index} of group {group}"));
                    log.append(vec![entry], Durability::Synced)?;
                }
                Ok(())
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("no panic"))
    })?;
    store.log(ReplicaId::from(1)).purge_through(LogId::new(1, 40), Durability::Synced)?;
    store.settle()?; // deletes at once what would go in the background
    store.close()?;

    let (syncs, batches) = (operator.syncs.load(Relaxed), operator.batches.load(Relaxed));
    let mean = operator.sync_micros.load(Relaxed) / syncs.max(1) as u64;
    println!("{batches} batches shared {syncs} syncs of {mean} µs each, on average");
    assert!(batches as u64 >= WRITERS * ENTRIES && syncs <= batches);
    assert_eq!(operator.deleted.load(Relaxed), 40);
    Ok(())
}
