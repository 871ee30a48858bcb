//! What was accepted, and how each batch ended.

use std::sync::{Arc, Mutex as Unscheduled};

use kvlogdb_log::{Durable, Error, LogBatch, LogStore, Result, WhenFull};
use shuttle::sync::{Condvar, Mutex};

use crate::engine::{Disk, Id};

/// A name of a batch.
pub(crate) type Label = (u64, u64);

/// The ends of batches in the order in which they were told.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    accepted: Unscheduled<Vec<Label>>,
    told: Mutex<Vec<(Label, bool)>>,
    changed: Condvar,
}

impl Ledger {
    /// Submits a batch, and notes that it was accepted and how it ends.
    pub(crate) fn submit(
        &self,
        store: &LogStore,
        disk: &Disk,
        label: Label,
        batch: &LogBatch,
        end: fn(),
    ) -> Result<()> {
        let (shared, disk) = (Arc::clone(&self.shared), disk.clone());
        let callback = move |durable: Result<&[Durable]>| {
            if let Ok(durable) = &durable {
                expect_durable(&disk, durable);
            }
            shared.told.lock().unwrap().push((label, durable.is_ok()));
            shared.changed.notify_all();
            end();
        };
        store.submit_with(batch, WhenFull::Wait, callback)?;
        self.shared.accepted.lock().unwrap().push(label);
        Ok(())
    }

    pub(crate) fn accepted(&self) -> Vec<Label> {
        self.shared.accepted.lock().unwrap().clone()
    }

    pub(crate) fn told(&self) -> Vec<(Label, bool)> {
        self.shared.told.lock().unwrap().clone()
    }

    /// Waits until as many batches have ended as were accepted, and expects that these are they.
    pub(crate) fn await_all(&self) -> Vec<(Label, bool)> {
        let mut accepted = self.accepted();
        let mut told = self.shared.told.lock().unwrap();
        while told.len() < accepted.len() {
            told = self.shared.changed.wait(told).unwrap();
        }
        let mut labels: Vec<_> = told.iter().map(|(label, _)| *label).collect();
        labels.sort_unstable();
        accepted.sort_unstable();
        assert_eq!(labels, accepted, "each once, and no others");
        told.clone()
    }
}

/// Expects that what a batch vouches for is on the disk.
pub(crate) fn expect_durable(disk: &Disk, durable: &[Durable]) {
    let past = disk.past();
    let vouched = durable.iter().filter_map(|one| Some((one.replica, one.last?)));
    for id in vouched {
        assert!(past.durable.contains(&id), "{id:?} is not durable");
    }
}

/// Expects that a log does not claim more than is on the disk.
pub(crate) fn expect_honest(store: &LogStore, disk: &Disk, replica: kvlogdb_log::ReplicaId) {
    let claimed = match store.log(replica).durable() {
        Ok(claimed) => claimed.map(|boundary| (replica, boundary.id)),
        Err(error) => return expect_ended(&error),
    };
    if let Some(id) = claimed {
        assert!(disk.past().durable.contains(&id), "{id:?} is not durable");
    }
}

/// Expects the error of a store that was closed or has failed.
pub(crate) fn expect_ended(error: &Error) {
    use kvlogdb_engine_api::Error as EngineError;
    let ended = matches!(error, Error::Engine(EngineError::Closed | EngineError::Poisoned { .. }));
    assert!(ended, "{error:?}");
}

/// Expects that batches ended in the order in which the engine was given their entries.
pub(crate) fn expect_engine_order(disk: &Disk, told: &[Id]) {
    let past = disk.past();
    let mut written = past.writes.iter().flatten();
    for id in told {
        assert!(written.any(|other| other == id), "{id:?} was told too early: {told:?}");
    }
}
