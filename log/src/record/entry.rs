//! The entry record.

use byteorder::{ByteOrder, LittleEndian};
use kvlogdb_engine_api::LogKey;

use super::{Unreadable, VERSION, checksum};
use crate::EntryKind;

/// The size of an entry record without its payload.
pub const RECORD_HEADER_BYTES: usize = 32;

/// What an entry's record says beside the payload.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::LogName;
/// use kvlogdb_log::EntryKind;
/// use kvlogdb_log::record::{Header, Unreadable};
///
/// let kind = EntryKind::NORMAL;
/// let header = Header { term: 3, kind, appended_at_ms: 1_700_000_000_000, log_bytes: 37 };
/// let key = LogName::default().at(7);
/// let record = [&header.encode(key, b"hello")[..], b"hello"].concat();
/// assert_eq!(Header::decode(key, &record), Ok((header, &b"hello"[..])));
/// assert_eq!(Header::decode(LogName::default().at(8), &record), Err(Unreadable::Checksum));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The entry's term.
    pub term: u64,
    /// What the entry is for.
    pub kind: EntryKind,
    /// When it was appended, in milliseconds since 1970; never before the entry before it.
    pub appended_at_ms: u64,
    /// The sum of the record sizes of its log up to and with this one.
    pub log_bytes: u64,
}

impl Header {
    /// The bytes that stand before `payload` in the record under `key`.
    pub fn encode(&self, key: LogKey, payload: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[4] = VERSION;
        bytes[5] = self.kind.0;
        LittleEndian::write_u64(&mut bytes[8..16], self.term);
        LittleEndian::write_u64(&mut bytes[16..24], self.appended_at_ms);
        LittleEndian::write_u64(&mut bytes[24..32], self.log_bytes);
        let crc = checksum(&key.encode(), &[&bytes[4..], payload]);
        LittleEndian::write_u32(&mut bytes[..4], crc);
        bytes
    }

    /// Reads the record under `key`: its header and its payload.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] for anything that was not written under this key by a version that this one
    /// knows.
    pub fn decode(key: LogKey, record: &[u8]) -> Result<(Self, &[u8]), Unreadable> {
        let (bytes, payload) =
            record.split_first_chunk::<RECORD_HEADER_BYTES>().ok_or(Unreadable::Short)?;
        let crc = checksum(&key.encode(), &[&bytes[4..], payload]);
        if crc != LittleEndian::read_u32(&bytes[..4]) {
            return Err(Unreadable::Checksum);
        }
        if bytes[4] != VERSION || bytes[6..8] != [0, 0] {
            return Err(Unreadable::Version);
        }
        let header = Self {
            term: LittleEndian::read_u64(&bytes[8..16]),
            kind: EntryKind(bytes[5]),
            appended_at_ms: LittleEndian::read_u64(&bytes[16..24]),
            log_bytes: LittleEndian::read_u64(&bytes[24..32]),
        };
        Ok((header, payload))
    }
}
