//! Random histories, on the engine under test and on a reference that shares nothing with the log.

use std::io::Write;

use crate::env::Env;
use crate::failure::{Checked, Context, ensure};
use crate::history;
use crate::random::{is_long, repeats, seed, steps};

const USUAL_STEPS: u64 = 1000;

/// Every operation of a log, over several replicas and near every bound, with reopens, syncs and
/// upkeep in between: after each step the store answers, refuses and shows what the reference says.
/// A failing history is printed, made as short as it gets. Traps 1, 6, 17, 18, 28, 40, 41 and 50.
pub(in crate::cases) fn random_histories_are_those_of_the_reference(env: &Env) -> Checked {
    let (seed, steps) = (seed()?, steps()?.unwrap_or(USUAL_STEPS));
    let words = format!("{} KVLOGDB_STEPS={steps}", repeats(seed));
    if is_long() {
        writeln!(std::io::stderr(), "{words}")?;
    }
    let answers = history::run(env, seed, steps).during(format_args!("{words} repeats this"))?;
    let both = answers.taken > steps / 10 && answers.refused > steps / 20;
    ensure!(both || steps < USUAL_STEPS, "{answers:?} of {words}");
    Ok(())
}
