//! What the measurements have to show.

use kvlogdb::EngineKind;
use kvlogdb_compare::record::Record;
use kvlogdb_compare::subject::{CONTROL, CONTROL_GROWING, bare, log_on};
use kvlogdb_compare::table::{Style, mebibytes, render};
use kvlogdb_compare::{GetOrder, Measured, Spread, Workload};

use super::rows::Sizes;

/// What a figure is held against.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    /// A floor, and what is aimed at.
    FloorAndAim(f64, f64),
    AtMost(f64),
    AtMostMebibytes(f64),
    StatedMebibytes,
    Stated,
}

struct Case {
    name: String,
    workload: String,
    bounds: [Bound; 3],
    /// Of redb, fjall and sled.
    figures: [Option<Spread>; 3],
}

const ENGINES: [EngineKind; 3] = [EngineKind::Redb, EngineKind::Fjall, EngineKind::Sled];

/// Why there is no figure.
fn missing(record: &Record, workload: &str, engine: EngineKind) -> String {
    let log = log_on(engine);
    let mut cells = record.cells.iter().filter(|cell| cell.name == workload && cell.subject == log);
    match cells.next() {
        None => "-".to_owned(),
        Some(cell) if cell.measured().is_none() => "failed".to_owned(),
        Some(_) => "no pair on the same disk".to_owned(),
    }
}

/// Every case with its figures, but those of which nothing was measured.
pub(super) fn table(record: &Record, sizes: &Sizes, style: Style) -> String {
    let rows: Vec<Vec<String>> = cases(record, sizes)
        .into_iter()
        .filter(|case| record.cells.iter().any(|cell| cell.name == case.workload))
        .map(|case| {
            let figures = case.figures.iter().zip(case.bounds).zip(ENGINES);
            let shown = figures.map(|((figure, bound), engine)| match figure {
                Some(figure) => show(*figure, bound),
                None => missing(record, &case.workload, engine),
            });
            std::iter::once(case.name.clone()).chain(shown).collect()
        })
        .collect();
    render(&["case", "redb", "fjall", "sled with its real sync"], &rows, style)
}

fn cases(record: &Record, sizes: &Sizes) -> Vec<Case> {
    let found = Found { record };
    let mut cases = found.against_bare(sizes);
    cases.splice(2..2, found.of_controls(sizes));
    cases.extend(found.of_their_own(sizes));
    cases
}

fn case(
    name: &str,
    bounds: [Bound; 3],
    workload: &Workload,
    figure: &dyn Fn(EngineKind) -> Option<Spread>,
) -> Case {
    let workload = workload.name();
    Case { name: name.to_owned(), workload, bounds, figures: ENGINES.map(figure) }
}

struct Found<'a> {
    record: &'a Record,
}

