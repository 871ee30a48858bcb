//! The directory of a store, and the order of steps that makes its creation safe.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::doubt::{note_doubt, settle_doubt};
use crate::manifest::MANIFEST;
use crate::{Error, MAX_IDENTITY_BYTES, Manifest, Poison, Result, fs as durable};

const LOCK: &str = "LOCK";
pub(crate) const ENGINE: &str = "engine";
pub(crate) const SIDECAR: &str = "SEQ";
const ENGINE_TEMPORARY: &str = "engine.tmp";
/// There while what the cache holds may differ from what the disk does.
pub(crate) const DOUBT: &str = "DOUBT";
/// What a creation that was cut short can leave behind.
const LEFTOVERS: [&str; 4] = [LOCK, ENGINE, ENGINE_TEMPORARY, "MANIFEST.tmp"];
/// What a file system puts into its own root, which may be the store's directory.
const MOUNT_POINT: &str = "lost+found";
pub(crate) const LOCK_RETRY: Duration = Duration::from_millis(10);

/// What every engine is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Whose store this is: up to [`MAX_IDENTITY_BYTES`] bytes, recorded when the store is created
    /// and compared when it is opened. `None` compares nothing.
    pub identity: Option<Vec<u8>>,
    /// How long to wait for another handle to let go: a dying process may hold a store for a
    /// moment. One second unless set.
    pub lock_wait: Duration,
    /// What to do where there is no store yet.
    pub creation: Creation,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { identity: None, lock_wait: Duration::from_secs(1), creation: Creation::default() }
    }
}

/// What opening does where there is no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Creation {
    /// Make one.
    #[default]
    IfMissing,
    /// Answer [`Error::NotAStore`], and write nothing.
    Never,
}

/// A store's directory, locked for as long as this value lives.
///
/// ```text
/// DIR/MANIFEST   engine, layout and identity; written last
/// DIR/LOCK       held by the one handle
/// DIR/SEQ        the log's sidecar
/// DIR/DOUBT      only after a failed write or sync, until the store is opened again
/// DIR/DOUBT.tmp  only while that is settled, or looked into
/// DIR/engine/    the engine's own files
/// ```
///
/// A store comes into being in steps of which each can be cut short: the engine is created and
/// closed in `engine.tmp`, everything in it is synced, it gets its name, and the MANIFEST follows.
/// Without a MANIFEST nothing was ever acknowledged, so what the steps left is removed and they
/// start again; with one, nothing is ever removed.
#[derive(Debug)]
pub struct StoreDir {
    root: PathBuf,
    manifest: Manifest,
    /// Held, not read: closing it lets go of the lock.
    _lock: File,
}

