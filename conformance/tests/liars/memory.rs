//! Lies told over the reference engine.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kvlogdb_conformance::{Fault, Subject};
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor, MemoryDisk,
    MemoryEngine, MetaKey, MetaVisitor, Operation, Order, Poison, Result, Scope, WriteBatch,
};

use crate::twist::{Removed, of, twist};

/// What an engine does wrong; `None` is the reference itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    // Reads.
    AlwaysAscending,
    ScanEndIsExclusive,
    MirrorsEmptyScans,
    BudgetIsOvershot,
    BudgetIsNeverExceeded,
    IgnoresBreak,
    ScansAMillionIndexes,
    AbsentIsEmpty,
    EmptyIsAbsent,
    IndexZeroIsAMarker,
    StaleReads,
    // Writes: see `twist`.
    PutKeepsTheFirst,
    DropsEntriesBehindAGap,
    RemovesBeforeItPuts,
    PutsBeforeItRemoves,
    ReversesBatches,
    RemovalsComeBack,
    RemovingAbsentFails,
    RemovesAThousandIndexes,
    MirrorsEmptyRemovals,
    DropsTheLastOperation,
    NothingIsAnError,
    LargestIndexWraps,
    RemovalEndIsExclusive,
    RemovalTouchesTheNextLog,
    PutTouchesTheNextLog,
    RemovalTouchesTheNextReplica,
    ValuesUnderTheNextKey,
    LosesOneWriteInFifty,
    WritesInHalves,
    // Metadata.
    MetadataComesBackwards,
    MetadataStays,
    MetadataIsALog,
    AllReplicasShareMetadata,
    RemovingMetadataTakesTheNext,
    RemovingALogTakesMetadata,
    // Sizes.
    CutsAtSixteenMebibytes,
    LosesTheEndOfFullPages,
    OldTailsShow,
    RemovalSparesALargeLast,
    LargePutTakesTheNext,
    // Logs.
    ForgetsALog,
    RemovesEveryLife,
    ListsAHundredLogs,
    // Life.
    HoldsBufferedBack,
    SyncedIsBuffered,
    SyncDoesNothing,
    CloseDoesNotSync,
    LosesAnEntryPerReopen,
    ForgetsOnReopen,
    ReclaimRemoves,
    VerifyFails,
    NewStoreHasAnEntry,
    InfoChanges,
    ReadsWhenClosed,
    SecondCloseFails,
    TwoHandles,
    StoreIsHeldUntilDropped,
    Panics,
    // Failures.
    KeepsWritingAfterAFailure,
    HalfABatchAfterAnError,
    SyncsAgainAfterAFailure,
    FailsAndLosesWhatWasSynced,
    // Volume, which only the log brings.
    ForgetsMetadataAfterAThousand,
    TakesFourThousandOperations,
    RemovesFifteenThousandEntries,
}

/// An engine that tells one lie.
#[derive(Debug)]
pub(crate) struct Liar {
    lie: Lie,
    honest: MemoryEngine,
    removed: Arc<Mutex<Vec<Removed>>>,
    held_back: Mutex<Vec<WriteBatch>>,
    writes: AtomicU64,
    closed: AtomicBool,
    /// What was read once, for a liar that never looks again.
    seen: Mutex<HashMap<LogKey, Option<Bytes>>>,
    armed: Arc<Mutex<Option<Fault>>>,
    poison: Poison,
}

#[derive(Debug, Clone, Default)]
struct Disk {
    durable: MemoryDisk,
    removed: Arc<Mutex<Vec<Removed>>>,
    armed: Arc<Mutex<Option<Fault>>>,
}

type Disks = Arc<Mutex<HashMap<PathBuf, Disk>>>;

/// An engine that tells `lie`, as the suite sees it.
pub(crate) fn subject(lie: Lie) -> Subject {
    let disks = Disks::default();
    let armed = Arc::clone(&disks);
    let open = move |dir: &Path| {
        let mut disks = disks.lock().unwrap();
        Liar::open(lie, disks.entry(dir.to_owned()).or_default())
    };
    let arm = move |dir: &Path, fault| {
        let mut disks = armed.lock().unwrap();
        *disks.entry(dir.to_owned()).or_default().armed.lock().unwrap() = Some(fault);
    };
    Subject::new(&format!("{lie:?}"), open).without_files("a liar in memory").with_faults(arm)
}

