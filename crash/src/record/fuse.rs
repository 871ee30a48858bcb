//! A file system in user space, for every engine.
//!
//! The server runs in this process and the workload in a child, which may be killed at any call.
//! Mounts are made in a mount namespace of this process alone, so that nothing is left mounted
//! when it ends, however it ends.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::Recorded;
use crate::{FaultPlan, Image};

/// The control file in the root of the mount. It is not part of the image. Each write to it is one
/// mark or command: `will ...`, `did ...`, [`ARM`](super::ARM), [`FREE`](super::FREE).
pub const CONTROL: &str = ".control";

/// Moves this process into a mount namespace of its own, by starting the program anew with the
/// same arguments. It must be called first in `main`, before there are threads. Returns where that
/// is done already, and where it cannot be done; see [`obstacle`].
pub fn enter_namespace() {
    todo!()
}

/// Why nothing can be mounted here; `None` where it can. Tries it once.
pub fn obstacle() -> Option<String> {
    todo!()
}

/// A mounted, recorded file system.
#[derive(Debug)]
pub struct FuseDisk {}

/// How a child ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// Whether it was killed because it took too long.
    pub timed_out: bool,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// What it wrote to its standard output.
    pub stdout: String,
}

impl FuseDisk {
    /// Mounts an image and records what is done to it from now on.
    pub fn record(image: &Image, faults: FaultPlan) -> io::Result<Self> {
        let _ = (image, faults);
        todo!()
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// Runs a child to its end, or until it has taken `timeout`. Several can be run one after the
    /// other. Its standard input is empty.
    pub fn run(&self, command: &mut Command, timeout: Duration) -> io::Result<Exit> {
        let _ = (command, timeout);
        todo!()
    }

    /// Unmounts, and gives what was recorded.
    pub fn end(self) -> io::Result<Recorded> {
        todo!()
    }
}
