//! Which entries a log can do without: by count, bytes and age.

use std::ops::RangeInclusive;
use std::time::Duration;

use kvlogdb_engine_api::Durability;

use crate::accept::now_ms;
use crate::record::{Header, RECORD_HEADER_BYTES};
use crate::state::Replica;
use crate::{Error, Log, LogBatch, LogId, Result};

/// How much of a log is kept. An entry that exceeds any of the limits can go; without a limit none
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Retention {
    /// How many entries.
    pub max_entries: Option<u64>,
    /// How many bytes of records: payloads, and 32 bytes an entry.
    pub max_bytes: Option<u64>,
    /// How long after they were appended. The log's own clock never goes back: a system clock
    /// that does makes entries look younger, and nothing goes early.
    pub max_age: Option<Duration>,
}

impl Log {
    /// Purges what exceeds `keep`, and never anything above `last_removable`: the caller knows
    /// what its snapshots cover and what others still need. Answers the last id that went, `None`
    /// where none did. Looks at a few records, not at the log.
    ///
    /// # Errors
    ///
    /// As [`LogBatch::purge_through`], and [`Error::Corrupt`] for a damaged record on the way.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use kvlogdb_engine_api::MemoryEngine;
    /// use kvlogdb_log::{Durability, Entry, LogOptions, LogStore, ReplicaId, Retention};
    ///
    /// # let store = LogStore::open(|| Ok(Arc::new(MemoryEngine::new())), LogOptions::default())?;
    /// let log = store.log(ReplicaId::from(1));
    /// let entries: Vec<_> = (1..=10).map(|index| Entry::new(1, index, "entry")).collect();
    /// log.append(entries, Durability::Synced)?;
    /// let keep = Retention { max_entries: Some(3), ..Retention::default() };
    /// log.retain(&keep, 5, Durability::Synced)?; // only 5 may go, although 7 exceed the limit
    /// assert_eq!(log.first_index()?, Some(6));
    /// # Ok::<(), kvlogdb_log::Error>(())
    /// ```
    pub fn retain(
        &self,
        keep: &Retention,
        last_removable: u64,
        durability: Durability,
    ) -> Result<Option<LogId>> {
        let state = self.state()?;
        let (Some(first), Some(tail)) = (state.runs.first(), state.tail) else {
            return Ok(None);
        };
        let last = tail.index.min(last_removable);
        let mut target = keep.max_entries.and_then(|most| tail.index.checked_sub(most));
        if let Some(most) = keep.max_bytes {
            let over = |at: Facts| tail.log_bytes.saturating_sub(at.log_bytes) + at.bytes > most;
            target = target.max(self.last_where(&state, first..=last, over)?);
        }
        if let Some(most) = keep.max_age {
            let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
            let oldest_ms = now_ms().saturating_sub(most_ms);
            let over = |at: Facts| at.appended_at_ms < oldest_ms;
            target = target.max(self.last_where(&state, first..=last, over)?);
        }
        let target = target.map(|target| target.min(last)).filter(|&target| target >= first);
        let Some(boundary) = target.and_then(|target| state.at(target)) else {
            return Ok(None);
        };
        let (mut batch, id) = (LogBatch::new(), boundary.id);
        batch.purge_through(self.replica, boundary);
        self.store.write(&batch, durability)?;
        Ok(Some(id))
    }

    /// The last index in `range` of which `over` holds; it holds up to some index and not beyond.
    fn last_where(
        &self,
        state: &Replica,
        range: RangeInclusive<u64>,
        over: impl Fn(Facts) -> bool,
    ) -> Result<Option<u64>> {
        let (mut from, mut to) = range.into_inner();
        let mut found = None;
        while from <= to {
            let middle = from + (to - from) / 2;
            if over(self.facts(state, middle)?) {
                found = Some(middle);
                let Some(next) = middle.checked_add(1) else { break };
                from = next;
            } else {
                let Some(before) = middle.checked_sub(1) else { break };
                to = before;
            }
        }
        Ok(found)
    }

    /// What the record at `index` says. One that the engine does not have yet is the newest there
    /// is, and its size is known from memory.
    fn facts(&self, state: &Replica, index: u64) -> Result<Facts> {
        let key = state.log(self.replica).at(index);
        let view = self.store.core().read_served().view(self.replica)?;
        let Some(record) = view.engine.entry(key)? else {
            return self.facts_in_memory(state, index);
        };
        let (header, _) = Header::decode(key, &record)
            .map_err(|error| Error::corrupt(self.replica, index, error.to_string()))?;
        let Header { appended_at_ms, log_bytes, .. } = header;
        Ok(Facts { appended_at_ms, log_bytes, bytes: record.len() as u64 })
    }

    fn facts_in_memory(&self, state: &Replica, index: u64) -> Result<Facts> {
        let served = self.store.core().read_served();
        let missing = || Error::Unavailable { replica: self.replica, index };
        let live = served.live(self.replica)?.ok_or_else(missing)?;
        let entry = live.cached.from(index).next().ok_or_else(missing)?;
        let bytes = (RECORD_HEADER_BYTES + entry.payload.len()) as u64;
        let log_bytes = live.log_bytes_through(index).ok_or_else(missing)?;
        Ok(Facts { appended_at_ms: state.appended_at_ms, log_bytes, bytes })
    }
}

/// What limits are held against.
#[derive(Debug, Clone, Copy)]
struct Facts {
    appended_at_ms: u64,
    /// The log bytes through the entry, and its own among them.
    log_bytes: u64,
    bytes: u64,
}
