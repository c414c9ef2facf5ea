//! Draws figures as SVG, light or dark as the reader's screen is: what a measurement costs in CPU, on a logarithmic scale.
//!
//! Left: every contender on the reference event, as bars. Right: the same by how many messages an event has. A bar on a
//! logarithmic scale has no natural beginning; it begins where the axis does, and its number stands beside it.
//!
//! Absent: a script, a font, a picture, or anything else that would be fetched.

use std::fmt::Write;

use crate::contender::Who;
use crate::figures::{Figures, WorkFigures};
use crate::plan::REFERENCE;
use crate::report::Report;
use crate::table::micros;
use crate::work::{Shape, thousands};

/// All sizes are in pixels.
const WIDTH: f64 = 880.0;
const MARGIN: f64 = 16.0;
const TOP: f64 = 62.0;
const BAR: f64 = 34.0;
/// Where bars begin, and where those of the left side end at the latest.
const BARS_LEFT: f64 = 205.0;
const BARS_RIGHT: f64 = 425.0;
/// Where the lines of the right side begin and end.
const LINES_LEFT: f64 = 560.0;
const LINES_RIGHT: f64 = 740.0;

/// Colours of the contenders: by day, by night.
const COLOURS: [(&str, &str, &str); 6] = [
    ("relay", "#0b6bcb", "#4aa3ff"),
    ("relay-ledger-off", "#4fa3e0", "#8cc8ff"),
    ("floor", "#8a949e", "#9aa5b1"),
    ("node", "#3c873a", "#6cc24a"),
    ("powertools", "#d97706", "#f5a742"),
    ("m3ter-sdk", "#b4442f", "#f07a63"),
];

/// The drawing.
pub(crate) fn svg(report: &Report) -> String {
    let bars = reference(report);
    let rows = bars.map_or(0, |work| work.contenders.len());
    let bottom = TOP + BAR * rows.max(4) as f64;
    let height = bottom + 64.0;
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="CPU time for each measurement, usage-relay beside others, logarithmic">"#
    );
    let _ = writeln!(out, "\n<style>{}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>", style());
    let scale = Scale::of(report);
    if let Some(work) = bars {
        let transport = if work.tls { "over TLS" } else { "without TLS" };
        let title = format!("CPU for each measurement, in µs: {} messages {transport}", thousands(work.shape.messages));
        text(&mut out, "title ink", (MARGIN, 26.0), "start", &title);
        text(
            &mut out,
            "small dim",
            (MARGIN, 44.0),
            "start",
            "logarithmic; in brackets, × usage-relay's: medians of the rounds' ratios",
        );
        grid(&mut out, &scale, bottom);
        for (row, one) in work.contenders.iter().enumerate() {
            bar(&mut out, &scale, TOP + BAR * row as f64, one, work.times(&one.name, "relay"));
        }
    }
    lines(&mut out, report, &scale, bottom);
    text(
        &mut out,
        "tiny dim",
        (MARGIN, height - 26.0),
        "start",
        &format!("medians of {} interleaved rounds; make bench", report.rounds),
    );
    text(&mut out, "tiny dim", (MARGIN, height - 12.0), "start", &report.machine.line());
    out.push_str("</svg>\n");
    out
}

/// The reference event: over TLS, which production pays, if that was measured.
fn reference(report: &Report) -> Option<&WorkFigures> {
    let of = |tls| report.works.iter().find(|work| work.shape == REFERENCE && work.tls == tls);
    of(true).or_else(|| of(false))
}

/// Decades of microseconds that hold everything drawn.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(report: &Report) -> Scale {
        let drawn = report.works.iter().filter(|work| is_drawn(work.shape));
        let all =
            drawn.flat_map(|work| work.contenders.iter().map(|one| one.cpu_us.median)).filter(|us| us.is_finite() && *us > 0.0);
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), us| (low.min(us), high.max(us)));
        if low > high {
            return Scale { low: 0.0, high: 1.0 };
        }
        Scale { low: low.log10().floor(), high: high.log10().ceil().max(low.log10().floor() + 1.0) }
    }

    /// From 0 at the beginning of the axis to 1 at its end.
    fn part(&self, us: f64) -> f64 {
        ((us.log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power))
    }
}

