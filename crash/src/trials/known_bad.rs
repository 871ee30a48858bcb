//! A version of redb with a known bug, which lives in a program of its own: two versions of redb 4
//! cannot be in one build.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::failure::{Checked, Context};
use crate::record::fuse::{CONTROL, FuseDisk};
use crate::report::Tally;
use crate::run::scratch;
use crate::{FaultPlan, Image, Mark, Model, Plan, Points, Recorded, states};

/// How many states it may take.
const BUDGET: usize = 6000;
const SEEDS: u64 = 3;
/// How many commits are cut.
const COMMITS: u64 = 60;
const LIFETIME: Duration = Duration::from_secs(60);

/// Why the program cannot be built here without a network; `None` where it can.
pub(crate) fn obstacle() -> Option<String> {
    let mut command = cargo("metadata");
    command.args(["--offline", "--format-version", "1"]);
    let got = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let got = got.is_ok_and(|status| status.success());
    (!got).then(|| "redb 4.1.0 was not fetched: cargo fetch in crash/known-bad".to_owned())
}

/// Cuts a life of redb 4.1.0 until a store does not open, which is its bug; an error where it
/// always does.
pub(crate) fn run() -> Checked<Tally> {
    let program = build()?;
    let mut tally = Tally::default();
    for seed in 1..=SEEDS {
        if let Some(found) = look(&program, seed, &mut tally)? {
            return match found.strip_prefix("unopenable") {
                Some(_) => Ok(tally),
                None => Err(format!("redb 4.1.0 {found}, which is another bug").into()),
            };
        }
    }
    Err(format!("not caught in {tally}").into())
}

fn manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("known-bad/Cargo.toml")
}

fn cargo(what: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(what).args(["--locked", "--manifest-path"]).arg(manifest()).stdin(Stdio::null());
    command
}

fn build() -> Checked<PathBuf> {
    let exe = env::current_exe().during("looking for this program")?;
    let target = exe.parent().ok_or("this program is nowhere")?.join("known-bad");
    let mut command = cargo("build");
    command.args(["--release", "--quiet", "--target-dir"]).arg(&target);
    let built = command.status().during("building redb 4.1.0")?;
    if !built.success() {
        return Err(format!("redb 4.1.0 cannot be built: {built}").into());
    }
    let name = format!("kvlogdb-known-bad{}", env::consts::EXE_SUFFIX);
    Ok(target.join("release").join(name))
}

fn record(program: &Path) -> Checked<Recorded> {
    let disk = FuseDisk::record(&Image::default(), FaultPlan::default()).during("mounting")?;
    let mut command = Command::new(program);
    command.arg("write").arg(disk.path()).arg(disk.path().join(CONTROL)).arg(COMMITS.to_string());
    let exit = disk.run(&mut command, LIFETIME).during("running redb 4.1.0")?;
    if !exit.status.success() {
        return Err(format!("redb 4.1.0 wrote until {}: {}", exit.status, exit.stderr).into());
    }
    disk.end().during("unmounting")
}

/// The first answer that is not as it must be.
fn look(program: &Path, seed: u64, tally: &mut Tally) -> Checked<Option<String>> {
    let recorded = record(program)?;
    let scratch = scratch()?;
    let mut reader = Reader::start(program)?;
    let plan = Plan { seed, budget: BUDGET, points: Points::All };
    for (state, number) in states(&recorded.trace, &recorded.base, Model::Journal, &plan).zip(0..) {
        let marks: Vec<&Mark> = recorded.trace.marks_before(state.point).collect();
        let said = |did: bool| {
            let numbers = marks.iter().filter_map(|mark| match (did, mark) {
                (true, Mark::Did(text)) | (false, Mark::Will(text)) => {
                    std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok()
                }
                _ => None,
            });
            numbers.max().unwrap_or(0)
        };
        let (acked, issued) = (said(true), said(false));
        if acked == 0 {
            continue; // how a store is made is another matter
        }
        let dir = scratch.path().join(format!("{number}"));
        std::fs::create_dir(&dir).during("making a place for a state")?;
        state.image.write_to(&dir).during("writing a state")?;
        let answer = reader.ask(&dir)?;
        let _ = std::fs::remove_dir_all(&dir);
        tally.states += 1;
        let held = answer.strip_prefix("holds ").and_then(|held| held.parse::<u64>().ok());
        if held.is_none_or(|held| held < acked || held > issued) {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// A process that reads stores.
struct Reader {
    process: Child,
}

impl Reader {
    fn start(program: &Path) -> Checked<Self> {
        let mut command = Command::new(program);
        command.arg("read").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Self { process: command.spawn().during("starting a reader")? })
    }

    fn ask(&mut self, dir: &Path) -> Checked<String> {
        let input = self.process.stdin.as_mut().ok_or("the reader has no input")?;
        writeln!(input, "{}", dir.display())?;
        let output = self.process.stdout.as_mut().ok_or("the reader has no output")?;
        let mut line = String::new();
        BufReader::with_capacity(1, output).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
