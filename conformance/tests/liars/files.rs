//! The plainest engine with files, and lies told over it.

use std::fs;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use kvlogdb_conformance::Subject;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MemoryEngine, MetaKey, MetaVisitor, Order, Result, StoreDir, StoreOptions, WriteBatch,
    fs as durable,
};

const DATA: &str = "data";

/// What an engine with files does wrong; `None` keeps the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileLie {
    None,
    SyncedStaysInMemory,
    SyncDoesNothing,
    SyncedNothingIsSkipped,
    BufferedLosesEarlierWrites,
    MakesMissingFilesAnew,
    HasNoManifest,
    HasNoLock,
    RefusesExistingDirectories,
    RefusesMissingParents,
    RefusesLeftovers,
    TakesNoSpace,
}

/// Two maps in memory, and the whole of them in one file after every sync.
#[derive(Debug)]
pub(crate) struct FileEngine {
    lie: FileLie,
    root: PathBuf,
    memory: MemoryEngine,
    /// `None` once closed. Held while a write and its file change.
    open: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    files: PathBuf,
    /// `None` where a lie does without.
    _dir: Option<StoreDir>,
}

pub(crate) fn subject(lie: FileLie) -> Subject {
    Subject::new(&format!("{lie:?}"), move |dir: &Path| FileEngine::open(dir, lie))
}

impl FileEngine {
    fn open(root: &Path, lie: FileLie) -> Result<Self> {
        let refuse = |reason: &str| {
            let (dir, reason) = (root.to_owned(), reason.to_owned());
            Err(Error::NotAStore { dir, reason })
        };
        let is_store = root.join("MANIFEST").exists();
        match lie {
            FileLie::RefusesExistingDirectories if root.exists() && !is_store => {
                return refuse("it is there");
            }
            FileLie::RefusesMissingParents if !root.parent().is_some_and(Path::exists) => {
                return refuse("it has no parent");
            }
            FileLie::RefusesLeftovers if root.join("engine").exists() && !is_store => {
                return refuse("it has leftovers");
            }
            _ => {}
        }
        let memory = MemoryEngine::new();
        let dir = open_dir(root, lie, &memory.info())?;
        let files = root.join("engine");
        load(&memory, &files.join(DATA), lie)?;
        let dir = dir.filter(|_| lie != FileLie::HasNoLock);
        Ok(Self {
            lie,
            root: root.to_owned(),
            memory,
            open: Mutex::new(Some(Held { files, _dir: dir })),
        })
    }

    fn store(&self, held: &Held, spare: Option<LogKey>) -> Result<()> {
        save(&self.memory, &held.files, spare)
    }
}

fn open_dir(root: &Path, lie: FileLie, info: &EngineInfo) -> Result<Option<StoreDir>> {
    let create = |dir: &Path| save(&MemoryEngine::new(), dir, None);
    if lie == FileLie::HasNoManifest {
        let files = root.join("engine");
        fs::create_dir_all(&files).map_err(|error| Error::io("create", error))?;
        if !files.join(DATA).exists() {
            create(&files)?;
        }
        return Ok(None);
    }
    StoreDir::open(root, info.name, info.layout, &StoreOptions::default(), create).map(Some)
}

/// Writes everything but one entry to the file: `[u8 key length] [key] [le32 length] [value]`.
fn save(memory: &MemoryEngine, files: &Path, spare: Option<LogKey>) -> Result<()> {
    let mut bytes = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| {
        bytes.push(u8::try_from(key.len()).unwrap());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(value);
        ControlFlow::Continue(())
    };
    let mut logs = Vec::new();
    memory.scan_meta(&mut |key, value| add(&key.encode(), &value))?;
    memory.logs(&mut |log| {
        logs.push(log);
        ControlFlow::Continue(())
    })?;
    for log in logs {
        let all = 0..=u64::MAX;
        memory.scan(log, all, Order::Ascending, usize::MAX, &mut |index, value| {
            let key = log.at(index);
            if spare == Some(key) { ControlFlow::Continue(()) } else { add(&key.encode(), &value) }
        })?;
    }
    durable::write_atomically(&files.join(DATA), &bytes).map_err(|error| Error::io("save", error))
}

fn load(memory: &MemoryEngine, path: &Path, lie: FileLie) -> Result<()> {
    let bytes = match fs::read(path) {
        Err(_) if lie == FileLie::MakesMissingFilesAnew => {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            Vec::new()
        }
        read => read.map_err(|error| Error::io("load", error))?,
    };
    let mut rest = &bytes[..];
    let mut take = |len: usize| {
        let (head, tail) = rest.split_at_checked(len)?;
        rest = tail;
        Some(head)
    };
    while let Some(&[key_len]) = take(1) {
        let torn = || Error::corrupt("the data file ends early");
        let key = take(key_len.into()).ok_or_else(torn)?;
        let len: [u8; 4] = take(4).ok_or_else(torn)?.try_into().unwrap();
        let value = take(u32::from_le_bytes(len) as usize).ok_or_else(torn)?;
        let mut batch = WriteBatch::new();
        match (MetaKey::decode(key), LogKey::decode(key)) {
            (Some((key, _)), _) => batch.put_meta(key, &[value])?,
            (_, Some((key, _))) => batch.put_entry(key, &[value])?,
            _ => return Err(Error::corrupt("a key of the data file")),
        }
        memory.write(&[&batch], Durability::Synced)?;
    }
    Ok(())
}

impl KvLogDb for FileEngine {
    fn info(&self) -> EngineInfo {
        self.memory.info()
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.memory.entry(key)
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.memory.scan(log, range, order, budget_bytes, visitor)
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.memory.meta(key)
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.memory.scan_meta(visitor)
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.memory.logs(visitor)
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        let held = self.open.lock().unwrap();
        let held = held.as_ref().ok_or(Error::Closed)?;
        self.memory.write(batches, durability)?;
        let changes_nothing = batches.iter().all(|batch| batch.is_empty());
        match (self.lie, durability) {
            (FileLie::BufferedLosesEarlierWrites, Durability::Buffered) => {
                let mut first = None;
                self.memory.logs(&mut |log| {
                    first = Some(log.at(1));
                    ControlFlow::Break(())
                })?;
                self.store(held, first)
            }
            (FileLie::SyncedNothingIsSkipped, _) if changes_nothing => Ok(()),
            (FileLie::SyncedStaysInMemory, _) | (_, Durability::Buffered) => Ok(()),
            (_, Durability::Synced) => self.store(held, None),
        }
    }

    fn sync(&self) -> Result<()> {
        let held = self.open.lock().unwrap();
        let held = held.as_ref().ok_or(Error::Closed)?;
        if self.lie == FileLie::SyncDoesNothing { Ok(()) } else { self.store(held, None) }
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.memory.disk_bytes()?;
        match self.lie {
            FileLie::TakesNoSpace => Ok(0),
            _ => durable::tree_bytes(&self.root).map_err(|error| Error::io("count", error)),
        }
    }

    fn reclaim(&self) -> Result<()> {
        self.memory.reclaim()
    }

    fn verify(&self) -> Result<()> {
        self.memory.verify()
    }

    fn close(&self) -> Result<()> {
        let mut held = self.open.lock().unwrap();
        if let Some(held) = held.take() {
            self.store(&held, None)?;
        }
        self.memory.close()
    }
}

impl Drop for FileEngine {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
