//! Damage that is planted through the engine's own write call: what is not as it was written is
//! never served, and never taken for the end of a log.

use kvlogdb_engine_api::{KvLogDb, LogKey, LogName, MetaKey, WriteBatch};
use kvlogdb_log::check::ProblemKind;
use kvlogdb_log::record::Header;
use kvlogdb_log::{Error, LogBatch, ReplicaId};

use crate::env::Env;
use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, expect_runs, hard_state, id, run};
use crate::model;

/// The log in which the replica's entries stand.
fn name(engine: &dyn KvLogDb, replica: ReplicaId) -> Checked<LogName> {
    let mut all = model::logs(engine)?;
    all.retain(|log| log.replica == replica);
    all.pop().ok_or_else(|| format!("the engine has no log of {replica}").into())
}

fn stored(engine: &dyn KvLogDb, log: LogName, index: u64) -> Checked<Vec<u8>> {
    let found = engine.entry(log.at(index))?;
    Ok(found.ok_or_else(|| format!("no entry {index} in the engine"))?.to_vec())
}

/// Flips one bit of a value.
fn flip(value: &mut [u8], at_byte: usize) -> Checked {
    let byte = value.get_mut(at_byte).ok_or("the record is shorter")?;
    *byte ^= 1 << (at_byte % 8);
    Ok(())
}

/// A problem as a walk through the store names it: which invariant, whose, where.
type Named = (ProblemKind, Option<ReplicaId>, Option<u64>);

fn named(logs: &Logs) -> Checked<Vec<Named>> {
    let problems = logs.report()?.problems;
    Ok(problems.iter().map(|problem| (problem.kind, problem.replica, problem.index)).collect())
}

/// Fails unless the entry, and every read that reaches it, is refused as corrupt at its index.
fn expect_corrupt(logs: &Logs, index: u64) -> Checked {
    let log = logs.log(R);
    let reads = [
        ("an entry", log.entry(index).map(|_| ())),
        ("a read of it", log.entries(index..=index, u64::MAX).map(|_| ())),
        ("a read behind it", log.entries(index.., 0).map(|_| ())),
        ("a scan", log.scan(index..).next().transpose().map(|_| ())),
    ];
    for (what, answer) in reads {
        expect_corrupt_at(what, answer, index)?;
    }
    Ok(())
}

fn expect_corrupt_at(what: &str, answer: kvlogdb_log::Result<()>, wanted: u64) -> Checked {
    match answer {
        Err(Error::Corrupt { replica: R, index, .. }) if index == wanted => Ok(()),
        other => Err(format!("{what} at {wanted}: {other:?}, wanted Corrupt").into()),
    }
}

/// Where working sets are read at open, damage in one shows there: expects that the replica is
/// refused, and that the index is named. Answers whether it is so.
fn is_refused_at_open(logs: &Logs, index: u64) -> Checked<bool> {
    if !logs.mode().is_mem_first() {
        return Ok(false);
    }
    let damaged = logs.store().damaged()?;
    let named = |what: &str| what.contains(&format!("at index {index}:"));
    ensure!(damaged.iter().any(|(_, what)| named(what)), "not at {index}: {damaged:?}");
    expect_refused_by_name(logs)?;
    Ok(true)
}

/// The neighbour of the damaged log, which must be served as ever.
fn expect_neighbour(logs: &Logs) -> Checked {
    expect_runs(&logs.log(N), &[(1, 1..=5)]).during("the neighbour")
}

/// Entries that are missing in the middle are an error at the first of them, to every read that
/// meets them; entries on both sides are served. The walk names the hole and how far the log is
/// intact. Traps 35 and 45.
pub(in crate::cases) fn a_hole_is_an_error_and_not_the_end(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=20)?;
    logs.fill(N, 1, 1..=5)?;
    logs.edit(|engine, batch| {
        batch.remove_entries(name(engine, R)?, 8, 10);
        Ok(())
    })?;
    if is_refused_at_open(&logs, 8)? {
        return Ok(());
    }
    let log = logs.log(R);
    expect_eq("the last index", &log.last_index()?, &Some(20))?;
    expect_eq("before the hole", &log.entries(..8, u64::MAX)?, &run(R, 1, 1..=7))?;
    expect_eq("behind the hole", &log.entries(11.., u64::MAX)?, &run(R, 1, 11..=20))?;
    for index in 8..=10 {
        expect_corrupt(&logs, index)?;
    }
    expect_corrupt_at("all", log.entries(.., u64::MAX).map(|_| ()), 8)?;
    let scanned: kvlogdb_log::Result<Vec<_>> = log.scan(..).collect();
    expect_corrupt_at("a scan of all", scanned.map(|_| ()), 8)?;
    expect_eq("problems", &named(&logs)?, &vec![(ProblemKind::Hole, Some(R), Some(8))])?;
    let report = logs.report()?;
    let checked = report.replicas.iter().find(|checked| checked.replica == R);
    let far = checked.map(|checked| (checked.first, checked.intact_through, checked.last));
    expect_eq("how far it is intact", &far, &Some((Some(1), Some(7), Some(20))))?;
    expect_neighbour(&logs)
}

