//! Counting the sync calls of a replay, from outside.

use std::path::Path;
use std::process::{Command, Stdio};

use kvlogdb::EngineKind;

/// What makes data durable on Linux; `sync_file_range` does not.
const SYNC_CALLS: [&str; 4] = ["fsync", "fdatasync", "msync", "syncfs"];

/// Replays the trace once more under strace and counts. `None` where that cannot be done: without
/// strace, without the right to trace, and for a trace from standard input.
pub(crate) fn count(trace: &Path, engine: EngineKind) -> Option<u64> {
    if trace == Path::new("-") {
        return None;
    }
    let summary = tempfile::NamedTempFile::new().ok()?;
    let status = Command::new("strace")
        .args(["-f", "-qq", "-c", "-o"])
        .arg(summary.path())
        .args(["-e", &format!("trace={}", SYNC_CALLS.join(","))])
        .arg(std::env::current_exe().ok()?)
        .args(["replay", "--json", "--engine", engine.name()])
        .arg(trace)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // A trace with a defect ends in another code, and its syncs count all the same.
    status.ok()?.code()?;
    Some(sum(&std::fs::read_to_string(summary.path()).ok()?)).filter(|&calls| calls > 0)
}

/// Adds up the calls in a summary: `% time, seconds, usecs/call, calls, errors?, syscall`.
fn sum(summary: &str) -> u64 {
    let calls = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let named = columns.last().is_some_and(|name| SYNC_CALLS.contains(name));
        columns.get(3).filter(|_| named)?.parse::<u64>().ok()
    };
    summary.lines().filter_map(calls).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_added_up() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 93.66    1.214536         521      2328           fdatasync
  6.34    0.082245        2836        29         3 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    1.296781         550      2357         3 total
";
        assert_eq!(sum(summary), 2357);
        assert_eq!(sum(""), 0);
    }
}
