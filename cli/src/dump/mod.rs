//! `kvlogdb dump`: the entries of a log.

mod decode;
mod lines;
mod range;

use std::io::{self, BufWriter};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use kvlogdb::{Entry, EntryKind, KvLogDb, Log, LogOptions, LogStore, ReplicaId, Scan};

use crate::exit::{Exit, Failure};
use crate::source::Source;
use lines::Lines;
use range::Indexes;

/// What `dump` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's directory.
    dir: PathBuf,
    /// The replica, as GROUP or GROUP/NODE; all of them unless given.
    #[arg(long, value_name = "REPLICA", value_parser = parse_replica)]
    replica: Option<ReplicaId>,
    /// The indexes: 7, 3..9, 3..=9, 3.. or ..9, the end being left out without the equals sign.
    #[arg(long, value_name = "RANGE")]
    range: Option<Indexes>,
    /// Only entries of this kind: normal, config or a number.
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Option<EntryKind>,
    /// How entries are written.
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    format: Format,
    /// The same as --format jsonl.
    #[arg(long)]
    json: bool,
    /// A shell command that decodes payloads: it gets each as a line of hex and answers each with
    /// a line of text, which is shown instead. It is started once for each replica.
    #[arg(long, value_name = "CMD")]
    decode: Option<String>,
}

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line an entry, the payload cut to the terminal's width.
    Table,
    /// The lines that `replay` and `import` read, of one replica. Without range and kind also its
    /// boundary, hard state and snapshot; leaders, applied index, membership and slots have no
    /// line, and `export` keeps them.
    Jsonl,
    /// Index, term, kind and the whole payload in hex.
    Hex,
}

/// Which entries of a log are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection {
    range: Option<Indexes>,
    kind: Option<EntryKind>,
}

impl Selection {
    fn entries(self, log: &Log) -> impl Iterator<Item = kvlogdb::Result<Entry>> + use<> {
        let range = self.range.unwrap_or_default();
        let wanted = move |entry: &Entry| self.kind.is_none_or(|kind| entry.kind == kind);
        let scan = log.scan((range.first, range.end));
        let entries = UpToDamage { log: log.clone(), scan, next: range.first, damage: None };
        entries.filter(move |entry| entry.as_ref().map_or(true, wanted))
    }

    fn is_all(self) -> bool {
        self.range.is_none() && self.kind.is_none()
    }
}

/// A scan that brings every entry before a damaged one: a scan of the log brings none of the page
/// that the damage is in.
struct UpToDamage {
    log: Log,
    scan: Scan,
    next: Bound<u64>,
    damage: Option<kvlogdb::Error>,
}

impl Iterator for UpToDamage {
    type Item = kvlogdb::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.scan.next() {
            Some(Err(damage @ kvlogdb::Error::Corrupt { index, .. })) if self.damage.is_none() => {
                self.damage = Some(damage);
                self.scan = self.log.scan((self.next, Bound::Excluded(index)));
                self.next()
            }
            Some(Ok(entry)) => {
                self.next = Bound::Excluded(entry.id.index);
                Some(Ok(entry))
            }
            None => self.damage.take().map(Err),
            failed => failed,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let format = if args.json { Format::Jsonl } else { args.format };
    if format == Format::Jsonl && args.decode.is_some() {
        return Err(Failure::bad_input("--decode has no place in JSON lines"));
    }
    let source = Source::open(&args.dir)?;
    let failed = |error: kvlogdb::Error| Failure::store(&source.name(), &error);
    let Some(store) = open_log(&source).map_err(failed)? else {
        eprintln!("kvlogdb: no log was ever written here");
        return source.close().map(|()| Exit::Fine);
    };
    let shown = show(args, format, &store);
    let closed = store.close().map_err(failed);
    shown.and_then(|exit| closed.map(|()| exit))
}

fn show(args: &Args, format: Format, store: &LogStore) -> Result<Exit, Failure> {
    let there = store.replicas().map_err(|error| Failure::store("no replicas", &error))?;
    let replicas = chosen(args, format, &there)?;
    let selection = Selection { range: args.range, kind: args.kind };
    let out = BufWriter::new(io::stdout().lock());
    let mut lines = Lines::new(out, format, selection, args.decode.as_deref());
    let mut exit = Exit::Fine;
    for &replica in &replicas {
        let log = store.log(replica);
        match lines.put_log(&log) {
            // What is damaged is said, and the other replicas are shown.
            Err(failure) if failure.exit == Exit::Damage && replicas.len() > 1 => {
                lines.flush()?;
                eprintln!("kvlogdb: {failure}");
                exit = Exit::Damage;
            }
            other => other?,
        }
    }
    lines.flush()?;
    Ok(exit)
}

/// A log over an open engine, without its sidecar: a store that lost synced data can be looked
/// into, and nothing is written. `None` for a store over which there was never a log: opening one
/// would write its first record.
fn open_log(source: &Source) -> kvlogdb::Result<Option<LogStore>> {
    let survey = kvlogdb::survey(&*source.engine, Some(&source.sidecar()))?;
    if survey.mark == Ok(None) && survey.replicas.is_empty() {
        return Ok(None);
    }
    if let Ok(mark) = survey.mark
        && survey.sidecar > mark
    {
        eprintln!("kvlogdb: the engine lost synced data; what is left is shown");
    }
    let engine: Arc<dyn KvLogDb> = Arc::clone(&source.engine);
    LogStore::open(move || Ok(Arc::clone(&engine)), LogOptions::default()).map(Some)
}

fn chosen(args: &Args, format: Format, there: &[ReplicaId]) -> Result<Vec<ReplicaId>, Failure> {
    match args.replica {
        Some(replica) if there.contains(&replica) => Ok(vec![replica]),
        Some(replica) => Err(Failure::bad_input(format!("there is no replica {replica}"))),
        None if format == Format::Jsonl && there.len() > 1 => {
            let what = "JSON lines hold one replica: name it with --replica";
            Err(Failure::bad_input(format!("{what}; there are {}", there.len())))
        }
        None => Ok(there.to_vec()),
    }
}

pub(crate) fn parse_replica(text: &str) -> Result<ReplicaId, String> {
    let (group, node) = text.split_once('/').unwrap_or((text, "0"));
    match (group.parse(), node.parse()) {
        (Ok(group), Ok(node)) => Ok(ReplicaId { group, node }),
        _ => Err("a replica is GROUP or GROUP/NODE, both numbers".to_owned()),
    }
}

fn parse_kind(text: &str) -> Result<EntryKind, String> {
    match text {
        "normal" => Ok(EntryKind::NORMAL),
        "config" => Ok(EntryKind::CONFIG),
        number => number
            .parse()
            .map(EntryKind)
            .map_err(|_| "a kind is normal, config or a number up to 255".to_owned()),
    }
}
