//! The plainest engine with files, and lies told over it.

use std::fs;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use kvlogdb_conformance::Subject;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor,
    MemoryEngine, MetaKey, MetaVisitor, Order, Poison, Result, StoreDir, StoreOptions, WriteBatch,
    fs as durable, is_disk_full,
};

use crate::twist::of;

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
    SyncedLeavesBufferedOut,
    DamagedIsEmpty,
    /// Everything is in the kernel when a call returns, and nothing on the disk.
    NeverSyncs,
    SyncsEveryBuffered,
    SavesInTwoSteps,
    CreatesInTwoSteps,
    FullDiskIsFine,
    FullDiskIsDamage,
    KeepsWritingAfterAFailure,
    KeepsAFilePerReplica,
}

/// Two maps in memory, and the whole of them in one file after every sync.
#[derive(Debug)]
pub(crate) struct FileEngine {
    lie: FileLie,
    root: PathBuf,
    memory: MemoryEngine,
    /// What is stored in place of `memory` by a liar that leaves something out.
    shadow: MemoryEngine,
    poison: Poison,
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
        let shadow = MemoryEngine::new();
        if lie == FileLie::SyncedLeavesBufferedOut {
            load(&shadow, &files.join(DATA), lie)?;
        }
        let dir = dir.filter(|_| lie != FileLie::HasNoLock);
        Ok(Self {
            lie,
            root: root.to_owned(),
            memory,
            shadow,
            poison: Poison::default(),
            open: Mutex::new(Some(Held { files, _dir: dir })),
        })
    }

    /// Stores everything, or is closed to writes from then on.
    fn store(&self, held: &Held, spare: Option<LogKey>) -> Result<()> {
        let what = match self.lie {
            FileLie::SyncedLeavesBufferedOut => &self.shadow,
            _ => &self.memory,
        };
        let path = held.files.join(DATA);
        let bytes = encode(what, spare)?;
        let stored = match self.lie {
            FileLie::NeverSyncs => {
                let aside = path.with_extension("aside");
                fs::write(&aside, &bytes).and_then(|()| fs::rename(&aside, &path))
            }
            _ => durable::write_atomically(&path, &bytes),
        };
        let Err(error) = stored else { return Ok(()) };
        let full = is_disk_full(&error);
        match self.lie {
            FileLie::FullDiskIsFine if full => Ok(()),
            FileLie::FullDiskIsDamage if full => {
                Err(self.poison.latch(Error::corrupt("no room for it")))
            }
            FileLie::KeepsWritingAfterAFailure => {
                Err(Error::Poisoned { cause: Error::io("save", error).into() })
            }
            _ => Err(self.poison.latch(Error::io("save", error))),
        }
    }

    /// What is held, where the engine takes writes.
    fn writable<'a>(&self, held: Option<&'a Held>) -> Result<&'a Held> {
        let held = held.ok_or(Error::Closed)?;
        self.poison.check()?;
        Ok(held)
    }
}

fn open_dir(root: &Path, lie: FileLie, info: &EngineInfo) -> Result<Option<StoreDir>> {
    let create = |dir: &Path| {
        let bytes = encode(&MemoryEngine::new(), None)?;
        durable::write_atomically(&dir.join(DATA), &bytes).map_err(|error| Error::io("save", error))
    };
    if lie == FileLie::CreatesInTwoSteps {
        let files = root.join("engine");
        fs::create_dir_all(&files).map_err(|error| Error::io("create", error))?;
        if !files.join(DATA).exists() {
            fs::write(files.join(DATA), [29]).unwrap();
            thread::sleep(Duration::from_millis(60));
            create(&files)?;
        }
        return Ok(None);
    }
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

/// Everything but one entry as the file has it: `[u8 key length] [key] [le32 length] [value]`.
fn encode(memory: &MemoryEngine, spare: Option<LogKey>) -> Result<Vec<u8>> {
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
    Ok(bytes)
}

fn load(memory: &MemoryEngine, path: &Path, lie: FileLie) -> Result<()> {
    let bytes = match fs::read(path) {
        Err(_) if lie == FileLie::MakesMissingFilesAnew => {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            Vec::new()
        }
        read => read.map_err(|error| Error::io("load", error))?,
    };
    if lie == FileLie::DamagedIsEmpty && bytes.first().is_some_and(|&len| len != 29 && len != 3) {
        return Ok(());
    }
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

impl FileEngine {
    /// Stores the first half of what is written, and takes its time.
    fn write_in_two_steps(&self, held: &Held, batches: &[&WriteBatch]) -> Result<()> {
        let count = batches.iter().map(|batch| batch.len()).sum::<usize>();
        let operations = batches.iter().flat_map(|batch| batch.operations());
        let half = of(operations.take(count.div_ceil(2)))?;
        self.memory.write(&[&half], Durability::Synced)?;
        self.store(held, None)?;
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }
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
        let held = self.writable(held.as_ref())?;
        if self.lie == FileLie::SavesInTwoSteps && durability == Durability::Synced {
            self.write_in_two_steps(held, batches)?;
        }
        self.memory.write(batches, durability)?;
        if durability == Durability::Synced {
            self.shadow.write(batches, durability)?;
        }
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
            (FileLie::SyncsEveryBuffered, _) => self.store(held, None),
            (FileLie::SyncedNothingIsSkipped, _) if changes_nothing => Ok(()),
            (FileLie::SyncedStaysInMemory, _) | (_, Durability::Buffered) => Ok(()),
            (_, Durability::Synced) => self.store(held, None),
        }
    }

    fn sync(&self) -> Result<()> {
        let held = self.open.lock().unwrap();
        let held = self.writable(held.as_ref())?;
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
            self.poison.check()?;
            self.store(&held, None)?;
            if self.lie == FileLie::KeepsAFilePerReplica {
                self.memory.logs(&mut |log| {
                    let name = format!("{log}").replace('/', "-");
                    fs::write(held.files.join(name), b"").unwrap();
                    ControlFlow::Continue(())
                })?;
            }
        }
        self.memory.close()
    }
}

impl Drop for FileEngine {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
