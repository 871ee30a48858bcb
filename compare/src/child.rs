//! Measuring in a process of its own: its memory, its writes and its calls are one store's.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::cell::{CellSpec, Mode};
use crate::measured::Measured;
use crate::store::Stores;
use crate::{Error, Result, drive};

/// Seen by whoever counts system calls: a look at a file that is not there.
pub(crate) const BEGIN: &str = "kvlogdb-compare.begin";
pub(crate) const END: &str = "kvlogdb-compare.end";
/// Names the argument that makes a program serve one cell.
pub const CELL: &str = "measure-cell";
/// What makes data durable on Linux; `sync_file_range` does not.
const SYNC_CALLS: [&str; 5] = ["fsync", "fdatasync", "msync", "syncfs", "sync"];

/// The process that measures now, for whoever has to stop it.
static RUNNING: Mutex<Option<Child>> = Mutex::new(None);
static STOPPED: AtomicBool = AtomicBool::new(false);

pub(crate) fn mark(name: &str) {
    // It is not there, and nobody cares.
    let _ = fs::metadata(name);
}

/// Measures one cell in this process and prints what it found. A program calls it when its first
/// argument is [`CELL`], with the second; the exit code says nothing.
pub fn serve(stores: &dyn Stores, spec: &str, out: &mut dyn Write) {
    let measured = serde_json::from_str::<CellSpec>(spec)
        .map_err(|error| error.to_string())
        .and_then(|spec| drive::run(stores, &spec).map_err(|error| error.in_full()));
    let answer = serde_json::to_string(&measured.map_err(Failed::from));
    // Nobody listens any more: nothing is left to do.
    let _ = answer.map(|line| writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// Why a cell failed, on its way between processes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Failed {
    error: String,
}

impl From<String> for Failed {
    fn from(error: String) -> Self {
        Self { error }
    }
}

/// Measures one cell in a process of its own, and waits for it.
pub(crate) fn measure(spec: &CellSpec) -> Result<Measured> {
    let program = program()?;
    run(Command::new(program), spec)
}

/// Counts the sync calls of one cell: with the number of calls that were acknowledged meanwhile.
/// `None` where nothing can count here.
pub(crate) fn count_syncs(spec: &CellSpec, scratch: &Path) -> Result<Option<Counted>> {
    if !can_trace() {
        return Ok(None);
    }
    let log = scratch.join("strace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "--seccomp-bpf", "-o"]).arg(&log);
    command.args(["-e", &format!("trace={},statx,stat,newfstatat", SYNC_CALLS.join(","))]);
    command.arg(program()?);
    let spec = CellSpec { mode: Mode::Count, ..spec.clone() };
    let measured = run(command, &spec)?;
    let traced = fs::read_to_string(&log).map_err(|error| Error::io("read the trace", error))?;
    // The scratch directory goes anyway.
    let _ = fs::remove_file(&log);
    let acknowledged = measured.phases.values().map(|phase| phase.calls).sum();
    Ok(count(&traced).map(|syncs| Counted { syncs, acknowledged }))
}

/// Sync calls, and the calls of the store that were acknowledged meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counted {
    /// How often the kernel was asked to make data durable.
    pub syncs: u64,
    /// How many commits were acknowledged.
    pub acknowledged: u64,
}

/// The sync calls between the marks; `None` where the marks are missing.
fn count(traced: &str) -> Option<u64> {
    let begin = traced.find(BEGIN)?;
    let measured = traced.get(begin..begin + traced.get(begin..)?.find(END)?)?;
    let is_sync = |line: &str| {
        let Some((before, arguments)) = line.split_once('(') else { return false };
        let Some(call) = before.split_whitespace().next_back() else { return false };
        SYNC_CALLS.contains(&call) && (call != "msync" || arguments.contains("MS_SYNC"))
    };
    Some(measured.lines().filter(|line| is_sync(line)).count() as u64)
}

fn can_trace() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync", "true"]);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

/// Makes what a cell needs to find, in a process that kills itself.
pub(crate) fn run_prepare(spec: &CellSpec) -> Result<()> {
    let spec = CellSpec { mode: Mode::Prepare, ..spec.clone() };
    let output = Command::new(program()?)
        .arg(CELL)
        .arg(to_json(&spec)?)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| Error::io("start a process to kill", error))?;
    if output.status.code().is_some() {
        // It answered instead of being killed.
        return Err(Error::Child(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    Ok(())
}

fn program() -> Result<std::path::PathBuf> {
    std::env::current_exe().map_err(|error| Error::io("find this program", error))
}

fn to_json(spec: &CellSpec) -> Result<String> {
    serde_json::to_string(spec).map_err(|error| Error::Child(error.to_string()))
}

fn run(mut command: Command, spec: &CellSpec) -> Result<Measured> {
    command.arg(CELL).arg(to_json(spec)?).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if is_stopped() {
        return Err(Error::Stopped);
    }
    let spawned = command.spawn();
    let mut child = spawned.map_err(|error| Error::io("start a measuring process", error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    *running = Some(child);
    drop(running);
    let complaints = std::thread::spawn(move || read_all(stderr));
    let answer = read_all(stdout);
    let complaints = complaints.join().unwrap_or_default();
    if let Some(mut child) = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let waited = child.wait();
        waited.map_err(|error| Error::io("wait for the measuring process", error))?;
    }
    let line = answer.lines().next_back().unwrap_or_default();
    match serde_json::from_str::<Result<Measured, Failed>>(line) {
        Ok(Ok(measured)) => Ok(measured),
        Ok(Err(Failed { error })) => Err(Error::Child(error)),
        Err(_) => Err(Error::Child(last_words(&complaints))),
    }
}

fn read_all(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // What was read so far is the answer, also of a process that was killed.
    let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_words(complaints: &str) -> String {
    let line = complaints.lines().find(|line| !line.trim().is_empty());
    line.map_or("it ended without a word".to_owned(), str::to_owned)
}

/// Whether somebody has called [`stop`].
pub(crate) fn is_stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}

/// Ends the process that measures, if there is one, and waits until it is gone.
pub(crate) fn stop() {
    STOPPED.store(true, Ordering::SeqCst);
    if let Some(mut child) = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Gone already is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_syncs_between_the_marks_are_counted() {
        let traced = "\
11 fdatasync(3) = 0
11 statx(AT_FDCWD, \"kvlogdb-compare.begin\", 0) = -1 ENOENT (No such file or directory)
11 fdatasync(3) = 0
12 fsync(4 <unfinished ...>
11 <... fdatasync resumed>) = 0
12 msync(0x7f, 4096, MS_ASYNC) = 0
12 msync(0x7f, 4096, MS_SYNC) = 0
12 statx(AT_FDCWD, \"fsync\", 0) = -1 ENOENT
11 statx(AT_FDCWD, \"kvlogdb-compare.end\", 0) = -1 ENOENT (No such file or directory)
11 fsync(3) = 0
";
        assert_eq!(count(traced), Some(3));
        assert_eq!(count("11 fsync(3) = 0\n"), None, "without marks nothing is known");
    }
}
