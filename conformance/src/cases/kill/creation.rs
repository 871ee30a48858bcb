//! A process that ends while it makes a store.

use std::thread;
use std::time::Duration;

use kvlogdb_log::Durability;

use crate::child::{Child, Stage, say};
use crate::env::Env;
use crate::failure::{Checked, Context, expect_eq};
use crate::logs::{R, expect_runs, open_elsewhere, run};
use crate::random::{Random, kills, repeats, seed};

const USUAL_KILLS: u64 = 6;
/// A creation with all its syncs takes about as long on a slow disk.
const CREATION_MICROS: u64 = 60_000;

/// What the child does: opens the store, or makes it.
pub(in crate::cases) fn open_logs(stage: &Stage) -> Checked {
    let env = stage.env();
    say("opening", 0)?;
    let store = open_elsewhere(env, env.dir(), env.beside("SEQ"))?;
    say("opened", 0)?;
    Ok(store.close()?)
}

/// A kill at any moment of a store's creation, sidecar and all, leaves something that opens as an
/// empty store and can be used. Trap 12.
pub(in crate::cases) fn a_creation_cut_by_a_kill_is_made_good(env: &Env) -> Checked {
    let seed = seed()?;
    let mut random = Random::new(seed);
    for number in 0..kills()?.map_or(USUAL_KILLS, |kills| kills / 10) {
        let env = env.elsewhere(&number.to_string())?;
        let mut child = Child::start(&env, "open logs", &[])?;
        child.hear()?;
        thread::sleep(Duration::from_micros(random.below(CREATION_MICROS)));
        child.kill()?;
        use_it(&env).during(format_args!("kill {number} of {}", repeats(seed)))?;
        std::fs::remove_dir_all(env.place())?;
    }
    Ok(())
}

fn use_it(env: &Env) -> Checked {
    let open = || open_elsewhere(env, env.dir(), env.beside("SEQ"));
    let store = open().during("opening what a cut creation left")?;
    expect_eq("replicas", &store.replicas()?, &Vec::new())?;
    store.log(R).append(run(R, 1, 1..=5), Durability::Synced)?;
    store.close()?;
    drop(store);
    let store = open().during("opening it again")?;
    expect_runs(&store.log(R), &[(1, 1..=5)])?;
    Ok(store.close()?)
}
