//! What replicas cost: a hundred of them beside ten thousand.

use std::path::Path;

use kvlogdb_engine_api::fs as durable;
use kvlogdb_log::{Durability, LogBatch, LogStore, ReplicaId};

use crate::child::{Child, Stage, only, say};
use crate::env::Env;
use crate::failure::{Checked, Context, ensure, expect_eq};
use crate::logs::{expect_runs, hard_state, open_elsewhere, run};

const FEW: u64 = 100;
const MANY: u64 = 10_000;
/// How many replicas one batch makes.
const BATCH: u64 = 1000;
/// What ten thousand replicas may have more than a hundred: an engine may cut what it keeps into
/// a few more files, and wake a thread that sleeps while there is little to do.
const MORE_FILES: u64 = 20;
const MORE_THREADS: u64 = 4;
/// What a replica with three small entries and a hard state may take on the disk: two pages.
const REPLICA_BYTES: u64 = 8192;

fn replicas(count: u64) -> impl Iterator<Item = ReplicaId> {
    (0..count).map(|n| ReplicaId { group: n / 4, node: n % 4 })
}

fn open(env: &Env) -> Checked<LogStore> {
    Ok(open_elsewhere(env, env.dir(), env.beside("SEQ"))?)
}

/// What the child does: makes so many replicas, opens the store anew, reads every one of them, and
/// says what that takes.
pub(in crate::cases) fn keep_replicas(stage: &Stage) -> Checked {
    let (env, count) = (stage.env(), stage.number(0)?);
    let store = open(env)?;
    let all: Vec<_> = replicas(count).collect();
    for some in all.chunks(usize::try_from(BATCH).unwrap_or(usize::MAX)) {
        let mut batch = LogBatch::new();
        for &replica in some {
            let promised = hard_state(1, Some(replica.node), Some(2));
            batch.append(replica, run(replica, 1, 1..=3)).set_hard_state(replica, promised);
        }
        store.write(&batch, Durability::Synced)?;
    }
    store.close()?;
    drop(store);
    let store = open(env).during("again")?;
    expect_eq("replicas", &store.replicas()?, &all)?;
    for &replica in &all {
        let log = store.log(replica);
        expect_runs(&log, &[(1, 1..=3)])?;
        let wanted = hard_state(1, Some(replica.node), Some(2));
        expect_eq("hard state", &log.hard_state()?, &Some(wanted))?;
    }
    say("files", files(env.dir())?)?;
    say("threads", entries_of("/proc/self/task"))?;
    say("descriptors", entries_of("/proc/self/fd"))?;
    store.close()?;
    say("bytes", durable::tree_bytes(env.dir())?)
}

fn files(dir: &Path) -> Checked<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// How many there are; none where the platform does not tell.
fn entries_of(dir: &str) -> u64 {
    std::fs::read_dir(dir).map_or(0, |entries| entries.count() as u64)
}

/// Ten thousand replicas take hardly more files, threads and descriptors than a hundred, each a
/// few kilobytes of the disk, and all of them are read after the store is opened. Trap 30.
pub(in crate::cases) fn ten_thousand_replicas_cost_bytes_and_nothing_else(env: &Env) -> Checked {
    let measure = |count: u64| -> Checked<_> {
        let env = env.elsewhere(&count.to_string())?;
        let said = Child::start(&env, "replicas", &[count])?.rest()?;
        let [files, threads] = ["files", "threads"].map(|word| only(&said, word));
        let [descriptors, bytes] = ["descriptors", "bytes"].map(|word| only(&said, word));
        Ok([files?, threads?, descriptors?, bytes?])
    };
    let few = measure(FEW).during(format_args!("{FEW} replicas"))?;
    let many = measure(MANY).during(format_args!("{MANY} replicas"))?;
    let limits = [MORE_FILES, MORE_THREADS, MORE_FILES, REPLICA_BYTES * (MANY - FEW)];
    let names = ["files", "threads", "descriptors", "bytes"];
    for (((name, few), many), limit) in names.into_iter().zip(few).zip(many).zip(limits) {
        let more = many.saturating_sub(few);
        ensure!(more <= limit, "{FEW} replicas take {few} {name}, {MANY} take {many}");
    }
    Ok(())
}
