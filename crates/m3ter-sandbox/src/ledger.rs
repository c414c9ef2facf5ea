//! What was counted, exactly: the answer of `GET /_sandbox/ledger` and of [`Sandbox::ledger`](crate::Sandbox::ledger).
//!
//! The accounts close: `received` is what arrived in readable ingest requests and files, whatever became of them;
//! `accepted` = `ingested` + `duplicates` + the sum of `rejected` + `pending`. A row of a file is accepted when it is
//! processed and keeps to the schema. Nothing is sampled, dropped or rounded.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::book::{Book, Fate, Held, Source};
use crate::decimal::Number;
use crate::enrich::Failure;
use crate::schema::Names;
use crate::uploads::{UploadLine, job_id};

/// Everything the sandbox counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ledger {
    /// Sums over all requests.
    pub totals: Totals,
    /// By meter code: what was ingested, and only that.
    pub meters: BTreeMap<String, MeterLine>,
    /// Every ingest request, in order of arrival; empty if not asked for.
    pub requests: Vec<RequestLine>,
    /// Every upload job, in order of creation; empty if the requests are not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uploads: Vec<UploadLine>,
    /// Every accepted measurement, in order of arrival, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurements: Option<Vec<MeasurementLine>>,
}

/// What a reader of the ledger wants beside totals and meters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerQuery {
    /// The lists of requests and uploads.
    pub requests: bool,
    /// The list of measurements.
    pub measurements: bool,
    /// Only measurements of this uid (and then the list is given).
    pub uid: Option<String>,
}

impl Default for LedgerQuery {
    fn default() -> Self {
        Self { requests: true, measurements: false, uid: None }
    }
}

/// Sums over all ingest requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Ingest requests, whatever became of them.
    pub requests: u64,
    /// Measurements in them and in uploaded files, as far as those could be read, whatever the answer.
    pub received: u64,
    /// Measurements in requests that were accepted, whether or not the client saw the answer, and processed rows of
    /// files that keep to the schema.
    pub accepted: u64,
    /// Accepted measurements that passed the later checks: what m3ter would bill.
    pub ingested: u64,
    /// Accepted measurements that were dropped because their uid was known (`DuplicateUid`).
    pub duplicates: u64,
    /// Other accepted measurements that were dropped, by type.
    pub rejected: BTreeMap<String, u64>,
    /// Ingested measurements with an event all the same (`CalculationError`), by type.
    pub ingested_with_error: BTreeMap<String, u64>,
    /// Accepted measurements whose later checks are still to come.
    pub pending: u64,
    /// Requests for a token, since the sandbox was opened.
    pub token_requests: u64,
    /// Tokens given, since the sandbox was opened.
    pub tokens_issued: u64,
}

/// What was ingested for one meter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeterLine {
    /// Measurements.
    pub count: u64,
    /// Distinct accounts.
    pub accounts: u64,
    /// Exact sums: `code` for a field of `measure`, `cost.code` and `income.code` for the others.
    pub sums: BTreeMap<String, Number>,
}

/// One ingest request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLine {
    /// When it arrived, by the sandbox's clock.
    pub at: Timestamp,
    /// The status the client could see; none when it got no answer.
    pub status: Option<u16>,
    /// What the sandbox made of it.
    pub outcome: Outcome,
    /// The scripted fault that it met, by its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Measurements in it, as far as the body could be read.
    pub measurements: u64,
    /// Bytes of its body.
    pub bytes: u64,
    /// Bytes of the largest single measurement in it.
    pub largest_bytes: u64,
    /// The W3C `traceparent` header, if one came.
    pub traceparent: Option<String>,
}

/// What became of an ingest request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Accepted: its measurements are counted, even if a fault kept the answer from the client.
    Accepted,
    /// Refused for what it holds, its size or its organisation.
    Refused,
    /// Refused for its token.
    Unauthorised,
    /// Beyond a rate limit.
    Throttled,
    /// A scripted fault answered (or did not) in m3ter's place; nothing was counted.
    Fault,
    /// The sandbox itself failed (a journal that cannot be written); nothing was counted.
    Failed,
}

