//! What a failed sync leaves behind it: a kernel keeps what it could not write and calls it clean.
//!
//! Whoever hears of such a failure leaves a file; the next open puts a copy in the place of every
//! other.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::dir::{DOUBT, ENGINE, LOCK_RETRY, SIDECAR};
use crate::fs as durable;
use crate::manifest::MANIFEST;

/// Where a copy is made, one at a time.
const SPARE: &str = "DOUBT.tmp";

/// What a file system that is not full takes.
const PROBE_BYTES: usize = 1 << 20;

/// Nothing that this does has to be durable: it is about what the cache holds, and goes with it.
///
/// A disk can be full in two ways. A file system without room refuses a write before it is in the
/// cache, and nothing is in doubt. One with room can still find its disk to have none, as thinly
/// provisioned ones do, and then it says so when the cache is written, as of any other failure.
pub(crate) fn note_doubt(root: &Path, error: &Error) {
    match error {
        Error::Io { .. } => {}
        Error::DiskFull { .. } if takes_writes(root) => {}
        _ => return,
    }
    let _ = File::create(root.join(DOUBT));
}

fn takes_writes(root: &Path) -> bool {
    let spare = root.join(SPARE);
    let taken = fs::write(&spare, vec![0; PROBE_BYTES]).is_ok();
    let _ = fs::remove_file(spare);
    taken
}

/// Copies what the cache holds to the disk where somebody has noted a doubt, which takes the room
/// of the largest file. Files that a failed handle holds for longer than `wait` are its own to
/// write: then the doubt stays.
pub(crate) fn settle_doubt(root: &Path, wait: Duration) -> io::Result<()> {
    let _ = fs::remove_file(root.join(SPARE)); // an earlier attempt may have been cut short
    let give_up = Instant::now() + wait;
    while root.join(DOUBT).exists() {
        match renew(root) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= give_up {
                    return Ok(());
                }
                thread::sleep(LOCK_RETRY);
            }
            other => other?,
        }
    }
    Ok(())
}

fn renew(root: &Path) -> io::Result<()> {
    for name in [ENGINE, MANIFEST, SIDECAR] {
        match durable::renew_tree(&root.join(name), &root.join(SPARE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    durable::sync_tree(root)?;
    fs::remove_file(root.join(DOUBT))
}
