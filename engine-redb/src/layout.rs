//! How keys and values lie in redb. Changing anything here changes [`LAYOUT`].
//!
//! Every replica has a table of its own, because redb fills pages only where keys arrive at the
//! right edge of a table: with several replicas in one table nearly half of every page stays empty.
//! Small writes are first kept whole in a table of their own, which exists for as long as it holds
//! any; what they say goes before what the other tables say.

use kvlogdb_engine_api::{Error, ReplicaId, Result};
use redb::{TableDefinition, TableHandle};

/// The version of this layout.
pub(crate) const LAYOUT: u32 = 1;
/// redb's file in the engine's directory.
pub(crate) const FILE: &str = "log.redb";
/// Values of this size and above are kept in pieces of it.
///
/// redb keeps what does not fit into a page of 4 KiB in a page of twice the size, and so on, which
/// wastes up to half of it. Three pieces of this size with the longest keys and redb's own bytes
/// just fill a page: from 200 bytes up, values take at most 1.53 times their size, on average over
/// all sizes up to 16 KiB 1.1 times, where whole values would take up to 2.0 and 1.37 times.
pub(crate) const PIECE_BYTES: usize = 1332;

/// A table as this layout uses it: the bytes of keys to pieces of values.
pub(crate) type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// All metadata, under the canonical bytes of its keys. It exists in every complete store.
pub(crate) const META: Definition<'static> = Definition::new("meta");

/// The writes that wait to be put into the other tables, under their numbers.
pub(crate) const STAGED: Definition<'static> = Definition::new("staged");
/// What of a staged write lies under one key: with it and redb's own bytes it fills a page.
pub(crate) const STAGED_PIECE_BYTES: usize = 4072;

const LOG_PREFIX: &str = "replog/";

/// The name of a replica's table, in which keys leave the replica out. Names sort as replicas do.
pub(crate) fn log_table(replica: ReplicaId) -> String {
    format!("{LOG_PREFIX}{:016x}/{:016x}", replica.group, replica.node)
}

/// The replica whose table has this name, `None` for the tables that are no replica's.
///
/// # Errors
///
/// [`Error::Corrupt`] for any other name.
pub(crate) fn replica_of(table: &str) -> Result<Option<ReplicaId>> {
    if table == META.name() || table == STAGED.name() {
        return Ok(None);
    }
    let parsed = table.strip_prefix(LOG_PREFIX).and_then(|rest| {
        let (group, node) = rest.split_once('/')?;
        let parse = |digits| u64::from_str_radix(digits, 16).ok();
        Some(ReplicaId { group: parse(group)?, node: parse(node)? })
    });
    parsed.filter(|&replica| log_table(replica) == table).map(Some).ok_or_else(|| {
        Error::corrupt(format!("redb's file has a table of another name, {table:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_read_back_and_sort_as_replicas_do() {
        let edges = [0, 1, 255, 1 << 32, u64::MAX];
        let replicas = edges.map(|group| edges.map(|node| ReplicaId { group, node }));
        let names: Vec<_> = replicas.as_flattened().iter().map(|&id| log_table(id)).collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        for (name, &replica) in names.iter().zip(replicas.as_flattened()) {
            assert_eq!(replica_of(name).unwrap(), Some(replica));
        }
        assert_eq!(replica_of("meta").unwrap(), None);
        assert_eq!(replica_of("staged").unwrap(), None);
    }

    #[test]
    fn names_that_the_layout_does_not_give_are_damage() {
        for name in ["", "meta2", "replog/1/2", "replog/00000000000000FF/0000000000000000"] {
            assert!(matches!(replica_of(name), Err(Error::Corrupt { .. })), "{name}");
        }
    }

    #[test]
    fn one_piece_of_a_staged_write_fills_a_page() {
        assert_eq!(4 + 8 + 12 + STAGED_PIECE_BYTES, 4096);
    }

    #[test]
    fn three_pieces_and_the_longest_keys_fill_a_page() {
        let key = kvlogdb_engine_api::MetaKey::replica(ReplicaId::default(), 0).encode_chunk(1);
        let page = |piece| 4 + 3 * (8 + key.len() + piece);
        assert!(page(PIECE_BYTES) <= 4096 && page(PIECE_BYTES + 2) > 4096);
    }
}
