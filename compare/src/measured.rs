//! What a measurement found.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::meter::{Resident, Written};
use crate::stats::float;

/// The percentiles that are kept, in per cent.
pub const PERCENTILES: [f64; 16] =
    [1.0, 5.0, 10.0, 25.0, 50.0, 60.0, 70.0, 75.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.99];
/// The length of one step of a series.
pub const STEP: Duration = Duration::from_millis(100);
const STEP_MS: u64 = 100;

/// How long single calls took, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were timed.
    pub count: u64,
    /// The values at [`PERCENTILES`].
    pub percentiles_us: Vec<f64>,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    /// The value at one of [`PERCENTILES`]; 0 of nothing.
    pub fn at(&self, percentile: f64) -> f64 {
        let at = PERCENTILES.iter().position(|known| (known - percentile).abs() < 1e-9);
        at.and_then(|at| self.percentiles_us.get(at)).copied().unwrap_or(0.0)
    }
}

/// One stretch of a measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// How many entries were written or read.
    pub entries: u64,
    /// In how many calls.
    pub calls: u64,
    /// How long it took.
    pub elapsed_s: f64,
    /// How long the calls took.
    pub latency: Latency,
    /// Entries in each step of 100 ms.
    pub series: Vec<u64>,
}

impl Phase {
    /// Entries in a second.
    pub fn rate(&self) -> f64 {
        if self.elapsed_s > 0.0 { float(self.entries) / self.elapsed_s } else { 0.0 }
    }
}

/// Everything that one process measured of one workload on one store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured, by name; `main` is the one that a row is about.
    pub phases: BTreeMap<String, Phase>,
    /// Payload bytes in all, those before the measurement among them.
    pub payload_bytes: u64,
    /// What was written for them, where the kernel says.
    pub written: Option<Written>,
    /// Blocks of the store's directory at the end, and in steps of 100 ms.
    pub disk_bytes: u64,
    /// The directory's size at every step, where space over time is the point.
    pub disk_series: Vec<u64>,
    /// The process's memory at the end, where the kernel says.
    pub resident: Option<Resident>,
    /// Memory before the store was opened: the measuring itself.
    pub resident_before: Option<Resident>,
    /// How many entries were read back and compared.
    pub checked: u64,
}

/// The name of the phase that a row is about.
pub const MAIN: &str = "main";

impl Measured {
    /// The phase that the row is about.
    pub fn main(&self) -> Option<&Phase> {
        self.phases.get(MAIN)
    }
}

/// Counts calls and their times while they happen, for one thread.
#[derive(Debug)]
pub(crate) struct Tally {
    histogram: Histogram<u64>,
    entries: u64,
    calls: u64,
    series: Vec<u64>,
}

/// The longest call that is told apart from longer ones: a minute.
const MAX_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

impl Tally {
    pub(crate) fn new() -> Self {
        // Constant bounds that the histogram takes.
        let histogram = Histogram::new_with_bounds(1, MAX_NS, DIGITS);
        let histogram = histogram.unwrap_or_else(|_| unreachable!("the bounds are constants"));
        Self { histogram, entries: 0, calls: 0, series: Vec::new() }
    }

    /// Notes one call, which ended `at` after the phase began.
    pub(crate) fn note(&mut self, entries: u64, took: Duration, at: Duration) {
        self.note_time(took);
        self.count(entries, at);
    }

    /// Notes the time of a call alone.
    pub(crate) fn note_time(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(ns.clamp(1, MAX_NS));
    }

    /// Counts one call and its entries.
    pub(crate) fn count(&mut self, entries: u64, at: Duration) {
        self.entries += entries;
        self.calls += 1;
        let step = usize::try_from(at.as_millis() / u128::from(STEP_MS)).unwrap_or(usize::MAX);
        if step >= self.series.len() {
            self.series.resize(step.saturating_add(1).min(1 << 16), 0);
        }
        if let Some(counted) = self.series.get_mut(step) {
            *counted += entries;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.histogram.add(&other.histogram);
        self.entries += other.entries;
        self.calls += other.calls;
        if other.series.len() > self.series.len() {
            self.series.resize(other.series.len(), 0);
        }
        for (sum, more) in self.series.iter_mut().zip(&other.series) {
            *sum += more;
        }
    }

    pub(crate) fn into_phase(self, elapsed: Duration) -> Phase {
        let us = |ns: u64| float(ns) / 1000.0;
        let value = |&percentile: &f64| us(self.histogram.value_at_percentile(percentile));
        let latency = Latency {
            count: self.histogram.len(),
            percentiles_us: PERCENTILES.iter().map(value).collect(),
            max_us: us(self.histogram.max()),
        };
        Phase {
            entries: self.entries,
            calls: self.calls,
            elapsed_s: elapsed.as_secs_f64(),
            latency,
            series: self.series,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_knows_counts_percentiles_and_when() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        for call in 1..=99_u64 {
            one.note(2, Duration::from_micros(call), Duration::from_millis(call));
        }
        other.note(3, Duration::from_millis(5), Duration::from_millis(250));
        one.add(&other);
        let phase = one.into_phase(Duration::from_secs(2));
        assert_eq!((phase.entries, phase.calls, phase.latency.count), (201, 100, 100));
        assert_eq!(phase.series, [198, 0, 3]);
        assert!((phase.rate() - 100.5).abs() < 1e-9);
        assert!((phase.latency.at(50.0) - 50.0).abs() < 0.1, "{:?}", phase.latency);
        assert!((phase.latency.max_us - 5000.0).abs() < 5.0);
        assert!((phase.latency.at(12.345)).abs() < 1e-9, "not a percentile that is kept");
    }
}
