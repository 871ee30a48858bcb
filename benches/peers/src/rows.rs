//! What is measured, and the table that shows all stores beside each other.

use kvlogdb::EngineKind;
use kvlogdb_compare::record::Record;
use kvlogdb_compare::subject::{CONTROL, CONTROL_GROWING, PLAIN_FILE, bare, log_on};
use kvlogdb_compare::table::{Style, mebibytes, rate, render, time};
use kvlogdb_compare::{
    Counting, End, GetOrder, Plan, Row, Settings, Summary, SummaryRow, Work, Workload,
};

const ROUNDS: usize = 5;
/// Of rows that take long.
const FEW_ROUNDS: usize = 3;

/// How a row's figure is shown.
#[derive(Clone, Copy)]
enum Figure {
    Rate,
    Time,
    BytesPerByte,
    Memory,
}

struct Wanted {
    title: &'static str,
    workload: Workload,
    figure: Figure,
    rounds: usize,
}

fn wanted(quick: bool) -> Vec<Wanted> {
    let (measure_ms, entries) = if quick { (250, 10_000) } else { (1000, 200_000) };
    let row = |title, work, entry_bytes, figure, rounds| Wanted {
        title,
        workload: Workload { work, entry_bytes, measure_ms },
        figure,
        rounds,
    };
    let append = |batch| Work::Append { writers: 1, groups: 1, batch, synced: true };
    let many = Work::Append { writers: 32, groups: 64, batch: 1, synced: true };
    let steady = Work::AppendAndPurge { entries, batch: 64, window: entries / 10, step: 1024 };
    let get = Work::Get { entries: entries.min(40_000), order: GetOrder::Random };
    let reopen = Work::Reopen { entries, after: End::Kill };
    vec![
        row("1 writer, 1 entry", append(1), 256, Figure::Rate, ROUNDS),
        row("1 writer, batch 64", append(64), 256, Figure::Rate, ROUNDS),
        row("1 writer, batch 16 of 4 KiB", append(16), 4096, Figure::Rate, ROUNDS),
        row("32 writers, 64 groups", many, 256, Figure::Rate, ROUNDS),
        row("overwrite of 16", Work::OverwriteTail { entries: 16 }, 256, Figure::Rate, ROUNDS),
        row("random get", get, 256, Figure::Rate, ROUNDS),
        row("catch-up read", Work::CatchUp { entries, page: 64 }, 256, Figure::Rate, ROUNDS),
        row("append and purge", steady, 256, Figure::BytesPerByte, FEW_ROUNDS),
        row("fill", Work::Fill { entries, batch: 64 }, 256, Figure::Memory, FEW_ROUNDS),
        row("open after a kill", reopen, 256, Figure::Time, FEW_ROUNDS),
    ]
}

/// The plan: everyone at everything, the controls where there is nothing but appending.
pub(crate) fn plan(peers: &[&str], quick: bool, seed: u64) -> Plan {
    let stores: Vec<String> = stores(peers);
    let row = |wanted: Wanted| {
        let controls: &[&str] = match wanted.workload.work {
            Work::Append { .. } => &[PLAIN_FILE, CONTROL, CONTROL_GROWING],
            Work::OverwriteTail { .. } => &[CONTROL, CONTROL_GROWING],
            _ => &[],
        };
        let controls = controls.iter().map(|name| (*name).to_owned());
        let subjects = controls.chain(stores.clone()).collect();
        Row { workload: wanted.workload, subjects, rounds: wanted.rounds }
    };
    Plan {
        rows: self::wanted(quick).into_iter().map(row).collect(),
        seed,
        settings: Settings::default(),
        budget: None,
        counting: Counting::OneWriter,
    }
}

fn stores(peers: &[&str]) -> Vec<String> {
    let engines = EngineKind::ALL;
    let logs = engines.into_iter().map(log_on);
    let bares = engines.into_iter().map(bare);
    logs.chain(bares).chain(peers.iter().map(|name| (*name).to_owned())).collect()
}

/// One line for each store, one column for each row.
pub(crate) fn overview(record: &Record, style: Style) -> String {
    let summary = Summary::of(record);
    // A run is quick or it is not; the other's rows are not in the record.
    let all = [wanted(false), wanted(true)];
    let found = |wanted: &&Wanted| summary.names().contains(&wanted.workload.name().as_str());
    let columns: Vec<&Wanted> = all
        .iter()
        .max_by_key(|wanted| wanted.iter().filter(found).count())
        .map(|wanted| wanted.iter().filter(found).collect())
        .unwrap_or_default();
    let mut subjects: Vec<&str> = Vec::new();
    for row in &summary.rows {
        if !subjects.contains(&row.subject.as_str()) {
            subjects.push(&row.subject);
        }
    }
    let unit = |wanted: &Wanted| match wanted.figure {
        Figure::Rate => format!("{}, entries/s", wanted.title),
        Figure::Time => format!("{}, time", wanted.title),
        Figure::BytesPerByte => format!("{}, written per byte", wanted.title),
        Figure::Memory => format!("{}, resident", wanted.title),
    };
    // A terminal is narrow.
    let fold = |title: String| match style {
        Style::Terminal => title.replace(", ", "\n"),
        Style::Markdown => title,
    };
    let header: Vec<String> = std::iter::once("store".to_owned())
        .chain(columns.iter().map(|one| fold(unit(one))))
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let line = |subject: &&str| {
        let cell = |wanted: &&Wanted| {
            let row = summary.row(&wanted.workload.name(), subject);
            row.map_or("-".to_owned(), |row| show(&summary, row, wanted.figure))
        };
        std::iter::once((*subject).to_owned()).chain(columns.iter().map(cell)).collect()
    };
    let lines: Vec<Vec<String>> = subjects.iter().map(line).collect();
    render(&header, &lines, style)
}

fn show(summary: &Summary, row: &SummaryRow, figure: Figure) -> String {
    if row.workload.is_durable() && summary.syncs(&row.subject) == Some(false) {
        return "does not sync".to_owned();
    }
    let shown = match figure {
        Figure::Rate => row.rate.map(|spread| rate(spread.median)),
        Figure::Time => row.p50_us.map(|spread| time(spread.median)),
        Figure::BytesPerByte => row.called_per_byte.map(|bytes| format!("{bytes:.2}")),
        Figure::Memory => row.resident_bytes.map(mebibytes),
    };
    shown.unwrap_or_else(|| "failed".to_owned())
}
