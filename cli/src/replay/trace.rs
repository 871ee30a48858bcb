//! Reading a trace and cutting it into commits.
//!
//! One JSON object a line:
//!
//! ```text
//! {"entry": {"term": 2, "index": 9, "kind": 0, "data": "<base64>"}}
//! {"hard_state": {"term": 2, "vote": 123, "commit": 8}}
//! {"snapshot": {"index": 3001, "term": 5}}
//! ```
//!
//! One commit is the entries up to the next line that is not an entry, and the hard state that
//! follows them; more than 32 MiB of entries are several commits. 0 stands for no vote and for
//! nothing committed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::ops::RangeInclusive;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::bufread::MultiGzDecoder;
use kvlogdb::{Entry, EntryKind, HardState, LogId};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// A commit of more entries than this is cut in two: one batch takes no more than 64 MiB.
const MAX_COMMIT_BYTES: usize = 32 << 20;
/// No line is longer: the largest payload in base64, and room for the rest.
const MAX_LINE_BYTES: u64 = 24 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A trace, up to its end or its first defect.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) commits: Vec<Commit>,
    pub(crate) defect: Option<Defect>,
}

/// What is written as one.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) lines: RangeInclusive<u64>,
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Consecutive entries, which replace what the log has from the first of them on.
    Entries(Vec<Entry>),
    HardState(HardState),
    /// A snapshot of what the log holds.
    Snapshot(LogId),
    /// A snapshot that came from elsewhere: the log does not hold its last entry.
    Installed(LogId),
}

/// Why a trace is no good from a line on.
#[derive(Debug, Clone)]
pub(crate) struct Defect {
    pub(crate) line: u64,
    pub(crate) what: String,
}

/// One line, as it is read and as `dump` writes it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    Entry(EntryLine),
    HardState(HardStateLine),
    Snapshot(SnapshotLine),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryLine {
    term: u64,
    index: u64,
    kind: u8,
    data: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HardStateLine {
    term: u64,
    vote: u64,
    commit: u64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnapshotLine {
    index: u64,
    term: u64,
}

impl Line {
    pub(crate) fn entry(entry: &Entry) -> Self {
        let Entry { id: LogId { term, index }, kind: EntryKind(kind), payload } = entry;
        let data = BASE64.encode(payload);
        Self::Entry(EntryLine { term: *term, index: *index, kind: *kind, data })
    }

    pub(crate) fn hard_state(state: &HardState) -> Self {
        let (vote, commit) = (state.vote.unwrap_or(0), state.commit.unwrap_or(0));
        Self::HardState(HardStateLine { term: state.term, vote, commit })
    }

    pub(crate) fn snapshot(LogId { index, term }: LogId) -> Self {
        Self::Snapshot(SnapshotLine { index, term })
    }
}

impl Trace {
    /// Reads a file, or standard input for `-`. What is wrong with the content is in the trace.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Ok(Self::from_lines(open_input(path)?))
    }

    pub(crate) fn from_lines(mut lines: impl BufRead) -> Self {
        let mut cutter = Cutter::default();
        let mut bytes = Vec::new();
        let mut defect = None;
        for line in 1.. {
            let read = read_line(&mut lines, &mut bytes);
            match read.and_then(|found| if found { parse(&bytes).map(Some) } else { Ok(None) }) {
                Ok(Some(Some(parsed))) => cutter.take(line, parsed),
                Ok(Some(None)) => {}
                Ok(None) => break,
                Err(what) => {
                    defect = Some(Defect { line, what });
                    break;
                }
            }
        }
        cutter.close();
        Self { commits: cutter.commits, defect }
    }
}

/// Opens a file, or standard input for `-`, and unpacks it where it is gzip.
pub(crate) fn open_input(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    let failed = |error| Failure::bad_input(format!("cannot read {}: {error}", path.display()));
    let raw: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(failed)?))
    };
    let (start, whole) = peek(raw, GZIP_MAGIC.len() as u64).map_err(failed)?;
    if start == GZIP_MAGIC {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(whole))));
    }
    Ok(whole)
}

