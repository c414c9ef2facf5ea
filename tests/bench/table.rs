//! Figures as text, for a terminal.

use crate::contender::Who;
use crate::figures::WorkFigures;
use crate::report::Report;
use crate::work::thousands;

/// One piece of work: a line for each contender.
pub(crate) fn work(figures: &WorkFigures) -> String {
    let transport = if figures.tls { "TLS" } else { "no TLS" };
    let mut text = format!(
        "{}, {transport}: an event of {:.2} MB\n{:<30}{:>9} {:>17} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        figures.shape.name(),
        figures.event_bytes as f64 / 1e6,
        "",
        "µs each",
        "middle half",
        "× floor",
        "× relay",
        "ms",
        "requests",
        "peak MiB",
    );
    for one in &figures.contenders {
        let ratio = |to: &str| figures.times(&one.name, to).map_or_else(String::new, |times| format!("{times:.2}"));
        let spread = format!("{}…{}", micros(one.cpu_us.quarter), micros(one.cpu_us.three_quarters));
        text += &format!(
            "{:<30}{:>9} {spread:>17} {:>9} {:>9} {:>9.1} {:>9.1} {:>9.1}\n",
            Who::title(&one.name),
            micros(one.cpu_us.median),
            ratio("floor"),
            ratio("relay"),
            one.answer_ms.median,
            one.requests,
            mib(one.peak_bytes),
        );
    }
    text
}

/// Cold starts: a line for each contender, with and without TLS.
pub(crate) fn cold(report: &Report) -> String {
    let mut text = String::new();
    for tls in [false, true] {
        let of_this: Vec<_> = report.cold_starts.iter().filter(|one| one.tls == tls).collect();
        if of_this.is_empty() {
            continue;
        }
        let transport = if tls { "TLS" } else { "no TLS" };
        text += &format!(
            "Cold start, {transport}: from starting the process to the whole first answer, 10 messages\n{:<30}{:>9} {:>17} {:>9} {:>9} {:>9}\n",
            "", "ms", "middle half", "× hello", "CPU ms", "× hello"
        );
        for one in of_this {
            let ratio = |times: Option<f64>| times.map_or_else(String::new, |times| format!("{times:.2}"));
            let spread = format!("{:.1}…{:.1}", one.answer_ms.quarter, one.answer_ms.three_quarters);
            text += &format!(
                "{:<30}{:>9.1} {spread:>17} {:>9} {:>9.1} {:>9}\n",
                Who::title(&one.name),
                one.answer_ms.median,
                ratio(one.times_hello),
                one.cpu_ms.median,
                ratio(one.times_hello_cpu),
            );
        }
    }
    text += &format!(
        "\nbinary {} bytes, zip {} bytes\n",
        thousands(report.binary_bytes as usize),
        thousands(report.zip_bytes as usize)
    );
    for skipped in &report.skipped {
        text += &format!("not measured: {skipped}\n");
    }
    text
}

/// Microseconds with three digits, as far as there are any.
pub(crate) fn micros(us: f64) -> String {
    match us {
        _ if us < 10.0 => format!("{us:.2}"),
        _ if us < 100.0 => format!("{us:.1}"),
        _ => format!("{us:.0}"),
    }
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
