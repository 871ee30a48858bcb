//! How a store lies in a fjall database, and the settings it is made with.

use std::io;
use std::path::Path;
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kvlogdb_engine_api::{Error, Result};

use crate::journal::{self, Cut};
use crate::options::{FjallOptions, TornTail};
use crate::{error, manifest};

/// The version of this layout: two keyspaces, canonical keys, values in pieces of [`PIECE_BYTES`].
pub(crate) const LAYOUT: u32 = 1;

/// The largest piece of a value. With its key and the journal's own 21 bytes a piece stays below
/// 4 KiB, so a page of the journal that a power cut leaves unwritten always holds the beginning
/// of an item: fjall then sees that the batch breaks off and drops it. A larger value could hide
/// the missing page within itself, and fjall would refuse to open.
pub(crate) const PIECE_BYTES: usize = 4000;

const LOG: &str = "log";
const META: &str = "meta";
/// What [`create`] leaves and no open database lacks, besides a journal.
const FILES: [&str; 5] =
    ["version", "lock", "keyspaces/0/current", "keyspaces/1/current", "keyspaces/2/current"];
const BLOCK_BYTES: u32 = 4 << 10;
/// The least that fjall accepts. A larger bound would keep more journals on the disk, and every
/// open reads them.
const JOURNALS_BYTES: u64 = 64 << 20;
const LOG_TABLE_BYTES: u64 = 16 << 20;
const META_MEMTABLE_BYTES: u64 = 4 << 20;
/// One that flushes while another compacts.
const WORKER_THREADS: usize = 2;

/// The open database. The fields drop in this order: keyspaces hold on to the database's lock.
pub(crate) struct Keyspaces {
    pub(crate) log: Keyspace,
    pub(crate) meta: Keyspace,
    pub(crate) db: Database,
}

/// Makes the database in the empty directory `dir` and closes it.
pub(crate) fn create(dir: &Path, options: &FjallOptions) -> Result<()> {
    let made = open_database(dir, options).and_then(|db| {
        let log = db.keyspace(LOG, || log_options(options))?;
        let meta = db.keyspace(META, meta_options)?;
        db.persist(PersistMode::SyncAll)?;
        Ok(Keyspaces { log, meta, db })
    });
    let made = made.map_err(|error| error::from_fjall("create the database", error))?;
    drop(made);
    Ok(())
}

/// Opens the database in `dir`, which [`create`] made.
pub(crate) fn open(dir: &Path, options: &FjallOptions) -> Result<Keyspaces> {
    refuse_missing_files(dir)?;
    manifest::check(dir)?;
    let db = match open_database(dir, options) {
        Err(torn) if error::is_torn_tail(&torn) && options.torn_tail == TornTail::Repair => {
            open_without_tail(dir, options, torn)?
        }
        other => other.map_err(|error| error::from_open(dir, error))?,
    };
    let keyspace = |name: &str| {
        if !db.list_keyspace_names().iter().any(|found| &**found == name) {
            return Err(Error::corrupt(format!("the keyspace {name} is missing")));
        }
        db.keyspace(name, KeyspaceCreateOptions::default)
            .map_err(|error| error::from_open(dir, error))
    };
    let (log, meta) = (keyspace(LOG)?, keyspace(META)?);
    Ok(Keyspaces { log, meta, db })
}

fn open_without_tail(dir: &Path, options: &FjallOptions, torn: fjall::Error) -> Result<Database> {
    let failed = |error| Error::io("repair the journal", error);
    let damaged = |error| error::corrupt("the journal, and not only its end", error);
    let Some(mut cut) = Cut::newest(dir).map_err(failed)? else {
        return Err(damaged(torn));
    };
    let error = loop {
        match open_database(dir, options) {
            Ok(db) => return Ok(db),
            Err(error) if error::is_torn_tail(&error) && cut.go_back().map_err(failed)? => {}
            Err(error) => break error,
        }
    };
    cut.undo().map_err(failed)?;
    if error::is_torn_tail(&error) {
        return Err(damaged(error));
    }
    Err(error::from_open(dir, error))
}

fn open_database(dir: &Path, options: &FjallOptions) -> fjall::Result<Database> {
    Database::builder(dir)
        .cache_size(options.cache_bytes)
        .worker_threads(WORKER_THREADS)
        .max_journaling_size(JOURNALS_BYTES)
        // Not left to the default: another crate of the same build may turn fjall's lz4 on, and a
        // later build without it would drop the journal from the first compressed value on.
        .journal_compression(CompressionType::None)
        .open()
}

fn log_options(options: &FjallOptions) -> KeyspaceCreateOptions {
    let leveled = Leveled::default().with_table_target_size(LOG_TABLE_BYTES);
    plain_options()
        .max_memtable_size(options.log_memtable_bytes)
        .compaction_strategy(Arc::new(leveled))
        // An entry that is asked for is there: a filter would only cost memory.
        .filter_policy(FilterPolicy::disabled())
}

fn meta_options() -> KeyspaceCreateOptions {
    plain_options().max_memtable_size(META_MEMTABLE_BYTES)
}

fn plain_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .data_block_compression_policy(CompressionPolicy::disabled())
        .index_block_compression_policy(CompressionPolicy::disabled())
}

/// Refuses a directory in which fjall would start anew where something is lost: it makes a
/// database where the version file is missing, takes a missing journal for an empty one, and
/// removes keyspaces that are not whole or that its own keyspace 0 does not name.
fn refuse_missing_files(dir: &Path) -> Result<()> {
    match find_missing_file(dir) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(Error::corrupt(format!("the engine's {what} is missing"))),
        Err(error) => Err(Error::io("look at the engine's files", error)),
    }
}

fn find_missing_file(dir: &Path) -> io::Result<Option<&'static str>> {
    for name in FILES {
        if !dir.join(name).try_exists()? {
            return Ok(Some(name));
        }
    }
    let exists = journal::exists(dir)?;
    Ok(Some("journal").filter(|_| !exists))
}
