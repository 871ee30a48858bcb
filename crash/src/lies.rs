//! Engines that break one promise each, for a net that must catch them.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use kvlogdb_engine_api::{
    Durability, EngineInfo, EntryVisitor, Error, KvLogDb, LogKey, LogName, LogVisitor, MetaKey,
    MetaVisitor, Operation, Order, Result, Scope, WriteBatch,
};

use crate::spec::Lie;

/// The slots in which the log keeps a replica's state and its hard state.
const STATE_SLOT: u16 = 0;
const HARD_STATE_SLOT: u16 = 1;

/// Opens an engine through `opener` and lets it lie.
pub(crate) fn tell(
    lie: Lie,
    opener: impl Fn() -> Result<Arc<dyn KvLogDb>> + Send + Sync + 'static,
) -> Result<Arc<dyn KvLogDb>> {
    let honest = opener()?;
    if lie == Lie::None {
        return Ok(honest);
    }
    Ok(Arc::new(Liar {
        lie,
        opener: Box::new(opener),
        honest: RwLock::new(Some(honest)),
        writes: AtomicU64::new(0),
        held: Mutex::default(),
    }))
}

/// Opens the engine below a liar.
type Opener = Box<dyn Fn() -> Result<Arc<dyn KvLogDb>> + Send + Sync>;

/// An engine that tells one lie.
struct Liar {
    lie: Lie,
    opener: Opener,
    /// `None` while it is opened anew.
    honest: RwLock<Option<Arc<dyn KvLogDb>>>,
    writes: AtomicU64,
    /// What is held back until the next write.
    held: Mutex<Vec<(MetaKey, Vec<u8>)>>,
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Liar").field("lie", &self.lie).finish_non_exhaustive()
    }
}

impl Liar {
    fn honest(&self) -> Result<Arc<dyn KvLogDb>> {
        self.honest.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }

    fn held(&self) -> MutexGuard<'_, Vec<(MetaKey, Vec<u8>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of it with every sync that is asked for, in as many writes as there are batches.
    fn write_each(&self, batches: &[WriteBatch], durability: Durability) -> Result<()> {
        let honest = self.honest()?;
        batches.iter().try_for_each(|batch| honest.write(&[batch], durability))
    }

    fn retry(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        match self.honest()?.write(batches, durability) {
            Err(Error::Poisoned { .. }) => {}
            other => return other,
        }
        let failed = self.honest.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(failed) = failed {
            // It has failed already.
            let _ = failed.close();
        }
        let anew = (self.opener)()?;
        let written = anew.write(batches, durability);
        *self.honest.write().unwrap_or_else(PoisonError::into_inner) = Some(anew);
        written
    }

    /// Writes with the boundaries of the write before, and holds back its own.
    fn write_boundaries_late(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        let mut held = self.held();
        let mut now = WriteBatch::new();
        let late = std::mem::take(&mut *held);
        for (key, value) in &late {
            now.put_meta(*key, &[value])?;
        }
        for operation in operations(batches) {
            match operation {
                Operation::PutMeta { key, value } if is_slot(key, STATE_SLOT) => {
                    held.push((key, value.to_vec()));
                }
                other => add(&mut now, other)?,
            }
        }
        self.honest()?.write(&[&now], durability)
    }

    fn write_lying(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        let honest = self.honest()?;
        let number = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        match self.lie {
            Lie::AcksBeforeCommit => {
                honest.sync()?;
                honest.write(batches, Durability::Buffered)
            }
            Lie::SkipsEverySeventhSync if number.is_multiple_of(7) => {
                honest.write(batches, Durability::Buffered)
            }
            Lie::TruncatesAndAppendsInTwo => {
                self.write_each(&split(batches, removes_entries)?, durability)
            }
            Lie::HardStateByItself => self.write_each(
                &split(batches, |operation| match operation {
                    Operation::PutMeta { key, .. } => is_slot(*key, HARD_STATE_SLOT),
                    _ => false,
                })?,
                durability,
            ),
            Lie::SplitsReplicas => {
                let first = operations(batches).find_map(|operation| replica(&operation));
                self.write_each(
                    &split(batches, |operation| replica(operation) == first)?,
                    durability,
                )
            }
            Lie::SwapsValues => honest.write(&[&swapped(batches)?], durability),
            Lie::BoundaryAfterDeletes => self.write_boundaries_late(batches, durability),
            Lie::RetriesAfterFailure => self.retry(batches, durability),
            Lie::DropsTheLastAtClose => {
                let mark = |operation: Operation<'_>| match operation {
                    Operation::PutMeta { key, .. } => key.scope == Scope::Store,
                    _ => false,
                };
                // A write of the mark alone is that of a close.
                let closing = operations(batches).all(mark);
                let told = if closing { Durability::Buffered } else { durability };
                honest.write(batches, told)
            }
            Lie::None | Lie::SkipsEverySeventhSync => honest.write(batches, durability),
        }
    }
}

