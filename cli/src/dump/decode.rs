//! A process that turns payloads into text: hex lines in, lines out.

use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kvlogdb::Log;

use super::Selection;
use crate::exit::Failure;
use crate::output::hex;

/// The longest line that a decoder may answer with.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// How long a decoder may take to end after it has closed its output.
const FAREWELL: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);

/// A running decoder. A thread feeds it from a scan of its own, so that it may answer line by
/// line or collect all its input first: neither side waits for the other with memory that grows.
pub(super) struct Decoder {
    child: Child,
    answers: BufReader<ChildStdout>,
    answered: u64,
}

impl Decoder {
    pub(super) fn start(command: &str, log: &Log, selection: Selection) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::bad_input(format!("cannot run the decoder: {error}"));
        let mut child =
            shell(command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (Some(input), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let log = log.clone();
        // Never joined: it ends with the log or with whoever reads, and may outlive the decoder
        // where that has left its input to another process.
        thread::spawn(move || feed(input, &log, selection));
        let answers = BufReader::new(answers);
        Ok(Self { child, answers, answered: 0 })
    }

    /// The answer to the next payload.
    pub(super) fn answer(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        let read = self.answers.by_ref().take(MAX_ANSWER_BYTES).read_until(b'\n', &mut line);
        match read {
            Ok(0) => Err(self.ended_early()),
            Ok(_) if !line.ends_with(b"\n") && line.len() as u64 == MAX_ANSWER_BYTES => {
                Err(Failure::bad_input("the decoder answered with a line that has no end"))
            }
            Ok(_) => {
                self.answered += 1;
                let line = String::from_utf8_lossy(&line);
                Ok(line.trim_end_matches(['\n', '\r']).to_owned())
            }
            Err(error) => Err(Failure::bad_input(format!("cannot read the decoder: {error}"))),
        }
    }

    fn ended_early(&mut self) -> Failure {
        let end = self.end();
        Failure::bad_input(format!("the decoder ended after {} answers: {end}", self.answered))
    }

    /// Waits for the end of a decoder that has answered everything.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let mut rest = Vec::new();
        // Its input ends when the feeder does, and then it has to end.
        let read = self.answers.by_ref().take(1).read_to_end(&mut rest);
        if read.is_ok_and(|read| read > 0) {
            let what = format!("the decoder answered more than {} payloads", self.answered);
            return Err(Failure::bad_input(what));
        }
        match self.end() {
            End::Status(status) if status.success() => Ok(()),
            end => Err(Failure::bad_input(format!("the decoder failed: {end}"))),
        }
    }

    /// How a decoder ended that has closed its output; one that lingers is killed.
    fn end(&mut self) -> End {
        let give_up = Instant::now() + FAREWELL;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return End::Status(status),
                Ok(None) if Instant::now() < give_up => thread::sleep(POLL),
                Ok(None) => return End::Lingers,
                Err(error) => return End::Unknown(error),
            }
        }
    }
}

/// How a decoder ended.
enum End {
    Status(ExitStatus),
    Lingers,
    Unknown(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Lingers => f.write_str("it closed its output and went on running"),
            Self::Unknown(error) => error.fmt(f),
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended, or must not linger
        let _ = self.child.wait();
    }
}

fn shell(command: &str) -> Command {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut shell = Command::new(shell);
    shell.arg(flag).arg(command);
    shell
}

/// Writes payloads until all are written, the decoder is gone, or the log cannot be read: the
/// scan beside this one says why.
fn feed(input: ChildStdin, log: &Log, selection: Selection) {
    let mut input = BufWriter::new(input);
    for entry in selection.entries(log).map_while(Result::ok) {
        // Flushed line by line: it may answer before it reads on, and be waited for.
        if writeln!(input, "{}", hex(&entry.payload)).and_then(|()| input.flush()).is_err() {
            return;
        }
    }
}