impl StoreDir {
    /// Opens the store in `root` for the named engine and layout, or makes it there; `create`
    /// makes the engine's files in the directory it is given and closes them.
    ///
    /// # Errors
    ///
    /// [`Error::NotAStore`], [`Error::WrongEngine`], [`Error::Format`], [`Error::WrongIdentity`],
    /// [`Error::AlreadyOpen`] and [`Error::Invalid`] before anything is written;
    /// [`Error::Corrupt`] for a MANIFEST that cannot be read and for a store without its engine's
    /// directory; what `create` answers and failures of the file system, after which the call can
    /// be made again. After a failed write or sync every file is copied once, and
    /// [`Error::DiskFull`] says that there is no room for a second one of the largest.
    /// [`Error::NotAStore`] is also the answer of [`Creation::Never`] where there is
    /// no store.
    pub fn open(
        root: &Path,
        engine: &'static str,
        layout: u32,
        options: &StoreOptions,
        create: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let identity = options.identity.as_deref();
        if identity.is_some_and(|identity| identity.len() > MAX_IDENTITY_BYTES) {
            let what = format!("an identity has at most {MAX_IDENTITY_BYTES} bytes");
            return Err(Error::Invalid { what });
        }
        let wanted = Manifest {
            engine: engine.to_owned(),
            layout,
            identity: identity.unwrap_or_default().to_vec(),
        };
        if find(root, &wanted, identity)?.is_none() {
            allow_creation(root, options.creation)?;
            durable::create_dir_durably(root)
                .map_err(|error| Error::io("create the store's directory", error))?;
        }
        let lock = lock(root, options.lock_wait)?;
        let manifest = match find(root, &wanted, identity)? {
            Some(_) if !root.join(ENGINE).is_dir() => {
                return Err(Error::corrupt("the store has a MANIFEST and no engine directory"));
            }
            Some(found) => {
                settle_doubt(root, options.lock_wait)
                    .map_err(|error| Error::io("copy the store's files after a failure", error))?;
                found
            }
            None => {
                allow_creation(root, options.creation)?;
                build(root, wanted, create)?
            }
        };
        Ok(Self { root: root.to_owned(), manifest, _lock: lock })
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the engine keeps its files.
    pub fn engine_dir(&self) -> PathBuf {
        self.root.join(ENGINE)
    }

    /// What the store says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Syncs every file and directory of the store. An engine calls this after every open and
    /// before it serves: what a reopened store answers may be acted upon, and may so far have been
    /// in the page cache only.
    ///
    /// # Errors
    ///
    /// Failures of the file system, and [`Error::AlreadyOpen`] where a handle that failed still
    /// holds a file of the store.
    pub fn sync(&self) -> Result<()> {
        if self.is_in_doubt() {
            return Err(Error::AlreadyOpen { dir: self.root.clone() });
        }
        durable::sync_tree(&self.root)
            .map_err(|error| self.doubt(Error::io("sync the store's files", error)))
    }

    /// Whether a handle that failed still holds a file of the store, which could not be copied for
    /// that.
    pub fn is_in_doubt(&self) -> bool {
        self.root.join(DOUBT).exists()
    }

    /// Notes that a write or a sync of the engine failed, and gives the error back: the next open
    /// puts a copy in the place of every file before anything is believed.
    ///
    /// A kernel that could not write a page to the disk drops it or, more often, keeps it and
    /// calls it clean. The page is then read as if it were on the disk, also by the next process,
    /// and no later sync writes it. Writing it again to the same file does not help on ext4, which
    /// goes on taking its place for one that was never written. A file system without room is no
    /// such failure: the write never got that far. A disk without room below one that has some is.
    pub fn doubt(&self, error: Error) -> Error {
        note_doubt(&self.root, &error);
        error
    }

    /// A latch that takes note of the failure, as [`doubt`](Self::doubt) does.
    pub fn poison(&self) -> Poison {
        Poison::noting(self.root.clone())
    }
}

/// The MANIFEST of the store in `root` if it is the wanted one, `None` where a store can be made.
fn find(root: &Path, wanted: &Manifest, identity: Option<&[u8]>) -> Result<Option<Manifest>> {
    let Some(found) = Manifest::read(root)? else {
        refuse_foreign(root)?;
        return Ok(None);
    };
    if found.engine != wanted.engine {
        let wanted = wanted.engine.clone();
        return Err(Error::WrongEngine { found: found.engine, wanted });
    }
    if found.layout != wanted.layout {
        let what = format!("layout {} of engine {}", found.layout, found.engine);
        return Err(Error::Format { what, source: None });
    }
    if identity.is_some_and(|identity| identity != found.identity) {
        let print = |identity: &[u8]| format!("\"{}\"", identity.escape_ascii());
        let (found, wanted) = (print(&found.identity), print(&wanted.identity));
        return Err(Error::WrongIdentity { found, wanted });
    }
    Ok(Some(found))
}

/// Refuses a directory in which anything stands that no cut creation leaves.
fn refuse_foreign(root: &Path) -> Result<()> {
    let refuse = |reason: String| Err(Error::NotAStore { dir: root.to_owned(), reason });
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return refuse("it is not a directory".into());
        }
        Err(error) => return Err(Error::io("list the store's directory", error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| Error::io("list the store's directory", error))?;
        let name = name.file_name();
        if name != MOUNT_POINT && !LEFTOVERS.iter().any(|own| name == OsStr::new(own)) {
            return refuse(format!("it has no MANIFEST and holds {}", name.display()));
        }
    }
    Ok(())
}

fn allow_creation(root: &Path, creation: Creation) -> Result<()> {
    if creation == Creation::IfMissing {
        return Ok(());
    }
    let reason = if root.is_dir() { "it has no MANIFEST" } else { "there is no such directory" };
    Err(Error::NotAStore { dir: root.to_owned(), reason: reason.to_owned() })
}

