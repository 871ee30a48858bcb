//! The few file-system steps that durability rests on.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How much of a file is read and written at a time.
const COPY_BYTES: usize = 256 << 10;

/// Syncs one file, or the names in one directory.
pub fn sync(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) && path.is_dir() {
        return Ok(()); // such systems have no handle for a directory's names
    }
    OpenOptions::new().read(true).write(cfg!(not(unix))).open(path)?.sync_all()
}

/// Syncs every file and every directory at and below `path`. Files that go while it runs are
/// passed over.
pub fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let synced = match entry.file_type()? {
            kind if kind.is_dir() => sync_tree(&entry.path()),
            kind if kind.is_file() => sync(&entry.path()),
            _ => Ok(()),
        };
        match synced {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    sync(path)
}

/// Puts a copy in the place of a file, or of every file at and below a directory. Each copy is made
/// at `spare`, which must be on the same file system, and synced; its new name is not.
///
/// It is not enough to write the same bytes to the same file: ext4 sends them to the disk, and
/// still takes the place for one that was never written if the first write to it had failed.
///
/// # Errors
///
/// `WouldBlock` where somebody holds a lock on a file. Other files may have been replaced by then.
pub fn renew_tree(path: &Path, spare: &Path) -> io::Result<()> {
    if path.is_dir() {
        // All names first: a directory that changes may show one twice.
        let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        return entries.iter().try_for_each(|entry| renew_tree(&entry.path(), spare));
    }
    let file = File::open(path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::from(io::ErrorKind::WouldBlock),
        TryLockError::Error(error) => error,
    })?;
    copy(file, spare)?;
    fs::rename(spare, path)
}

/// Copies what is read from a file, by reading it: a file system that is asked to copy may share
/// what it believes to be on the disk. Blocks of zeros become holes.
fn copy(mut from: File, to: &Path) -> io::Result<()> {
    let metadata = from.metadata()?;
    let mut copy = File::create(to)?;
    give_to_owner(&copy, &metadata);
    copy.set_permissions(metadata.permissions())?;
    copy.set_len(metadata.len())?;
    let mut block = vec![0; COPY_BYTES];
    let mut offset = 0;
    loop {
        let len = from.read(&mut block)?;
        let read = block.get(..len).unwrap_or_default();
        if read.is_empty() {
            return copy.sync_all();
        }
        if read.iter().any(|&byte| byte != 0) {
            copy.seek(SeekFrom::Start(offset))?;
            copy.write_all(read)?;
        }
        offset += len as u64;
    }
}

/// What root copies stays the file of whoever it belonged to. Others copy what is theirs already.
fn give_to_owner(copy: &File, metadata: &fs::Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let _ = fchown(copy, Some(metadata.uid()), Some(metadata.gid()));
    }
    #[cfg(not(unix))]
    let _ = (copy, metadata);
}

/// Syncs the directory that holds `path`'s name.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync(Path::new(".")),
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// Creates a directory and its missing ancestors, and syncs every directory that got a new name. A
/// directory that is there may have been made by a process that was killed before that sync: the
/// one that holds its name is synced once more.
pub fn create_dir_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return match sync_parent(path) {
            // Who may not read the parent has not made the directory.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        };
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir_durably(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    sync_parent(path)
}

/// Puts a file in place whole or not at all: written under the name with `.tmp` behind it, synced,
/// renamed, and the directory synced.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(path.as_os_str());
    name.push(".tmp");
    let temporary = Path::new(&name);
    let mut file = File::create(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    sync_parent(path)
}

/// How many bytes the files at and below `path` take on the disk; a sparse file counts with what
/// is allocated, where the system tells.
pub fn tree_bytes(path: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let bytes = match entry.file_type()? {
            kind if kind.is_dir() => tree_bytes(&entry.path()),
            _ => entry.metadata().map(|metadata| allocated_bytes(&metadata)),
        };
        match bytes {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => total += other?,
        }
    }
    Ok(total)
}

#[cfg(unix)]
fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    use super::*;

    #[test]
    fn a_copied_file_stays_with_its_owner_and_keeps_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"bytes").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let _ = chown(&path, Some(4711), Some(4712)); // only root may
        let access = || {
            let metadata = fs::metadata(&path).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode())
        };
        let before = access();
        renew_tree(&path, &dir.path().join("spare")).unwrap();
        assert_eq!(access(), before);
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
    }
}
