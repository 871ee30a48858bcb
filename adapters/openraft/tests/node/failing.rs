//! A node whose disk fails while it runs, and is repaired without a new process.

use std::sync::Arc;

use kvlogdb::{Durability, FIRST_USER_SLOT, LogBatch, LogOptions, LogStore, ReplicaId};
use libtest_mimic::Trial;

use crate::cluster::{GROUP, Node, With, command, count, run};
use crate::common::Kind;
use crate::common::watched::{Control, Watched};
use crate::{Checked, Version, ensure, trial};

const COMMAND_BYTES: usize = 100;

pub(crate) fn trials(kind: Kind) -> Vec<Trial> {
    let of = |version| {
        [
            trial(version, kind, "a_failing_disk_stops_it_and_loses_nothing", move || {
                run(version, FailingAppend(kind))
            }),
            trial(version, kind, "a_vote_that_is_not_saved_stops_it", move || {
                run(version, FailingVote(kind))
            }),
            trial(version, kind, "a_vote_that_cannot_be_read_keeps_it_from_starting", move || {
                run(version, UnreadableVote(kind))
            }),
        ]
    };
    Version::ALL.into_iter().flat_map(of).collect()
}

/// A store of a kind with its engine under control.
struct Site {
    store: LogStore,
    control: Arc<Control>,
    _dir: tempfile::TempDir,
}

fn site(kind: Kind) -> Checked<Site> {
    let dir = tempfile::tempdir()?;
    let (place, control) = (dir.path().join("store"), Arc::<Control>::default());
    let watch = control.clone();
    let mut options = LogOptions::default();
    options.sidecar = Some(kvlogdb::sidecar_path(&place));
    options.strategy = kind.strategy.setting();
    let open = move || {
        let engine = kind.options().open_engine(&place)?;
        Ok(Arc::new(Watched::new(engine, watch.clone())) as _)
    };
    Ok(Site { store: LogStore::open(open, options)?, control, _dir: dir })
}

/// Writes commands until there are so many.
async fn write(node: &impl Node, until: u64) -> Checked {
    for number in count(node, COMMAND_BYTES)?..until {
        let answer = node.write(command(number, COMMAND_BYTES)).await?;
        ensure!(answer == number + 1, "command {number} is number {answer}");
    }
    Ok(())
}

/// Fails unless the node has stopped and says what it could not do.
async fn expect_stopped(node: &impl Node, operation: &str) -> Checked {
    let why = node.stopped().await?;
    let named = why.contains(operation) && why.contains("of replica 3/0");
    ensure!(named, "it stopped with: {why}");
    Ok(())
}

struct FailingAppend(Kind);

impl With for FailingAppend {
    async fn with<N: Node>(self) -> Checked {
        let Site { store, control, _dir } = site(self.0)?;
        let node = N::start(&store).await?;
        node.recover().await?;
        write(&node, 20).await?;
        control.fill_disk();
        // What is in flight without a write of its own may meet the failure first.
        let refused = node.write(command(20, COMMAND_BYTES)).await;
        ensure!(refused.is_err(), "a write on a failing disk is acknowledged");
        expect_stopped(&node, "cannot").await?;
        ensure!(node.write(String::new()).await.is_err(), "a node that has stopped writes");
        node.stop().await?;
        for _ in 0..2 {
            store.reopen()?;
            let node = N::start(&store).await?;
            node.recover().await?;
            let found = count(&node, COMMAND_BYTES)?;
            ensure!(found >= 20, "{found} of 20 are left");
            write(&node, found + 5).await?;
            node.stop().await?;
        }
        Ok(store.close()?)
    }
}

struct FailingVote(Kind);

impl With for FailingVote {
    async fn with<N: Node>(self) -> Checked {
        let Site { store, control, _dir } = site(self.0)?;
        let node = N::start(&store).await?;
        node.recover().await?;
        write(&node, 5).await?;
        node.stop().await?;
        N::depose(&store).await?;
        let node = N::start(&store).await?;
        control.fill_disk();
        expect_stopped(&node, "cannot save the vote").await?;
        node.stop().await?;
        store.reopen()?;
        let node = N::start(&store).await?;
        node.recover().await?;
        ensure!(count(&node, COMMAND_BYTES)? == 5, "another count than before");
        write(&node, 6).await?;
        node.stop().await
    }
}

struct UnreadableVote(Kind);

impl With for UnreadableVote {
    async fn with<N: Node>(self) -> Checked {
        let Site { store, _dir, .. } = site(self.0)?;
        let node = N::start(&store).await?;
        node.recover().await?;
        write(&node, 3).await?;
        node.stop().await?;
        let mut batch = LogBatch::new();
        batch.put_slot(ReplicaId::from(GROUP), FIRST_USER_SLOT, "no vote")?;
        store.write(&batch, Durability::Synced)?;
        let Err(error) = N::start(&store).await else { return Err("the node starts".into()) };
        let said = error.to_string();
        ensure!(said.contains("cannot read the vote of replica 3/0"), "it says: {said}");
        Ok(())
    }
}
