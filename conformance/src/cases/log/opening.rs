//! Opening, closing and opening again.

use kvlogdb_engine_api::Error as EngineError;
use kvlogdb_log::{Error, Reopened};

use crate::env::Env;
use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, expect_runs, id, open_elsewhere, run};

/// A store that was closed through one handle is closed for all of them; opened again through one,
/// it serves all, and says of each log where it ended before and ends now.
pub(in crate::cases) fn reopening_says_what_became_of_each_log(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=9)?;
    logs.fill(N, 2, 5..=6)?;
    logs.write(|batch| batch.purge_through(N, id(2, 6)).set_membership(3.into(), "no log"))?;
    let (handle, log) = (logs.store().clone(), logs.log(R));
    for close_first in [true, false] {
        if close_first {
            handle.close()?;
            expect_refused!("closed", log.last_index(), Error::Engine(EngineError::Closed));
        }
        let report = handle.reopen()?;
        let same = |replica, last| Reopened { replica, last_before: last, last_after: last };
        let wanted = vec![same(3.into(), None), same(R, Some(9)), same(N, Some(6))];
        expect_eq("what became of the logs", &report, &wanted)?;
        expect_runs(&log, &[(1, 1..=9)])?;
    }
    logs.fill(R, 1, 10..=10)?;
    expect_runs(&log, &[(1, 1..=10)])
}

/// Everything but the engine's name is refused by a closed store, and closing it again is fine.
pub(in crate::cases) fn a_closed_store_of_logs_answers_closed(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=3)?;
    let (store, log) = (logs.store().clone(), logs.log(R));
    let info = store.info();
    store.close()?;
    let answers = [
        ("a write", logs.try_write(|batch| batch.append(R, run(R, 1, 4..=4)))),
        ("a sync", store.sync()),
        ("a read", log.entries(.., u64::MAX).map(|_| ())),
        ("the last index", log.last_index().map(|_| ())),
        ("the hard state", log.hard_state().map(|_| ())),
        ("the replicas", store.replicas().map(|_| ())),
        ("a walk", store.check().map(|_| ())),
        ("its size", store.disk_bytes().map(|_| ())),
    ];
    for (what, answer) in answers {
        expect_refused!(what, answer, Error::Engine(EngineError::Closed));
    }
    expect_eq("what it is", &store.info(), &info)?;
    store.close().during("closing it again")?;
    logs.try_open()?;
    expect_runs(&logs.log(R), &[(1, 1..=3)])?;
    logs.close()
}

/// A second store on the same engine is refused while the first lives, and the first does not mind.
/// Trap 32.
pub(in crate::cases) fn a_second_store_of_logs_is_refused(env: &Env) -> Checked {
    let first = Logs::open(env)?;
    first.fill(R, 1, 1..=3)?;
    let second = open_elsewhere(env, env.dir(), first.sidecar());
    expect_refused!("a second", second, Error::Engine(EngineError::AlreadyOpen { .. }));
    first.fill(R, 1, 4..=4)?;
    expect_runs(&first.log(R), &[(1, 1..=4)])?;
    first.close()?;
    let second = Logs::open(env).during("after the first was closed")?;
    expect_runs(&second.log(R), &[(1, 1..=4)])?;
    second.close()
}

/// Twenty reopens, with and without a write between them, change nothing.
pub(in crate::cases) fn twenty_reopens_of_the_logs_change_nothing(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=10)?;
    for round in 0..20_u64 {
        if round % 2 == 0 {
            logs.fill(N, 1, round..=round + 1)?;
        }
        logs.reopen()?;
        expect_runs(&logs.log(R), &[(1, 1..=10)]).during(format_args!("round {round}"))?;
    }
    expect_runs(&logs.log(N), &[(1, 0..=19)])
}

/// Giving space back changes no log.
pub(in crate::cases) fn reclaiming_changes_no_log(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=2000)?;
    logs.fill(N, 1, 0..=10)?;
    logs.write(|batch| batch.purge_through(R, id(1, 1990)))?;
    logs.store().reclaim()?;
    expect_runs(&logs.log(R), &[(1, 1991..=2000)])?;
    logs.settle()?;
    ensure!(logs.store().disk_bytes()? > 0, "a store with entries takes no space");
    logs.store().reclaim()?;
    expect_runs(&logs.log(N), &[(1, 0..=10)])
}
