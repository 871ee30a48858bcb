//! Two records beside each other: what changed by more than the rounds spread.

use crate::record::Record;
use crate::stats::Spread;
use crate::summary::{Summary, SummaryRow};
use crate::table::{Style, rate, render};

/// How one row changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Not beyond the spread.
    Same,
    /// More in the same time.
    Faster,
    /// Less in the same time.
    Slower,
}

/// One row in both records.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The workload's name.
    pub name: String,
    /// The store.
    pub subject: String,
    /// Its figure in the first record.
    pub before: Spread,
    /// And in the second.
    pub after: Spread,
    /// Whether the figures are parts of the control's rate; rates otherwise.
    pub of_control: bool,
    /// What that says.
    pub change: Change,
}

/// Two records compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// The rows that both have.
    pub rows: Vec<Difference>,
    /// The rows that only one has.
    pub unmatched: Vec<String>,
    /// What makes the records hard to compare.
    pub warnings: Vec<String>,
}

/// A smaller change is none, however small the spread.
const LEAST_CHANGE: f64 = 0.05;

impl Diff {
    /// Compares the rows that two records have in common: by their part of the control where both
    /// have one, because that takes the disk out of it.
    pub fn of(before: &Record, after: &Record) -> Self {
        let (old, new) = (Summary::of(before), Summary::of(after));
        let mut rows = Vec::new();
        let mut unmatched = Vec::new();
        for row in &old.rows {
            match new.row(&row.name, &row.subject) {
                Some(other) => rows.extend(difference(row, other)),
                None => unmatched.push(format!("only in the first: {}: {}", row.name, row.subject)),
            }
        }
        let only_new = new.rows.iter().filter(|row| old.row(&row.name, &row.subject).is_none());
        unmatched.extend(
            only_new.map(|row| format!("only in the second: {}: {}", row.name, row.subject)),
        );
        Self { rows, unmatched, warnings: warnings(before, after) }
    }

    /// Whether anything changed beyond its spread.
    pub fn has_changes(&self) -> bool {
        self.rows.iter().any(|row| row.change != Change::Same)
    }

    /// The comparison as text.
    pub fn to_text(&self, style: Style) -> String {
        let cells = |row: &Difference| {
            let show = |spread: Spread| {
                if row.of_control { format!("{:.2}", spread.median) } else { rate(spread.median) }
            };
            let factor = row.after.median / row.before.median;
            vec![
                row.name.clone(),
                row.subject.clone(),
                if row.of_control { "of control" } else { "entries/s" }.to_owned(),
                show(row.before),
                show(row.after),
                format!("{:+.0} %", (factor - 1.0) * 100.0),
                match row.change {
                    Change::Same => String::new(),
                    Change::Faster => "FASTER".to_owned(),
                    Change::Slower => "SLOWER".to_owned(),
                },
            ]
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        let header = ["workload", "store", "figure", "before", "after", "change", "beyond spread"];
        let mut text = self.warnings.join("\n");
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&render(&header, &rows, style));
        for line in &self.unmatched {
            text.extend(["\n", line]);
        }
        text
    }
}

fn difference(before: &SummaryRow, after: &SummaryRow) -> Option<Difference> {
    let (parts, rates) = (before.of_control.zip(after.of_control), before.rate.zip(after.rate));
    let of_control = parts.is_some() && !crate::is_control(&before.subject);
    let (old, new) = if of_control { parts? } else { rates? };
    let small = (new.median - old.median).abs() <= LEAST_CHANGE * old.median;
    let change = match () {
        () if small => Change::Same,
        () if new.low > old.high => Change::Faster,
        () if new.high < old.low => Change::Slower,
        () => Change::Same,
    };
    let (name, subject) = (before.name.clone(), before.subject.clone());
    Some(Difference { name, subject, before: old, after: new, of_control, change })
}

fn warnings(before: &Record, after: &Record) -> Vec<String> {
    let mut warnings = Vec::new();
    if before.header.machine != after.header.machine {
        warnings.push(format!(
            "the machines differ: {} against {}",
            before.header.machine.describe(),
            after.header.machine.describe()
        ));
    }
    if before.header.seed != after.header.seed {
        warnings.push("the seeds differ".to_owned());
    }
    for (name, old) in &before.header.versions {
        let new = after.header.versions.iter().find(|(other, _)| other == name);
        if new.is_none_or(|(_, new)| new != old) {
            let new = new.map_or("none", |(_, new)| new);
            warnings.push(format!("{name}: {old} against {new}"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::record;

    fn change(before: [f64; 3], after: [f64; 3]) -> Change {
        let store = "kvlogdb on redb";
        let diff = Diff::of(&record(&[(store, before)]), &record(&[(store, after)]));
        assert_eq!(diff.rows.len(), 1, "{diff:?}");
        assert_eq!(diff.has_changes(), diff.rows[0].change != Change::Same);
        diff.rows[0].change
    }

    #[test]
    fn only_what_lies_beyond_the_spread_is_a_change() {
        assert_eq!(change([100.0, 110.0, 90.0], [85.0, 95.0, 75.0]), Change::Same);
        assert_eq!(change([100.0, 102.0, 99.0], [80.0, 82.0, 79.0]), Change::Slower);
        assert_eq!(change([100.0, 102.0, 99.0], [130.0, 128.0, 131.0]), Change::Faster);
        assert_eq!(change([100.0; 3], [104.0; 3]), Change::Same, "too small to matter");
    }

    #[test]
    fn rows_that_only_one_record_has_are_named() {
        let one = record(&[("kvlogdb on redb", [1.0; 3])]);
        let other = record(&[("kvlogdb on sled", [1.0; 3])]);
        let diff = Diff::of(&one, &other);
        assert!(diff.rows.is_empty() && diff.unmatched.len() == 2, "{diff:?}");
        let text = diff.to_text(Style::Terminal);
        assert!(text.contains("only in the first") && text.contains("only in the second"));
    }

    #[test]
    fn another_machine_is_said() {
        let one = record(&[("kvlogdb on redb", [1.0; 3])]);
        let mut other = one.clone();
        other.header.machine.cpu = "another".to_owned();
        other.header.versions[0].1 = "9".to_owned();
        assert_eq!(Diff::of(&one, &other).warnings.len(), 2);
        assert!(Diff::of(&one, &one).warnings.is_empty());
    }

    #[test]
    fn the_part_of_the_control_takes_the_disk_out_of_it() {
        let with = |rates: [f64; 3], control: [f64; 3]| {
            record(&[("kvlogdb on redb", rates), (crate::subject::CONTROL, control)])
        };
        let diff = Diff::of(&with([50.0; 3], [100.0; 3]), &with([5.0; 3], [10.0; 3]));
        let row = diff.rows.iter().find(|row| row.subject == "kvlogdb on redb").unwrap();
        assert!(row.of_control && row.change == Change::Same, "{row:?}");
    }
}
