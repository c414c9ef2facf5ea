//! A reconciliation as people and spreadsheets read it.

use jiff::civil::Date;
use watch::reconcile::{Effect, Explained, Report, Row};

use crate::failure::Failure;
use crate::figures::{counted, grouped};
use crate::reconcile::missing;
use crate::terminal::Out;

/// How many rows are shown; CSV and JSON have all.
const ROWS_SHOWN: usize = 50;
/// How many names are listed.
const NAMES_SHOWN: usize = 10;

/// The columns of CSV.
const COLUMNS: [&str; 10] =
    ["meter", "account", "day", "measure", "ledger", "m3ter", "difference", "unexplained", "agrees", "because"];

/// The answer in one sentence, the rows, what else is to be known, and how far it reaches.
pub(crate) fn text(report: &Report) -> String {
    let mut lines = vec![sentence(report)];
    rows(report, &mut lines);
    let notes = notes(report);
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    lines.push(String::new());
    lines.push(horizon(report));
    lines.join("\n")
}

fn sentence(report: &Report) -> String {
    let totals = &report.totals;
    let days = match report.rows.is_empty() && totals.rows == 0 {
        true => return format!("nothing to compare: the ledger holds nothing of {}", days(report)),
        false => days(report),
    };
    let rows = counted(totals.rows, "row");
    match (totals.unexplained, totals.explained) {
        (0, 0) => format!("they agree: {} of {days} in {rows}", counted(totals.measurements, "measurement")),
        (0, some) => format!("they differ in {} of {rows} of {days}; all is explained", grouped(some)),
        (1, 0) => format!("1 row differs without an explanation, of {rows} of {days}"),
        (some, 0) => format!("{} rows differ without an explanation, of {rows} of {days}", grouped(some)),
        (some, others) => {
            let verb = if some == 1 { "row differs" } else { "rows differ" };
            let (some, others) = (grouped(some), grouped(others));
            format!("{some} {verb} without an explanation and {others} with one, of {rows} of {days}")
        }
    }
}

/// `2026-11-20`, or `2026-11-01 to 2026-11-20`.
fn days(report: &Report) -> String {
    let last = report.until_day.parse::<Date>().and_then(Date::yesterday).map(|last| last.to_string());
    match last {
        Ok(last) if last != report.from_day => format!("{} to {last}", report.from_day),
        _ => report.from_day.clone(),
    }
}

/// Rows that nothing explains come first.
fn rows(report: &Report, lines: &mut Vec<String>) {
    if report.rows.is_empty() {
        return;
    }
    let (first, others): (Vec<&Row>, Vec<&Row>) = report.rows.iter().partition(|row| !row.unexplained.is_zero());
    let shown: Vec<[String; 9]> = first.into_iter().chain(others).take(ROWS_SHOWN).map(cells).collect();
    let names =
        ["meter", "account", "day", "measure", "ledger", "m3ter", "difference", "unexplained", "because"].map(str::to_owned);
    let width = |column: usize| {
        let cells = shown.iter().chain([&names]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    lines.push(String::new());
    for row in std::iter::once(&names).chain(&shown) {
        let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0..=3 => format!("{cell:<width$}"),
            4..=7 => format!("{cell:>width$}"),
            _ => cell.clone(),
        });
        lines.push(padded.collect::<Vec<_>>().join("  ").trim_end().to_owned());
    }
    let more = (report.rows.len() as u64 + report.more_rows).saturating_sub(ROWS_SHOWN as u64);
    if more > 0 {
        lines.push(format!("and {}; --csv and --json have them", counted(more, "more row")));
    }
}

fn cells(row: &Row) -> [String; 9] {
    [
        row.meter.clone(),
        row.account.clone(),
        row.day.clone(),
        row.measure.clone().unwrap_or_else(|| "(measurements)".to_owned()),
        row.ledger.to_string(),
        row.m3ter.to_string(),
        row.difference.to_string(),
        row.unexplained.to_string(),
        because(&row.explained_by),
    ]
}

fn because(explained_by: &[Explained]) -> String {
    let one = |one: &Explained| {
        let perhaps = match one.effect {
            Effect::Missing => "",
            Effect::MayBeMissing | Effect::MayBeExtra => "up to ",
        };
        format!("{perhaps}{} {}", grouped(one.count), one.reason)
    };
    explained_by.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn notes(report: &Report) -> Vec<String> {
    let named = |names: &mut dyn Iterator<Item = String>, count: usize| {
        let shown: Vec<String> = names.take(NAMES_SHOWN).collect();
        let more = count.saturating_sub(shown.len());
        format!("{}{}", shown.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
    };
    let (unknown, unconfigured) = (&report.unknown_meters, &report.unconfigured);
    let mut notes = Vec::new();
    if !unknown.is_empty() {
        notes.push(format!("m3ter has no meter {}", named(&mut unknown.iter().cloned(), unknown.len())));
    }
    if !unconfigured.is_empty() {
        let fields = &mut unconfigured.iter().map(|one| format!("{} of {}", one.field, one.meter));
        notes.push(format!("not compared, since their meter has no such field: {}", named(fields, unconfigured.len())));
    }
    if report.totals.contested > 0 {
        notes.push(format!(
            "{} sent with several contents; each counts here with the earliest",
            match report.totals.contested {
                1 => "1 uid was".to_owned(),
                some => format!("{} uids were", grouped(some)),
            }
        ));
    }
    notes.extend(missing(report).into_iter().map(|missing| format!("WARNING: {missing}: the sums may lack something")));
    if report.horizon.events_read_to.is_none() && report.totals.agree < report.totals.rows {
        notes.push("WARNING: m3ter's events were never read here, so what it rejected is in no quarantine".to_owned());
    }
    notes
}

fn horizon(report: &Report) -> String {
    let horizon = &report.horizon;
    let settled =
        if report.totals.rows == 0 { String::new() } else { format!("; settled is what was sent by {}", horizon.settled_until) };
    format!(
        "read what was sent from {} to {}: {}{settled}. What arrives later is in no sum",
        horizon.read_from,
        horizon.read_until,
        counted(horizon.ledger_objects, "ledger object"),
    )
}

/// One line for each row, on standard output.
pub(crate) fn csv(report: &Report) -> Result<(), Failure> {
    let mut out = csv::Writer::from_writer(Out);
    let written = (|| {
        out.write_record(COLUMNS)?;
        for row in &report.rows {
            let measure = row.measure.as_deref().unwrap_or_default();
            let numbers = [&row.ledger, &row.m3ter, &row.difference, &row.unexplained].map(ToString::to_string);
            let because = because(&row.explained_by);
            let texts = [&row.meter, &row.account, &row.day].map(String::as_str).into_iter().chain([measure]);
            let agrees = if row.agrees { "true" } else { "false" };
            out.write_record(texts.chain(numbers.iter().map(String::as_str)).chain([agrees, &because]))?;
        }
        out.flush().map_err(csv::Error::from)
    })();
    written.map_err(|error| Failure::CouldNot(format!("cannot write CSV: {error}")))
}
