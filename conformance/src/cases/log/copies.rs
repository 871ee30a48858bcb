//! What of a log is in the files while the engine runs: a copy of them is what a killed process
//! leaves.

use std::path::Path;

use kvlogdb_log::{Durability, LogStore};

use crate::cases::engine::copies::{copy_quiet_files, copy_tree};
use crate::env::Env;
use crate::failure::{Checked, Context, expect_eq};
use crate::logs::{Logs, R, expect_runs, hard_state, id, open_elsewhere, run};

/// Opens a copy of the running store, and checks what is in it: no damage, and what `check` wants.
fn with_copy(
    env: &Env,
    logs: &Logs,
    name: &str,
    check: impl FnOnce(&LogStore) -> Checked,
) -> Checked {
    let (dir, sidecar) = (env.beside(name), env.beside(&format!("{name} SEQ")));
    // The sidecar first: it is never ahead of the files that are copied after it.
    std::fs::copy(logs.sidecar(), &sidecar).during("copying the sidecar")?;
    copy_quiet_files(env.dir(), &dir).during("copying the store's files")?;
    let store = open_elsewhere(env, &dir, sidecar).during("opening a copy of the files")?;
    check(&store).during("in a copy of the files")?;
    let problems = store.check()?.problems;
    expect_eq("problems in a copy", &problems, &Vec::new())?;
    store.close().during("closing the copy")
}

/// When a Synced write of the log returns, it and all before it are in the files: appends, a
/// replaced tail and a purge. Traps 2, 3 and 7.
pub(in crate::cases) fn synced_changes_of_a_log_are_in_the_files(env: &Env) -> Checked {
    let logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=50)?;
    logs.synced(|batch| batch.append(R, run(R, 1, 51..=60)))?;
    with_copy(env, &logs, "appended", |copy| expect_runs(&copy.log(R), &[(1, 1..=60)]))?;
    logs.synced(|batch| batch.replace_from(R, run(R, 2, 41..=45)))?;
    let wanted = [(1, 1..=40), (2, 41..=45)];
    with_copy(env, &logs, "replaced", |copy| expect_runs(&copy.log(R), &wanted))?;
    logs.log(R).purge_through(id(1, 30), Durability::Synced)?;
    let wanted = [(1, 31..=40), (2, 41..=45)];
    with_copy(env, &logs, "purged", |copy| expect_runs(&copy.log(R), &wanted))?;
    logs.fill(R, 2, 46..=50)?;
    logs.store().sync()?;
    let wanted = [(1, 31..=40), (2, 41..=50)];
    with_copy(env, &logs, "synced", |copy| expect_runs(&copy.log(R), &wanted))?;
    logs.close()
}

/// A vote takes everything that was written before it into the files, and is there itself,
/// although nobody asked for a sync. Traps 8, 9 and 10.
pub(in crate::cases) fn a_vote_takes_earlier_writes_into_the_files(env: &Env) -> Checked {
    let logs = Logs::open(env)?;
    for term in 1..=3_u64 {
        let state = hard_state(term, Some(term), None);
        logs.fill(R, term, term * 10..=term * 10 + 9)?;
        logs.write(|batch| batch.set_hard_state(R, state))?;
        with_copy(env, &logs, &format!("vote {term}"), |copy| {
            expect_eq("hard state", &copy.log(R).hard_state()?, &Some(state))?;
            let runs: Vec<_> = (1..=term).map(|term| (term, term * 10..=term * 10 + 9)).collect();
            expect_runs(&copy.log(R), &runs)
        })?;
    }
    logs.close()
}

/// A store that was copied away and its original go their own ways, each with its own sidecar.
pub(in crate::cases) fn a_copy_of_a_closed_store_is_a_store(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=10)?;
    logs.close()?;
    let (dir, sidecar) = (env.beside("copy"), env.beside("copy SEQ"));
    copy_tree(env.dir(), &dir)?;
    std::fs::copy(logs.sidecar(), &sidecar)?;
    logs.try_open()?;
    logs.fill(R, 2, 11..=12)?;
    let goes_on = |dir: &Path| -> Checked {
        let copy = open_elsewhere(env, dir, sidecar.clone())?;
        copy.log(R).append(run(R, 7, 11..=13), Durability::Synced)?;
        expect_runs(&copy.log(R), &[(1, 1..=10), (7, 11..=13)])?;
        Ok(copy.close()?)
    };
    goes_on(&dir).during("the copy")?;
    logs.settle()?;
    expect_runs(&logs.log(R), &[(1, 1..=10), (2, 11..=12)])
}
