//! What a store holds, told without opening a log over it and without changing anything.

use std::path::Path;

use kvlogdb_engine_api::{Error as EngineError, KvLogDb, ReplicaId};

use crate::record::Header;
use crate::recover::{self, Metadata};
use crate::sidecar::{Reading, Sidecar};
use crate::state::Replica;
use crate::types::{HardState, LogId};
use crate::{Error, Result};

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The mark in the store's own record; `None` for a store that no log was ever opened over.
    /// An error says why the record cannot be read.
    pub mark: Result<Option<u64>, String>,
    /// The mark in the sidecar; `None` where it is missing or cannot be read. One above
    /// [`mark`](Self::mark) says that the engine lost synced data.
    pub sidecar: Option<u64>,
    /// Every replica that has a record, in order, or why it is refused.
    pub replicas: Vec<(ReplicaId, Result<Surveyed, String>)>,
}

/// One replica as its metadata and the two ends of its log tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Surveyed {
    /// Whether the replica was removed, and is here because its entries still wait for deletion.
    pub removed: bool,
    /// The first index of the log, `None` where it has no entry.
    pub first: Option<u64>,
    /// The last id; for a log that a purge has emptied, the purged one.
    pub last: Option<LogId>,
    /// How many entries the log has.
    pub entries: u64,
    /// The sum of the sizes of their records.
    pub record_bytes: u64,
    /// The last purged id.
    pub purged: Option<LogId>,
    /// Term, vote and commit index.
    pub hard_state: Option<HardState>,
    /// The last id that the recorded snapshot covers.
    pub snapshot: Option<LogId>,
    /// How far the state machine was recorded to have applied the log.
    pub applied: Option<LogId>,
    /// How many indexes wait for deletion; some of them may never have had an entry.
    pub trash: u64,
}

/// Reads all metadata and the first and last record of each log.
///
/// # Errors
///
/// Failures of the engine and of the file system. Damage is in the answer, where the engine can
/// read its metadata at all.
pub fn survey(engine: &dyn KvLogDb, sidecar: Option<&Path>) -> Result<Survey> {
    let metadata = Metadata::read(engine)?;
    let reading = sidecar.map_or(Ok(Reading::Missing), Sidecar::read);
    let reading = reading.map_err(|error| EngineError::io("read the sidecar", error))?;
    let mut replicas = Vec::with_capacity(metadata.replicas.len());
    for (id, replica) in metadata.replicas {
        let completed = match replica {
            Ok(replica) => recover::complete(engine, id, replica)?,
            Err(what) => Err(what),
        };
        let surveyed = match completed {
            Ok(replica) => describe(engine, id, &replica)?,
            Err(what) => Err(what),
        };
        replicas.push((id, surveyed));
    }
    let mark = match metadata.store {
        Ok(record) => Ok(record.map(|record| record.mark)),
        Err(error) => Err(error.to_string()),
    };
    let sidecar = match reading {
        Reading::Mark(mark) => Some(mark),
        Reading::Missing | Reading::Damaged => None,
    };
    Ok(Survey { mark, sidecar, replicas })
}

/// The inner error is damage.
fn describe(
    engine: &dyn KvLogDb,
    id: ReplicaId,
    replica: &Replica,
) -> Result<Result<Surveyed, String>> {
    let ends = match (replica.runs.first(), replica.tail) {
        (Some(first), Some(tail)) => Some((first, tail)),
        _ => None,
    };
    let record_bytes = match ends {
        None => 0,
        Some((first, tail)) => match bytes_before(engine, id, replica, first) {
            Ok(before) => tail.log_bytes.saturating_sub(before),
            Err(Error::Corrupt { what, .. } | Error::Engine(EngineError::Corrupt { what, .. })) => {
                return Ok(Err(format!("its first entry, at index {first}: {what}")));
            }
            Err(other) => return Err(other),
        },
    };
    let waiting = replica.trash.ranges().iter();
    Ok(Ok(Surveyed {
        removed: !replica.exists(),
        first: ends.map(|(first, _)| first),
        last: replica.last_id(),
        entries: ends.map_or(0, |(first, tail)| tail.index.saturating_sub(first).saturating_add(1)),
        record_bytes,
        purged: replica.purged.as_ref().map(|purged| purged.id),
        hard_state: replica.hard_state,
        snapshot: replica.snapshot,
        applied: replica.applied,
        trash: waiting.fold(0, |sum: u64, range| {
            sum.saturating_add(range.last.saturating_sub(range.first).saturating_add(1))
        }),
    }))
}

/// The log bytes before the entry at `first`.
fn bytes_before(engine: &dyn KvLogDb, id: ReplicaId, replica: &Replica, first: u64) -> Result<u64> {
    let key = replica.log(id).at(first);
    let record = engine.entry(key)?.ok_or_else(|| Error::corrupt(id, first, "it is missing"))?;
    let (header, _) = Header::decode(key, &record)
        .map_err(|error| Error::corrupt(id, first, error.to_string()))?;
    Ok(header.log_bytes.saturating_sub(record.len() as u64))
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
