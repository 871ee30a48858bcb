//! Whether a disk has run full, where fjall does not say.
//!
//! A thread of fjall that fails closes the database to writes and keeps its reason to itself. The
//! reason that matters most can be found out: the disk that has no room for fjall's tables has none
//! for a file of that size either.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use kvlogdb_engine_api::is_disk_full;

/// About as much as a thread of fjall writes at a time.
const TRIAL_BYTES: usize = 16 << 20;
const STEP_BYTES: usize = 64 << 10;
/// fjall passes over files of other names than its own.
const TRIAL: &str = "room.tmp";

/// What a file of some size in `dir` fails with, where that is want of room. Leaves no file.
pub(crate) fn shortage(dir: &Path) -> Option<io::Error> {
    let path = dir.join(TRIAL);
    let tried = fill(&path);
    let removed = fs::remove_file(&path);
    tried.and(removed).err().filter(is_disk_full)
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    let step = vec![0; STEP_BYTES];
    for _ in 0..TRIAL_BYTES / STEP_BYTES {
        file.write_all(&step)?;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_room_is_not_short_of_it_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        assert!(shortage(dir.path()).is_none());
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
        assert!(shortage(&dir.path().join("absent")).is_none());
    }
}
