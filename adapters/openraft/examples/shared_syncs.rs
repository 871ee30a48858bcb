//! How many syncs a write costs where clients write at the same time: one node of openraft 0.10,
//! one store, one Raft group or many.
//!
//! ```sh
//! cargo run --release -p kvlogdb-openraft --example shared_syncs -- 2000
//! ```
//!
//! The number is how many milliseconds each row takes; 500 unless given. A client writes 100 bytes,
//! waits until they are committed and applied, and writes again. A sync is a commit that asks the
//! engine for one, counted between log and engine. In the end every log is read, and has to hold
//! what was acknowledged.
#![expect(clippy::print_stdout, reason = "a program for the command line")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvlogdb::{EngineKind, EntryKind, LogOptions, LogStore, Options, ReplicaId};
use kvlogdb_engine_api::{KvLogDb, MemoryDisk};
use kvlogdb_openraft::v010::LogStorage;
use openraft_0_10 as openraft;

use openraft::{BasicNode, Raft, SnapshotPolicy};

use common::machine10::{Config, Machine};
use common::nowhere10::Nowhere;
use common::watched::{Control, Watched};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
type Node = Raft<Config, Machine>;

const CLIENTS: [u64; 3] = [1, 16, 256];
const GROUPS: [u64; 2] = [1, 16];
const COMMAND_BYTES: usize = 100;
const NODE: u64 = 1;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result {
    let milliseconds = std::env::args().nth(1).map_or(Ok(500), |text| text.parse())?;
    let time = Duration::from_millis(milliseconds);
    println!("| engine | groups | clients | writes/s | syncs/s | syncs per write |");
    println!("|---|---:|---:|---:|---:|---:|");
    let engines = EngineKind::ALL.into_iter().map(Some);
    for engine in [None].into_iter().chain(engines) {
        for (groups, clients) in GROUPS.into_iter().flat_map(|n| CLIENTS.map(|m| (n, m))) {
            let row = measure(engine, groups, clients, time).await?;
            let name = engine.map_or("memory", EngineKind::name);
            println!("| {name} | {groups} | {clients} | {row} |");
        }
    }
    Ok(())
}

/// A store whose engine counts its syncs; without an engine's name, in memory.
fn open(engine: Option<EngineKind>, dir: &Path, control: &Arc<Control>) -> Result<LogStore> {
    let (place, control, disk) = (dir.join("store"), control.clone(), MemoryDisk::default());
    let mut options = LogOptions::default();
    options.sidecar = engine.map(|_| kvlogdb::sidecar_path(&place));
    let open = move || {
        let inner: Arc<dyn KvLogDb> = match engine {
            Some(engine) => Options::new().engine(engine).open_engine(&place)?,
            None => Arc::new(disk.open()?),
        };
        Ok(Arc::new(Watched::new(inner, control.clone())) as _)
    };
    Ok(LogStore::open(open, options)?)
}

async fn start(store: &LogStore, group: u64) -> Result<Node> {
    let storage = LogStorage::new(store.log(ReplicaId::from(group)), &NODE)?;
    let config =
        openraft::Config { snapshot_policy: SnapshotPolicy::Never, ..openraft::Config::default() };
    let config = Arc::new(config.validate()?);
    let node = Raft::new(NODE, config, Nowhere, storage, Machine::default()).await?;
    node.initialize(BTreeMap::from([(NODE, BasicNode::default())])).await?;
    node.wait(Some(PATIENCE)).current_leader(NODE, "a leader").await?;
    Ok(node)
}

/// One row: what clients do in a while, each on one group.
async fn measure(
    engine: Option<EngineKind>,
    groups: u64,
    clients: u64,
    time: Duration,
) -> Result<String> {
    let (dir, control) = (tempfile::tempdir()?, Arc::<Control>::default());
    let store = open(engine, dir.path(), &control)?;
    let mut nodes = Vec::new();
    for group in 0..groups {
        nodes.push(start(&store, group).await?);
    }
    control.take_syncs();
    let began = Instant::now();
    let tasks: Vec<_> = (nodes.iter().cycle().cloned().zip(0..clients))
        .map(|(node, _)| tokio::spawn(write_until(node, began + time)))
        .collect();
    let mut writes = 0;
    for task in tasks {
        writes += task.await??;
    }
    let (took, syncs) = (began.elapsed().as_secs_f64(), control.take_syncs());
    for node in nodes {
        node.shutdown().await?;
    }
    check(&store, groups, writes)?;
    store.close()?;
    let (writes, syncs) = (as_f64(writes), as_f64(syncs));
    Ok(format!("{:.0} | {:.0} | {:.3}", writes / took, syncs / took, syncs / writes))
}

async fn write_until(node: Node, end: Instant) -> Result<u64> {
    let mut writes = 0;
    while Instant::now() < end {
        node.client_write("x".repeat(COMMAND_BYTES)).await?;
        writes += 1;
    }
    Ok(writes)
}

/// Fails unless the logs hold as many commands as were acknowledged.
fn check(store: &LogStore, groups: u64, writes: u64) -> Result {
    let mut found = 0;
    for group in 0..groups {
        for entry in store.log(ReplicaId::from(group)).scan(..) {
            let entry = entry?;
            let is_command = entry.kind == EntryKind::NORMAL && entry.payload.len() > COMMAND_BYTES;
            found += u64::from(is_command);
        }
    }
    if found != writes {
        return Err(format!("{writes} writes were acknowledged, and {found} are there").into());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
