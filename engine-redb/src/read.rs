//! Reading the tables of one transaction.

use std::borrow::Cow;
use std::ops::{Bound, ControlFlow, RangeInclusive};

use bytes::Bytes;
use kvlogdb_engine_api::{
    Error, LogKey, LogName, LogVisitor, MetaKey, Order, ReplicaId, Result, chunk,
};
use redb::{AccessGuard, ReadTransaction, TableError, TableHandle};

use crate::error::failed;
use crate::layout::{self, Definition, META, PIECE_BYTES};
use crate::staging::Late;

type Table = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;
type Pairs<'a> = redb::Range<'a, &'static [u8], &'static [u8]>;
type Pair<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

/// The table of this name, `None` where there is none.
pub(crate) fn table(view: &ReadTransaction, name: &str) -> Result<Option<Table>> {
    match view.open_table(Definition::new(name)) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(failed("open a table", error)),
    }
}

/// The table of a replica's log, `None` where the replica has no entry in a table.
fn log_table(view: &ReadTransaction, replica: ReplicaId) -> Result<Option<Table>> {
    table(view, &layout::log_table(replica))
}

/// The table of metadata.
fn meta_table(view: &ReadTransaction) -> Result<Table> {
    let missing = || Error::corrupt("redb's file has no table of metadata");
    table(view, META.name())?.ok_or_else(missing)
}

/// The value under `key`, whose pieces end with the key `last`.
fn value(table: &Table, key: &[u8], last: &[u8]) -> Result<Option<Bytes>> {
    let Some(first) = table.get(key).map_err(|error| failed("read", error))? else {
        return Ok(None);
    };
    let first = first.value();
    if !chunk::continues(first.len(), PIECE_BYTES) {
        return Ok(Some(Bytes::copy_from_slice(first)));
    }
    let mut rest = pairs(table, (Bound::Excluded(key), Bound::Included(last)))?;
    let value = join(key, first, &mut rest)?;
    Ok(Some(Bytes::from(value.into_owned())))
}

/// The value of an entry, given what is staged for it.
pub(crate) fn entry(
    view: &ReadTransaction,
    staged: Option<Bytes>,
    key: LogKey,
) -> Result<Option<Bytes>> {
    if staged.is_some() {
        return Ok(staged);
    }
    let Some(table) = log_table(view, key.log.replica)? else {
        return Ok(None);
    };
    let (first, last) = (key.encode(), key.encode_last());
    value(&table, first.within_replica(), last.within_replica())
}

/// The value of a metadata key, given what is staged for it.
pub(crate) fn meta(
    view: &ReadTransaction,
    staged: Option<Late>,
    key: MetaKey,
) -> Result<Option<Bytes>> {
    match staged {
        Some(Late::Put(value)) => Ok(Some(value)),
        Some(Late::Removed) => Ok(None),
        None => value(&meta_table(view)?, &key.encode(), &key.encode_last()),
    }
}

/// Takes one value of a scan.
type Visit<'a, K> = dyn FnMut(K, Cow<'_, [u8]>) -> ControlFlow<()> + 'a;
/// What is staged for a scan, in its order.
type Ahead<K> = Vec<(K, Late)>;

/// Visits the entries of a log in `range`, which is not empty, until the visitor breaks.
pub(crate) fn entries(
    view: &ReadTransaction,
    staged: Ahead<u64>,
    log: LogName,
    range: &RangeInclusive<u64>,
    order: Order,
    visit: &mut Visit<'_, u64>,
) -> Result<()> {
    let stored = |visit: &mut Visit<'_, u64>| match log_table(view, log.replica)? {
        Some(table) => scan(&table, log, range, order, visit),
        None => Ok(()),
    };
    merge(staged, order, stored, visit)
}

/// Visits all metadata in key order until the visitor breaks.
pub(crate) fn all_meta(
    view: &ReadTransaction,
    staged: Ahead<MetaKey>,
    visit: &mut Visit<'_, MetaKey>,
) -> Result<()> {
    let stored = |visit: &mut Visit<'_, MetaKey>| scan_meta(&meta_table(view)?, visit);
    merge(staged, Order::Ascending, stored, visit)
}