/// One accepted measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeasurementLine {
    /// Its uid, if it has one.
    pub uid: Option<String>,
    /// Its meter code.
    pub meter: String,
    /// Its account code.
    pub account: String,
    /// Its time, as written.
    pub ts: String,
    /// What became of it.
    pub state: State,
    /// Why it was rejected (m3ter's name for it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The place of its request in `requests`; none if it was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<usize>,
    /// The id of its upload job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The JSON as received.
    pub measurement: Box<RawValue>,
}

/// What became of an accepted measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The later checks are still to come.
    Pending,
    /// Counted.
    Ingested,
    /// Dropped: its uid was known.
    Duplicate,
    /// Dropped for another reason, named in `type`.
    Rejected,
}

impl Book {
    /// The ledger as `query` wants it.
    pub(crate) fn ledger(&self, query: &LedgerQuery) -> Ledger {
        let meters = self.meter_totals.iter().filter_map(|(place, totals)| {
            let line = MeterLine { count: totals.count, accounts: totals.accounts.len() as u64, sums: totals.sums.clone() };
            Some((self.meters.at(*place)?.code.clone(), line))
        });
        let requests =
            if query.requests { self.requests.iter().map(|request| request.line.clone()).collect() } else { Vec::new() };
        let wanted = query.measurements || query.uid.is_some();
        Ledger {
            totals: self.totals.clone(),
            meters: merged(meters),
            requests,
            uploads: if query.requests { self.uploads.lines() } else { Vec::new() },
            measurements: wanted.then(|| self.measurement_lines(query.uid.as_deref())),
        }
    }

    /// The accepted measurements, all or those of one uid.
    fn measurement_lines(&self, uid: Option<&str>) -> Vec<MeasurementLine> {
        let lines = self.held.iter().filter_map(|held| {
            let raw = self.raw(&held.span)?;
            let names: Names = serde_json::from_str(&raw).unwrap_or_default();
            let wanted = uid.is_none_or(|uid| names.uid.as_deref() == Some(uid));
            wanted.then(|| line(held, names, raw.into_owned())).flatten()
        });
        lines.collect()
    }
}

/// One line of the list of measurements.
fn line(held: &Held, names: Names, raw: String) -> Option<MeasurementLine> {
    let (request, job) = match held.span.source {
        Source::Request(place) => (Some(place as usize), None),
        Source::Job(place) => (None, Some(job_id(place as usize).to_string())),
    };
    let (state, r#type) = match held.state {
        Fate::Pending => (State::Pending, None),
        Fate::Ingested => (State::Ingested, None),
        Fate::Failed(Failure::DuplicateUid) => (State::Duplicate, Some(Failure::DuplicateUid)),
        Fate::Failed(failure) => (State::Rejected, Some(failure)),
    };
    Some(MeasurementLine {
        uid: names.uid,
        meter: names.meter,
        account: names.account,
        ts: names.ts,
        state,
        r#type: r#type.map(|failure| failure.name().to_owned()),
        request,
        job,
        measurement: RawValue::from_string(raw).ok()?,
    })
}

/// Adds up lines of one code: a meter that was deleted and created again has two places.
fn merged(lines: impl Iterator<Item = (String, MeterLine)>) -> BTreeMap<String, MeterLine> {
    let mut meters: BTreeMap<String, MeterLine> = BTreeMap::new();
    for (code, line) in lines {
        let into = meters.entry(code).or_default();
        into.count += line.count;
        into.accounts += line.accounts;
        for (field, sum) in line.sums {
            let total = into.sums.entry(field).or_insert(Number::ZERO);
            *total = total.plus(sum);
        }
    }
    meters
}