fn is_drawn(shape: Shape) -> bool {
    shape.measurements == 1 && shape.bytes == REFERENCE.bytes && !shape.short_handles
}

fn grid(out: &mut String, scale: &Scale, bottom: f64) {
    for us in scale.decades() {
        let x = BARS_LEFT + (BARS_RIGHT - BARS_LEFT) * scale.part(us);
        let _ = writeln!(out, r#"<line class="grid" x1="{x:.1}" y1="{TOP:.1}" x2="{x:.1}" y2="{bottom:.1}"/>"#);
        text(out, "tiny dim", (x, bottom + 14.0), "middle", &format!("{us}"));
    }
}

fn bar(out: &mut String, scale: &Scale, y: f64, one: &Figures, times: Option<f64>) {
    let us = one.cpu_us.median;
    let across = ((BARS_RIGHT - BARS_LEFT) * scale.part(us)).max(2.0);
    text(out, "small ink", (BARS_LEFT - 8.0, y + BAR / 2.0 + 4.0), "end", Who::title(&one.name));
    let (height, top) = (BAR - 12.0, y + 6.0);
    let class = class(&one.name);
    let _ = writeln!(
        out,
        r#"<rect class="{class}" x="{BARS_LEFT:.1}" y="{top:.1}" width="{across:.1}" height="{height:.1}" rx="2"/>"#
    );
    let times = times.filter(|_| one.name != "relay").map_or_else(String::new, |times| format!(" ({times:.1} ×)"));
    text(out, "small ink", (BARS_LEFT + across + 6.0, y + BAR / 2.0 + 4.0), "start", &format!("{}{times}", micros(us)));
}

fn lines(out: &mut String, report: &Report, scale: &Scale, bottom: f64) {
    let mut works: Vec<&WorkFigures> = report.works.iter().filter(|work| !work.tls && is_drawn(work.shape)).collect();
    works.sort_by_key(|work| work.shape.messages);
    let (Some(first), Some(last)) = (works.first(), works.last()) else { return };
    let messages = |work: &WorkFigures| (work.shape.messages as f64).log10();
    let (from, to) = (messages(first), messages(last));
    let x = |work: &WorkFigures| LINES_LEFT + (LINES_RIGHT - LINES_LEFT) * (messages(work) - from) / (to - from).max(0.1);
    let y = |us: f64| bottom - (bottom - TOP) * scale.part(us);
    text(out, "title ink", (LINES_LEFT - 30.0, 26.0), "start", "The same by messages in an event");
    text(out, "small dim", (LINES_LEFT - 30.0, 44.0), "start", "without TLS");
    for us in scale.decades() {
        let y = y(us);
        let _ = writeln!(out, r#"<line class="grid" x1="{LINES_LEFT}" y1="{y:.1}" x2="{LINES_RIGHT}" y2="{y:.1}"/>"#);
        text(out, "tiny dim", (LINES_LEFT - 6.0, y + 3.5), "end", &format!("{us}"));
    }
    for work in &works {
        text(out, "tiny dim", (x(work), bottom + 14.0), "middle", &thousands(work.shape.messages));
    }
    let mut labels = Vec::new();
    for (name, ..) in COLOURS {
        let points: Vec<(f64, f64)> =
            works.iter().filter_map(|work| work.of(name).map(|one| (x(work), y(one.cpu_us.median)))).collect();
        let class = class(name);
        let joined: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        if let Some((_, y)) = points.last() {
            let _ = writeln!(out, r#"<polyline class="line {class}" points="{}"/>"#, joined.join(" "));
            labels.push((*y, name));
        }
        for (x, y) in points {
            let _ = writeln!(out, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#);
        }
    }
    for (y, name) in apart(labels) {
        let short = match name {
            "relay" => "usage-relay",
            "relay-ledger-off" => "with its ledger off",
            "floor" => "floor",
            other => Who::title(other),
        };
        text(out, "tiny ink", (LINES_RIGHT + 8.0, y + 3.5), "start", short);
    }
}

/// Moves labels down until each has its own line, the highest first.
fn apart(mut labels: Vec<(f64, &str)>) -> Vec<(f64, &str)> {
    const LINE: f64 = 13.0;
    labels.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut free = f64::MIN;
    for (y, _) in &mut labels {
        *y = y.max(free);
        free = *y + LINE;
    }
    labels
}

fn class(name: &str) -> String {
    format!("c{}", COLOURS.iter().position(|(one, ..)| *one == name).unwrap_or(2))
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

fn style() -> String {
    let colours = |theme: [&str; 4], which: fn(&(&str, &str, &str)) -> String| {
        let [page, ink, dim, grid] = theme;
        let own: Vec<String> = COLOURS
            .iter()
            .enumerate()
            .map(|(nth, colour)| format!(".c{nth}{{fill:{0}}}.line.c{nth}{{fill:none;stroke:{0}}}", which(colour)))
            .collect();
        format!(".page{{fill:{page}}}.ink{{fill:{ink}}}.dim{{fill:{dim}}}.grid{{stroke:{grid}}}{}", own.concat())
    };
    let day = colours(["#ffffff", "#16191f", "#545b64", "#dfe3e6"], |(_, day, _)| (*day).to_owned());
    let night = colours(["#0d1117", "#e6edf3", "#9aa5b1", "#2b3440"], |(.., night)| (*night).to_owned());
    format!(
        "text{{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}}.title{{font-size:14px;font-weight:600}}\
         .small{{font-size:12px}}.tiny{{font-size:10px}}.line{{stroke-width:2}}{day}@media (prefers-color-scheme: dark){{{night}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::measure::{Measured, Run};

    fn measured(name: &str, us: f64) -> Measured {
        let runs = vec![Run { cpu_ns: us * 1e3, answer_ms: 1.0 }];
        Measured { name: name.to_owned(), runs, requests: 1.0, bytes: 1.0, peak_bytes: 1 }
    }

    fn report(shapes: &[Shape]) -> Report {
        let measured: Vec<Measured> =
            COLOURS.iter().zip([3.0, 2.0, 1.0, 20.0, 30.0, 150.0]).map(|((name, ..), us)| measured(name, us)).collect();
        let works = shapes.iter().map(|shape| WorkFigures::new(*shape, false, 1, &measured)).collect();
        let machine = Machine { cpu: "A & B <fast>".to_owned(), ..Machine::default() };
        Report { machine, rounds: 15, works, cold_starts: Vec::new(), skipped: Vec::new(), binary_bytes: 1, zip_bytes: 1 }
    }

    /// Every tag that opens closes, in order, and nothing but the five entities stands for itself.
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let Some((tag, between)) = tag.split_once('>') else { return false };
            if between.contains('>')
                || between.split('&').skip(1).any(|after| !["amp;", "lt;", "gt;"].iter().any(|one| after.starts_with(one)))
            {
                return false;
            }
            let name = tag.trim_matches('/').split([' ', '\n']).next();
            if tag.starts_with('/') {
                if open.pop() != name {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.extend(name);
            }
            if tag.matches('"').count() % 2 != 0 {
                return false;
            }
        }
        open.is_empty()
    }

    #[test]
    fn the_drawing_is_well_formed_whatever_was_measured() {
        let everything = [Shape::new(10, 1, 250), REFERENCE, Shape::new(5_000, 1, 250)];
        for shapes in [&everything[..], &everything[..1], &[REFERENCE], &[Shape::new(1, 9, 9)], &[]] {
            let svg = svg(&report(shapes));
            assert!(is_well_formed(&svg), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(!is_well_formed("<svg><g></svg>") && !is_well_formed("<svg>a & b</svg>"), "the test can fail");
    }

    #[test]
    fn ten_times_the_cost_is_one_decade_further_and_a_label_never_covers_another() {
        let scale = Scale::of(&report(&[REFERENCE]));
        assert_eq!((scale.low, scale.high), (0.0, 3.0));
        assert_eq!((scale.part(1.0), scale.part(1_000.0)), (0.0, 1.0));
        assert!((scale.part(10.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(apart(vec![(11.0, "b"), (10.0, "a"), (50.0, "c")]), [(10.0, "a"), (23.0, "b"), (50.0, "c")]);
    }

    #[test]
    fn every_contender_that_works_has_a_colour() {
        for who in Who::ALL.into_iter().filter(|who| who.works()) {
            assert!(COLOURS.iter().any(|(name, ..)| *name == who.name()), "{}", who.name());
        }
    }
}
