//! What m3ter checks before it accepts a request: JSON, shape, sizes. All or nothing.
//!
//! The rules are those of m3ter's published schema; each refusal says which measurement and what was expected. One
//! bad measurement refuses its whole request (m3ter does not publish otherwise, so a client must assume it).
//!
//! Measurements stay slices of the body: their text is kept once, and read again when someone asks. A key that is
//! given twice in one object is refused, `null` for an optional property counts as absent, and unknown extra
//! properties pass untouched (the sandbox's own choices, but for the last, which the schema allows).

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::answer::Refusal;
use crate::decimal::Number;
use crate::entries::{Entries, Text};
use crate::meters::Category;
use crate::rules::{CODE_RULE, DATE_TIME_RULE, FIELD_CODE_RULE, at_most, date_time, is_code, is_field_code};

/// A body of this many bytes or more is refused with 403 (m3ter's API reference: "less than 512,000").
pub(crate) const BODY_BYTES_LIMIT: usize = 512_000;
/// Most measurements in one request (OpenAPI, `SubmitMeasurementsRequest.maxItems`).
const MEASUREMENTS_MAX: usize = 1_000;
/// Most characters of a uid (OpenAPI, `MeasurementRequest.uid.maxLength`).
const UID_CHARACTERS_MAX: usize = 50;
/// Most characters of a metadata value (m3ter's documentation, in prose only: off unless chosen).
const METADATA_CHARACTERS_MAX: usize = 256;

/// One measurement of a body, with its own text.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) raw: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) fields: Measurement<'a>,
}

/// The properties of `MeasurementRequest`.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Measurement<'a> {
    #[serde(borrow)]
    pub(crate) uid: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) meter: Text<'a>,
    #[serde(borrow)]
    pub(crate) account: Text<'a>,
    #[serde(borrow)]
    pub(crate) ts: Text<'a>,
    #[serde(borrow)]
    ets: Option<Text<'a>>,
    #[serde(borrow)]
    who: Option<Entries<'a, Text<'a>>>,
    #[serde(borrow, rename = "where")]
    place: Option<Entries<'a, Text<'a>>>,
    #[serde(borrow)]
    what: Option<Entries<'a, Text<'a>>>,
    #[serde(borrow)]
    other: Option<Entries<'a, Text<'a>>>,
    #[serde(borrow)]
    metadata: Option<Entries<'a, Text<'a>>>,
    #[serde(borrow)]
    measure: Option<Entries<'a, Number>>,
    #[serde(borrow)]
    cost: Option<Entries<'a, Number>>,
    #[serde(borrow)]
    income: Option<Entries<'a, Number>>,
}

impl<'a> Measurement<'a> {
    /// The text fields of `category`; none for a numeric one.
    pub(crate) fn texts(&self, category: Category) -> &[(Text<'a>, Text<'a>)] {
        let entries = match category {
            Category::Who => &self.who,
            Category::Where => &self.place,
            Category::What => &self.what,
            Category::Other => &self.other,
            Category::Metadata => &self.metadata,
            Category::Measure | Category::Cost | Category::Income => &None,
        };
        entries.as_ref().map_or(&[], Entries::as_slice)
    }

    /// The numeric fields of `category`; none for a text one.
    pub(crate) fn numbers(&self, category: Category) -> &[(Text<'a>, Number)] {
        let entries = match category {
            Category::Measure => &self.measure,
            Category::Cost => &self.cost,
            Category::Income => &self.income,
            Category::Who | Category::Where | Category::What | Category::Other | Category::Metadata => &None,
        };
        entries.as_ref().map_or(&[], Entries::as_slice)
    }

    /// Every field code with its category.
    pub(crate) fn codes(&self) -> impl Iterator<Item = (Category, &str)> {
        Category::ALL.into_iter().flat_map(|category| {
            let texts = self.texts(category).iter().map(|(code, _)| code.as_str());
            let numbers = self.numbers(category).iter().map(|(code, _)| code.as_str());
            texts.chain(numbers).map(move |code| (category, code))
        })
    }
}

/// Reads `body` as `SubmitMeasurementsRequest`; the first fault found refuses it.
pub(crate) fn parse(body: &[u8], refuse_long_metadata: bool) -> Result<Vec<Parsed<'_>>, Refusal> {
    let raw = split(body).map_err(Refusal::bad)?;
    match raw.len() {
        1..=MEASUREMENTS_MAX => {}
        found => return Err(Refusal::bad(format!("measurements: expected 1 to {MEASUREMENTS_MAX}, found {found}"))),
    }
    let mut parsed = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let fault = |fault: String| Refusal::bad(format!("measurements[{index}]: {fault}"));
        parsed.push(one(raw, refuse_long_metadata).map_err(fault)?);
    }
    Ok(parsed)
}

