//! Reads what m3ter says about failed measurements: an event, and the log that it leads to.
//!
//! m3ter publishes neither shape beyond the event's envelope. So nothing here is expected to stand in a certain place: whatever
//! names a failure is one, whatever looks like a measurement is its original, one or many, and unknown members are passed
//! over. What says nothing at all is still a failure, of no known type: it is kept rather than lost.

use std::collections::BTreeMap;
use std::fmt;

use bumpalo::Bump;
use jiff::Timestamp;
use relay_core::canonical::{canonical, content_uid};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Failure types that m3ter documents.
pub const KNOWN: [&str; 6] =
    [DUPLICATE_UID, CALCULATION_ERROR, "UndefinedMeter", "MissingField", "DuplicateField", "InvalidAccountCode"];
/// The uid was seen within m3ter's window: a copy was dropped.
pub const DUPLICATE_UID: &str = "DuplicateUid";
/// A derived field could not be computed. The measurement is ingested.
pub const CALCULATION_ERROR: &str = "CalculationError";
/// Stands for a failure that names no type.
pub const UNNAMED: &str = "UnnamedFailure";

/// Deepest nesting that is looked into.
const DEPTH_MAX: usize = 12;
/// Longest name of a type.
const TYPE_CHARS_MAX: usize = 60;
/// Most characters kept of m3ter's words.
const WORDS_CHARS_MAX: usize = 500;
/// Members that name a type, the likeliest first.
const TYPES: [&str; 8] = ["type", "errorType", "failureType", "validationError", "errorCode", "code", "reason", "error"];
/// Members that say in words what was wrong.
const WORDS: [&str; 7] = ["message", "errorMessage", "error", "description", "detail", "details", "reason"];
/// Members that hold text in a measurement: no failure stands below them.
const FIELDS: [&str; 8] = ["who", "where", "what", "other", "metadata", "measure", "income", "cost"];

/// One event of m3ter's, as far as it could be read.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id; that of its text, if it has none.
    pub id: String,
    /// When it was raised: milliseconds since the epoch; 0 if it does not say.
    pub at_ms: i64,
    /// Where its log is.
    pub link: Option<String>,
    /// What it tells by itself.
    pub failures: Vec<Failure>,
}

/// One failure of one measurement.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// m3ter's name for it.
    pub kind: String,
    /// m3ter's words.
    pub words: String,
    /// The measurement's uid.
    pub uid: Option<String>,
    /// Its meter.
    pub meter: Option<String>,
    /// Its account.
    pub account: Option<String>,
    /// Its time: milliseconds since the epoch.
    pub ts_ms: Option<i64>,
    /// The measurement, where m3ter gave it back; else what m3ter said.
    pub text: String,
    /// Whether `text` is the measurement.
    pub is_measurement: bool,
}

impl fmt::Debug for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Event").field("at_ms", &self.at_ms).field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Failure").field("is_measurement", &self.is_measurement).finish_non_exhaustive()
    }
}

impl Failure {
    /// The UUIDv5 of the measurement's content; `None` if m3ter did not give it back.
    pub fn content_hash(&self) -> Option<Uuid> {
        self.is_measurement.then(|| canonical(&self.text, &Bump::new()).map(|form| content_uid(&form))).flatten()
    }
}

impl Event {
    /// Reads an entry of m3ter's list of events.
    pub fn read(raw: &RawValue) -> Event {
        let members = members(raw);
        let text = |name: &str| members.get(name).and_then(|raw| scalar(raw));
        let at_ms = text("eventTime").and_then(|at| time_ms(&at)).unwrap_or(0);
        let id = text("id").filter(|id| !id.is_empty()).unwrap_or_else(|| content_uid(raw.get()).to_string());
        let inner = members.get("m3terEvent").copied().unwrap_or(raw);
        let mut failures = Vec::new();
        look_into(inner, &About::default(), 0, &mut failures);
        Event { id, at_ms, link: link(inner, 0), failures }
    }

