//! What is measured.

use kvlogdb::EngineKind;
use kvlogdb_compare::subject::{CONTROL, CONTROL_GROWING, PLAIN_FILE, bare, log_on};
use kvlogdb_compare::{GetOrder, Row, Work, Workload};

/// The rows by name.
pub(crate) const ROWS: [&str; 9] = [
    "batch-1",
    "batch-64",
    "writers-32",
    "writers-256",
    "in-flight",
    "get",
    "purge",
    "fill",
    "steady",
];
const ENTRY_BYTES: usize = 256;
/// How many commits one writer has under way.
const IN_FLIGHT: usize = 64;
/// How long a log is of which single entries are read: it fits into the cache.
const RECENT: u64 = 40_000;
const ROUNDS: usize = 5;
/// Of rows that take long.
const FEW_ROUNDS: usize = 3;

/// How large everything is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    measure_ms: u64,
    long_log: u64,
    steady: u64,
}

impl Sizes {
    pub(crate) fn new(quick: bool) -> Self {
        if quick {
            Self { measure_ms: 300, long_log: 100_000, steady: 64 * 500 }
        } else {
            Self { measure_ms: 1200, long_log: 1_000_000, steady: 64 * 3125 }
        }
    }

    fn make(self, work: Work) -> Workload {
        Workload { work, entry_bytes: ENTRY_BYTES, measure_ms: self.measure_ms }
    }

    pub(crate) fn single(self, batch: usize) -> Workload {
        self.make(Work::Append { writers: 1, groups: 1, batch, synced: true })
    }

    pub(crate) fn many(self, writers: usize, groups: u64) -> Workload {
        self.make(Work::Append { writers, groups, batch: 1, synced: true })
    }

    pub(crate) fn blocked(self) -> Workload {
        self.many(IN_FLIGHT, IN_FLIGHT as u64)
    }

    pub(crate) fn in_flight(self) -> Workload {
        self.make(Work::InFlight { commits: IN_FLIGHT, groups: IN_FLIGHT as u64, batch: 1 })
    }

    pub(crate) fn get(self, order: GetOrder) -> Workload {
        self.make(Work::Get { entries: RECENT, order })
    }

    pub(crate) fn purge(self) -> Workload {
        let work = Work::PurgeWhileAppending { entries: self.long_log };
        Workload { measure_ms: 2 * self.measure_ms, ..self.make(work) }
    }

    pub(crate) fn fill(self) -> Workload {
        self.make(Work::Fill { entries: self.long_log, batch: 64 })
    }

    pub(crate) fn steady(self) -> Workload {
        let (window, step) = (20_000.min(self.steady / 4), 1024);
        self.make(Work::AppendAndPurge { entries: self.steady, batch: 64, window, step })
    }
}

/// The rows that are asked for, all of them where none is named.
pub(crate) fn all(sizes: &Sizes, engines: &[EngineKind], only: &[&str]) -> Vec<Row> {
    let logs: Vec<String> = engines.iter().map(|&engine| log_on(engine)).collect();
    let bares: Vec<String> = engines.iter().map(|&engine| bare(engine)).collect();
    let controls = [CONTROL, CONTROL_GROWING].map(str::to_owned);
    let plain = [PLAIN_FILE.to_owned()];
    let row = |workload: Workload, subjects: &[&[String]], rounds: usize| Row {
        workload,
        subjects: subjects.concat(),
        rounds,
    };
    let everyone: [&[String]; 4] = [&plain, &controls, &logs, &bares];
    let [_, and_controls @ ..] = everyone;
    let logs_and_bares: [&[String]; 2] = [&logs, &bares];
    let logs_and_controls: [&[String]; 2] = [&controls, &logs];
    let of = |name: &str| match name {
        "batch-1" => vec![row(sizes.single(1), &everyone, ROUNDS)],
        "batch-64" => vec![row(sizes.single(64), &everyone, ROUNDS)],
        "writers-32" => vec![row(sizes.many(32, 64), &and_controls, ROUNDS)],
        "writers-256" => vec![row(sizes.many(256, 1000), &logs_and_controls, ROUNDS)],
        "in-flight" => vec![
            row(sizes.blocked(), &logs_and_controls, ROUNDS),
            row(sizes.in_flight(), &logs_and_controls, ROUNDS),
        ],
        "get" => vec![
            row(sizes.get(GetOrder::Random), &logs_and_bares, ROUNDS),
            row(sizes.get(GetOrder::Tail), &logs_and_bares, ROUNDS),
        ],
        "purge" => vec![row(sizes.purge(), &[&logs], FEW_ROUNDS)],
        "fill" => vec![row(sizes.fill(), &logs_and_bares, FEW_ROUNDS)],
        "steady" => vec![row(sizes.steady(), &[&logs], FEW_ROUNDS)],
        _ => Vec::new(),
    };
    let wanted = ROWS.iter().filter(|name| only.is_empty() || only.contains(name));
    wanted.flat_map(|name| of(name)).collect()
}
