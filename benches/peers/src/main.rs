//! kvlogdb beside what one would use instead: the same workloads, in one interleaved run.

mod raft_engine;
mod raft_log;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use kvlogdb_benches::{BenchStores, Session};
use kvlogdb_compare::{Result, Settings, Store, Stores, child};

const RAFT_ENGINE: &str = "raft-engine";
const RAFT_LOG: &str = "raft-log";
#[cfg(feature = "rocksdb")]
const ROCKSDB: &str = "RocksDB";
#[cfg(feature = "sqlite")]
const SQLITE: &str = "SQLite";

/// Peers that are compiled in, with their versions.
const PEERS: &[(&str, &str)] = &[
    (RAFT_ENGINE, "0.4.2"),
    (RAFT_LOG, "0.4.6"),
    #[cfg(feature = "rocksdb")]
    (ROCKSDB, "7.8.3"),
    #[cfg(feature = "sqlite")]
    (SQLITE, "bundled with rusqlite 0.41.1"),
];

/// Everything that is measured here, by name.
struct PeerStores;

impl Stores for PeerStores {
    fn open(&self, name: &str, dir: &Path, settings: &Settings) -> Result<Arc<dyn Store>> {
        Ok(match name {
            RAFT_ENGINE => Arc::new(raft_engine::RaftEngine::open(dir)?),
            RAFT_LOG => Arc::new(raft_log::RaftLogs::open(dir)?),
            #[cfg(feature = "rocksdb")]
            ROCKSDB => Arc::new(rocksdb::RocksDb::open(dir)?),
            #[cfg(feature = "sqlite")]
            SQLITE => Arc::new(sqlite::Sqlite::open(dir)?),
            other => return BenchStores.open(other, dir, settings),
        })
    }
}

#[derive(Debug, Parser)]
#[command(version, about = "kvlogdb beside what one would use instead")]
struct Args {
    #[command(flatten)]
    session: Session,
    /// Short measurements and small logs: to see that it runs.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some(child::CELL), Some(spec)) = (arguments.next().as_deref(), arguments.next()) {
        child::serve(&PeerStores, &spec, &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvlogdb-peers: {}", error.in_full());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let peers: Vec<&str> = PEERS.iter().map(|(name, _)| *name).collect();
    let plan = rows::plan(&peers, args.quick, args.session.seed);
    let record = args.session.record("kvlogdb and its peers", plan, PEERS)?;
    args.session.report(&record, &|style| rows::overview(&record, style))
}
