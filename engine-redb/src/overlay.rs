//! A file that is only read: what is written to it stays in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const BLOCK_BYTES: usize = 4096;
type Block = [u8; BLOCK_BYTES];

/// A storage backend for redb that leaves its file as it is.
#[derive(Debug)]
pub(crate) struct Overlay {
    image: Mutex<Image>,
}

#[derive(Debug)]
struct Image {
    file: File,
    /// How much of the file shows through; zeros follow.
    shown_bytes: u64,
    len_bytes: u64,
    /// The blocks that were written, by number.
    written: BTreeMap<u64, Box<Block>>,
}

impl Overlay {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len_bytes = file.metadata()?.len();
        Ok(Self {
            image: Mutex::new(Image {
                file,
                shown_bytes: len_bytes,
                len_bytes,
                written: BTreeMap::new(),
            }),
        })
    }

    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Image {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(out.len() as u64) > self.len_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(offset, out)?;
        for (number, start, part) in blocks(offset, out.len()) {
            let Some(block) = self.written.get(&number) else {
                continue;
            };
            let from = block.get(start..start + part.len()).unwrap_or_default();
            out.get_mut(part).unwrap_or_default().copy_from_slice(from);
        }
        Ok(())
    }

    fn read_file(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let shown = usize::try_from(self.shown_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (from_file, behind) = out.split_at_mut(shown.min(out.len()));
        behind.fill(0);
        if from_file.is_empty() {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(from_file)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        for (number, start, part) in blocks(offset, data.len()) {
            let mut block = match self.written.remove(&number) {
                Some(block) => block,
                None => self.block_of_file(number)?,
            };
            let room = block.get_mut(start..start + part.len()).unwrap_or_default();
            room.copy_from_slice(data.get(part).unwrap_or_default());
            self.written.insert(number, block);
        }
        self.len_bytes = self.len_bytes.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }

    fn block_of_file(&mut self, number: u64) -> io::Result<Box<Block>> {
        let mut block = Box::new([0; BLOCK_BYTES]);
        self.read_file(number * BLOCK_BYTES as u64, block.as_mut_slice())?;
        Ok(block)
    }

    /// What a shorter length cuts off must read as zeros when the length grows again.
    fn set_len(&mut self, len_bytes: u64) -> io::Result<()> {
        if len_bytes < self.len_bytes {
            let cut = len_bytes / BLOCK_BYTES as u64;
            let mut block = self.block(cut)?;
            for (_, start, _) in blocks(len_bytes, 1) {
                block.get_mut(start..).unwrap_or_default().fill(0);
            }
            self.written.split_off(&cut);
            self.shown_bytes = self.shown_bytes.min(len_bytes);
            self.written.insert(cut, block);
        }
        self.len_bytes = len_bytes;
        Ok(())
    }

    fn block(&mut self, number: u64) -> io::Result<Box<Block>> {
        match self.written.get(&number) {
            Some(block) => Ok(block.clone()),
            None => self.block_of_file(number),
        }
    }
}

/// The parts of `len` bytes from `offset` on that lie in one block each: the block's number, where
/// in the block the part begins, and which of the bytes it is.
fn blocks(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = usize::try_from(at % BLOCK_BYTES as u64).ok()?;
        let part = done..len.min(done + BLOCK_BYTES - start);
        done = part.end;
        (!part.is_empty()).then_some((at / BLOCK_BYTES as u64, start, part))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image().len_bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.image().read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.image().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.image().write(offset, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every step is taken on a plain vector as well, and compared.
    #[test]
    fn reads_as_a_file_would_and_leaves_the_file_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> =
            (0..20_000_u32).map(|at| at.to_le_bytes()[at as usize % 2] | 1).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let overlay = Overlay::open(file.path()).unwrap();
        let mut model = bytes.clone();
        let compare = |model: &[u8]| {
            assert_eq!(overlay.len().unwrap(), model.len() as u64);
            let mut all = vec![9; model.len()];
            overlay.read(0, &mut all).unwrap();
            assert!(all == model);
        };
        compare(&model);
        for (offset, len) in [(0, 1), (4095, 2), (4000, 9000), (19_999, 1), (8192, 4096)] {
            overlay.write(offset as u64, &vec![7; len]).unwrap();
            model[offset..offset + len].fill(7);
            compare(&model);
        }
        for len in [19_000, 12_288, 30_000, 5000, 6000, 0, 100] {
            overlay.set_len(len as u64).unwrap();
            model.resize(len, 0);
            compare(&model);
        }
        let past_the_end = overlay.read(99, &mut [0; 2]);
        assert_eq!(past_the_end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(std::fs::read(file.path()).unwrap() == bytes);
    }
}
