//! A store as one stream of bytes that is the same whichever engine it comes from.
//!
//! # Format, version 1
//!
//! Integers are little-endian; checksums are CRC-32C.
//!
//! ```text
//! header   8  "kvlogexp"
//!          4  version, 1
//!          1  length of the identity, at most 64
//!          -  identity of the store, as in its MANIFEST
//!          4  checksum of everything before
//! frames   1  kind: 1 metadata, 2 entry
//!          1  length of the key
//!          -  key, in its canonical bytes
//!          4  length of the record
//!          -  record, as it stands in the engine, with its own checksum
//!          4  checksum of this frame up to here
//! trailer  1  kind: 3
//!          8  number of metadata frames
//!          8  number of entry frames
//!          4  checksum of the whole stream up to here
//! ```
//!
//! Frames are in key order, metadata first. Nothing follows the trailer. A stream without its
//! trailer was cut short, whatever it ends with.

use std::io::{self, ErrorKind, Read, Write};

use kvlogdb_engine_api::{KvLogDb, LogKey, MAX_IDENTITY_BYTES, MAX_VALUE_BYTES, MetaKey};

use crate::Error;
use crate::transfer::{Loader, RecordKey, Totals, records};

/// What every stream begins with.
pub const MAGIC: &[u8; 8] = b"kvlogexp";
const VERSION: u32 = 1;
const METADATA: u8 = 1;
const ENTRY: u8 = 2;
const TRAILER: u8 = 3;
/// How many frames pass between two calls of a progress function.
const PROGRESS_FRAMES: u64 = 1024;

/// Why a stream could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The bytes do not begin as a stream does.
    #[error("this is not a kvlogdb export")]
    Foreign,
    /// The stream was written by a later version.
    #[error("this is a kvlogdb export of version {found}, and only {VERSION} is known")]
    Version {
        /// The version that it says.
        found: u32,
    },
    /// The stream ends before its trailer does.
    #[error("the export is cut short: it ends at byte {at}")]
    Cut {
        /// How many bytes there are.
        at: u64,
    },
    /// The stream is not what was written.
    #[error("the export is damaged before byte {at}: {what}")]
    Damaged {
        /// The end of the part in which the damage lies.
        at: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// The stream's file or pipe failed.
    #[error("cannot {operation} the export")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The system's own error.
        source: io::Error,
    },
    /// The store on the other side failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<kvlogdb_engine_api::Error> for StreamError {
    fn from(error: kvlogdb_engine_api::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Writes every record of the store under `engine`. The output is flushed and not synced.
///
/// Records go out as they stand: whether the store is sound has to be [checked](crate::check())
/// before.
///
/// # Errors
///
/// [`StreamError::Store`] and [`StreamError::Io`]; what was written so far is then a stream that
/// is cut short.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::MemoryEngine;
/// use kvlogdb_log::stream::{StreamError, StreamReader, export};
///
/// let mut bytes = Vec::new();
/// export(&MemoryEngine::new(), b"node 1", &mut bytes, &mut |_| ())?;
/// let reader = StreamReader::new(&bytes[..])?;
/// assert_eq!(reader.identity(), b"node 1");
/// assert_eq!(reader.load(&MemoryEngine::new(), &mut |_| ())?.entries, 0);
/// assert!(matches!(StreamReader::new(&bytes[..9]), Err(StreamError::Cut { at: 9 })));
/// # Ok::<(), StreamError>(())
/// ```
pub fn export(
    engine: &dyn KvLogDb,
    identity: &[u8],
    output: impl Write,
    progress: &mut dyn FnMut(&Totals),
) -> Result<Totals, StreamError> {
    let mut sink = Sink { output, total: 0 };
    let identity = identity.get(..MAX_IDENTITY_BYTES).unwrap_or(identity);
    sink.put_checked(&[
        MAGIC,
        &VERSION.to_le_bytes(),
        &[u8::try_from(identity.len()).unwrap_or(u8::MAX)],
        identity,
    ])?;
    let mut totals = Totals::default();
    for record in records(engine)? {
        let (key, record) = record?;
        let (kind, key_bytes) = match key {
            RecordKey::Meta(key) => (METADATA, key.encode()),
            RecordKey::Entry(key) => (ENTRY, key.encode()),
        };
        let key_len = u8::try_from(key_bytes.len()).unwrap_or(u8::MAX);
        let len = u32::try_from(record.len()).unwrap_or(u32::MAX);
        sink.put_checked(&[&[kind, key_len], &key_bytes, &len.to_le_bytes(), &record])?;
        totals.count(key, &record);
        if (totals.metadata + totals.entries).is_multiple_of(PROGRESS_FRAMES) {
            progress(&totals);
        }
    }
    sink.put(&[TRAILER])?;
    sink.put(&totals.metadata.to_le_bytes())?;
    sink.put(&totals.entries.to_le_bytes())?;
    let total = sink.total;
    sink.put(&total.to_le_bytes())?;
    sink.output.flush().map_err(write_failed)?;
    Ok(totals)
}

fn write_failed(source: io::Error) -> StreamError {
    StreamError::Io { operation: "write", source }
}

/// Counts what goes out into the checksum of the whole.
struct Sink<W> {
    output: W,
    total: u32,
}

impl<W: Write> Sink<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.total = crc32c::crc32c_append(self.total, bytes);
        self.output.write_all(bytes).map_err(write_failed)
    }

    /// Writes a part and its own checksum.
    fn put_checked(&mut self, parts: &[&[u8]]) -> Result<(), StreamError> {
        let mut own = 0;
        for part in parts {
            own = crc32c::crc32c_append(own, part);
            self.put(part)?;
        }
        self.put(&own.to_le_bytes())
    }
}

