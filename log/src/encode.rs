//! Turns a plan into an engine's batch: the records' bytes and their checksums.

use kvlogdb_engine_api::{LogName, WriteBatch};

use crate::plan::Step;
use crate::record::{self, Header, RECORD_HEADER_BYTES};
use crate::types::Entry;
use crate::{Error, Result};

/// Adds the operations of `steps` to `batch`.
///
/// # Errors
///
/// [`Error::TooLarge`] where they do not fit into one batch.
pub(crate) fn encode(steps: &[Step<'_>], batch: &mut WriteBatch) -> Result<()> {
    for step in steps {
        match step {
            Step::Put { log, entries, log_bytes, appended_at_ms } => {
                put_entries(*log, entries, *log_bytes, *appended_at_ms, batch)?;
            }
            Step::Remove { log, first, last, .. } => batch.remove_entries(*log, *first, *last),
            Step::PutMeta { key, body, data } => {
                let header = record::header(*key, [body, data]);
                batch.put_meta(*key, &[&header, body, data]).map_err(limits)?;
            }
            Step::RemoveMeta { key } => batch.remove_meta(*key),
        }
    }
    Ok(())
}

fn put_entries(
    log: LogName,
    entries: &[Entry],
    mut log_bytes: u64,
    appended_at_ms: u64,
    batch: &mut WriteBatch,
) -> Result<()> {
    for entry in entries {
        // A record that was there before may state any number.
        log_bytes = log_bytes.saturating_add((RECORD_HEADER_BYTES + entry.payload.len()) as u64);
        let key = log.at(entry.id.index);
        let header = Header { term: entry.id.term, kind: entry.kind, appended_at_ms, log_bytes };
        let header = header.encode(key, &entry.payload);
        batch.put_entry(key, &[&header, &entry.payload]).map_err(limits)?;
    }
    Ok(())
}

/// The engine's limits are the log's: a caller sees one error for both.
fn limits(error: kvlogdb_engine_api::Error) -> Error {
    match error {
        kvlogdb_engine_api::Error::TooLarge { what, len_bytes, limit_bytes } => {
            Error::TooLarge { what, len_bytes, limit_bytes }
        }
        other => Error::Engine(other),
    }
}
