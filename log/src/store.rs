//! The store: many replicas' logs in one engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use kvlogdb_engine_api::{
    Durability, EngineInfo, Error as EngineError, KvLogDb, MetaKey, ReplicaId,
    Result as EngineResult, WriteBatch,
};

use crate::check::{self, CheckReport};
use crate::marks::{self, Marks, Need};
use crate::plan::Ground;
use crate::record::{self, slot};
use crate::recover::{self, Held};
use crate::state::Replica;
use crate::{Error, Log, LogBatch, LogOptions, Result, encode};

/// Opens the engine under a store; called again by [`LogStore::reopen`].
type Opener = Box<dyn Fn() -> EngineResult<Arc<dyn KvLogDb>> + Send + Sync>;

/// An arena larger than this is given back after its batch.
const KEPT_ARENA_BYTES: usize = 1 << 20;

/// The logs of any number of replicas in one engine.
///
/// A handle: clones are cheap and lead to the same store, which closes with the last of them.
/// Any number of threads may use it. Writes go one after the other; reads do not wait for them.
///
/// # Failure
///
/// When the engine fails a write or a sync, what is on the disk is unknown until it is opened
/// again. From then on every call answers [`Poisoned`](kvlogdb_engine_api::Error::Poisoned) with
/// the first cause, until [`reopen`](Self::reopen).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use kvlogdb_engine_api::MemoryDisk;
/// use kvlogdb_log::{Durability, Entry, LogBatch, LogOptions, LogStore, ReplicaId};
///
/// let disk = MemoryDisk::default();
/// let store = LogStore::open(move || Ok(Arc::new(disk.open()?)), LogOptions::default())?;
/// let (one, two) = (ReplicaId::from(1), ReplicaId::from(2));
/// let mut batch = LogBatch::new();
/// batch.append(one, vec![Entry::new(1, 1, "a"), Entry::new(1, 2, "b")]);
/// batch.append(two, vec![Entry::new(4, 100, "c")]);
/// store.write(&batch, Durability::Synced)?;
/// assert_eq!(store.log(one).last_index()?, Some(2));
/// assert_eq!(store.replicas()?, [one, two]);
/// # Ok::<(), kvlogdb_log::Error>(())
/// ```
#[derive(Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

struct Inner {
    opener: Opener,
    options: LogOptions,
    /// Held for the whole of a write: one caller at a time.
    writer: Mutex<Writer>,
    served: RwLock<Served>,
}

struct Writer {
    batch: WriteBatch,
    marks: Marks,
    /// Replicas of which keys wait for deletion.
    littered: BTreeSet<ReplicaId>,
}

/// What readers see.
struct Served {
    engine: Arc<dyn KvLogDb>,
    replicas: HashMap<ReplicaId, Held>,
    /// Why nothing is served any more.
    refusal: Option<Refusal>,
}

enum Refusal {
    Closed,
    Poisoned(Arc<EngineError>),
}

/// What became of a replica's log when the store was reopened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reopened {
    /// The replica.
    pub replica: ReplicaId,
    /// Its last index as it was served before; `None` for an empty or damaged log.
    pub last_before: Option<u64>,
    /// Its last index now.
    pub last_after: Option<u64>,
}

