//! redb's file, watched.
//!
//! redb writes and syncs its file once more when it is dropped, and then has nobody to tell of a
//! failure.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use kvlogdb_engine_api::{Error, Result};
use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// What became of the calls that change or sync the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<OnceLock<io::Error>>);

impl Watch {
    /// Fails with the first failure there was, once the database is dropped.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        let copy = |first: &io::Error| io::Error::new(first.kind(), first.to_string());
        self.0.get().map_or(Ok(()), |first| Err(Error::io(operation, copy(first))))
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let _ = self.0.set(io::Error::new(error.kind(), error.to_string()));
        }
        result
    }
}

/// The file behind a database.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    file: FileBackend,
    watch: Watch,
}

impl WatchedFile {
    /// Makes the file, which must not be there.
    pub(crate) fn create(path: &Path) -> Result<(Self, Watch), DatabaseError> {
        Self::of(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)
    }

    /// Opens the file, which must hold a database.
    pub(crate) fn open(path: &Path) -> Result<(Self, Watch), DatabaseError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() == 0 {
            // redb would make a database of it.
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty").into());
        }
        Self::of(file)
    }

    fn of(file: File) -> Result<(Self, Watch), DatabaseError> {
        let watch = Watch::default();
        Ok((Self { file: FileBackend::new(file)?, watch: watch.clone() }, watch))
    }
}

impl StorageBackend for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch.note(self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.note(self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.watch.note(self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
