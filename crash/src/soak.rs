//! The command: tries for as long as it is told, or tries one failure again.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kvlogdb_conformance::Random;

use crate::check::Depth;
use crate::failure::{Checked, Context, Failure};
use crate::history::Story;
use crate::ledger::Bounds;
use crate::report::{Tally, medium, medium_of};
use crate::run::{ENOUGH, Examiner};
use crate::spec::{Engine, field, number};
use crate::trials::again::Again;
use crate::trials::crash::Crash;
use crate::trials::list::{Trial, drawn, drawn_on_block};
use crate::trials::rot::look_with_flip;
use crate::verdict::Verdict;
use crate::{Image, Model};

const USAGE: &str = "\
usage: kvlogdb-crash soak --minutes N [--engine redb|fjall|sled] [--seed S] [--medium block]
       kvlogdb-crash replay LINE";
/// How often a soak says where it is.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How many states a replay without a kept image tries.
const REPLAY_BUDGET: usize = 20_000;

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    crate::record::fuse::enter_namespace();
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(failure) => {
            say(&format!("{failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Checked<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["soak", options @ ..] => soak(&Options::parse(options)?),
        ["replay", line] => replay(line),
        _ => Err(USAGE.into()),
    }
}

/// What a soak is told.
struct Options {
    time: Duration,
    engines: Vec<Engine>,
    seed: u64,
    /// Only crash states of a real file system, where otherwise there are none.
    on_block: bool,
}

impl Options {
    fn parse(words: &[&str]) -> Checked<Self> {
        let mut options = Self {
            time: Duration::ZERO,
            engines: vec![Engine::Redb, Engine::Fjall, Engine::Sled],
            seed: RandomState::new().hash_one(0),
            on_block: false,
        };
        for pair in words.chunks(2) {
            let number = |text: &str| {
                text.parse::<u64>().map_err(|_| Failure::from(format!("{text} is no number")))
            };
            match pair {
                ["--minutes", text] => options.time = Duration::from_secs(60 * number(text)?),
                ["--engine", word] => options.engines = vec![word.parse()?],
                ["--seed", text] => options.seed = number(text)?,
                ["--medium", "block"] => options.on_block = true,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

fn soak(options: &Options) -> Checked<ExitCode> {
    let begin = Instant::now();
    let mut random = Random::new(options.seed);
    let mut all = Tally::default();
    let mut said = begin;
    say(&format!("seed={}", options.seed));
    while begin.elapsed() < options.time && all.failures.len() < ENOUGH {
        let engine = *random.pick(&options.engines);
        let draw = if options.on_block { drawn_on_block } else { drawn };
        let trial = draw(&mut random, engine);
        match trial.run() {
            Ok(mut tally) => {
                for failed in &tally.failures {
                    say(&format!("{trial:?}\n{failed}"));
                }
                let failures = std::mem::take(&mut tally.failures);
                all.absorb(tally);
                all.failures.extend(failures);
            }
            Err(failure) => return Err(failure).during(format_args!("{trial:?}")),
        }
        if said.elapsed() > SAY_EVERY {
            said = Instant::now();
            say(&format!("{:>5} s  {all}", begin.elapsed().as_secs()));
        }
    }
    say(&format!("{:>5} s  {all}", begin.elapsed().as_secs()));
    Ok(code(!all.failures.is_empty()))
}

/// Tries one failure again: its image where it was kept, its fault where it names one, or else its
/// run.
fn replay(line: &str) -> Checked<ExitCode> {
    let kept = field(line, "kept").map_or(Path::new(""), Path::new);
    if kept.is_dir() {
        let verdict = check_again(line, kept)?;
        say(&verdict.to_string());
        return Ok(code(matches!(verdict, Verdict::Failed(..))));
    }
    let tally = if field(line, "fault").is_ok() {
        line.parse::<Again>()?.run()?
    } else {
        let (medium, spec) = (medium_of(line), line.parse()?);
        let model = field(line, "model").map_or(Ok(Model::Strict), str::parse)?;
        let crash = Crash { medium, spec, model, budget: REPLAY_BUDGET, second: 0 };
        Trial::Crash(crash).run()?
    };
    tally.failures.iter().for_each(|failed| say(&failed.to_string()));
    say(&tally.to_string());
    Ok(code(!tally.failures.is_empty()))
}

fn code(failed: bool) -> ExitCode {
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn check_again(line: &str, kept: &Path) -> Checked<Verdict> {
    let story: Story = line.parse()?;
    let bounds: Bounds = line.parse()?;
    let image = Image::read_from(kept).during("reading the kept image")?;
    if let Ok(nth) = number(line, "read") {
        return Ok(look_with_flip(nth, &image, &story, &bounds)?.0);
    }
    let depth = if field(line, "flip").is_ok() { Depth::Rotten } else { Depth::Twice };
    Examiner::new(medium(&image))?.examine(&story, &image, &bounds, depth)
}

fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
