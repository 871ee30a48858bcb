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
    Stated,
}

struct Case {
    name: String,
    bounds: [Bound; 3],
    /// Of redb, fjall and sled.
    figures: [Option<Spread>; 3],
}

const ENGINES: [EngineKind; 3] = [EngineKind::Redb, EngineKind::Fjall, EngineKind::Sled];

/// Every case with its figures; one without any was not measured.
pub(super) fn table(record: &Record, sizes: &Sizes, style: Style) -> String {
    let rows: Vec<Vec<String>> = cases(record, sizes)
        .into_iter()
        .filter(|case| case.figures.iter().any(Option::is_some))
        .map(|case| {
            let figures = case.figures.iter().zip(case.bounds);
            let shown =
                figures.map(|(figure, bound)| figure.map_or("-".into(), |f| show(f, bound)));
            std::iter::once(case.name).chain(shown).collect()
        })
        .collect();
    render(&["case", "redb", "fjall", "sled with its real sync"], &rows, style)
}

fn cases(record: &Record, sizes: &Sizes) -> Vec<Case> {
    let case = |name: &str, bounds: [Bound; 3], figure: &dyn Fn(EngineKind) -> Option<Spread>| {
        Case { name: name.to_owned(), bounds, figures: ENGINES.map(figure) }
    };
    let all = |bound: Bound| [bound; 3];
    let floors = [
        Bound::FloorAndAim(0.25, 0.6),
        Bound::FloorAndAim(0.65, 0.9),
        Bound::FloorAndAim(0.4, 0.5),
    ];
    let bare_rate = |workload: Workload| {
        move |engine| {
            let name = workload.name();
            record.rate_ratio((&name, &log_on(engine)), (&name, &bare(engine)))
        }
    };
    let of = |workload: Workload, control: &'static str| {
        move |engine| {
            let name = workload.name();
            record.rate_ratio((&name, &log_on(engine)), (&name, control))
        }
    };
    let stated = |workload: Workload, figure: fn(&Measured) -> Option<f64>| {
        move |engine| record.figure((&workload.name(), &log_on(engine)), figure)
    };
    let in_flight = |engine| {
        let (flying, blocked) = (sizes.in_flight().name(), sizes.blocked().name());
        record.rate_ratio((&flying, &log_on(engine)), (&blocked, &log_on(engine)))
    };
    let mut purging = all(Bound::AtMost(1.5));
    purging[2] = Bound::AtMost(2.0);
    let memory = [48.0, 80.0, 160.0].map(Bound::AtMostMebibytes);
    let against_bare = Bound::AtLeast(0.95);
    vec![
        case("1 writer, batch 1, log of bare", all(against_bare), &bare_rate(sizes.single(1))),
        case("1 writer, batch 64, log of bare", all(against_bare), &bare_rate(sizes.single(64))),
        case("32 writers x 64 groups, of control", floors, &of(sizes.many(32, 64), CONTROL)),
        case(
            "  of the growing control",
            all(Bound::Stated),
            &of(sizes.many(32, 64), CONTROL_GROWING),
        ),
        case("256 writers x 1,000 groups, of control", floors, &of(sizes.many(256, 1000), CONTROL)),
        case(
            "  of the growing control",
            all(Bound::Stated),
            &of(sizes.many(256, 1000), CONTROL_GROWING),
        ),
        case("64 in flight of 64 blocked writers", all(Bound::AtLeast(1.0)), &in_flight),
        case(
            "random read from cache, of bare get",
            all(Bound::AtLeast(2.0)),
            &bare_rate(sizes.get(GetOrder::Random)),
        ),
        case(
            "tail read from cache, of bare get",
            all(Bound::AtLeast(2.0)),
            &bare_rate(sizes.get(GetOrder::Tail)),
        ),
        case("append p99 during a purge, of none", purging, &stated(sizes.purge(), purge_p99)),
        case(
            "fill without per-call sync, of bare",
            all(Bound::AtLeast(0.9)),
            &bare_rate(sizes.fill()),
        ),
        case("resident memory after the fill", memory, &stated(sizes.fill(), resident)),
        case(
            "  at its peak",
            all(Bound::AtMostMebibytes(f64::INFINITY)),
            &stated(sizes.fill(), peak),
        ),
        case(
            "bytes in pages written per payload byte, steady",
            all(Bound::Stated),
            &stated(sizes.steady(), in_pages),
        ),
        case(
            "bytes in write calls per payload byte, steady",
            all(Bound::Stated),
            &stated(sizes.steady(), in_calls),
        ),
    ]
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
            let bytes = mebibytes(median);
            if most.is_infinite() {
                return bytes;
            }
            let bound = judged(median <= most * f64::from(1 << 20), format!("<= {most} MiB"));
            format!("{bytes} {bound}")
        }
        Bound::Stated => format!("{median:.2} ({low:.2}-{high:.2})"),
    }
}
