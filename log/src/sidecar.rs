//! The file that remembers how far the engine once was.
//!
//! Engines can lose synced writes without a word: a rotten journal reads like a short one. Now
//! and then a synced batch carries a mark, one higher than the last, and after its sync the mark
//! goes into this file. An engine that opens behind the file has lost synced data.
//!
//! The file has two slots, 4 KiB apart and written in turn, so that a write that is torn by a
//! crash leaves the other one:
//!
//! ```text
//! offset  bytes  field
//!      0      8  "kvlogseq"
//!      8      8  mark, little-endian
//!     16      4  CRC-32C of the bytes before, little-endian
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};
use kvlogdb_engine_api::fs as durable;

const MAGIC: &[u8; 8] = b"kvlogseq";
const SLOT_BYTES: usize = 20;
const SLOT_DISTANCE: usize = 4096;

/// The open file.
#[derive(Debug)]
pub(crate) struct Sidecar {
    file: File,
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// There is no file.
    Missing,
    /// Neither slot can be read.
    Damaged,
    /// The highest mark that was written.
    Mark(u64),
}

impl Sidecar {
    /// Reads the file without changing it.
    pub(crate) fn read(path: &Path) -> io::Result<Reading> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(2 * SLOT_DISTANCE as u64).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reading::Missing),
            Err(error) => return Err(error),
        };
        let marks = [0, SLOT_DISTANCE].map(|at| decode(bytes.get(at..).unwrap_or_default()));
        Ok(marks.into_iter().flatten().max().map_or(Reading::Damaged, Reading::Mark))
    }

    /// Makes the file, or makes it anew, with both slots at `mark`, and opens it.
    pub(crate) fn create(path: &Path, mark: u64) -> io::Result<Self> {
        let mut bytes = vec![0; 2 * SLOT_DISTANCE];
        for slot in bytes.chunks_mut(SLOT_DISTANCE) {
            if let Some(start) = slot.first_chunk_mut() {
                *start = encode(mark);
            }
        }
        durable::write_atomically(path, &bytes)?;
        Self::open(path)
    }

    /// Opens an existing file for writing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().write(true).open(path)? })
    }

    /// One whose every write fails.
    #[cfg(test)]
    pub(crate) fn read_only(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)? })
    }

    /// Writes `mark` over the older slot and syncs it.
    pub(crate) fn write(&mut self, mark: u64) -> io::Result<()> {
        let slot = mark % 2 * SLOT_DISTANCE as u64;
        self.file.seek(SeekFrom::Start(slot))?;
        self.file.write_all(&encode(mark))?;
        self.file.sync_data()
    }
}

fn encode(mark: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    LittleEndian::write_u64(&mut slot[8..16], mark);
    let crc = crc32c::crc32c(&slot[..16]);
    LittleEndian::write_u32(&mut slot[16..], crc);
    slot
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let slot = bytes.first_chunk::<SLOT_BYTES>()?;
    let intact =
        slot[..8] == *MAGIC && LittleEndian::read_u32(&slot[16..]) == crc32c::crc32c(&slot[..16]);
    intact.then(|| LittleEndian::read_u64(&slot[8..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_documented_ones() {
        let bytes = encode(0x0102);
        assert_eq!(&bytes[..16], b"kvlogseq\x02\x01\0\0\0\0\0\0");
        assert_eq!(bytes[16..], crc32c::crc32c(&bytes[..16]).to_le_bytes());
    }

    #[test]
    fn the_highest_mark_is_read_and_one_damaged_slot_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("SEQ");
        assert_eq!(Sidecar::read(&path).unwrap(), Reading::Missing);
        let mut sidecar = Sidecar::create(&path, 0).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), Reading::Mark(0));
        for mark in 1..=3 {
            sidecar.write(mark).unwrap();
            assert_eq!(Sidecar::read(&path).unwrap(), Reading::Mark(mark));
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_DISTANCE + 9] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), Reading::Mark(2));
        bytes[0] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), Reading::Damaged);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), Reading::Damaged);
    }
}
