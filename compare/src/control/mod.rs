//! What every figure is held against: plain files.

mod engine;
mod file;
mod probe;

pub use engine::FileEngine;
pub use file::PlainFile;
pub(crate) use probe::probe;

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

/// How long a pre-written file is; writing begins again at its start when it is full.
const PREWRITTEN_BYTES: usize = 64 << 20;
const MIB: usize = 1 << 20;
const BLOCK: [u8; 4096] = [0xa5; 4096];

/// How a control's file comes to its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// Every write extends it, and its sync writes the file's new length, too.
    Growing,
    /// It was written once before, in full, and is written over: the least that a sync can cost.
    Prewritten,
}

/// A file that takes one commit after another.
#[derive(Debug)]
struct CommitFile {
    file: File,
    /// Where writing begins again at the start.
    wrap_bytes: u64,
    position: u64,
}

impl CommitFile {
    fn create(path: &Path, growth: Growth) -> io::Result<Self> {
        match growth {
            Growth::Growing => Self::create_written(path, 0),
            Growth::Prewritten => Self::create_written(path, PREWRITTEN_BYTES),
        }
    }

    /// A file of which the first `len_bytes` are written already; 0 for one that grows.
    fn create_written(path: &Path, len_bytes: usize) -> io::Result<Self> {
        let mut file = File::options().write(true).create(true).truncate(true).open(path)?;
        // In small pieces: the kernel keeps a file as it was written, and syncs a large piece
        // slower than a small one when only a part of it has changed.
        for _ in (0..len_bytes).step_by(BLOCK.len()) {
            file.write_all(&BLOCK)?;
        }
        file.rewind()?;
        file.sync_all()?;
        let wrap_bytes = if len_bytes == 0 { u64::MAX } else { len_bytes as u64 };
        Ok(Self { file, wrap_bytes, position: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.position.saturating_add(bytes.len() as u64) > self.wrap_bytes {
            self.file.rewind()?;
            self.position = 0;
        }
        self.file.write_all(bytes)?;
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
