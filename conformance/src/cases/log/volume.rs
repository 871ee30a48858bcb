//! Many replicas in one store.

use std::path::Path;

use kvlogdb_log::{LogBatch, ReplicaId};

use crate::env::Env;
use crate::failure::{Checked, ensure, expect_eq, expect_refused};
use crate::logs::{Logs, expect_bounds, expect_runs, hard_state, id, run};

const REPLICAS: u64 = 1000;
/// More files or threads than this for a thousand replicas grow with their number. Other cases run
/// beside this one in the same process.
const LEEWAY: usize = 200;

fn replicas(count: u64) -> impl Iterator<Item = ReplicaId> {
    (0..count).map(|n| ReplicaId { group: n / 4, node: n % 4 })
}

/// One batch that makes replicas with three entries and a hard state each.
fn making(count: u64) -> LogBatch {
    let mut batch = LogBatch::new();
    for replica in replicas(count) {
        batch
            .append(replica, run(replica, 1, 1..=3))
            .set_hard_state(replica, hard_state(1, Some(replica.node), Some(2)));
    }
    batch
}

/// A thousand replicas are made by one batch, and are all there after a reopen, each with its own.
/// Trap 30.
pub(in crate::cases) fn a_thousand_replicas_are_made_by_one_batch(logs: &mut Logs) -> Checked {
    logs.apply(&making(REPLICAS))?;
    logs.reopen()?;
    expect_eq("replicas", &logs.store().replicas()?, &replicas(REPLICAS).collect())?;
    let mut batch = LogBatch::new();
    for replica in replicas(REPLICAS) {
        let log = logs.log(replica);
        expect_runs(&log, &[(1, 1..=3)])?;
        let wanted = hard_state(1, Some(replica.node), Some(2));
        expect_eq("hard state", &log.hard_state()?, &Some(wanted))?;
        batch.append(replica, run(replica, 2, 4..=4)).purge_through(replica, id(1, 2));
    }
    logs.apply(&batch)?;
    logs.reopen()?;
    for replica in replicas(REPLICAS) {
        expect_bounds(&logs.log(replica), Some(3), Some(4), Some(id(1, 2)))?;
    }
    Ok(())
}

/// A thousand replicas take no more files and threads than ten. Trap 30.
pub(in crate::cases) fn replicas_cost_no_file_and_no_thread(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.apply(&making(10))?;
    logs.reopen()?;
    let few = (files(env.dir()), threads());
    logs.write(|batch| replicas(10).fold(batch, |batch, id| batch.remove_replica(id)))?;
    logs.apply(&making(REPLICAS))?;
    logs.reopen()?;
    let many = (files(env.dir()), threads());
    expect_eq("replicas", &logs.store().replicas()?.len(), &1000)?;
    let rise = |few: usize, many: usize| many.saturating_sub(few);
    ensure!(rise(few.0, many.0) < LEEWAY, "{} files, and {} for more", few.0, many.0);
    ensure!(rise(few.1, many.1) < LEEWAY, "{} threads, and {} for more", few.1, many.1);
    logs.close()
}

/// How many files the store has; none for an engine without files.
fn files(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let one = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        _ => 1,
    };
    entries.flatten().map(one).sum()
}

/// How many threads the process has; none where the platform does not tell.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// A log of as many terms as entries keeps them all: a state record of tens of kilobytes.
pub(in crate::cases) fn a_log_of_thousands_of_terms_keeps_them(logs: &mut Logs) -> Checked {
    const TERMS: u64 = 5000;
    let replica = ReplicaId::from(4);
    let all: Vec<_> = (1..=TERMS).flat_map(|term| run(replica, term, term..=term)).collect();
    logs.write(|batch| batch.append(replica, all))?;
    logs.settle()?;
    let log = logs.log(replica);
    for term in (1..=TERMS).step_by(77) {
        expect_eq("a term", &log.term(term)?, &term)?;
        expect_eq("its first index", &log.first_index_of_term(term)?, &Some(term))?;
    }
    logs.write(|batch| batch.truncate_from(replica, 4001).purge_through(replica, id(3999, 3999)))?;
    logs.settle()?;
    expect_runs(&logs.log(replica), &[(4000, 4000..=4000)])?;
    expect_refused!("below", logs.log(replica).term(3998), kvlogdb_log::Error::Purged { .. });
    Ok(())
}
