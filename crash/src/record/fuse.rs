//! A file system in user space, for every engine.
//!
//! The server runs in this process and the workload in a child, which may be killed at any call.
//! Mounts are made in a mount namespace of this process alone, so that nothing is left mounted
//! when it ends, however it ends.

mod namespace;
mod server;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fuser::{MountOption, Session};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Pid;

use self::server::{Server, Shared};
use super::Recorded;
use super::volume::Volume;
use crate::{FaultPlan, Image};
pub use namespace::{enter_namespace, obstacle};

/// The control file in the root of the mount. It is not part of the image. Each write to it is one
/// mark or command: `will ...`, `did ...`, [`ARM`](super::ARM), [`FREE`](super::FREE).
pub const CONTROL: &str = ".control";

/// How often a child is looked after.
const LOOK: Duration = Duration::from_micros(500);

/// A mounted, recorded file system.
pub struct FuseDisk {
    path: PathBuf,
    shared: Arc<Shared>,
    /// `None` once unmounted.
    server: Option<JoinHandle<io::Result<()>>>,
}

/// How a child ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// Whether it was killed because it took too long.
    pub timed_out: bool,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl FuseDisk {
    /// Mounts an image and records what is done to it from now on.
    pub fn record(image: &Image, faults: FaultPlan) -> io::Result<Self> {
        let volume = Mutex::new(Volume::new(image, faults));
        let shared = Arc::new(Shared { volume, child: Mutex::new(None) });
        let path = tempfile::Builder::new().prefix("kvlogdb-crash-").tempdir()?.keep();
        let options = [MountOption::FSName("kvlogdb-crash".to_owned()), MountOption::NoAtime];
        let server = Server::new(Arc::clone(&shared));
        let mut session = Session::new(server, &path, &options).inspect_err(|_| {
            let _ = fs::remove_dir(&path);
        })?;
        let server = Some(thread::spawn(move || session.run()));
        Ok(Self { path, shared, server })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a child to its end, or until it has taken `timeout`. Several can be run one after the
    /// other. Its standard input is empty.
    ///
    /// # Errors
    ///
    /// Where the child cannot be started or waited for.
    pub fn run(&self, command: &mut Command, timeout: Duration) -> io::Result<Exit> {
        self.shared.volume().revive();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = {
            // The server has to know whom to kill before the child can do anything.
            let mut known = self.shared.child();
            let child = command.spawn()?;
            *known = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            child
        };
        let (stdout, stderr) = (hear(child.stdout.take()), hear(child.stderr.take()));
        let waited = wait(&mut child, timeout);
        *self.shared.child() = None;
        let (status, timed_out) = waited?;
        let text = |heard: JoinHandle<String>| heard.join().unwrap_or_default();
        Ok(Exit { status, timed_out, stdout: text(stdout), stderr: text(stderr) })
    }

    /// As if it had been written to the control file: [`ARM`](super::ARM), [`FREE`](super::FREE).
    pub fn control(&self, command: &[u8]) {
        let _ = self.shared.volume().control(command);
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.shared.volume().recorded()
    }

    /// Unmounts, and gives what was recorded.
    ///
    /// # Errors
    ///
    /// Where it cannot be unmounted; it is then gone with this process.
    pub fn end(mut self) -> io::Result<Recorded> {
        self.unmount()?;
        Ok(self.recorded())
    }

    fn unmount(&mut self) -> io::Result<()> {
        let Some(server) = self.server.take() else { return Ok(()) };
        // Not by the session's own unmounting, which leaves a busy mount as it is: a child of
        // another thread holds on to the files of this one from its fork to its exec. The server
        // ends with the last of them.
        unmount(&self.path, UnmountFlags::DETACH)?;
        let ended = server.join().map_err(|_| io::Error::other("the server panicked"))?;
        fs::remove_dir(&self.path)?;
        ended
    }
}

impl Drop for FuseDisk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

impl std::fmt::Debug for FuseDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FuseDisk").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Reads to the end, beside the child that writes.
fn hear(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, timeout: Duration) -> io::Result<(ExitStatus, bool)> {
    let give_up = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, false));
        }
        if Instant::now() >= give_up {
            child.kill()?;
            return Ok((child.wait()?, true));
        }
        thread::sleep(LOOK);
    }
}
