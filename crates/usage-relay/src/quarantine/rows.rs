//! Rows: an entry as cells of CSV, and mended measurements read back from a file.
//!
//! A row is known by its `qid`. What else an export says of an entry (`reason`, `detail`) is for people, and not read.

use std::collections::BTreeMap;
use std::path::Path;

use files::columns::{NUMBER_CATEGORIES, TEXT_CATEGORIES, TEXT_FIELDS};
use files::read::Stop;
use files::source::{Format, Source};
use files::{document, lines, table};
use relay_store::Entry;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::failure::Failure;
use crate::send::read::{check, open, unreadable};

/// Columns that are an export's own, before those of the measurement.
pub(super) const BOOKKEEPING: [&str; 3] = ["qid", "reason", "detail"];

/// Most faults told of one file.
const FAULTS_MAX: usize = 20;

/// A mended measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The line it begins on, from 1.
    pub(super) line: u64,
    /// The entry it takes the place of.
    pub(super) qid: Uuid,
    /// The measurement.
    pub(super) text: String,
}

/// The cells of an entry by their columns; `None` if CSV cannot hold it without changing it.
pub(super) fn cells(entry: &Entry) -> Option<BTreeMap<String, String>> {
    let members: Vec<(String, &RawValue)> = members(entry.measurement.as_deref()?)?;
    let mut cells = BTreeMap::new();
    for (name, value) in members {
        let is_category = NUMBER_CATEGORIES.contains(&name.as_str()) || TEXT_CATEGORIES.contains(&name.as_str());
        if value.get() == "null" {
            continue;
        }
        if is_category && value.get().starts_with('{') {
            for (code, value) in self::members(value)? {
                put(format!("{name}.{code}"), value, &mut cells)?;
            }
        } else if is_category || TEXT_FIELDS.contains(&name.as_str()) {
            // A category that is no object has no column: its name alone is none that import knows.
            if is_category {
                return None;
            }
            put(name, value, &mut cells)?;
        } else {
            return None;
        }
    }
    Some(cells)
}

/// One value as a cell. White space at either end of a name, and empty text, would not come back as they were.
fn put(name: String, value: &RawValue, cells: &mut BTreeMap<String, String>) -> Option<()> {
    let text = match value.get() {
        text if text.starts_with('"') => serde_json::from_str::<String>(text).ok()?,
        "null" => return Some(()),
        text => text.to_owned(),
    };
    let (category, code) = name.split_once('.').unwrap_or(("", &name));
    let is_number = NUMBER_CATEGORIES.contains(&category);
    let holds = !text.is_empty() && name.trim() == name && !code.is_empty() && (is_number || value.get().starts_with('"'));
    if !holds || cells.contains_key(&name) {
        return None;
    }
    cells.insert(name, text);
    Some(())
}

/// The members of a JSON object, in order, each as written.
fn members(object: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    struct Members;
    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    use serde::Deserializer as _;
    serde_json::Deserializer::from_str(object.get()).deserialize_map(Members).ok()
}

/// A line of an export that was mended.
#[derive(Deserialize)]
struct Mended<'a> {
    qid: Option<String>,
    #[serde(borrow)]
    measurement: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// What is wrong with a file: the line, from 1, and what was expected.
pub(super) type Faults = Vec<(u64, String)>;

/// All rows of the file at `path`, and every line that is none.
///
/// # Errors
/// [`Failure::Data`] if there is no row at all, [`Failure::CouldNot`] if it cannot be read.
pub(super) fn read(path: &Path) -> Result<(Vec<Row>, Faults), Failure> {
    let source = Source::at(path);
    check(&source)?;
    let (stream, format) = open(&source, Format::Auto)?;
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    let mut take = |line: u64, row: Result<Row, String>| match row {
        Ok(row) => rows.push(row),
        Err(fault) => faults.push((line, fault)),
    };
    let read = match format {
        Format::Csv => table::read_rows(stream, &BOOKKEEPING, &mut |line, own, row| {
            let row = row.map_err(|refusal| refusal.detail.into_owned()).and_then(|text| {
                let qid = own.first().map_or("", |qid| qid).parse().map_err(|_| no_qid())?;
                Ok(Row { line, qid, text: text.to_owned() })
            });
            take(line, row);
            Ok(())
        }),
        Format::Json => document::read(stream, &mut |line: u64, text: &str| {
            take(line, mended(line, text));
            Ok(())
        }),
        Format::Parquet => {
            return Err(Failure::Data(format!(
                "{}: expected CSV, NDJSON or JSON as an export wrote it; found Parquet",
                source.name()
            )));
        }
        Format::Auto | Format::Ndjson => lines::read(stream, &mut |line: u64, text: &str| {
            take(line, mended(line, text));
            Ok(())
        }),
    };
    match read {
        Ok(()) | Err(Stop::NotWanted) => {}
        Err(Stop::Line { line, refusal }) => faults.push((line, refusal.detail.into_owned())),
        Err(Stop::Unreadable(error)) => return Err(unreadable(&source, &error)),
    }
    if rows.is_empty() && faults.is_empty() {
        return Err(Failure::Data(format!("{}: expected at least one row with a qid", source.name())));
    }
    Ok((rows, faults))
}

