//! What is counted: sync calls, files, threads and bytes, in a process that does nothing else.

pub(super) mod replicas;
pub(super) mod syncs;
