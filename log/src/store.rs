//! The store: many replicas' logs in one engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use kvlogdb_engine_api::{
    Durability, EngineInfo, Error as EngineError, KvLogDb, ReplicaId, Result as EngineResult,
    WriteBatch,
};

use crate::check::{self, CheckReport};
use crate::commit::{Core, Loaded, Writer};
use crate::line::Gate;
use crate::marks::Marks;
use crate::recover;
use crate::served::{Live, Refusal, Served};
use crate::sync::Instant;
use crate::ticket::{Accepted, Durable, Listener, Ticket};
use crate::{Log, LogBatch, LogOptions, Result, WhenFull, background, encode, working_set};

/// Opens the engine under a store; called again by [`LogStore::reopen`].
type Opener = Box<dyn Fn() -> EngineResult<Arc<dyn KvLogDb>> + Send + Sync>;

/// The logs of any number of replicas in one engine.
///
/// A handle: clones are cheap and lead to the same store, which closes with the last of them.
///
/// # Concurrency
///
/// Any number of threads may use it. Writes are accepted one after the other, for a moment each,
/// and from then on can be read. Whatever is accepted while the engine syncs is carried by its
/// next commit: one write and one sync for all. Reads wait for nobody's sync.
///
/// # Failure
///
/// When the engine fails a write or a sync, what is on the disk is unknown until it is opened
/// again. From then on every call answers [`Poisoned`](kvlogdb_engine_api::Error::Poisoned) with
/// the first cause, until [`reopen`](Self::reopen); whoever waits for a commit hears it, too.
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
    handle: Arc<Handle>,
}

