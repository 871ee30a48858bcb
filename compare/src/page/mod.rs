//! A record as one page of HTML that needs nothing else: no script, no file beside it.

mod plots;

use std::fmt::Write;

use crate::advice::{Advice, Need};
use crate::measured::{MAIN, Measured, PERCENTILES, Phase, STEP};
use crate::record::{CellRecord, Record};
use crate::stats::{Spread, float};
use crate::subject::{is_control, log_engine};
use crate::summary::{Summary, SummaryRow};
use crate::table::{self, mebibytes, rate};
use plots::{Bar, COLOURS, Line};

const STYLE: &str = include_str!("style.css");

/// Renders the page.
pub fn render(record: &Record, need: Need) -> String {
    let summary = Summary::of(record);
    let colours = Colours::of(&summary);
    let mut page = String::new();
    let title = escape(&record.header.title);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n");
    let _ = writeln!(page, "<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>");
    let _ = writeln!(page, "<header><h1>{title}</h1>");
    page.push_str(&facts(record));
    page.push_str("</header>\n<main>\n");
    page.push_str(&advice(record, need));
    if let Some(unproven) = table::unproven(&summary) {
        let _ = writeln!(page, "<p><strong>{}</strong></p>", escape(unproven));
    }
    page.push_str(&colours.legend());
    for name in summary.names() {
        page.push_str(&section(record, &summary, name, &colours));
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// What people have to know before they read a figure.
fn facts(record: &Record) -> String {
    let header = &record.header;
    let versions: Vec<String> =
        header.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let loads = record.cells.iter().filter_map(|cell| cell.load);
    let rows = [
        ("when", table::date(header.began_at_s)),
        ("machine", header.machine.describe()),
        ("versions", versions.join(", ")),
        ("seed", header.seed.to_string()),
        ("highest load", format!("{:.1}", loads.fold(0.0, f64::max))),
    ];
    let mut text = String::from("<dl>\n");
    for (name, value) in rows {
        let _ = writeln!(text, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    text.push_str("</dl>\n");
    text
}

fn advice(record: &Record, need: Need) -> String {
    let mut text = String::from("<section class=\"advice\"><h2>Which one, here?</h2>\n");
    let chosen = Advice::of(record, need).in_words();
    let mut lines = chosen.lines();
    let _ = writeln!(text, "<p><strong>{}</strong></p>\n<ul>", escape(lines.next().unwrap_or("")));
    for line in lines {
        let _ = writeln!(text, "<li>{}</li>", escape(line.trim()));
    }
    text.push_str("</ul>\n<details><summary>For other needs</summary>\n");
    for (_, other) in Need::ALL.into_iter().filter(|(_, other)| *other != need) {
        let words = Advice::of(record, other).in_words();
        let _ = writeln!(text, "<p>{}</p>", escape(words.lines().next().unwrap_or("")));
    }
    text.push_str("</details></section>\n");
    text
}

/// Which store has which colour, the same in every plot.
struct Colours {
    subjects: Vec<String>,
}

impl Colours {
    fn of(summary: &Summary) -> Self {
        let mut subjects: Vec<String> = Vec::new();
        for row in &summary.rows {
            if !subjects.contains(&row.subject) {
                subjects.push(row.subject.clone());
            }
        }
        // Controls come last: they are the background.
        subjects.sort_by_key(|subject| (is_control(subject), log_engine(subject).is_none()));
        Self { subjects }
    }

    fn at(&self, subject: &str) -> usize {
        self.subjects.iter().position(|known| known == subject).unwrap_or(0) % COLOURS
    }

    fn legend(&self) -> String {
        let mut text = String::from("<ul class=\"legend\">\n");
        for subject in &self.subjects {
            let at = self.at(subject);
            let _ = writeln!(text, "<li class=\"s{at}\">{}</li>", escape(subject));
        }
        text.push_str("</ul>\n");
        text
    }
}

fn section(record: &Record, summary: &Summary, name: &str, colours: &Colours) -> String {
    let rows: Vec<&SummaryRow> = summary.rows.iter().filter(|row| row.name == name).collect();
    let listed: Vec<&SummaryRow> =
        rows.iter().copied().filter(|row| !table::is_pretender(summary, row)).collect();
    let mut text = format!("<section><h2>{}</h2>\n<div class=\"plots\">\n", escape(name));
    let bars = [
        ("entries a second", rate_bars(&listed, colours)),
        ("of the control's rate", ratio_bars(&listed, colours)),
    ];
    text.push_str("<div>\n");
    text.push_str(&figures(bars));
    text.push_str("</div>\n");
    text.push_str(&figures([
        ("time of a call", percentile_plot(record, &listed, colours)),
        ("entries a second, over time", rate_plot(record, &listed, colours)),
        ("space on the disk, over time", space_plot(record, &listed, colours)),
    ]));
    text.push_str("</div>\n<div class=\"scroll\"><table>\n<tr>");
    for column in table::HEADER {
        let _ = write!(text, "<th>{column}</th>");
    }
    text.push_str("</tr>\n");
    for row in &listed {
        text.push_str("<tr>");
        for cell in table::cells(row) {
            let _ = write!(text, "<td>{}</td>", escape(&cell));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n");
    for remark in table::remarks(summary, &rows) {
        let _ = writeln!(text, "<p class=\"remark\">{}</p>", escape(&remark));
    }
    text.push_str("</section>\n");
    text
}

/// The plots that have something to show.
fn figures<const N: usize>(plots: [(&str, String); N]) -> String {
    let mut text = String::new();
    for (caption, svg) in plots.into_iter().filter(|(_, svg)| !svg.is_empty()) {
        let _ = writeln!(text, "<figure><figcaption>{caption}</figcaption>{svg}</figure>");
    }
    text
}

fn bar(row: &SummaryRow, figure: Option<Spread>, colours: &Colours) -> Option<Bar> {
    let Spread { median, low, high, .. } = figure?;
    let colour = colours.at(&row.subject);
    let label = row.subject.replace("kvlogdb on ", "kvlogdb/");
    Some(Bar { colour, label, value: median, low, high })
}

fn rate_bars(rows: &[&SummaryRow], colours: &Colours) -> String {
    let bars: Vec<Bar> = rows.iter().filter_map(|row| bar(row, row.rate, colours)).collect();
    plots::bars(&bars, &rate)
}

fn ratio_bars(rows: &[&SummaryRow], colours: &Colours) -> String {
    let bars: Vec<Bar> = rows.iter().filter_map(|row| bar(row, row.of_control, colours)).collect();
    if bars.len() < 2 {
        return String::new(); // the control is always the whole of itself
    }
    plots::bars(&bars, &|ratio| format!("{ratio:.2}"))
}

/// Fewer points make no line that says anything.
const LEAST_POINTS: usize = 4;

/// One line for each store: of its last round, because lines of several rounds hide each other.
fn lines(
    record: &Record,
    rows: &[&SummaryRow],
    colours: &Colours,
    points: impl Fn(&Measured) -> Vec<(f64, f64)>,
) -> Vec<Line> {
    let line = |row: &&SummaryRow| {
        let same = |cell: &&CellRecord| cell.name == row.name && cell.subject == row.subject;
        let points = points(record.cells.iter().rev().find(same)?.measured()?);
        let colour = colours.at(&row.subject);
        (points.len() >= LEAST_POINTS).then_some(Line { colour, points })
    };
    rows.iter().filter_map(line).collect()
}

fn percentile_plot(record: &Record, rows: &[&SummaryRow], colours: &Colours) -> String {
    let points = |measured: &Measured| {
        let Some(phase) = measured.main().filter(|phase| phase.latency.count > 10) else {
            return Vec::new();
        };
        let times = PERCENTILES.into_iter().zip(phase.latency.percentiles_us.iter().copied());
        times.filter(|&(_, us)| us > 0.0).collect()
    };
    let lines = lines(record, rows, colours, points);
    if lines.is_empty() { String::new() } else { plots::percentiles(&lines) }
}

fn rate_plot(record: &Record, rows: &[&SummaryRow], colours: &Colours) -> String {
    let step = STEP.as_secs_f64();
    let points = |measured: &Measured| {
        let Some(phase): Option<&Phase> = measured.phases.get(MAIN) else { return Vec::new() };
        // The last step is not a whole one.
        let whole = phase.series.len().saturating_sub(1);
        let steps = (1_u64..).zip(phase.series.iter().take(whole));
        steps.map(|(at, &count)| (float(at) * step, float(count) / step)).collect()
    };
    let lines = lines(record, rows, colours, points);
    if lines.is_empty() { String::new() } else { plots::over_time(&lines, "seconds", &rate) }
}

fn space_plot(record: &Record, rows: &[&SummaryRow], colours: &Colours) -> String {
    let step = STEP.as_secs_f64();
    let points = |measured: &Measured| {
        let steps = (1_u64..).zip(&measured.disk_series);
        steps.map(|(at, &bytes)| (float(at) * step, float(bytes))).collect()
    };
    let lines = lines(record, rows, colours, points);
    if lines.is_empty() { String::new() } else { plots::over_time(&lines, "seconds", &mebibytes) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::CONTROL;
    use crate::tests::{record, with_syncs};

    #[test]
    fn the_page_needs_nothing_else_and_shows_every_store() {
        let rates = [("kvlogdb on redb", [90.0, 100.0, 110.0]), (CONTROL, [200.0; 3])];
        let page = render(&record(&rates), Need::Latency);
        for needed in ["<!doctype html>", "durable append of 1, 256 B", "kvlogdb on redb", "<svg "]
        {
            assert!(page.contains(needed), "no {needed}");
        }
        for foreign in ["<script", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "has {foreign}");
        }
    }

    #[test]
    fn a_store_that_does_not_sync_is_named_and_not_listed() {
        let mut found = record(&[("kvlogdb on redb", [1.0; 3]), ("liar", [1000.0; 3])]);
        with_syncs(&mut found, "liar", 3);
        let page = render(&found, Need::Latency);
        assert!(!page.contains("<td>liar</td>"));
        assert!(page.contains("liar: left out, it does not sync what it acknowledges"));
    }

    #[test]
    fn names_cannot_break_the_page() {
        let page = render(&record(&[("<b>&\"", [1.0; 3])]), Need::Latency);
        assert!(!page.contains("<b>&") && page.contains("&lt;b&gt;&amp;&quot;"));
    }
}
