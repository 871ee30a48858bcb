//! The bytes of the log's records. No other module knows them.
//!
//! # Entry record, version 1
//!
//! Integers are little-endian.
//!
//! ```text
//! offset  bytes  field
//!      0      4  CRC-32C (Castagnoli) of the canonical entry key, then of everything from offset 4
//!      4      1  version, 1
//!      5      1  kind
//!      6      2  flags, 0
//!      8      8  term
//!     16      8  appended at, milliseconds since 1970; never lower than the entry's before
//!     24      8  log bytes: the sum of the record sizes in this log up to and with this one,
//!                counted from where the log was last empty
//!     32      -  payload
//! ```
//!
//! The index is in the key, and the checksum covers the key, so a value that stands under another
//! key is noticed.
//!
//! # Metadata record, version 1
//!
//! ```text
//! offset  bytes  field
//!      0      4  CRC-32C of the canonical metadata key, then of everything from offset 4
//!      4      1  version, 1
//!      5      -  body
//! ```
//!
//! | slot | of      | body                                                                        |
//! |------|---------|-----------------------------------------------------------------------------|
//! | 0    | store   | postcard: mark                                                              |
//! | 1    | store   | postcard: number of replicas, sum of the CRC-32C of their slot 0 keys       |
//! | 0    | replica | postcard: shape, incarnation, purged, term runs, number of other records    |
//! | 1    | replica | postcard: term, vote, commit                                                |
//! | 2    | replica | postcard: term, index of the snapshot; then the caller's bytes as they are  |
//! | 3    | replica | postcard: term, index applied                                               |
//! | 4    | replica | the caller's membership as it is                                            |
//! | 5    | replica | postcard: what waits for deletion, a list of incarnation, first, last       |
//! | 256- | replica | the user's bytes as they are                                                |

mod entry;
mod meta;
#[cfg(test)]
mod tests;

pub use entry::{Header, RECORD_HEADER_BYTES};
pub(crate) use meta::{
    StateRecord, StoreRecord, body, decode_snapshot_id, from_body, header, slot, to_body,
};

use kvlogdb_engine_api::key::KeyBytes;

/// The version that both kinds of record carry.
pub const VERSION: u8 = 1;

/// What makes a record unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is shorter than its header.
    #[error("the record is cut short")]
    Short,
    /// Its bytes, or the key that it stands under, are not what was written.
    #[error("the checksum does not match")]
    Checksum,
    /// It is intact, and of a format that this version does not know.
    #[error("the record has an unknown version or unknown flags")]
    Version,
    /// It is intact, and its body is not what its slot holds.
    #[error("the record's body cannot be decoded")]
    Body,
}

/// The checksum of a record: over its key, then over its parts.
fn checksum(key: &KeyBytes, parts: &[&[u8]]) -> u32 {
    let over_key = crc32c::crc32c(key);
    parts.iter().fold(over_key, |crc, part| crc32c::crc32c_append(crc, part))
}
