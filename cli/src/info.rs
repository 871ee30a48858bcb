//! `kvlogdb info`: what a store is and what it holds.

use std::path::PathBuf;

use comfy_table::{CellAlignment, Table};
use indicatif::HumanBytes;
use kvlogdb::{BufferedIn, EngineInfo, LogId, ReplicaId, Survey, Surveyed};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::output::{hex, number, print, print_json};
use crate::source::Source;

/// What `info` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's directory.
    dir: PathBuf,
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

/// What is printed.
struct Info {
    source: Source,
    engine: EngineInfo,
    survey: Survey,
    disk_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let source = Source::open(&args.dir)?;
    let failed = |error: kvlogdb::Error| Failure::store(&source.name(), &error);
    let survey = kvlogdb::survey(&*source.engine, Some(&source.sidecar())).map_err(failed)?;
    let disk_bytes = source.engine.disk_bytes().map_err(|error| failed(error.into()))?;
    let engine = source.engine.info();
    let info = Info { source, engine, survey, disk_bytes };
    if args.json {
        print_json(&info.to_json())?;
    } else {
        print(&info.to_text())?;
    }
    let exit = if info.is_damaged() { Exit::Damage } else { Exit::Fine };
    info.source.close()?;
    Ok(exit)
}

impl Info {
    fn is_damaged(&self) -> bool {
        let Survey { mark, sidecar, replicas, .. } = &self.survey;
        let behind = match mark {
            Ok(mark) => mark.is_some() && sidecar.is_none() || *sidecar > *mark,
            Err(_) => true,
        };
        behind || replicas.iter().any(|(_, replica)| replica.is_err())
    }

    /// How many replicas there are, those apart that were removed.
    fn replica_count(&self) -> usize {
        let there = |replica: &Result<Surveyed, String>| {
            replica.as_ref().map_or(true, |replica| !replica.removed)
        };
        self.survey.replicas.iter().filter(|(_, replica)| there(replica)).count()
    }

    fn record_bytes(&self) -> u64 {
        let sound = self.survey.replicas.iter().filter_map(|(_, replica)| replica.as_ref().ok());
        sound.map(|replica| replica.record_bytes).sum()
    }

    fn marks(&self) -> String {
        let engine = match &self.survey.mark {
            Ok(Some(mark)) => format!("engine {mark}"),
            Ok(None) => "none in the engine".to_owned(),
            Err(what) => what.clone(),
        };
        let sidecar = match self.survey.sidecar {
            Some(mark) => format!("sidecar {mark}"),
            None => "sidecar missing or unreadable".to_owned(),
        };
        let lost = match (&self.survey.mark, self.survey.sidecar) {
            (Ok(engine), Some(sidecar)) if engine.is_none_or(|mark| mark < sidecar) => {
                ": the engine lost synced data"
            }
            _ => "",
        };
        format!("{engine}, {sidecar}{lost}")
    }

    fn to_text(&self) -> String {
        let EngineInfo { name, version, .. } = self.engine;
        let layout = self.source.manifest.layout;
        let records = kvlogdb::RECORD_VERSION;
        let lines = [
            ("store", self.source.name()),
            ("engine", format!("{name} {version}, layout {layout}, records version {records}")),
            ("identity", identity(&self.source.manifest.identity)),
            ("buffered", format!("a Buffered write waits {}", buffered(self.engine.buffered_in))),
            ("marks", self.marks()),
            ("replicas", self.replica_count().to_string()),
            ("bytes live", HumanBytes(self.record_bytes()).to_string()),
            ("on disk", HumanBytes(self.disk_bytes).to_string()),
        ];
        let mut text: Vec<_> =
            lines.into_iter().map(|(name, value)| format!("{name:10}  {value}")).collect();
        if !self.survey.replicas.is_empty() {
            text.push(table(&self.survey.replicas).to_string());
        }
        for (id, replica) in &self.survey.replicas {
            if let Err(what) = replica {
                text.push(format!("replica {id} is damaged: {what}"));
            }
        }
        text.join("\n") + "\n"
    }

