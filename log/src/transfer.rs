//! Whole stores as they stand in their engines, record by record.
//!
//! A record carries a checksum over its key and is the same on every engine, so a store moves by
//! copying records as they are. Nothing here decides by the log's rules: whether a store is sound
//! is [`check`](crate::check())'s to say. No write may run in a store while it is read here.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use kvlogdb_engine_api::{
    Durability, Error as EngineError, KvLogDb, LogKey, LogName, MetaKey, Order, WriteBatch,
};

use crate::recover::Metadata;
use crate::sidecar::Sidecar;
use crate::{Error, Result};

/// How many bytes of records are in memory at a time; one record more may be.
const PAGE_BYTES: usize = 4 << 20;

/// How many entries are compared between two calls of a progress function.
const PROGRESS_ENTRIES: u64 = 1024;

/// The key of any record. Metadata sorts before entries, as in the canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// A metadata record.
    Meta(MetaKey),
    /// An entry's record.
    Entry(LogKey),
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta(key) => write!(f, "{key}"),
            Self::Entry(key) => write!(f, "log {} index {}", key.log, key.index),
        }
    }
}

/// What has been moved or compared so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Metadata records.
    pub metadata: u64,
    /// Entry records.
    pub entries: u64,
    /// The bytes of all these records, without their keys.
    pub record_bytes: u64,
}

impl Totals {
    pub(crate) fn count(&mut self, key: RecordKey, record: &[u8]) {
        match key {
            RecordKey::Meta(_) => self.metadata += 1,
            RecordKey::Entry(_) => self.entries += 1,
        }
        self.record_bytes += record.len() as u64;
    }
}

/// All records of a store in key order; made by [`records`].
#[derive(Debug)]
pub struct Records<'a> {
    engine: &'a dyn KvLogDb,
    metadata: VecDeque<MetaKey>,
    logs: VecDeque<LogName>,
    /// Where the log at the front goes on.
    next: Option<u64>,
    page: VecDeque<(RecordKey, Vec<u8>)>,
}

/// Goes through every record of the store under `engine`, a few mebibytes at a time. Keys of
/// metadata and names of logs are in memory from the beginning.
///
/// # Errors
///
/// Failures of the engine, here and from the iterator, which is of no use after one.
pub fn records(engine: &dyn KvLogDb) -> Result<Records<'_>> {
    let (mut metadata, mut logs) = (VecDeque::new(), VecDeque::new());
    engine.scan_meta(&mut |key, _| {
        metadata.push_back(key);
        ControlFlow::Continue(())
    })?;
    engine.logs(&mut |log| {
        logs.push_back(log);
        ControlFlow::Continue(())
    })?;
    Ok(Records { engine, metadata, logs, next: Some(0), page: VecDeque::new() })
}

