//! The rows of m3ter's usage query, read without knowing what their columns are called: m3ter publishes none of the names.
//!
//! A column is recognised by what was asked for, whatever its case and separators: `accountId`, `account_code`, `startTime`,
//! `api_calls.bytes.sum`, `SUM(bytes)`, `bytesSum`. Of two fields that would fit a column, the one that fits it most exactly
//! has it. A row that lacks something, or in which two columns say different things, is an error that names what was
//! expected: taken for zero it would be a difference, or hide one.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use relay_core::instant::parse_ms;
use relay_core::limits::DAY_MS;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::compare::Counted;
use super::decimal::Decimal;

/// Names of the column that a TIME group may make, without case and separators.
const TIME: [&str; 17] = [
    "starttime",
    "start",
    "startdate",
    "startdatetime",
    "time",
    "date",
    "day",
    "datetime",
    "timestamp",
    "ts",
    "period",
    "periodstart",
    "timegroup",
    "timebucket",
    "bucket",
    "timestart",
    "dayts",
];
/// How deep objects in a row may be nested.
const DEPTH_MAX: u32 = 3;

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Function {
    /// The sum.
    Sum,
    /// How many there are.
    Count,
}

impl Function {
    /// As a query names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Function::Sum => "SUM",
            Function::Count => "COUNT",
        }
    }
}

/// What a query asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    /// The aggregations: field and function.
    pub(crate) aggregations: &'a [(Arc<str>, Function)],
    /// The first day, in days since the epoch,
    pub(crate) from_day: i64,
    /// and the day after the last.
    pub(crate) until_day: i64,
}

/// Whose usage a row is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whose {
    /// m3ter's id of the account.
    pub(crate) id: Option<String>,
    /// Its code.
    pub(crate) code: Option<String>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageRow {
    /// The account.
    pub(crate) whose: Whose,
    /// Days since the epoch.
    pub(crate) day: i64,
    /// What was counted.
    pub(crate) counted: Counted,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its rows.
    pub(crate) rows: Vec<UsageRow>,
    /// Whether there are more than m3ter gave.
    pub(crate) more: bool,
}

/// Why an answer is of no use. The text says what was expected, and names columns, never what is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Odd {
    /// It is not of the published shape.
    #[error("expected m3ter's answer to be {{\"data\":[…],\"hasMoreData\":…}}")]
    Shape,
    /// No column is known as the day: days must be asked for one by one.
    #[error("expected a column with the start of the day in UTC; found {columns}")]
    NoDay {
        /// What there is.
        columns: String,
    },
    /// Something else is missing.
    #[error("expected {expected}; found {columns}")]
    Row {
        /// What was expected.
        expected: String,
        /// What there is.
        columns: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage<'a> {
    #[serde(borrow)]
    data: Vec<BTreeMap<String, &'a RawValue>>,
    #[serde(default)]
    has_more_data: Option<bool>,
}

/// What a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    AccountId,
    AccountCode,
    Account,
    Time,
    /// The place of its aggregation, and how well it fits: less is better.
    Aggregation(usize, u32),
    Other,
}

/// Reads an answer to a query for at most `limit` rows.
///
/// # Errors
/// [`Odd`] if a single row cannot be read.
pub(crate) fn read(answer: &[u8], asked: &Asked<'_>, limit: usize) -> Result<Answer, Odd> {
    let usage: Usage<'_> = serde_json::from_slice(answer).map_err(|_| Odd::Shape)?;
    let more = usage.has_more_data.unwrap_or(usage.data.len() >= limit);
    let mut known: BTreeMap<String, Column> = BTreeMap::new();
    let rows = usage.data.iter().map(|row| {
        let mut cells = Vec::new();
        flatten("", row, 1, &mut cells);
        for (name, _) in &cells {
            if !known.contains_key(name) {
                known.insert(name.clone(), column(name, asked.aggregations));
            }
        }
        let cells = cells.iter().map(|(name, raw)| (known.get(name).copied().unwrap_or(Column::Other), *raw));
        one(cells, asked).map_err(|lacks| lacks.of(row))
    });
    Ok(Answer { rows: rows.collect::<Result<_, Odd>>()?, more })
}

/// What a row lacks.
enum Lacks {
    Day,
    Else(String),
}

impl Lacks {
    fn of(self, row: &BTreeMap<String, &RawValue>) -> Odd {
        let names: Vec<&str> = row.keys().map(String::as_str).take(40).collect();
        let columns = if names.is_empty() { "no column".to_owned() } else { format!("the columns {}", names.join(", ")) };
        match self {
            Lacks::Day => Odd::NoDay { columns },
            Lacks::Else(expected) => Odd::Row { expected, columns },
        }
    }
}

