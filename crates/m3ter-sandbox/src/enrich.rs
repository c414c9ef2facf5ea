//! What m3ter checks after it accepted a request, and what it then counts.
//!
//! m3ter publishes which failures there are and which of them still ingest, not in which order it looks. The order
//! here is the sandbox's own choice: uid, meter, time, repeated fields, missing fields, account. The first failure is
//! the measurement's; a measurement has one event at most.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::book::{Book, Fate};
use crate::catalogue::{MeterFields, view_of};
use crate::clock::{after, has_passed};
use crate::decimal::Number;
use crate::events::{Event, Fault};
use crate::meters::{AccountRequest, Category};
use crate::options::{EventsPer, FutureTs, RejectedUid};
use crate::schema::Parsed;

/// How long a uid is remembered from its first receipt (m3ter's documentation: "35-day window").
pub(crate) const UID_WINDOW: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// Why an `ingest.validation.failure` event is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    DuplicateUid,
    UndefinedMeter,
    TimestampInFuture,
    DuplicateField,
    MissingField,
    InvalidAccountCode,
    CalculationError,
    InvalidMeasurement,
}

impl Failure {
    /// m3ter's name for it; `TimestampInFuture` and `InvalidMeasurement` (a row of a file) are the sandbox's own.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DuplicateUid => "DuplicateUid",
            Self::UndefinedMeter => "UndefinedMeter",
            Self::TimestampInFuture => "TimestampInFuture",
            Self::DuplicateField => "DuplicateField",
            Self::MissingField => "MissingField",
            Self::InvalidAccountCode => "InvalidAccountCode",
            Self::CalculationError => "CalculationError",
            Self::InvalidMeasurement => "InvalidMeasurement",
        }
    }

    /// What happened, in a sentence.
    pub(crate) fn message(self, detail: Option<&str>) -> String {
        let sentence = match self {
            Self::DuplicateUid => "a measurement with this uid was received within the last 35 days",
            Self::UndefinedMeter => "no meter has this code",
            Self::TimestampInFuture => "ts is in the future",
            Self::DuplicateField => "a field code is used in two categories",
            Self::MissingField => "a data field of the meter is missing",
            Self::InvalidAccountCode => "no account has this code, but one has a closely matching code",
            Self::CalculationError => "a derived field could not be computed",
            Self::InvalidMeasurement => "the row is no measurement",
        };
        detail.map_or_else(|| sentence.to_owned(), |detail| format!("{sentence}: {detail}"))
    }
}

/// A failure with what it is about, such as a field code.
type Failed = (Failure, Option<String>);