    /// What it and `log`, which its link led to, tell together. The log tells more of each; what only the event tells stays.
    pub fn with_log(&self, log: &[u8]) -> Vec<Failure> {
        let mut failures = failures_of(log);
        if let [one] = self.failures.as_slice() {
            for failure in failures.iter_mut().filter(|failure| failure.kind == UNNAMED) {
                failure.kind.clone_from(&one.kind);
                failure.words.clone_from(&one.words);
            }
        }
        for told in &self.failures {
            let is_of = |failure: &&mut Failure| failure.uid == told.uid || told.uid.is_none();
            let mut of_uid = failures.iter_mut().filter(is_of).collect::<Vec<_>>();
            if let Some(failure) = of_uid.iter_mut().find(|failure| failure.kind == UNNAMED) {
                failure.kind.clone_from(&told.kind);
                failure.words.clone_from(&told.words);
            } else if !of_uid.iter().any(|failure| failure.kind == told.kind || told.uid.is_none()) {
                failures.push(told.clone());
            }
        }
        failures
    }

    /// Whether an answer can be a log at all. A page that some proxy shows is none, nor is JSON that breaks off: then the log is still to
    /// be had.
    pub fn is_log(answer: &[u8]) -> bool {
        let text = String::from_utf8_lossy(answer);
        let is_json = |text: &str| serde_json::from_str::<&RawValue>(text).is_ok();
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        match text.trim_start().chars().next() {
            Some('<') => false,
            Some('[' | '{') => is_json(&text) || (lines.next().is_some_and(is_json) && lines.next_back().is_none_or(is_json)),
            Some(_) => true,
            None => false,
        }
    }

    /// What it tells without a log, at least one failure.
    pub fn alone(&self, raw: &str) -> Vec<Failure> {
        if self.failures.is_empty() { vec![unnamed(raw)] } else { self.failures.clone() }
    }
}

/// The failures that a log tells of: JSON, or a JSON value a line. At least one.
fn failures_of(log: &[u8]) -> Vec<Failure> {
    let text = String::from_utf8_lossy(log);
    let mut failures = Vec::new();
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(raw) => look_into(raw, &About::default(), 0, &mut failures),
        Err(_) => {
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                match serde_json::from_str::<&RawValue>(line) {
                    Ok(raw) => look_into(raw, &About::default(), 0, &mut failures),
                    Err(_) => failures.push(unnamed(line)),
                }
            }
        }
    }
    if failures.is_empty() {
        failures.push(unnamed(&text));
    }
    failures
}

fn unnamed(text: &str) -> Failure {
    Failure {
        kind: UNNAMED.to_owned(),
        words: "expected m3ter to name the failure".to_owned(),
        uid: None,
        meter: None,
        account: None,
        ts_ms: None,
        text: text.to_owned(),
        is_measurement: false,
    }
}

/// What is said about whatever stands below.
#[derive(Clone, Debug, Default)]
struct About {
    kind: Option<String>,
    words: Option<String>,
}

impl About {
    fn of(members: &BTreeMap<String, &RawValue>) -> About {
        let text = |name: &&str| members.get(*name).and_then(|raw| scalar(raw));
        let kinds = || TYPES.iter().filter_map(text).filter(|kind| is_type(kind));
        About {
            kind: kinds().find(|kind| KNOWN.contains(&kind.as_str())).or_else(|| kinds().next()),
            words: WORDS.iter().filter_map(text).find(|words| !is_type(words)),
        }
    }

    /// Of two failures of one measurement the one that matters: that it was counted all the same hides no rejection, nor does it that a
    /// copy was dropped.
    fn worse(self, other: About) -> About {
        let rank = |about: &About| match about.kind.as_deref() {
            None => 0,
            Some(CALCULATION_ERROR) => 1,
            Some(DUPLICATE_UID) => 2,
            Some(kind) => 3 + u8::from(KNOWN.contains(&kind)),
        };
        if rank(&other) > rank(&self) { other } else { self }
    }

    fn or(self, outer: &About) -> About {
        match self.kind {
            Some(_) => self,
            None => About { kind: outer.kind.clone(), words: self.words.or_else(|| outer.words.clone()) },
        }
    }
}