/// The measurements of `body` as they are written, whatever they hold.
pub(crate) fn split(body: &[u8]) -> Result<Vec<&'_ RawValue>, String> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        measurements: Vec<&'a RawValue>,
    }
    let text = std::str::from_utf8(body).map_err(|fault| format!("expected JSON in UTF-8: {fault}"))?;
    object(text)?;
    let body: Body<'_> = serde_json::from_str(text).map_err(|fault| format!("expected {{\"measurements\": […]}}: {fault}"))?;
    Ok(body.measurements)
}

/// Refuses what is no object: serde would read a struct from an array of its properties, too.
fn object(text: &str) -> Result<(), String> {
    let is_object = text.trim_ascii_start().starts_with('{');
    if is_object { Ok(()) } else { Err("expected an object".to_owned()) }
}

/// What names a measurement, for those who read it again.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct Names {
    #[serde(default)]
    pub(crate) uid: Option<String>,
    #[serde(default)]
    pub(crate) meter: String,
    #[serde(default)]
    pub(crate) account: String,
    #[serde(default)]
    pub(crate) ts: String,
}

/// Reads and checks one measurement.
pub(crate) fn one(raw: &RawValue, refuse_long_metadata: bool) -> Result<Parsed<'_>, String> {
    object(raw.get())?;
    let fields: Measurement<'_> = serde_json::from_str(raw.get()).map_err(|fault| fault.to_string())?;
    if let Some(uid) = &fields.uid
        && !at_most(uid.as_str(), UID_CHARACTERS_MAX)
    {
        return Err(format!("uid: expected at most {UID_CHARACTERS_MAX} characters"));
    }
    for (name, code) in [("meter", &fields.meter), ("account", &fields.account)] {
        if !is_code(code.as_str()) {
            return Err(format!("{name}: expected {CODE_RULE}"));
        }
    }
    let at = date_time(fields.ts.as_str()).ok_or_else(|| format!("ts: expected {DATE_TIME_RULE}"))?;
    if fields.ets.as_ref().is_some_and(|ets| date_time(ets.as_str()).is_none()) {
        return Err(format!("ets: expected {DATE_TIME_RULE}"));
    }
    for (category, code) in fields.codes() {
        if !is_field_code(code) {
            return Err(format!("{}: the key {code:?}: expected {FIELD_CODE_RULE}", category.property()));
        }
    }
    let metadata = fields.texts(Category::Metadata);
    if refuse_long_metadata && metadata.iter().any(|(_, value)| !at_most(value.as_str(), METADATA_CHARACTERS_MAX)) {
        return Err(format!("metadata: expected values of at most {METADATA_CHARACTERS_MAX} characters"));
    }
    Ok(Parsed { raw: raw.get(), at, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"uid":"u1","meter":"m","account":"a b","ts":"2026-01-01T00:00:00Z","measure":{"n":1}}"#;

    fn refusal(measurement: &str) -> Option<String> {
        let body = format!(r#"{{"measurements":[{GOOD},{measurement}]}}"#);
        parse(body.as_bytes(), true).err().map(|refusal| refusal.message)
    }

    fn with(property: &str) -> String {
        format!(r#"{{"meter":"m","account":"a","ts":"2026-01-01T00:00:00Z",{property}}}"#)
    }

    #[test]
    fn a_measurement_of_every_property_is_taken_as_it_is_written() {
        let odd = r#"{ "meter":"m","account":"äöü x","ts":"2026-01-01t00:00:00.123456789+05:30","ets":null,"who":{"Ünïcode_$1":"\u00e9"},
            "where":{},"what":{"a":"b"},"other":{"c":"d"},"metadata":{"e":"f"},"measure":{"g":-1.5e3},"cost":{"h":0},"income":{"i":1},"extra":[{}] }"#;
        assert_eq!(refusal(odd), None);
        let body = format!(r#" {{"more":1,"measurements":[ {odd} ]}} "#);
        assert_eq!(parse(body.as_bytes(), true).unwrap()[0].raw, odd);
    }

    #[test]
    fn a_body_that_is_not_the_requests_shape_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"measurements":{}}"#,
            r#"{"measurements":[]}"#,
            r#"{"measurements":[{}"#,
            "{\"measurements\":[{\"a\":\"\u{0}\"}]}",
        ] {
            assert!(parse(body.as_bytes(), true).is_err(), "{body:?}");
        }
        assert!(parse(b"{\"measurements\":[],\"x\":\"\xff\"}", true).is_err(), "not UTF-8");
    }

    #[test]
    fn the_1001st_measurement_refuses_the_request() {
        let body = |count: usize| format!(r#"{{"measurements":[{}]}}"#, vec![GOOD; count].join(","));
        assert_eq!(parse(body(1_000).as_bytes(), true).unwrap().len(), 1_000);
        assert!(parse(body(1_001).as_bytes(), true).unwrap_err().message.contains("found 1001"));
    }

    #[test]
    fn a_refusal_names_the_measurement_and_what_was_expected() {
        let long = "x".repeat(81);
        for (measurement, words) in [
            ("5".to_owned(), "measurements[1]: expected an object"),
            (
                r#"["u","m","a","2026-01-01T00:00:00Z",null,null,null,null,null,null,null,null,null]"#.to_owned(),
                "expected an object",
            ),
            (r#"{"account":"a","ts":"2026-01-01T00:00:00Z"}"#.to_owned(), "missing field `meter`"),
            (r#"{"meter":"m","ts":"2026-01-01T00:00:00Z"}"#.to_owned(), "missing field `account`"),
            (r#"{"meter":"m","account":"a"}"#.to_owned(), "missing field `ts`"),
            (r#"{"meter":null,"account":"a","ts":"2026-01-01T00:00:00Z"}"#.to_owned(), "expected a string"),
            (r#"{"meter":" m","account":"a","ts":"2026-01-01T00:00:00Z"}"#.to_owned(), "meter: expected 1 to 80"),
            (format!(r#"{{"meter":"m","account":"{long}","ts":"2026-01-01T00:00:00Z"}}"#), "account: expected 1 to 80"),
            (with(&format!(r#""uid":"{}""#, "ü".repeat(51))), "uid: expected at most 50"),
            (with(r#""uid":5"#), "expected a string"),
            (with(r#""ets":"yesterday""#), "ets: expected an ISO 8601"),
            (with(r#""who":{"a":1}"#), "expected a string"),
            (with(r#""who":{"a":null}"#), "expected a string"),
            (with(r#""who":"a""#), "expected an object"),
            (with(r#""measure":{"a":"1"}"#), "expected a number"),
            (with(r#""measure":{"a":1e999}"#), "in the range of a double"),
            (with(r#""cost":{"1a":1}"#), "the key \"1a\": expected 1 to 80 letters"),
            (with(r#""cost":{"a-b":1}"#), "the key \"a-b\""),
            (with(r#""income":{"":1}"#), "the key \"\""),
            (with(r#""measure":{"a":1,"a":2}"#), "found \"a\" twice"),
            (with(r#""meter":"n""#), "duplicate field `meter`"),
            (with(&format!(r#""metadata":{{"a":"{}"}}"#, "x".repeat(257))), "at most 256 characters"),
        ] {
            let found = refusal(&measurement);
            assert!(found.as_ref().is_some_and(|found| found.contains(words)), "{measurement}: {found:?}");
        }
    }

    #[test]
    fn fifty_characters_are_counted_and_not_bytes() {
        assert_eq!(refusal(&with(&format!(r#""uid":"{}""#, "ü".repeat(50)))), None);
    }

    #[test]
    fn a_repeated_key_is_found_among_many() {
        let keys: Vec<String> = (0..40).map(|n| format!(r#""k{}":1"#, n % 39)).collect();
        assert!(refusal(&with(&format!(r#""measure":{{{}}}"#, keys.join(",")))).is_some());
    }
}
