//! Events as metrics and as traces.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::faulty::Fault;
use common::{R, Rig, batch, eventually, id, immediate, is_poisoned, run};
use kvlogdb_log::{Durability, Entry, Error, MetricsObserver, TracingObserver, WhenFull};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tracing::field::{Field, Visit};
use tracing::span;

/// Keeps numbers under names and labels: the bits of floating ones.
#[derive(Default)]
struct Numbers {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<String, Arc<Samples>>>,
}

#[derive(Default)]
struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

fn name(key: &Key) -> String {
    let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
    [key.name().to_owned()].into_iter().chain(labels).collect()
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters.lock().unwrap();
        Counter::from_arc(Arc::clone(counters.entry(name(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.gauges.lock().unwrap();
        Gauge::from_arc(Arc::clone(gauges.entry(name(key)).or_default()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut histograms = self.histograms.lock().unwrap();
        Histogram::from_arc(Arc::clone(histograms.entry(name(key)).or_default()))
    }
}

impl Numbers {
    fn counter(&self, name: &str) -> u64 {
        let name = format!("kvlogdb_{name} store=test");
        self.counters.lock().unwrap()[&name].load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        let name = format!("kvlogdb_{name} store=test");
        f64::from_bits(self.gauges.lock().unwrap()[&name].load(Ordering::Relaxed))
    }

    fn samples(&self, name: &str) -> Vec<f64> {
        let name = format!("kvlogdb_{name} store=test");
        self.histograms.lock().unwrap()[&name].0.lock().unwrap().clone()
    }
}

fn tens(term: u64, range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| Entry::new(term, index, vec![1; 10])).collect()
}

#[test]
fn metrics_add_up_to_what_was_done() {
    let numbers = Numbers::default();
    let observer =
        metrics::with_local_recorder(&numbers, || MetricsObserver::labelled([("store", "test")]));
    let mut options = immediate();
    options.observer = Some(Arc::new(observer));
    options.queue_entries = 4;
    let mut rig = Rig::with(options);
    rig.log().append(tens(1, 1..=10), Durability::Synced).unwrap();
    rig.log().replace_from(tens(2, 9..=12), Durability::Synced).unwrap();
    rig.write(|batch| batch.purge_through(R, id(1, 3))).unwrap();
    assert_eq!(rig.log().entries(5..8, u64::MAX).unwrap().len(), 3);
    rig.faults.gate.shut();
    let first = rig.submit(|batch| batch.append(R, tens(2, 13..=13)));
    rig.faults.gate.await_writer();
    let second = rig.submit(|batch| batch.append(R, tens(2, 14..=17)));
    let third = batch(|batch| batch.append(R, tens(2, 18..=18)));
    assert!(matches!(rig.store().submit(&third, WhenFull::Busy), Err(Error::Busy)));
    assert!((numbers.gauge("queue_entries") - 4.0).abs() < 0.1);
    rig.faults.gate.open();
    first.wait().unwrap();
    second.wait().unwrap();
    rig.store().settle().unwrap();
    rig.close();
    assert_eq!(rig.faults.take_writes().len() as u64, numbers.counter("commits"));
    for (counter, expected) in [
        ("log_appends", 4),
        ("log_entries_written", 19),
        ("log_entry_bytes_written", 190),
        ("log_entries_read", 3),
        ("log_entry_bytes_read", 30),
        ("head_truncations", 3),
        ("tail_truncations", 2),
        ("cache_hits", 3),
        ("cache_misses", 0),
        ("deleted_entries", 3),
        ("busy", 1),
        ("failed_batches", 0),
        ("poisonings", 0),
    ] {
        assert_eq!(numbers.counter(counter), expected, "{counter}");
    }
    let (syncs, writes) = (numbers.samples("sync_seconds"), numbers.samples("write_seconds"));
    assert_eq!(syncs.len() as u64, numbers.counter("syncs"));
    assert_eq!((syncs.len() + writes.len()) as u64, numbers.counter("commits"));
    assert!(syncs.iter().all(|seconds| *seconds > 0.0 && *seconds < 20.0));
    assert_eq!(numbers.samples("batch_entries"), [10.0, 4.0, 1.0, 4.0]);
    assert_eq!(numbers.samples("batch_bytes"), [100.0, 40.0, 10.0, 40.0]);
    for gauge in ["queue_batches", "queue_bytes", "deletion_lag_entries", "poisoned"] {
        assert!(numbers.gauge(gauge).abs() < 0.1, "{gauge}");
    }
    assert!(numbers.gauge("cache_bytes") > 140.0);
}

#[test]
fn every_metric_is_in_the_documentation() {
    let numbers = Numbers::default();
    drop(metrics::with_local_recorder(&numbers, MetricsObserver::new));
    let counters = numbers.counters.into_inner().unwrap().into_keys();
    let gauges = numbers.gauges.into_inner().unwrap().into_keys();
    let histograms = numbers.histograms.into_inner().unwrap().into_keys();
    let names: Vec<_> = counters.chain(gauges).chain(histograms).collect();
    let source = include_str!("../src/observe/metrics.rs");
    let rows: String = source.lines().filter(|line| line.starts_with("/// | `")).collect();
    for name in &names {
        let short = name.strip_prefix("kvlogdb_").unwrap();
        assert!(rows.contains(&format!("`{short}`")), "{name}");
    }
    assert_eq!(rows.matches('`').count(), 2 * names.len(), "a row for what is not there");
}

#[test]
fn metrics_show_a_failed_store_until_it_is_reopened() {
    let numbers = Numbers::default();
    let observer =
        metrics::with_local_recorder(&numbers, || MetricsObserver::labelled([("store", "test")]));
    let mut options = immediate();
    options.observer = Some(Arc::new(observer));
    let rig = Rig::with(options);
    rig.log().append(run(1, 1..=2), Durability::Synced).unwrap();
    rig.faults.set(Fault::WriteLost, 0);
    assert!(is_poisoned(&rig.log().append(run(1, 3..=3), Durability::Synced)));
    eventually(|| numbers.counter("failed_batches") == 1);
    assert_eq!((numbers.counter("poisonings"), numbers.counter("reopens")), (1, 0));
    assert!(numbers.gauge("poisoned") > 0.9);
    rig.store().reopen().unwrap();
    assert_eq!((numbers.counter("poisonings"), numbers.counter("reopens")), (1, 1));
    assert!(numbers.gauge("poisoned") < 0.1);
    assert!((numbers.gauge("replicas") - 1.0).abs() < 0.1);
    assert_eq!(numbers.samples("open_seconds").len(), 2);
}

/// Keeps every event as a line: level, target, then what it says.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Lines {
    /// How many events begin with a level and say all of `words`.
    fn count(&self, level: &str, words: &[&str]) -> usize {
        let lines = self.0.lock().unwrap();
        let begins = format!("{level} kvlogdb message=");
        let says = |line: &&String| {
            line.starts_with(&begins) && words.iter().all(|word| line.contains(word))
        };
        lines.iter().filter(says).count()
    }
}

/// The subscriber is the process's: some events come from the store's own thread.
#[test]
fn traces_tell_what_happens_with_levels() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    let mut options = immediate();
    options.observer = Some(Arc::new(TracingObserver));
    let mut rig = Rig::with(options);
    rig.log().append(tens(1, 1..=10), Durability::Synced).unwrap();
    rig.log().replace_from(tens(2, 9..=12), Durability::Synced).unwrap();
    rig.write(|batch| batch.purge_through(R, id(1, 3))).unwrap();
    assert_eq!(rig.log().entries(5..8, u64::MAX).unwrap().len(), 3);
    rig.store().settle().unwrap();
    rig.faults.set(Fault::WriteLost, 0);
    assert!(is_poisoned(&rig.log().append(run(2, 13..=13), Durability::Synced)));
    eventually(|| lines.count("ERROR", &["accepted batches failed"]) == 1);
    rig.store().reopen().unwrap();
    rig.write(|batch| batch.reset(R)).unwrap();
    rig.close();
    for (level, words) in [
        ("INFO", &["opened", "replicas=0 damaged=0"][..]),
        ("TRACE", &["accepted", "entries=10 entry_bytes=100"]),
        ("TRACE", &["committed", "entries=10", "durability=Synced"]),
        ("DEBUG", &["truncated", "replica=7", "first=9 last=10"]),
        ("DEBUG", &["purged", "term=1 index=3 entries=3"]),
        ("TRACE", &["read", "from_memory=3 from_engine=0 entry_bytes=30"]),
        ("TRACE", &["deleted", "entries=3 waiting=0"]),
        ("ERROR", &["poisoned", "cause="]),
        ("INFO", &["reopened", "shortened=1"]),
        ("WARN", &["logs end before", "shortened=1"]),
        ("DEBUG", &["dropped a log", "entries=9"]),
        ("INFO", &["closed"]),
    ] {
        assert_eq!(lines.count(level, words), 1, "{level} {words:?}: {:#?}", lines.0);
    }
}