fn look_into(raw: &RawValue, outer: &About, depth: usize, failures: &mut Vec<Failure>) {
    if depth > DEPTH_MAX {
        return;
    }
    if raw.get().starts_with('[') {
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else { return };
        return parts.into_iter().for_each(|part| look_into(part, outer, depth + 1, failures));
    }
    if !raw.get().starts_with('{') {
        return;
    }
    let members = members(raw);
    let own = About::of(&members);
    let says_failure = own.kind.as_ref().is_some_and(|kind| KNOWN.contains(&kind.as_str()) || members.contains_key("uid"));
    if is_measurement(&members) && own.kind.is_none() {
        return failures.push(failure(raw, &members, outer.clone(), true));
    }
    let nested: Vec<&RawValue> =
        members.iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())).map(|(_, raw)| *raw).collect();
    // Beside a measurement may stand a list of what is wrong with it.
    let holds_measurement = nested.iter().any(|raw| holds_measurement(raw, depth + 1));
    let own = match holds_measurement {
        true => nested
            .iter()
            .filter(|raw| !self::holds_measurement(raw, depth + 1))
            .fold(own, |worst, raw| worst.worse(about_within(raw, depth + 1))),
        false => own,
    };
    let about = own.or(outer);
    let before = failures.len();
    for raw in nested {
        // What describes the measurement beside it is no failure of its own.
        if !holds_measurement || self::holds_measurement(raw, depth + 1) {
            look_into(raw, &about, depth + 1, failures);
        }
    }
    if failures.len() == before && says_failure {
        failures.push(failure(raw, &members, about, false));
    }
}

fn failure(raw: &RawValue, members: &BTreeMap<String, &RawValue>, about: About, is_measurement: bool) -> Failure {
    let text = |name: &str| members.get(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    Failure {
        kind: about.kind.unwrap_or_else(|| UNNAMED.to_owned()),
        words: about.words.unwrap_or_default().chars().take(WORDS_CHARS_MAX).collect(),
        uid: text("uid"),
        meter: text("meter"),
        account: text("account"),
        ts_ms: text("ts").and_then(|ts| time_ms(&ts)),
        text: raw.get().to_owned(),
        is_measurement,
    }
}

/// Type and words of the worst that is said somewhere within.
fn about_within(raw: &RawValue, depth: usize) -> About {
    if depth > DEPTH_MAX {
        return About::default();
    }
    if raw.get().starts_with('[') {
        let parts: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        return parts.into_iter().fold(About::default(), |worst, part| worst.worse(about_within(part, depth + 1)));
    }
    let members = members(raw);
    members.values().fold(About::of(&members), |worst, raw| worst.worse(about_within(raw, depth + 1)))
}

fn holds_measurement(raw: &RawValue, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    if raw.get().starts_with('[') {
        let parts = serde_json::from_str::<Vec<&RawValue>>(raw.get()).unwrap_or_default();
        return parts.into_iter().any(|part| holds_measurement(part, depth + 1));
    }
    let members = members(raw);
    (is_measurement(&members) && About::of(&members).kind.is_none())
        || members.values().any(|raw| holds_measurement(raw, depth + 1))
}

fn is_measurement(members: &BTreeMap<String, &RawValue>) -> bool {
    ["meter", "account", "ts"].iter().all(|name| members.contains_key(*name))
}

/// A name such as `UndefinedMeter`: letters and digits from a capital on, no words.
fn is_type(text: &str) -> bool {
    text.len() <= TYPE_CHARS_MAX
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|one| one.is_ascii_alphanumeric())
        && text.chars().any(|one| one.is_ascii_lowercase())
}

fn link(raw: &RawValue, depth: usize) -> Option<String> {
    if depth > DEPTH_MAX || !raw.get().starts_with('{') {
        return None;
    }
    let members = members(raw);
    let own = members.get("getDownloadUrl").and_then(|raw| scalar(raw)).filter(|link| !link.is_empty());
    own.or_else(|| members.values().find_map(|raw| link(raw, depth + 1)))
}

fn members(raw: &RawValue) -> BTreeMap<String, &RawValue> {
    if !raw.get().starts_with('{') {
        return BTreeMap::new();
    }
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Text, or a number as text.
fn scalar(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Number(serde_json::Number),
    }
    match serde_json::from_str(raw.get()).ok()? {
        Scalar::Text(text) => Some(text),
        Scalar::Number(number) => Some(number.to_string()),
    }
}

/// A time as ISO 8601 has it, or as seconds or milliseconds since the epoch.
fn time_ms(text: &str) -> Option<i64> {
    /// A count of seconds has fewer digits until the year 5138, one of milliseconds more since 1973.
    const SECONDS_BELOW: i64 = 100_000_000_000;
    match text.parse::<i64>() {
        Ok(count) if count.abs() < SECONDS_BELOW => count.checked_mul(1_000),
        Ok(count) => Some(count),
        Err(_) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
