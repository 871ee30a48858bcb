//! A recommendation in words, from what was measured and what the user needs.

use std::fmt::Write;

use kvlogdb::EngineKind;

use crate::measured::Measured;
use crate::record::{CellRecord, Record};
use crate::stats::{Spread, float};
use crate::subject::log_engine;
use crate::summary::{Summary, SummaryRow};
use crate::table::{is_pretender, mebibytes, rate, time};
use crate::workload::{End, Work, Workload};

/// What a user cares for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// The time of a durable append.
    #[default]
    Latency,
    /// Durable entries in a second, of many writers.
    Throughput,
    /// Bytes on the disk.
    Space,
    /// Memory.
    Memory,
    /// Coming back after a kill, quickly and simply.
    Recovery,
}

impl Need {
    /// All of them, with the names that users give.
    pub const ALL: [(&'static str, Self); 5] = [
        ("latency", Self::Latency),
        ("throughput", Self::Throughput),
        ("space", Self::Space),
        ("memory", Self::Memory),
        ("recovery", Self::Recovery),
    ];

    /// The name that users give.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, need)| *need == self).map_or("", |(name, _)| name)
    }

    /// Whether a workload says anything about it.
    fn concerns(self, workload: &Workload) -> bool {
        match self {
            Self::Latency => workload.has_one_writer(),
            Self::Throughput => has_many_writers(workload),
            Self::Space | Self::Memory => keeps_a_log(workload),
            Self::Recovery => matches!(workload.work, Work::Reopen { .. }),
        }
    }

    /// What is compared, and it is better to have less of it.
    fn cost(self, measured: &Measured) -> Option<f64> {
        let cost = match self {
            Self::Latency | Self::Recovery => measured.main()?.latency.at(50.0),
            Self::Throughput => 1.0 / measured.main()?.rate(),
            Self::Space => float(measured.disk_bytes) / float(measured.payload_bytes),
            Self::Memory => float(measured.resident?.bytes),
        };
        (cost.is_finite() && cost > 0.0).then_some(cost)
    }

    /// Whether the disk has a say in it.
    fn waits_for_the_disk(self) -> bool {
        !matches!(self, Self::Space | Self::Memory)
    }

    fn show(self, cost: f64) -> String {
        match self {
            Self::Latency | Self::Recovery => time(cost),
            Self::Throughput => format!("{} entries/s", rate(1.0 / cost)),
            Self::Space => format!("{cost:.2} bytes on the disk for each of payload"),
            Self::Memory => mebibytes(cost),
        }
    }
}

fn has_many_writers(workload: &Workload) -> bool {
    matches!(workload.work, Work::Append { writers: 2.., synced: true, .. })
}

/// Whether a store holds a log of some length at the end, which was not purged.
fn keeps_a_log(workload: &Workload) -> bool {
    matches!(
        workload.work,
        Work::CatchUp { .. } | Work::Fill { .. } | Work::Reopen { after: End::Close, .. }
    )
}

/// What can be said for a need.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// What it is for.
    pub need: Need,
    /// The candidates, the best first, each with its cost as a part of the best one's.
    pub ranking: Vec<(String, f64)>,
    /// Whether the first two are too close to be told apart.
    pub is_close: bool,
    /// The rows that it rests on, and what they showed.
    pub reasons: Vec<String>,
    /// Who was not considered, and why.
    pub left_out: Vec<String>,
}

/// Below this part nobody would notice.
const LEAST_DIFFERENCE: f64 = 0.1;

impl Advice {
    /// Weighs what was measured of kvlogdb's engines.
    pub fn of(record: &Record, need: Need) -> Self {
        let mut advice = Self {
            need,
            ranking: Vec::new(),
            is_close: false,
            reasons: Vec::new(),
            left_out: Vec::new(),
        };
        let summary = Summary::of(record);
        let candidates = advice.candidates(&summary);
        let mut rows = Vec::new();
        for name in summary.names() {
            let concerned = |row: &SummaryRow| row.name == name && need.concerns(&row.workload);
            if !summary.rows.iter().any(concerned) {
                continue;
            }
            match Costs::of(record, need, name, &candidates) {
                Some(costs) => rows.push(costs),
                None => {
                    advice.left_out.push(format!("{name}: the disk was never the same for all"));
                }
            }
        }
        if !rows.is_empty() {
            advice.rank(&candidates, &rows);
        }
        advice
    }

