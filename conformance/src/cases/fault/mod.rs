//! Engines that fail.

pub(super) mod hooked;
pub(super) mod syncs;