impl Found<'_> {
    /// The log's rate as a part of another store's at the same workload.
    fn part(&self, workload: &Workload, engine: EngineKind, of: &str) -> Option<Spread> {
        let name = workload.name();
        self.record.rate_ratio((&name, &log_on(engine)), (&name, of))
    }

    fn figure(
        &self,
        workload: &Workload,
        engine: EngineKind,
        figure: fn(&Measured) -> Option<f64>,
    ) -> Option<Spread> {
        self.record.figure((&workload.name(), &log_on(engine)), figure)
    }

    fn against_bare(&self, sizes: &Sizes) -> Vec<Case> {
        let row = |name, least, workload: Workload| {
            let part = |engine| self.part(&workload, engine, &bare(engine));
            case(name, [Bound::AtLeast(least); 3], &workload, &part)
        };
        let (random, tail) = (sizes.get(GetOrder::Random), sizes.get(GetOrder::Tail));
        vec![
            row("1 writer, batch 1, log of bare", 0.95, sizes.single(1)),
            row("1 writer, batch 64, log of bare", 0.95, sizes.single(64)),
            row("random read from cache, of bare get", 2.0, random),
            row("tail read from cache, of bare get", 2.0, tail),
            row("fill without per-call sync, of bare", 0.9, sizes.fill()),
        ]
    }

    fn of_controls(&self, sizes: &Sizes) -> Vec<Case> {
        let row = |name, bounds, workload: &Workload, control: &str| {
            case(name, bounds, workload, &|engine| self.part(workload, engine, control))
        };
        let floors = [(0.25, 0.6), (0.65, 0.9), (0.4, 0.5)]
            .map(|(floor, aim)| Bound::FloorAndAim(floor, aim));
        let (some, many) = (sizes.many(32, 64), sizes.many(256, 1000));
        let (growing, at_least_one) = ([Bound::Stated; 3], [Bound::AtLeast(1.0); 3]);
        let (blocked, flying) = (sizes.blocked().name(), sizes.in_flight());
        let in_flight = |engine| {
            let (name, log) = (flying.name(), log_on(engine));
            self.record.rate_ratio((&name, &log), (&blocked, &log))
        };
        vec![
            row("32 writers x 64 groups, of control", floors, &some, CONTROL),
            row("  of the growing control", growing, &some, CONTROL_GROWING),
            row("256 writers x 1,000 groups, of control", floors, &many, CONTROL),
            row("  of the growing control", growing, &many, CONTROL_GROWING),
            case("64 in flight of 64 blocked writers", at_least_one, &flying, &in_flight),
        ]
    }

    fn of_their_own(&self, sizes: &Sizes) -> Vec<Case> {
        let row = |name, bounds, workload: Workload, figure| {
            case(name, bounds, &workload, &|engine| self.figure(&workload, engine, figure))
        };
        let purging = [1.5, 1.5, 2.0].map(Bound::AtMost);
        let memory = [48.0, 80.0, 160.0].map(Bound::AtMostMebibytes);
        let stated = [Bound::Stated; 3];
        vec![
            row("append p99 during a purge, of none", purging, sizes.purge(), purge_p99),
            row("resident memory after the fill", memory, sizes.fill(), resident),
            row("  at its peak", [Bound::StatedMebibytes; 3], sizes.fill(), peak),
            row("bytes written per payload byte, steady", stated, sizes.steady(), in_calls),
            row("  in pages made dirty", stated, sizes.steady(), in_pages),
        ]
    }
}

fn purge_p99(measured: &Measured) -> Option<f64> {
    let quiet = measured.phases.get("quiet")?.latency.at(99.0);
    Some(measured.main()?.latency.at(99.0) / quiet).filter(|ratio| ratio.is_finite())
}

fn resident(measured: &Measured) -> Option<f64> {
    Some(float(measured.resident?.bytes))
}

fn peak(measured: &Measured) -> Option<f64> {
    Some(float(measured.resident?.peak_bytes))
}

fn in_pages(measured: &Measured) -> Option<f64> {
    Some(float(measured.written?.disk_bytes) / float(measured.payload_bytes))
}

fn in_calls(measured: &Measured) -> Option<f64> {
    Some(float(measured.written?.called_bytes) / float(measured.payload_bytes))
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

fn show(figure: Spread, bound: Bound) -> String {
    let Spread { median, low, high, .. } = figure;
    let judged = |holds: bool, bound: String| if holds { bound } else { format!("{bound} MISSED") };
    match bound {
        Bound::AtLeast(least) => {
            let bound = judged(median >= least, format!(">= {least}"));
            format!("{median:.2} ({low:.2}-{high:.2}) {bound}")
        }
        Bound::FloorAndAim(floor, aim) => {
            let bound = judged(median >= floor, format!(">= {floor}, aim {aim}"));
            format!("{median:.2} ({low:.2}-{high:.2}) {bound}")
        }
        Bound::AtMost(most) => {
            let bound = judged(median <= most, format!("<= {most}"));
            format!("{median:.2} ({low:.2}-{high:.2}) {bound}")
        }
        Bound::AtMostMebibytes(most) => {
            let bound = judged(median <= most * f64::from(1 << 20), format!("<= {most} MiB"));
            format!("{} {bound}", mebibytes(median))
        }
        Bound::StatedMebibytes => mebibytes(median),
        Bound::Stated => format!("{median:.2} ({low:.2}-{high:.2})"),
    }
}
