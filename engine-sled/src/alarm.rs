//! Wakes those whom sled leaves waiting.
//!
//! Who flushes sled's log, or reads a page that is not yet written, waits for sled's own threads.
//! One of them that fails to write notes its error where all look before they wait, and wakes those
//! who wait already. But where it was to write the buffer with the beginning of a batch
//! (`exit_reservation` of sled 0.34.7), it wakes nobody, and they wait for ever.
//!
//! Any other call that would have to wait looks at the error first, and wakes them. So, as long as
//! sled is in use, a thread looks for an error, and makes such a call when there is one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sled::{Db, Lsn};

/// How often it looks, and for how long somebody may wait in vain.
const TICK: Duration = Duration::from_millis(100);

/// The thread that looks, until this is dropped. It has sled open as long.
pub(crate) struct Alarm {
    uses: Arc<Uses>,
    /// `None` once it has ended.
    thread: Option<JoinHandle<()>>,
}

impl Alarm {
    pub(crate) fn set(db: &Db) -> io::Result<Self> {
        let context = db.context.clone();
        let uses = Arc::new(Uses::default());
        let watched = Arc::clone(&uses);
        let thread = thread::Builder::new().name("kvlogdb-sled".to_owned()).spawn(move || {
            watched.watch(|| {
                if context.global_error().is_err() {
                    let _ = context.pagecache.log.make_stable(Lsn::MAX); // fails, and wakes
                }
            });
        })?;
        Ok(Self { uses, thread: Some(thread) })
    }

    /// sled is in use until what this gives is dropped.
    pub(crate) fn begin(&self) -> InUse<'_> {
        self.uses.count.fetch_add(1, Ordering::SeqCst);
        if self.uses.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        InUse(&self.uses)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("uses", &self.uses).finish_non_exhaustive()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.uses.ended.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it does not panic
        }
    }
}

/// A use of sled.
pub(crate) struct InUse<'a>(&'a Uses);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Default)]
struct Uses {
    count: AtomicUsize,
    /// Whether the thread sleeps until it is woken. It looks at the count once more behind this,
    /// and whoever raises the count looks at this behind that.
    asleep: AtomicBool,
    ended: AtomicBool,
}

impl Uses {
    fn watch(&self, look: impl Fn()) {
        while !self.ended.load(Ordering::SeqCst) {
            thread::park_timeout(TICK);
            look();
            self.asleep.store(true, Ordering::SeqCst);
            if self.count.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
    }
}
