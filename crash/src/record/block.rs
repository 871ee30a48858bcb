//! A real file system on a disk that remembers every write: ext4, over a loop device, over the one
//! file of a [`FuseDisk`].
//!
//! What is recorded is what the file system asks of its disk: blocks that are written, and flushes.
//! A power cut undoes any of the blocks that no flush covers, and the file system's own recovery
//! decides what files and names are left of that.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use super::fuse::{self, FuseDisk};
use super::{DEVICE, Recorded};
use crate::disk::BLOCK_BYTES;
use crate::{FaultPlan, Image};

/// Room for any run; what is never written takes none.
const DISK_BYTES: u64 = 256 << 20;
/// The program that makes the file system; part of e2fsprogs.
const MKFS: &str = "mkfs.ext4";
/// A small journal, and all of its tables written at once, not by the kernel later on.
const MKFS_OPTIONS: [&str; 9] = [
    "-qF",
    "-N",
    "512",
    "-J",
    "size=4",
    "-m",
    "0",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
];
/// How often a file system that is still in use is tried to be unmounted before it is detached.
const UNMOUNT_ATTEMPTS: u32 = 50;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(10);

/// A mounted file system on a recorded disk.
#[derive(Debug)]
pub struct BlockDisk {
    // Unmounted before what is below it.
    mounted: Mounted,
    below: FuseDisk,
}

impl BlockDisk {
    /// Mounts the file system on the [`DEVICE`] of an image, and records what is done to that from
    /// now on.
    ///
    /// # Errors
    ///
    /// Where it cannot be mounted.
    pub fn record(image: &Image, mut faults: FaultPlan) -> io::Result<Self> {
        faults.whole = true;
        let below = FuseDisk::record(image, faults)?;
        let mounted = Mounted::mount(&below.path().join(DEVICE))?;
        Ok(Self { mounted, below })
    }

    /// Where the file system is mounted.
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// The disk below it, which runs the workload and hears what it says.
    pub fn below(&self) -> &FuseDisk {
        &self.below
    }

    /// Unmounts the file system, which may have stopped over a failure, and mounts it again.
    ///
    /// # Errors
    ///
    /// Where it cannot be mounted.
    pub fn remount(&self) -> io::Result<()> {
        self.mounted.unmount();
        mount(&self.below.path().join(DEVICE), self.path())
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.below.recorded()
    }
}

/// A file system that is mounted until this is dropped.
#[derive(Debug)]
pub struct Mounted {
    dir: TempDir,
}

impl Mounted {
    /// Mounts what is on a file.
    ///
    /// # Errors
    ///
    /// Those of `mount`, in its words.
    pub fn mount(device: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kvlogdb-crash-").tempdir()?;
        mount(device, dir.path())?;
        Ok(Self { dir })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn unmount(&self) {
        // A process that was killed goes on using it for a moment.
        for _ in 0..UNMOUNT_ATTEMPTS {
            if unmount(self.path(), UnmountFlags::empty()).is_ok() {
                return;
            }
            thread::sleep(UNMOUNT_PAUSE);
        }
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn mount(device: &Path, dir: &Path) -> io::Result<()> {
    run(Command::new("mount").args(["-t", "ext4", "-o", "loop,noatime"]).arg(device).arg(dir))
}

/// A disk with an empty file system. All of them are the same.
///
/// # Errors
///
/// Where it cannot be made.
pub fn formatted() -> io::Result<Image> {
    static MADE: OnceLock<Image> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made.clone());
    }
    let dir = tempfile::tempdir()?;
    let device = dir.path().join(DEVICE);
    std::fs::File::create_new(&device)?.set_len(DISK_BYTES)?;
    run(Command::new(MKFS).args(MKFS_OPTIONS).args(["-b", &BLOCK_BYTES.to_string()]).arg(device))?;
    let made = Image::read_from(dir.path())?;
    Ok(MADE.get_or_init(|| made).clone())
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / ");
    Err(io::Error::other(format!("{command:?}: {said}")))
}

/// Why no file system can be mounted on a recorded disk here; `None` where it can. Tries it once.
pub fn obstacle() -> Option<String> {
    static TRIED: OnceLock<Option<String>> = OnceLock::new();
    TRIED.get_or_init(|| fuse::obstacle().or_else(try_to_mount)).clone()
}

fn try_to_mount() -> Option<String> {
    let tried = || -> io::Result<()> {
        let disk = BlockDisk::record(&formatted()?, FaultPlan::default())?;
        std::fs::write(disk.path().join("file"), b"text")
    };
    tried().err().map(|error| format!("ext4 on a loop device: {error}"))
}
