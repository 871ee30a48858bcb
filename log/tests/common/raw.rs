//! Records as they stand in the engine, made from the documented layout and not by the crate.

use kvlogdb_engine_api::{LogKey, LogName, MetaKey, ReplicaId, WriteBatch};
use serde::Serialize;

/// Slots of the log, by their number on the disk.
pub(crate) const STATE: u16 = 0;
pub(crate) const HARD_STATE: u16 = 1;
pub(crate) const MEMBERSHIP: u16 = 4;
pub(crate) const TRASH: u16 = 5;

/// A replica's log in one of its lives.
pub(crate) fn life(replica: ReplicaId, incarnation: u32) -> LogName {
    LogName { replica, incarnation }
}

/// The fields of an entry record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) term: u64,
    pub(crate) appended_at_ms: u64,
    pub(crate) log_bytes: u64,
}

/// An entry record with a checksum that is right.
pub(crate) fn entry_record(key: LogKey, fields: Fields, payload: &[u8]) -> Vec<u8> {
    let mut rest = vec![1, 0, 0, 0];
    rest.extend(fields.term.to_le_bytes());
    rest.extend(fields.appended_at_ms.to_le_bytes());
    rest.extend(fields.log_bytes.to_le_bytes());
    rest.extend(payload);
    sealed(&key.encode(), &rest)
}

/// The fields of an entry record, taken from its bytes.
pub(crate) fn fields(record: &[u8]) -> Fields {
    let at = |from: usize| u64::from_le_bytes(record[from..from + 8].try_into().unwrap());
    Fields { term: at(8), appended_at_ms: at(16), log_bytes: at(24) }
}

/// A metadata record with a checksum that is right.
pub(crate) fn meta_record(key: MetaKey, body: &[u8]) -> Vec<u8> {
    sealed(&key.encode(), &[&[1], body].concat())
}

fn sealed(key: &[u8], rest: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), rest);
    [&crc.to_le_bytes(), rest].concat()
}

/// A term run or a boundary: index, term, leader.
pub(crate) type Run = (u64, u64, Vec<u8>);

/// The body of a state record: shape, incarnation, boundary, term runs, and how many other records
/// the replica has.
pub(crate) fn state_body(
    incarnation: u32,
    purged: Option<Run>,
    runs: Vec<Run>,
    others: u32,
) -> Vec<u8> {
    body(&(0u8, incarnation, purged, runs, others))
}

pub(crate) fn body(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap()
}

/// Puts a metadata record of a replica.
pub(crate) fn put_meta(batch: &mut WriteBatch, replica: ReplicaId, slot: u16, body: &[u8]) {
    let key = MetaKey::replica(replica, slot);
    batch.put_meta(key, &[&meta_record(key, body)]).unwrap();
}
