//! The one thread of a store: carries what nobody waits for, marks, and deletes in slices.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kvlogdb_engine_api::LogName;

use crate::FlushPolicy;
use crate::commit::{Core, MAX_PATIENCE, Reason, Writer};
use crate::line::Line;
use crate::sweep::Sweep;
use crate::sync::{Condvar, Instant, Mutex, PoisonError, thread, wait_until};

/// How long the deletion of one slice should take, where nobody writes.
const SLICE_TIME: Duration = Duration::from_millis(1);
/// How long nobody must have written for that. Until then slices ride along with the commits.
pub(crate) const IDLE: Duration = Duration::from_millis(2);
/// How many entries are read ahead of the slices that ride along.
const WARM_ENTRIES: u64 = 4096;
/// How long batches that ask for no sync collect before they are written.
const UNSYNCED_WAIT: Duration = Duration::from_millis(20);
const MIN_SLICE_ENTRIES: u64 = 64;
pub(crate) const MAX_SLICE_ENTRIES: u64 = 4096;

/// How the thread is woken and ended.
#[derive(Default)]
pub(crate) struct Signal {
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Default)]
struct Flags {
    woken: bool,
    /// What is left of the store once the thread is to end.
    last: Option<Arc<Core>>,
}

impl Signal {
    /// Makes the thread look what there is to do.
    pub(crate) fn wake(&self) {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner).woken = true;
        self.changed.notify_one();
    }

    /// Makes the thread end, after it has told everybody of their batches' ends: nobody else may be
    /// there to do it.
    pub(crate) fn end(&self, core: Arc<Core>) {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner).last = Some(core);
        self.changed.notify_one();
    }

    /// Sleeps until woken or until `until`. Answers what is left once the thread is to end.
    fn sleep(&self, until: Option<Instant>) -> Option<Arc<Core>> {
        let mut flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        while !flags.woken && flags.last.is_none() {
            if until.is_some_and(|until| until <= Instant::now()) {
                break;
            }
            flags = wait_until(&self.changed, &self.flags, flags, until);
        }
        flags.woken = false;
        flags.last.take()
    }
}

/// Starts the thread; it ends with the store.
pub(crate) fn start(core: &Arc<Core>) -> std::io::Result<()> {
    let (signal, core) = (Arc::clone(&core.signal), Arc::downgrade(core));
    thread::Builder::new().name("kvlogdb".into()).spawn(move || run(&core, &signal))?;
    Ok(())
}

fn run(core: &Weak<Core>, signal: &Signal) {
    let mut sweeper = Sweeper { entries: MIN_SLICE_ENTRIES, warm: None };
    let mut until = Some(Instant::now()); // what a crash has left is there to be deleted
    loop {
        if let Some(core) = signal.sleep(until) {
            return core.deliver_all();
        }
        let Some(core) = core.upgrade() else { return };
        core.deliver();
        let now = Instant::now();
        until = match core.due(now) {
            Some((at, reason)) if at <= now => {
                core.lead_if_free(reason);
                Some(now)
            }
            due => [due.map(|(at, _)| at), sweeper.sweep(&core)].into_iter().flatten().min(),
        };
    }
}

/// Deletes slice after slice, each in about the same time.
struct Sweeper {
    /// How many entries the next slice has.
    entries: u64,
    /// What was read ahead: a log, and the last index.
    warm: Option<(LogName, u64)>,
}

impl Sweeper {
    /// Deletes a slice where nobody writes, or else reads ahead for those who do. Answers when to
    /// go on: `None` where nothing is left to delete.
    fn sweep(&mut self, core: &Core) -> Option<Instant> {
        let (log, waiting) = core.next_garbage()?;
        let now = Instant::now();
        let busy_until = core.lock_line().busy_until;
        if let Some(until) = busy_until.filter(|&until| until > now) {
            let end = waiting.start().saturating_add(WARM_ENTRIES).min(*waiting.end());
            let behind = end.saturating_sub(WARM_ENTRIES / 2);
            if self.warm.is_none_or(|(warm, through)| warm != log || through < behind) {
                core.warm(log, *waiting.start()..=end);
                self.warm = Some((log, end));
            }
            return Some(until);
        }
        let end = waiting.start().saturating_add(self.entries - 1).min(*waiting.end());
        core.warm(log, *waiting.start()..=end);
        let began = Instant::now();
        if core.sweep(self.entries) == Sweep::Added {
            core.lead_if_free(Reason::Queue);
            if !core.lock_line().queue.has_slice() {
                self.adjust(began.elapsed());
                return Some(Instant::now());
            }
        }
        Some(Instant::now() + IDLE) // somebody writes after all, or holds writes up
    }