/// The first bytes of an input, as many as there are up to `len`, and the input with them. A pipe
/// may bring them one at a time.
pub(crate) fn peek(
    mut input: Box<dyn BufRead>,
    len: u64,
) -> io::Result<(Vec<u8>, Box<dyn BufRead>)> {
    let mut start = Vec::new();
    input.by_ref().take(len).read_to_end(&mut start)?;
    Ok((start.clone(), Box::new(Cursor::new(start).chain(input))))
}

/// Reads one line; `false` at the end.
fn read_line(lines: &mut impl BufRead, bytes: &mut Vec<u8>) -> Result<bool, String> {
    bytes.clear();
    let read = lines.take(MAX_LINE_BYTES).read_until(b'\n', bytes);
    let len = read.map_err(|error| format!("cannot be read: {error}"))? as u64;
    if len == MAX_LINE_BYTES && !bytes.ends_with(b"\n") {
        return Err(format!("is longer than {MAX_LINE_BYTES} bytes"));
    }
    Ok(len > 0)
}

/// A parsed line with its payload decoded, `None` for a blank one.
fn parse(bytes: &[u8]) -> Result<Option<Change>, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let line = serde_json::from_slice(bytes).map_err(|error| format!("is malformed: {error}"))?;
    Ok(Some(match line {
        Line::Entry(EntryLine { term, index, kind, data }) => {
            let payload = BASE64.decode(data).map_err(|error| format!("has bad data: {error}"))?;
            let (id, payload) = (LogId::new(term, index), payload.into());
            Change::Entries(vec![Entry { id, kind: EntryKind(kind), payload }])
        }
        Line::HardState(HardStateLine { term, vote, commit }) => {
            let some = |number| Some(number).filter(|&number| number > 0);
            Change::HardState(HardState { term, vote: some(vote), commit: some(commit) })
        }
        Line::Snapshot(SnapshotLine { index, term }) => Change::Snapshot(LogId::new(term, index)),
    }))
}

/// Cuts lines into commits.
#[derive(Debug, Default)]
struct Cutter {
    commits: Vec<Commit>,
    open: Option<Commit>,
    /// The payloads in the open commit.
    open_bytes: usize,
    /// What the log holds after the lines so far.
    expected: Expected,
}

impl Cutter {
    fn take(&mut self, line: u64, change: Change) {
        let change = self.place(change);
        let more_bytes = payload_bytes(&change);
        if self.open_bytes.saturating_add(more_bytes) > MAX_COMMIT_BYTES {
            self.close();
        }
        let behind_end = self.expected.commits_behind_end();
        self.expected.apply(&change);
        match &change {
            Change::Entries(_) => {
                // Only a hard state that waits for its snapshot is open beside entries.
                if behind_end {
                    self.close();
                }
                self.add(line, change);
            }
            Change::HardState(_) => {
                self.add(line, change);
                // A node that installs a snapshot may save the commit index first.
                if !self.expected.commits_behind_end() {
                    self.close();
                }
            }
            Change::Snapshot(_) | Change::Installed(_) => {
                if !behind_end {
                    self.close();
                }
                self.add(line, change);
                self.close();
            }
        }
    }

    /// Tells a snapshot of the log from one that replaces it.
    fn place(&self, change: Change) -> Change {
        match change {
            Change::Snapshot(id) if !self.expected.holds(id) => Change::Installed(id),
            other => other,
        }
    }

    fn add(&mut self, line: u64, change: Change) {
        self.open_bytes += payload_bytes(&change);
        let open = self.open.get_or_insert(Commit { lines: line..=line, changes: Vec::new() });
        open.lines = *open.lines.start()..=line;
        if let (Some(Change::Entries(before)), Change::Entries(more)) =
            (open.changes.last_mut(), &change)
        {
            let next = before.last().and_then(|last| last.id.index.checked_add(1));
            if more.first().map(|entry| entry.id.index) == next {
                before.extend_from_slice(more);
                return;
            }
        }
        open.changes.push(change);
    }

