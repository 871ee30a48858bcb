//! An engine that has lost what it had synced, or that is not the one the sidecar belongs to.

use std::fs;
use std::time::Duration;

use kvlogdb_engine_api::{KvLogDb, WriteBatch};
use kvlogdb_log::check::ProblemKind;
use kvlogdb_log::{Error, LostData};

use crate::cases::engine::copies::copy_tree;
use crate::env::Env;
use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::logs::{Logs, R, expect_runs, hard_state};
use crate::model;

/// Removes everything that the engine holds.
fn empty(engine: &dyn KvLogDb, batch: &mut WriteBatch) -> Checked {
    for log in model::logs(engine)? {
        batch.remove_log(log);
    }
    for (key, _) in model::scan_meta(engine)? {
        batch.remove_meta(key);
    }
    Ok(())
}

/// An engine that opens empty beside a sidecar that has seen writes has lost them: the store is
/// not taken for a new one. Trap 17.
pub(in crate::cases) fn an_emptied_engine_is_not_taken_for_a_new_one(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=5)?;
    logs.close_and_edit(empty)?;
    for _ in 0..2 {
        let answer = logs.try_open();
        expect_refused!("an emptied engine", answer, Error::LostSyncedData { found: 0, .. });
    }
    Ok(())
}

/// An engine whose files are put back to an older copy is refused, by the marks on both sides, and
/// nothing is changed; with the newer files back the store is whole. Whoever accepts the loss gets
/// the older state, and goes on from it for good. Traps 7 and 8.
pub(in crate::cases) fn an_engine_put_back_to_an_older_copy_is_refused(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=5)?;
    logs.close()?;
    let (old, new) = (env.beside("old"), env.beside("new"));
    copy_tree(env.dir(), &old).during("copying the store")?;
    logs.try_open()?;
    logs.fill(R, 2, 6..=9)?;
    logs.write(|batch| batch.set_hard_state(R, hard_state(2, Some(1), None)))?;
    logs.close()?;
    fs::rename(env.dir(), &new)?;
    copy_tree(&old, env.dir()).during("putting the copy in place")?;
    for _ in 0..2 {
        expect_refused!("an older copy", logs.try_open(), Error::LostSyncedData { .. });
    }
    fs::remove_dir_all(env.dir())?;
    copy_tree(&new, env.dir())?;
    logs.try_open().during("with the newer files back")?;
    expect_runs(&logs.log(R), &[(1, 1..=5), (2, 6..=9)])?;
    logs.close()?;
    fs::remove_dir_all(env.dir())?;
    copy_tree(&old, env.dir())?;
    logs.options().lost_data = LostData::Accept;
    logs.try_open().during("accepting the loss")?;
    expect_runs(&logs.log(R), &[(1, 1..=5)])?;
    logs.close()?;
    logs.options().lost_data = LostData::Refuse;
    logs.try_open().during("after the loss was accepted")?;
    logs.fill(R, 3, 6..=6)?;
    logs.settle()
}

/// The sidecar moves on with every change of a term or vote, and not only now and then, so that an
/// engine which loses a promise is noticed. Traps 9 and 10.
pub(in crate::cases) fn a_vote_moves_the_sidecar_on(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.options().mark_interval = Duration::from_secs(3600);
    logs.reopen()?;
    for term in 1..=5 {
        let before = fs::read(logs.sidecar())?;
        logs.fill(R, 1, term..=term)?;
        expect_eq("with an append", &(fs::read(logs.sidecar())? == before), &true)?;
        logs.write(|batch| batch.set_hard_state(R, hard_state(term, Some(1), None)))?;
        expect_eq("with a vote", &(fs::read(logs.sidecar())? == before), &false)?;
    }
    logs.settle()
}

/// The walk names a sidecar that is ahead of its engine. Trap 7.
pub(in crate::cases) fn the_walk_names_an_engine_behind_its_sidecar(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.options().mark_interval = Duration::ZERO;
    logs.reopen()?;
    logs.fill(R, 1, 1..=5)?;
    logs.store().sync()?;
    let ahead = fs::read(logs.sidecar())?;
    logs.close()?;
    fs::remove_file(logs.sidecar())?;
    logs.options().lost_data = LostData::Accept;
    logs.close_and_edit(empty)?;
    logs.try_open()?;
    fs::write(logs.sidecar(), ahead)?;
    let kinds: Vec<_> = logs.report()?.problems.iter().map(|problem| problem.kind).collect();
    expect_eq("problems", &kinds, &vec![ProblemKind::Sidecar])
}

/// A store whose sidecar is missing or cannot be read is refused, until somebody answers for it.
/// Trap 31.
pub(in crate::cases) fn a_missing_or_damaged_sidecar_is_refused(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=5)?;
    logs.close()?;
    let good = fs::read(logs.sidecar())?;
    fs::remove_file(logs.sidecar())?;
    expect_refused!("missing", logs.try_open(), Error::StoreDamaged { .. });
    let zeroed = vec![0; good.len()];
    let half = good.get(..10).unwrap_or_default().to_vec();
    for bad in [zeroed, half, Vec::new()] {
        fs::write(logs.sidecar(), bad)?;
        expect_refused!("damaged", logs.try_open(), Error::StoreDamaged { .. });
    }
    fs::write(logs.sidecar(), &good)?;
    logs.try_open().during("with the sidecar back")?;
    expect_runs(&logs.log(R), &[(1, 1..=5)])?;
    logs.close()?;
    fs::remove_file(logs.sidecar())?;
    logs.options().lost_data = LostData::Accept;
    logs.try_open().during("accepting its absence")?;
    logs.close()?;
    logs.options().lost_data = LostData::Refuse;
    logs.try_open().during("with a new sidecar")?;
    ensure!(logs.store().take_sidecar_failure().is_none(), "the sidecar cannot be written");
    logs.fill(R, 1, 6..=6)?;
    logs.settle()
}
