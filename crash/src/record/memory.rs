//! A disk of one file in memory, for redb.

use std::io;

use super::Recorded;
use crate::{FaultPlan, Image, Mark};

/// A handle to the disk: clones lead to the same one. The file is called [`FILE`].
#[derive(Debug, Clone)]
pub struct MemoryDisk {}

/// The one file of such a disk.
pub const FILE: &str = "store";

impl MemoryDisk {
    /// Records what is done to the disk from now on. An image without the file gets it, empty, as
    /// something that was there before.
    pub fn record(image: &Image, faults: FaultPlan) -> Self {
        let _ = (image, faults);
        todo!()
    }

    /// Only keeps the image; nothing is recorded and nothing fails.
    pub fn hold(image: &Image) -> Self {
        let _ = image;
        todo!()
    }

    /// Says something, in order with what is done to the disk.
    pub fn mark(&self, mark: Mark) {
        let _ = mark;
        todo!()
    }

    /// As if [`ARM`](super::ARM) or [`FREE`](super::FREE) had been written to the control file.
    pub fn control(&self, command: &[u8]) {
        let _ = command;
        todo!()
    }

    /// What was recorded so far. The disk can be used and recorded further.
    pub fn recorded(&self) -> Recorded {
        todo!()
    }
}

impl redb::StorageBackend for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        todo!()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let _ = (offset, out);
        todo!()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let _ = len;
        todo!()
    }

    fn sync_data(&self) -> io::Result<()> {
        todo!()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let _ = (offset, data);
        todo!()
    }
}
