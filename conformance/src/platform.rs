//! What the platform lets a case do: trace a process, and make a small file system.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::failure::{Checked, Context};

/// The calls after which data is on the disk. `sync_file_range` is none of them.
pub(crate) const SYNC_CALLS: [&str; 5] = ["fsync", "fdatasync", "msync", "syncfs", "sync"];

/// Why no process can be traced here.
pub(crate) fn trace_obstacle() -> Option<&'static str> {
    static CAN: OnceLock<bool> = OnceLock::new();
    let can = *CAN.get_or_init(|| runs(&["strace", "-f", "-qq", "-e", "trace=fsync", "true"]));
    (!can).then_some("sync calls are counted by strace, which is missing or not permitted here")
}

/// Why no small file system can be made here.
pub(crate) fn small_disk_obstacle() -> Option<&'static str> {
    static CAN: OnceLock<bool> = OnceLock::new();
    let try_one = || tempfile::tempdir().is_ok_and(|dir| SmallDisk::mount(dir.path(), 1).is_ok());
    let can = *CAN.get_or_init(try_one);
    (!can).then_some("it mounts a tmpfs, for which it has to be root on Linux")
}

/// Why the size of files cannot be limited here.
pub(crate) fn file_limit_obstacle() -> Option<&'static str> {
    static CAN: OnceLock<bool> = OnceLock::new();
    let can = *CAN.get_or_init(|| runs(&["sh", "-c", "trap '' XFSZ; ulimit -f 1000; true"]));
    (!can).then_some("it limits the size of files by the shell's ulimit, which is not here")
}

/// Whether the command can be run, and succeeds.
fn runs(command: &[&str]) -> bool {
    let Some((program, arguments)) = command.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The command line that runs a program with no file allowed to grow beyond this size. A write
/// beyond it fails as on a full disk.
pub(crate) fn with_file_limit(limit_bytes: u64) -> Vec<OsString> {
    // The shell counts in blocks of 512 bytes.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", limit_bytes / 512);
    ["sh", "-c", &script, "sh"].iter().map(OsString::from).collect()
}

/// The command line that runs a program and writes its sync calls, and what it says, to a file.
pub(crate) fn with_trace(to: &Path) -> Vec<OsString> {
    let calls = format!("trace={},write", SYNC_CALLS.join(","));
    strace(to, &["-s", "80", "-e", &calls])
}

/// The command line that runs a program and lets one of its `fsync` and `fdatasync` calls fail:
/// each thread's call of this number.
pub(crate) fn with_failing_sync(to: &Path, number: u64) -> Vec<OsString> {
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={number}");
    strace(to, &["-e", "trace=fsync,fdatasync", "-e", &inject])
}

fn strace(to: &Path, arguments: &[&str]) -> Vec<OsString> {
    let to = to.as_os_str().to_owned();
    let fixed = ["strace", "-f", "-qq", "-o"].iter().map(OsString::from);
    fixed.chain([to]).chain(arguments.iter().map(OsString::from)).collect()
}

/// A file system in memory with little room, until dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    root: PathBuf,
}

impl SmallDisk {
    /// Makes one at `root`, a directory that is there.
    pub(crate) fn mount(root: &Path, size_mib: u64) -> Checked<Self> {
        let size = format!("size={size_mib}m");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Gives it more room.
    pub(crate) fn grow(&self, size_mib: u64) -> Checked {
        mount(&["-o", &format!("remount,size={size_mib}m")], &self.root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

fn mount(arguments: &[&str], root: &Path) -> Checked {
    let output = Command::new("mount").args(arguments).arg(root).output().during("mounting")?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process that another case is just starting holds our files for a moment.
        for attempt in 0..50 {
            let how = if attempt < 49 { "--quiet" } else { "--lazy" };
            let status = Command::new("umount").arg(how).arg(&self.root).status();
            if status.is_ok_and(|status| status.success()) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How many sync calls have returned between the lines that a traced program says: before the
/// first line, between the first and the second, and so on.
pub(crate) fn syncs_between_lines(trace: &Path) -> Checked<Vec<(String, u64)>> {
    let text = fs::read_to_string(trace).during("reading the trace")?;
    let mut found = vec![(String::new(), 0)];
    for line in text.lines() {
        if let Some(said) = said(line) {
            found.push((said, 0));
        } else if is_done_sync(line)
            && let Some((_, count)) = found.last_mut()
        {
            *count += 1;
        }
    }
    Ok(found)
}

/// What a traced program says to its parent in this line of a trace.
fn said(line: &str) -> Option<String> {
    let (_, text) = line.split_once("write(1, \"kvlogdb-child ")?;
    let (text, _) = text.split_once("\\n\"")?;
    Some(text.to_owned())
}

/// Whether this line of a trace is the good end of a sync call.
fn is_done_sync(line: &str) -> bool {
    let done = line.rsplit_once(" = ").is_some_and(|(_, result)| result.trim() == "0");
    let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
    let name = call.strip_prefix("<... ").unwrap_or(call);
    let name = name.split(['(', ' ']).next().unwrap_or_default();
    done && SYNC_CALLS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
100 fsync(4) = 0
100 write(1, \"kvlogdb-child will 1\\n\", 21) = 21
100 write(5, \"data\", 4) = 4
101 fdatasync(5 <unfinished ...>
100 fsync(9) = -1 EIO (Input/output error) (INJECTED)
101 <... fdatasync resumed>) = 0
100  syncfs(5) = 0
100 write(1, \"kvlogdb-child did 1\\n\", 20) = 20
100 fdatasync(5) = 0
";

    #[test]
    fn syncs_are_counted_between_the_lines_of_the_program() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), TRACE).unwrap();
        let found = syncs_between_lines(file.path()).unwrap();
        let wanted = [("", 1), ("will 1", 2), ("did 1", 1)];
        assert_eq!(found, wanted.map(|(said, count)| (said.to_owned(), count)));
    }
}
