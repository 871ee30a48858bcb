//! The same log on another engine: only the option changes, and a log can be carried over.
//!
//! ```text
//! cargo run -p kvlogdb --example switch_engine --features fjall
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use kvlogdb::{Durability, EngineKind, LogBatch, LogStore, Options, ReplicaId, Result};

/// How many entries one batch carries over.
const PAGE: usize = 256;

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let replica = ReplicaId::from(1);

    let old = Options::new().engine(EngineKind::Redb).open(dir.path().join("redb"))?;
    fill(&old, replica)?;

    let new = Options::new().engine(EngineKind::Fjall).open(dir.path().join("fjall"))?;
    carry_over(&old, &new, replica)?;
    assert!(old.log(replica).scan(..).flatten().eq(new.log(replica).scan(..).flatten()));
    println!("{:?}\n{:?}", old.info(), new.info());

    // A store remembers its engine: opening it as another is refused before anything is touched.
    let refused = Options::new().engine(EngineKind::Redb).open(dir.path().join("fjall"));
    println!("refused: {}", refused.expect_err("another engine's store is refused"));
    Ok(())
}

fn fill(store: &LogStore, replica: ReplicaId) -> Result<()> {
    use kvlogdb::{Entry, HardState, LogId};

    let mut batch = LogBatch::new();
    let entries = (1..=1000).map(|index| Entry::new(1, index, format!("entry {index}")));
    batch
        .append(replica, entries.collect::<Vec<_>>())
        .set_hard_state(replica, HardState { term: 1, vote: Some(1), commit: Some(900) })
        .purge_through(replica, LogId::new(1, 500));
    store.write(&batch, Durability::Synced)
}

/// Copies one replica's log: boundary, entries, hard state.
fn carry_over(from: &LogStore, to: &LogStore, replica: ReplicaId) -> Result<()> {
    let log = from.log(replica);
    let mut batch = LogBatch::new();
    if let Some(purged) = log.purged()? {
        batch.purge_through(replica, purged);
    }
    let mut page = Vec::with_capacity(PAGE);
    for entry in log.scan(..) {
        page.push(entry?);
        if page.len() == PAGE {
            batch.append(replica, std::mem::take(&mut page));
            to.write(&batch, Durability::Buffered)?;
            batch = LogBatch::new();
        }
    }
    batch.append(replica, page);
    if let Some(state) = log.hard_state()? {
        batch.set_hard_state(replica, state);
    }
    to.write(&batch, Durability::Synced)
}