    fn close(&mut self) {
        self.commits.extend(self.open.take());
        self.open_bytes = 0;
    }
}

fn payload_bytes(change: &Change) -> usize {
    match change {
        Change::Entries(entries) => entries.iter().map(|entry| entry.payload.len()).sum(),
        _ => 0,
    }
}

/// What a log must hold after a trace, worked out without a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Expected {
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) purged: Option<LogId>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) snapshot: Option<LogId>,
    /// How many times a tail was overwritten.
    pub(crate) overwrites: u64,
    /// How many entries were written, overwritten ones included.
    pub(crate) written: u64,
}

impl Expected {
    pub(crate) fn of(commits: &[Commit]) -> Self {
        let mut expected = Self::default();
        for change in commits.iter().flat_map(|commit| &commit.changes) {
            expected.apply(change);
        }
        expected
    }

    pub(crate) fn first_index(&self) -> Option<u64> {
        let after_purged = || self.purged.and_then(|purged| purged.index.checked_add(1));
        self.entries.keys().next().copied().or_else(after_purged)
    }

    pub(crate) fn last_index(&self) -> Option<u64> {
        let purged = || self.purged.map(|purged| purged.index);
        self.entries.keys().next_back().copied().or_else(purged)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Entries(entries) => entries.iter().for_each(|entry| self.put(entry)),
            Change::HardState(state) => self.hard_state = Some(*state),
            Change::Snapshot(id) => self.snapshot = Some(*id),
            Change::Installed(id) => {
                self.snapshot = Some(*id);
                self.purged = Some(*id);
                self.entries.clear();
                let state = self.hard_state.get_or_insert_default();
                state.commit = state.commit.max(Some(id.index));
            }
        }
    }

    fn put(&mut self, entry: &Entry) {
        let replaced = self.entries.split_off(&entry.id.index);
        self.overwrites += u64::from(!replaced.is_empty());
        self.written += 1;
        self.entries.insert(entry.id.index, entry.clone());
    }

    /// Whether a snapshot up to `id` covers what the log holds; etcd marks an empty one with 0.
    fn holds(&self, id: LogId) -> bool {
        let entry = self.entries.get(&id.index);
        id == LogId::default()
            || entry.is_some_and(|entry| entry.id == id)
            || self.purged.is_some_and(|purged| id.index <= purged.index)
    }

    fn commits_behind_end(&self) -> bool {
        self.hard_state.is_some_and(|state| state.commit > self.last_index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Trace {
        Trace::from_lines(lines.join("\n").as_bytes())
    }

    fn shape(trace: &Trace) -> Vec<(RangeInclusive<u64>, Vec<String>)> {
        let name = |change: &Change| match change {
            Change::Entries(entries) => {
                let ids: Vec<_> = entries.iter().map(|entry| entry.id.index).collect();
                format!("entries {ids:?}")
            }
            Change::HardState(state) => format!("commit {:?}", state.commit.unwrap_or(0)),
            Change::Snapshot(id) => format!("snapshot {}", id.index),
            Change::Installed(id) => format!("installed {}", id.index),
        };
        let commits = trace.commits.iter();
        commits.map(|c| (c.lines.clone(), c.changes.iter().map(name).collect())).collect()
    }

    const A1: &str = r#"{"entry": {"term": 1, "index": 1, "kind": 0, "data": "YQ=="}}"#;
    const A2: &str = r#"{"entry": {"term": 1, "index": 2, "kind": 1, "data": ""}}"#;
    const B2: &str = r#"{"entry": {"term": 2, "index": 2, "kind": 0, "data": "Yg=="}}"#;
    const H1: &str = r#"{"hard_state": {"term": 1, "vote": 0, "commit": 1}}"#;
    const H9: &str = r#"{"hard_state": {"term": 2, "vote": 5, "commit": 9}}"#;
    const S0: &str = r#"{"snapshot": {"index": 0, "term": 0}}"#;
    const S1: &str = r#"{"snapshot": {"index": 1, "term": 1}}"#;
    const S9: &str = r#"{"snapshot": {"index": 9, "term": 2}}"#;
    const A10: &str = r#"{"entry": {"term": 2, "index": 10, "kind": 0, "data": ""}}"#;

    #[test]
    fn a_commit_ends_with_its_hard_state_or_before_another_line() {
        let trace = read(&[S0, A1, A2, H1, B2, S1, H1, A1]);
        assert!(trace.defect.is_none());
        let expected = [
            (1..=1, vec!["snapshot 0".to_owned()]),
            (2..=4, vec!["entries [1, 2]".to_owned(), "commit 1".to_owned()]),
            (5..=5, vec!["entries [2]".to_owned()]),
            (6..=6, vec!["snapshot 1".to_owned()]),
            (7..=7, vec!["commit 1".to_owned()]),
            (8..=8, vec!["entries [1]".to_owned()]),
        ];
        assert_eq!(shape(&trace), expected);
        let state = Expected::of(&trace.commits);
        assert_eq!((state.overwrites, state.written), (2, 4));
    }

    #[test]
    fn a_tail_that_is_overwritten_within_a_commit_is_a_run_of_its_own() {
        let trace = read(&[A1, A2, B2, H1]);
        assert_eq!(shape(&trace)[0].1, ["entries [1, 2]", "entries [2]", "commit 1"]);
        assert_eq!(Expected::of(&trace.commits).entries[&2].id, LogId::new(2, 2));
    }

    #[test]
    fn a_snapshot_from_elsewhere_is_installed_with_the_hard_state_before_it() {
        let trace = read(&[A1, H1, H9, S9, A10, H9]);
        let expected = [
            (1..=2, vec!["entries [1]".to_owned(), "commit 1".to_owned()]),
            (3..=4, vec!["commit 9".to_owned(), "installed 9".to_owned()]),
            (5..=6, vec!["entries [10]".to_owned(), "commit 9".to_owned()]),
        ];
        assert_eq!(shape(&trace), expected);
        let state = Expected::of(&trace.commits);
        assert_eq!((state.first_index(), state.last_index()), (Some(10), Some(10)));
    }

    #[test]
    fn a_commit_that_no_batch_could_take_is_cut_between_entries() {
        let mut cutter = Cutter::default();
        let payload = vec![0; MAX_COMMIT_BYTES / 2];
        for index in 1..=5 {
            cutter.take(index, Change::Entries(vec![Entry::new(1, index, payload.clone())]));
        }
        cutter.close();
        let lines: Vec<_> = cutter.commits.iter().map(|commit| commit.lines.clone()).collect();
        assert_eq!(lines, [1..=2, 3..=4, 5..=5]);
    }

    #[test]
    fn a_bad_line_is_named_and_everything_before_it_is_kept() {
        let cut = &A2[..30];
        let unknown = r#"{"entry": {"term": 1, "index": 2, "kind": 0, "data": "", "x": 1}}"#;
        let base64 = r#"{"entry": {"term": 1, "index": 2, "kind": 0, "data": "%"}}"#;
        let kind = r#"{"entry": {"term": 1, "index": 2, "kind": 256, "data": ""}}"#;
        for bad in [cut, unknown, base64, kind, "null", "{}", "\u{0}"] {
            let trace = read(&[A1, "", bad, A2]);
            assert_eq!(trace.defect.as_ref().map(|defect| defect.line), Some(3), "{bad}");
            assert_eq!(shape(&trace), [(1..=1, vec!["entries [1]".to_owned()])]);
        }
    }
}
