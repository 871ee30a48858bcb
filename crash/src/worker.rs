//! Processes of this program that write or check on its behalf.
//!
//! A program that uses this crate calls [`play`] first in its `main`. Started for a part, it plays
//! it and ends; started by a person, it goes on.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use kvlogdb::TornTail;

use crate::bare;
use crate::check::{Checker, Depth, Job};
use crate::failure::{Checked, Context, Failure};
use crate::history::Story;
use crate::ledger::Bounds;
use crate::scribe::{Ending, Life, OnFailure, Voice};
use crate::spec::{field, number};
use crate::subject::Place;
use crate::verdict::{Finding, Verdict};

/// Names the part that a process has to play.
const PART: &str = "KVLOGDB_CRASH_PART";
/// What it needs to know for it.
const LINE: &str = "KVLOGDB_CRASH_LINE";
/// Where its store lies.
const STORE: &str = "KVLOGDB_CRASH_STORE";
/// Where it says what it does.
const VOICE: &str = "KVLOGDB_CRASH_VOICE";

const WRITE: &str = "write";
const CHECK: &str = "check";
const LOOK: &str = "look";
/// Begins every line that is an answer.
const ANSWER: &str = "verdict ";
/// What takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The exit code of a writer whose store failed, and which did not go on.
pub(crate) const STOPPED: u8 = 70;