/// A bit that flips, at any byte of a record, is noticed by reads and by the walk, which names
/// every one of the entries. Traps 43 and 44.
pub(in crate::cases) fn flipped_bits_are_reported_where_they_are(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=60)?;
    logs.fill(N, 1, 1..=5)?;
    let mut flipped = Vec::new();
    logs.edit(|engine, batch| {
        let log = name(engine, R)?;
        let len = stored(engine, log, 5)?.len();
        for (index, at_byte) in (5..59).zip(0..len) {
            let mut value = stored(engine, log, index)?;
            let last = value.len() - 1;
            flip(&mut value, at_byte.min(last))?;
            batch.put_entry(log.at(index), &[&value])?;
            flipped.push(index);
        }
        Ok(())
    })?;
    ensure!(flipped.len() > 30, "a record of only {} bytes", flipped.len());
    if is_refused_at_open(&logs, 5)? {
        return Ok(());
    }
    for &index in &flipped {
        expect_corrupt(&logs, index)?;
    }
    expect_eq("before them", &logs.log(R).entries(..5, u64::MAX)?, &run(R, 1, 1..=4))?;
    let problem = |&index| (ProblemKind::Record, Some(R), Some(index));
    expect_eq("problems", &named(&logs)?, &flipped.iter().map(problem).collect())?;
    expect_neighbour(&logs)
}

/// A record that stands under another index, or in another replica's log, is damage however intact
/// it is. Trap 44.
pub(in crate::cases) fn records_under_another_key_are_reported(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=20)?;
    logs.fill(N, 1, 1..=5)?;
    logs.edit(|engine, batch| {
        let (log, other) = (name(engine, R)?, name(engine, N)?);
        for (to, from) in [(4, log.at(5)), (5, log.at(4)), (9, log.at(10)), (3, other.at(3))] {
            let value = stored(engine, from.log, from.index)?;
            batch.put_entry(log.at(to), &[&value])?;
        }
        Ok(())
    })?;
    if is_refused_at_open(&logs, 3)? {
        return Ok(());
    }
    for index in [3, 4, 5, 9] {
        expect_corrupt(&logs, index)?;
    }
    expect_eq("the one that was copied", &logs.log(R).entry(10)?.id, &id(1, 10))?;
    let problem = |index| (ProblemKind::Record, Some(R), Some(index));
    expect_eq("problems", &named(&logs)?, &[3, 4, 5, 9].map(problem).to_vec())?;
    expect_neighbour(&logs)
}

/// The record with another term, and a checksum that is right.
fn of_term(engine: &dyn KvLogDb, key: LogKey, term: u64) -> Checked<Vec<u8>> {
    let value = stored(engine, key.log, key.index)?;
    let (header, payload) =
        Header::decode(key, &value).map_err(|error| format!("its record: {error}"))?;
    let header = Header { term, ..header };
    Ok([&header.encode(key, payload)[..], payload].concat())
}

/// An intact record of another term than the log has there is damage, in the middle as at the end,
/// where it refuses its replica. Traps 41 and 44.
pub(in crate::cases) fn an_intact_record_of_another_term_is_reported(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 3, 1..=20)?;
    logs.fill(N, 1, 1..=5)?;
    logs.edit(|engine, batch| {
        let key = name(engine, R)?.at(6);
        Ok(batch.put_entry(key, &[&of_term(engine, key, 2)?])?)
    })?;
    if is_refused_at_open(&logs, 6)? {
        return Ok(());
    }
    expect_corrupt(&logs, 6)?;
    expect_eq("problems", &named(&logs)?, &vec![(ProblemKind::Term, Some(R), Some(6))])?;
    logs.edit(|engine, batch| {
        let key = name(engine, R)?.at(20);
        Ok(batch.put_entry(key, &[&of_term(engine, key, 4)?])?)
    })?;
    expect_refused_by_name(&logs)
}

