//! All that a store of logs shows to its caller, and where it departs from what it must show.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvlogdb_conformance::reference::Reference;
use kvlogdb_log::{
    Boundary, Entry, EntryKind, HardState, Log, LogId, LogStore, ReplicaId, Snapshot,
};

use crate::failure::chain;
use crate::history::MARKER_GROUP;
use crate::workload::SLOTS;

/// The group of the replicas that a check writes to.
pub(crate) const PROBE_GROUP: u64 = MARKER_GROUP + 1;
/// How many entries of one log are read one by one.
const POINT_READS: usize = 4;

/// One entry, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenEntry {
    pub(crate) id: Boundary,
    pub(crate) kind: EntryKind,
    pub(crate) payload: Bytes,
}

/// One log, as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<Boundary>,
    pub(crate) purged: Option<Boundary>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Option<Bytes>,
    pub(crate) slots: Vec<Option<Bytes>>,
    pub(crate) entries: Vec<SeenEntry>,
}

impl From<&Reference> for Seen {
    fn from(reference: &Reference) -> Self {
        let boundary = usize::from(reference.purged().is_some());
        let ids = reference.ids().into_iter().skip(boundary);
        let entries = reference.entries().zip(ids).map(|(entry, id)| SeenEntry {
            id,
            kind: entry.kind,
            payload: entry.payload.clone(),
        });
        Self {
            first: reference.first_index(),
            last: reference.last(),
            purged: reference.purged().cloned(),
            hard_state: reference.hard_state(),
            snapshot: reference.snapshot().cloned(),
            applied: reference.applied(),
            membership: reference.membership().cloned(),
            slots: SLOTS.into_iter().map(|slot| reference.slot(slot).cloned()).collect(),
            entries: entries.collect(),
        }
    }
}

/// Why a log could not be looked at, in words.
pub(crate) type Unseen = String;

/// Looks at a log; an error where it refuses an answer, and where two answers differ.
pub(crate) fn look(log: &Log) -> Result<Seen, Unseen> {
    let told = |error: kvlogdb_log::Error| chain(&error);
    let outline = outline(log).map_err(told)?;
    let entries = log.entries(.., u64::MAX).map_err(told)?;
    for entry in entries.iter().step_by(entries.len() / POINT_READS + 1) {
        let again = log.entry(entry.id.index).map_err(told)?;
        agree("an entry by itself", &again, entry)?;
    }
    let scanned: Vec<Entry> = log.scan(..).collect::<Result<_, _>>().map_err(told)?;
    agree("a scan", &scanned, &entries)?;
    agree("the number of entries", &log.len().map_err(told)?, &(entries.len() as u64))?;
    let durable = log.durable().map_err(told)?;
    if durable != outline.last {
        return Err(format!("opened, and durable is {durable:?} behind {:?}", outline.last));
    }
    let full = |entry: Entry| -> Result<SeenEntry, Unseen> {
        let id = log.id(entry.id.index).map_err(told)?;
        agree("the id of an entry", &id.id, &entry.id)?;
        Ok(SeenEntry { id, kind: entry.kind, payload: entry.payload })
    };
    let entries = entries.into_iter().map(full).collect::<Result<_, _>>()?;
    Ok(Seen { entries, ..outline })
}

fn agree<T: PartialEq>(what: &str, one: &T, other: &T) -> Result<(), Unseen> {
    if one == other { Ok(()) } else { Err(format!("{what} differs from a read of all")) }
}

fn outline(log: &Log) -> kvlogdb_log::Result<Seen> {
    Ok(Seen {
        first: log.first_index()?,
        last: log.last()?,
        purged: log.purged()?,
        hard_state: log.hard_state()?,
        snapshot: log.snapshot()?,
        applied: log.applied()?,
        membership: log.membership()?,
        slots: SLOTS.into_iter().map(|slot| log.slot(slot)).collect::<Result<_, _>>()?,
        entries: Vec::new(),
    })
}

/// Everything that a store shows.
pub(crate) type Shown = BTreeMap<ReplicaId, Result<Seen, Unseen>>;

/// Looks at every replica but those that checks have written to.
pub(crate) fn look_at_all(store: &LogStore) -> Result<Shown, Unseen> {
    let all = store.replicas().map_err(|error| chain(&error))?;
    let all = all.into_iter().filter(|replica| replica.group != PROBE_GROUP);
    Ok(all.map(|replica| (replica, look(&store.log(replica)))).collect())
}

/// What of a log differs, each part with what was found and what was wanted.
pub(crate) fn differences(found: &Seen, wanted: &Seen) -> Vec<String> {
    let mut all = Vec::new();
    let mut part = |name: &str, found: String, wanted: String| {
        if found != wanted {
            all.push(format!("{name} is {}, wanted {}", short(found), short(wanted)));
        }
    };
    part("purged", format!("{:?}", found.purged), format!("{:?}", wanted.purged));
    part("first", format!("{:?}", found.first), format!("{:?}", wanted.first));
    part("last", format!("{:?}", found.last), format!("{:?}", wanted.last));
    part("hard state", format!("{:?}", found.hard_state), format!("{:?}", wanted.hard_state));
    part("snapshot", format!("{:?}", found.snapshot), format!("{:?}", wanted.snapshot));
    part("applied", format!("{:?}", found.applied), format!("{:?}", wanted.applied));
    part("membership", format!("{:?}", found.membership), format!("{:?}", wanted.membership));
    part("slots", format!("{:?}", found.slots), format!("{:?}", wanted.slots));
    let differ = found.entries.iter().zip(&wanted.entries).position(|(one, other)| one != other);
    let shorter = found.entries.len().min(wanted.entries.len());
    let at = differ.or((found.entries.len() != wanted.entries.len()).then_some(shorter));
    if let Some(at) = at {
        let name = |entries: &[SeenEntry]| match entries.get(at) {
            Some(entry) => format!("{} with {} B", entry.id.id, entry.payload.len()),
            None => "nothing".to_owned(),
        };
        let counts = (found.entries.len(), wanted.entries.len());
        all.push(format!(
            "entry {at} is {}, wanted {}; {} entries, wanted {}",
            name(&found.entries),
            name(&wanted.entries),
            counts.0,
            counts.1
        ));
    }
    all
}

/// How much of a long value a difference shows.
const SHOWN_CHARS: usize = 120;

fn short(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", text.split_at(end).0),
        None => text,
    }
}
