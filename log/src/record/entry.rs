//! The entry record.

use byteorder::{ByteOrder, LittleEndian};
use kvlogdb_engine_api::LogKey;

use super::{Unreadable, VERSION, checksum};
use crate::EntryKind;

/// The size of an entry record without its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 32;

/// What an entry's record says beside the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) term: u64,
    pub(crate) kind: EntryKind,
    pub(crate) appended_at_ms: u64,
    pub(crate) log_bytes: u64,
}

impl Header {
    /// The bytes that stand before `payload` in the record under `key`.
    pub(crate) fn encode(&self, key: LogKey, payload: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
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
    pub(crate) fn decode(key: LogKey, record: &[u8]) -> Result<(Self, &[u8]), Unreadable> {
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