/// Records that are cut short, emptied or grown are damage. Traps 38 and 43.
pub(in crate::cases) fn records_of_another_length_are_reported(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=20)?;
    logs.fill(N, 1, 1..=5)?;
    logs.edit(|engine, batch| {
        let log = name(engine, R)?;
        let value = stored(engine, log, 2)?;
        let half = value.get(..value.len() / 2).unwrap_or_default();
        let short = value.get(..value.len() - 1).unwrap_or_default();
        batch.put_entry(log.at(2), &[half])?;
        batch.put_entry(log.at(4), &[])?;
        batch.put_entry(log.at(6), &[&stored(engine, log, 6)?, b"more"])?;
        Ok(batch.put_entry(log.at(8), &[short])?)
    })?;
    if is_refused_at_open(&logs, 2)? {
        return Ok(());
    }
    for index in [2, 4, 6, 8] {
        expect_corrupt(&logs, index)?;
    }
    let problem = |index| (ProblemKind::Record, Some(R), Some(index));
    expect_eq("problems", &named(&logs)?, &[2, 4, 6, 8].map(problem).to_vec())?;
    expect_neighbour(&logs)
}

/// Expects that every use of the damaged replica is refused by its name, that it is listed as
/// damaged, that its neighbour is served, and that a write to both does nothing.
fn expect_refused_by_name(logs: &Logs) -> Checked {
    let log = logs.log(R);
    let reads = [
        ("its last index", log.last_index().map(|_| ())),
        ("its entries", log.entries(.., u64::MAX).map(|_| ())),
        ("its hard state", log.hard_state().map(|_| ())),
        ("its term", log.term(1).map(|_| ())),
        ("an append", logs.try_write(|batch| batch.append(R, run(R, 9, 100..=100)))),
        ("a reset", logs.try_write(|batch| batch.reset(R))),
    ];
    for (what, answer) in reads {
        expect_refused!(what, answer, Error::Damaged { replica: R, .. });
    }
    let answer = logs.try_write(|batch| batch.append(N, run(N, 1, 6..=6)).reset(R));
    expect_refused!("a batch over both", answer, Error::Damaged { replica: R, .. });
    expect_neighbour(logs)?;
    let damaged: Vec<_> = logs.store().damaged()?.into_iter().map(|(id, _)| id).collect();
    expect_eq("damaged replicas", &damaged, &vec![R])?;
    ensure!(logs.store().replicas()?.contains(&R), "the damaged replica is not listed");
    let report = logs.report()?;
    let its = report.problems.iter().filter(|problem| problem.replica == Some(R)).count();
    ensure!(its > 0, "the walk names nothing of the damaged replica");
    expect_eq("problems of others", &(report.problems.len() - its), &0)
}

/// Makes a store with two replicas, changes the first one below the log, and expects the refusal.
fn refused_after(
    env: &Env,
    change: impl FnOnce(&dyn KvLogDb, &mut WriteBatch) -> Checked,
) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(N, 1, 1..=5)?;
    logs.write(|batch| {
        let state = hard_state(2, Some(1), None);
        batch.append(R, run(R, 1, 1..=8)).append(R, run(R, 2, 9..=12)).set_hard_state(R, state)
    })?;
    logs.edit(change)?;
    expect_refused_by_name(&logs)?;
    logs.reopen()?;
    expect_refused_by_name(&logs).during("after reopen")
}

/// A log whose last entry is damaged is refused by name: nobody knows where it ends. Traps 42 and
/// 43.
pub(in crate::cases) fn a_damaged_last_entry_refuses_its_replica(env: &Env) -> Checked {
    refused_after(env, |engine, batch| {
        let log = name(engine, R)?;
        let mut value = stored(engine, log, 12)?;
        flip(&mut value, 20)?;
        Ok(batch.put_entry(log.at(12), &[&value])?)
    })
}

/// A replica whose entries are gone, all of them or those of its last term, is refused: it is no
/// new one, and no shorter one. Traps 17 and 35.
pub(in crate::cases) fn a_log_that_lost_its_entries_is_refused(env: &Env) -> Checked {
    refused_after(env, |engine, batch| {
        batch.remove_log(name(engine, R)?);
        Ok(())
    })
}

/// A replica that lost the entries of its last term is refused, and not taken for a shorter one.
/// Traps 35 and 45.
pub(in crate::cases) fn a_log_that_lost_its_last_term_is_refused(env: &Env) -> Checked {
    refused_after(env, |engine, batch| {
        batch.remove_entries(name(engine, R)?, 9, u64::MAX);
        Ok(())
    })
}

