//! Cases over the log, `LogStore`, on the engine under test.

pub(super) mod appending;
pub(super) mod batches;
pub(super) mod commits;
pub(super) mod copies;
pub(super) mod damage;
pub(super) mod differential;
pub(super) mod edges;
pub(super) mod installing;
pub(super) mod limits;
pub(super) mod lives;
pub(super) mod lost;
pub(super) mod metadata;
pub(super) mod model;
pub(super) mod opening;
pub(super) mod purging;
pub(super) mod reads;
pub(super) mod threads;
pub(super) mod truncation;
pub(super) mod volume;
