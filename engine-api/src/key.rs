//! The keys of the contract and their canonical bytes.
//!
//! Engines that keep bytes use this encoding, in which byte order is numeric order:
//!
//! ```text
//! entry           0x03 [be64 group] [be64 node] [be32 incarnation] [be64 index]   29 bytes
//! replica's slot  0x02 [be64 group] [be64 node] [be16 slot]                        19 bytes
//! store's slot    0x01 [be16 slot]                                                  3 bytes
//! ```
//!
//! A value that an engine splits (see [`chunk`](crate::chunk)) keeps its first piece under the key
//! itself and every further piece under the key followed by `[be32 chunk number]`, so that all
//! pieces of a value sort between its key and the next one.

use std::fmt;
use std::ops::Deref;

use byteorder::{BigEndian, ByteOrder};

/// One Raft group on one node.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::ReplicaId;
///
/// assert_eq!(ReplicaId::from(7), ReplicaId { group: 7, node: 0 });
/// assert_eq!(ReplicaId { group: 7, node: 2 }.to_string(), "7/2");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReplicaId {
    /// The Raft group: a region, shard or range elsewhere.
    pub group: u64,
    /// The node, where one store holds several nodes' logs; 0 otherwise.
    pub node: u64,
}

impl From<u64> for ReplicaId {
    fn from(group: u64) -> Self {
        Self { group, node: 0 }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.node)
    }
}

/// One life of one replica's log.
///
/// A log that is dropped as a whole starts anew under the next incarnation, so that no key of the
/// old life can be taken for one of the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogName {
    /// The replica.
    pub replica: ReplicaId,
    /// Which life of its log.
    pub incarnation: u32,
}

impl LogName {
    /// The key of one entry of this log.
    pub fn at(self, index: u64) -> LogKey {
        LogKey { log: self, index }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.replica, self.incarnation)
    }
}

/// The key of one log entry. The order of keys is the order of (group, node, incarnation, index).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// The log.
    pub log: LogName,
    /// The entry's index; every value of `u64` is legal.
    pub index: u64,
}

/// Whose metadata a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The store as a whole.
    Store,
    /// One replica.
    Replica(ReplicaId),
}

/// The key of one metadata value. The store's slots sort before every replica's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetaKey {
    /// Whose metadata.
    pub scope: Scope,
    /// Which value: slots below [`FIRST_USER_SLOT`] belong to the log.
    pub slot: u16,
}

/// Slots from here up belong to the user; those below belong to the log.
pub const FIRST_USER_SLOT: u16 = 256;

/// The length of an encoded entry key.
pub const LOG_KEY_LEN: usize = 29;
/// The length of an encoded key of a replica's metadata.
pub const REPLICA_META_KEY_LEN: usize = 19;
/// The length of an encoded key of the store's metadata.
pub const STORE_META_KEY_LEN: usize = 3;
/// The length of the chunk number behind a key.
const CHUNK_LEN: usize = 4;
/// How much of an entry key names the replica: engines with a table per replica leave it out.
const REPLICA_PREFIX_LEN: usize = 17;

const KIND_STORE_META: u8 = 1;
const KIND_REPLICA_META: u8 = 2;
const KIND_ENTRY: u8 = 3;

/// An encoded key, kept in place: no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyBytes {
    bytes: [u8; LOG_KEY_LEN + CHUNK_LEN],
    len: usize,
}

