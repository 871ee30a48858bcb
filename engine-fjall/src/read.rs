//! Reading values that may lie in pieces.

use std::borrow::Cow;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use fjall::{Guard, Iter, Keyspace, Readable, Slice, Snapshot};
use kvlogdb_engine_api::key::KeyBytes;
use kvlogdb_engine_api::{Error, LogKey, LogVisitor, MetaKey, Result, chunk};

use crate::error;
use crate::layout::PIECE_BYTES;

/// A key whose value lies in pieces under it.
pub(crate) trait PieceKey: Copy + Eq {
    fn encode_chunk(self, chunk: u32) -> KeyBytes;
    fn encode_last(self) -> KeyBytes;
    fn decode(bytes: &[u8]) -> Option<(Self, u32)>;
}

impl PieceKey for LogKey {
    fn encode_chunk(self, chunk: u32) -> KeyBytes {
        Self::encode_chunk(self, chunk)
    }

    fn encode_last(self) -> KeyBytes {
        Self::encode_last(self)
    }

    fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        Self::decode(bytes)
    }
}

impl PieceKey for MetaKey {
    fn encode_chunk(self, chunk: u32) -> KeyBytes {
        Self::encode_chunk(self, chunk)
    }

    fn encode_last(self) -> KeyBytes {
        Self::encode_last(self)
    }

    fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        Self::decode(bytes)
    }
}

/// Takes one value of a scan.
pub(crate) type Visit<'a, K> = dyn FnMut(K, Cow<'_, [u8]>) -> ControlFlow<()> + 'a;

pub(crate) fn failed(error: fjall::Error) -> Error {
    error::from_fjall("read", error)
}

/// The value under `key`, put together.
pub(crate) fn value(
    view: &Snapshot,
    keyspace: &Keyspace,
    key: impl PieceKey,
) -> Result<Option<Bytes>> {
    let first = view.get(keyspace, key.encode_chunk(0)).map_err(failed)?;
    let Some(first) = first else {
        return Ok(None);
    };
    if !chunk::continues(first.len(), PIECE_BYTES) {
        // a copy, because the slice would keep its whole block in memory
        return Ok(Some(Bytes::copy_from_slice(&first)));
    }
    let mut rest = view.range(keyspace, key.encode_chunk(1)..=key.encode_last());
    let value = chunk::join(&first, PIECE_BYTES, |chunk| next_piece(&mut rest, key, chunk))?;
    Ok(Some(value.into_owned().into()))
}

/// Visits the values of `items` from the first to the last.
pub(crate) fn ascend<K: PieceKey>(mut items: Iter, visit: &mut Visit<'_, K>) -> Result<()> {
    let mut visited = None;
    while let Some(item) = items.next() {
        let (key, chunk, first) = take::<K>(item)?;
        if chunk > 0 && visited == Some(key) {
            continue; // left over from a longer value
        }
        if chunk > 0 {
            return Err(headless());
        }
        visited = Some(key);
        let value = chunk::join(&first, PIECE_BYTES, |chunk| next_piece(&mut items, key, chunk))?;
        if visit(key, value).is_break() {
            break;
        }
    }
    Ok(())
}

/// Visits the values of `items` from the last to the first.
pub(crate) fn descend<K: PieceKey>(mut items: Iter, visit: &mut Visit<'_, K>) -> Result<()> {
    // The pieces of one value come before its first one, the last of them first.
    let mut pieces: Vec<(K, u32, Slice)> = Vec::new();
    while let Some(item) = items.next_back() {
        let (key, chunk, piece) = take::<K>(item)?;
        if pieces.last().is_some_and(|&(other, ..)| other != key) {
            return Err(headless());
        }
        if chunk > 0 {
            pieces.push((key, chunk, piece));
            continue;
        }
        let mut rest = pieces.iter().rev();
        let value = chunk::join(&piece, PIECE_BYTES, |wanted| {
            let next = rest.next().filter(|&&(_, chunk, _)| chunk == wanted);
            Ok(next.map(|(.., piece)| piece))
        })?;
        if visit(key, value).is_break() {
            return Ok(());
        }
        pieces.clear();
    }
    if pieces.is_empty() {
        return Ok(());
    }
    Err(headless())
}

/// Visits every log that has a key in `keyspace`, seeking from one to the next.
pub(crate) fn logs(
    view: &Snapshot,
    keyspace: &Keyspace,
    visitor: &mut LogVisitor<'_>,
) -> Result<()> {
    let mut from = Bound::Unbounded;
    loop {
        let mut rest = view.range(keyspace, (from, Bound::<KeyBytes>::Unbounded));
        let Some(item) = rest.next() else {
            return Ok(());
        };
        let bytes = item.key().map_err(failed)?;
        let (key, _) = LogKey::decode(&bytes).ok_or_else(unknown_key)?;
        if visitor(key.log).is_break() {
            return Ok(());
        }
        from = Bound::Excluded(key.log.at(u64::MAX).encode_last());
    }
}

fn take<K: PieceKey>(item: Guard) -> Result<(K, u32, Slice)> {
    let (key, value) = item.into_inner().map_err(failed)?;
    let (key, chunk) = K::decode(&key).ok_or_else(unknown_key)?;
    Ok((key, chunk, value))
}

/// The next item, where it is the wanted piece.
fn next_piece<K: PieceKey>(items: &mut Iter, key: K, chunk: u32) -> Result<Option<Slice>> {
    let Some(item) = items.next() else {
        return Ok(None);
    };
    let (found, number, piece) = take::<K>(item)?;
    Ok(Some(piece).filter(|_| (found, number) == (key, chunk)))
}

fn headless() -> Error {
    Error::corrupt("a piece of a large value has no first piece")
}

fn unknown_key() -> Error {
    Error::corrupt("a key of no known form")
}
