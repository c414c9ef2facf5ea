//! The books: every request, every accepted measurement and what became of it.
//!
//! The rule: the books are a function of what is in the journal and of nothing else. No clock is read here, every time
//! comes in; replaying the same entries gives the same books, ids and events included.
//!
//! A measurement is a range of its request's body, which is kept as it came, or of the file it was uploaded in, which
//! stays on disk. Nothing is parsed into fields for keeping; what is asked rarely (a query, a list) is read again from
//! the text.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::catalogue::{Accounts, Meters, Shelf};
use crate::clock::after;
use crate::decimal::Number;
use crate::enrich::Failure;
use crate::events::Events;
use crate::ledger::{Outcome, RequestLine, Totals};
use crate::options::Choices;
use crate::schema::{self, Parsed};
use crate::uploads::Uploads;

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) organisation: String,
    pub(crate) choices: Choices,
    pub(crate) meters: Meters,
    pub(crate) accounts: Accounts,
    pub(crate) requests: Vec<Request>,
    pub(crate) uploads: Uploads,
    pub(crate) held: Vec<Held>,
    /// When each uid was first received.
    pub(crate) seen: HashMap<Box<str>, Timestamp>,
    pub(crate) totals: Totals,
    pub(crate) meter_totals: BTreeMap<u32, MeterTotals>,
    pub(crate) events: Events,
    /// Accepted requests whose later checks are to come, with the time they are due.
    pub(crate) pending: VecDeque<(Timestamp, usize)>,
}

/// One ingest request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) line: RequestLine,
    /// Kept if it was accepted.
    pub(crate) body: Bytes,
    /// The place of its first measurement in `held`.
    pub(crate) first: usize,
}

/// One accepted measurement.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) span: Span,
    pub(crate) state: Fate,
    pub(crate) at: Timestamp,
    /// Places in the catalogue, once ingested: data is tied to ids, not codes.
    pub(crate) meter: u32,
    pub(crate) account: u32,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) source: Source,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// What a measurement came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The body of the request at this place.
    Request(u32),
    /// The file of the upload job at this place.
    Job(u32),
}

/// What became of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pending,
    Ingested,
    Failed(Failure),
}

/// What was ingested for one meter.
#[derive(Debug, Default)]
pub(crate) struct MeterTotals {
    pub(crate) count: u64,
    pub(crate) accounts: HashSet<u32>,
    pub(crate) sums: BTreeMap<String, Number>,
}

impl Book {
    /// Empty books.
    pub(crate) fn new(organisation: &str, choices: Choices) -> Self {
        Self {
            organisation: organisation.to_owned(),
            choices,
            meters: Shelf::new("meter", organisation),
            accounts: Shelf::new("account", organisation),
            requests: Vec::new(),
            uploads: Uploads::default(),
            held: Vec::new(),
            seen: HashMap::new(),
            totals: Totals::default(),
            meter_totals: BTreeMap::new(),
            events: Events::default(),
            pending: VecDeque::new(),
        }
    }

    /// Enters a request that was not accepted.
    pub(crate) fn note(&mut self, line: RequestLine) {
        self.totals.requests += 1;
        self.totals.received += line.measurements;
        self.requests.push(Request { line, body: Bytes::new(), first: self.held.len() });
    }

    /// Enters an accepted request, and checks it further unless that is to come later.
    ///
    /// `parsed` are the measurements of `body`, in order.
    pub(crate) fn accept(&mut self, line: RequestLine, body: &Bytes, parsed: &[Parsed<'_>]) {
        debug_assert_eq!(line.outcome, Outcome::Accepted);
        let (at, place, first) = (line.at, self.requests.len(), self.held.len());
        self.totals.requests += 1;
        self.totals.received += line.measurements;
        self.totals.accepted += parsed.len() as u64;
        self.totals.pending += parsed.len() as u64;
        for measurement in parsed {
            let start = measurement.raw.as_ptr() as usize - body.as_ptr() as usize;
            let end = start + measurement.raw.len();
            let span = Span { source: Source::Request(small(place)), start: small(start), end: small(end) };
            self.held.push(Held::new(span, measurement.at));
        }
        self.requests.push(Request { line, body: body.clone(), first });
        if self.choices.enrichment_delay_ms == 0 {
            self.enrich(place, parsed, at);
        } else {
            self.pending.push_back((after(at, Duration::from_millis(self.choices.enrichment_delay_ms)), place));
        }
    }

    /// Runs the later checks of the request that waited longest.
    pub(crate) fn enrich_next(&mut self) {
        let Some((due, place)) = self.pending.pop_front() else { return };
        let Some(body) = self.requests.get(place).map(|request| request.body.clone()) else { return };
        // It was read once already, with the same rules: it will be read again.
        let parsed = schema::parse(&body, self.choices.refuse_long_metadata).unwrap_or_default();
        self.enrich(place, &parsed, due);
    }

    /// The text of a measurement, as received; `None` also if its file cannot be read.
    pub(crate) fn raw(&self, span: &Span) -> Option<Cow<'_, str>> {
        match span.source {
            Source::Request(place) => {
                let body = &self.requests.get(place as usize)?.body;
                std::str::from_utf8(body.get(span.start as usize..span.end as usize)?).ok().map(Cow::Borrowed)
            }
            Source::Job(place) => {
                let spool = &self.uploads.arrived(place as usize)?.spool;
                let bytes = spool.read(u64::from(span.start), span.end.checked_sub(span.start)? as usize).ok()?;
                String::from_utf8(bytes).ok().map(Cow::Owned)
            }
        }
    }
}

/// A length or place as it is kept; the sandbox never holds four billion of anything.
pub(crate) fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
