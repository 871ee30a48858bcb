//! How entries are written.

use std::io::{IsTerminal, Write};

use console::Term;
use indicatif::HumanBytes;
use kvlogdb::{Entry, EntryKind, Log};

use super::decode::Decoder;
use super::{Format, Selection};
use crate::exit::Failure;
use crate::output::{hex, number, preview, printable};
use crate::replay::trace::Line;

/// The width of lines that do not go to a terminal.
const WIDTH: usize = 100;
/// The least room for a payload, however narrow the terminal.
const MIN_PAYLOAD_WIDTH: usize = 10;

/// Writes logs to an output.
pub(super) struct Lines<'a, W> {
    out: W,
    format: Format,
    selection: Selection,
    decoder: Option<&'a str>,
    width: usize,
}

impl<'a, W: Write> Lines<'a, W> {
    pub(super) fn new(
        out: W,
        format: Format,
        selection: Selection,
        decoder: Option<&'a str>,
    ) -> Self {
        let terminal = std::io::stdout().is_terminal().then(|| Term::stdout().size().1.into());
        Self { out, format, selection, decoder, width: terminal.unwrap_or(WIDTH) }
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::output(&error))
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|error| Failure::output(&error))
    }

    /// Writes one log.
    pub(super) fn put_log(&mut self, log: &Log) -> Result<(), Failure> {
        match self.format {
            Format::Jsonl => self.put_trace(log),
            Format::Hex => self.put_hex(log),
            Format::Table => self.put_table(log),
        }
    }

    /// Writes a line an entry, with what the decoder makes of it where there is one.
    fn put_entries(
        &mut self,
        log: &Log,
        to_line: impl Fn(&Entry, Option<&str>) -> String,
    ) -> Result<Totals, Failure> {
        let start = |command: &str| Decoder::start(command, log, self.selection);
        let mut decoder = self.decoder.map(start).transpose()?;
        let mut totals = Totals::default();
        for entry in self.selection.entries(log) {
            let entry = entry.map_err(|error| failed(&error))?;
            let answer = decoder.as_mut().map(Decoder::answer).transpose()?;
            self.line(&to_line(&entry, answer.as_deref()))?;
            totals.entries += 1;
            totals.payload_bytes += entry.payload.len() as u64;
        }
        decoder.map_or(Ok(()), Decoder::finish)?;
        Ok(totals)
    }

    /// The lines from which `replay` and `import` make the log again.
    fn put_trace(&mut self, log: &Log) -> Result<(), Failure> {
        let failed = |error: kvlogdb::Error| failed(&error);
        let json = |line: &Line| serde_json::to_string(line).unwrap_or_default();
        let all = self.selection.is_all();
        let snapshot = log.snapshot().map_err(failed)?.map(|snapshot| snapshot.id);
        let purged = log.purged().map_err(failed)?.map(|purged| purged.id);
        if let Some(purged) = purged.filter(|_| all) {
            self.line(&json(&Line::snapshot(purged)))?;
        }
        self.put_entries(log, |entry, _| json(&Line::entry(entry)))?;
        if let Some(state) = log.hard_state().map_err(failed)?.filter(|_| all) {
            self.line(&json(&Line::hard_state(&state)))?;
        }
        if let Some(snapshot) = snapshot.filter(|_| all && snapshot != purged) {
            self.line(&json(&Line::snapshot(snapshot)))?;
        }
        Ok(())
    }

    fn put_hex(&mut self, log: &Log) -> Result<(), Failure> {
        self.line(&format!("# replica {}", log.replica()))?;
        self.put_entries(log, |entry, decoded| {
            let Entry { id, kind, payload } = entry;
            let payload = decoded.map_or_else(|| hex(payload), |text| printable(text, usize::MAX));
            format!("{} {} {} {payload}", id.index, id.term, kind.0)
        })?;
        Ok(())
    }

    fn put_table(&mut self, log: &Log) -> Result<(), Failure> {
        let last = log.last().map_err(|error| failed(&error))?.map(|last| last.id);
        let digits = |value: Option<u64>, least: usize| number(value).len().max(least);
        let index_width = digits(last.map(|last| last.index), 5);
        let term_width = digits(last.map(|last| last.term), 4);
        let before = index_width + term_width + 6 + 8 + 4 * 2;
        let room = self.width.saturating_sub(before).max(MIN_PAYLOAD_WIDTH);
        self.line(&format!("# replica {}", log.replica()))?;
        self.line(&format!(
            "{:>index_width$}  {:>term_width$}  {:6}  {:>8}  payload",
            "index", "term", "kind", "bytes"
        ))?;
        let totals = self.put_entries(log, |entry, decoded| {
            let Entry { id, kind, payload } = entry;
            let text =
                decoded.map_or_else(|| preview(payload, room), |decoded| printable(decoded, room));
            format!(
                "{:>index_width$}  {:>term_width$}  {:6}  {:>8}  {text}",
                id.index,
                id.term,
                kind_name(*kind),
                payload.len()
            )
        })?;
        let bytes = HumanBytes(totals.payload_bytes);
        self.line(&format!("# {} entries, {bytes} of payload", totals.entries))
    }
}

#[derive(Debug, Default)]
struct Totals {
    entries: u64,
    payload_bytes: u64,
}

fn failed(error: &kvlogdb::Error) -> Failure {
    Failure::store("the dump ends early", error)
}

fn kind_name(kind: EntryKind) -> String {
    match kind {
        EntryKind::NORMAL => "normal".to_owned(),
        EntryKind::CONFIG => "config".to_owned(),
        EntryKind(number) => number.to_string(),
    }
}
