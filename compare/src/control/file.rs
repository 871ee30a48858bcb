//! A file without a log: the floor under every durable append.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kvlogdb::Durability;

use super::{CommitFile, Growth};
use crate::store::{Done, Store, Visitor};
use crate::{Error, Result};

/// What stands before each payload in the file, as long as a record's header.
const HEADER: [u8; 32] = [0x11; 32];

/// Appends to one pre-written file, one writer at a time, each with a sync of its own.
#[derive(Debug)]
pub struct PlainFile {
    file: Mutex<CommitFile>,
}

impl PlainFile {
    /// Makes the file in `dir`.
    pub fn open(dir: &Path) -> Result<Arc<dyn Store>> {
        let made = CommitFile::create(&dir.join("plain"), Growth::Prewritten);
        let file = Mutex::new(made.map_err(|error| Error::io("make the plain file", error))?);
        Ok(Arc::new(Self { file }))
    }
}

const ONLY_APPENDS: Error = Error::Unsupported("a plain file only appends");

impl Store for PlainFile {
    fn append(&self, _: u64, _: u64, payloads: &[Bytes], durability: Durability) -> Result<()> {
        let mut bytes = Vec::new();
        for payload in payloads {
            bytes.extend_from_slice(&HEADER);
            bytes.extend_from_slice(payload);
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write(&bytes).and_then(|()| match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => file.sync(),
        });
        written.map_err(|error| Error::io("write the plain file", error))
    }

    fn submit(&self, _: u64, _: u64, _: &[Bytes], _: Done) -> Result<()> {
        Err(ONLY_APPENDS)
    }

    fn replace(&self, _: u64, _: u64, _: &[Bytes]) -> Result<()> {
        Err(ONLY_APPENDS)
    }

    fn purge(&self, _: u64, _: u64) -> Result<()> {
        Err(ONLY_APPENDS)
    }

    fn waiting_for_deletion(&self) -> u64 {
        0
    }

    fn get(&self, _: u64, _: u64, _: &mut Visitor<'_>) -> Result<bool> {
        Err(ONLY_APPENDS)
    }

    fn read(&self, _: u64, _: u64, _: u64, _: &mut Visitor<'_>) -> Result<u64> {
        Err(ONLY_APPENDS)
    }

    fn last(&self, _: u64) -> Result<u64> {
        Err(ONLY_APPENDS)
    }

    fn sync(&self) -> Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync().map_err(|error| Error::io("sync the plain file", error))
    }

    fn close(&self) -> Result<()> {
        self.sync()
    }
}
