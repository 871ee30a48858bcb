//! A disk of one file in memory, for redb.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Recorded;
use super::volume::{Failure, Volume};
use crate::trace::{Ino, Kind, Place};
use crate::{FaultPlan, Image, Mark};

/// The one file of such a disk.
pub const FILE: &str = "store";

/// A handle to the disk: clones lead to the same one. The file is called [`FILE`].
///
/// Nothing locks it: an engine must be gone before the next one is opened on it.
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    volume: Arc<Mutex<Volume>>,
    file: Ino,
}

impl MemoryDisk {
    /// Records what is done to the disk from now on. An image without the file gets it, empty, as
    /// something that was there before.
    pub fn record(image: &Image, faults: FaultPlan) -> Self {
        let mut image = image.clone();
        let file = image.find(FILE).unwrap_or_else(|| {
            let file = image.fresh();
            image.make(file, Kind::File);
            let at = Place { dir: Ino::ROOT, name: FILE.into() };
            image.set_name(&at, Some(file));
            file
        });
        Self { volume: Arc::new(Mutex::new(Volume::new(&image, faults))), file }
    }

    /// Says something, in order with what is done to the disk. After a kill nothing is heard.
    pub fn mark(&self, mark: Mark) {
        let _ = self.volume().mark(mark);
    }

    /// As if it had been written to the control file: [`ARM`](super::ARM), [`FREE`](super::FREE).
    pub fn control(&self, command: &[u8]) {
        let _ = self.volume().control(command);
    }

    /// Lets the disk go on after [`Effect::Kill`](crate::faults::Effect::Kill) ended all calls.
    pub fn revive(&self) {
        self.volume().revive();
    }

    /// What was recorded so far. The disk can be used and recorded further.
    pub fn recorded(&self) -> Recorded {
        self.volume().recorded()
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl redb::StorageBackend for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        let volume = self.volume();
        let content = volume.image().content(self.file).ok_or(Failure::NotFound)?;
        Ok(content.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.volume().read(self.file, offset, out.len())?;
        if bytes.len() < out.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(self.volume().set_len(self.file, len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.volume().sync(self.file)?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            match self.volume().write(self.file, offset + done as u64, rest)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => done += count,
            }
        }
        Ok(())
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure {
            Failure::NotFound => io::ErrorKind::NotFound,
            Failure::Exists => io::ErrorKind::AlreadyExists,
            Failure::NotEmpty => io::ErrorKind::DirectoryNotEmpty,
            Failure::IsDir => io::ErrorKind::IsADirectory,
            Failure::NotDir => io::ErrorKind::NotADirectory,
            Failure::Invalid => io::ErrorKind::InvalidInput,
            Failure::Full => io::ErrorKind::StorageFull,
            Failure::Io => return Self::other("the fault plan says so"),
            Failure::Killed => return Self::other("the fault plan has killed the caller"),
        };
        kind.into()
    }
}
