//! Entries on their way in and out: openraft's in runs of one leader, the log's in batches.

use bytes::Bytes;
use kvlogdb_log::{
    Boundary, Entry, EntryKind, Error as LogError, Leader, LogBatch, LogId, MAX_PAYLOAD_BYTES,
    ReplicaId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::Cause;

/// About how much one batch of an append takes; a larger append is several, in order.
const BATCH_BYTES: usize = 16 << 20;
/// What an entry takes in a batch beside its payload, at the most.
const ENTRY_BYTES: usize = 256;

/// What the adapter has to know of an entry of openraft's.
pub(crate) struct Parts<L> {
    /// The leader in the entry's log id.
    pub(crate) leader: L,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) kind: EntryKind,
}

/// The batches that append `entries` to a log, in order.
pub(crate) fn batches<E: Serialize, L: PartialEq + Serialize>(
    replica: ReplicaId,
    entries: impl IntoIterator<Item = E>,
    parts: impl Fn(&E) -> Result<Parts<L>, Cause>,
) -> Result<Vec<LogBatch>, Cause> {
    let mut append = Append { replica, ..Append::default() };
    let mut current = None;
    for entry in entries {
        let Parts { leader, term, index, kind } = parts(&entry)?;
        if current.as_ref() != Some(&leader) {
            append.end_run();
            append.leader = leader_name(&leader)?;
            current = Some(leader);
        }
        let payload = Bytes::from(codec::encode("an entry", &entry)?);
        check_len(payload.len())?;
        append.push(Entry { id: LogId::new(term, index), kind, payload });
    }
    append.end_batch();
    Ok(append.batches)
}

fn check_len(len_bytes: usize) -> Result<(), Cause> {
    if len_bytes > MAX_PAYLOAD_BYTES {
        let (what, limit_bytes) = ("an entry", MAX_PAYLOAD_BYTES);
        return Err(LogError::TooLarge { what, len_bytes, limit_bytes }.into());
    }
    Ok(())
}

/// An append as far as it was made.
#[derive(Default)]
struct Append {
    replica: ReplicaId,
    batches: Vec<LogBatch>,
    /// The batch and the run that are not ended yet, and about what both take.
    batch: LogBatch,
    run: Vec<Entry>,
    bytes: usize,
    /// Who leads the run.
    leader: Leader,
}

impl Append {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.payload.len() + ENTRY_BYTES;
        self.run.push(entry);
        if self.bytes >= BATCH_BYTES {
            self.end_batch();
        }
    }

    fn end_run(&mut self) {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.batch.append_led(self.replica, self.leader.clone(), run);
        }
    }

    fn end_batch(&mut self) {
        self.end_run();
        if !self.batch.is_empty() {
            self.batches.push(std::mem::take(&mut self.batch));
        }
        self.bytes = 0;
    }
}

/// The name under which the log keeps the leader of a log id.
fn leader_name(leader: &impl Serialize) -> Result<Leader, Cause> {
    Ok(Leader::new(codec::encode("a leader", leader)?)?)
}

/// A log id in the words of the log.
pub(crate) fn boundary(leader: &impl Serialize, term: u64, index: u64) -> Result<Boundary, Cause> {
    Ok(Boundary { id: LogId::new(term, index), leader: leader_name(leader)? })
}

/// The leader of a log id that the log keeps.
pub(crate) fn leader<L: DeserializeOwned>(
    what: &'static str,
    boundary: &Boundary,
    term: impl Fn(&L) -> Option<u64>,
) -> Result<L, Cause> {
    let leader: L = codec::decode(what, boundary.leader.as_bytes())?;
    if term(&leader) != Some(boundary.id.term) {
        let reason = format!("it has another term than {}", boundary.id);
        return Err(Cause::Undecodable { what, reason });
    }
    Ok(leader)
}

/// Entries of openraft's from those of the log. `id` gives term and index of one, which must be
/// those under which it was kept.
pub(crate) fn decode<E: DeserializeOwned>(
    entries: &[Entry],
    id: impl Fn(&E) -> (Option<u64>, u64),
) -> Result<Vec<E>, Cause> {
    let decode = |entry: &Entry| {
        let what = "an entry";
        let decoded: E = codec::decode(what, &entry.payload)?;
        if id(&decoded) != (Some(entry.id.term), entry.id.index) {
            let reason = format!("it was kept as {} and says otherwise", entry.id);
            return Err(Cause::Undecodable { what, reason });
        }
        Ok(decoded)
    };
    entries.iter().map(decode).collect()
}
