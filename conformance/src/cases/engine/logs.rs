//! Many logs in one store.

use kvlogdb_engine_api::{MetaKey, ReplicaId};

use super::{log, put_all};
use crate::env::Store;
use crate::failure::{Checked, expect_eq};
use crate::model::{indexes, logs};

/// A log is listed from its first entry to its last, each life of it by itself, in key order.
pub(in crate::cases) fn logs_with_entries_are_listed_and_no_others(store: &mut Store) -> Checked {
    let all = [log(1, 0, 0), log(1, 0, 5), log(1, 2, 0), log(2, 0, 1), log(300, 0, 0)];
    expect_eq("logs of an empty store", &logs(store.engine())?, &Vec::new())?;
    store.buffered(|batch| {
        for log in all.iter().rev() {
            put_all(batch, *log, [3, 9])?;
        }
        batch.put_meta(MetaKey::replica(ReplicaId::from(4), 0), &[b"no entries"])
    })?;
    store.twice(|engine| expect_eq("logs", &logs(engine)?, &all.to_vec()))?;
    store.buffered(|batch| {
        batch.remove_log(log(1, 0, 5));
        batch.remove_entries(log(2, 0, 1), 9, 9);
        batch.remove_entries(log(300, 0, 0), 0, 100);
        Ok(())
    })?;
    let rest = vec![log(1, 0, 0), log(1, 2, 0), log(2, 0, 1)];
    store.twice(|engine| expect_eq("logs after removal", &logs(engine)?, &rest))?;
    store.buffered(|batch| {
        batch.remove_entries(log(2, 0, 1), 3, 3);
        batch.remove_log(log(1, 2, 0));
        batch.remove_log(log(1, 0, 0));
        Ok(())
    })?;
    store.twice(|engine| expect_eq("logs at the end", &logs(engine)?, &Vec::new()))
}

/// Lives of one replica's log are logs of their own: one goes, those before and after stay. Trap
/// 28.
pub(in crate::cases) fn removing_a_log_ends_one_life_of_it_and_no_other(
    store: &mut Store,
) -> Checked {
    store.buffered(|batch| {
        (0..4).try_for_each(|incarnation| put_all(batch, log(5, 1, incarnation), 1..=20))
    })?;
    store.buffered(|batch| {
        batch.remove_log(log(5, 1, 1));
        Ok(())
    })?;
    store.twice(|engine| {
        let lives = vec![log(5, 1, 0), log(5, 1, 2), log(5, 1, 3)];
        expect_eq("logs", &logs(engine)?, &lives)?;
        for log in lives {
            expect_eq(log, &indexes(engine, log)?, &(1..=20).collect())?;
        }
        Ok(())
    })
}

/// A log that was removed and is written again holds the new entries only. Trap 28.
pub(in crate::cases) fn a_log_made_again_shows_nothing_of_its_past(store: &mut Store) -> Checked {
    let again = log(5, 1, 0);
    for round in 0..3_u64 {
        store.buffered(|batch| put_all(batch, again, round..=round + 50))?;
        store.buffered(|batch| {
            batch.remove_log(again);
            put_all(batch, again, [round + 10])
        })?;
        store.twice(|engine| expect_eq("indexes", &indexes(engine, again)?, &vec![round + 10]))?;
        store.buffered(|batch| {
            batch.remove_log(again);
            Ok(())
        })?;
        store.twice(|engine| expect_eq("indexes", &indexes(engine, again)?, &Vec::new()))?;
    }
    Ok(())
}

/// Hundreds of replicas live in one store, are listed and read. Trap 30.
pub(in crate::cases) fn three_hundred_replicas_share_a_store(store: &mut Store) -> Checked {
    let all = || (0..300_u64).map(|n| log(n / 3, n % 3, 0));
    store.buffered(|batch| {
        all().try_for_each(|log| {
            put_all(batch, log, 1..=3)?;
            batch.put_meta(MetaKey::replica(log.replica, 1), &[b"state"])
        })
    })?;
    store.synced(|batch| all().step_by(7).try_for_each(|log| put_all(batch, log, 4..=5)))?;
    store.twice(|engine| expect_eq("logs", &logs(engine)?, &all().collect()))
}