/// Reads a stream: first what its header says, then its records into a store.
#[derive(Debug)]
pub struct StreamReader<R> {
    source: Source<R>,
    identity: Vec<u8>,
}

impl<R: Read> StreamReader<R> {
    /// Reads the header. A reader that is not buffered is read in small pieces.
    ///
    /// # Errors
    ///
    /// [`StreamError::Foreign`], [`StreamError::Version`], [`StreamError::Cut`],
    /// [`StreamError::Damaged`] and [`StreamError::Io`].
    pub fn new(input: R) -> Result<Self, StreamError> {
        let mut source = Source { input, at: 0, total: 0, own: 0 };
        if source.array()? != *MAGIC {
            return Err(StreamError::Foreign);
        }
        let version = u32::from_le_bytes(source.array()?);
        if version != VERSION {
            return Err(StreamError::Version { found: version });
        }
        let [len] = source.array()?;
        let identity = source.bytes(len.into(), MAX_IDENTITY_BYTES, "the identity is too long")?;
        source.end_part("the header's checksum does not match")?;
        Ok(Self { source, identity })
    }

    /// The identity of the store that was exported; empty where it has none.
    pub fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// Puts all records into `target`, which must be empty, and calls `progress` now and then.
    ///
    /// # Durability
    ///
    /// Synced when the call returns.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new) and [`StreamError::Store`]. A part of the store may then be in
    /// `target`, and nothing there says so: the caller keeps it from being used.
    pub fn load(
        mut self,
        target: &dyn KvLogDb,
        progress: &mut dyn FnMut(&Totals),
    ) -> Result<Totals, StreamError> {
        let mut loader = Loader::new(target)?;
        let mut before = None;
        while let Some((key, record)) = self.source.frame()? {
            if before.is_some_and(|before| before >= key) {
                return Err(self.source.damaged("a record is out of order"));
            }
            before = Some(key);
            if loader.put(key, &record)? {
                progress(&loader.totals());
            }
        }
        let totals = loader.finish()?;
        self.source.trailer(totals)?;
        Ok(totals)
    }
}

/// Counts what comes in, and into the checksums of the whole and of the part being read.
#[derive(Debug)]
struct Source<R> {
    input: R,
    at: u64,
    total: u32,
    own: u32,
}

impl<R: Read> Source<R> {
    fn damaged(&self, what: &'static str) -> StreamError {
        StreamError::Damaged { at: self.at, what }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), StreamError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => return Err(StreamError::Cut { at: self.at }),
                Ok(read) => {
                    filled += read;
                    self.at += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) if source.kind() == ErrorKind::UnexpectedEof => {
                    return Err(StreamError::Cut { at: self.at });
                }
                Err(source) => return Err(StreamError::Io { operation: "read", source }),
            }
        }
        self.total = crc32c::crc32c_append(self.total, buffer);
        self.own = crc32c::crc32c_append(self.own, buffer);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StreamError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(
        &mut self,
        len: usize,
        limit: usize,
        too_long: &'static str,
    ) -> Result<Vec<u8>, StreamError> {
        if len > limit {
            return Err(self.damaged(too_long));
        }
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Compares the checksum of the part that ends here, and begins the next.
    fn end_part(&mut self, mismatch: &'static str) -> Result<(), StreamError> {
        let expected = self.own;
        if u32::from_le_bytes(self.array()?) != expected {
            return Err(self.damaged(mismatch));
        }
        self.own = 0;
        Ok(())
    }

    /// The next record, `None` at the trailer.
    fn frame(&mut self) -> Result<Option<(RecordKey, Vec<u8>)>, StreamError> {
        let [kind] = self.array()?;
        if kind == TRAILER {
            return Ok(None);
        }
        let [key_len] = self.array()?;
        let key = self.bytes(key_len.into(), usize::from(u8::MAX), "a key is too long")?;
        let len = u32::from_le_bytes(self.array()?);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let record = self.bytes(len, MAX_VALUE_BYTES, "a record is too long")?;
        self.end_part("a record's checksum does not match")?;
        let key = match kind {
            METADATA => MetaKey::decode(&key).map(|(key, piece)| (RecordKey::Meta(key), piece)),
            ENTRY => LogKey::decode(&key).map(|(key, piece)| (RecordKey::Entry(key), piece)),
            _ => return Err(self.damaged("a frame has an unknown kind")),
        };
        match key {
            Some((key, 0)) => Ok(Some((key, record))),
            _ => Err(self.damaged("a key is none")),
        }
    }

    fn trailer(&mut self, totals: Totals) -> Result<(), StreamError> {
        let metadata = u64::from_le_bytes(self.array()?);
        let entries = u64::from_le_bytes(self.array()?);
        let expected = self.total;
        if u32::from_le_bytes(self.array()?) != expected {
            return Err(self.damaged("the checksum of the whole does not match"));
        }
        if (metadata, entries) != (totals.metadata, totals.entries) {
            return Err(self.damaged("the number of records is not the one in the trailer"));
        }
        let mut beyond = [0];
        match self.fill(&mut beyond) {
            Err(StreamError::Cut { .. }) => Ok(()),
            Err(other) => Err(other),
            Ok(()) => Err(self.damaged("something follows the trailer")),
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