impl Book {
    /// Checks the measurements of the request at `place`, counts them and raises their events, as of `due`.
    pub(crate) fn enrich(&mut self, place: usize, parsed: &[Parsed<'_>], due: Timestamp) {
        let Some((received, first)) = self.requests.get(place).map(|request| (request.line.at, request.first)) else { return };
        let mut faults = Vec::new();
        for (index, measurement) in (first..).zip(parsed) {
            faults.extend(self.judge(index, measurement, received, due));
        }
        match self.choices.events_per {
            EventsPer::Measurement => {
                for fault in faults {
                    self.events.raise(Event { at: due, faults: vec![fault] });
                }
            }
            EventsPer::Request if faults.is_empty() => {}
            EventsPer::Request => self.events.raise(Event { at: due, faults }),
        }
    }

    /// Checks one pending measurement and counts it; gives what its event is to say.
    pub(crate) fn judge(&mut self, index: usize, measurement: &Parsed<'_>, received: Timestamp, due: Timestamp) -> Option<Fault> {
        let failed = self.enrich_one(index, measurement, received, due);
        self.totals.pending -= 1;
        let (failure, detail) = failed?;
        let meter = self.meters.place_of(measurement.fields.meter.as_str());
        let account = self.accounts.place_of(measurement.fields.account.as_str());
        let span = self.held.get(index)?.span;
        Some(Fault { span, failure, detail: detail.map(Into::into), meter, account })
    }

    /// Decides one measurement's state; gives the failure that an event is due for.
    fn enrich_one(&mut self, index: usize, measurement: &Parsed<'_>, received: Timestamp, due: Timestamp) -> Option<Failed> {
        let uid = measurement.fields.uid.as_ref().map(|uid| uid.as_str());
        if uid.is_some_and(|uid| !self.is_first(uid, received)) {
            self.totals.duplicates += 1;
            self.set(index, Fate::Failed(Failure::DuplicateUid));
            return Some((Failure::DuplicateUid, None));
        }
        let (meter, calculation) = match self.check(measurement, received, due) {
            Ok(passed) => passed,
            Err(failed) => {
                if let (Some(uid), RejectedUid::Free) = (uid, self.choices.rejected_uid) {
                    self.seen.remove(uid);
                }
                *self.totals.rejected.entry(failed.0.name().to_owned()).or_default() += 1;
                self.set(index, Fate::Failed(failed.0));
                return Some(failed);
            }
        };
        let account = self.account(measurement.fields.account.as_str(), due);
        self.count(meter, account, measurement);
        if let Some(held) = self.held.get_mut(index) {
            (held.meter, held.account) = (meter, account);
        }
        self.set(index, Fate::Ingested);
        let detail = calculation?;
        *self.totals.ingested_with_error.entry(Failure::CalculationError.name().to_owned()).or_default() += 1;
        Some((Failure::CalculationError, Some(detail)))
    }

    /// Whether `uid` is received for the first time in its window, which then starts. A later copy does not renew it.
    fn is_first(&mut self, uid: &str, received: Timestamp) -> bool {
        match self.seen.get_mut(uid) {
            Some(first) if !has_passed(*first, UID_WINDOW, received) => false,
            Some(first) => {
                *first = received;
                true
            }
            None => {
                self.seen.insert(uid.into(), received);
                true
            }
        }
    }

    /// All checks but that of the uid: the meter's place, and the derived field that could not be computed.
    fn check(&mut self, measurement: &Parsed<'_>, received: Timestamp, due: Timestamp) -> Result<(u32, Option<String>), Failed> {
        let fields = &measurement.fields;
        let code = fields.meter.as_str();
        let meter = match self.meters.place_of(code) {
            Some(meter) => meter,
            None if self.choices.any_meter => self.skeleton_meter(code, due),
            None => return Err((Failure::UndefinedMeter, Some(code.to_owned()))),
        };
        let latest = after(received, Duration::from_secs(self.choices.future_tolerance_s));
        if self.choices.future_ts == FutureTs::Reject && measurement.at > latest {
            return Err((Failure::TimestampInFuture, Some(fields.ts.as_str().to_owned())));
        }
        let mut codes: Vec<&str> = fields.codes().map(|(_, code)| code).collect();
        codes.sort_unstable();
        if let Some((code, _)) = codes.iter().zip(codes.iter().skip(1)).find(|(left, right)| left == right) {
            return Err((Failure::DuplicateField, Some((*code).to_owned())));
        }
        let nothing = MeterFields::default();
        let about = self.meters.at(meter).map_or(&nothing, |entry| &entry.about);
        let has = |(category, code): &&(Category, String)| {
            fields.texts(*category).iter().any(|(key, _)| key.as_str() == code)
                || fields.numbers(*category).iter().any(|(key, _)| key.as_str() == code)
        };
        if let Some((category, code)) = about.required.iter().find(|field| !has(field)) {
            return Err((Failure::MissingField, Some(format!("{}.{code}", category.property()))));
        }
        let account = fields.account.as_str();
        if self.accounts.place_of(account).is_none() && self.accounts.has_close(account) {
            return Err((Failure::InvalidAccountCode, Some(account.to_owned())));
        }
        let unresolved = about.unresolved.iter().find(|code| codes.binary_search(&code.as_str()).is_err());
        Ok((meter, unresolved.map(|code| format!("nothing provides {code}"))))
    }

    /// The account with this code, created as a skeleton if there is none.
    fn account(&mut self, code: &str, at: Timestamp) -> u32 {
        if let Some(place) = self.accounts.place_of(code) {
            return place;
        }
        let mut view = view_of(&AccountRequest { name: format!("{code}-autocreated"), ..AccountRequest::new(code) });
        view.remove("emailAddress");
        self.accounts.add(at, code, view, ())
    }

    /// A meter without fields, for the choice to take any meter code.
    fn skeleton_meter(&mut self, code: &str, at: Timestamp) -> u32 {
        let mut view = Map::new();
        view.insert("name".to_owned(), Value::from(format!("{code}-autocreated")));
        view.insert("code".to_owned(), Value::from(code));
        view.insert("dataFields".to_owned(), Value::Array(Vec::new()));
        view.insert("derivedFields".to_owned(), Value::Array(Vec::new()));
        self.meters.add(at, code, view, MeterFields::default())
    }

    /// Adds a measurement to what was ingested.
    fn count(&mut self, meter: u32, account: u32, measurement: &Parsed<'_>) {
        self.totals.ingested += 1;
        let totals = self.meter_totals.entry(meter).or_default();
        totals.count += 1;
        totals.accounts.insert(account);
        for (code, number) in measurement.fields.numbers(Category::Measure) {
            match totals.sums.get_mut(code.as_str()) {
                Some(sum) => *sum = sum.plus(*number),
                None => drop(totals.sums.insert(code.as_str().to_owned(), *number)),
            }
        }
        for category in [Category::Cost, Category::Income] {
            for (code, number) in measurement.fields.numbers(category) {
                let sum = totals.sums.entry(format!("{}.{}", category.property(), code.as_str())).or_insert(Number::ZERO);
                *sum = sum.plus(*number);
            }
        }
    }

    /// Sets a measurement's state.
    fn set(&mut self, index: usize, state: Fate) {
        if let Some(held) = self.held.get_mut(index) {
            held.state = state;
        }
    }
}
