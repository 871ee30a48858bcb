//! The engines without a log.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use fjall::{KeyspaceCreateOptions, PersistMode};
use kvlogdb::EngineKind;
use redb::{ReadableDatabase, TableDefinition};

/// Whatever an engine says went wrong.
pub type Failure = Box<dyn Error>;

/// An engine that appends and reads, and no more.
pub trait Bare {
    /// Puts `count` values behind one another from `first` on and one metadata value, in one
    /// synced commit.
    fn append(&self, first: u64, count: u64, value: &[u8]) -> Result<(), Failure>;

    /// Copies the values of `count` keys from `first` on; answers how many there were.
    fn read(&self, first: u64, count: u64) -> Result<usize, Failure>;
}

/// Opens a bare engine in an empty directory.
pub fn open(engine: EngineKind, dir: &Path) -> Result<Box<dyn Bare>, Failure> {
    Ok(match engine {
        EngineKind::Redb => Box::new(BareRedb::open(dir)?),
        EngineKind::Fjall => Box::new(BareFjall::open(dir)?),
        EngineKind::Sled => Box::new(BareSled::open(dir)?),
        other => return Err(format!("no bare {other}").into()),
    })
}

/// The key of an entry: as long as the engine's crate makes it.
fn key<const LEN: usize>(index: u64) -> [u8; LEN] {
    let mut key = [0; LEN];
    if let Some(end) = key.last_chunk_mut::<8>() {
        *end = index.to_be_bytes();
    }
    key
}

const META_KEY: [u8; 19] = [1; 19];

/// redb with a table for the log and one for metadata.
#[derive(Debug)]
pub struct BareRedb(redb::Database);

const LOG: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");

impl BareRedb {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let file = dir.join("bare.redb");
        Ok(Self(redb::Builder::new().set_cache_size(32 << 20).create(file)?))
    }
}

impl Bare for BareRedb {
    fn append(&self, first: u64, count: u64, value: &[u8]) -> Result<(), Failure> {
        let transaction = self.0.begin_write()?;
        {
            let mut log = transaction.open_table(LOG)?;
            for index in first..first + count {
                log.insert(&key::<12>(index)[..], value)?;
            }
            transaction.open_table(META)?.insert(&META_KEY[..], &first.to_be_bytes()[..])?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&self, first: u64, count: u64) -> Result<usize, Failure> {
        let log = self.0.begin_read()?.open_table(LOG)?;
        let range = key::<12>(first)..key::<12>(first + count);
        let mut values = Vec::new();
        for found in log.range::<&[u8]>(&range.start[..]..&range.end[..])? {
            values.push(found?.1.value().to_vec());
        }
        Ok(values.len())
    }
}

/// fjall with a keyspace for the log and one for metadata.
pub struct BareFjall {
    database: fjall::Database,
    log: fjall::Keyspace,
    meta: fjall::Keyspace,
}

impl BareFjall {
    /// Opens it twice: fjall gives a new journal its full length at once and one that it finds
    /// only what was written, and growing a file makes every sync dearer. A store in use is one
    /// that was found.
    fn open(dir: &Path) -> Result<Self, Failure> {
        drop(Self::open_once(dir)?);
        Self::open_once(dir)
    }

    fn open_once(dir: &Path) -> Result<Self, Failure> {
        let database = fjall::Database::builder(dir.join("bare"))
            .cache_size(32 << 20)
            .worker_threads(2)
            .max_journaling_size(64 << 20)
            .journal_compression(fjall::CompressionType::None)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(16 << 20);
        let log = database.keyspace("log", options)?;
        let meta = database.keyspace("meta", options)?;
        Ok(Self { database, log, meta })
    }
}

impl Bare for BareFjall {
    fn append(&self, first: u64, count: u64, value: &[u8]) -> Result<(), Failure> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for index in first..first + count {
            batch.insert(&self.log, key::<29>(index), value);
        }
        batch.insert(&self.meta, META_KEY, first.to_be_bytes());
        batch.commit()?;
        Ok(())
    }

    fn read(&self, first: u64, count: u64) -> Result<usize, Failure> {
        let mut values = Vec::new();
        for found in self.log.range(key::<29>(first)..key::<29>(first + count)) {
            values.push(found.value()?.to_vec());
        }
        Ok(values.len())
    }
}

/// sled with one tree, and the sync of its file that sled leaves out.
#[derive(Debug)]
pub struct BareSled {
    database: sled::Db,
    file: File,
}

impl BareSled {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let database = sled::Config::new()
            .path(dir)
            .segment_size(8 << 20)
            .cache_capacity(64 << 20)
            .flush_every_ms(None)
            .open()?;
        Ok(Self { database, file: File::open(dir.join("db"))? })
    }
}

impl Bare for BareSled {
    fn append(&self, first: u64, count: u64, value: &[u8]) -> Result<(), Failure> {
        let mut batch = sled::Batch::default();
        for index in first..first + count {
            batch.insert(&key::<29>(index), value);
        }
        batch.insert(&META_KEY, &first.to_be_bytes());
        self.database.apply_batch(batch)?;
        self.database.flush()?;
        self.file.sync_data()?;
        Ok(())
    }

    fn read(&self, first: u64, count: u64) -> Result<usize, Failure> {
        let mut values = Vec::new();
        for found in self.database.range(key::<29>(first)..key::<29>(first + count)) {
            values.push(found?.1.to_vec());
        }
        Ok(values.len())
    }
}
