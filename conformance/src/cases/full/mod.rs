//! Disks without room: a small file system that is really full, and files that may not grow.

pub(super) mod disk;
