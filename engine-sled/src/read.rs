//! How the contract's reads are answered from sled's tree.
//!
//! sled's iterators are no snapshots, so whoever calls these functions keeps writers out until they
//! return.

use std::borrow::Cow;
use std::ops::{Bound, ControlFlow, RangeInclusive};

use bytes::Bytes;
use kvlogdb_engine_api::key::KeyBytes;
use kvlogdb_engine_api::{
    EntryVisitor, Error, LogKey, LogName, LogVisitor, MetaKey, MetaVisitor, Order, ReplicaId,
    Result, chunk,
};
use sled::{IVec, Tree};

use crate::error::from_sled;
use crate::layout::PIECE_BYTES;

const LOWEST_META: MetaKey = MetaKey { scope: kvlogdb_engine_api::Scope::Store, slot: 0 };
const HIGHEST_META: MetaKey = MetaKey {
    scope: kvlogdb_engine_api::Scope::Replica(ReplicaId { group: u64::MAX, node: u64::MAX }),
    slot: u16::MAX,
};

/// The value of one key, given the keys of its pieces.
pub(crate) fn value(tree: &Tree, key: impl Fn(u32) -> KeyBytes) -> Result<Option<Bytes>> {
    let Some(first) = fetch(tree, &key(0))? else {
        return Ok(None);
    };
    Ok(Some(match joined(tree, &first, key)? {
        Cow::Borrowed(value) => Bytes::copy_from_slice(value),
        Cow::Owned(value) => Bytes::from(value),
    }))
}

/// Visits entries as the contract says.
pub(crate) fn scan(
    tree: &Tree,
    log: LogName,
    range: &RangeInclusive<u64>,
    order: Order,
    budget_bytes: usize,
    visitor: &mut EntryVisitor<'_>,
) -> Result<()> {
    let (first, last) = (log.at(*range.start()), log.at(*range.end()));
    let mut stored = tree.range(first.encode()..=last.encode_last());
    let mut visited_bytes = 0;
    loop {
        let next = match order {
            Order::Ascending => stored.next(),
            Order::Descending => stored.next_back(),
        };
        let Some(next) = next else { return Ok(()) };
        let (key, first) = next.map_err(scan_failed)?;
        let (key, 0) = LogKey::decode(&key).ok_or_else(|| foreign(&key))? else {
            continue; // a further piece of a value that is visited with its first one
        };
        let value = joined(tree, &first, |chunk| key.encode_chunk(chunk))?;
        visited_bytes += value.len();
        if visitor(key.index, value).is_break() || visited_bytes >= budget_bytes {
            return Ok(());
        }
    }
}

/// Visits metadata as the contract says.
pub(crate) fn scan_meta(tree: &Tree, visitor: &mut MetaVisitor<'_>) -> Result<()> {
    for next in tree.range(LOWEST_META.encode()..=HIGHEST_META.encode_last()) {
        let (key, first) = next.map_err(scan_failed)?;
        let (key, 0) = MetaKey::decode(&key).ok_or_else(|| foreign(&key))? else {
            continue;
        };
        let value = joined(tree, &first, |chunk| key.encode_chunk(chunk))?;
        if visitor(key, value).is_break() {
            break;
        }
    }
    Ok(())
}

/// Visits logs as the contract says, with one search for each.
pub(crate) fn logs(tree: &Tree, visitor: &mut LogVisitor<'_>) -> Result<()> {
    let mut passed = HIGHEST_META.encode_last();
    loop {
        let behind = (Bound::Excluded(passed), Bound::<KeyBytes>::Unbounded);
        let Some(next) = tree.range(behind).next() else {
            return Ok(());
        };
        let (key, _) = next.map_err(scan_failed)?;
        let (key, _) = LogKey::decode(&key).ok_or_else(|| foreign(&key))?;
        if visitor(key.log) == ControlFlow::Break(()) {
            return Ok(());
        }
        passed = key.log.at(u64::MAX).encode_last();
    }
}

/// Checks up to `limit` keys and their values behind the key `passed`, and gives the last one, or
/// `None` at the end of the store.
pub(crate) fn check(tree: &Tree, passed: &[u8], limit: usize) -> Result<Option<IVec>> {
    let mut last = None;
    let behind = (Bound::Excluded(passed), Bound::<&[u8]>::Unbounded);
    for next in tree.range::<&[u8], _>(behind).take(limit) {
        let (key, first) = next.map_err(scan_failed)?;
        if let Some((meta, chunk)) = MetaKey::decode(&key) {
            if chunk == 0 {
                joined(tree, &first, |chunk| meta.encode_chunk(chunk))?;
            }
        } else {
            let (entry, chunk) = LogKey::decode(&key).ok_or_else(|| foreign(&key))?;
            if chunk == 0 {
                joined(tree, &first, |chunk| entry.encode_chunk(chunk))?;
            }
        }
        last = Some(key);
    }
    Ok(last)
}

pub(crate) fn fetch(tree: &Tree, key: &[u8]) -> Result<Option<IVec>> {
    tree.get(key).map_err(|error| from_sled("read a value", error))
}

fn joined<'a>(
    tree: &Tree,
    first: &'a [u8],
    key: impl Fn(u32) -> KeyBytes,
) -> Result<Cow<'a, [u8]>> {
    chunk::join(first, PIECE_BYTES, |chunk| fetch(tree, &key(chunk)))
}

fn scan_failed(error: sled::Error) -> Error {
    from_sled("scan the tree", error)
}

fn foreign(key: &[u8]) -> Error {
    Error::corrupt(format!("the key {} is not of this layout", key.escape_ascii()))
}