/// Plays the part that this process was started for, and gives its exit code; `None` where it was
/// started for none.
pub fn play() -> Option<ExitCode> {
    let part = env::var(PART).ok()?;
    let played = match part.as_str() {
        WRITE => play_writer(),
        CHECK => play_checker(),
        LOOK => play_looker(),
        _ => Err(format!("there is no part {part:?}").into()),
    };
    match played {
        Ok(code) => Some(code),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{failure}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn told(name: &str) -> Checked<String> {
    env::var(name).map_err(|_| format!("the process was not told {name}").into())
}

fn play_writer() -> Checked<ExitCode> {
    let line = told(LINE)?;
    let dir = PathBuf::from(told(STORE)?);
    let voice = Voice::file(Path::new(&told(VOICE)?))?;
    let story: Story = line.parse()?;
    if story.spec.engine.kind().is_none() {
        bare::write(&story.spec, &dir, &voice)?;
        return Ok(ExitCode::SUCCESS);
    }
    let whole = Life {
        story,
        place: Place::Dir(dir),
        commands: number(&line, "more")?,
        ending: if field(&line, "ending")? == "close" { Ending::Close } else { Ending::Kill },
        on_failure: match field(&line, "failing")? {
            "reopen" => OnFailure::Reopen,
            _ => OnFailure::Stop,
        },
        torn: match field(&line, "torn")? {
            "repair" => TornTail::Repair,
            _ => TornTail::Refuse,
        },
    };
    let lived = whole.live(&Arc::new(voice))?;
    if let Some(failure) = &lived.failure {
        let _ = writeln!(io::stderr(), "{failure}");
    }
    let stopped = lived.failure.is_some() && whole.on_failure == OnFailure::Stop;
    if stopped || lived.store.is_some() {
        // Nothing is closed, nothing is dropped.
        let code = if stopped { i32::from(STOPPED) } else { 0 };
        std::process::exit(code);
    }
    Ok(ExitCode::SUCCESS)
}

/// The command that lives a life in another process, on a store in `dir`.
pub(crate) fn writer(life: &Life, dir: &Path, voice: &Path) -> Checked<Command> {
    let ending = match life.ending {
        Ending::Close => "close",
        Ending::Kill => "kill",
    };
    let failing = match life.on_failure {
        OnFailure::Stop => "stop",
        OnFailure::Reopen => "reopen",
    };
    let torn = match life.torn {
        TornTail::Repair => "repair",
        _ => "refuse",
    };
    let Life { story, commands, .. } = life;
    let mut command = this_program(WRITE)?;
    command
        .env(LINE, format!("{story} more={commands} ending={ending} failing={failing} torn={torn}"))
        .env(STORE, dir)
        .env(VOICE, voice);
    Ok(command)
}

fn this_program(part: &str) -> Checked<Command> {
    let mut command = Command::new(env::current_exe().during("looking for this program")?);
    command.env(PART, part);
    Ok(command)
}

fn play_checker() -> Checked<ExitCode> {
    let mut checker: Option<Checker> = None;
    for line in io::stdin().lines() {
        let line = line?;
        let verdict = match checker.as_mut() {
            _ if line.starts_with("story ") => {
                checker = Some(Checker::new(&line.parse()?));
                continue;
            }
            Some(checker) => checker.check(&job(&line)?),
            None => Verdict::failed(Finding::NotChecked, "no story was told"),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{ANSWER}{verdict}")?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks one store.
fn play_looker() -> Checked<ExitCode> {
    let line = told(LINE)?;
    let verdict = Checker::new(&line.parse()?).check(&job(&line)?);
    writeln!(io::stdout(), "{ANSWER}{verdict}")?;
    Ok(ExitCode::SUCCESS)
}

/// The command that checks one store and says so on its standard output.
pub(crate) fn looker(story: &Story, dir: &Path, bounds: &Bounds, depth: Depth) -> Checked<Command> {
    let mut command = this_program(LOOK)?;
    command.env(LINE, format!("{story} dir={} depth={} {bounds}", dir.display(), depth.word()));
    Ok(command)
}

/// What a [`looker`] has said.
pub(crate) fn looked(stdout: &str) -> Verdict {
    let line = stdout.lines().find_map(|line| line.strip_prefix(ANSWER));
    let verdict = line.ok_or_else(|| Failure::from("no answer")).and_then(str::parse);
    verdict.unwrap_or_else(|failure| Verdict::failed(Finding::Panicked, failure))
}

fn job(line: &str) -> Checked<Job> {
    let bounds: Bounds = line.parse()?;
    let depth = match field(line, "depth")? {
        "once" => Depth::Once,
        "twice" => Depth::Twice,
        _ => Depth::Rotten,
    };
    Ok(Job { place: Place::Dir(PathBuf::from(field(line, "dir")?)), bounds, depth })
}

impl Depth {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Twice => "twice",
            Self::Rotten => "rotten",
        }
    }
}

/// Another process that checks stores in directories. One that panics or hangs is replaced.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    story: Option<Story>,
    process: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    /// Has the store in `dir` checked. It is changed by that.
    pub(crate) fn check(
        &mut self,
        story: &Story,
        dir: &Path,
        bounds: &Bounds,
        depth: Depth,
    ) -> Checked<Verdict> {
        let running = match &mut self.running {
            Some(running) => running,
            empty => empty.insert(Running::start()?),
        };
        let asked = running.ask(story, dir, bounds, depth);
        let answer = asked.and_then(|()| running.hear());
        match answer {
            Ok(verdict) => {
                if matches!(verdict, Verdict::Failed(..)) {
                    self.running = None; // what failed may have left threads and locks behind
                }
                Ok(verdict)
            }
            Err(verdict) => {
                self.running = None;
                Ok(verdict)
            }
        }
    }
}

impl Running {
    fn start() -> Checked<Self> {
        let mut process = this_program(CHECK)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .during("starting a worker")?;
        let input = process.stdin.take().ok_or("the worker has no input")?;
        let output = process.stdout.take().ok_or("the worker has no output")?;
        let (heard, answers) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines.filter_map(|line| line.strip_prefix(ANSWER).map(ToOwned::to_owned)) {
                if heard.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { story: None, process, input, answers })
    }

    fn ask(
        &mut self,
        story: &Story,
        dir: &Path,
        bounds: &Bounds,
        depth: Depth,
    ) -> Result<(), Verdict> {
        let (dir, depth) = (dir.display(), depth.word());
        let mut text = format!("check dir={dir} depth={depth} {bounds}\n");
        if self.story.as_ref() != Some(story) {
            self.story = Some(story.clone());
            text = format!("story {story}\n{text}");
        }
        let sent = self.input.write_all(text.as_bytes()).and_then(|()| self.input.flush());
        sent.map_err(|error| Verdict::failed(Finding::NotChecked, Failure::from(error)))
    }

    fn hear(&mut self) -> Result<Verdict, Verdict> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => {
                line.parse().map_err(|failure| Verdict::failed(Finding::NotChecked, failure))
            }
            Err(RecvTimeoutError::Timeout) => {
                let text = format!("no answer for {} s", PATIENCE.as_secs());
                Err(Verdict::failed(Finding::Hung, text))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(Verdict::failed(Finding::Panicked, "the process that checked it is gone"))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