/// Visits what is staged and what is `stored` as if it were one, until the visitor breaks.
fn merge<K: Ord + Copy>(
    staged: Ahead<K>,
    order: Order,
    stored: impl FnOnce(&mut Visit<'_, K>) -> Result<()>,
    visit: &mut Visit<'_, K>,
) -> Result<()> {
    let mut staged = staged.into_iter().peekable();
    let mut flow = ControlFlow::Continue(());
    stored(&mut |key, value| {
        let mut replaced = false;
        let reached = |at: K| match order {
            Order::Ascending => at <= key,
            Order::Descending => at >= key,
        };
        while let Some((at, ahead)) = staged.next_if(|&(at, _)| reached(at)) {
            replaced = at == key;
            if let Late::Put(ahead) = ahead {
                flow = visit(at, Cow::Borrowed(&ahead));
                flow?;
            }
        }
        if !replaced {
            flow = visit(key, value);
        }
        flow
    })?;
    for (key, ahead) in staged {
        if let (Late::Put(ahead), ControlFlow::Continue(())) = (ahead, flow) {
            flow = visit(key, Cow::Borrowed(&ahead));
        }
    }
    Ok(())
}

fn scan(
    table: &Table,
    log: LogName,
    range: &RangeInclusive<u64>,
    order: Order,
    visit: &mut Visit<'_, u64>,
) -> Result<()> {
    let first = log.at(*range.start()).encode();
    let last = log.at(*range.end()).encode_last();
    let bounds = (Bound::Included(first.within_replica()), Bound::Included(last.within_replica()));
    let mut found = pairs(table, bounds)?;
    while let Some((stored, piece)) = next(&mut found, order)? {
        let (key, chunk) = log_key(log.replica, stored.value())?;
        if chunk > 0 {
            continue; // against the order a value's other pieces come before its first one
        }
        let value = match order {
            _ if !chunk::continues(piece.value().len(), PIECE_BYTES) => {
                Cow::Borrowed(piece.value())
            }
            Order::Ascending => join(stored.value(), piece.value(), &mut found)?,
            Order::Descending => {
                let last = key.encode_last();
                let rest =
                    (Bound::Excluded(stored.value()), Bound::Included(last.within_replica()));
                join(stored.value(), piece.value(), &mut pairs(table, rest)?)?
            }
        };
        if visit(key.index, value).is_break() {
            break;
        }
    }
    Ok(())
}

fn scan_meta(table: &Table, visit: &mut Visit<'_, MetaKey>) -> Result<()> {
    let mut found = pairs(table, (Bound::Unbounded, Bound::Unbounded))?;
    while let Some((stored, piece)) = next(&mut found, Order::Ascending)? {
        let (key, chunk) = MetaKey::decode(stored.value())
            .ok_or_else(|| Error::corrupt("redb's file has metadata under no key of ours"))?;
        if chunk > 0 {
            continue;
        }
        if visit(key, join(stored.value(), piece.value(), &mut found)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Visits every log that has an entry in a table, in key order, until the visitor breaks: one seek
/// for each.
pub(crate) fn logs(view: &ReadTransaction, visitor: &mut LogVisitor<'_>) -> Result<()> {
    let tables = view.list_tables().map_err(|error| failed("list its tables", error))?;
    for handle in tables {
        let Some(replica) = layout::replica_of(handle.name())? else {
            continue;
        };
        let Some(table) = log_table(view, replica)? else {
            continue;
        };
        let mut from = Some(0);
        while let Some(incarnation) = from {
            let first = LogName { replica, incarnation }.at(0).encode();
            let bounds = (Bound::Included(first.within_replica()), Bound::Unbounded);
            let Some((stored, _)) = next(&mut pairs(&table, bounds)?, Order::Ascending)? else {
                break;
            };
            let (found, _) = log_key(replica, stored.value())?;
            if visitor(found.log).is_break() {
                return Ok(());
            }
            from = found.log.incarnation.checked_add(1);
        }
    }
    Ok(())
}

/// The pairs of a table within bounds of stored keys.
pub(crate) fn pairs(table: &Table, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Result<Pairs<'static>> {
    table.range::<&[u8]>(bounds).map_err(|error| failed("read", error))
}

/// The next pair in the given direction.
pub(crate) fn next<'a>(pairs: &mut Pairs<'a>, order: Order) -> Result<Option<Pair<'a>>> {
    let pair = match order {
        Order::Ascending => pairs.next(),
        Order::Descending => pairs.next_back(),
    };
    pair.transpose().map_err(|error| failed("read", error))
}

fn log_key(replica: ReplicaId, stored: &[u8]) -> Result<(LogKey, u32)> {
    LogKey::decode_within(replica, stored).ok_or_else(|| {
        Error::corrupt(format!("replica {replica} has an entry under no key of ours"))
    })
}

/// A piece of a value, held in redb's page.
struct Piece<'a>(AccessGuard<'a, &'static [u8]>);

impl AsRef<[u8]> for Piece<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

/// The value whose first piece stands under `key`; `rest` goes on behind that key.
fn join<'a>(key: &[u8], first: &'a [u8], rest: &mut Pairs<'_>) -> Result<Cow<'a, [u8]>> {
    chunk::join(first, PIECE_BYTES, |chunk| {
        let pair = next(rest, Order::Ascending)?;
        Ok(pair
            .filter(|(stored, _)| stored.value().strip_prefix(key) == Some(&chunk.to_be_bytes()))
            .map(|(_, piece)| Piece(piece)))
    })
}
