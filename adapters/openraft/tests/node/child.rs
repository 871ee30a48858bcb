//! A process with a node in it, which is killed from outside or ends by itself.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdout, Command, ExitCode, Stdio};
use std::str::FromStr;

use kvlogdb::EngineKind;

use crate::cluster::{self, Node, With, command, count};
use crate::common::{Kind, Strategy};
use crate::{Checked, Version, ensure};

/// Tells a process of this program what to do instead of running tests: version, engine, strategy,
/// length of a command and how many at the most, and the store's directory.
const PART: &str = "KVLOGDB_OPENRAFT_CHILD";
/// Begins each line that is meant for the parent.
const MARK: &str = "kvlogdb-child";

/// What a process does.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) version: Version,
    pub(crate) kind: Kind,
    pub(crate) command_bytes: usize,
    pub(crate) most: u64,
    pub(crate) dir: PathBuf,
}

/// Plays the part that this process was started for, if it was.
pub(crate) fn play() -> Option<ExitCode> {
    let part: Part = env::var(PART).ok()?.parse().ok()?;
    match cluster::run(part.version, part) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            say("failed", error).ok();
            Some(ExitCode::FAILURE)
        }
    }
}

fn say(word: &str, what: impl std::fmt::Display) -> Checked {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK} {word} {what}")?;
    Ok(out.flush()?)
}

impl With for Part {
    /// Says what is there, and writes until it is killed, there is enough, or the node stops.
    async fn with<N: Node>(self) -> Checked {
        let store = self.kind.open(&self.dir)?;
        let node = N::start(&store).await?;
        node.recover().await?;
        let found = count(&node, self.command_bytes)?;
        say("found", found)?;
        for number in found..found.max(self.most) {
            let answer = node.write(command(number, self.command_bytes)).await;
            let Ok(answer) = answer else {
                say("stopped", node.stopped().await?.replace('\n', " "))?;
                break;
            };
            ensure!(answer == number + 1, "command {number} is number {answer}");
            say("did", number)?;
        }
        node.stop().await?;
        drop(store);
        say("ended", 0)
    }
}

impl FromStr for Part {
    type Err = Box<dyn std::error::Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.splitn(6, ' ');
        let mut word = || words.next().ok_or("a word is missing");
        let version = word()?;
        let version = Version::ALL.into_iter().find(|one| one.name() == version);
        let engine: EngineKind = word()?.parse()?;
        let strategy = word()?;
        let strategy = Strategy::ALL.into_iter().find(|one| one.name() == strategy);
        Ok(Self {
            version: version.ok_or("no such version")?,
            kind: Kind { engine, strategy: strategy.ok_or("no such strategy")? },
            command_bytes: word()?.parse()?,
            most: word()?.parse()?,
            dir: word()?.into(),
        })
    }
}

/// A process that plays a part, as its parent sees it. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(crate) fn start(part: &Part) -> Checked<Self> {
        let (version, Kind { engine, strategy }) = (part.version.name(), part.kind);
        let words = format!("{version} {engine} {}", strategy.name());
        let dir = Path::display(&part.dir);
        let part = format!("{words} {} {} {dir}", part.command_bytes, part.most);
        let mut command = Command::new(env::current_exe()?);
        command.env(PART, part).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let out = process.stdout.take().ok_or("no output")?;
        Ok(Self { process, lines: BufReader::new(out).lines() })
    }

    /// The next thing that it says, a word and what follows; `None` once it has ended.
    pub(crate) fn hear(&mut self) -> Checked<Option<(String, String)>> {
        for line in self.lines.by_ref() {
            let line = line?;
            if let Some((MARK, said)) = line.split_once(' ') {
                let (word, what) = said.split_once(' ').unwrap_or((said, ""));
                ensure!(word != "failed", "the child failed: {what}");
                return Ok(Some((word.to_owned(), what.to_owned())));
            }
        }
        Ok(None)
    }

    /// Ends it as a crash would, and hears the rest of what it has said.
    pub(crate) fn kill(mut self) -> Checked<Vec<(String, String)>> {
        self.process.kill()?;
        let mut said = Vec::new();
        while let Some(line) = self.hear()? {
            said.push(line);
        }
        self.process.wait()?;
        Ok(said)
    }

    /// Waits for its own end, which must be a good one.
    pub(crate) fn end(mut self) -> Checked<Vec<(String, String)>> {
        let mut said = Vec::new();
        while let Some(line) = self.hear()? {
            said.push(line);
        }
        let status = self.process.wait()?;
        ensure!(status.success(), "the child ended with {status}");
        Ok(said)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