impl Liar {
    fn open(lie: Lie, disk: &Disk) -> Result<Self> {
        let honest = match disk.durable.open() {
            Err(Error::AlreadyOpen { .. }) if lie == Lie::TwoHandles => MemoryEngine::new(),
            Ok(_) if lie == Lie::ForgetsOnReopen => MemoryEngine::new(),
            opened => opened?,
        };
        let mut first = WriteBatch::new();
        match lie {
            Lie::NewStoreHasAnEntry => first.put_entry(LogName::default().at(1), &[b"new"])?,
            Lie::RemovalsComeBack => {
                for Removed { key, value } in disk.removed.lock().unwrap().drain(..) {
                    first.put_entry(key, &[&value])?;
                }
            }
            Lie::LosesAnEntryPerReopen => honest.logs(&mut |log| {
                first.remove_entries(log, 0, 1);
                ControlFlow::Break(())
            })?,
            _ => {}
        }
        honest.write(&[&first], Durability::Synced)?;
        Ok(Self {
            lie,
            honest,
            removed: Arc::clone(&disk.removed),
            held_back: Mutex::default(),
            writes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            seen: Mutex::default(),
            armed: Arc::clone(&disk.armed),
            poison: Poison::default(),
        })
    }

    /// Fails where that was asked for, and refuses from then on.
    fn guard(&self, batches: &[&WriteBatch]) -> Result<()> {
        self.check_open()?;
        self.poison.check()?;
        let Some(fault) = self.armed.lock().unwrap().take() else { return Ok(()) };
        match (self.lie, fault) {
            (Lie::HalfABatchAfterAnError, _) => {
                let count = batches.iter().map(|batch| batch.len()).sum::<usize>() / 2;
                let operations = batches.iter().flat_map(|batch| batch.operations());
                let half = of(operations.take(count))?;
                self.honest.write(&[&half], Durability::Synced)?;
            }
            (Lie::FailsAndLosesWhatWasSynced, _) => {
                let mut all = WriteBatch::new();
                self.honest.logs(&mut |log| {
                    all.remove_log(log);
                    ControlFlow::Continue(())
                })?;
                self.honest.write(&[&all], Durability::Synced)?;
            }
            (_, Fault::WriteDone) => self.honest.write(batches, Durability::Synced)?,
            _ => {}
        }
        let failure = Error::io("write", std::io::Error::other("told to fail"));
        match self.lie {
            Lie::KeepsWritingAfterAFailure => Err(Error::Poisoned { cause: Arc::new(failure) }),
            _ => Err(self.poison.latch(failure)),
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) && self.lie != Lie::ReadsWhenClosed {
            return Err(Error::Closed);
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let held_back: Vec<_> = self.held_back.lock().unwrap().drain(..).collect();
        self.honest.write(&held_back.iter().collect::<Vec<_>>(), Durability::Buffered)
    }

    fn write_in_halves(&self, batches: &[WriteBatch], durability: Durability) -> Result<()> {
        for operation in batches.iter().flat_map(WriteBatch::operations) {
            let mut half = WriteBatch::new();
            crate::twist::add(&mut half, operation)?;
            self.honest.write(&[&half], durability)?;
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    fn read_value(&self, value: Option<Bytes>) -> Option<Bytes> {
        match self.lie {
            Lie::AbsentIsEmpty => value.or_else(|| Some(Bytes::new())),
            Lie::EmptyIsAbsent => value.filter(|value| !value.is_empty()),
            _ => value,
        }
    }

    fn range(&self, range: RangeInclusive<u64>) -> RangeInclusive<u64> {
        let (first, last) = range.into_inner();
        match self.lie {
            Lie::ScanEndIsExclusive if last == 0 => RangeInclusive::new(1, 0),
            Lie::ScanEndIsExclusive => first..=last - 1,
            Lie::MirrorsEmptyScans => first.min(last)..=first.max(last),
            Lie::ScansAMillionIndexes => first..=last.min(first.saturating_add(1_000_000)),
            Lie::IndexZeroIsAMarker => first.max(1)..=last,
            _ => first..=last,
        }
    }
}

impl KvLogDb for Liar {
    fn info(&self) -> EngineInfo {
        let mut info = self.honest.info();
        if self.lie == Lie::InfoChanges && self.closed.load(Ordering::SeqCst) {
            info.layout += 1;
        }
        info
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.check_open()?;
        assert!(self.lie != Lie::Panics, "a liar panicked");
        if self.lie == Lie::StaleReads {
            let now = self.honest.entry(key)?;
            return Ok(self.seen.lock().unwrap().entry(key).or_insert(now).clone());
        }
        Ok(self.read_value(self.honest.entry(key)?))
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.check_open()?;
        let order = match self.lie {
            Lie::AlwaysAscending => Order::Ascending,
            _ => order,
        };
        let budget = match self.lie {
            Lie::BudgetIsOvershot => budget_bytes.saturating_add(1),
            _ => budget_bytes,
        };
        let mut visited_bytes = 0;
        let range = self.range(range);
        self.honest.scan(log, range, order, budget, &mut |index, value: Cow<'_, [u8]>| {
            visited_bytes += value.len();
            if self.lie == Lie::BudgetIsNeverExceeded && visited_bytes > budget_bytes {
                return ControlFlow::Break(());
            }
            match visitor(index, value) {
                _ if self.lie == Lie::IgnoresBreak => ControlFlow::Continue(()),
                flow => flow,
            }
        })
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        self.check_open()?;
        Ok(self.read_value(self.honest.meta(key)?))
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.check_open()?;
        let mut all = Vec::new();
        self.honest.scan_meta(&mut |key, value| {
            all.push((key, value.into_owned()));
            ControlFlow::Continue(())
        })?;
        if self.lie == Lie::MetadataComesBackwards {
            all.reverse();
        }
        if self.lie == Lie::ForgetsMetadataAfterAThousand {
            all.truncate(1000);
        }
        let _ = all.into_iter().try_for_each(|(key, value)| visitor(key, Cow::Owned(value)));
        Ok(())
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.check_open()?;
        let mut all = Vec::new();
        self.honest.logs(&mut |log| {
            all.push(log);
            ControlFlow::Continue(())
        })?;
        match self.lie {
            Lie::ForgetsALog => all.truncate(all.len().saturating_sub(1)),
            Lie::ListsAHundredLogs => all.truncate(100),
            Lie::MetadataIsALog => self.honest.scan_meta(&mut |key, _| {
                if let Scope::Replica(replica) = key.scope {
                    all.push(LogName { replica, incarnation: 0 });
                }
                ControlFlow::Continue(())
            })?,
            _ => {}
        }
        let _ = all.into_iter().try_for_each(visitor);
        Ok(())
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.guard(batches)?;
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        let told = twist(self.lie, &self.honest, batches, &self.removed)?;
        let told: Vec<&WriteBatch> = told.iter().collect();
        match (self.lie, durability) {
            (Lie::LosesOneWriteInFifty, _) if number % 50 == 49 => Ok(()),
            (Lie::WritesInHalves, _) => {
                let told: Vec<WriteBatch> = told.into_iter().cloned().collect();
                self.write_in_halves(&told, durability)
            }
            (Lie::HoldsBufferedBack, Durability::Buffered) => {
                self.held_back.lock().unwrap().extend(told.into_iter().cloned());
                Ok(())
            }
            (Lie::HoldsBufferedBack, Durability::Synced) => {
                self.flush()?;
                self.honest.write(&told, durability)
            }
            (Lie::SyncedIsBuffered, _) => self.honest.write(&told, Durability::Buffered),
            _ => self.honest.write(&told, durability),
        }
    }

    fn sync(&self) -> Result<()> {
        if self.lie == Lie::SyncsAgainAfterAFailure && self.poison.check().is_err() {
            return Ok(());
        }
        self.guard(&[])?;
        self.flush()?;
        if self.lie == Lie::SyncDoesNothing { Ok(()) } else { self.honest.sync() }
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.check_open()?;
        self.honest.disk_bytes()
    }

    fn reclaim(&self) -> Result<()> {
        self.check_open()?;
        let mut batch = WriteBatch::new();
        if self.lie == Lie::ReclaimRemoves {
            self.honest.logs(&mut |log| {
                batch.remove_entries(log, 0, 0);
                ControlFlow::Continue(())
            })?;
        }
        self.honest.write(&[&batch], Durability::Buffered)
    }

    fn verify(&self) -> Result<()> {
        self.check_open()?;
        if self.lie == Lie::VerifyFails {
            return Err(Error::corrupt("nothing at all"));
        }
        self.honest.verify()
    }

    fn close(&self) -> Result<()> {
        let closed_before = self.closed.swap(true, Ordering::SeqCst);
        if let Err(refused) = self.poison.check() {
            self.honest.cut_power();
            return Err(refused);
        }
        if !closed_before {
            self.flush()?;
        }
        match self.lie {
            Lie::SecondCloseFails if closed_before => return Err(Error::Closed),
            Lie::CloseDoesNotSync => self.honest.cut_power(),
            Lie::StoreIsHeldUntilDropped | Lie::ReadsWhenClosed => {}
            _ => self.honest.close()?,
        }
        Ok(())
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        if self.poison.check().is_err()
            || matches!(self.lie, Lie::SyncedIsBuffered | Lie::SyncDoesNothing)
        {
            self.honest.cut_power();
        }
    }
}

/// Whether an operation removes entries.
pub(crate) fn removes_entries(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::RemoveEntries { .. } | Operation::RemoveLog { .. })
}