fn flatten<'a>(before: &str, row: &BTreeMap<String, &'a RawValue>, depth: u32, cells: &mut Vec<(String, &'a RawValue)>) {
    for (name, raw) in row {
        let name = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
        let nested = raw.get().starts_with('{') && depth < DEPTH_MAX;
        match nested.then(|| serde_json::from_str::<BTreeMap<String, &'a RawValue>>(raw.get())) {
            Some(Ok(row)) => flatten(&name, &row, depth + 1, cells),
            Some(Err(_)) | None => cells.push((name, raw)),
        }
    }
}

fn one<'a>(cells: impl Iterator<Item = (Column, &'a RawValue)>, asked: &Asked<'_>) -> Result<UsageRow, Lacks> {
    let (mut whose, mut either, mut days) = (Whose::default(), None, Vec::new());
    let mut numbers: BTreeMap<usize, (u32, Decimal)> = BTreeMap::new();
    for (column, raw) in cells.filter(|(_, raw)| raw.get() != "null") {
        match column {
            Column::AccountId => whose.id = text(raw),
            Column::AccountCode => whose.code = text(raw),
            Column::Account => either = text(raw),
            Column::Time => days.push(day(raw, asked).ok_or(Lacks::Day)?),
            Column::Aggregation(place, fit) => number(&mut numbers, asked, (place, fit), raw)?,
            Column::Other => {}
        }
    }
    if whose == Whose::default() {
        whose = Whose { id: either.clone(), code: either };
    }
    if whose == Whose::default() {
        return Err(Lacks::Else("a column with the account's id or code".to_owned()));
    }
    days.dedup();
    let day = match days.as_slice() {
        [day] => *day,
        [] if asked.until_day - asked.from_day == 1 => asked.from_day,
        _ => return Err(Lacks::Day),
    };
    let number = |field: &Arc<str>, function| {
        let place = asked.aggregations.iter().position(|(other, of)| other == field && *of == function)?;
        numbers.get(&place).map(|(_, number)| number.clone())
    };
    let counts = asked.aggregations.iter().filter(|(_, function)| *function == Function::Count);
    let counts: Vec<(&Arc<str>, Option<Decimal>)> = counts.map(|(field, _)| (field, number(field, Function::Count))).collect();
    // All measurements of a meter have all its fields; one that was added later counts fewer.
    let Some(count) = counts.iter().filter_map(|(_, count)| count.clone()).max() else {
        return Err(Lacks::Else("a column with the COUNT of a field".to_owned()));
    };
    let mut sums = BTreeMap::new();
    for (field, _) in asked.aggregations.iter().filter(|(_, function)| *function == Function::Sum) {
        let counted = counts.iter().find(|(other, _)| *other == field).and_then(|(_, count)| count.as_ref());
        match (number(field, Function::Sum), counted.is_none_or(Decimal::is_zero)) {
            (Some(sum), _) => drop(sums.insert(Arc::clone(field), sum)),
            // Nothing has the field, so there is nothing to add.
            (None, true) => {}
            (None, false) => return Err(Lacks::Else(format!("a column with the SUM of {field}"))),
        }
    }
    Ok(UsageRow { whose, day, counted: Counted { count, sums } })
}

/// Of two columns for one aggregation the one that fits better counts; if both fit as well they must say the same.
fn number(
    numbers: &mut BTreeMap<usize, (u32, Decimal)>,
    asked: &Asked<'_>,
    (place, fit): (usize, u32),
    raw: &RawValue,
) -> Result<(), Lacks> {
    let of = || {
        asked.aggregations.get(place).map(|(field, function)| format!("the {} of {field}", function.name())).unwrap_or_default()
    };
    let written = raw.get();
    let quoted = serde_json::from_str::<String>(written).ok();
    let Some(number) = Decimal::parse(quoted.as_deref().unwrap_or(written)) else {
        return Err(Lacks::Else(format!("{} to be a number", of())));
    };
    match numbers.get(&place) {
        Some((other, _)) if *other < fit => {}
        Some((other, known)) if *other == fit && *known != number => return Err(Lacks::Else(format!("{} in one column", of()))),
        Some(_) | None => drop(numbers.insert(place, (fit, number))),
    }
    Ok(())
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str::<String>(raw.get()).ok().filter(|text| !text.is_empty())
}