impl Records<'_> {
    fn fill(&mut self) -> Result<()> {
        if let Some(key) = self.metadata.pop_front() {
            let gone = || EngineError::corrupt(format!("the value in {key} is listed and missing"));
            let value = self.engine.meta(key)?.ok_or_else(gone)?;
            self.page.push_back((RecordKey::Meta(key), value.into()));
            return Ok(());
        }
        while let (Some(&log), true) = (self.logs.front(), self.page.is_empty()) {
            if let Some(first) = self.next {
                self.fill_from(log, first)?;
            }
            if self.page.is_empty() {
                self.logs.pop_front();
                self.next = Some(0);
            }
        }
        Ok(())
    }

    fn fill_from(&mut self, log: LogName, first: u64) -> Result<()> {
        let Self { engine, page, next, .. } = self;
        engine.scan(
            log,
            first..=u64::MAX,
            Order::Ascending,
            PAGE_BYTES,
            &mut |index, record| {
                page.push_back((RecordKey::Entry(log.at(index)), record.into_owned()));
                *next = index.checked_add(1);
                ControlFlow::Continue(())
            },
        )?;
        Ok(())
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(RecordKey, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Err(error) = self.fill()
        {
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

/// Puts records into an empty engine, in synced batches of bounded size.
pub(crate) struct Loader<'a> {
    target: &'a dyn KvLogDb,
    batch: WriteBatch,
    totals: Totals,
}

impl<'a> Loader<'a> {
    /// # Errors
    ///
    /// [`EngineError::Invalid`] where `target` holds anything.
    pub(crate) fn new(target: &'a dyn KvLogDb) -> Result<Self> {
        if let Some(record) = records(target)?.next() {
            let what = format!("the target is not empty, it holds {}", record?.0);
            return Err(EngineError::Invalid { what }.into());
        }
        Ok(Self { target, batch: WriteBatch::new(), totals: Totals::default() })
    }

    /// Takes one record; `true` where that completed a batch.
    pub(crate) fn put(&mut self, key: RecordKey, record: &[u8]) -> Result<bool> {
        match key {
            RecordKey::Meta(key) => self.batch.put_meta(key, &[record])?,
            RecordKey::Entry(key) => self.batch.put_entry(key, &[record])?,
        }
        self.totals.count(key, record);
        let full = self.batch.len_bytes() >= PAGE_BYTES;
        if full {
            self.flush()?;
        }
        Ok(full)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn finish(mut self) -> Result<Totals> {
        self.flush()?;
        Ok(self.totals)
    }

    fn flush(&mut self) -> Result<()> {
        self.target.write(&[&self.batch], Durability::Synced)?;
        self.batch.clear();
        Ok(())
    }
}

/// Copies every record of `source` into `target`, which must be empty, and calls `progress` after
/// each batch.
///
/// # Durability
///
/// Synced when the call returns. A copy that ends early leaves a part of the store in `target`,
/// and nothing there says so: the caller keeps it from being used.
///
/// # Errors
///
/// [`Invalid`](EngineError::Invalid) where `target` holds anything; failures of both engines.
pub fn copy(
    source: &dyn KvLogDb,
    target: &dyn KvLogDb,
    progress: &mut dyn FnMut(&Totals),
) -> Result<Totals> {
    let mut loader = Loader::new(target)?;
    for record in records(source)? {
        let (key, record) = record?;
        if loader.put(key, &record)? {
            progress(&loader.totals());
        }
    }
    loader.finish()
}

/// The first record in which two stores differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The record.
    pub key: RecordKey,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How a record differs between two stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DifferenceKind {
    /// Only the first store has it.
    OnlyInFirst,
    /// Only the second store has it.
    OnlyInSecond,
    /// Both have it, with other bytes.
    Bytes,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.kind {
            DifferenceKind::OnlyInFirst => "is only in the first store",
            DifferenceKind::OnlyInSecond => "is only in the second store",
            DifferenceKind::Bytes => "has other bytes in the second store",
        };
        write!(f, "{} {how}", self.key)
    }
}

/// Compares two stores record by record, and calls `progress` now and then. Answers how much is
/// the same, and the first difference where there is one.
///
/// # Errors
///
/// Failures of both engines.
pub fn compare(
    first: &dyn KvLogDb,
    second: &dyn KvLogDb,
    progress: &mut dyn FnMut(&Totals),
) -> Result<(Totals, Option<Difference>)> {
    let mut same = Totals::default();
    let (mut ours, mut theirs) = (records(first)?, records(second)?);
    loop {
        let pair = (ours.next().transpose()?, theirs.next().transpose()?);
        let (key, kind) = match pair {
            (None, None) => return Ok((same, None)),
            (Some((key, record)), Some((other, twin))) if key == other && record == twin => {
                same.count(key, &record);
                if same.entries.is_multiple_of(PROGRESS_ENTRIES) {
                    progress(&same);
                }
                continue;
            }
            (Some((key, _)), Some((other, _))) if key == other => (key, DifferenceKind::Bytes),
            (Some((key, _)), other) if other.as_ref().is_none_or(|(other, _)| key < *other) => {
                (key, DifferenceKind::OnlyInFirst)
            }
            (_, Some((key, _))) => (key, DifferenceKind::OnlyInSecond),
            (Some((key, _)), None) => (key, DifferenceKind::OnlyInFirst),
        };
        return Ok((same, Some(Difference { key, kind })));
    }
}

/// Makes the sidecar of a store whose records were copied into `engine`, so that it opens as the
/// log's own does: both at the mark that the records carry. Where no log was ever opened over the
/// store there is no mark, and no sidecar is made.
///
/// # Durability
///
/// Synced when the call returns.
///
/// # Errors
///
/// [`Error::StoreDamaged`] where there are records and no mark among them; failures of the engine
/// and of the file system.
pub fn create_sidecar(engine: &dyn KvLogDb, path: &Path) -> Result<()> {
    let metadata = Metadata::read(engine)?;
    let record = match metadata.store? {
        Some(record) => record,
        None if metadata.replicas.is_empty() => return Ok(()),
        None => return Err(Error::StoreDamaged { what: "its own record is missing".into() }),
    };
    let created = Sidecar::create(path, record.mark);
    created.map(drop).map_err(|error| EngineError::io("create the sidecar", error).into())
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
pub(crate) mod tests;