fn no_qid() -> String {
    "expected qid, the id of the entry that this row takes the place of, as the export wrote it".to_owned()
}

fn mended(line: u64, text: &str) -> Result<Row, String> {
    let expected = || "expected one line of an export: {\"qid\":…,\"measurement\":{…}}".to_owned();
    let mended: Mended<'_> = serde_json::from_str(text).map_err(|_| expected())?;
    let qid = mended.qid.and_then(|qid| qid.parse().ok()).ok_or_else(no_qid)?;
    match (mended.measurement, mended.body) {
        (Some(measurement), _) => Ok(Row { line, qid, text: measurement.get().to_owned() }),
        (None, Some(_)) => Err("expected `measurement` in place of `body`: one line for each measurement that the body should have held, with the same qid".to_owned()),
        (None, None) => Err(expected()),
    }
}

/// # Errors
/// [`Failure::Data`] if there are any faults: each is said on a line of its own, then what it means.
pub(super) fn at_fault(name: &str, mut faults: Faults) -> Result<(), Failure> {
    if faults.is_empty() {
        return Ok(());
    }
    faults.sort();
    for (line, fault) in faults.iter().take(FAULTS_MAX) {
        crate::terminal::complain(&format!("{name} line {line}: {fault}"));
    }
    let more = faults.len().saturating_sub(FAULTS_MAX);
    let more = if more > 0 { format!(", {more} of them not shown") } else { String::new() };
    let count = crate::figures::counted(faults.len() as u64, "fault");
    Err(Failure::Data(format!("nothing was imported: {count} in {name}{more}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(measurement: &str) -> Option<Vec<(String, String)>> {
        let line = format!(
            r#"{{"qid":"b0ef4eae-dd03-5cce-a261-981cfe11d98a","reason":"r","detail":"d","stage":"guard","message_id":"m","position":0,"source_arn":"s","quarantined_at":0,"measurement":{measurement}}}"#
        );
        Some(cells(&serde_json::from_str(&line).unwrap())?.into_iter().collect())
    }

    #[test]
    fn fields_become_cells_as_they_were_written() {
        let cells = of(r#"{"uid":"u","meter":" m","measure":{"calls":1.50,"big":"12"},"what":{"a.b":"x"},"ets":null}"#).unwrap();
        let expected = [("measure.big", "12"), ("measure.calls", "1.50"), ("meter", " m"), ("uid", "u"), ("what.a.b", "x")];
        assert_eq!(cells, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_csv_would_change_is_not_for_csv() {
        for measurement in [
            r#"{"uid":"u","unknown":1}"#,
            r#"{"uid":7}"#,
            r#"{"uid":""}"#,
            r#"{"uid":"u","uid":"v"}"#,
            r#"{"measure":{"a":1,"a":2}}"#,
            r#"{"measure":[]}"#,
            r#"{"what":{"region":""}}"#,
            r#"{"what":{"region":7}}"#,
            r#"{"what":{"region ":"x"}}"#,
            r#"{"what":{"":"x"}}"#,
        ] {
            assert_eq!(of(measurement), None, "{measurement}");
        }
    }

    #[test]
    fn a_line_names_its_entry_and_holds_one_measurement() {
        let row =
            mended(3, r#"{"qid":"b0ef4eae-dd03-5cce-a261-981cfe11d98a","reason":"x","measurement":{ "a": 1.50 }}"#).unwrap();
        assert_eq!((row.line, row.text.as_str()), (3, r#"{ "a": 1.50 }"#));
        for (text, expected) in [
            ("x", "expected one line of an export"),
            ("{}", "expected qid"),
            (r#"{"qid":"7","measurement":{}}"#, "expected qid"),
            (r#"{"qid":"b0ef4eae-dd03-5cce-a261-981cfe11d98a"}"#, "expected one line of an export"),
            (r#"{"qid":"b0ef4eae-dd03-5cce-a261-981cfe11d98a","body":"x"}"#, "expected `measurement` in place of `body`"),
        ] {
            assert!(mended(1, text).unwrap_err().starts_with(expected), "{text}");
        }
    }
}
