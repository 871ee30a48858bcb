//! All that a log shows to its caller.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvlogdb_log::{
    Boundary, Entry, EntryKind, FIRST_USER_SLOT, HardState, Log, LogId, LogStore, ReplicaId,
    Snapshot,
};

use crate::failure::{Checked, Context, expect_eq};
use crate::model::same;
use crate::reference::{Reference, References};

/// How many entries of one log are read one by one.
const POINT_READS: usize = 20;
/// The slots of the user that the cases write to.
const USER_SLOTS: [u16; 3] = [FIRST_USER_SLOT, FIRST_USER_SLOT + 1, u16::MAX];

/// One log as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    outline: Outline,
    /// Each entry by its full id and its kind.
    entries: Vec<((Boundary, EntryKind), Bytes)>,
}

/// Everything but the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outline {
    first: Option<u64>,
    last: Option<Boundary>,
    len: u64,
    purged: Option<Boundary>,
    hard_state: Option<HardState>,
    applied: Option<LogId>,
    snapshot: Option<Snapshot>,
    membership: Option<Bytes>,
    slots: Vec<Option<Bytes>>,
}

/// Looks at a log in every way that there is, and fails where two of them differ.
pub(crate) fn view(log: &Log) -> Checked<View> {
    let entries = log.entries(.., u64::MAX).during("reading all entries")?;
    let scanned = log.scan(..).collect::<kvlogdb_log::Result<Vec<_>>>().during("scanning")?;
    expect_eq("a scan and a read of all", &scanned, &entries)?;
    for entry in entries.iter().step_by(entries.len() / POINT_READS + 1) {
        expect_eq("an entry by itself", &log.entry(entry.id.index)?, entry)?;
        expect_eq("its term", &log.term(entry.id.index)?, &entry.id.term)?;
    }
    let outline = outline(log)?;
    expect_eq("the number of entries", &outline.len, &(entries.len() as u64))?;
    expect_eq("whether there is none", &log.is_empty()?, &entries.is_empty())?;
    let last = outline.last.as_ref().map(|last| last.id);
    expect_eq("the last index and the last id", &log.last_index()?, &last.map(|id| id.index))?;
    if let (Some(first), Some(end)) = (entries.first(), entries.last()) {
        expect_eq("the first index", &outline.first, &Some(first.id.index))?;
        expect_eq("the last id", &last, &Some(end.id))?;
    }
    let named = |entry: Entry| Ok(((log.id(entry.id.index)?, entry.kind), entry.payload));
    Ok(View { outline, entries: entries.into_iter().map(named).collect::<Checked<_>>()? })
}

fn outline(log: &Log) -> Checked<Outline> {
    let slots = USER_SLOTS.into_iter().map(|slot| log.slot(slot));
    Ok(Outline {
        first: log.first_index()?,
        last: log.last()?,
        len: log.len()?,
        purged: log.purged()?,
        hard_state: log.hard_state()?,
        applied: log.applied()?,
        snapshot: log.snapshot()?,
        membership: log.membership()?,
        slots: slots.collect::<kvlogdb_log::Result<_>>()?,
    })
}

impl From<&Reference> for View {
    fn from(reference: &Reference) -> Self {
        let outline = Outline {
            first: reference.first_index(),
            last: reference.last(),
            len: reference.entries().len() as u64,
            purged: reference.purged().cloned(),
            hard_state: reference.hard_state(),
            applied: reference.applied(),
            snapshot: reference.snapshot().cloned(),
            membership: reference.membership().cloned(),
            slots: USER_SLOTS.into_iter().map(|slot| reference.slot(slot).cloned()).collect(),
        };
        let boundary = reference.purged().is_some();
        let ids = reference.ids().into_iter().skip(usize::from(boundary));
        let entries = reference.entries().zip(ids);
        let entries = entries.map(|(entry, id)| ((id, entry.kind), entry.payload.clone()));
        Self { outline, entries: entries.collect() }
    }
}

/// What every replica of a store must show.
pub(crate) fn views_of(references: &References) -> BTreeMap<ReplicaId, View> {
    references.existing().map(|(id, reference)| (id, View::from(reference))).collect()
}

/// What every replica of a store shows.
pub(crate) fn views(store: &LogStore) -> Checked<BTreeMap<ReplicaId, View>> {
    let all = store.replicas().during("listing replicas")?;
    let one = |id| Ok((id, view(&store.log(id)).during(format_args!("replica {id}"))?));
    all.into_iter().map(one).collect()
}

/// Fails unless the replicas show the same, and says where they part.
pub(crate) fn same_views(
    found: &BTreeMap<ReplicaId, View>,
    wanted: &BTreeMap<ReplicaId, View>,
) -> Checked {
    let names = |views: &BTreeMap<ReplicaId, View>| -> Vec<String> {
        views.keys().map(ToString::to_string).collect()
    };
    expect_eq("the list of replicas", &names(found), &names(wanted))?;
    for ((id, found), wanted) in found.iter().zip(wanted.values()) {
        expect_eq(format_args!("replica {id}"), &found.outline, &wanted.outline)?;
        same(format_args!("entries of replica {id}"), &found.entries, &wanted.entries)?;
    }
    Ok(())
}