    fn adjust(&mut self, took: Duration) {
        self.entries = if took > SLICE_TIME { self.entries / 2 } else { self.entries * 2 };
        self.entries = self.entries.clamp(MIN_SLICE_ENTRIES, MAX_SLICE_ENTRIES);
    }
}

impl Core {
    /// When and why the background thread has to lead; `None` until it is woken. Where it should
    /// lead by now and somebody else does, that one wakes it when done.
    pub(crate) fn due(&self, now: Instant) -> Option<(Instant, Reason)> {
        let mut line = self.lock_line();
        if line.queue.is_empty() && self.read_served().check().is_err() {
            line.alarm = None;
            return None; // what is left to do begins with a reopening
        }
        let all = [self.queue_due(&line), line.timer];
        let due = all.into_iter().flatten().min_by_key(|(at, _)| *at);
        line.alarm = due.map(|(at, _)| at);
        let due = due?;
        if due.0 <= now && !line.is_free() {
            (line.overdue, line.alarm) = (true, None);
            return None;
        }
        Some(due)
    }

    /// When and why a commit has to follow one that leaves the writer like this.
    pub(crate) fn timer(&self, writer: &Writer) -> Option<(Instant, Reason)> {
        let mark = writer.marks.due().map(|at| (at, Reason::Mark));
        let sync = writer.unsynced_since.and_then(|since| since.checked_add(self.sync_wait()));
        let sync = sync.map(|at| (at, Reason::Sync));
        [mark, sync].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When a commit has to carry what has collected.
    pub(crate) fn queue_due(&self, line: &Line) -> Option<(Instant, Reason)> {
        let wait = match self.options.flush {
            _ if line.queue.bytes() >= line.enough_bytes() => Duration::ZERO,
            FlushPolicy::Batch { interval, .. } if !self.leads_at_once(line) => interval,
            FlushPolicy::Batch { .. } => Duration::ZERO,
            FlushPolicy::Adaptive if self.options.mem_first() && !line.queue.is_urgent() => {
                line.last_took.min(MAX_PATIENCE)
            }
            _ if line.queue.wants_sync() => Duration::ZERO,
            _ => UNSYNCED_WAIT,
        };
        Some((line.since?.checked_add(wait)?, Reason::Queue))
    }

    /// How long a batch that was written without a sync waits for one.
    fn sync_wait(&self) -> Duration {
        match self.options.flush {
            FlushPolicy::Batch { interval, .. } => interval,
            FlushPolicy::Immediate | FlushPolicy::Adaptive => self.options.mark_interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kvlogdb_engine_api::{Durability, Error, MemoryDisk};

    use super::*;
    use crate::{Entry, LogOptions, LogStore, ReplicaId};

    fn store(options: LogOptions) -> LogStore {
        let disk = MemoryDisk::default();
        LogStore::open(move || Ok(Arc::new(disk.open()?)), options).expect("an empty disk")
    }

    #[test]
    fn nothing_is_due_in_a_store_that_refuses() {
        let dir = tempfile::tempdir().expect("a directory");
        let (sidecar, hour) = (Some(dir.path().join("SEQ")), Duration::from_secs(3600));
        let store = store(LogOptions { sidecar, mark_interval: hour, ..LogOptions::default() });
        let log = store.log(ReplicaId::from(1));
        log.append(vec![Entry::new(1, 1, "a")], Durability::Synced).expect("a first entry");
        assert!(store.core().due(Instant::now()).is_some(), "a mark");
        store.core().refuse(Error::Closed);
        assert_eq!(store.core().due(Instant::now()), None);
    }

    #[test]
    fn an_interval_without_end_is_never_over() {
        let options = LogOptions {
            mark_interval: Duration::MAX,
            flush: FlushPolicy::Batch { entries: 9, interval: Duration::MAX },
            ..LogOptions::default()
        };
        let store = store(options);
        let log = store.log(ReplicaId::from(1));
        log.append(vec![Entry::new(1, 1, "a")], Durability::Buffered).expect("a first entry");
        store.core().lead_if_free(Reason::Queue);
        assert!(store.core().lock_writer().unsynced_since.is_some());
        assert_eq!(store.core().due(Instant::now()), None);
    }
}
