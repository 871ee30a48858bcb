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

/// A moment for people, in UTC.
pub fn date(since_1970_s: u64) -> String {
    let [year, month, day, hour, minute, _] = calendar(since_1970_s);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// A moment as part of a file's name, in UTC.
pub fn stamp(since_1970_s: u64) -> String {
    let [year, month, day, hour, minute, second] = calendar(since_1970_s);
    format!("{year}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Year, month, day, hour, minute and second.
fn calendar(since_1970_s: u64) -> [u64; 6] {
    let (days, second) = (since_1970_s / 86_400, since_1970_s % 86_400);
    // The calendar repeats every 400 years; counted from March, leap days come last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    let year = if month <= 2 { year + 1 } else { year };
    [year, month, day, second / 3600, second % 3600 / 60, second % 60]
}

fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// The columns of [`cells`].
pub(crate) const HEADER: [&str; 10] = [
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
    let mut text = unproven(summary).map_or(String::new(), |said| format!("{said}\n"));
    for name in summary.names() {
        let rows: Vec<&SummaryRow> = summary.rows.iter().filter(|row| row.name == name).collect();
        let listed = rows.iter().filter(|row| !is_pretender(summary, row));
        let title = match style {
            Style::Terminal => format!("\n{name}\n"),
            Style::Markdown => format!("\n### {name}\n\n"),
        };
        text.push_str(&title);
        let cells: Vec<Vec<String>> = listed.map(|row| cells(row)).collect();
        text.push_str(&render(&HEADER, &cells, style));
        text.push('\n');
        for remark in remarks(summary, &rows) {
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

pub(crate) fn cells(row: &SummaryRow) -> Vec<String> {
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

/// What has to be said where nobody could count sync calls.
pub(crate) fn unproven(summary: &Summary) -> Option<&'static str> {
    let believed = |row: &SummaryRow| {
        row.workload.is_durable()
            && row.rate.is_some()
            && !crate::is_control(&row.subject)
            && summary.syncs(&row.subject).is_none()
    };
    summary.rows.iter().any(believed).then_some(
        "SYNC CALLS WERE NOT COUNTED of every store, for want of strace or of a row with one \
         writer: that those stores sync is believed here, not seen.",
    )
}

/// What has to be known beside the figures of a workload, and who is left out of them.
pub(crate) fn remarks(summary: &Summary, rows: &[&SummaryRow]) -> Vec<String> {
    let (unsynced, listed): (Vec<&SummaryRow>, Vec<&SummaryRow>) =
        rows.iter().copied().partition(|row| is_pretender(summary, row));
    let left_out = unsynced.iter().map(|row| {
        let syncs = or_dash(row.syncs_per_commit(), ratio);
        let what = "left out, it does not sync what it acknowledges";
        format!("{}: {what} ({syncs} a commit)", row.subject)
    });
    listed.iter().filter_map(|row| remark(summary, row)).chain(left_out).collect()
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
    let controlled = summary.row(&row.name, CONTROL).is_some();
    if controlled && row.of_control.is_none() && row.failures.is_empty() {
        said.push("the disk was never the same for it and for the control".to_owned());
    }
    if row.checked == 0 && row.failures.is_empty() {
        said.push("nothing was read back".to_owned());
    }
    (!said.is_empty()).then(|| format!("{}: {}", row.subject, said.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{record, with_syncs};

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [rate(11_300.0), rate(691_000.0), rate(1_250_000.0)],
            ["11.3 k", "691 k", "1.25 M"]
        );
        assert_eq!([rate(5.25), rate(640.4)], ["5.2", "640"]);
        assert_eq!(
            [time(0.5), time(88.0), time(4100.0), time(2e6)],
            ["0.50 us", "88 us", "4.1 ms", "2.00 s"]
        );
    }

    #[test]
    fn a_durable_table_has_no_store_that_does_not_sync() {
        let mut found = record(&[("kvlogdb on redb", [100.0; 3]), ("liar", [9000.0; 3])]);
        with_syncs(&mut found, "liar", 99);
        let text = details(&Summary::of(&found), Style::Markdown);
        assert!(text.contains("| kvlogdb on redb"), "{text}");
        assert!(!text.contains("| liar"), "99 syncs for 100 commits are not enough: {text}");
        assert!(text.contains("liar: left out, it does not sync"), "{text}");
    }

    #[test]
    fn failures_and_uncounted_syncs_are_said() {
        let mut found = record(&[("kvlogdb on redb", [100.0; 3])]);
        for cell in &mut found.cells {
            cell.counted = None;
        }
        found.cells[2].outcome = crate::record::Outcome::Failed("no space".to_owned());
        let text = details(&Summary::of(&found), Style::Terminal);
        assert!(text.contains("FAILED: no space") && text.contains("SYNC CALLS WERE NOT COUNTED"));
    }
}
