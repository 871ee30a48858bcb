//! How the contract's operations become one batch of sled's.
//!
//! Everything is in sled's default tree under the canonical keys, because a batch is atomic within
//! one tree only. The metadata sorts before the entries.

use std::collections::BTreeMap;

use kvlogdb_engine_api::key::KeyBytes;
use kvlogdb_engine_api::{LogKey, MetaKey, Operation, Result, WriteBatch, chunk};
use sled::{Batch, IVec, Tree};

use crate::error::from_sled;

/// The version of the layout that this file describes.
pub(crate) const LAYOUT: u32 = 1;

/// The size of sled's segments, fixed when a store is made. sled puts a page of more than a
/// quarter of a segment into a file of its own, which it never syncs and does not order against
/// its log. A leaf holds at most 20 values, so that pieces of this size stay well below that.
pub(crate) const SEGMENT_BYTES: u32 = 8 << 20;

/// Values from this size up are cut into pieces.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// One write call, ready to be applied.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) batch: Batch,
    /// Keys that together lie in every leaf that the batch can leave too large or too small: both
    /// ends of every run of neighbours and every fourth key between them. A leaf holds at least
    /// four, so that none inside a run is passed over.
    pub(crate) visits: Vec<IVec>,
}

const VISIT_EVERY: usize = 4;

/// Puts the operations of all batches into one: a later one wins over an earlier one on the same
/// key. The caller keeps other writers out until the result is applied.
pub(crate) fn stage(tree: &Tree, batches: &[&WriteBatch]) -> Result<Staged> {
    let operations = || batches.iter().flat_map(|batch| batch.operations());
    let mut stage = Stage {
        tree,
        staged: Staged::default(),
        removals_ahead: operations().filter(is_range_removal).count(),
        entries_put: BTreeMap::new(),
        meta_put: BTreeMap::new(),
        last_entry: None,
        run_len: 0,
        run_end: None,
    };
    for operation in operations() {
        stage.add(operation)?;
    }
    stage.begin_run();
    Ok(stage.staged)
}

fn is_range_removal(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::RemoveEntries { .. } | Operation::RemoveLog { .. })
}

struct Stage<'a> {
    tree: &'a Tree,
    staged: Staged,
    /// Range removals that are still to come: what is put before the last of them is remembered.
    removals_ahead: usize,
    /// Entries put so far and the most pieces that any of their values had.
    entries_put: BTreeMap<LogKey, u32>,
    /// The same for metadata of more than one piece.
    meta_put: BTreeMap<MetaKey, u32>,
    /// The entry that the last operation put.
    last_entry: Option<LogKey>,
    /// How many keys the current run of neighbours has, and the last one of it.
    run_len: usize,
    run_end: Option<IVec>,
}

impl Stage<'_> {
    fn add(&mut self, operation: Operation<'_>) -> Result<()> {
        let before = self.last_entry.take();
        let next = before.and_then(|key| Some(key.log.at(key.index.checked_add(1)?)));
        match operation {
            Operation::PutEntry { key, value } => {
                if next != Some(key) {
                    self.begin_run();
                }
                self.last_entry = Some(key);
                let pieces = self.put(value, |chunk| key.encode_chunk(chunk));
                if self.removals_ahead > 0 {
                    raise(&mut self.entries_put, key, pieces);
                }
                Ok(())
            }
            Operation::RemoveEntries { log, first, last } => {
                self.removals_ahead -= 1;
                self.remove_entries(log.at(first), log.at(last))
            }
            Operation::RemoveLog { log } => {
                self.removals_ahead -= 1;
                self.remove_entries(log.at(0), log.at(u64::MAX))
            }
            Operation::PutMeta { key, value } => {
                self.begin_run();
                let pieces = self.put(value, |chunk| key.encode_chunk(chunk));
                self.remove_meta_pieces(key, pieces)?;
                if pieces > 1 {
                    raise(&mut self.meta_put, key, pieces);
                }
                Ok(())
            }
            Operation::RemoveMeta { key } => self.remove_meta_pieces(key, 0),
        }
    }

    /// Sets a value under its keys and says of how many pieces it is.
    fn put(&mut self, value: &[u8], key: impl Fn(u32) -> KeyBytes) -> u32 {
        let mut pieces = 0;
        for (chunk, piece) in chunk::split(value, PIECE_BYTES) {
            let key = IVec::from(key(chunk).as_ref());
            self.visit(&key);
            self.staged.batch.insert(key, piece);
            pieces = chunk + 1;
        }
        pieces
    }

    fn remove(&mut self, key: IVec) {
        self.visit(&key);
        self.staged.batch.remove(key);
    }

    fn begin_run(&mut self) {
        self.run_len = 0;
        self.staged.visits.extend(self.run_end.take());
    }

    fn visit(&mut self, key: &IVec) {
        if self.run_len.is_multiple_of(VISIT_EVERY) {
            self.staged.visits.push(key.clone());
        }
        self.run_len += 1;
        self.run_end = Some(key.clone());
    }

    fn remove_entries(&mut self, first: LogKey, last: LogKey) -> Result<()> {
        if first > last {
            return Ok(());
        }
        self.begin_run();
        self.remove_stored(first.encode(), last.encode_last())?;
        let put: Vec<_> =
            self.entries_put.range(first..=last).map(|(&key, &pieces)| (key, pieces)).collect();
        for (key, pieces) in put {
            self.entries_put.remove(&key);
            self.begin_run();
            for chunk in 0..pieces {
                self.remove(IVec::from(key.encode_chunk(chunk).as_ref()));
            }
        }
        Ok(())
    }

    /// Removes the pieces of a metadata value from number `first` on.
    fn remove_meta_pieces(&mut self, key: MetaKey, first: u32) -> Result<()> {
        self.begin_run();
        self.remove_stored(key.encode_chunk(first), key.encode_last())?;
        let put = self.meta_put.get(&key).copied().unwrap_or(1);
        for chunk in first..put {
            self.remove(IVec::from(key.encode_chunk(chunk).as_ref()));
        }
        Ok(())
    }

    fn remove_stored(&mut self, first: KeyBytes, last: KeyBytes) -> Result<()> {
        for key in self.tree.range(first..=last).keys() {
            let key = key.map_err(|error| from_sled("find what a write removes", error))?;
            self.remove(key);
        }
        Ok(())
    }
}

fn raise<K: Ord>(put: &mut BTreeMap<K, u32>, key: K, pieces: u32) {
    let most = put.entry(key).or_default();
    *most = pieces.max(*most);
}
