//! What `compare` is told.

use std::path::PathBuf;

use kvlogdb::EngineKind;
use kvlogdb_compare::advice::Need;
use kvlogdb_compare::{Extent, Kind, Wishes};

use crate::replay::parse_engine;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The controls are the same log over a plain file, once written before and once growing: what the \
disk can do at best. Every figure is also given as a part of the first. Each measurement runs in a \
process of its own, beside a look at the disk before and after, and is made again where the two \
differ. What was written is read back and compared. Sync calls are counted with strace; a store \
that does not sync what it acknowledges is left out of the tables of durable work.

Exit codes: 0 fine, 1 a measurement failed or --diff found changes, 2 bad input, 3 not possible \
here, 130 interrupted.")]
pub(crate) struct Args {
    /// Where to measure: a directory that is empty, new, or of an earlier comparison. Results stay
    /// in it, everything else is removed.
    #[arg(default_value = "kvlogdb-compare")]
    pub(crate) dir: PathBuf,
    /// Under 40 seconds: append, many writers, catch-up and random reads, opening after a kill.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Everything, with logs of a million entries: most of an hour.
    #[arg(long)]
    full: bool,
    /// What the recommendation is for.
    #[arg(long, default_value = "latency", value_parser = parse_need)]
    pub(crate) need: Need,
    /// The engines; all of them unless named.
    #[arg(long, value_name = "ENGINE", value_delimiter = ',', value_parser = parse_engine)]
    pub(crate) engine: Vec<EngineKind>,
    /// Only these kinds of work: append, writers, read, overwrite, purge, reopen, replicas, trace.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = parse_kind)]
    only: Vec<Kind>,
    /// The sizes of payloads.
    #[arg(long, value_name = "BYTES", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(0..=1 << 20))]
    entry_bytes: Vec<u64>,
    /// How many entries a commit has.
    #[arg(long, value_name = "ENTRIES", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: Vec<u64>,
    /// How many writers there are, over twice as many groups.
    #[arg(long, value_name = "WRITERS", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(2..=1024))]
    writers: Vec<u64>,
    /// How long the logs are that are read and opened.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    entries: Option<u64>,
    /// Also write what a recorded trace says, commit by commit: the format of `replay`.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// What payloads and choices follow from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print the record's JSON lines instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare two records instead: changes beyond their spread are flagged.
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    pub(crate) diff: Vec<PathBuf>,
    /// Show a record, and write its page beside it, instead of measuring.
    #[arg(long, value_name = "RECORD")]
    pub(crate) render: Option<PathBuf>,
}

fn parse_need(name: &str) -> Result<Need, String> {
    by_name(name, &Need::ALL)
}

fn parse_kind(name: &str) -> Result<Kind, String> {
    by_name(name, &Kind::ALL)
}

fn by_name<T: Copy>(name: &str, known: &[(&'static str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("it is one of {}", names.join(", "))
    })
}

impl Args {
    /// What of it concerns the plan; the trace, if there is one, is in this file.
    pub(crate) fn wishes(&self, trace: Option<(PathBuf, u64)>) -> Wishes {
        let extent = match (self.quick, self.full) {
            (true, _) => Extent::Quick,
            (false, true) => Extent::Full,
            (false, false) => Extent::Normal,
        };
        let counts = |given: &[u64]| -> Vec<usize> {
            given.iter().filter_map(|&count| usize::try_from(count).ok()).collect()
        };
        Wishes {
            extent,
            entry_bytes: counts(&self.entry_bytes),
            batches: counts(&self.batch),
            writers: counts(&self.writers),
            entries: self.entries,
            kinds: self.only.clone(),
            trace,
            seed: self.seed,
        }
    }
}
