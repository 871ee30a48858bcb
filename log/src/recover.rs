//! What opening reads: all metadata in one scan and the last record of every log, never the log.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use kvlogdb_engine_api::{Error as EngineError, KvLogDb, MetaKey, Order, ReplicaId, Scope};

use crate::census::{Census, Found};
use crate::record::{self, Header, StoreRecord, slot};
use crate::state::{Replica, Tail};
use crate::{Error, Result};

/// A replica as it is served, or why it is not.
pub(crate) type Held = Result<Arc<Replica>, Arc<str>>;

/// What the engine holds beside entries.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The store's own record; `None` for a store that was never opened.
    pub(crate) store: Option<StoreRecord>,
    pub(crate) census: Census,
    pub(crate) replicas: HashMap<ReplicaId, Held>,
}

/// Reads everything that serving needs.
///
/// # Errors
///
/// Failures of the engine, and damage to the store's own record. Damage to a replica is kept with
/// the replica.
pub(crate) fn read(engine: &dyn KvLogDb) -> Result<Contents> {
    let metadata = Metadata::read(engine)?;
    let census = metadata.census;
    let mut contents = Contents { store: metadata.store?, census, replicas: HashMap::new() };
    for (id, replica) in metadata.replicas {
        let held = match replica {
            Ok(replica) => complete(engine, id, replica)?,
            Err(what) => Err(what),
        };
        contents.replicas.insert(id, held.map(Arc::new).map_err(Arc::from));
    }
    Ok(contents)
}

/// All metadata records, decoded one by one.
pub(crate) struct Metadata {
    pub(crate) store: Result<Option<StoreRecord>>,
    pub(crate) census: Census,
    pub(crate) replicas: BTreeMap<ReplicaId, Result<Replica, String>>,
    found: Found,
}

impl Metadata {
    pub(crate) fn read(engine: &dyn KvLogDb) -> Result<Self> {
        let mut all = Self {
            store: Ok(None),
            census: Census::default(),
            replicas: BTreeMap::new(),
            found: Found::default(),
        };
        engine.scan_meta(&mut |key, bytes| {
            all.take(key, &bytes);
            ControlFlow::Continue(())
        })?;
        all.miss_records();
        Ok(all)
    }

    /// Holds what was found against what must be there: an engine that rots may lose a record, or
    /// know it by another key.
    fn miss_records(&mut self) {
        for replica in self.replicas.values_mut() {
            if let Some(what) = replica.as_ref().ok().and_then(Replica::missing) {
                *replica = Err(what);
            }
        }
        let damaged = self.replicas.iter().filter(|(_, replica)| replica.is_err());
        let intact =
            |id: &ReplicaId| self.found.stated.contains(id) || self.found.others.contains(id);
        self.found.damaged = damaged.map(|(&id, _)| id).filter(|id| !intact(id)).collect();
        if let (Ok(Some(_)), Err(what)) = (&self.store, self.census.check(&self.found)) {
            self.store = Err(Error::StoreDamaged { what });
        }
    }

    fn take(&mut self, key: MetaKey, bytes: &[u8]) {
        match key.scope {
            Scope::Store if key.slot == slot::STORE => {
                let body = record::body(key, bytes).and_then(record::from_body);
                let damaged = |error| Error::StoreDamaged { what: format!("its record: {error}") };
                self.store = body.map(Some).map_err(damaged);
            }
            Scope::Store if key.slot == slot::CENSUS => {
                match record::body(key, bytes).and_then(record::from_body) {
                    Ok(census) => self.census = census,
                    Err(error) => {
                        let what = format!("its census: {error}");
                        self.store = Err(Error::StoreDamaged { what });
                    }
                }
            }
            Scope::Store => {
                self.store = Err(Error::StoreDamaged { what: format!("unknown {key}") });
            }
            Scope::Replica(id) => {
                let replica = self.replicas.entry(id).or_insert_with(|| Ok(Replica::default()));
                let taken = match replica {
                    Ok(replica) => replica.take_record(key, bytes),
                    // What is intact says that the name is right, whatever else is damaged.
                    Err(_) => Replica::default().take_record(key, bytes),
                };
                match taken {
                    Ok(()) => self.found.note(id, key.slot),
                    Err(what) if replica.is_ok() => *replica = Err(what),
                    Err(_) => {}
                }
            }
        }
    }
}

/// Adds what only the log itself can tell: where it ends. The inner error is damage.
pub(crate) fn complete(
    engine: &dyn KvLogDb,
    id: ReplicaId,
    mut replica: Replica,
) -> Result<Result<Replica, String>> {
    match read_tail(engine, id, &mut replica) {
        Ok(()) => {}
        Err(Error::Corrupt { index, what, .. }) => {
            return Ok(Err(format!("its last entry, at index {index}: {what}")));
        }
        Err(Error::Damaged { what, .. } | Error::Engine(EngineError::Corrupt { what, .. })) => {
            return Ok(Err(what));
        }
        Err(other) => return Err(other),
    }
    let last = replica.last_index();
    if let Some(commit) = replica.commit().filter(|&commit| Some(commit) > last) {
        let end = last.map_or("empty".to_owned(), |last| format!("at its end at index {last}"));
        return Ok(Err(format!("its commit index is {commit} and its log {end}")));
    }
    Ok(replica.cut_short().map_or(Ok(replica), Err))
}

fn read_tail(engine: &dyn KvLogDb, id: ReplicaId, replica: &mut Replica) -> Result<()> {
    let damaged = |what: String| Err(Error::Damaged { replica: id, what });
    if !replica.slots.contains(&slot::STATE) {
        // What only waits for deletion needs none.
        return if replica.exists() {
            damaged("its state record is missing".into())
        } else {
            Ok(())
        };
    }
    let log = replica.log(id);
    let mut found = None;
    if let Some(first) = replica.first_index().or(Some(0).filter(|_| replica.purged.is_none())) {
        engine.scan(log, first..=u64::MAX, Order::Descending, 0, &mut |index, record| {
            found = Some((index, Header::decode(log.at(index), &record).map(|(header, _)| header)));
            ControlFlow::Break(())
        })?;
    }
    match (replica.runs.last_run(), found) {
        (None, None) => Ok(()),
        (None, Some((index, _))) => {
            damaged(format!("it has an entry at index {index} that its state does not know"))
        }
        (Some(run), None) => {
            damaged(format!("its state names an entry at index {} and it has none", run.first))
        }
        (Some(run), Some((index, header))) => {
            let header = header.map_err(|error| Error::corrupt(id, index, error.to_string()))?;
            if index < run.first {
                return damaged(format!(
                    "its state names an entry at index {} and its log ends at {index}",
                    run.first
                ));
            }
            if header.term != run.term {
                return Err(Error::corrupt(id, index, "its term is not the one in the state"));
            }
            replica.tail = Some(Tail { index, log_bytes: header.log_bytes });
            replica.appended_at_ms = header.appended_at_ms;
            Ok(())
        }
    }
}
