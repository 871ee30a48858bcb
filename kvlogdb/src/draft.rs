//! A store that is made whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use kvlogdb_engine_api::{Error, Result, fs as durable};

/// Behind the target's name: where the draft is made.
const SUFFIX: &str = ".kvlogdb-draft";
/// The file that says whose the draft's directory is, and what it says.
const OWNER: &str = "OWNER";
const MARK: &[u8] = b"kvlogdb draft 1\n";
const STORE: &str = "store";

/// A store that is being made beside its place, and gets its name when it is complete.
///
/// `DIR.kvlogdb-draft` holds the draft, on the disk of `DIR`. A crash at any moment leaves `DIR`
/// absent or complete; what it leaves of the draft is removed by the next one for the same `DIR`.
/// Dropping a draft removes it.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # if kvlogdb::EngineKind::available().is_empty() { return Ok(()) }
/// # let temporary = tempfile::tempdir()?;
/// # let dir = temporary.path().join("store");
/// use kvlogdb::Draft;
///
/// let draft = Draft::begin(&dir)?;
/// kvlogdb::open(draft.dir())?.close()?;
/// assert!(!dir.exists());
/// draft.publish()?;
/// kvlogdb::open(&dir)?.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Draft {
    target: PathBuf,
    place: PathBuf,
    store: PathBuf,
    /// Held, not read: closing it lets go of the lock.
    _owner: File,
}

impl Draft {
    /// Begins a store that will stand in `target`, and removes what an earlier draft for it left.
    /// Missing ancestors of `target` are made.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where `target` exists or cannot be a name; [`Error::NotAStore`] where
    /// something that no draft left stands in the draft's place; [`Error::AlreadyOpen`] while
    /// another draft for `target` is being made. Nothing is changed then, but that a draft's
    /// leftover is removed. Failures of the file system.
    pub fn begin(target: &Path) -> Result<Self> {
        let failed = |error| Error::io("make a place for the new store", error);
        let place = place_of(target)?;
        if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            durable::create_dir_durably(parent).map_err(failed)?;
        }
        refuse_foreign(&place)?;
        let exists = fs::symlink_metadata(target).is_ok();
        if exists && !place.exists() {
            return Err(taken(target));
        }
        durable::create_dir_durably(&place).map_err(failed)?;
        let owner = own(&place)?;
        let store = place.join(STORE);
        let draft = Self { target: target.to_owned(), place, store, _owner: owner };
        remove_tree(&draft.store).map_err(failed)?;
        if exists {
            return Err(taken(target)); // and the leftover goes with the draft
        }
        Ok(draft)
    }

    /// Where the store has to be made. There is nothing yet.
    pub fn dir(&self) -> &Path {
        &self.store
    }

    /// Gives the store, which must be closed, its name.
    ///
    /// # Durability
    ///
    /// The store is synced, file by file, before it gets its name, and the name is when the call
    /// returns.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where the target has come to exist meanwhile; failures of the file
    /// system. The draft is removed, unless it was the sync of its new name that failed.
    pub fn publish(self) -> Result<()> {
        let failed = |error| Error::io("put the new store in place", error);
        durable::sync_tree(&self.store).map_err(failed)?;
        if fs::symlink_metadata(&self.target).is_ok() {
            return Err(taken(&self.target));
        }
        fs::rename(&self.store, &self.target).map_err(failed)?;
        durable::sync_parent(&self.target).map_err(failed)
    }

    /// Each step leaves what the next draft knows for its own.
    fn remove(&self) -> io::Result<()> {
        remove_tree(&self.store)?;
        fs::remove_file(self.place.join(OWNER))?;
        fs::remove_dir(&self.place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next draft.
        let _ = self.remove();
    }
}

fn taken(target: &Path) -> Error {
    Error::Invalid { what: format!("{} exists", target.display()) }
}

fn place_of(target: &Path) -> Result<PathBuf> {
    let unusable = || Error::Invalid { what: format!("{} is no name", target.display()) };
    let mut name = OsString::from(target.file_name().ok_or_else(unusable)?);
    name.push(SUFFIX);
    Ok(target.with_file_name(name))
}

/// Refuses a place in which anything stands that no draft leaves: a draft's place is empty, or has
/// its mark, or has the beginning of its mark and nothing else.
fn refuse_foreign(place: &Path) -> Result<()> {
    let failed = |error| Error::io("look for an earlier draft", error);
    let refuse = || {
        let reason = format!("it has a draft's name, and no {OWNER} that a draft made");
        Err(Error::NotAStore { dir: place.to_owned(), reason })
    };
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return refuse(),
        Err(error) => return Err(failed(error)),
    };
    let names: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()
        .map_err(failed)?;
    if names.is_empty() {
        return Ok(());
    }
    match fs::read(place.join(OWNER)) {
        Ok(mark) if mark == MARK || (MARK.starts_with(&mark) && names.len() == 1) => Ok(()),
        Ok(_) => refuse(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
            refuse()
        }
        Err(error) => Err(failed(error)),
    }
}

/// Locks the place and marks it.
fn own(place: &Path) -> Result<File> {
    let failed = |error| Error::io("mark the draft's place", error);
    let path = place.join(OWNER);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let mut owner = opened.map_err(failed)?;
    match owner.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::AlreadyOpen { dir: place.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    owner.write_all(MARK).and_then(|()| owner.sync_all()).map_err(failed)?;
    durable::sync(place).map_err(failed)?;
    Ok(owner)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