    fn to_json(&self) -> Value {
        let replicas = self.survey.replicas.iter().map(|(id, replica)| replica_json(*id, replica));
        json!({
            "store": self.source.name(),
            "engine": self.engine.name,
            "engine_version": self.engine.version,
            "layout": self.source.manifest.layout,
            "record_version": kvlogdb::RECORD_VERSION,
            "identity_hex": hex(&self.source.manifest.identity),
            "buffered_in": format!("{:?}", self.engine.buffered_in).to_lowercase(),
            "mark": self.survey.mark.as_ref().ok(),
            "sidecar_mark": self.survey.sidecar,
            "record_bytes": self.record_bytes(),
            "disk_bytes": self.disk_bytes,
            "damaged": self.is_damaged(),
            "replicas": replicas.collect::<Vec<_>>(),
        })
    }
}

fn identity(identity: &[u8]) -> String {
    if identity.is_empty() {
        return "none".to_owned();
    }
    format!("\"{}\"", identity.escape_ascii())
}

fn buffered(buffered_in: BufferedIn) -> &'static str {
    match buffered_in {
        BufferedIn::Process => "in the process: a kill loses it",
        BufferedIn::Kernel => "in the kernel: a power cut loses it, a kill does not",
        _ => "somewhere else",
    }
}

fn table(replicas: &[(ReplicaId, Result<Surveyed, String>)]) -> Table {
    let mut table = Table::new();
    table.set_header([
        "replica",
        "first",
        "last",
        "entries",
        "bytes",
        "purged",
        "last term",
        "term",
        "vote",
        "commit",
        "snapshot",
        "applied",
        "trash",
        "state",
    ]);
    for (id, replica) in replicas {
        table.add_row(row(*id, replica));
    }
    for at in 1..=12 {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(id: ReplicaId, replica: &Result<Surveyed, String>) -> Vec<String> {
    let Ok(replica) = replica else {
        let mut row = vec![id.to_string()];
        row.resize(13, "?".to_owned());
        row.push("DAMAGED".to_owned());
        return row;
    };
    let state = if replica.removed { "removed" } else { "ok" };
    let hard_state = replica.hard_state;
    vec![
        id.to_string(),
        number(replica.first),
        number(replica.last.map(|last| last.index)),
        replica.entries.to_string(),
        HumanBytes(replica.record_bytes).to_string(),
        log_id(replica.purged),
        number(replica.last.map(|last| last.term)),
        number(hard_state.map(|state| state.term)),
        number(hard_state.and_then(|state| state.vote)),
        number(hard_state.and_then(|state| state.commit)),
        log_id(replica.snapshot),
        log_id(replica.applied),
        replica.trash.to_string(),
        state.to_owned(),
    ]
}

/// Term and index in few columns.
fn log_id(id: Option<LogId>) -> String {
    id.map_or("-".to_owned(), |id| format!("{}/{}", id.term, id.index))
}

fn replica_json(id: ReplicaId, replica: &Result<Surveyed, String>) -> Value {
    let id_json = |id: Option<LogId>| id.map(|id| json!({ "term": id.term, "index": id.index }));
    match replica {
        Err(what) => json!({ "group": id.group, "node": id.node, "damaged": what }),
        Ok(replica) => json!({
            "group": id.group,
            "node": id.node,
            "damaged": null,
            "removed": replica.removed,
            "first_index": replica.first,
            "last": id_json(replica.last),
            "entries": replica.entries,
            "record_bytes": replica.record_bytes,
            "purged": id_json(replica.purged),
            "hard_state": replica.hard_state.map(|state| json!({
                "term": state.term, "vote": state.vote, "commit": state.commit,
            })),
            "snapshot": id_json(replica.snapshot),
            "applied": id_json(replica.applied),
            "trash": replica.trash,
        }),
    }
}
