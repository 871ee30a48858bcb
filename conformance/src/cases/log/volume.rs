//! Many replicas in one store.

use kvlogdb_log::{LogBatch, ReplicaId};

use crate::failure::{Checked, expect_eq, expect_refused};
use crate::logs::{Logs, expect_bounds, expect_runs, hard_state, id, run};

const REPLICAS: u64 = 1000;

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
