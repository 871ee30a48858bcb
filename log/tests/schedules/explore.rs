//! How schedules are explored, and one of them is repeated.

use std::env;
use std::str::FromStr;
use std::time::SystemTime;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, Runner};

/// How many schedules each scheduler tries unless `KVLOGDB_SCHEDULES` says how many.
const SCHEDULES: usize = 100;
/// How many changes of priority the one scheduler makes that counts them.
const DEPTHS: [usize; 2] = [2, 5];
/// What a thread may take; the scheduler's default is for smaller code.
const STACK_BYTES: usize = 512 << 10;

fn number<N: FromStr>(name: &str) -> Option<N> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: no number")))
}

/// Runs a scenario under many schedules, or under the one in the file that `KVLOGDB_SCHEDULE`
/// names: a failure prints it. `KVLOGDB_SEED` repeats all of them.
#[expect(clippy::print_stdout, reason = "the harness shows it where the test fails")]
pub(crate) fn explore(scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    if let Ok(path) = env::var("KVLOGDB_SCHEDULE") {
        let schedule = ReplayScheduler::new_from_file(path).expect("a schedule");
        Runner::new(schedule, config).run(scenario);
        return;
    }
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    let seed = number("KVLOGDB_SEED").unwrap_or_else(|| u64::from(clock.subsec_nanos()));
    let schedules = number("KVLOGDB_SCHEDULES").unwrap_or(SCHEDULES);
    println!("KVLOGDB_SEED={seed} KVLOGDB_SCHEDULES={schedules}");
    Runner::new(RandomScheduler::new_from_seed(seed, schedules), config.clone()).run(scenario);
    for depth in DEPTHS {
        let few_changes = PctScheduler::new_from_seed(seed, depth, schedules);
        Runner::new(few_changes, config.clone()).run(scenario);
    }
}
