//! The workloads of `kvlogdb compare`: a log's life in rows.

use std::path::PathBuf;
use std::time::Duration;

use kvlogdb::EngineKind;

use crate::run::{Counting, Plan, Row};
use crate::store::Settings;
use crate::subject::{CONTROL, CONTROL_GROWING, log_on};
use crate::workload::{End, GetOrder, Work, Workload};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// Under 40 seconds.
    Quick,
    /// A few minutes.
    #[default]
    Normal,
    /// Everything, with long logs.
    Full,
}

/// What a user may set otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// How much is measured.
    pub extent: Extent,
    /// The sizes of payloads; the extent's own where empty.
    pub entry_bytes: Vec<usize>,
    /// How many entries a commit has; the extent's own where empty.
    pub batches: Vec<usize>,
    /// How many writers there are, over twice as many groups.
    pub writers: Vec<usize>,
    /// How long logs are that are read and opened.
    pub entries: Option<u64>,
    /// Only these kinds of work; all where empty.
    pub kinds: Vec<Kind>,
    /// A trace that was prepared, and how many entries it has.
    pub trace: Option<(PathBuf, u64)>,
    /// What payloads and choices follow from.
    pub seed: u64,
}

/// Kinds of work, by which a mix is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Durable and buffered appends of one writer.
    Append,
    /// Many writers on many groups.
    Writers,
    /// Reading: follower tail, catch-up, single entries.
    Read,
    /// Overwriting a tail.
    Overwrite,
    /// Purging beside appends.
    Purge,
    /// Opening again.
    Reopen,
    /// Many replicas.
    Replicas,
    /// A trace.
    Trace,
}

impl Kind {
    /// All of them, with the names that users give.
    pub const ALL: [(&'static str, Self); 8] = [
        ("append", Self::Append),
        ("writers", Self::Writers),
        ("read", Self::Read),
        ("overwrite", Self::Overwrite),
        ("purge", Self::Purge),
        ("reopen", Self::Reopen),
        ("replicas", Self::Replicas),
        ("trace", Self::Trace),
    ];

    fn of(work: &Work) -> Self {
        match work {
            Work::Append { writers: 1, .. } | Work::Fill { .. } => Self::Append,
            Work::Append { .. } | Work::InFlight { .. } => Self::Writers,
            Work::Get { .. } | Work::CatchUp { .. } | Work::FollowTail { .. } => Self::Read,
            Work::OverwriteTail { .. } => Self::Overwrite,
            Work::AppendAndPurge { .. } | Work::PurgeWhileAppending { .. } => Self::Purge,
            Work::Reopen { .. } => Self::Reopen,
            Work::ManyReplicas { .. } => Self::Replicas,
            Work::Trace { .. } => Self::Trace,
        }
    }
}

/// The size that rows have which are not about sizes.
const ENTRY_BYTES: usize = 256;
/// How many entries a page of a catch-up read has.
const PAGE: u64 = 64;
const RECENT: u64 = 20_000;

impl Wishes {
    /// What is to be measured of these engines, and the controls beside them.
    pub fn plan(&self, engines: &[EngineKind]) -> Plan {
        let logs: Vec<String> = engines.iter().map(|&engine| log_on(engine)).collect();
        let (rounds, budget) = match self.extent {
            Extent::Quick => (3, Some(Duration::from_secs(32))),
            Extent::Normal => (3, Some(Duration::from_secs(400))),
            Extent::Full => (5, None),
        };
        let counting = match self.extent {
            Extent::Quick => Counting::OneWriter,
            _ => Counting::Durable,
        };
        let row = |workload: Workload| {
            let controls = [CONTROL, CONTROL_GROWING].map(str::to_owned);
            let controlled = workload.has_control();
            let controls = controls.into_iter().filter(|_| controlled);
            Row { subjects: controls.chain(logs.clone()).collect(), workload, rounds }
        };
        let wanted = |workload: &Workload| {
            self.kinds.is_empty() || self.kinds.contains(&Kind::of(&workload.work))
        };
        let rows = self.workloads().into_iter().filter(wanted).map(row).collect();
        Plan { rows, seed: self.seed, settings: Settings::default(), budget, counting }
    }

    fn workloads(&self) -> Vec<Workload> {
        let works = match self.extent {
            Extent::Quick => self.quick(),
            Extent::Normal => self.normal(),
            Extent::Full => [self.normal(), self.long()].concat(),
        };
        let traced = self.trace.iter().map(|(steps, entries)| {
            (Work::Trace { steps: steps.clone(), entries: *entries }, ENTRY_BYTES)
        });
        let measure_ms = match self.extent {
            Extent::Quick => 250,
            Extent::Normal => 400,
            Extent::Full => 1500,
        };
        let make = |(work, entry_bytes)| Workload { work, entry_bytes, measure_ms };
        works.into_iter().chain(traced).map(make).collect()
    }