impl KeyBytes {
    fn new() -> Self {
        Self { bytes: [0; LOG_KEY_LEN + CHUNK_LEN], len: 0 }
    }

    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }

    fn push_replica(&mut self, replica: ReplicaId) {
        self.push(&replica.group.to_be_bytes());
        self.push(&replica.node.to_be_bytes());
    }

    /// Chunk 0 is the key itself.
    fn push_chunk(mut self, chunk: u32) -> Self {
        if chunk > 0 {
            self.push(&chunk.to_be_bytes());
        }
        self
    }

    /// An entry key without its replica: `[be32 incarnation] [be64 index] [be32 chunk]?`, for
    /// engines that keep a table per replica. [`LogKey::decode_within`] reads it.
    pub fn within_replica(&self) -> &[u8] {
        self.get(REPLICA_PREFIX_LEN..).unwrap_or_default()
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for KeyBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl LogKey {
    /// The canonical bytes of this key.
    ///
    /// # Examples
    ///
    /// ```
    /// use kvlogdb_engine_api::{LogKey, LogName, ReplicaId};
    ///
    /// let log = LogName { replica: ReplicaId { group: 1, node: 2 }, incarnation: 3 };
    /// let bytes = log.at(4).encode();
    /// assert_eq!(bytes.len(), 29);
    /// assert_eq!(LogKey::decode(&bytes), Some((log.at(4), 0)));
    /// ```
    pub fn encode(self) -> KeyBytes {
        self.encode_chunk(0)
    }

    /// The bytes of one piece of this key's value; piece 0 is under the key itself.
    pub fn encode_chunk(self, chunk: u32) -> KeyBytes {
        let mut key = KeyBytes::new();
        key.push(&[KIND_ENTRY]);
        key.push_replica(self.log.replica);
        key.push(&self.log.incarnation.to_be_bytes());
        key.push(&self.index.to_be_bytes());
        key.push_chunk(chunk)
    }

    /// The largest bytes that any piece of this key's value can have.
    pub fn encode_last(self) -> KeyBytes {
        self.encode_chunk(u32::MAX)
    }

    /// Reads canonical bytes: the key and the piece. `None` where they are no entry key.
    pub fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let (&KIND_ENTRY, rest) = bytes.split_first()? else {
            return None;
        };
        let (replica, rest) = decode_replica(rest)?;
        Self::decode_within(replica, rest)
    }

    /// Reads bytes made by [`KeyBytes::within_replica`].
    pub fn decode_within(replica: ReplicaId, bytes: &[u8]) -> Option<(Self, u32)> {
        let (incarnation, rest) = bytes.split_first_chunk::<4>()?;
        let (index, rest) = rest.split_first_chunk::<8>()?;
        let log = LogName { replica, incarnation: u32::from_be_bytes(*incarnation) };
        Some((log.at(u64::from_be_bytes(*index)), decode_chunk(rest)?))
    }
}

impl MetaKey {
    /// The key of one of the store's slots.
    pub fn store(slot: u16) -> Self {
        Self { scope: Scope::Store, slot }
    }

    /// The key of one of a replica's slots.
    pub fn replica(replica: ReplicaId, slot: u16) -> Self {
        Self { scope: Scope::Replica(replica), slot }
    }

    /// The canonical bytes of this key.
    pub fn encode(self) -> KeyBytes {
        self.encode_chunk(0)
    }

    /// The bytes of one piece of this key's value; piece 0 is under the key itself.
    pub fn encode_chunk(self, chunk: u32) -> KeyBytes {
        let mut key = KeyBytes::new();
        match self.scope {
            Scope::Store => key.push(&[KIND_STORE_META]),
            Scope::Replica(replica) => {
                key.push(&[KIND_REPLICA_META]);
                key.push_replica(replica);
            }
        }
        key.push(&self.slot.to_be_bytes());
        key.push_chunk(chunk)
    }

    /// The largest bytes that any piece of this key's value can have.
    pub fn encode_last(self) -> KeyBytes {
        self.encode_chunk(u32::MAX)
    }

    /// Reads canonical bytes: the key and the piece. `None` where they are no metadata key.
    pub fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let (&kind, rest) = bytes.split_first()?;
        let (scope, rest) = match kind {
            KIND_STORE_META => (Scope::Store, rest),
            KIND_REPLICA_META => {
                let (replica, rest) = decode_replica(rest)?;
                (Scope::Replica(replica), rest)
            }
            _ => return None,
        };
        let (slot, rest) = rest.split_first_chunk::<2>()?;
        Some((Self { scope, slot: u16::from_be_bytes(*slot) }, decode_chunk(rest)?))
    }
}

