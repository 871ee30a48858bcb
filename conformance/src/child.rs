//! Processes that a case starts, and that end without a close.
//!
//! A case starts its own program once more. The variables below tell the new process which part it
//! has to play, and its `main` plays it instead of running tests. The child says on its standard
//! output what it is about to do and what it has done, a line each, so that whoever outlives it
//! knows both.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::Subject;
use crate::cases::part;
use crate::env::Env;
use crate::failure::{Checked, Context, Failure};

/// Names the part that this process has to play.
const PART: &str = "KVLOGDB_CHILD";
/// Names the engine to play it on.
const ENGINE: &str = "KVLOGDB_CHILD_ENGINE";
/// Names the mode of its stores of logs.
const MODE: &str = "KVLOGDB_CHILD_MODE";
/// Where the case that started it keeps its store.
const PLACE: &str = "KVLOGDB_CHILD_PLACE";
/// Further numbers for the part.
const NUMBERS: &str = "KVLOGDB_CHILD_NUMBERS";

/// Begins each line that is meant for the parent.
const MARK: &str = "kvlogdb-child";
/// The word of a line that tells why the part went wrong.
const FAILED: &str = "failed";
/// A child that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether this program plays parts when it is started for one.
static PLAYS: AtomicBool = AtomicBool::new(false);

/// Why this program cannot be started as a child.
pub(crate) fn obstacle() -> Option<&'static str> {
    let plays = PLAYS.load(Ordering::Relaxed);
    (!plays).then_some("this program does not call `play` before its cases")
}

/// What a child does, until it is done or is ended.
pub(crate) type Part = fn(&Stage) -> Checked;

/// What a child has been told.
#[derive(Debug)]
pub(crate) struct Stage {
    env: Env,
    numbers: Vec<u64>,
}

impl Stage {
    /// The place of the case, with its store.
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// The number that the case has put at this place.
    pub(crate) fn number(&self, at: usize) -> Checked<u64> {
        let number = self.numbers.get(at).copied();
        number.ok_or_else(|| format!("the child was not told number {at}").into())
    }
}

/// Tells the parent a word and a number, in one write call.
pub(crate) fn say(word: &str, number: u64) -> Checked {
    tell(word, &number.to_string())
}

fn tell(word: &str, text: &str) -> Checked {
    let mut out = io::stdout().lock();
    out.write_all(format!("{MARK} {word} {text}\n").as_bytes())?;
    Ok(out.flush()?)
}

/// Plays the part that a case has started this program for, on the subject that it was started
/// for, and gives the exit code. `None` where the program was not started for a part.
///
/// Cases of some layers start their own program again, to see it end without a close.
/// [`Subject::run`] begins with this. A program with a `main` of its own that runs single cases has
/// to do so too, with all of its subjects, or these cases cannot be run.
pub fn play<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> Option<ExitCode> {
    PLAYS.store(true, Ordering::Relaxed);
    let name = env::var(PART).ok()?;
    let engine = env::var(ENGINE).unwrap_or_default();
    let Some(subject) = subjects.into_iter().find(|subject| subject.name() == engine) else {
        return Some(ExitCode::FAILURE); // and no reason to run tests
    };
    die_with_the_parent();
    match perform(&name, subject.clone()) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(failure) => {
            let text = failure.to_string().replace('\n', " / ");
            // Without its parent there is nobody left to tell.
            let _ = tell(FAILED, &text);
            Some(ExitCode::FAILURE)
        }
    }
}

fn perform(name: &str, subject: Subject) -> Checked {
    let part = part(name).ok_or_else(|| format!("there is no part {name}"))?;
    let mode = env::var(MODE).unwrap_or_default().parse()?;
    let subject = subject.in_mode(mode);
    let place = env::var_os(PLACE).ok_or("the child was told no place")?;
    let numbers = env::var(NUMBERS).unwrap_or_default();
    let numbers = numbers.split(',').filter(|text| !text.is_empty()).map(str::parse);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().map_err(|_| "numbers, unreadable")?;
    part(&Stage { env: Env::at(subject, PathBuf::from(place)), numbers })
}