impl LogStore {
    /// Opens a store on the engine that `opener` brings, and makes it where the engine is empty.
    ///
    /// Reads all metadata and the last record of each log. A replica whose records do not hold
    /// together is refused by name when it is used; the others are served.
    ///
    /// # Errors
    ///
    /// What the opener answers; [`Error::LostSyncedData`] and [`Error::StoreDamaged`].
    pub fn open(
        opener: impl Fn() -> EngineResult<Arc<dyn KvLogDb>> + Send + Sync + 'static,
        options: LogOptions,
    ) -> Result<Self> {
        let (served, writer) = load(&opener, &options)?;
        let inner = Inner {
            opener: Box::new(opener),
            options,
            writer: Mutex::new(writer),
            served: RwLock::new(served),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The log of one replica, whether or not it exists yet: the first write makes it.
    pub fn log(&self, replica: ReplicaId) -> Log {
        Log::new(self.clone(), replica)
    }

    /// Applies a batch: all of it, or none.
    ///
    /// # Durability
    ///
    /// As asked, and [`Synced`](Durability::Synced) whatever was asked where the batch changes a
    /// term or a vote.
    ///
    /// # Errors
    ///
    /// A refusal by a rule changes nothing, and the store goes on. After an engine's failure the
    /// batch is whole or absent once the store is reopened.
    pub fn write(&self, batch: &LogBatch, durability: Durability) -> Result<()> {
        let mut writer = self.lock_writer();
        let engine = self.engine()?;
        let ground =
            Ground { engine: &*engine, guard: self.inner.options.purge_guard, now_ms: now_ms() };
        let plan = ground.plan(batch, |replica| self.current(replica))?;
        writer.batch.clear();
        encode::encode(&plan.steps, &mut writer.batch)?;
        let need = if plan.changes_vote { Need::Now } else { Need::Interval };
        let durability = if plan.changes_vote { Durability::Synced } else { durability };
        self.commit(&mut writer, &*engine, durability, need)?;
        let littered = plan.replicas.iter().filter(|(_, replica)| !replica.trash.is_empty());
        writer.littered.extend(littered.map(|(&id, _)| id));
        self.publish(plan.replicas);
        // The batch is in: a failure from here on poisons the store, and is not the caller's.
        let _ = self.sweep(&mut writer, &*engine);
        Ok(())
    }

    /// Makes everything written so far as durable as [`Durability::Synced`].
    pub fn sync(&self) -> Result<()> {
        self.write(&LogBatch::new(), Durability::Synced)
    }

    /// The replicas that have a log, hard state or slots, in order. Damaged ones are among them.
    pub fn replicas(&self) -> Result<Vec<ReplicaId>> {
        let served = self.serving()?;
        let exists = |held: &Held| held.as_ref().map_or(true, |replica| replica.exists());
        let mut ids: Vec<_> =
            served.replicas.iter().filter(|(_, held)| exists(held)).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The replicas that are refused because they are damaged, and why.
    pub fn damaged(&self) -> Result<Vec<(ReplicaId, String)>> {
        let served = self.serving()?;
        let mut damaged: Vec<_> = served
            .replicas
            .iter()
            .filter_map(|(&id, held)| Some((id, held.as_ref().err()?.to_string())))
            .collect();
        damaged.sort_unstable();
        Ok(damaged)
    }

    /// Walks the whole store and names every invariant that does not hold. No write runs
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// Failures of the engine; damage is in the report.
    pub fn check(&self) -> Result<CheckReport> {
        let _writer = self.lock_writer();
        check::check(&*self.engine()?, self.inner.options.sidecar.as_deref())
    }

    /// What the engine says of itself.
    pub fn info(&self) -> EngineInfo {
        self.read_served().engine.info()
    }

    /// How many bytes the store takes on its disk.
    pub fn disk_bytes(&self) -> Result<u64> {
        Ok(self.engine()?.disk_bytes()?)
    }

    /// Gives the space of removed entries back to the file system, as far as the engine can; see
    /// [`EngineInfo::reclaim`] for what it holds up.
    pub fn reclaim(&self) -> Result<()> {
        let _writer = self.lock_writer();
        Ok(self.engine()?.reclaim()?)
    }

    /// The last failure to write the sidecar since this was last asked. Such a failure takes
    /// nothing from what was acknowledged; it leaves more of it uncovered by the sidecar.
    pub fn take_sidecar_failure(&self) -> Option<io::Error> {
        self.lock_writer().marks.take_failure()
    }

    /// Closes the engine and opens it again through the opener, after a failure or a close: state
    /// is rebuilt from the disk, and every handle goes on with it. Answers what that made of each
    /// replica's log.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`RestartNeeded`](EngineError::RestartNeeded) from an engine
    /// that cannot be opened twice in a process. The store then refuses as before, and reopening
    /// can be tried again.
    pub fn reopen(&self) -> Result<Vec<Reopened>> {
        let mut writer = self.lock_writer();
        let old = {
            let mut served = self.write_served();
            if served.refusal.is_none() && writer.marks.is_behind() {
                let _ = write_mark(&mut writer, &*served.engine);
            }
            served.refusal.get_or_insert(Refusal::Closed);
            Arc::clone(&served.engine)
        };
        // The engine is opened anew because it failed: closing may fail the same way.
        let _ = old.close();
        drop(old);
        let (fresh, fresh_writer) = load(&self.inner.opener, &self.inner.options)?;
        *writer = fresh_writer;
        let before = std::mem::replace(&mut *self.write_served(), fresh).replicas;
        let after = &self.read_served().replicas;
        let last = |held: Option<&Held>| held.and_then(|held| held.as_ref().ok()?.last_index());
        let ids: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
        let report = |replica| Reopened {
            replica,
            last_before: last(before.get(&replica)),
            last_after: last(after.get(&replica)),
        };
        Ok(ids.into_iter().map(report).collect())
    }

    /// Syncs what was written, marks it in the sidecar, and closes the engine. Handles that are
    /// left answer [`Closed`](EngineError::Closed). A second call does nothing.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }

    /// One replica as it is served; one that does not exist is empty.
    pub(crate) fn replica(&self, id: ReplicaId) -> Result<(Arc<dyn KvLogDb>, Arc<Replica>)> {
        let served = self.serving()?;
        let replica = match served.replicas.get(&id) {
            None => Arc::default(),
            Some(Ok(replica)) => Arc::clone(replica),
            Some(Err(what)) => {
                return Err(Error::Damaged { replica: id, what: what.to_string() });
            }
        };
        Ok((Arc::clone(&served.engine), replica))
    }

    /// Waits for the write that is under way and holds up the next.
    pub(crate) fn pause_writes(&self) -> impl Drop + '_ {
        self.lock_writer()
    }

    fn current(&self, id: ReplicaId) -> Result<Arc<Replica>> {
        self.replica(id).map(|(_, replica)| replica)
    }

    fn engine(&self) -> Result<Arc<dyn KvLogDb>> {
        Ok(Arc::clone(&self.serving()?.engine))
    }

    /// Writes the writer's batch, with a mark where one is due.
    fn commit(
        &self,
        writer: &mut Writer,
        engine: &dyn KvLogDb,
        durability: Durability,
        need: Need,
    ) -> Result<()> {
        let news = !writer.batch.is_empty() || writer.marks.is_behind();
        let mark = if news { writer.marks.step(need) } else { None };
        encode::encode(mark.as_slice(), &mut writer.batch)?;
        let durability = if mark.is_some() { Durability::Synced } else { durability };
        if let Err(error) = engine.write(&[&writer.batch], durability) {
            return Err(self.refuse(error));
        }
        if mark.is_some() {
            writer.marks.synced();
        } else if news {
            writer.marks.note_write();
        }
        if writer.batch.len_bytes() > KEPT_ARENA_BYTES {
            writer.batch = WriteBatch::new();
        }
        Ok(())
    }

    /// Serves nothing from now on, because of `error`.
    fn refuse(&self, error: EngineError) -> Error {
        let cause = match error {
            EngineError::Poisoned { cause } => cause,
            other => Arc::new(other),
        };
        let refusal = Refusal::Poisoned(Arc::clone(&cause));
        self.write_served().refusal.get_or_insert(refusal);
        Error::Engine(EngineError::Poisoned { cause })
    }

    fn publish(&self, replicas: BTreeMap<ReplicaId, Replica>) {
        let mut served = self.write_served();
        for (id, replica) in replicas {
            if replica.slots.is_empty() {
                served.replicas.remove(&id);
            } else {
                served.replicas.insert(id, Ok(Arc::new(replica)));
            }
        }
    }

    /// Deletes the keys that wait for it, slice by slice.
    fn sweep(&self, writer: &mut Writer, engine: &dyn KvLogDb) -> Result<()> {
        while let Some(id) = writer.littered.first().copied() {
            let mut replica = Replica::clone(&*self.current(id)?);
            writer.batch.clear();
            let current = replica.slots.contains(&slot::STATE).then_some(replica.incarnation);
            replica.trash.take_slice(id, current, &mut writer.batch);
            put_trash(id, &mut replica, &mut writer.batch)?;
            self.commit(writer, engine, Durability::Buffered, Need::Interval)?;
            if replica.trash.is_empty() {
                writer.littered.remove(&id);
            }
            self.publish(BTreeMap::from([(id, replica)]));
        }
        Ok(())
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.inner.lock_writer()
    }

    fn read_served(&self) -> RwLockReadGuard<'_, Served> {
        self.inner.served.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_served(&self) -> RwLockWriteGuard<'_, Served> {
        self.inner.served.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served, or why nothing is.
    fn serving(&self) -> Result<RwLockReadGuard<'_, Served>> {
        let served = self.read_served();
        match &served.refusal {
            None => Ok(served),
            Some(Refusal::Closed) => Err(EngineError::Closed.into()),
            Some(Refusal::Poisoned(cause)) => {
                Err(EngineError::Poisoned { cause: Arc::clone(cause) }.into())
            }
        }
    }
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("engine", &self.info().name).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> Result<()> {
        let mut writer = self.lock_writer();
        let (engine, serving) = {
            let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
            let serving = served.refusal.is_none();
            served.refusal.get_or_insert(Refusal::Closed);
            (Arc::clone(&served.engine), serving)
        };
        let marked = if serving && writer.marks.is_behind() {
            write_mark(&mut writer, &*engine)
        } else {
            Ok(())
        };
        engine.close()?;
        marked
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// Syncs and marks everything written so far; the first time, this makes the store's own record.
fn write_mark(writer: &mut Writer, engine: &dyn KvLogDb) -> Result<()> {
    let mark = writer.marks.next();
    writer.batch.clear();
    encode::encode(&[marks::store_record_step(mark)], &mut writer.batch)?;
    engine.write(&[&writer.batch], Durability::Synced)?;
    writer.marks.synced();
    Ok(())
}

/// Opens the engine and reads what serving needs.
fn load(
    opener: &dyn Fn() -> EngineResult<Arc<dyn KvLogDb>>,
    options: &LogOptions,
) -> Result<(Served, Writer)> {
    let engine = opener()?;
    let contents = recover::read(&*engine)?;
    if contents.store.is_none() && !contents.replicas.is_empty() {
        return Err(Error::StoreDamaged { what: "its own record is missing".into() });
    }
    let marks = Marks::open(options, contents.store)?;
    let littered = contents.replicas.iter().filter_map(|(&id, held)| {
        held.as_ref().is_ok_and(|replica| !replica.trash.is_empty()).then_some(id)
    });
    let mut writer = Writer { batch: WriteBatch::new(), marks, littered: littered.collect() };
    if contents.store.is_none() || writer.marks.is_behind() {
        // From here on an engine that opens empty is known to have lost its data.
        write_mark(&mut writer, &*engine)?;
    }
    Ok((Served { engine, replicas: contents.replicas, refusal: None }, writer))
}

/// Adds the record of what still waits for deletion to a slice's batch.
fn put_trash(id: ReplicaId, replica: &mut Replica, batch: &mut WriteBatch) -> Result<()> {
    let key = MetaKey::replica(id, slot::TRASH);
    if replica.trash.is_empty() {
        replica.slots.remove(&slot::TRASH);
        batch.remove_meta(key);
    } else {
        let body = replica.trash.to_body();
        batch.put_meta(key, &[&record::header(key, [&body, &[]]), &body])?;
    }
    Ok(())
}

/// The clock, in milliseconds since 1970; 0 where it stands before that.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