impl fmt::Display for MetaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::Store => write!(f, "store slot {}", self.slot),
            Scope::Replica(replica) => write!(f, "replica {replica} slot {}", self.slot),
        }
    }
}

fn decode_replica(bytes: &[u8]) -> Option<(ReplicaId, &[u8])> {
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    let replica =
        ReplicaId { group: BigEndian::read_u64(&id[..8]), node: BigEndian::read_u64(&id[8..]) };
    Some((replica, rest))
}

/// No bytes are piece 0; an encoded 0 is not canonical.
fn decode_chunk(bytes: &[u8]) -> Option<u32> {
    match bytes.len() {
        0 => Some(0),
        CHUNK_LEN => Some(BigEndian::read_u32(bytes)).filter(|&chunk| chunk > 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [u64; 5] = [0, 1, 255, u64::MAX - 1, u64::MAX];

    fn log_keys() -> Vec<LogKey> {
        let mut keys = Vec::new();
        for group in EDGES {
            for node in EDGES {
                for incarnation in [0, 1, u32::MAX] {
                    let log = LogName { replica: ReplicaId { group, node }, incarnation };
                    keys.extend(EDGES.map(|index| log.at(index)));
                }
            }
        }
        keys
    }

    #[test]
    fn byte_order_is_the_order_of_the_fields_pieces_included() {
        let keys = log_keys();
        assert!(keys.is_sorted());
        let bytes: Vec<_> = keys
            .iter()
            .flat_map(|key| [key.encode(), key.encode_chunk(1), key.encode_last()])
            .collect();
        assert!(bytes.is_sorted_by(|a, b| a.as_ref() < b.as_ref()));
    }

    #[test]
    fn metadata_sorts_before_entries_and_the_store_before_replicas() {
        let replica = ReplicaId { group: u64::MAX, node: u64::MAX };
        let store = MetaKey::store(u16::MAX).encode_last();
        let meta = MetaKey::replica(ReplicaId::default(), 0).encode();
        let last_meta = MetaKey::replica(replica, u16::MAX).encode_last();
        let entry = LogName::default().at(0).encode();
        let order = [store.as_ref(), meta.as_ref(), last_meta.as_ref(), entry.as_ref()];
        assert!(order.is_sorted());
    }

    #[test]
    fn keys_read_back() {
        for key in log_keys() {
            for chunk in [0, 1, u32::MAX] {
                let bytes = key.encode_chunk(chunk);
                assert_eq!(LogKey::decode(&bytes), Some((key, chunk)));
                let within = LogKey::decode_within(key.log.replica, bytes.within_replica());
                assert_eq!(within, Some((key, chunk)));
                assert_eq!(MetaKey::decode(&bytes), None);
            }
        }
        for key in [MetaKey::store(7), MetaKey::replica(ReplicaId { group: 1, node: 2 }, 300)] {
            for chunk in [0, 1, u32::MAX] {
                assert_eq!(MetaKey::decode(&key.encode_chunk(chunk)), Some((key, chunk)));
                assert_eq!(LogKey::decode(&key.encode_chunk(chunk)), None);
            }
        }
    }

    #[test]
    fn bytes_that_no_key_has_are_refused() {
        let entry = LogName::default().at(0).encode();
        let mut zero_chunk = entry.to_vec();
        zero_chunk.extend([0; 4]);
        for bytes in [&[][..], &[9], &entry[..28], &zero_chunk[..], &zero_chunk[..31]] {
            assert_eq!(LogKey::decode(bytes), None);
            assert_eq!(MetaKey::decode(bytes), None);
        }
    }

    #[test]
    fn the_bytes_are_the_documented_ones() {
        let log = LogName { replica: ReplicaId { group: 0x0102, node: 3 }, incarnation: 4 };
        let mut expected = vec![3];
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(log.at(5).encode().as_ref(), expected);
        assert_eq!(MetaKey::store(0x0102).encode().as_ref(), [1, 1, 2]);
    }
}