/// Closing a store marks how far each log reached, so that entries missing at its end are missed,
/// although nothing else tells of them. Traps 17 and 45.
pub(in crate::cases) fn a_log_that_lost_its_marked_end_is_refused(env: &Env) -> Checked {
    refused_after(env, |engine, batch| {
        batch.remove_entries(name(engine, R)?, 12, u64::MAX);
        Ok(())
    })
}

/// A commit index that lies behind what the log still has is named when the store is opened. Trap
/// 11.
pub(in crate::cases) fn a_commit_index_ahead_of_the_log_refuses_its_replica(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(N, 1, 1..=5)?;
    logs.write(|batch| {
        let state = hard_state(1, None, Some(9));
        batch.append(R, run(R, 1, 1..=12)).set_hard_state(R, state)
    })?;
    logs.edit(|engine, batch| {
        batch.remove_entries(name(engine, R)?, 9, u64::MAX);
        Ok(())
    })?;
    let why = logs.store().damaged()?;
    ensure!(why.iter().any(|(_, what)| what.contains("commit index is 9")), "named as {why:?}");
    expect_refused_by_name(&logs)
}

/// Each of the log's own records of a replica, with a bit flipped, refuses that replica and no
/// other. Traps 9 and 43.
pub(in crate::cases) fn damaged_metadata_refuses_its_replica(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(N, 1, 1..=5)?;
    let mut batch = LogBatch::new();
    batch
        .append(R, run(R, 1, 1..=12))
        .set_hard_state(R, hard_state(1, None, Some(9)))
        .set_applied(R, id(1, 3))
        .set_membership(R, "members")
        .put_slot(R, 256, "the user's")?;
    logs.apply(&batch)?;
    for slot in [0, 1, 3, 4, 6, 256] {
        let key = MetaKey::replica(R, slot);
        let mut good = Vec::new();
        logs.edit(|engine, batch| {
            good = engine.meta(key)?.ok_or_else(|| format!("nothing in {key}"))?.to_vec();
            let mut bad = good.clone();
            let last = bad.len() - 1;
            flip(&mut bad, last)?;
            Ok(batch.put_meta(key, &[&bad])?)
        })?;
        expect_refused_by_name(&logs).during(key)?;
        logs.edit(|_, batch| Ok(batch.put_meta(key, &[&good])?))?;
        expect_eq("put right", &logs.store().damaged()?, &Vec::new())?;
    }
    expect_runs(&logs.log(R), &[(1, 1..=12)])
}

/// Entries whose state record is gone are no new log: the replica is refused. Traps 11 and 17.
pub(in crate::cases) fn entries_without_their_state_refuse_their_replica(env: &Env) -> Checked {
    refused_after(env, |_, batch| {
        batch.remove_meta(MetaKey::replica(R, 0));
        Ok(())
    })
}

/// A replica of which every record is gone cannot be refused by name, and it must not be taken for
/// one that never was: the store counts its replicas. Trap 17.
pub(in crate::cases) fn a_replica_that_is_gone_refuses_the_store(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(R, 1, 1..=3)?;
    logs.fill(N, 1, 1..=5)?;
    logs.close_and_edit(|_, batch| {
        batch.remove_meta(MetaKey::replica(R, 0));
        Ok(())
    })?;
    expect_refused!("an open", logs.try_open(), Error::StoreDamaged { .. });
    Ok(())
}

/// Entries of a replica that has no metadata at all belong to nothing: the walk names them, and a
/// log that is begun there is refused instead of followed. Traps 28 and 45.
pub(in crate::cases) fn entries_that_belong_to_nothing_are_named(env: &Env) -> Checked {
    let mut logs = Logs::open(env)?;
    logs.fill(N, 1, 1..=5)?;
    logs.edit(|_, batch| {
        let log = LogName { replica: R, incarnation: 0 };
        Ok((1..=3).try_for_each(|index| batch.put_entry(log.at(index), &[b"orphan"]))?)
    })?;
    let orphan = |index| (ProblemKind::Orphan, Some(R), Some(index));
    expect_eq("problems", &named(&logs)?, &(1..=3).map(orphan).collect())?;
    let answer = logs.try_write(|batch| batch.append(R, run(R, 1, 4..=4)));
    expect_refused!("an append", answer, Error::Damaged { replica: R, .. });
    expect_neighbour(&logs)
}
