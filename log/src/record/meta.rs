//! Metadata records: one header, and a body for each slot of the log.

use byteorder::{ByteOrder, LittleEndian};
use kvlogdb_engine_api::MetaKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Unreadable, VERSION, checksum};
use crate::LogId;
use crate::runs::TermRuns;
use crate::types::{Boundary, Leader};

/// The size of a metadata record without its body.
pub(crate) const META_HEADER_BYTES: usize = 5;

/// The slots of the log.
pub(crate) mod slot {
    /// The store's own record, in the store's scope.
    pub(crate) const STORE: u16 = 0;
    /// In the store's scope, too.
    pub(crate) const CENSUS: u16 = 1;
    pub(crate) const STATE: u16 = 0;
    pub(crate) const HARD_STATE: u16 = 1;
    pub(crate) const SNAPSHOT: u16 = 2;
    pub(crate) const APPLIED: u16 = 3;
    pub(crate) const MEMBERSHIP: u16 = 4;
    pub(crate) const TRASH: u16 = 5;
    /// The last index that a mark vouches for, or one that is left of it.
    pub(crate) const MARKED: u16 = 6;
}

/// The store's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreRecord {
    /// Counts the synced batches that the sidecar vouches for.
    pub(crate) mark: u64,
}

/// How a replica's entries are arranged: one after the other without holes.
const SHAPE_RAFT: u8 = 0;

/// A replica's state as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    shape: u8,
    incarnation: u32,
    purged: Option<RunRecord>,
    runs: Vec<RunRecord>,
    /// How many other records the replica has, as [`Replica`](crate::state::Replica) counts them.
    others: u32,
}

/// A term run by its first index; as the boundary, the purged id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RunRecord {
    index: u64,
    term: u64,
    leader: Vec<u8>,
}

impl StateRecord {
    pub(crate) fn new(
        incarnation: u32,
        purged: Option<&Boundary>,
        runs: &TermRuns,
        others: u32,
    ) -> Self {
        let purged = purged.map(|purged| RunRecord {
            index: purged.id.index,
            term: purged.id.term,
            leader: purged.leader.as_bytes().to_vec(),
        });
        let runs = runs.iter().map(|run| RunRecord {
            index: run.first,
            term: run.term,
            leader: run.leader.as_bytes().to_vec(),
        });
        Self { shape: SHAPE_RAFT, incarnation, purged, runs: runs.collect(), others }
    }

    /// How many other records the replica has.
    pub(crate) fn others(&self) -> u32 {
        self.others
    }

    /// Incarnation, boundary and term runs; an error says which rule the record breaks.
    pub(crate) fn into_parts(self) -> Result<(u32, Option<Boundary>, TermRuns), &'static str> {
        if self.shape != SHAPE_RAFT {
            return Err("its log has a shape that this version does not know");
        }
        let named = |run: RunRecord| {
            let leader =
                Leader::new(run.leader).map_err(|_| "a leader in its state is too long")?;
            Ok((LogId::new(run.term, run.index), leader))
        };
        let purged = self.purged.map(named).transpose()?;
        let purged = purged.map(|(id, leader)| Boundary { id, leader });
        let mut runs = TermRuns::default();
        for run in self.runs {
            let (id, leader) = named(run)?;
            if !runs.append(id.index, id.term, &leader) {
                return Err("the term runs in its state are out of order");
            }
        }
        if let (Some(purged), Some(first)) = (&purged, runs.first())
            && purged.id.index.checked_add(1) != Some(first)
        {
            return Err("the first index in its state does not follow the boundary");
        }
        Ok((self.incarnation, purged, runs))
    }
}

/// The header of the record under `key` whose body is the concatenation of `parts`.
pub(crate) fn header(key: MetaKey, parts: [&[u8]; 2]) -> [u8; META_HEADER_BYTES] {
    let mut bytes = [0; META_HEADER_BYTES];
    bytes[4] = VERSION;
    let crc = checksum(&key.encode(), &[&bytes[4..], parts[0], parts[1]]);
    LittleEndian::write_u32(&mut bytes[..4], crc);
    bytes
}

/// The body of the record under `key`.
pub(crate) fn body(key: MetaKey, record: &[u8]) -> Result<&[u8], Unreadable> {
    let (bytes, body) = record.split_first_chunk::<META_HEADER_BYTES>().ok_or(Unreadable::Short)?;
    if checksum(&key.encode(), &[&bytes[4..], body]) != LittleEndian::read_u32(&bytes[..4]) {
        return Err(Unreadable::Checksum);
    }
    if bytes[4] != VERSION {
        return Err(Unreadable::Version);
    }
    Ok(body)
}

/// A body that postcard writes.
pub(crate) fn to_body<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing plain structures to memory has no way to fail.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// A body that postcard reads, to its last byte.
pub(crate) fn from_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(Unreadable::Body),
    }
}

/// The id in a snapshot's body, and the caller's bytes behind it.
pub(crate) fn decode_snapshot_id(body: &[u8]) -> Result<(LogId, &[u8]), Unreadable> {
    let ((term, index), data) = postcard::take_from_bytes(body).map_err(|_| Unreadable::Body)?;
    Ok((LogId::new(term, index), data))
}