    fn quick(&self) -> Vec<(Work, usize)> {
        let entries = self.entries.unwrap_or(RECENT);
        let mut works = self.appends(&[1, 64], &[ENTRY_BYTES]);
        works.extend(self.writers(&[32]));
        let rest = [
            Work::CatchUp { entries, page: PAGE },
            Work::Get { entries, order: GetOrder::Random },
            Work::Reopen { entries, after: End::Kill },
        ];
        works.extend(rest.map(|work| (work, self.one_size())));
        works
    }

    fn normal(&self) -> Vec<(Work, usize)> {
        let entries = self.entries.unwrap_or(100_000);
        let mut works = self.appends(&[1, 16, 64], &[64, 256, 4096, 65536]);
        let unsynced = Work::Append { writers: 1, groups: 1, batch: 64, synced: false };
        works.push((unsynced, self.one_size()));
        works.extend(self.writers(&[32, 256]));
        let window = (entries / 10).max(64);
        let rest = [
            Work::InFlight { commits: 64, groups: 64, batch: 1 },
            Work::FollowTail { batch: 16 },
            Work::CatchUp { entries, page: PAGE },
            Work::Get { entries: entries.min(RECENT), order: GetOrder::Random },
            Work::Get { entries: entries.min(RECENT), order: GetOrder::Tail },
            Work::OverwriteTail { entries: 16 },
            Work::AppendAndPurge { entries, batch: 64, window, step: 1024 },
            Work::PurgeWhileAppending { entries },
            Work::Reopen { entries: (entries / 10).max(1), after: End::Close },
            Work::Reopen { entries, after: End::Close },
            Work::Reopen { entries, after: End::Kill },
            Work::ManyReplicas { groups: 10_000 },
        ];
        works.extend(rest.map(|work| (work, self.one_size())));
        works
    }

    /// What takes long.
    fn long(&self) -> Vec<(Work, usize)> {
        let entries = self.entries.unwrap_or(100_000).saturating_mul(10);
        let works = [
            Work::Fill { entries, batch: 64 },
            Work::CatchUp { entries, page: PAGE },
            Work::PurgeWhileAppending { entries },
            Work::Reopen { entries, after: End::Close },
            Work::Reopen { entries, after: End::Kill },
        ];
        works.map(|work| (work, self.one_size())).to_vec()
    }

    /// The size of rows that are not about sizes.
    fn one_size(&self) -> usize {
        self.entry_bytes.first().copied().unwrap_or(ENTRY_BYTES)
    }

    fn appends(&self, batches: &[usize], sizes: &[usize]) -> Vec<(Work, usize)> {
        let batches = if self.batches.is_empty() { batches } else { &self.batches };
        let sizes = if self.entry_bytes.is_empty() { sizes } else { &self.entry_bytes };
        let append = |batch| Work::Append { writers: 1, groups: 1, batch, synced: true };
        let of_size = |&size: &usize| batches.iter().map(move |&batch| (append(batch), size));
        sizes.iter().flat_map(of_size).collect()
    }

    fn writers(&self, writers: &[usize]) -> Vec<(Work, usize)> {
        let writers = if self.writers.is_empty() { writers } else { &self.writers };
        let work = |&writers: &usize| {
            let groups = if writers == 256 { 1000 } else { 2 * writers as u64 };
            (Work::Append { writers, groups, batch: 1, synced: true }, self.one_size())
        };
        writers.iter().map(work).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wishes: &Wishes) -> Vec<String> {
        let plan = wishes.plan(&[EngineKind::Redb]);
        plan.rows.iter().map(|row| row.workload.name()).collect()
    }

    #[test]
    fn no_two_rows_of_a_plan_have_one_name() {
        for extent in [Extent::Quick, Extent::Normal, Extent::Full] {
            let mut found = names(&Wishes { extent, ..Wishes::default() });
            let count = found.len();
            found.sort();
            found.dedup();
            assert_eq!(found.len(), count, "{extent:?}");
        }
    }

    #[test]
    fn wishes_change_sizes_and_mix() {
        let wishes = Wishes {
            extent: Extent::Quick,
            entry_bytes: vec![100, 1024],
            batches: vec![8],
            kinds: vec![Kind::Append],
            ..Wishes::default()
        };
        assert_eq!(names(&wishes), ["durable append of 8, 100 B", "durable append of 8, 1 KiB"]);
        let trace = Some((PathBuf::from("steps"), 12));
        let wishes = Wishes { trace, kinds: vec![Kind::Trace], ..Wishes::default() };
        assert_eq!(names(&wishes), ["trace of 12 entries"]);
    }

    #[test]
    fn appends_have_controls_and_reads_have_none() {
        let plan = Wishes::default().plan(&[EngineKind::Redb, EngineKind::Sled]);
        for row in &plan.rows {
            let controls = row.subjects.iter().filter(|name| crate::is_control(name)).count();
            let expected =
                if row.workload.is_durable() && row.workload.has_control() { 2 } else { 0 };
            assert!(controls == expected || !row.workload.is_durable(), "{row:?}");
            assert_eq!(row.subjects.len(), controls + 2);
        }
    }
}