/// The day that begins at the time of a cell; `None` if no day in UTC begins then, or none that was asked for: the days of
/// another time zone are other sums.
fn day(raw: &RawValue, asked: &Asked<'_>) -> Option<i64> {
    let at_ms = match text(raw) {
        Some(text) => time(&text)?,
        None => {
            let number: i64 = raw.get().parse().ok()?;
            // Seconds until the year 5138; milliseconds since 1973.
            if number.abs() < 100_000_000_000 { number.checked_mul(1_000)? } else { number }
        }
    };
    let day = at_ms.div_euclid(DAY_MS);
    (at_ms.rem_euclid(DAY_MS) == 0 && (asked.from_day..asked.until_day).contains(&day)).then_some(day)
}

/// A date, or a date-time; without an offset it is in UTC.
fn time(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.trim_start_matches(['T', ' ']);
    let rest = if rest.is_empty() { "00:00:00" } else { rest };
    let written = format!("{date}T{}", rest.trim_end_matches(" UTC"));
    let as_utc = || format!("{written}Z").parse::<Timestamp>().ok().map(|at| at.as_millisecond());
    parse_ms(&written).or_else(as_utc)
}

/// Lower case letters and digits alone.
fn plain(name: &str) -> String {
    name.chars().filter(|one| one.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn column(name: &str, aggregations: &[(Arc<str>, Function)]) -> Column {
    if let Some((place, fit)) = aggregation(name, aggregations) {
        return Column::Aggregation(place, fit);
    }
    // What is nested is called after what holds it: `group.accountId`, `account.id`.
    let last = plain(name.rsplit('.').next().unwrap_or(name));
    let with_parent: String = name.rsplit('.').take(2).collect::<Vec<_>>().iter().rev().map(|part| plain(part)).collect();
    match (with_parent.as_str(), last.as_str()) {
        (_, "accountid") | ("accountid", _) => Column::AccountId,
        (_, "accountcode") | ("accountcode", _) => Column::AccountCode,
        (_, "account") => Column::Account,
        (_, last) if TIME.contains(&last) => Column::Time,
        _ => Column::Other,
    }
}

/// The aggregation that a column holds, and how well it fits: by its function and by the end of what is left of its name.
fn aggregation(name: &str, aggregations: &[(Arc<str>, Function)]) -> Option<(usize, u32)> {
    let mut best: Option<(u32, usize, usize)> = None;
    for (place, (field, function)) in aggregations.iter().enumerate() {
        let Some(fit) = fit(name, field, *function) else { continue };
        let length = usize::MAX - field.len();
        if best.is_none_or(|(other, long, _)| (fit, length) < (other, long)) {
            best = Some((fit, length, place));
        }
    }
    best.map(|(fit, _, place)| (place, fit))
}

/// 0: the field and the function alone; 1: with something before the field, apart from it; 2 and 3: the same without regard to
/// case and separators; a function that stands in front of its field is worse by 4.
fn fit(name: &str, field: &str, function: Function) -> Option<u32> {
    let (name, function) = (name.trim_matches(is_punctuation), function.name());
    let is_function = |part: &&str| part.eq_ignore_ascii_case(function);
    let cut = name.len().checked_sub(function.len())?;
    let behind = name.get(cut..).filter(is_function).and_then(|_| name.get(..cut));
    let front = name.get(..function.len()).filter(is_function).and_then(|_| name.get(function.len()..));
    let behind = behind.and_then(|left| rate(left, field));
    let front = front.and_then(|left| rate(left, field)).map(|fit| fit + 4);
    behind.into_iter().chain(front).min()
}

fn rate(left: &str, field: &str) -> Option<u32> {
    let left = left.trim_matches(is_punctuation);
    // A field may begin and end with an underscore, and one may stand between it and its function.
    let variants = [Some(left), left.strip_suffix('_'), left.strip_prefix('_')].into_iter().flatten();
    let exact = variants.filter_map(|left| left.strip_suffix(field)).map(|before| match before.chars().last() {
        None => 0,
        Some(last) if !last.is_alphanumeric() => 1,
        Some(_) => 3,
    });
    let (plain_left, plain_field) = (plain(left), plain(field));
    let loose = plain_left.strip_suffix(&plain_field).filter(|_| !plain_field.is_empty());
    exact.chain(loose.map(|before| if before.is_empty() { 2 } else { 3 })).min()
}

/// What no field code holds.
fn is_punctuation(one: char) -> bool {
    !one.is_alphanumeric() && one != '_' && one != '$'
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