    fn rank(&mut self, candidates: &[String], rows: &[Costs]) {
        let over_rows = |of: &dyn Fn(&Costs) -> Option<f64>| {
            let found: Vec<f64> = rows.iter().filter_map(of).collect();
            found.iter().sum::<f64>() / float(found.len() as u64).max(1.0)
        };
        let mut scored: Vec<(usize, f64)> = (0..candidates.len())
            .map(|at| (at, over_rows(&|row| Some(row.found.get(at)?.median.ln())).exp()))
            .collect();
        scored.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        if let [(first, best), (second, behind), ..] = scored[..] {
            let unsure = |at| over_rows(&|row| Some(row.uncertainty(at)));
            let margin = (unsure(first) + unsure(second)).max(LEAST_DIFFERENCE);
            self.is_close = behind / best - 1.0 < margin;
        }
        let best = scored.first().map_or(1.0, |&(_, score)| score);
        let named = |&(at, score): &(usize, f64)| Some((candidates.get(at)?.clone(), score / best));
        self.ranking = scored.iter().filter_map(named).collect();
        for row in rows {
            let shown = scored.iter().filter_map(|&(at, _)| {
                let cost = row.found.get(at)?.median;
                Some(format!("{} {}", short(candidates.get(at)?), self.need.show(cost)))
            });
            self.reasons.push(format!("{}: {}", row.name, shown.collect::<Vec<_>>().join(", ")));
        }
    }

    /// The engines that may be recommended. The others are left out by name.
    fn candidates(&mut self, summary: &Summary) -> Vec<String> {
        let mut subjects: Vec<&str> = Vec::new();
        for row in &summary.rows {
            if log_engine(&row.subject).is_some() && !subjects.contains(&row.subject.as_str()) {
                subjects.push(&row.subject);
            }
        }
        let mut candidates = Vec::new();
        for subject in subjects {
            let rows = || summary.rows.iter().filter(|row| row.subject == subject);
            if rows().any(|row| is_pretender(summary, row)) {
                self.left_out.push(format!("{subject} was seen not to sync"));
            } else if let Some(row) = rows().find(|row| !row.failures.is_empty()) {
                self.left_out.push(format!("{subject} failed at {}", row.name));
            } else {
                candidates.push(subject.to_owned());
            }
        }
        candidates
    }

    /// The winner, where there is one that stands out.
    pub fn winner(&self) -> Option<&str> {
        let (first, _) = self.ranking.first()?;
        (!self.is_close).then_some(first)
    }

    /// The advice as a paragraph.
    pub fn in_words(&self) -> String {
        let need = self.need.name();
        let mut text = match &self.ranking[..] {
            [] if self.left_out.is_empty() => {
                format!("For {need}: nothing that was measured says anything about it.")
            }
            [] => format!("For {need}: no call; try again while nothing else uses the disk."),
            [(only, _)] => format!("For {need}: {}, which is the only one measured.", short(only)),
            [(first, _), (second, behind), ..] if self.is_close => format!(
                "For {need}: too close to call between {} and {} ({:.0} % apart, which the \
                 rounds' spread or a tenth covers).",
                short(first),
                short(second),
                (behind - 1.0) * 100.0
            ),
            [(first, _), (second, behind), ..] => format!(
                "For {need}: take {}. The runner-up is {}, at {behind:.2} times its cost.",
                short(first),
                short(second)
            ),
        };
        // Where figures do not decide, these do.
        for (named, _) in self.ranking.iter().take(if self.is_close { 2 } else { 1 }) {
            let _ = write!(text, " {}", character(named));
        }
        for reason in self.reasons.iter().take(MAX_REASONS) {
            let _ = write!(text, "\n  {reason}");
        }
        for left_out in &self.left_out {
            let _ = write!(text, "\n  left out: {left_out}");
        }
        text
    }
}

/// How many rows a paragraph names.
const MAX_REASONS: usize = 6;

/// What one row cost every candidate, in the rounds that can be compared.
struct Costs {
    name: String,
    /// In the order of the candidates.
    found: Vec<Spread>,
    waits_for_the_disk: bool,
}

/// What is not known of a figure that was measured once.
const UNKNOWN: f64 = 0.25;

impl Costs {
    /// `None` where a candidate has no figure, or the disk was never the same for all.
    fn of(record: &Record, need: Need, name: &str, candidates: &[String]) -> Option<Self> {
        let rounds = record.cells.iter().map(|cell| cell.round).max()?;
        let mut costs = vec![Vec::new(); candidates.len()];
        for round in 1..=rounds {
            let cells: Vec<&CellRecord> = candidates
                .iter()
                .filter_map(|subject| record.find(subject, name, round))
                .filter(|cell| cell.measured().and_then(|found| need.cost(found)).is_some())
                .collect();
            let complete = cells.len() == candidates.len();
            let Some((first, others)) = cells.split_first() else { continue };
            let same_disk = others.iter().all(|other| first.is_comparable(other));
            if !complete || (need.waits_for_the_disk() && !same_disk) {
                continue;
            }
            for (costs, cell) in costs.iter_mut().zip(&cells) {
                costs.extend(cell.measured().and_then(|found| need.cost(found)));
            }
        }
        let found = costs.iter().map(|costs| Spread::of(costs)).collect::<Option<_>>()?;
        let waits_for_the_disk = need.waits_for_the_disk();
        Some(Self { name: name.to_owned(), found, waits_for_the_disk })
    }

