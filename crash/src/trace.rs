//! What a workload did to its file system, call by call.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A file or a directory, for as long as a trace lasts. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The directory above all others.
    pub const ROOT: Self = Self(1);
}

/// The name of a file or directory in the directory that holds it.
pub type Name = Arc<str>;

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Dir,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The directory.
    pub dir: Ino,
    /// The name in it.
    pub name: Name,
}

/// What the file system's cache holds after a sync that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cache {
    /// What was written, as if it were on the disk: ext4 and xfs. In ext4, bytes that are written
    /// over it through the same file do not get to the disk either.
    Kept,
    /// What is on the disk: btrfs.
    Reverted,
}

/// What the workload says of itself, in order with its calls: it writes to the control file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Something is about to be done. Says nothing about what a crash keeps.
    Will(Bytes),
    /// Something has been acknowledged. From here on every crash state is held against it.
    Did(Bytes),
}

/// One call that succeeded and that changes, syncs or marks. Reads are not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A new file or directory got a name.
    Make {
        /// Where.
        at: Place,
        /// The new file or directory.
        node: Ino,
        /// Which of both.
        kind: Kind,
    },
    /// A file got another name.
    Link {
        /// The new name.
        at: Place,
        /// The file.
        node: Ino,
    },
    /// A name was removed.
    Remove {
        /// The name.
        at: Place,
    },
    /// A file or directory changed its name. What had the new name before has lost it.
    Rename {
        /// The old name.
        from: Place,
        /// The new name.
        to: Place,
        /// What bears it.
        node: Ino,
    },
    /// Bytes were written.
    Write {
        /// The file.
        file: Ino,
        /// Where in the file.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// A file was cut, or grew by zeros.
    SetLen {
        /// The file.
        file: Ino,
        /// Its new length.
        len: u64,
    },
    /// A file's content, or a directory's names, were synced, by fsync or fdatasync.
    Sync {
        /// The file or directory.
        node: Ino,
    },
    /// A sync was asked for and failed. What was to be synced will not be on the disk because of a
    /// later sync, and may be there all the same.
    SyncFailed {
        /// The file or directory.
        node: Ino,
        /// What reads see from now on.
        cache: Cache,
    },
    /// The workload said something.
    Mark(Mark),
}

/// What a workload did, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    ops: Vec<Op>,
    /// The places of the marks in `ops`.
    marks: Vec<usize>,
}

impl Trace {
    /// Appends a call.
    pub fn push(&mut self, op: Op) {
        if matches!(op, Op::Mark(_)) {
            self.marks.push(self.ops.len());
        }
        self.ops.push(op);
    }

    /// All calls.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// How many calls there are. A crash point is a number of calls: 0 is before the first, this is
    /// after the last.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// What the workload had said when the first `point` calls were done, oldest first.
    pub fn marks_before(&self, point: usize) -> impl DoubleEndedIterator<Item = &Mark> {
        let count = self.marks.partition_point(|&at| at < point);
        self.marks.iter().take(count).filter_map(|&at| match self.ops.get(at) {
            Some(Op::Mark(mark)) => Some(mark),
            _ => None,
        })
    }

    /// The calls that end at a crash point, at most `count` of them, for a report.
    pub fn before(&self, point: usize, count: usize) -> &[Op] {
        self.ops.get(point.saturating_sub(count)..point.min(self.len())).unwrap_or_default()
    }
}

impl FromIterator<Op> for Trace {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        let mut trace = Self::default();
        ops.into_iter().for_each(|op| trace.push(op));
        trace
    }
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dir, self.name)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Will(text) => write!(f, "will {}", text.escape_ascii()),
            Self::Did(text) => write!(f, "did {}", text.escape_ascii()),
        }
    }
}

/// Without payloads.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make { at, node, kind: Kind::File } => write!(f, "create {at} as {node}"),
            Self::Make { at, node, kind: Kind::Dir } => write!(f, "mkdir {at} as {node}"),
            Self::Link { at, node } => write!(f, "link {node} to {at}"),
            Self::Remove { at } => write!(f, "remove {at}"),
            Self::Rename { from, to, node } => write!(f, "rename {node} from {from} to {to}"),
            Self::Write { file, offset, data } => {
                write!(f, "write {file} at {offset}, {} bytes", data.len())
            }
            Self::SetLen { file, len } => write!(f, "set length of {file} to {len}"),
            Self::Sync { node } => write!(f, "sync {node}"),
            Self::SyncFailed { node, cache } => write!(f, "failed sync {node}, cache {cache:?}"),
            Self::Mark(mark) => mark.fmt(f),
        }
    }
}
