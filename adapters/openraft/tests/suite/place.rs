//! Where a case keeps its store, and the store that is opened anew before every call.

use std::sync::{Arc, Mutex, PoisonError};

use kvlogdb::{Log, LogStore, ReplicaId};
use kvlogdb_openraft::Result;
use tempfile::TempDir;

use crate::common::Kind;

pub(crate) const REPLICA: ReplicaId = ReplicaId { group: 7, node: 0 };

/// A directory and what is to be made in it.
#[derive(Debug)]
pub(crate) struct Place {
    kind: Kind,
    dir: TempDir,
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn open(&self) -> LogStore {
        self.kind.open(self.dir.path()).expect("a store that was closed")
    }

    pub(crate) fn log(&self) -> Log {
        self.open().log(REPLICA)
    }
}

/// A store that is closed and opened again before every call to it.
#[derive(Debug)]
pub(crate) struct Reopening<S> {
    place: Arc<Place>,
    open: Arc<Mutex<Option<LogStore>>>,
    make: fn(Log) -> Result<S>,
}

impl<S> Clone for Reopening<S> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), open: self.open.clone(), make: self.make }
    }
}

impl<S> Reopening<S> {
    pub(crate) fn new(place: Arc<Place>, make: fn(Log) -> Result<S>) -> Self {
        Self { place, open: Arc::default(), make }
    }

    /// Another storage over the store, which was closed and opened.
    pub(crate) fn anew(&self) -> S {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.take() {
            store.close().expect("a store without failures");
            let report = kvlogdb_report(&self.place, store);
            assert!(report.is_empty(), "{report}");
        }
        let store = self.place.open();
        *open = Some(store.clone());
        (self.make)(store.log(REPLICA)).expect("a log of the same node")
    }
}

/// What is wrong with a store, in words, once nobody has it open.
fn kvlogdb_report(place: &Place, store: LogStore) -> String {
    drop(store);
    let dir = place.dir.path();
    let engine = place.kind.options().open_engine(dir).expect("a store that was closed");
    let report = kvlogdb::check(&*engine, Some(&kvlogdb::sidecar_path(dir))).expect("readable");
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    engine.close().expect("a clean engine");
    problems.join("; ")
}