fn lock(root: &Path, wait: Duration) -> Result<File> {
    let path = root.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| Error::io("open the store's LOCK", error))?;
    let give_up = Instant::now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => thread::sleep(LOCK_RETRY),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::AlreadyOpen { dir: root.to_owned() });
            }
            Err(TryLockError::Error(error)) => {
                return Err(Error::io("lock the store's LOCK", error));
            }
        }
    }
}

/// Makes the store, with the lock held. Each step is durable before the next begins.
fn build(
    root: &Path,
    manifest: Manifest,
    create: impl FnOnce(&Path) -> Result<()>,
) -> Result<Manifest> {
    let failed = |error| Error::io("create the store's files", error);
    let (temporary, engine) = (root.join(ENGINE_TEMPORARY), root.join(ENGINE));
    for leftover in [&temporary, &engine] {
        remove_tree(leftover).map_err(failed)?;
    }
    fs::create_dir(&temporary).map_err(failed)?;
    create(&temporary)?;
    durable::sync_tree(&temporary).map_err(failed)?;
    fs::rename(&temporary, &engine).map_err(failed)?;
    durable::sync(root).map_err(failed)?;
    durable::write_atomically(&root.join(MANIFEST), &manifest.encode()).map_err(failed)?;
    Ok(manifest)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> StoreOptions {
        StoreOptions { lock_wait: Duration::ZERO, ..StoreOptions::default() }
    }

    fn open(root: &Path) -> Result<StoreDir> {
        StoreDir::open(root, "test", 1, &options(), |dir| {
            fs::write(dir.join("data"), b"made").map_err(|error| Error::io("create", error))
        })
    }

    /// Names and contents below `root`, without the lock.
    fn contents(root: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.push((path.clone(), None));
                found.extend(contents(&path));
            } else {
                found.push((path.clone(), fs::read(&path).ok()));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_store_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("deep/down");
        let store = open(&root).unwrap();
        fs::write(store.engine_dir().join("data"), b"used").unwrap();
        drop(store);
        let store = open(&root).unwrap();
        assert_eq!(fs::read(store.engine_dir().join("data")).unwrap(), b"used");
        assert_eq!(store.manifest().engine, "test");
    }

    #[test]
    fn a_second_handle_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::AlreadyOpen { .. })));
        drop(first);
        open(dir.path()).unwrap();
    }

    fn failed(kind: io::ErrorKind) -> Error {
        Error::io("sync", kind.into())
    }

    #[test]
    fn a_failure_is_noted_until_the_next_open_has_copied_everything() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let big: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        fs::create_dir(store.engine_dir().join("deep")).unwrap();
        fs::write(store.engine_dir().join("deep/big"), &big).unwrap();
        fs::write(dir.path().join(SIDECAR), b"seq").unwrap();
        let sparse = File::create(store.engine_dir().join("sparse")).unwrap();
        sparse.set_len(5_000_000).unwrap();
        let before = contents(dir.path());
        let bytes = durable::tree_bytes(dir.path()).unwrap();
        let failed_one =
            File::options().write(true).open(store.engine_dir().join("deep/big")).unwrap();
        let poison = store.poison();
        let _ = poison.latch(failed(io::ErrorKind::Other));
        assert!(store.is_in_doubt());
        drop(store);
        // What an attempt that was cut short has left.
        fs::write(dir.path().join("DOUBT.tmp"), &big).unwrap();
        let store = open(dir.path()).unwrap();
        assert!(!store.is_in_doubt());
        store.sync().unwrap();
        assert_eq!(contents(dir.path()), before);
        assert!(durable::tree_bytes(dir.path()).unwrap() <= bytes);
        failed_one.set_len(0).unwrap();
        assert_eq!(contents(dir.path()), before, "a file is still the one that failed");
        let _ = store.doubt(failed(io::ErrorKind::Other));
        assert!(store.is_in_doubt());
    }

    #[test]
    fn a_refusal_leaves_no_doubt_and_a_full_disk_below_a_file_system_with_room_does() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let _ = store.doubt(Error::corrupt("rot"));
        assert!(!store.is_in_doubt());
        let _ = store.poison().latch(failed(io::ErrorKind::StorageFull));
        assert!(store.is_in_doubt());
        assert!(!dir.path().join("DOUBT.tmp").exists());
    }

    #[test]
    fn what_a_failed_handle_still_holds_is_not_written_and_the_doubt_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let held = File::open(store.engine_dir().join("data")).unwrap();
        held.lock().unwrap();
        let _ = store.doubt(failed(io::ErrorKind::Other));
        drop(store);
        let store = open(dir.path()).unwrap();
        assert!(store.is_in_doubt());
        assert!(matches!(store.sync(), Err(Error::AlreadyOpen { .. })));
        drop((store, held));
        open(dir.path()).unwrap().sync().unwrap();
    }

    #[test]
    fn every_leftover_of_a_cut_creation_is_made_good() {
        for leftover in ["engine.tmp/half", "engine/data", "MANIFEST.tmp", "LOCK", "lost+found/x"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(leftover);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"half").unwrap();
            let store = open(dir.path()).unwrap();
            assert_eq!(fs::read(store.engine_dir().join("data")).unwrap(), b"made");
            assert!(!dir.path().join("engine.tmp").exists());
        }
    }

    #[test]
    fn a_creation_that_failed_can_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let fail = |_: &Path| Err(Error::corrupt("no"));
        let failed = StoreDir::open(dir.path(), "test", 1, &options(), fail);
        assert!(matches!(failed, Err(Error::Corrupt { .. })));
        open(dir.path()).unwrap();
    }

    #[test]
    fn a_store_that_lost_its_engines_directory_is_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        fs::remove_dir_all(dir.path().join("engine")).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Corrupt { .. })));
        assert!(!dir.path().join("engine").exists());
    }

    #[test]
    fn foreign_files_are_refused_and_left_alone() {
        for foreign in ["notes.txt", "SEQ", "engine2/data"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(foreign);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"mine").unwrap();
            fs::create_dir(dir.path().join("engine")).unwrap();
            let before = contents(dir.path());
            assert!(matches!(open(dir.path()), Err(Error::NotAStore { .. })), "{foreign}");
            assert_eq!(contents(dir.path()), before);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(open(file.path()), Err(Error::NotAStore { .. })));
    }

    #[test]
    fn creation_that_is_not_wanted_leaves_no_trace() {
        let never = StoreOptions { creation: Creation::Never, ..options() };
        let try_open = |root: &Path| StoreDir::open(root, "test", 1, &never, |_| Ok(()));
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(matches!(try_open(&missing), Err(Error::NotAStore { .. })));
        assert!(!missing.exists());
        let half = dir.path().join("half");
        fs::create_dir_all(half.join("engine.tmp")).unwrap();
        for root in [&half, dir.path()] {
            let before = contents(root);
            assert!(matches!(try_open(root), Err(Error::NotAStore { .. })));
            assert_eq!(contents(root), before);
            assert!(!root.join(LOCK).exists());
        }
        let made = dir.path().join("made");
        drop(open(&made).unwrap());
        try_open(&made).unwrap();
    }

    #[test]
    fn other_engine_layout_or_identity_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let mine = StoreOptions { identity: Some(b"a".to_vec()), ..options() };
        let make = |engine, layout, options: &StoreOptions| {
            StoreDir::open(dir.path(), engine, layout, options, |_| Ok(()))
        };
        drop(make("test", 1, &mine).unwrap());
        let before = contents(dir.path());
        assert!(matches!(make("other", 1, &mine), Err(Error::WrongEngine { .. })));
        assert!(matches!(make("test", 2, &mine), Err(Error::Format { .. })));
        let yours = StoreOptions { identity: Some(b"b".to_vec()), ..options() };
        assert!(matches!(make("test", 1, &yours), Err(Error::WrongIdentity { .. })));
        let too_long = StoreOptions { identity: Some(vec![0; 65]), ..options() };
        assert!(matches!(make("test", 1, &too_long), Err(Error::Invalid { .. })));
        assert_eq!(contents(dir.path()), before);
        make("test", 1, &options()).unwrap();
    }
}
