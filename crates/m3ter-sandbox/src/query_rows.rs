//! The rows of a usage query, read from the text of what was ingested.
//!
//! Columns (the sandbox's own choice, m3ter publishes none): `accountId` and `accountCode` for an ACCOUNT group,
//! `startTime` for a TIME group (UTC; weeks start on Monday), the field's code for a DIMENSION group, and
//! `meter.field.function` in lower case for an aggregation, such as `http_requests.bytes.sum`. Sums are exact. A
//! measurement without the grouped dimension falls into the group `null`; a filter concerns its own meter only.
//!
//! No index is kept: a query reads every measurement in its time range again. It is asked once a second at most.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::book::{Book, Fate, Held};
use crate::decimal::Number;
use crate::meters::Category;
use crate::query::{Aggregation, FieldType, Frequency, Function, Group, UsageQuery};
use crate::schema::{self, Parsed};

/// One row: its columns by name.
pub(crate) type Row = BTreeMap<String, Cell>;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Nothing,
    Text(String),
    Count(u64),
    Number(Number),
    Mean(f64),
}

/// Which group a measurement falls into, one part for each group of the query.
type Key = Vec<Option<String>>;

impl Book {
    /// All rows of `query`; the caller cuts them to its limit.
    pub(crate) fn rows(&self, query: &UsageQuery) -> Vec<Row> {
        if query.aggregations.is_empty() {
            let listed = self.held.iter().rev().filter_map(|held| {
                let raw = self.raw_in(query, held)?;
                wanted(query, held, &raw).map(|one| self.listed(held, &one))
            });
            return listed.collect();
        }
        let mut groups: BTreeMap<Key, Vec<Tally>> = BTreeMap::new();
        for held in &self.held {
            let Some(raw) = self.raw_in(query, held) else { continue };
            let Some(one) = wanted(query, held, &raw) else { continue };
            if !query.aggregations.iter().any(|(meter, _)| *meter == held.meter) {
                continue;
            }
            let key = query.groups.iter().map(|(meter, group)| key_part(held, &one, *meter, group)).collect();
            let tallies = groups.entry(key).or_insert_with(|| vec![Tally::default(); query.aggregations.len()]);
            for (tally, (meter, aggregation)) in tallies.iter_mut().zip(&query.aggregations) {
                if *meter == held.meter {
                    tally.add(&one, aggregation);
                }
            }
        }
        groups.into_iter().map(|(key, tallies)| self.row(query, key, &tallies)).collect()
    }

    /// The text of `held`, if it was ingested and is in the range of the query.
    fn raw_in(&self, query: &UsageQuery, held: &Held) -> Option<Cow<'_, str>> {
        let passes = held.state == Fate::Ingested
            && query.start.is_none_or(|start| held.at >= start)
            && query.end.is_none_or(|end| held.at < end)
            && query.meters.as_ref().is_none_or(|meters| meters.contains(&held.meter))
            && query.accounts.as_ref().is_none_or(|accounts| accounts.contains(&held.account));
        passes.then(|| self.raw(&held.span)).flatten()
    }

    /// A measurement as a row of its own.
    fn listed(&self, held: &Held, one: &Parsed<'_>) -> Row {
        let mut row = Row::new();
        let mut put = |name: &str, text: Option<&str>| {
            row.insert(name.to_owned(), text.map_or(Cell::Nothing, |text| Cell::Text(text.to_owned())));
        };
        put("uid", one.fields.uid.as_ref().map(|uid| uid.as_str()));
        put("meterId", self.meters.at(held.meter).map(|entry| entry.id.as_str()));
        put("accountId", self.accounts.at(held.account).map(|entry| entry.id.as_str()));
        put("ts", Some(one.fields.ts.as_str()));
        for category in Category::ALL {
            for (code, text) in one.fields.texts(category) {
                row.insert(code.as_str().to_owned(), Cell::Text(text.as_str().to_owned()));
            }
            for (code, number) in one.fields.numbers(category) {
                row.insert(code.as_str().to_owned(), Cell::Number(*number));
            }
        }
        row
    }

    /// The row of one group.
    fn row(&self, query: &UsageQuery, key: Key, tallies: &[Tally]) -> Row {
        let mut row = Row::new();
        for ((_, group), part) in query.groups.iter().zip(key) {
            let cell = part.clone().map_or(Cell::Nothing, Cell::Text);
            match group {
                Group::Time { .. } => drop(row.insert("startTime".to_owned(), cell)),
                Group::Dimension { field_code, .. } => drop(row.insert(field_code.clone(), cell)),
                Group::Account => {
                    let account = part.and_then(|place| self.accounts.at(place.trim_start().parse().ok()?));
                    let (id, code) = account.map(|entry| (entry.id.clone(), entry.code.clone())).unwrap_or_default();
                    row.insert("accountId".to_owned(), Cell::Text(id));
                    row.insert("accountCode".to_owned(), Cell::Text(code));
                }
            }
        }
        for ((meter, aggregation), tally) in query.aggregations.iter().zip(tallies) {
            let meter = self.meters.at(*meter).map_or("", |entry| entry.code.as_str());
            let function = format!("{:?}", aggregation.function).to_lowercase();
            row.insert(format!("{meter}.{}.{function}", aggregation.field_code), tally.cell(aggregation.function));
        }
        row
    }
}

