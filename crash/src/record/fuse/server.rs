//! Answers the kernel from a volume.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::consts::FOPEN_DIRECT_IO;
use fuser::{
    FileAttr, FileType, Filesystem, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
};
use rustix::process::{Pid, Signal, kill_process};

use super::CONTROL;
use crate::image::PAGE_BYTES;
use crate::record::volume::{Failure, Result, Volume};
use crate::trace::{Ino, Kind, Place};

/// Nothing is remembered by the kernel: a fault may change what it would remember.
const TTL: Duration = Duration::ZERO;
const CONTROL_INO: u64 = 1 << 62;
const MAX_NAME_BYTES: u32 = 255;
const BLOCK_BYTES: u64 = 512;

/// What the server and the process share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) volume: Mutex<Volume>,
    /// The child that runs, which the fault plan may kill.
    pub(super) child: Mutex<Option<Pid>>,
}

impl Shared {
    pub(super) fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn child(&self) -> MutexGuard<'_, Option<Pid>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Listing = Vec<(u64, FileType, String)>;

/// The kernel's other side.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) shared: Arc<Shared>,
    /// What a directory held when it was opened.
    listings: HashMap<u64, Listing>,
    next_handle: u64,
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, listings: HashMap::new(), next_handle: 1 }
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.shared.volume()
    }

    /// The error number of a failure. Who must not live to hear of it is killed.
    fn errno(&self, failure: Failure) -> i32 {
        match failure {
            Failure::NotFound => libc::ENOENT,
            Failure::Exists => libc::EEXIST,
            Failure::NotEmpty => libc::ENOTEMPTY,
            Failure::IsDir => libc::EISDIR,
            Failure::NotDir => libc::ENOTDIR,
            Failure::Invalid => libc::EINVAL,
            Failure::Full => libc::ENOSPC,
            Failure::Io => libc::EIO,
            Failure::Killed => {
                if let Some(child) = *self.shared.child() {
                    // It may have ended by itself, and is not there to hear the answer.
                    let _ = kill_process(child, Signal::KILL);
                }
                libc::EIO
            }
        }
    }

    fn attr(&self, request: &Request<'_>, ino: u64) -> Result<FileAttr> {
        let volume = self.volume();
        let (kind, size, bytes) = match volume.image().kind(Ino(ino)) {
            _ if ino == CONTROL_INO => (FileType::RegularFile, 0, 0),
            Some(Kind::Dir) => (FileType::Directory, PAGE_BYTES as u64, 0),
            Some(Kind::File) => {
                let content = volume.image().content(Ino(ino)).ok_or(Failure::NotFound)?;
                (FileType::RegularFile, content.len(), content.allocated_bytes())
            }
            None => return Err(Failure::NotFound),
        };
        Ok(FileAttr {
            ino,
            size,
            blocks: bytes / BLOCK_BYTES,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: if kind == FileType::Directory { 0o755 } else { 0o644 },
            nlink: 1,
            uid: request.uid(),
            gid: request.gid(),
            rdev: 0,
            blksize: u32::try_from(PAGE_BYTES).unwrap_or(u32::MAX),
            flags: 0,
        })
    }

    fn entry(&self, request: &Request<'_>, found: Result<u64>, reply: ReplyEntry) {
        match found.and_then(|ino| self.attr(request, ino)) {
            Ok(attr) => reply.entry(&TTL, &attr, 0),
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn done(&self, done: Result<()>, reply: ReplyEmpty) {
        match done {
            Ok(()) => reply.ok(),
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn sync(&self, ino: u64) -> Result<()> {
        if ino == CONTROL_INO { Ok(()) } else { self.volume().sync(Ino(ino)) }
    }

    fn put(&self, ino: u64, offset: i64, data: &[u8], flags: i32) -> Result<usize> {
        if ino == CONTROL_INO {
            return self.volume().control(data).map(|()| data.len());
        }
        let written = self.volume().write(Ino(ino), unsigned(offset)?, data)?;
        if flags & libc::O_DSYNC != 0 {
            self.sync(ino)?;
        }
        Ok(written)
    }

    fn rename_to(&self, from: Place, to: Place, flags: u32) -> Result<()> {
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return Err(Failure::Invalid);
        }
        let mut volume = self.volume();
        if flags != 0 && volume.lookup(to.dir, &to.name).is_ok() {
            return Err(Failure::Exists);
        }
        volume.rename(from, to)
    }

    fn allocate(&self, ino: u64, offset: i64, len: i64, mode: i32) -> Result<()> {
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        let (file, offset, len) = (Ino(ino), unsigned(offset)?, unsigned(len)?);
        match mode {
            0 => self.volume().allocate(file, offset, len),
            // Room behind the end of a file is nothing that anybody can read.
            libc::FALLOC_FL_KEEP_SIZE => Ok(()),
            PUNCH | ZERO => self.volume().punch(file, offset, len),
            _ => Err(Failure::Invalid),
        }
    }

    fn listing(&self, ino: u64) -> Result<Listing> {
        let itself = [".", ".."].map(|name| (ino, FileType::Directory, name.to_owned()));
        let entries = self.volume().list(Ino(ino))?;
        let others = entries.into_iter().map(|(name, node, kind)| {
            let kind = match kind {
                Kind::File => FileType::RegularFile,
                Kind::Dir => FileType::Directory,
            };
            (node.0, kind, name.to_string())
        });
        Ok(itself.into_iter().chain(others).collect())
    }
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| Failure::Invalid)
}

fn place(dir: u64, name: &OsStr) -> Result<Place> {
    let name = name.to_str().ok_or(Failure::Invalid)?;
    Ok(Place { dir: Ino(dir), name: name.into() })
}

fn is_control(dir: u64, name: &OsStr) -> bool {
    Ino(dir) == Ino::ROOT && name == CONTROL
}

impl Filesystem for Server {
    fn lookup(&mut self, request: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let found = if is_control(parent, name) {
            Ok(CONTROL_INO)
        } else {
            place(parent, name).and_then(|at| Ok(self.volume().lookup(at.dir, &at.name)?.0))
        };
        self.entry(request, found, reply);
    }

    fn getattr(&mut self, request: &Request<'_>, ino: u64, _fh: Option<u64>, reply: ReplyAttr) {
        match self.attr(request, ino) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn setattr(
        &mut self,
        request: &Request<'_>,
        ino: u64,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<u64>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<u32>,
        reply: ReplyAttr,
    ) {
        let set = match size {
            Some(len) if ino != CONTROL_INO => self.volume().set_len(Ino(ino), len),
            _ => Ok(()),
        };
        match set.and_then(|()| self.attr(request, ino)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn mkdir(
        &mut self,
        request: &Request<'_>,
        parent: u64,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = place(parent, name).and_then(|at| self.volume().make(at, Kind::Dir));
        self.entry(request, made.map(|node| node.0), reply);
    }

    fn unlink(&mut self, _request: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let done = place(parent, name).and_then(|at| self.volume().remove(at, Kind::File));
        self.done(done, reply);
    }

    fn rmdir(&mut self, _request: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let done = place(parent, name).and_then(|at| self.volume().remove(at, Kind::Dir));
        self.done(done, reply);
    }

    fn rename(
        &mut self,
        _request: &Request<'_>,
        parent: u64,
        name: &OsStr,
        newparent: u64,
        newname: &OsStr,
        flags: u32,
        reply: ReplyEmpty,
    ) {
        let places = place(parent, name).and_then(|from| Ok((from, place(newparent, newname)?)));
        let done = places.and_then(|(from, to)| self.rename_to(from, to, flags));
        self.done(done, reply);
    }

    fn link(
        &mut self,
        request: &Request<'_>,
        ino: u64,
        newparent: u64,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let linked = place(newparent, newname).and_then(|at| self.volume().link(Ino(ino), at));
        self.entry(request, linked.map(|()| ino), reply);
    }

    fn open(&mut self, _request: &Request<'_>, ino: u64, _flags: i32, reply: ReplyOpen) {
        let opened = if ino == CONTROL_INO { Ok(()) } else { self.volume().open(Ino(ino)) };
        match opened {
            Ok(()) => reply.opened(0, FOPEN_DIRECT_IO),
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn create(
        &mut self,
        request: &Request<'_>,
        parent: u64,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = place(parent, name).and_then(|at| self.volume().make(at, Kind::File));
        match made.and_then(|node| self.attr(request, node.0)) {
            Ok(attr) => reply.created(&TTL, &attr, 0, 0, FOPEN_DIRECT_IO),
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn read(
        &mut self,
        _request: &Request<'_>,
        ino: u64,
        _fh: u64,
        offset: i64,
        size: u32,
        _flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyData,
    ) {
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        let bytes = unsigned(offset).and_then(|at| self.volume().read(Ino(ino), at, len));
        match bytes {
            Ok(bytes) => reply.data(&bytes),
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn write(
        &mut self,
        _request: &Request<'_>,
        ino: u64,
        _fh: u64,
        offset: i64,
        data: &[u8],
        _write_flags: u32,
        flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyWrite,
    ) {
        match self.put(ino, offset, data, flags) {
            Ok(written) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn flush(
        &mut self,
        _request: &Request<'_>,
        _ino: u64,
        _fh: u64,
        _lock_owner: u64,
        reply: ReplyEmpty,
    ) {
        // Closing a file says nothing about a disk; the kernel need not tell again.
        reply.error(libc::ENOSYS);
    }

    fn fsync(&mut self, _: &Request<'_>, ino: u64, _fh: u64, _data: bool, reply: ReplyEmpty) {
        self.done(self.sync(ino), reply);
    }

    fn fsyncdir(&mut self, _: &Request<'_>, ino: u64, _fh: u64, _data: bool, reply: ReplyEmpty) {
        self.done(self.sync(ino), reply);
    }

    fn fallocate(
        &mut self,
        _request: &Request<'_>,
        ino: u64,
        _fh: u64,
        offset: i64,
        length: i64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.done(self.allocate(ino, offset, length, mode), reply);
    }

    fn opendir(&mut self, _request: &Request<'_>, ino: u64, _flags: i32, reply: ReplyOpen) {
        match self.listing(ino) {
            Ok(listing) => {
                let handle = self.next_handle;
                self.next_handle += 1;
                self.listings.insert(handle, listing);
                reply.opened(handle, 0);
            }
            Err(failure) => reply.error(self.errno(failure)),
        }
    }

    fn readdir(
        &mut self,
        _request: &Request<'_>,
        _ino: u64,
        fh: u64,
        offset: i64,
        mut reply: ReplyDirectory,
    ) {
        let skip = usize::try_from(offset).unwrap_or(0);
        let listing = self.listings.get(&fh).into_iter().flatten();
        for ((ino, kind, name), next) in listing.zip(1..).skip(skip) {
            if reply.add(*ino, next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &mut self,
        _request: &Request<'_>,
        _ino: u64,
        fh: u64,
        _flags: i32,
        reply: ReplyEmpty,
    ) {
        self.listings.remove(&fh);
        reply.ok();
    }

    fn statfs(&mut self, _request: &Request<'_>, _ino: u64, reply: ReplyStatfs) {
        const NODES: u64 = 1 << 20;
        let (pages, free) = self.volume().pages();
        let page = u32::try_from(PAGE_BYTES).unwrap_or(u32::MAX);
        reply.statfs(pages, free, free, NODES, NODES, page, MAX_NAME_BYTES, page);
    }
}