    /// Half of what the rounds differ by.
    fn uncertainty(&self, candidate: usize) -> f64 {
        let Some(cost) = self.found.get(candidate) else { return UNKNOWN };
        let once = self.waits_for_the_disk && cost.rounds < 2;
        (cost.relative() / 2.0).max(if once { UNKNOWN } else { 0.0 })
    }
}

/// The engine's name alone.
fn short(subject: &str) -> String {
    log_engine(subject).map_or_else(|| subject.to_owned(), |engine| engine.to_string())
}

/// What no measurement shows and whoever chooses has to know.
fn character(subject: &str) -> &'static str {
    match log_engine(subject) {
        Some(EngineKind::Redb) => {
            "redb is one file without threads of its own; unsynced writes go with a kill."
        }
        Some(EngineKind::Fjall) => {
            "fjall compacts in background threads; a journal torn by a power cut is refused until \
             `check --repair`."
        }
        Some(EngineKind::Sled) => {
            "sled is not maintained since 2021, and takes several times the memory of its cache."
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{record, with_syncs};

    fn advice(rates: &[(&str, [f64; 3])], need: Need) -> Advice {
        Advice::of(&record(rates), need)
    }

    #[test]
    fn the_quickest_is_taken_and_the_next_is_named() {
        let rates = [
            ("kvlogdb on redb", [100.0, 101.0, 99.0]),
            ("kvlogdb on fjall", [200.0, 199.0, 201.0]),
            ("kvlogdb on sled", [50.0, 51.0, 50.0]),
        ];
        let advice = advice(&rates, Need::Latency);
        assert_eq!(advice.winner(), Some("kvlogdb on fjall"));
        assert_eq!(advice.ranking[1].0, "kvlogdb on redb");
        let words = advice.in_words();
        assert!(words.contains("take fjall. The runner-up is redb, at 2.00 times"), "{words}");
    }

    #[test]
    fn what_the_rounds_do_not_tell_apart_is_too_close_to_call() {
        let wide =
            [("kvlogdb on redb", [100.0, 160.0, 90.0]), ("kvlogdb on fjall", [120.0, 95.0, 150.0])];
        let close = advice(&wide, Need::Latency);
        assert_eq!(close.winner(), None);
        assert!(close.in_words().contains("too close to call"), "{}", close.in_words());
        let near = [("kvlogdb on redb", [100.0; 3]), ("kvlogdb on fjall", [104.0; 3])];
        assert!(advice(&near, Need::Latency).is_close, "nobody notices four per cent");
    }

    #[test]
    fn one_round_and_a_restless_disk_decide_little() {
        let rates = [("kvlogdb on redb", [100.0; 3]), ("kvlogdb on fjall", [140.0; 3])];
        let steady = record(&rates);
        let closeness = |record: &Record| Advice::of(record, Need::Latency).is_close;
        assert!(!closeness(&steady));
        let mut once = steady.clone();
        once.cells.retain(|cell| cell.round == 1);
        assert!(closeness(&once));
        let mut restless = steady.clone();
        for cell in restless.cells.iter_mut().filter(|cell| cell.subject == "kvlogdb on redb") {
            (cell.probe_before_us, cell.probe_after_us) = (4000.0, 4000.0);
        }
        let advice = Advice::of(&restless, Need::Latency);
        assert_eq!(advice.winner(), None, "one had the slow disk, the other the fast one");
        let words = advice.in_words();
        assert!(words.contains("no call") && words.contains("never the same for all"), "{words}");
    }

    #[test]
    fn a_store_that_does_not_sync_is_never_recommended() {
        let rates = [("kvlogdb on redb", [100.0; 3]), ("kvlogdb on fjall", [900.0; 3])];
        let mut found = record(&rates);
        with_syncs(&mut found, "kvlogdb on fjall", 0);
        let advice = Advice::of(&found, Need::Latency);
        assert_eq!(advice.winner(), Some("kvlogdb on redb"));
        assert_eq!(advice.ranking.len(), 1);
        assert!(advice.in_words().contains("was seen not to sync"), "{}", advice.in_words());
    }

    #[test]
    fn without_rows_for_a_need_nothing_is_claimed() {
        let advice = advice(&[("kvlogdb on redb", [1.0; 3])], Need::Recovery);
        assert!(advice.ranking.is_empty());
        assert!(advice.in_words().contains("nothing that was measured"));
    }

    #[test]
    fn controls_and_peers_are_not_recommended() {
        let rates = [("bare redb", [900.0; 3]), ("kvlogdb on redb", [100.0; 3])];
        assert_eq!(advice(&rates, Need::Latency).ranking.len(), 1);
    }
}
