//! How sled's log reaches the disk.
//!
//! sled's flush hands its log to the kernel and starts the transfer, and that is all: no barrier
//! follows. This file adds the barrier, and keeps one rule that recovery depends on.
//!
//! Every segment of sled's log starts with a header that says up to where the log was flushed when
//! the segment began. Recovery takes the log below the segment of that point for granted, and sled
//! gives the space of replaced pages out again on the strength of it. So a header must never vouch
//! for a segment that has been flushed and not synced: **whenever a segment begins, the point up to
//! which the log is flushed lies in the segment of the last sync, or before it**. During a batch
//! sled holds the flushed point where the batch began. It is therefore enough to flush after every
//! write, and to sync whenever that has carried the log into another segment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kvlogdb_engine_api::{Error, Result, fs as durable};
use sled::Db;

use crate::error::from_sled;
use crate::layout::SEGMENT_BYTES;

/// The one way in which a store's log is flushed and synced. Whoever holds it keeps out all other
/// writers.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Kept open, so that it hears of every failed transfer, also of one that sled passed over.
    log: File,
    dir: PathBuf,
    blobs: PathBuf,
    /// The segment in which the log ended at the last sync.
    synced_segment: i64,
}

impl Journal {
    /// Over the files of an open sled, which are all synced.
    pub(crate) fn new(dir: &Path, db: &Db) -> Result<Self> {
        let log = File::options()
            .write(true)
            .open(dir.join("db"))
            .map_err(|error| Error::io("open sled's log", error))?;
        Ok(Self { log, dir: dir.to_owned(), blobs: dir.join("blobs"), synced_segment: segment(db) })
    }

    /// Hands everything to the kernel, and syncs where the rule above asks for it. Costs next to
    /// nothing when there is nothing to flush.
    pub(crate) fn flush(&mut self, db: &Db) -> Result<()> {
        flush(db)?;
        if segment(db) == self.synced_segment {
            return Ok(());
        }
        self.sync(db)
    }

    /// Makes everything that was applied survive a power cut.
    pub(crate) fn sync(&mut self, db: &Db) -> Result<()> {
        flush(db)?;
        let reached = segment(db);
        self.sync_files().map_err(|error| Error::io("sync sled's log", error))?;
        self.synced_segment = reached;
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn synced_segment(&self) -> i64 {
        self.synced_segment
    }

    #[cfg(test)]
    pub(crate) fn replace_log(&mut self, log: File) {
        self.log = log;
    }

    /// After open sled only writes to its log. Should it ever put a page into a file of its own in
    /// spite of the piece size, that file and its name are synced, too.
    fn sync_files(&self) -> std::io::Result<()> {
        self.log.sync_data()?;
        if fs::read_dir(&self.blobs)?.next().is_some() {
            durable::sync_tree(&self.dir)?;
        }
        Ok(())
    }
}

fn flush(db: &Db) -> Result<()> {
    db.flush().map(|_bytes| ()).map_err(|error| from_sled("flush sled's log", error))
}

/// The segment in which the flushed log ends.
fn segment(db: &Db) -> i64 {
    db.context.pagecache.log.stable_offset() / i64::from(SEGMENT_BYTES)
}
