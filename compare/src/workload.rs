//! What a store is made to do: pieces of a log's life.

use std::fmt;
use std::path::PathBuf;

use kvlogdb::Durability;
use serde::{Deserialize, Serialize};

/// One kind of work, with its sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Work {
    /// Writers append, each to groups of its own, and wait for every commit.
    Append {
        /// How many writers.
        writers: usize,
        /// How many groups, at least one for each writer.
        groups: u64,
        /// How many entries in a commit.
        batch: usize,
        /// Whether a commit is on the disk when it returns.
        synced: bool,
    },
    /// One writer appends and has so many commits under way at a time.
    InFlight {
        /// How many commits.
        commits: usize,
        /// Over how many groups they go round.
        groups: u64,
        /// How many entries in a commit.
        batch: usize,
    },
    /// Appends so many entries without waiting for a sync, and syncs once at the end.
    Fill {
        /// How many entries.
        entries: u64,
        /// How many entries in a commit.
        batch: usize,
    },
    /// Reads single entries of a log that was just written.
    Get {
        /// How long the log is.
        entries: u64,
        /// Which of them.
        order: GetOrder,
    },
    /// Reads a log from its start, in pages, as for a follower that was away.
    CatchUp {
        /// How long the log is.
        entries: u64,
        /// How many entries in a page.
        page: u64,
    },
    /// One thread appends durably and another reads what it appended, as replication does.
    FollowTail {
        /// How many entries in a commit.
        batch: usize,
    },
    /// Replaces the last entries again and again, as a follower of quarrelling leaders.
    OverwriteTail {
        /// How many entries are replaced.
        entries: usize,
    },
    /// Appends durably and purges behind a window.
    AppendAndPurge {
        /// How many entries are appended in all.
        entries: u64,
        /// How many entries in a commit.
        batch: usize,
        /// How many entries stay.
        window: u64,
        /// How many entries go in one purge.
        step: u64,
    },
    /// Appends durably before and during the purge of a long log.
    PurgeWhileAppending {
        /// How many entries are purged.
        entries: u64,
    },
    /// Opens a store again and reads its last entry.
    Reopen {
        /// How long its log is.
        entries: u64,
        /// How it had ended.
        after: End,
    },
    /// Opens a store of many groups, and appends to them in turn.
    ManyReplicas {
        /// How many groups.
        groups: u64,
    },
    /// Writes what a trace says, commit by commit, durably.
    Trace {
        /// The file with the trace's steps.
        steps: PathBuf,
        /// How many entries it has.
        entries: u64,
    },
}

/// Which entries are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GetOrder {
    /// Any.
    Random,
    /// The last 64, in turn.
    Tail,
}

/// How a process left its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It closed it.
    Close,
    /// It was killed while it wrote.
    Kill,
}

/// Some work with entries of one size: one row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// What it does.
    #[serde(flatten)]
    pub work: Work,
    /// The size of a payload.
    pub entry_bytes: usize,
    /// How long to measure where nothing else ends it.
    pub measure_ms: u64,
}

impl Workload {
    /// Whether it claims that what was acknowledged is on the disk.
    pub fn is_durable(&self) -> bool {
        match self.work {
            Work::Append { synced, .. } => synced,
            Work::InFlight { .. }
            | Work::FollowTail { .. }
            | Work::OverwriteTail { .. }
            | Work::AppendAndPurge { .. }
            | Work::PurgeWhileAppending { .. }
            | Work::Trace { .. } => true,
            _ => false,
        }
    }

    /// Whether the controls can do it, too, and mean something beside it: they append.
    pub(crate) fn has_control(&self) -> bool {
        matches!(
            self.work,
            Work::Append { .. }
                | Work::InFlight { .. }
                | Work::FollowTail { .. }
                | Work::OverwriteTail { .. }
                | Work::Trace { .. }
        )
    }

    /// Whether it has a single writer that waits for each of its commits.
    pub(crate) fn has_one_writer(&self) -> bool {
        matches!(self.work, Work::Append { writers: 1, synced: true, .. })
    }

    /// Its name: the same work has the same name in every run.
    pub fn name(&self) -> String {
        match self.work {
            Work::Trace { .. } => self.work.to_string(),
            _ => format!("{}, {}", self.work, bytes_name(self.entry_bytes)),
        }
    }

    pub(crate) fn durability(synced: bool) -> Durability {
        if synced { Durability::Synced } else { Durability::Buffered }
    }
}

fn bytes_name(bytes: usize) -> String {
    if bytes >= 1024 && bytes.is_multiple_of(1024) {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{bytes} B")
    }
}

/// A count as people write it: 1 M, 200 k, 64.
fn count_name(count: u64) -> String {
    match count {
        0 => "0".to_owned(),
        _ if count.is_multiple_of(1_000_000) => format!("{} M", count / 1_000_000),
        _ if count.is_multiple_of(1000) => format!("{} k", count / 1000),
        _ => count.to_string(),
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { writers: 1, batch, synced, .. } => {
                let how = if *synced { "durable" } else { "buffered" };
                write!(f, "{how} append of {batch}")
            }
            Self::Append { writers, groups, batch, synced } => {
                let how = if *synced { "durable" } else { "buffered" };
                let groups = count_name(*groups);
                write!(f, "{writers} writers, {groups} groups, {how} append of {batch}")
            }
            Self::InFlight { commits, batch, .. } => {
                write!(f, "1 writer, {commits} in flight, append of {batch}")
            }
            Self::Fill { entries, .. } => write!(f, "fill of {}", count_name(*entries)),
            Self::Get { order: GetOrder::Random, .. } => write!(f, "random read of recent"),
            Self::Get { order: GetOrder::Tail, .. } => write!(f, "read of the tail"),
            Self::CatchUp { entries, .. } => write!(f, "catch-up read of {}", count_name(*entries)),
            Self::FollowTail { batch } => write!(f, "follower tail, append of {batch}"),
            Self::OverwriteTail { entries } => write!(f, "overwrite of the last {entries}"),
            Self::AppendAndPurge { batch, window, .. } => {
                write!(f, "append of {batch}, purge behind {}", count_name(*window))
            }
            Self::PurgeWhileAppending { entries } => {
                write!(f, "append during a purge of {}", count_name(*entries))
            }
            Self::Reopen { entries, after: End::Close } => {
                write!(f, "reopen of {}", count_name(*entries))
            }
            Self::Reopen { entries, after: End::Kill } => {
                write!(f, "reopen of {} after a kill", count_name(*entries))
            }
            Self::ManyReplicas { groups } => write!(f, "{} replicas", count_name(*groups)),
            Self::Trace { entries, .. } => write!(f, "trace of {entries} entries"),
        }
    }
}
