//! What the kernel knows of this process and of a directory. Where it says nothing, nothing is
//! said.

use std::fs;
use std::path::Path;

/// What a process has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Written {
    /// Bytes handed to `write` and its kin.
    pub called_bytes: u64,
    /// Bytes in the pages that it made dirty, and so sent to the disk.
    pub disk_bytes: u64,
}

impl Written {
    /// Since the process began.
    pub(crate) fn now() -> Option<Self> {
        let io = fs::read_to_string("/proc/self/io").ok()?;
        let called_bytes = field(&io, "wchar:")?;
        Some(Self { called_bytes, disk_bytes: field(&io, "write_bytes:")? })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            called_bytes: self.called_bytes.saturating_sub(before.called_bytes),
            disk_bytes: self.disk_bytes.saturating_sub(before.disk_bytes),
        }
    }
}

/// How much memory a process has resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Resident {
    /// Now.
    pub bytes: u64,
    /// The most it ever had.
    pub peak_bytes: u64,
}

impl Resident {
    pub(crate) fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let kib = |name| Some(field(&status, name)? * 1024);
        Some(Self { bytes: kib("VmRSS:")?, peak_bytes: kib("VmHWM:")? })
    }
}

/// The number behind `name` in a file of `name number` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The blocks that everything below `dir` takes. What goes while it is looked at is left out.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
        Ok(found) => allocated(&found),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(unix)]
fn allocated(found: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    found.blocks() * 512
}

#[cfg(not(unix))]
fn allocated(found: &fs::Metadata) -> u64 {
    found.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let io = "rchar: 10\nwchar: 22\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(field(io, "wchar:"), Some(22));
        assert_eq!(field(io, "write_bytes:"), Some(4096));
        assert_eq!(field(io, "missing:"), None);
        assert_eq!(field("VmRSS:\t   12 kB\n", "VmRSS:"), Some(12));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_this_process_writes_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let before = Written::now().unwrap();
        fs::write(dir.path().join("file"), vec![1; 100_000]).unwrap();
        let written = Written::now().unwrap().since(before);
        assert!(written.called_bytes >= 100_000, "{written:?}");
        assert!(disk_bytes(dir.path()) >= 100_000);
        let resident = Resident::now().unwrap();
        assert!(resident.bytes > 0 && resident.peak_bytes >= resident.bytes);
    }
}
