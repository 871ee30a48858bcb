//! Where it was measured. What cannot be found out is left out.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::stats::float;

/// A machine and the disk of one directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor.
    pub cpu: String,
    /// How many of them this process may use.
    pub cpus: usize,
    /// Memory in all.
    pub memory_bytes: u64,
    /// Operating system and architecture.
    pub system: String,
    /// The kernel's release.
    pub kernel: String,
    /// The file system of the directory.
    pub file_system: String,
    /// How it is mounted.
    pub mount_options: String,
    /// The device it is on.
    pub device: String,
    /// Whether the disk says that it has a volatile cache.
    pub write_cache: String,
}

impl Machine {
    /// Looks around.
    pub(crate) fn of(dir: &Path) -> Self {
        let mount = mount_of(dir);
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let device = mount.as_ref().map(|mount| mount.device.clone()).unwrap_or_default();
        let disk = device.rsplit('/').next().unwrap_or_default();
        let whole = disk.trim_end_matches(|last: char| last.is_ascii_digit());
        let cache = [disk, whole].map(|disk| read(&format!("/sys/block/{disk}/queue/write_cache")));
        let write_cache = cache.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
        Self {
            cpu: value(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: value(&read("/proc/meminfo"), "MemTotal")
                .split_whitespace()
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: mount.as_ref().map(|mount| mount.kind.clone()).unwrap_or_default(),
            mount_options: mount.map(|mount| mount.options).unwrap_or_default(),
            device,
            write_cache: write_cache.trim().to_owned(),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let gib = float(self.memory_bytes) / f64::from(1 << 30);
        let mut parts = vec![format!("{} x {}", self.cpus, self.cpu)];
        if self.memory_bytes > 0 {
            parts.push(format!("{gib:.0} GiB"));
        }
        parts.push(format!("{} {}", self.system, self.kernel));
        if !self.file_system.is_empty() {
            parts.push(format!(
                "{} on {} ({}; {})",
                self.file_system, self.device, self.mount_options, self.write_cache
            ));
        }
        parts.join(", ")
    }
}

/// How busy the machine is: running threads, over one minute.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

fn value(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
    value.unwrap_or_default().to_owned()
}

#[derive(Debug, PartialEq)]
struct Mount {
    device: String,
    kind: String,
    options: String,
}

fn mount_of(dir: &Path) -> Option<Mount> {
    let dir = fs::canonicalize(dir).ok()?;
    longest_mount(&fs::read_to_string("/proc/self/mounts").ok()?, &dir)
}

/// The mount with the longest path above `dir`; of several on one path, the last hides the others.
fn longest_mount(mounts: &str, dir: &Path) -> Option<Mount> {
    let mut best: Option<(usize, Mount)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(at)) = (fields.next(), fields.next()) else { continue };
        let (Some(kind), Some(options)) = (fields.next(), fields.next()) else { continue };
        let at = at.replace("\\040", " ");
        if dir.starts_with(&at) && best.as_ref().is_none_or(|(len, _)| at.len() >= *len) {
            let [device, kind, options] = [device, kind, options].map(str::to_owned);
            best = Some((at.len(), Mount { device, kind, options }));
        }
    }
    best.map(|(_, mount)| mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_is_the_one() {
        let mounts = "\
/dev/a / ext4 rw,relatime 0 0
/dev/b /data xfs rw,noatime 0 0
/dev/c /data/my\\040disk btrfs rw 0 0
";
        let kind = |dir: &str| longest_mount(mounts, Path::new(dir)).unwrap().kind;
        assert_eq!(kind("/data/x"), "xfs");
        assert_eq!(kind("/data/my disk/x"), "btrfs");
        assert_eq!(kind("/database"), "ext4");
    }
}
