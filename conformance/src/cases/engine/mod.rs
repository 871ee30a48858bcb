//! Cases over the engine contract, `KvLogDb`.

pub(super) mod concurrency;
pub(super) mod concurrency_on_dir;
pub(super) mod copies;
pub(super) mod differential;
pub(super) mod edges;
pub(super) mod files;
pub(super) mod lifecycle;
pub(super) mod logs;
pub(super) mod metadata;
pub(super) mod opening;
pub(super) mod reads;
pub(super) mod sizes;
pub(super) mod volume;
pub(super) mod writes;

use kvlogdb_engine_api::{LogName, ReplicaId, Result, WriteBatch};

/// The log of cases that need one.
pub(super) const LOG: LogName = log(7, 0, 1);

pub(super) const fn log(group: u64, node: u64, incarnation: u32) -> LogName {
    LogName { replica: ReplicaId { group, node }, incarnation }
}

/// Puts an entry at each index; its value tells its key.
pub(super) fn put_all(
    batch: &mut WriteBatch,
    log: LogName,
    indexes: impl IntoIterator<Item = u64>,
) -> Result<()> {
    for index in indexes {
        batch.put_entry(log.at(index), &[format!("{log}@{index}").as_bytes()])?;
    }
    Ok(())
}