/// Closes the store with the last of its handles; the background thread holds no handle.
struct Handle {
    opener: Opener,
    core: Arc<Core>,
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
    /// Reads all metadata and the last record of each log, and every working set where the strategy
    /// is [`MemFirst`](crate::Strategy::MemFirst). A replica whose records do not hold together is
    /// refused by name when it is used; the others are served.
    ///
    /// # Errors
    ///
    /// What the opener answers; [`LostSyncedData`](crate::Error::LostSyncedData),
    /// [`StoreDamaged`](crate::Error::StoreDamaged), and
    /// [`MemoryFull`](crate::Error::MemoryFull) where the working sets do not fit into memory.
    pub fn open(
        opener: impl Fn() -> EngineResult<Arc<dyn KvLogDb>> + Send + Sync + 'static,
        options: LogOptions,
    ) -> Result<Self> {
        let began = options.observer.as_ref().map(|_| Instant::now());
        let Loaded { served, writer, littered } = load(&opener, &options)?;
        let core = Arc::new(Core::new(options, served, writer, littered));
        core.note_opened(began);
        core.note_mark(&mut core.lock_writer().marks);
        core.deliver();
        background::start(&core)
            .map_err(|error| EngineError::io("start the store's thread", error))?;
        Ok(Self { handle: Arc::new(Handle { opener: Box::new(opener), core }) })
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
    /// term or a vote. A Synced batch is on the disk when the call returns, and so is every batch
    /// that was accepted before it. A Buffered one is accepted and can be read, and its commit
    /// follows: synced when the flush policy says so where the strategy is
    /// [`MemFirst`](crate::Strategy::MemFirst), or else in the background within the mark interval.
    ///
    /// # Errors
    ///
    /// A refusal by a rule or for want of memory changes nothing, and the store goes on. After an
    /// engine's failure the batch is whole or absent once the store is reopened. Of a Buffered
    /// batch the failure shows with the next call.
    pub fn write(&self, batch: &LogBatch, durability: Durability) -> Result<()> {
        let ticket = self.core().accept(batch, durability, Listener::Caller, WhenFull::Wait)?;
        if ticket.blocking {
            return self.await_durable(&ticket);
        }
        self.core().keep_pace();
        Ok(())
    }

    /// Accepts a batch to be synced, and returns before it is: see [`Accepted`] for what to wait
    /// for, and how.
    ///
    /// # Errors
    ///
    /// Refusals as in [`write`](Self::write), and [`Busy`](crate::Error::Busy) where the queue is
    /// full and the caller would rather not wait.
    pub fn submit(&self, batch: &LogBatch, when_full: WhenFull) -> Result<Accepted> {
        let ticket = self.core().accept(batch, Durability::Synced, Listener::Nobody, when_full)?;
        Ok(Accepted { ticket, store: self.clone() })
    }

    /// Accepts a batch that need not be synced, and leaves its commit to others: where
    /// [`write`](Self::write) may carry what has collected to the engine, this never does.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit). What its commit comes to shows with the next call.
    pub fn submit_buffered(&self, batch: &LogBatch, when_full: WhenFull) -> Result<()> {
        self.core().accept(batch, Durability::Buffered, Listener::Nobody, when_full)?;
        Ok(())
    }

    /// As [`submit`](Self::submit), with a callback for the end: it is called exactly once, in the
    /// order in which batches were accepted, with no lock held. It may use the store, drop it or
    /// close it. It should not block, because other callbacks wait behind it; a batch that is
    /// refused here has no end, and its callback is not called.
    pub fn submit_with(
        &self,
        batch: &LogBatch,
        when_full: WhenFull,
        callback: impl FnOnce(Result<&[Durable]>) + Send + 'static,
    ) -> Result<()> {
        let listener = Listener::Callback(Box::new(callback));
        self.core().accept(batch, Durability::Synced, listener, when_full)?;
        Ok(())
    }

    /// Makes everything written so far as durable as [`Durability::Synced`].
    pub fn sync(&self) -> Result<()> {
        self.write(&LogBatch::new(), Durability::Synced)
    }

    /// Writes what was accepted, deletes everything that waits for deletion, and syncs. What is
    /// purged or dropped while it runs is deleted with the rest.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync).
    pub fn settle(&self) -> Result<()> {
        self.core().sweep_all();
        self.sync()
    }

    /// The replicas that have a log, hard state or slots, in order. Damaged ones are among them.
    pub fn replicas(&self) -> Result<Vec<ReplicaId>> {
        let served = self.core().read_served();
        served.check()?;
        let exists = |held: Result<&Live, _>| held.map_or(true, |live| live.state.exists());
        Ok(served.replicas().filter(|(_, held)| exists(*held)).map(|(id, _)| id).collect())
    }

    /// The replicas that are refused because they are damaged, and why.
    pub fn damaged(&self) -> Result<Vec<(ReplicaId, String)>> {
        let served = self.core().read_served();
        served.check()?;
        let damaged =
            served.replicas().filter_map(|(id, held)| Some((id, held.err()?.to_string())));
        Ok(damaged.collect())
    }

    /// How many entries are purged or dropped and still wait in the background for their deletion.
    pub fn waiting_for_deletion(&self) -> u64 {
        self.core().waiting_for_deletion()
    }

    /// Walks the whole store and names every invariant that does not hold. Accepted batches are
    /// written first, and no commit runs meanwhile.
    ///
    /// # Errors
    ///
    /// Failures of the engine; damage is in the report.
    pub fn check(&self) -> Result<CheckReport> {
        self.core().quiesced(Gate::Open, |_| {
            check::check(&*self.engine()?, self.core().options.sidecar.as_deref())
        })
    }

    /// What the engine says of itself.
    pub fn info(&self) -> EngineInfo {
        self.core().read_served().engine.info()
    }

    /// How many bytes the store takes on its disk.
    pub fn disk_bytes(&self) -> Result<u64> {
        Ok(self.engine()?.disk_bytes()?)
    }

    /// Gives the space of removed entries back to the file system, as far as the engine can; see
    /// [`EngineInfo::reclaim`] for what it holds up. Entries that wait for their deletion go first.
    pub fn reclaim(&self) -> Result<()> {
        self.settle()?;
        self.core().quiesced(Gate::Open, |_| Ok(self.engine()?.reclaim()?))
    }

    /// The last failure to write the sidecar since this was last asked. Such a failure takes
    /// nothing from what was acknowledged; it leaves more of it uncovered by the sidecar.
    pub fn take_sidecar_failure(&self) -> Option<io::Error> {
        self.core().lock_writer().marks.take_failure()
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
        let began = self.core().clock();
        self.core().quiesced(Gate::Shut, |writer| {
            let old = {
                let mut served = self.core().write_served();
                if served.refusal.is_none() && writer.marks.is_behind() {
                    let _ = write_mark(&mut writer.marks, &*served.engine);
                    self.core().note_mark(&mut writer.marks);
                }
                served.refusal.get_or_insert(Refusal::Closed);
                Arc::clone(&served.engine)
            };
            // The engine is opened anew because it failed: closing may fail the same way.
            let _ = self.core().close_engine(writer, &*old);
            let before = lasts(&self.core().read_served());
            let loaded = load(&self.handle.opener, &self.core().options)?;
            let after = lasts(&loaded.served);
            drop(self.core().replace(writer, loaded));
            let ids: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
            let report = |replica| Reopened {
                replica,
                last_before: before.get(&replica).copied().flatten(),
                last_after: after.get(&replica).copied().flatten(),
            };
            let reports: Vec<_> = ids.into_iter().map(report).collect();
            self.core().note_reopened(began, &reports);
            self.core().note_mark(&mut writer.marks);
            Ok(reports)
        })
    }

    /// Writes and syncs what was accepted, marks it in the sidecar, and closes the engine. Handles
    /// that are left answer [`Closed`](EngineError::Closed). A second call does nothing.
    ///
    /// When it returns, whoever waited for a batch has been told: it must not be called with a
    /// lock held that a callback needs. Called from a callback, it does not wait for the others.
    pub fn close(&self) -> Result<()> {
        let closed = self.handle.close();
        self.core().deliver_all();
        closed
    }

    pub(crate) fn core(&self) -> &Core {
        &self.handle.core
    }

    pub(crate) fn await_durable(&self, ticket: &Arc<Ticket>) -> Result<()> {
        self.core().await_durable(ticket)
    }

    fn engine(&self) -> Result<Arc<dyn KvLogDb>> {
        let served = self.core().read_served();
        served.check()?;
        Ok(Arc::clone(&served.engine))
    }
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("engine", &self.info().name).finish_non_exhaustive()
    }
}

