//! Events as metrics.

use ::metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};
use kvlogdb_engine_api::Durability;

use super::{Event, Observer, Queued};

/// Feeds the recorder of the [`metrics`](::metrics) facade.
///
/// The metrics are registered when the observer is made, with the recorder of that moment: install
/// yours first. Stores that share a process are told apart by labels.
///
/// Everything has the prefix `kvlogdb_`. Times are in seconds.
///
/// | counter | what it counts |
/// |---|---|
/// | `log_appends` | batches with entries that the engine has |
/// | `log_entries_written`, `log_entry_bytes_written` | their entries, and bytes of payloads |
/// | `log_entries_read`, `log_entry_bytes_read` | entries that were read, and bytes of payloads |
/// | `head_truncations` | entries that were purged or dropped with their log |
/// | `tail_truncations` | entries that were truncated |
/// | `commits`, `commit_bytes` | writes of the engine, and the bytes of keys and values in them |
/// | `syncs` | writes with a sync |
/// | `failed_batches` | accepted batches whose commit failed |
/// | `busy` | batches that were refused because the queue was full |
/// | `memory_full` | batches that were refused because memory was full |
/// | `cache_hits`, `cache_misses` | entries that were read from memory and from the engine |
/// | `cache_evicted_bytes` | memory of entries that were evicted |
/// | `deleted_entries` | purged and dropped entries whose keys were deleted |
/// | `marks`, `mark_failures` | writes of the sidecar, and failed ones |
/// | `poisonings`, `reopens` | how often the store failed, and was reopened |
///
/// | gauge | what it shows |
/// |---|---|
/// | `queue_batches`, `queue_entries`, `queue_bytes` | what was accepted and is not written |
/// | `cache_bytes` | memory that entries take |
/// | `deletion_lag_entries` | purged and dropped entries whose keys wait for deletion |
/// | `replicas`, `replicas_damaged` | replicas at the last opening, and the refused ones |
/// | `poisoned` | 1 while the store serves nothing because it has failed |
///
/// | histogram | of what |
/// |---|---|
/// | `sync_seconds` | writes with a sync |
/// | `write_seconds` | writes without |
/// | `batch_entries`, `batch_bytes` | accepted batches with entries: entries, bytes of payloads |
/// | `commit_batches` | accepted batches that shared a write |
/// | `queue_wait_seconds` | how long writers waited for room in the queue |
/// | `delete_seconds` | commits that deleted keys |
/// | `open_seconds` | opening and reopening |
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use kvlogdb_log::{LogOptions, MetricsObserver};
///
/// let mut options = LogOptions::default();
/// options.observer = Some(Arc::new(MetricsObserver::labelled([("store", "raft")])));
/// ```
pub struct MetricsObserver {
    counters: Counters,
    gauges: Gauges,
    histograms: Histograms,
}

/// Declares metrics that are registered under their names.
macro_rules! registered {
    ($name:ident, $kind:ident, $register:ident: $($metric:ident)*) => {
        struct $name {
            $($metric: $kind,)*
        }

        impl $name {
            fn register(labels: &[Label]) -> Self {
                Self {
                    $($metric: $register!(
                        concat!("kvlogdb_", stringify!($metric)),
                        labels.iter()
                    ),)*
                }
            }
        }
    };
}

registered! { Counters, Counter, counter:
    log_appends log_entries_written log_entry_bytes_written log_entries_read log_entry_bytes_read
    head_truncations tail_truncations commits commit_bytes syncs failed_batches busy
    memory_full
    cache_hits cache_misses cache_evicted_bytes deleted_entries marks mark_failures poisonings
    reopens
}

registered! { Gauges, Gauge, gauge:
    queue_batches queue_entries queue_bytes cache_bytes deletion_lag_entries
    replicas replicas_damaged poisoned
}

registered! { Histograms, Histogram, histogram:
    sync_seconds write_seconds batch_entries batch_bytes commit_batches queue_wait_seconds
    delete_seconds open_seconds
}

impl MetricsObserver {
    /// Registers the metrics without labels.
    pub fn new() -> Self {
        Self::labelled([("", ""); 0])
    }

    /// Registers the metrics with labels: names and values.
    pub fn labelled<N: Into<String>, V: Into<String>>(
        labels: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let label = |(name, value): (N, V)| Label::new(name.into(), value.into());
        let labels: Vec<_> = labels.into_iter().map(label).collect();
        Self {
            counters: Counters::register(&labels),
            gauges: Gauges::register(&labels),
            histograms: Histograms::register(&labels),
        }
    }

