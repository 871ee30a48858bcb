//! raft-log: a log for openraft, one store for each group, with a thread each that syncs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use kvlogdb::Durability;
use kvlogdb_compare::{Done, Error, Result, Store, Visitor};
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::api::types::Types;
use raft_log::{Callback, Config, RaftLog};

const TERM: u64 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Logs;

impl Types for Logs {
    type LogId = (u64, u64);
    type LogPayload = Vec<u8>;
    type Vote = (u64, u64);
    type Callback = Told;
    type UserData = Vec<u8>;

    fn log_index(log_id: &Self::LogId) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Self::LogPayload) -> u64 {
        payload.len() as u64
    }

    /// Logs begin at 1 here.
    fn next_log_index(log_id: Option<&Self::LogId>) -> u64 {
        log_id.map_or(1, |log_id| log_id.1 + 1)
    }
}

struct Told(Box<dyn FnOnce(io::Result<()>) + Send>);

impl Callback for Told {
    fn send(self, outcome: Result<(), io::Error>) {
        (self.0)(outcome);
    }
}

/// Its settings are its defaults, but that its worker does not wait a millisecond for more.
pub(crate) struct RaftLogs {
    dir: PathBuf,
    groups: RwLock<BTreeMap<u64, Arc<Mutex<RaftLog<Logs>>>>>,
}

fn failed(error: io::Error) -> Error {
    Error::store(error)
}

fn lock(log: &Mutex<RaftLog<Logs>>) -> MutexGuard<'_, RaftLog<Logs>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RaftLogs {
    /// Opens every group that is there.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let opened = Self { dir: dir.to_owned(), groups: RwLock::default() };
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(group) = name.to_str().and_then(|name| name.parse().ok()) {
                opened.group(group)?;
            }
        }
        Ok(opened)
    }

    fn group(&self, group: u64) -> Result<Arc<Mutex<RaftLog<Logs>>>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = groups.get(&group) {
            return Ok(Arc::clone(log));
        }
        drop(groups);
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = groups.get(&group) {
            return Ok(Arc::clone(log));
        }
        let dir = self.dir.join(group.to_string());
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let mut config = Config::new(dir.display());
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        let log = Arc::new(Mutex::new(RaftLog::open(Arc::new(config)).map_err(failed)?));
        groups.insert(group, Arc::clone(&log));
        Ok(log)
    }

    /// Changes a log and asks for its sync, without waiting for it.
    fn change(
        &self,
        group: u64,
        change: impl FnOnce(&mut RaftLog<Logs>) -> io::Result<()>,
        told: Option<Told>,
    ) -> Result<()> {
        let log = self.group(group)?;
        let mut log = lock(&log);
        change(&mut log).map_err(failed)?;
        match told {
            Some(told) => log.flush(true, Some(told)).map_err(failed),
            None => Ok(()),
        }
    }

    /// Changes a log and waits for its sync.
    fn change_synced(
        &self,
        group: u64,
        change: impl FnOnce(&mut RaftLog<Logs>) -> io::Result<()>,
    ) -> Result<()> {
        let (tell, told) = sync_channel(1);
        let send = move |outcome| {
            // Whoever waits has not gone.
            let _ = tell.send(outcome);
        };
        self.change(group, change, Some(Told(Box::new(send))))?;
        let gone = |_| io::Error::other("raft-log ended without telling");
        told.recv().map_err(gone).flatten().map_err(failed)
    }
}

fn append_to(log: &mut RaftLog<Logs>, first: u64, payloads: &[Bytes]) -> io::Result<()> {
    let entry = |(index, payload): (u64, &Bytes)| ((TERM, index), payload.to_vec());
    log.append((first..).zip(payloads).map(entry)).map(|_| ())
}

impl Store for RaftLogs {
    fn append(
        &self,
        group: u64,
        first: u64,
        payloads: &[Bytes],
        durability: Durability,
    ) -> Result<()> {
        let change = |log: &mut RaftLog<Logs>| append_to(log, first, payloads);
        match durability {
            Durability::Buffered => self.change(group, change, None),
            Durability::Synced => self.change_synced(group, change),
        }
    }

    fn submit(&self, group: u64, first: u64, payloads: &[Bytes], done: Done) -> Result<()> {
        let told = Told(Box::new(move |outcome| done(outcome.map_err(failed))));
        self.change(group, |log| append_to(log, first, payloads), Some(told))
    }

    fn replace(&self, group: u64, first: u64, payloads: &[Bytes]) -> Result<()> {
        self.change_synced(group, |log| {
            log.truncate(first)?;
            append_to(log, first, payloads)
        })
    }

    fn purge(&self, group: u64, last: u64) -> Result<()> {
        self.change_synced(group, |log| log.purge((TERM, last)).map(|_| ()))
    }

    fn waiting_for_deletion(&self) -> u64 {
        0
    }

    fn get(&self, group: u64, index: u64, visit: &mut Visitor<'_>) -> Result<bool> {
        Ok(self.read(group, index, 1, visit)? == 1)
    }

    fn read(&self, group: u64, first: u64, count: u64, visit: &mut Visitor<'_>) -> Result<u64> {
        let log = self.group(group)?;
        let log = lock(&log);
        let mut read = 0;
        for found in log.read(first, first + count) {
            let ((_, index), payload) = found.map_err(failed)?;
            visit(index, &payload);
            read += 1;
        }
        Ok(read)
    }

    fn last(&self, group: u64) -> Result<u64> {
        let log = self.group(group)?;
        let last = lock(&log).log_state().last().map_or(0, |id| id.1);
        Ok(last)
    }

    fn sync(&self) -> Result<()> {
        let groups: Vec<u64> = {
            let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
            groups.keys().copied().collect()
        };
        groups.into_iter().try_for_each(|group| self.change_synced(group, |_| Ok(())))
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
