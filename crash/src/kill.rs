//! Kills on the real disk: a process writes until it is killed, and what it was promised is there.
//!
//! A kill leaves everything that the kernel was given. It tests recovery, locks and creation, and
//! shows nothing about a power cut.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use kvlogdb::TornTail;
use kvlogdb_conformance::Random;

use crate::Image;
use crate::check::Depth;
use crate::failure::{Checked, Context};
use crate::history::Story;
use crate::ledger::{Ledger, Mark};
use crate::report::{Tally, of_image};
use crate::run::ENOUGH;
use crate::scribe::{Ending, Life, OnFailure};
use crate::spec::{Asks, Spec};
use crate::subject::Place;
use crate::trials::nobody;
use crate::worker::{Worker, writer};

/// How many lives a store has.
const LIVES: u64 = 8;
/// A process lives for up to so long.
const LIFETIME_MICROS: u64 = 150_000;
/// So many commands nobody gets to.
const COMMANDS: u64 = 1 << 20;

/// Kills writers of a run for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kills {
    pub(crate) spec: Spec,
    pub(crate) time: Duration,
}

impl Kills {
    /// Runs it.
    pub(crate) fn run(&self) -> Checked<Tally> {
        let mut tally = Tally::default();
        let mut random = Random::new(self.spec.seed);
        let until = Instant::now() + self.time;
        while Instant::now() < until && tally.failures.len() < ENOUGH {
            let mut spec = self.spec;
            spec.seed = random.next() >> 8;
            kill_one_store(spec, until, &mut random, &mut tally)?;
        }
        Ok(tally)
    }
}

fn kill_one_store(spec: Spec, until: Instant, random: &mut Random, tally: &mut Tally) -> Checked {
    let place = tempfile::tempdir().during("making a place for a store")?;
    let dir = place.path().join("store");
    let mut worker = Worker::default();
    let mut story = Story::new(spec);
    let mut positions = nobody(&spec);
    for _ in 0..LIVES {
        if Instant::now() >= until {
            break;
        }
        let voice = place.path().join("voice");
        let lifetime = Duration::from_micros(random.below(LIFETIME_MICROS));
        live_and_die(&story, &dir, &voice, lifetime)?;
        tally.kills += 1;
        let ordered = spec.writers == 1 || spec.asks == Asks::Callback;
        let mut ledger = Ledger::new(&story, &positions, ordered);
        said(&voice)?.into_iter().for_each(|mark| ledger.hear(mark));
        let bounds = ledger.bounds();
        let verdict = worker.check(ledger.story(), &dir, bounds, Depth::Twice)?;
        let Some(found) = verdict.positions() else {
            let image = Image::read_from(place.path()).unwrap_or_default();
            tally.failures.extend(of_image(&image, ledger.story(), bounds, &verdict, "killed=1"));
            break;
        };
        positions = found.to_vec();
        story = ledger.story().clone();
    }
    Ok(())
}

fn live_and_die(story: &Story, dir: &Path, voice: &Path, lifetime: Duration) -> Checked {
    fs::write(voice, b"").during("making the file of what is said")?;
    let life = Life {
        story: story.clone(),
        place: Place::Dir(dir.to_owned()),
        commands: COMMANDS,
        ending: Ending::Kill,
        on_failure: OnFailure::Stop,
        torn: TornTail::Refuse,
    };
    let mut command = writer(&life, dir, voice)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().during("starting a writer")?;
    thread::sleep(lifetime);
    child.kill().during("killing a writer")?;
    child.wait().during("waiting for a writer")?;
    Ok(())
}

/// The marks that were written as whole lines.
fn said(voice: &Path) -> Checked<Vec<Mark>> {
    let text = fs::read_to_string(voice).during("reading what was said")?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let number = |line: &str| {
        let (_, number) = line.trim_start_matches("arm").split_once(' ')?;
        Mark::from_number(number.parse().ok()?)
    };
    Ok(whole.lines().filter_map(number).collect())
}
