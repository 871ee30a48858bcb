//! Random batches, on the engine under test and on the reference.

use std::sync::Arc;

use kvlogdb_engine_api::MemoryDisk;
use kvlogdb_log::{
    Durability, Entry, HardState, LogBatch, LogId, LogOptions, LogStore, ReplicaId, Snapshot,
};

use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::logs::{Logs, N, R};
use crate::random::{Random, repeat, value};
use crate::view::{same_views, views};

const STEPS: u32 = 300;
const REPLICAS: [ReplicaId; 3] = [R, N, ReplicaId { group: u64::MAX, node: u64::MAX }];
const LENS: [usize; 6] = [0, 1, 20, 20, 3000, 70_000];

/// The same random batches come to the same on this engine as on the reference: taken or refused
/// with the same words, and with the same logs afterwards, also after reopens.
pub(in crate::cases) fn random_batches_come_to_the_same_as_on_the_reference(
    logs: &mut Logs,
) -> Checked {
    let disk = MemoryDisk::default();
    let open = move || Ok(Arc::new(disk.open()?) as Arc<dyn kvlogdb_engine_api::KvLogDb>);
    let reference = LogStore::open(open, LogOptions::default()).during("opening the reference")?;
    let mut taken = 0;
    repeat(STEPS, |random| {
        if random.below(40) == 0 {
            logs.reopen()?;
        }
        let mut batch = LogBatch::new();
        for _ in 0..=random.below(3) {
            add_change(&mut batch, random, &reference)?;
        }
        let durability =
            if random.below(20) == 0 { Durability::Synced } else { Durability::Buffered };
        let wanted = reference.write(&batch, durability);
        let found = logs.store().write(&batch, durability);
        let words =
            |answer: &kvlogdb_log::Result<()>| answer.as_ref().err().map(ToString::to_string);
        expect_eq("the answer to a batch", &words(&found), &words(&wanted))?;
        taken += u32::from(found.is_ok());
        if random.below(10) == 0 {
            same_views(&logs.views()?, &views(&reference)?)?;
        }
        Ok(())
    })?;
    ensure!(taken > STEPS / 4, "of {STEPS} batches only {taken} were taken");
    same_views(&logs.views()?, &views(&reference)?)
}

/// Adds a change that is often one that can be taken.
fn add_change(batch: &mut LogBatch, random: &mut Random, reference: &LogStore) -> Checked {
    let replica = *random.pick(&REPLICAS);
    let log = reference.log(replica);
    let last = log.last()?.map_or(LogId::new(0, random.below(3)), |last| last.id);
    let state = log.hard_state()?.unwrap_or_default();
    let near = last.index.saturating_sub(random.below(12));
    let held = log.id(near).map_or(LogId::new(last.term, near), |held| held.id);
    let other = LogId::new(held.term + random.below(2), near + random.below(3));
    match random.below(24) {
        0..=9 => batch.append(replica, entries(random, last.term, last.index + 1)),
        10..=12 => batch.replace_from(replica, entries(random, last.term + 1, near + 1)),
        13 => batch.truncate_from(replica, near + 1),
        14..=15 => batch.purge_through(replica, held),
        16 => batch.purge_through(replica, other),
        17 => batch.install(replica, *random.pick(&[held, other])),
        18 => batch.reset(replica),
        19 => batch.remove_replica(replica),
        20 => {
            let commit = Some(near.max(state.commit.unwrap_or(0)));
            batch.set_hard_state(replica, HardState { commit, ..state })
        }
        21 => {
            let term = state.term + random.below(2);
            let vote = Some(random.below(3));
            batch.set_hard_state(replica, HardState { term, vote, ..state })
        }
        22 => {
            let snapshot = Snapshot { id: held, data: value(near, 40).into() };
            batch.set_snapshot(replica, snapshot).set_applied(replica, held)
        }
        _ => batch.put_slot(replica, 256, value(random.next(), *random.pick(&LENS)))?,
    };
    Ok(())
}

fn entries(random: &mut Random, term: u64, first: u64) -> Vec<Entry> {
    let term = term + random.below(6) / 5;
    let count = 1 + random.below(6);
    let one = |index| {
        let len = *random.pick(&LENS);
        Entry::new(term, index, value(random.next(), len))
    };
    (first..first + count).map(one).collect()
}
