//! The reference engine passes the suite that it is the reference of.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kvlogdb_conformance::{Fault, Subject};
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor, MemoryDisk,
    MemoryEngine, MetaKey, MetaVisitor, Order, Poison, Result, WriteBatch,
};

fn main() -> ExitCode {
    let stores = Stores::default();
    let (opened, armed) = (stores.clone(), stores);
    let open = move |dir: &Path| {
        let Store { disk, armed } = opened.lock().entry(dir.to_owned()).or_default().clone();
        Ok(Failing { memory: disk.open()?, armed, poison: Poison::default() })
    };
    let arm = move |dir: &Path, fault| {
        let armed = armed.lock().entry(dir.to_owned()).or_default().armed.clone();
        *locked(&armed) = Some(fault);
    };
    Subject::new("memory", open).without_files("it keeps nothing in files").with_faults(arm).run()
}

/// What is kept of each directory.
#[derive(Clone, Default)]
struct Stores(Arc<Mutex<HashMap<PathBuf, Store>>>);

#[derive(Clone, Default)]
struct Store {
    disk: MemoryDisk,
    armed: Arc<Mutex<Option<Fault>>>,
}

impl Stores {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Store>> {
        locked(&self.0)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reference, which cannot fail, under a layer that can.
#[derive(Debug)]
struct Failing {
    memory: MemoryEngine,
    armed: Arc<Mutex<Option<Fault>>>,
    poison: Poison,
}

impl Failing {
    /// Fails once where that was asked for, and refuses from then on.
    fn guarded(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        // A closed engine says so first, whatever became of it before.
        self.memory.verify()?;
        self.poison.check()?;
        let fault = locked(&self.armed).take();
        match fault {
            None => return work(),
            Some(Fault::WriteDone) => work()?,
            Some(_) => {}
        }
        Err(self.poison.latch(Error::io("write", std::io::Error::other("told to fail"))))
    }
}

impl KvLogDb for Failing {
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
        self.guarded(|| self.memory.write(batches, durability))
    }

    fn sync(&self) -> Result<()> {
        self.guarded(|| self.memory.sync())
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.memory.disk_bytes()
    }

    fn reclaim(&self) -> Result<()> {
        self.memory.reclaim()
    }

    fn verify(&self) -> Result<()> {
        self.memory.verify()
    }

    /// What a failed engine had not synced is lost.
    fn close(&self) -> Result<()> {
        match self.poison.check() {
            Ok(()) => self.memory.close(),
            refused => {
                self.memory.cut_power();
                refused
            }
        }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