impl Handle {
    fn close(&self) -> Result<()> {
        self.core.close(write_mark)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.close();
        self.core.signal.end(Arc::clone(&self.core));
    }
}

/// The last index of every replica's log.
fn lasts(served: &Served) -> BTreeMap<ReplicaId, Option<u64>> {
    let last = |held: Result<&Live, _>| held.ok().and_then(|live| live.state.last_index());
    served.replicas().map(|(id, held)| (id, last(held))).collect()
}

/// Syncs and marks everything written so far; the first time, this makes the store's own record.
fn write_mark(marks: &mut Marks, engine: &dyn KvLogDb) -> Result<()> {
    let mut batch = WriteBatch::new();
    encode::encode(&marks.steps(), &mut batch)?;
    engine.write(&[&batch], Durability::Synced)?;
    marks.synced();
    Ok(())
}

/// Opens the engine and reads what serving needs.
fn load(
    opener: &dyn Fn() -> EngineResult<Arc<dyn KvLogDb>>,
    options: &LogOptions,
) -> Result<Loaded> {
    let engine = opener()?;
    let mut contents = recover::read(&*engine)?;
    if contents.store.is_none() && !contents.replicas.is_empty() {
        let what = "its own record is missing".into();
        return Err(crate::Error::StoreDamaged { what });
    }
    let working_sets = working_set::load(&*engine, &mut contents.replicas, options.strategy)?;
    let mut marks = Marks::open(options, &contents)?;
    let littered = contents.replicas.iter().filter_map(|(&id, held)| {
        held.as_ref().is_ok_and(|replica| !replica.trash.is_empty()).then_some(id)
    });
    let littered = littered.collect();
    if contents.store.is_none() || marks.is_behind() {
        // From here on an engine that opens empty is known to have lost its data.
        write_mark(&mut marks, &*engine)?;
    }
    let mut served = Served::new(engine, contents.census, contents.replicas);
    for (id, entries) in working_sets {
        served.preload(id, &entries);
    }
    Ok(Loaded { served, writer: Writer::new(marks), littered })
}
