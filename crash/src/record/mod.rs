//! Runs workloads on a file system that remembers every call.

#[cfg(target_os = "linux")]
pub mod block;
#[cfg(target_os = "linux")]
pub mod fuse;
pub mod memory;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "names are made through FUSE"))]
pub(crate) mod volume;

#[cfg(test)]
mod tests;

use crate::{Image, Trace};

/// Written to the control file: from now on calls are counted for the fault plan.
pub const ARM: &[u8] = b"arm";
/// Written to the control file: the disk has room again, and no further call fails.
pub const FREE: &[u8] = b"free";

/// The one file of a disk for a real file system.
pub const DEVICE: &str = "disk";

/// What a recording leaves.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What was there before.
    pub base: Image,
    /// What was done.
    pub trace: Trace,
    /// What reads see in the end: what a kill leaves.
    pub end: Image,
    /// How often the fault plan struck, or the disk was full. 0 of a plan with a fault: there is
    /// no n-th call.
    pub struck: u64,
}