/// The part of a measurement's key that `group` asks for. Places are padded, so that they sort as numbers.
fn key_part(held: &Held, one: &Parsed<'_>, meter: u32, group: &Group) -> Option<String> {
    match group {
        Group::Account => Some(format!("{:>10}", held.account)),
        Group::Time { frequency } => Some(start_of(held.at, *frequency).to_string()),
        Group::Dimension { field_code, .. } if meter == held.meter => dimension(one, field_code).map(str::to_owned),
        Group::Dimension { .. } => None,
    }
}

/// The start of the hour, day, week, month or quarter of `at`, in UTC.
fn start_of(at: Timestamp, frequency: Frequency) -> Timestamp {
    let moment = at.to_zoned(TimeZone::UTC).datetime();
    let date = moment.date();
    let start = match frequency {
        Frequency::Hour => Some(date.at(moment.hour(), 0, 0, 0)),
        Frequency::Day => Some(date.at(0, 0, 0, 0)),
        Frequency::Week => {
            date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok().map(|date| date.at(0, 0, 0, 0))
        }
        Frequency::Month => Some(date.first_of_month().at(0, 0, 0, 0)),
        Frequency::Quarter => {
            let month = (date.month() - 1) / 3 * 3 + 1;
            date.first_of_month().with().month(month).build().ok().map(|date| date.at(0, 0, 0, 0))
        }
    };
    start.and_then(|start| start.to_zoned(TimeZone::UTC).ok()).map_or(at, |start| start.timestamp())
}

/// The text of a dimension.
fn dimension<'a>(one: &'a Parsed<'_>, code: &str) -> Option<&'a str> {
    let texts = Category::ALL.into_iter().flat_map(|category| one.fields.texts(category));
    texts.into_iter().find(|(key, _)| key.as_str() == code).map(|(_, text)| text.as_str())
}

/// The number of a measure, cost or income.
fn number(one: &Parsed<'_>, code: &str) -> Option<Number> {
    let numbers = Category::ALL.into_iter().flat_map(|category| one.fields.numbers(category));
    numbers.into_iter().find(|(key, _)| key.as_str() == code).map(|(_, number)| *number)
}

/// The measurement in `raw`, the text of `held`, if it passes the filters of the query.
fn wanted<'a>(query: &UsageQuery, held: &Held, raw: &'a str) -> Option<Parsed<'a>> {
    let one = schema::one(serde_json::from_str::<&RawValue>(raw).ok()?, false).ok()?;
    let filtered = query.filters.iter().all(|(meter, filter)| {
        *meter != held.meter
            || dimension(&one, &filter.field_code).is_some_and(|found| filter.values.iter().any(|value| value == found))
    });
    filtered.then_some(one)
}

/// What one aggregation has seen of one group.
#[derive(Debug, Clone, Default)]
struct Tally {
    count: u64,
    sum: Option<Number>,
    min: Option<Number>,
    max: Option<Number>,
    latest: Option<(Timestamp, Cell)>,
    unique: BTreeSet<String>,
}

impl Tally {
    /// Adds a measurement, if it has the field.
    fn add(&mut self, one: &Parsed<'_>, aggregation: &Aggregation) {
        let cell = match aggregation.field_type {
            FieldType::Dimension => dimension(one, &aggregation.field_code).map(|text| Cell::Text(text.to_owned())),
            FieldType::Measure => number(one, &aggregation.field_code).map(Cell::Number),
        };
        let Some(cell) = cell else { return };
        self.count += 1;
        if aggregation.function == Function::Unique {
            self.unique.insert(match &cell {
                Cell::Text(text) => text.clone(),
                Cell::Number(number) => number.to_string(),
                Cell::Nothing | Cell::Count(_) | Cell::Mean(_) => String::new(),
            });
        }
        if let Cell::Number(number) = cell {
            self.sum = Some(self.sum.map_or(number, |sum| sum.plus(number)));
            self.min = Some(self.min.filter(|min| min.order(number) == Ordering::Less).unwrap_or(number));
            self.max = Some(self.max.filter(|max| max.order(number) == Ordering::Greater).unwrap_or(number));
        }
        if self.latest.as_ref().is_none_or(|(at, _)| *at <= one.at) {
            self.latest = Some((one.at, cell));
        }
    }

    /// The value of `function`; nothing where no measurement had the field.
    fn cell(&self, function: Function) -> Cell {
        let number = |number: Option<Number>| number.map_or(Cell::Nothing, Cell::Number);
        match function {
            Function::Count => Cell::Count(self.count),
            Function::Unique => Cell::Count(self.unique.len() as u64),
            Function::Sum => number(self.sum),
            Function::Min => number(self.min),
            Function::Max => number(self.max),
            Function::Mean => self.sum.map_or(Cell::Nothing, |sum| Cell::Mean(sum.as_f64() / self.count as f64)),
            Function::Latest => self.latest.as_ref().map_or(Cell::Nothing, |(_, cell)| cell.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_hours_days_weeks_from_monday_months_and_quarters() {
        let at: Timestamp = "2026-11-22T15:49:24.5Z".parse().unwrap();
        for (frequency, start) in [
            (Frequency::Hour, "2026-11-22T15:00:00Z"),
            (Frequency::Day, "2026-11-22T00:00:00Z"),
            (Frequency::Week, "2026-11-16T00:00:00Z"),
            (Frequency::Month, "2026-11-01T00:00:00Z"),
            (Frequency::Quarter, "2026-10-01T00:00:00Z"),
        ] {
            assert_eq!(start_of(at, frequency).to_string(), start);
        }
    }
}