/// A child must not outlive its parent. Nothing is ever written to its standard input, so that a
/// read there returns when the parent is gone.
fn die_with_the_parent() {
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::abort();
    });
}

/// A line from a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) word: String,
    pub(crate) number: u64,
}

/// A process that plays a part. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    lines: Receiver<Checked<Line>>,
}

impl Child {
    /// Starts a child on the case's store.
    pub(crate) fn start(env: &Env, part: &str, numbers: &[u64]) -> Checked<Self> {
        Self::start_under(&[], env, part, numbers)
    }

    /// Starts a child through another program, which is given as its command line.
    pub(crate) fn start_under(
        through: &[OsString],
        env: &Env,
        part: &str,
        numbers: &[u64],
    ) -> Checked<Self> {
        let exe = env::current_exe().during("looking for this program")?.into_os_string();
        let mut words = through.iter().cloned().chain([exe]);
        let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        let mut process = Command::new(words.next().unwrap_or_default())
            .args(words)
            .env(PART, part)
            .env(ENGINE, env.subject().name())
            .env(MODE, env.subject().mode().to_string())
            .env(PLACE, env.place())
            .env(NUMBERS, numbers.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .during("starting a child")?;
        let out = process.stdout.take().ok_or("the child has no output")?;
        let (heard, lines) = mpsc::channel();
        thread::spawn(move || {
            let meant = BufReader::new(out).lines().map_while(Result::ok);
            for line in meant.filter_map(|line| parse(&line)) {
                if heard.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, lines })
    }

    /// Waits for the next line; `None` once the child has ended.
    pub(crate) fn hear(&mut self) -> Checked<Option<Line>> {
        match self.lines.recv_timeout(SILENCE) {
            Ok(line) => line.map(Some),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("the child said nothing for {} s", SILENCE.as_secs()).into())
            }
        }
    }

    /// Ends the child from outside, and gives what it had said until then.
    pub(crate) fn kill(mut self) -> Checked<Vec<Line>> {
        self.process.kill().during("killing a child")?;
        self.rest()
    }

    /// Waits until the child ends by itself, however it does, and gives what it said.
    pub(crate) fn rest(&mut self) -> Checked<Vec<Line>> {
        let mut said = Vec::new();
        while let Some(line) = self.hear()? {
            said.push(line);
        }
        let status = self.process.wait().during("waiting for a child")?;
        match status.code() {
            Some(PANICKED) => Err("the child panicked".into()),
            _ => Ok(said),
        }
    }
}

/// The exit code of a program whose `main` panics.
const PANICKED: i32 = 101;

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a line tells; `None` for a line that is not meant for the parent.
fn parse(line: &str) -> Option<Checked<Line>> {
    let (word, text) = line.strip_prefix(MARK)?.trim_start().split_once(' ')?;
    if word == FAILED {
        return Some(Err(Failure::from(format!("the child failed: {text}"))));
    }
    let number = text.parse().ok()?;
    Some(Ok(Line { word: word.to_owned(), number }))
}

/// The highest number that was said with this word.
pub(crate) fn last(said: &[Line], word: &str) -> Option<u64> {
    said.iter().filter(|line| line.word == word).map(|line| line.number).max()
}

/// The only number that was said with this word.
pub(crate) fn only(said: &[Line], word: &str) -> Checked<u64> {
    last(said, word).ok_or_else(|| format!("the child never said {word}: {said:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_lines_are_heard() {
        let did = Line { word: "did".to_owned(), number: 7 };
        assert_eq!(parse("kvlogdb-child did 7").unwrap().unwrap(), did);
        assert!(parse("running 1 test").is_none());
        assert!(parse("did 7").is_none());
        assert!(parse("kvlogdb-child did seven").is_none());
        let failure = parse("kvlogdb-child failed at 7: no").unwrap().unwrap_err();
        assert_eq!(failure.to_string(), "the child failed: at 7: no");
    }

    #[test]
    fn a_program_that_plays_no_parts_runs_no_case_that_starts_children() {
        assert!(obstacle().is_some());
    }
}
