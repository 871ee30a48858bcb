//! What a power cut may undo.

mod part;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::Image;
use crate::image::Content;
use crate::trace::{Cache, Ino, Op, Place};
pub(crate) use part::{Part, Selection, Shared};

/// What of a file a disk writes as a whole or not at all.
const SECTOR_BYTES: u64 = 512;
/// What a disk writes as a whole or not at all of what a file system gives it.
pub const BLOCK_BYTES: u64 = 4096;

/// What of a file system's calls is on the disk when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Model {
    /// What POSIX promises, and nothing more: a file's bytes and length are on the disk after a
    /// sync of the file, a name after a sync of its directory, and whatever was not synced may be
    /// there or not, each on its own. Common file systems do better.
    Strict,
    /// What journaling file systems as ext4 and xfs do: names and lengths go through one journal
    /// in the order of the calls, and every sync of anything writes the journal out. Bytes are on
    /// the disk after a sync of their file; before it, in any order, where each sector holds one
    /// of the contents that it had.
    Journal,
    /// What a disk does below a file system: a block is on it after a flush, and before that or
    /// not, each on its own.
    Block,
}

impl Model {
    /// Those of a file system.
    pub const OF_FILES: [Self; 2] = [Self::Strict, Self::Journal];

    fn sector_bytes(self) -> u64 {
        if self == Self::Block { BLOCK_BYTES } else { SECTOR_BYTES }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Journal => "journal",
            Self::Block => "block",
        })
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Strict, Self::Journal, Self::Block]
            .into_iter()
            .find(|model| model.to_string() == name)
            .ok_or_else(|| format!("there is no model {name}"))
    }
}

/// A disk at one point of a trace: what is on it for sure, and what may be.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    model: Model,
    durable: Image,
    pending: Vec<Pending>,
    /// How long files are for those who read, where that differs from what is durable.
    lens: BTreeMap<Ino, u64>,
}

/// A call, or one half of it, that no sync covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pending {
    /// Names of one directory that change in one step.
    Names(Vec<(Place, Option<Ino>)>),
    /// A length that was set.
    Len {
        /// The file.
        file: Ino,
        /// Its length.
        len: u64,
    },
    /// Bytes.
    Write(Write),
}

/// Bytes that are not durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) file: Ino,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    /// The length that the file's journal still has to hear of.
    grows_to: Option<u64>,
    /// Whether a sync of these bytes failed, so that no later one covers them.
    orphaned: bool,
    /// What of them is written as a whole or not at all.
    sector_bytes: u64,
}