    fn committed(&self, event: &Event) {
        let Event::Committed {
            batches,
            appends,
            entries,
            entry_bytes,
            bytes,
            durability,
            took,
            queue,
            cached_bytes,
            ..
        } = event
        else {
            return;
        };
        let counters = &self.counters;
        counters.commits.increment(1);
        counters.commit_bytes.increment(*bytes as u64);
        counters.log_appends.increment(*appends as u64);
        counters.log_entries_written.increment(*entries as u64);
        counters.log_entry_bytes_written.increment(*entry_bytes as u64);
        self.histograms.commit_batches.record(float(*batches));
        match durability {
            Durability::Synced => {
                counters.syncs.increment(1);
                self.histograms.sync_seconds.record(*took);
            }
            Durability::Buffered => self.histograms.write_seconds.record(*took),
        }
        self.gauges.cache_bytes.set(float(*cached_bytes));
        self.queued(queue);
    }

    fn accepted(&self, entries: usize, entry_bytes: usize, queue: &Queued) {
        if entries > 0 {
            self.histograms.batch_entries.record(float(entries));
            self.histograms.batch_bytes.record(float(entry_bytes));
        }
        self.queued(queue);
    }

    fn queued(&self, queue: &Queued) {
        self.gauges.queue_batches.set(float(queue.batches));
        self.gauges.queue_entries.set(float(queue.entries));
        self.gauges.queue_bytes.set(float(queue.bytes));
    }

    fn opened(&self, replicas: usize, damaged: usize, took: std::time::Duration) {
        self.gauges.replicas.set(float(replicas));
        self.gauges.replicas_damaged.set(float(damaged));
        self.gauges.poisoned.set(0.0);
        self.histograms.open_seconds.record(took);
    }

    fn read(&self, from_memory: usize, from_engine: usize, entry_bytes: usize) {
        let counters = &self.counters;
        counters.cache_hits.increment(from_memory as u64);
        counters.cache_misses.increment(from_engine as u64);
        counters.log_entries_read.increment((from_memory + from_engine) as u64);
        counters.log_entry_bytes_read.increment(entry_bytes as u64);
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for MetricsObserver {
    fn event(&self, event: &Event) {
        let Self { counters, gauges, histograms } = self;
        match event {
            Event::Opened { replicas, damaged, took } => self.opened(*replicas, *damaged, *took),
            Event::Reopened { replicas, damaged, took, .. } => {
                counters.reopens.increment(1);
                self.opened(*replicas, *damaged, *took);
            }
            Event::Closed { .. } => {}
            Event::Accepted { entries, entry_bytes, queue } => {
                self.accepted(*entries, *entry_bytes, queue);
            }
            Event::Busy { queue } => {
                counters.busy.increment(1);
                self.queued(queue);
            }
            Event::MemoryFull { .. } => counters.memory_full.increment(1),
            Event::Waited { took } => histograms.queue_wait_seconds.record(*took),
            Event::Committed { .. } => self.committed(event),
            Event::Failed { batches, .. } => {
                counters.failed_batches.increment(*batches as u64);
                self.queued(&Queued::default());
            }
            Event::Poisoned { .. } => {
                counters.poisonings.increment(1);
                gauges.poisoned.set(1.0);
            }
            Event::Read { from_memory, from_engine, entry_bytes, .. } => {
                self.read(*from_memory, *from_engine, *entry_bytes);
            }
            Event::Evicted { bytes, .. } => counters.cache_evicted_bytes.increment(*bytes as u64),
            Event::Truncated { first, last, .. } => {
                counters.tail_truncations.increment((last - first).saturating_add(1));
            }
            Event::Purged { entries, .. } | Event::Dropped { entries, .. } => {
                counters.head_truncations.increment(*entries);
            }
            Event::Deleted { entries, waiting, took } => {
                counters.deleted_entries.increment(*entries);
                gauges.deletion_lag_entries.set(float(*waiting));
                histograms.delete_seconds.record(*took);
            }
            Event::Marked { .. } => counters.marks.increment(1),
            Event::MarkFailed { .. } => counters.mark_failures.increment(1),
        }
    }
}

/// A number as the facade takes it; beyond 2^53 it is rounded.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge that is off by one in 2^53 is exact enough"
)]
fn float(number: impl TryInto<u64>) -> f64 {
    number.try_into().unwrap_or(u64::MAX) as f64
}
