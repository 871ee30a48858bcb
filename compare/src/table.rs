//! Tables for terminals and for Markdown.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_HORIZONTAL_ONLY};
use comfy_table::{CellAlignment, LineStyle, Table};

use crate::stats::Spread;
use crate::subject::CONTROL;
use crate::summary::{Summary, SummaryRow};

/// Where a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// On a terminal.
    Terminal,
    /// In a Markdown file.
    Markdown,
}

/// A table with its first column to the left and the others to the right.
pub fn render(header: &[&str], rows: &[Vec<String>], style: Style) -> String {
    let mut table = Table::new();
    table.load_style(match style {
        Style::Terminal => UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()),
        Style::Markdown => ASCII_MARKDOWN,
    });
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for at in 1..header.len() {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A rate for people: 11.3 k, 691 k, 1.25 M.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e5 => format!("{:.0} k", rate / 1e3),
        rate if rate >= 1e3 => format!("{:.1} k", rate / 1e3),
        rate if rate >= 10.0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

/// A time for people, from microseconds.
pub fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.2} s", us / 1e6),
        us if us >= 1e4 => format!("{:.0} ms", us / 1e3),
        us if us >= 1e3 => format!("{:.1} ms", us / 1e3),
        us if us >= 10.0 => format!("{us:.0} us"),
        us => format!("{us:.2} us"),
    }
}

/// Bytes for people.
pub fn mebibytes(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

const HEADER: [&str; 10] = [
    "store",
    "entries/s",
    "spread",
    "of control",
    "p50",
    "p99",
    "syncs/commit",
    "written/payload",
    "disk/payload",
    "resident",
];

/// A table for each workload. A store that was seen not to sync is named below, not listed.
pub fn details(summary: &Summary, style: Style) -> String {
    let mut text = String::new();
    for name in summary.names() {
        let rows: Vec<&SummaryRow> = summary.rows.iter().filter(|row| row.name == name).collect();
        let (listed, unsynced): (Vec<&SummaryRow>, Vec<&SummaryRow>) =
            rows.into_iter().partition(|row| !is_pretender(summary, row));
        let title = match style {
            Style::Terminal => format!("\n{name}\n"),
            Style::Markdown => format!("\n### {name}\n\n"),
        };
        text.push_str(&title);
        let cells: Vec<Vec<String>> = listed.iter().map(|row| cells(row)).collect();
        text.push_str(&render(&HEADER, &cells, style));
        text.push('\n');
        let remarks: Vec<String> = listed.iter().filter_map(|row| remark(summary, row)).collect();
        let left_out = unsynced.iter().map(|row| {
            let syncs = or_dash(row.syncs_per_commit(), ratio);
            format!(
                "{}: left out, it does not sync what it acknowledges ({syncs} a commit)",
                row.subject
            )
        });
        for remark in remarks.into_iter().chain(left_out) {
            let before = if style == Style::Terminal { "  " } else { "\n" };
            text.extend([before, &remark, "\n"]);
        }
    }
    text
}

/// Whether a store claims a durable workload and does not sync.
pub(crate) fn is_pretender(summary: &Summary, row: &SummaryRow) -> bool {
    row.workload.is_durable() && summary.syncs(&row.subject) == Some(false)
}

fn cells(row: &SummaryRow) -> Vec<String> {
    let percent = |spread: Spread| format!("{:.0} %", spread.relative() * 100.0);
    vec![
        row.subject.clone(),
        or_dash(row.rate, |spread| rate(spread.median)),
        or_dash(row.rate, percent),
        or_dash(row.of_control, |spread| ratio(spread.median)),
        or_dash(row.p50_us, |spread| time(spread.median)),
        or_dash(row.p99_us, |spread| time(spread.median)),
        or_dash(row.syncs_per_commit(), ratio),
        or_dash(row.called_per_byte, ratio),
        or_dash(row.disk_per_byte, ratio),
        or_dash(row.resident_bytes, mebibytes),
    ]
}

/// What has to be known beside a row's figures.
fn remark(summary: &Summary, row: &SummaryRow) -> Option<String> {
    let mut said = Vec::new();
    for failure in &row.failures {
        said.push(format!("FAILED: {failure}"));
    }
    if row.again > 0 {
        let times = if row.again == 1 { "once".to_owned() } else { format!("{} times", row.again) };
        said.push(format!("measured again {times}, because the disk changed"));
    }
    if row.unsteady > 0 {
        said.push(format!("the disk did not hold still in {} rounds", row.unsteady));
    }
    if row.workload.is_durable() && summary.syncs(&row.subject).is_none() {
        said.push("its syncs were not counted".to_owned());
    }
    let controlled = summary.row(&row.name, CONTROL).is_some();
    if controlled && row.of_control.is_none() && row.failures.is_empty() {
        said.push("the disk was never the same for it and for the control".to_owned());
    }
    if row.checked == 0 && row.failures.is_empty() {
        said.push("nothing was read back".to_owned());
    }
    (!said.is_empty()).then(|| format!("{}: {}", row.subject, said.join("; ")))
}