impl Write {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }

    /// The sectors that it touches: the first, and how many.
    pub(crate) fn sectors(&self) -> (u64, usize) {
        let first = self.offset / self.sector_bytes;
        let count = self.end().div_ceil(self.sector_bytes) - first;
        (first, usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// The bytes from one offset in the file to another, as far as it has them.
    pub(crate) fn between(&self, from: u64, to: u64) -> Bytes {
        let at = |offset: u64| {
            let at = offset.clamp(self.offset, self.end()) - self.offset;
            usize::try_from(at).unwrap_or(self.data.len())
        };
        self.data.slice(at(from)..at(to.max(from)))
    }
}

impl Disk {
    /// A disk that holds an image.
    pub(crate) fn new(base: &Image, model: Model) -> Self {
        Self { model, durable: base.clone(), pending: Vec::new(), lens: BTreeMap::new() }
    }

    pub(crate) fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Whether a call's part in a journal is pending: a name, or a length.
    pub(crate) fn is_journaled(&self, pending: &Pending) -> bool {
        self.model == Model::Journal
            && match pending {
                Pending::Names(_) | Pending::Len { .. } => true,
                Pending::Write(write) => write.grows_to.is_some(),
            }
    }

    /// Does the next call of a trace.
    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::Make { at, node, kind } => {
                self.durable.make(*node, *kind);
                self.names(vec![(at.clone(), Some(*node))]);
            }
            Op::Link { at, node } => self.names(vec![(at.clone(), Some(*node))]),
            Op::Remove { at } => self.names(vec![(at.clone(), None)]),
            Op::Rename { from, to, node } => self.rename(from, to, *node),
            Op::Write { file, offset, data } => self.write(*file, *offset, data),
            Op::SetLen { file, len } => {
                self.lens.insert(*file, *len);
                self.pending.push(Pending::Len { file: *file, len: *len });
            }
            Op::Sync { node } => self.sync(*node),
            Op::SyncFailed { node, cache } => self.fail_sync(*node, *cache),
            Op::Mark(_) => {}
        }
    }

    fn names(&mut self, names: Vec<(Place, Option<Ino>)>) {
        self.pending.push(Pending::Names(names));
    }

    fn rename(&mut self, from: &Place, to: &Place, node: Ino) {
        let (new, old) = ((to.clone(), Some(node)), (from.clone(), None));
        if from.dir == to.dir || self.model == Model::Journal {
            self.names(vec![old, new]);
        } else {
            // Each directory has a sync of its own.
            self.names(vec![new]);
            self.names(vec![old]);
        }
    }

    fn write(&mut self, file: Ino, offset: u64, data: &Bytes) {
        let len = self.len(file);
        let end = offset + data.len() as u64;
        let grows_to = (end > len).then_some(end);
        self.lens.insert(file, len.max(end));
        let (data, sector_bytes) = (data.clone(), self.model.sector_bytes());
        let write = Write { file, offset, data, grows_to, orphaned: false, sector_bytes };
        self.pending.push(Pending::Write(write));
    }

    fn len(&self, file: Ino) -> u64 {
        let durable = || self.durable.content(file).map_or(0, Content::len);
        self.lens.get(&file).copied().unwrap_or_else(durable)
    }

    fn sync(&mut self, node: Ino) {
        let journal = self.model == Model::Journal;
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Names(names) if journal || names.iter().any(|one| one.0.dir == node) => {
                    for (at, node) in &names {
                        self.durable.set_name(at, *node);
                    }
                }
                Pending::Len { file, len } if journal || file == node => self.set_len(file, len),
                Pending::Write(write) if write.file == node && !write.orphaned => {
                    self.commit(&write);
                }
                Pending::Write(mut write) if journal => {
                    if let Some(len) = write.grows_to.take() {
                        grow(&mut self.durable, write.file, len);
                    }
                    self.pending.push(Pending::Write(write));
                }
                other => self.pending.push(other),
            }
        }
    }

    /// A length becomes durable; bytes behind it that are still pending are gone for good.
    fn set_len(&mut self, file: Ino, len: u64) {
        if let Some(content) = self.durable.content_mut(file) {
            content.set_len(len);
        }
        self.trim(file, |write| vec![(write.offset, len)]);
    }

    /// Bytes become durable, but for those over what a failed sync has left: ext4 sends them to a
    /// place that it goes on taking for one that was never written.
    fn commit(&mut self, write: &Write) {
        let durable = self.outside_orphans(write);
        self.pending.push(Pending::Write(Write { orphaned: true, ..write.clone() }));
        for (from, to) in durable {
            if let Some(content) = self.durable.content_mut(write.file) {
                content.write(from, &write.between(from, to));
            }
            self.trim(write.file, |old| vec![(old.offset, from), (to, old.end())]);
        }
    }

    /// The ranges of a write that no orphan of its file covers.
    fn outside_orphans(&self, write: &Write) -> Vec<(u64, u64)> {
        let mut ranges = vec![(write.offset, write.end())];
        for pending in &self.pending {
            let Pending::Write(orphan) = pending else { continue };
            if orphan.file == write.file && orphan.orphaned && self.model != Model::Block {
                let cut = |(from, to): (u64, u64)| {
                    [(from, to.min(orphan.offset)), (from.max(orphan.end()), to)]
                };
                ranges = ranges.into_iter().flat_map(cut).filter(|(from, to)| from < to).collect();
            }
        }
        ranges
    }

    /// Keeps of a file's pending bytes what lies in these ranges.
    fn trim(&mut self, file: Ino, kept: impl Fn(&Write) -> Vec<(u64, u64)>) {
        for pending in std::mem::take(&mut self.pending) {
            let Pending::Write(write) = pending else {
                self.pending.push(pending);
                continue;
            };
            if write.file != file {
                self.pending.push(Pending::Write(write));
                continue;
            }
            for (from, to) in kept(&write) {
                let data = write.between(from, to);
                if !data.is_empty() {
                    let offset = from.max(write.offset);
                    let rest = Write { offset, data, ..write.clone() };
                    self.pending.push(Pending::Write(rest));
                }
            }
        }
    }

    fn fail_sync(&mut self, node: Ino, cache: Cache) {
        let of_node = |pending: &Pending| match pending {
            Pending::Names(_) => false,
            Pending::Len { file, .. } => *file == node,
            Pending::Write(write) => write.file == node,
        };
        match cache {
            Cache::Reverted => {
                self.pending.retain(|pending| !of_node(pending));
                self.lens.remove(&node);
            }
            Cache::Kept => {
                for pending in &mut self.pending {
                    if let Pending::Write(write) = pending {
                        write.orphaned |= write.file == node;
                    }
                }
            }
        }
    }
}

fn grow(image: &mut Image, file: Ino, len: u64) {
    if let Some(content) = image.content_mut(file).filter(|content| content.len() < len) {
        content.set_len(len);
    }
}
