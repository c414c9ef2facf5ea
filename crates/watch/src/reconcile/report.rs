//! What a reconciliation found, as it is kept in the store and printed as JSON. The names are stable.
//!
//! Uids appear only where they explain a row, and at most twenty of them: a report may be handed around, and a log line never
//! gets one.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use relay_core::limits::DAY_MS;
use serde::Serialize;

use super::decimal::Decimal;
use super::explain::Effect;

/// Ledger and m3ter, held against each other.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The first day, in UTC.
    pub from_day: String,
    /// The day after the last.
    pub until_day: String,
    /// The meters that were asked about.
    pub meters: Vec<String>,
    /// The accounts, if not all.
    pub accounts: Vec<String>,
    /// What was looked at, and how late a measurement may have come to be in it.
    pub horizon: Horizon,
    /// Counts.
    pub totals: Counts,
    /// Rows that differ, or all, in the order of meter, account, day and measure.
    pub rows: Vec<Row>,
    /// Rows that are not among `rows` though they differ: there are too many.
    pub more_rows: u64,
    /// Meters of the ledger that m3ter does not have.
    pub unknown_meters: Vec<String>,
    /// Fields that measurements hold and m3ter does not sum: their meter has no such field.
    pub unconfigured: Vec<Unconfigured>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// Whether all that was to be compared was compared.
    pub is_whole: bool,
}

/// What was looked at. Times are RFC 3339, in UTC.
#[derive(Clone, Debug, Serialize)]
pub struct Horizon {
    /// Ledger and quarantine were read from this hour on,
    pub read_from: String,
    /// to here. A measurement of these days that arrives later is in no sum yet.
    pub read_until: String,
    /// What was first sent later m3ter may still reject.
    pub settled_until: String,
    /// m3ter's events were read so far; absent if they never were.
    pub events_read_to: Option<String>,
    /// Ledger objects that may hold measurements of these days.
    pub ledger_objects: u64,
    /// Ledger objects of these hours at all.
    pub ledger_objects_listed: u64,
    /// Objects of the quarantine.
    pub quarantine_objects: u64,
}

/// Counts of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Measurements of the ledger, each uid once.
    pub measurements: u64,
    /// Rows that were compared,
    pub rows: u64,
    /// and of these, those that agree,
    pub agree: u64,
    /// those whose difference is explained,
    pub explained: u64,
    /// and those with a difference that nothing explains.
    pub unexplained: u64,
    /// Uids that were accepted with several contents; each counts with the earliest.
    pub contested: u64,
    /// Ledger lines without a measurement: mode `uids` wrote them. They count nowhere here.
    pub lines_without_measurement: u64,
    /// Numbers beyond what a double can hold: they are in no sum.
    pub odd_numbers: u64,
}

/// One number of both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Code of the meter.
    pub meter: String,
    /// Code of the account.
    pub account: String,
    /// The day, in UTC.
    pub day: String,
    /// The field that is summed; absent where measurements are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// The ledger's number.
    pub ledger: Decimal,
    /// m3ter's.
    pub m3ter: Decimal,
    /// m3ter's less the ledger's.
    pub difference: Decimal,
    /// Whether both are the same.
    pub agrees: bool,
    /// What may explain the difference.
    pub explained_by: Vec<Explained>,
    /// What is left of it then.
    pub unexplained: Decimal,
}

/// Measurements that explain something for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The reason of the quarantine entries, or `NotSettledYet`, `Unanswered`, `SeveralContents`.
    pub reason: String,
    /// What it does to the comparison.
    pub effect: Effect,
    /// Measurements.
    pub count: u64,
    /// Their sum of what the row is about.
    pub sum: Decimal,
    /// Uids of some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uids: Vec<String>,
}

/// A field that m3ter does not sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unconfigured {
    /// Code of the meter.
    pub meter: String,
    /// Code of the field.
    pub field: String,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unread {
    /// An object of the store, or a meter.
    pub name: String,
    /// What was expected.
    pub expected: String,
}

/// `2026-11-20` of days since the epoch.
pub(crate) fn day_text(day: i64) -> String {
    date_of(day).to_string()
}

/// The date of days since the epoch.
pub(crate) fn date_of(day: i64) -> Date {
    at(day.saturating_mul(DAY_MS)).to_zoned(TimeZone::UTC).date()
}

/// Days since the epoch.
pub(crate) fn day_of(date: Date) -> i64 {
    let start = date.to_zoned(TimeZone::UTC).map(|start| start.timestamp().as_millisecond());
    start.unwrap_or_default().div_euclid(DAY_MS)
}

/// RFC 3339, in UTC.
pub(crate) fn time_text(at_ms: i64) -> String {
    at(at_ms).to_string()
}

fn at(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_the_epoch_and_shown_as_dates() {
        assert_eq!(
            (day_text(0), day_text(20_777), day_text(-1)),
            ("1970-01-01".into(), "2026-11-20".into(), "1969-12-31".into())
        );
        for day in [-1, 0, 20_777] {
            assert_eq!(day_of(date_of(day)), day);
        }
    }
}
