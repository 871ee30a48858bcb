//! A node that is killed again and again, at random points of its work.

use std::thread;
use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;

use crate::child::{Child, Part};
use crate::common::Kind;
use crate::{Checked, Version, ensure, trial};

const ROUNDS: u32 = 6;
/// The longest that a process works before it is killed.
const LONGEST_MS: u64 = 120;
/// Sets the seed of the points.
const SEED: &str = "KVLOGDB_SEED";

pub(crate) fn trials(kind: Kind) -> Vec<Trial> {
    let name = "killed_at_any_point_it_keeps_what_it_has_acknowledged";
    let of = |version| trial(version, kind, name, move || killed(version, kind));
    Version::ALL.into_iter().map(of).collect()
}

fn killed(version: Version, kind: Kind) -> Checked {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(u64::from(since.subsec_nanos()));
    rounds(version, kind, seed).map_err(|error| format!("{SEED}={seed}: {error}").into())
}

fn rounds(version: Version, kind: Kind, mut seed: u64) -> Checked {
    let dir = tempfile::tempdir()?;
    let place = dir.path().join("store");
    let part = Part { version, kind, command_bytes: 100, most: u64::MAX, dir: place };
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Child::start(&part)?;
        let Some((word, found)) = child.hear()? else { return Err("it says nothing".into()) };
        ensure!(word == "found", "it says {word} first");
        let found: u64 = found.parse()?;
        // What was on its way when it was killed may have arrived, and that was one.
        let fits = (acknowledged..=acknowledged + 1).contains(&found);
        ensure!(fits, "round {round}: {acknowledged} acknowledged, {found} found");
        acknowledged = found;
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis((seed >> 33) % LONGEST_MS));
        for (word, number) in child.kill()? {
            ensure!(word == "did", "it says {word}");
            acknowledged = number.parse::<u64>()? + 1;
        }
    }
    ensure!(acknowledged > 0, "nothing was ever acknowledged");
    Ok(())
}
