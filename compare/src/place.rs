//! The directory that a run is given: looked at before anything is written.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::run::{FOLDER, Plan};
use crate::workload::{Work, Workload};
use crate::{Error, Result};

/// Before the name of every file that a run leaves.
pub const RESULT: &str = "kvlogdb-compare-";
/// What a file system puts into its own root.
const MOUNT_POINT: &str = "lost+found";
/// How much more than the payload a store may take, at the worst of the engines.
const AMPLIFICATION: u64 = 6;
/// What a store takes before it holds anything.
const FIXED_BYTES: u64 = 256 << 20;

/// A directory in which a run may write.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    /// Whether the run made it.
    made: bool,
}

impl Place {
    /// Looks at `dir` and makes it where it is missing, in a directory that is there.
    ///
    /// # Errors
    ///
    /// [`Error::BadInput`], before anything is written, where `dir` holds anything that no run left
    /// or where the disk has too little room for the plan; [`Error::Io`] where it cannot be made.
    pub fn new(dir: &Path, plan: &Plan) -> Result<Self> {
        refuse_foreign(dir)?;
        let there = dir.exists();
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let disk = if there { dir } else { parent.unwrap_or(Path::new(".")) };
        let (needed, free) = (plan.needed_bytes(), free_bytes(disk));
        if let Some(free) = free.filter(|&free| free < needed) {
            let mib = |bytes: u64| bytes >> 20;
            return Err(Error::BadInput(format!(
                "{} has {} MiB free, and this may take {}: choose less, or another disk",
                disk.display(),
                mib(free),
                mib(needed)
            )));
        }
        if !there {
            let made = fs::create_dir(dir);
            made.map_err(|error| Error::io(format!("make {}", dir.display()), error))?;
        }
        Ok(Self { dir: dir.to_owned(), made: !there })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Whether the run made it, and has to remove it when it leaves nothing.
    pub fn is_made(&self) -> bool {
        self.made
    }
}

/// Refuses a directory with anything that no run left.
fn refuse_foreign(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(Error::BadInput(format!("{} is not a directory", dir.display())));
        }
        Err(error) => return Err(Error::io(format!("look into {}", dir.display()), error)),
    };
    for entry in entries {
        let entry =
            entry.map_err(|error| Error::io(format!("look into {}", dir.display()), error))?;
        let name = entry.file_name();
        if !is_own(&name) {
            let name = name.display();
            return Err(Error::BadInput(format!(
                "{} holds {name}, which is not of a comparison: name an empty or a new directory",
                dir.display()
            )));
        }
    }
    Ok(())
}

fn is_own(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(FOLDER) || name.starts_with(RESULT) || name == MOUNT_POINT
}

impl Plan {
    /// How much room the largest measurement may take; each makes room for the next.
    pub fn needed_bytes(&self) -> u64 {
        let largest = self.rows.iter().map(|row| row.workload.most_payload_bytes()).max();
        largest.unwrap_or(0).saturating_mul(AMPLIFICATION).saturating_add(FIXED_BYTES)
    }
}

impl Workload {
    /// The most payload that it writes.
    pub(crate) fn most_payload_bytes(&self) -> u64 {
        /// No disk makes more commits durable in a millisecond.
        const COMMITS_A_MS: u64 = 20;
        let size = self.entry_bytes as u64;
        let commits = self.measure_ms.saturating_mul(COMMITS_A_MS);
        let entries = match &self.work {
            Work::Append { batch, writers, .. } => {
                (*batch as u64).saturating_mul(*writers as u64).saturating_mul(commits)
            }
            Work::InFlight { batch, commits: flying, .. } => {
                (*batch as u64).saturating_mul(*flying as u64).saturating_mul(commits)
            }
            Work::FollowTail { batch } => (*batch as u64).saturating_mul(commits),
            Work::OverwriteTail { entries } => (*entries as u64).saturating_mul(commits),
            Work::Fill { entries, .. }
            | Work::Get { entries, .. }
            | Work::CatchUp { entries, .. }
            | Work::AppendAndPurge { entries, .. }
            | Work::PurgeWhileAppending { entries }
            | Work::Reopen { entries, .. }
            | Work::Trace { entries, .. } => {
                return entries.saturating_mul(size);
            }
            Work::ManyReplicas { groups } => groups.saturating_add(commits),
        };
        entries.saturating_mul(size).min(crate::drive::MAX_PAYLOAD_BYTES)
    }
}

/// How much room the disk has for this user; `None` where that cannot be asked.
#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    // File systems that hold no files of their own have no blocks.
    let found = rustix::fs::statvfs(dir).ok().filter(|found| found.f_blocks > 0)?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Wishes;

    fn plan() -> Plan {
        Wishes { entry_bytes: vec![64], batches: vec![1], ..Wishes::default() }.plan(&[])
    }

    #[test]
    fn a_directory_with_foreign_files_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), b"mine").unwrap();
        let refused = Place::new(dir.path(), &plan()).unwrap_err();
        assert!(matches!(&refused, Error::BadInput(what) if what.contains("thesis.txt")));
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1);
        let file = dir.path().join("thesis.txt");
        assert!(matches!(Place::new(&file, &plan()), Err(Error::BadInput(_))));
    }

    #[test]
    fn what_earlier_runs_left_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!("{RESULT}1.jsonl")), b"").unwrap();
        fs::create_dir(dir.path().join(format!("{FOLDER}abc"))).unwrap();
        assert!(!Place::new(dir.path(), &plan()).unwrap().is_made());
        let new = dir.path().join(format!("{RESULT}new"));
        assert!(Place::new(&new, &plan()).unwrap().is_made());
        let too_deep = dir.path().join("a/b");
        assert!(matches!(Place::new(&too_deep, &plan()), Err(Error::Io { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn too_little_room_is_said_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = plan();
        for row in &mut plan.rows {
            row.workload.work = Work::Fill { entries: u64::MAX, batch: 64 };
        }
        let target = dir.path().join("new");
        let refused = Place::new(&target, &plan).unwrap_err();
        assert!(matches!(&refused, Error::BadInput(what) if what.contains("MiB free")));
        assert!(!target.exists());
    }

    #[test]
    fn room_follows_from_the_largest_row() {
        let quick = Wishes { extent: crate::Extent::Quick, ..Wishes::default() }.plan(&[]);
        let full = Wishes { extent: crate::Extent::Full, ..Wishes::default() }.plan(&[]);
        assert!(quick.needed_bytes() < full.needed_bytes());
        assert!(full.needed_bytes() < 8 << 30);
    }
}