impl KvLogDb for Liar {
    fn info(&self) -> EngineInfo {
        match self.honest() {
            Ok(honest) => honest.info(),
            Err(_) => kvlogdb_engine_api::MemoryEngine::new().info(),
        }
    }

    fn entry(&self, key: LogKey) -> Result<Option<Bytes>> {
        self.honest()?.entry(key)
    }

    fn scan(
        &self,
        log: LogName,
        range: RangeInclusive<u64>,
        order: Order,
        budget_bytes: usize,
        visitor: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        self.honest()?.scan(log, range, order, budget_bytes, visitor)
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>> {
        let held = self.held().iter().rev().find(|(of, _)| *of == key).cloned();
        match held {
            Some((_, value)) => Ok(Some(value.into())),
            None => self.honest()?.meta(key),
        }
    }

    fn scan_meta(&self, visitor: &mut MetaVisitor<'_>) -> Result<()> {
        self.honest()?.scan_meta(visitor)
    }

    fn logs(&self, visitor: &mut LogVisitor<'_>) -> Result<()> {
        self.honest()?.logs(visitor)
    }

    fn write(&self, batches: &[&WriteBatch], durability: Durability) -> Result<()> {
        self.write_lying(batches, durability)
    }

    fn sync(&self) -> Result<()> {
        self.honest()?.sync()
    }

    fn disk_bytes(&self) -> Result<u64> {
        self.honest()?.disk_bytes()
    }

    fn reclaim(&self) -> Result<()> {
        self.honest()?.reclaim()
    }

    fn verify(&self) -> Result<()> {
        self.honest()?.verify()
    }

    fn close(&self) -> Result<()> {
        let honest = self.honest()?;
        if self.lie == Lie::DropsTheLastAtClose {
            // Neither closed nor dropped, so that nothing syncs.
            std::mem::forget(honest);
            return Ok(());
        }
        honest.close()
    }
}

fn operations<'a>(batches: &[&'a WriteBatch]) -> impl Iterator<Item = Operation<'a>> {
    batches.iter().flat_map(|batch| batch.operations())
}

fn is_slot(key: MetaKey, slot: u16) -> bool {
    matches!(key.scope, Scope::Replica(_)) && key.slot == slot
}

fn removes_entries(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::RemoveEntries { .. } | Operation::RemoveLog { .. })
}

fn replica(operation: &Operation<'_>) -> Option<kvlogdb_log::ReplicaId> {
    match operation {
        Operation::PutEntry { key, .. } => Some(key.log.replica),
        Operation::RemoveEntries { log, .. } | Operation::RemoveLog { log } => Some(log.replica),
        Operation::PutMeta { key, .. } | Operation::RemoveMeta { key } => match key.scope {
            Scope::Replica(replica) => Some(replica),
            Scope::Store => None,
        },
    }
}

/// The operations that go first, and the others; one batch where there is one kind only.
fn split(
    batches: &[&WriteBatch],
    first: impl Fn(&Operation<'_>) -> bool,
) -> Result<Vec<WriteBatch>> {
    let (mut early, mut late) = (WriteBatch::new(), WriteBatch::new());
    let mut counts = (0, 0);
    for operation in operations(batches) {
        if first(&operation) {
            counts.0 += 1;
            add(&mut early, operation)?;
        } else {
            counts.1 += 1;
            add(&mut late, operation)?;
        }
    }
    Ok(match counts {
        (0, _) => vec![late],
        (_, 0) => vec![early],
        _ => vec![early, late],
    })
}

/// The operations with the values of the first two entries under each other's key.
fn swapped(batches: &[&WriteBatch]) -> Result<WriteBatch> {
    let entry = |operation: Operation<'_>| match operation {
        Operation::PutEntry { value, .. } => Some(value.to_vec()),
        _ => None,
    };
    let values: Vec<_> = operations(batches).filter_map(entry).take(2).collect();
    let mut batch = WriteBatch::new();
    let mut seen = 0_usize;
    for operation in operations(batches) {
        match (operation, values.as_slice()) {
            (Operation::PutEntry { key, .. }, [one, other]) if seen < 2 => {
                seen += 1;
                batch.put_entry(key, &[if seen == 1 { other } else { one }])?;
            }
            (other, _) => add(&mut batch, other)?,
        }
    }
    Ok(batch)
}

/// Adds one operation as it is.
fn add(batch: &mut WriteBatch, operation: Operation<'_>) -> Result<()> {
    match operation {
        Operation::PutEntry { key, value } => batch.put_entry(key, &[value])?,
        Operation::RemoveEntries { log, first, last } => batch.remove_entries(log, first, last),
        Operation::RemoveLog { log } => batch.remove_log(log),
        Operation::PutMeta { key, value } => batch.put_meta(key, &[value])?,
        Operation::RemoveMeta { key } => batch.remove_meta(key),
    }
    Ok(())
}
