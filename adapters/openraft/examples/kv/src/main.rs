//! One node of a replicated key-value service.
//!
//! A node is one process with one store, whatever the number of Raft groups: each key belongs to
//! one group, every group has its log in the store, and all of them share its syncs. The state
//! machines are in memory; they are rebuilt from snapshot files and from the log.

mod http;
mod machine;
mod network;
mod node;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use kvlogdb::EngineKind;
use tokio::net::TcpListener;

use machine::Peer;
use node::{Node, Settings};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// One node of a replicated key-value service.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which of the peers this node is.
    #[arg(long)]
    id: u64,
    /// A node of the cluster: its id, where it talks to the others, and where it serves HTTP. Once
    /// for each, this one among them; the same on all of them.
    #[arg(long = "peer", required = true, value_name = "ID=RAFT,HTTP", value_parser = parse_peer)]
    peers: Vec<(u64, Peer)>,
    /// Where everything is kept.
    #[arg(long)]
    dir: PathBuf,
    /// The engine of a new store: redb, fjall or sled.
    #[arg(long, default_value = "redb")]
    engine: EngineKind,
    /// How many Raft groups share the keys; never changes.
    #[arg(long, default_value_t = 4)]
    groups: u64,
    /// After how many entries a group makes a snapshot.
    #[arg(long, default_value_t = 1000)]
    snapshot_every: u64,
}

fn parse_peer(text: &str) -> Result<(u64, Peer)> {
    let (id, addresses) = text.split_once('=').ok_or("a peer is ID=RAFT,HTTP")?;
    let (raft, http) = addresses.split_once(',').ok_or("a peer is ID=RAFT,HTTP")?;
    Ok((id.parse()?, Peer { raft: raft.to_owned(), http: http.to_owned() }))
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let peers: BTreeMap<u64, Peer> = arguments.peers.into_iter().collect();
    let own = peers.get(&arguments.id).ok_or("the node is none of the peers")?.clone();
    let settings = Settings {
        id: arguments.id,
        peers,
        dir: arguments.dir,
        engine: arguments.engine,
        groups: arguments.groups,
        snapshot_every: arguments.snapshot_every,
    };
    let node = Arc::new(Node::start(settings).await?);
    let raft = TcpListener::bind(&own.raft).await?;
    let http = TcpListener::bind(&own.http).await?;
    tokio::spawn(network::serve(raft, node.clone()));
    let serve = axum::serve(http, http::router(node.clone()));
    let ended = tokio::select! {
        served = serve => served.map_err(Into::into),
        error = node.failed() => Err(error),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    node.stop().await?;
    ended
}
