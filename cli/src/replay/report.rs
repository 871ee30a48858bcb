//! What a replay prints.

use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::run::{Outcome, Summary};
use super::trace::{Defect, Trace};
use crate::exit::Failure;
use crate::output;

/// Prints a table or one JSON document.
pub(crate) fn print(trace: &Trace, outcomes: &[Outcome], as_json: bool) -> Result<(), Failure> {
    if as_json {
        output::print_json(&document(trace, outcomes))?;
    } else {
        output::print(&table(outcomes))?;
    }
    if let Some(defect) = &trace.defect {
        eprintln!("kvlogdb: {}", describe(defect));
    }
    Ok(())
}

/// One table, and below it whatever is not as it should be.
fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.set_header([
        "engine",
        "entries",
        "overwrites",
        "first..last",
        "term",
        "vote",
        "commit",
        "snapshot",
        "commits",
        "syncs",
        "time",
        "on disk",
        "verdict",
    ]);
    for outcome in outcomes {
        table.add_row(row(outcome));
    }
    for at in [1, 2, 4, 6, 8, 9, 10, 11] {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{table}\n");
    for outcome in outcomes {
        for finding in &outcome.findings {
            let _ = writeln!(text, "{}: {finding}", outcome.engine);
        }
        if let Some(refused) = &outcome.refused {
            let _ = writeln!(text, "{}: {}", outcome.engine, describe(refused));
        }
    }
    text
}

fn document(trace: &Trace, outcomes: &[Outcome]) -> Value {
    json!({
        "commits": trace.commits.len(),
        "defect": trace.defect.as_ref().map(defect_json),
        "engines": outcomes.iter().map(outcome_json).collect::<Vec<_>>(),
    })
}

fn row(outcome: &Outcome) -> [String; 13] {
    let Summary { first_index, last_index, hard_state, snapshot } = &outcome.found;
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    [
        outcome.engine.to_string(),
        outcome.expected.written.to_string(),
        outcome.expected.overwrites.to_string(),
        format!("{}..{}", number(*first_index), number(*last_index)),
        number(hard_state.map(|state| state.term)),
        number(hard_state.and_then(|state| state.vote)),
        number(hard_state.and_then(|state| state.commit)),
        number(snapshot.map(|id| id.index)),
        outcome.commits.to_string(),
        number(outcome.syncs),
        seconds(outcome.elapsed),
        HumanBytes(outcome.disk_bytes).to_string(),
        verdict(outcome).to_owned(),
    ]
}

fn verdict(outcome: &Outcome) -> &'static str {
    match (outcome.findings.is_empty(), &outcome.refused) {
        (false, _) => "DIFFERS",
        (true, Some(_)) => "same up to a refused line",
        (true, None) => "same",
    }
}

fn describe(defect: &Defect) -> String {
    format!("line {} of the trace {}", defect.line, defect.what)
}

fn defect_json(defect: &Defect) -> Value {
    json!({ "line": defect.line, "what": defect.what })
}

fn outcome_json(outcome: &Outcome) -> Value {
    let Summary { first_index, last_index, hard_state, snapshot } = &outcome.found;
    json!({
        "engine": outcome.engine.name(),
        "entries": outcome.expected.written,
        "overwrites": outcome.expected.overwrites,
        "first_index": first_index,
        "last_index": last_index,
        "hard_state": hard_state.map(|state| json!({
            "term": state.term, "vote": state.vote, "commit": state.commit,
        })),
        "snapshot": snapshot.map(|id| json!({ "index": id.index, "term": id.term })),
        "commits": outcome.commits,
        "syncs": outcome.syncs,
        "elapsed_ms": outcome.elapsed.as_secs_f64() * 1000.0,
        "disk_bytes": outcome.disk_bytes,
        "refused": outcome.refused.as_ref().map(defect_json),
        "findings": outcome.findings,
        "verdict": verdict(outcome),
    })
}

/// A duration for people: three digits are enough.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") }
}
