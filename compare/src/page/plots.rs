//! The plots, as SVG that takes its colours from the page.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::stats::float;

/// Narrow enough for a telephone; wider screens show several beside each other.
const WIDTH: u32 = 400;
const HEIGHT: u32 = 240;
const BAR_HEIGHT: u32 = 26;
const TEXT: (&str, u32) = ("sans-serif", 14);

/// Colours that stand for the page's own, which differ in light and dark.
const INK: RGBColor = RGBColor(1, 2, 3);
const GRID: RGBColor = RGBColor(4, 5, 6);
/// How many colours there are for stores.
pub(super) const COLOURS: usize = 14;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn colour(at: usize) -> RGBColor {
    let at = u8::try_from(at % COLOURS).unwrap_or(0);
    RGBColor(7, 8, 10 + at)
}

/// One line of a plot.
pub(super) struct Line {
    /// Which of the page's colours.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// One bar, with the spread of its rounds.
pub(super) struct Bar {
    pub(super) colour: usize,
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Draws, and gives the page's colours to what was drawn; nothing where it cannot be drawn.
fn draw(height: u32, paint: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        if paint(&area).and_then(|()| Ok(area.present()?)).is_err() {
            return String::new();
        }
    }
    for at in 0..COLOURS {
        let drawn = format!("#0708{:02X}", 10 + at);
        svg = svg.replace(&drawn, &format!("var(--s{at})"));
    }
    let svg = svg.replace("#010203", "var(--ink)").replace("#040506", "var(--grid)");
    // The page decides how wide it is.
    svg.replacen(&format!("width=\"{WIDTH}\" height=\"{height}\" "), "role=\"img\" ", 1)
}

/// Times of calls by percentile: across, how many of a hundred thousand calls take longer.
pub(super) fn percentiles(lines: &[Line]) -> String {
    let times = || lines.iter().flat_map(|line| line.points.iter().map(|&(_, us)| us));
    let low = times().fold(f64::MAX, f64::min).max(0.01);
    let high = times().fold(0.0, f64::max).max(low * 2.0);
    draw(HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(22)
            .x_label_area_size(38)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..4.0, (low * 0.8..high * 1.25).log_scale())?;
        let at = |nines: &f64| match nines.round() {
            nines if nines < 0.5 => "0".to_owned(),
            nines if nines < 1.5 => "90".to_owned(),
            nines if nines < 2.5 => "99".to_owned(),
            nines if nines < 3.5 => "99.9".to_owned(),
            _ => "99.99".to_owned(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .light_line_style(GRID)
            .axis_style(GRID)
            .x_labels(5)
            .y_labels(6)
            .x_label_formatter(&at)
            .y_label_formatter(&|us| crate::table::time(*us))
            .label_style(TEXT.into_font().color(&INK))
            .axis_desc_style(TEXT.into_font().color(&INK))
            .x_desc("percentile")
            .draw()?;
        for line in lines {
            let style = colour(line.colour).stroke_width(2);
            let points = line.points.iter().map(|&(percent, us)| (nines(percent), us));
            chart.draw_series(LineSeries::new(points, style))?;
        }
        Ok(())
    })
}

/// How many nines a percentile has: 90 one, 99 two.
fn nines(percent: f64) -> f64 {
    (-(1.0 - percent / 100.0).max(1e-4).log10()).clamp(0.0, 4.0)
}

/// Something over time.
pub(super) fn over_time(lines: &[Line], name: &str, show: &dyn Fn(f64) -> String) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let right = points().map(|&(seconds, _)| seconds).fold(0.1, f64::max);
    let top = points().map(|&(_, value)| value).fold(1.0, f64::max);
    let decimals = if right < 1.0 { 2 } else { 1 };
    draw(HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(22)
            .x_label_area_size(38)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..right, 0.0..top * 1.1)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .light_line_style(GRID)
            .axis_style(GRID)
            .x_labels(5)
            .y_labels(5)
            .x_label_formatter(&|seconds| format!("{seconds:.decimals$}"))
            .y_label_formatter(&|value| show(*value))
            .label_style(TEXT.into_font().color(&INK))
            .axis_desc_style(TEXT.into_font().color(&INK))
            .x_desc(name)
            .draw()?;
        for line in lines {
            let style = colour(line.colour).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        }
        Ok(())
    })
}

/// Bars to the right with their values, and the rounds' spread as a thin line through their ends.
pub(super) fn bars(bars: &[Bar], show: &dyn Fn(f64) -> String) -> String {
    /// Where bars begin and end.
    const LEFT: f64 = 148.0;
    const RIGHT: f64 = 336.0;
    let most = bars.iter().map(|bar| bar.high).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let count = u32::try_from(bars.len()).unwrap_or(u32::MAX);
    let x = |value: f64| pixel(LEFT + (RIGHT - LEFT) * (value / most));
    draw(count.saturating_mul(BAR_HEIGHT) + 8, |area| {
        let text = TEXT.into_font().color(&INK);
        for (at, bar) in bars.iter().enumerate() {
            let top = 4.0 + f64::from(BAR_HEIGHT) * float(at as u64);
            let (upper, middle, lower) = (pixel(top + 4.0), pixel(top + 13.0), pixel(top + 22.0));
            area.draw(&Text::new(bar.label.clone(), (2, pixel(top + 6.0)), text.clone()))?;
            area.draw(&Rectangle::new(
                [(x(0.0), upper), (x(bar.value), lower)],
                colour(bar.colour).filled(),
            ))?;
            let spread = vec![(x(bar.low), middle), (x(bar.high), middle)];
            area.draw(&PathElement::new(spread, INK.stroke_width(1)))?;
            let end = x(bar.value.max(bar.high)) + 6;
            area.draw(&Text::new(show(bar.value), (end, pixel(top + 6.0)), text.clone()))?;
        }
        Ok(())
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a plot is a few hundred pixels wide")]
fn pixel(at: f64) -> i32 {
    at.round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_take_every_colour_from_the_page() {
        let line = |colour| Line { colour, points: vec![(1.0, 10.0), (99.0, 20.0)] };
        let lines: Vec<Line> = (0..COLOURS).map(line).collect();
        let drawn = [
            percentiles(&lines),
            over_time(&lines, "seconds", &|value| value.to_string()),
            bars(
                &[Bar { colour: 0, label: "a<b".into(), value: 2.0, low: 1.0, high: 3.0 }],
                &|value| value.to_string(),
            ),
        ];
        for svg in drawn {
            assert!(svg.starts_with("<svg "), "{svg}");
            let fixed =
                svg.split("=\"#").nth(1).map(|rest| rest.chars().take(6).collect::<String>());
            assert_eq!(fixed, None, "a fixed colour");
            assert!(svg.contains("var(--ink)") && svg.contains("var(--s0)"));
            assert!(!svg.contains("a<b"), "labels are escaped");
        }
    }

    #[test]
    fn nothing_to_show_is_nothing_drawn() {
        assert_eq!(bars(&[], &|value| value.to_string()), "");
        let zero = Bar { colour: 0, label: String::new(), value: 0.0, low: 0.0, high: 0.0 };
        assert_eq!(bars(&[zero], &|value| value.to_string()), "");
    }
}
