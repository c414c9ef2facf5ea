//! What is due, in the order in which it is due: later checks of requests, and rows of uploaded files.
//!
//! A row meets the checks that a measurement of a request meets before its acceptance, and at the same moment those
//! that come later; it is received when it is processed. Both ways in share one memory of uids, and the events.
//!
//! The sandbox's own choices: a row that breaks the schema is a failed row and an event, and costs the others nothing
//! (or all of them: [`UploadRows`]); a file that is no JSON array fails as a whole, without an event;
//! failures of the later checks are events only, as they are for a request that was accepted (or failed rows, too:
//! [`FailedRows`]).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::book::{Book, Fate, Held, Source, Span, small};
use crate::clock::after;
use crate::enrich::Failure;
use crate::events::{Event, Fault};
use crate::options::{Choices, EventsPer, FailedRows, FutureTs, UploadRows};
use crate::rules::DATE_TIME_RULE;
use crate::schema::{self, Parsed};
use crate::spool::{Reader, Spool};
use crate::uploads::{Found, Next};

impl Book {
    /// Does what is due at `now`, and forgets events that are too old.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        let delay = Duration::from_millis(self.choices.enrichment_delay_ms);
        loop {
            let request = self.pending.front().map(|(due, _)| *due).filter(|due| *due <= now);
            let upload = self.uploads.next(delay).filter(|(due, _)| *due <= now);
            match (request, upload) {
                (None, None) => break,
                (request, Some((due, next))) if request.is_none_or(|request| due < request) => self.process(due, &next),
                (Some(_), _) | (None, Some(_)) => self.enrich_next(),
            }
        }
        self.events.forget(now);
    }

    /// Enters the file of the job at `place`.
    pub(crate) fn arrive(&mut self, place: usize, found: Found, spool: Spool) {
        self.totals.received += found.rows;
        let (at, rows) = (found.at, found.rows);
        self.uploads.arrive(place, found, spool);
        // So that a large file does not make the list grow by copying it.
        self.held.reserve(usize::try_from(rows).unwrap_or(0));
        self.settle(at);
    }

    /// Does one thing for the job whose turn it is.
    fn process(&mut self, due: Timestamp, next: &Next) {
        match *next {
            Next::Begin(place) => {
                self.uploads.begin(due);
                if self.choices.upload_rows == UploadRows::AllOrNothing {
                    self.fail_if_any(place, due);
                }
            }
            Next::Row(place) => match self.uploads.row(place) {
                Ok(Some((start, text))) => self.process_row(place, start, &text, due),
                Ok(None) => self.uploads.fail(place, "the file ends before its last row".to_owned(), 0),
                Err(fault) => self.uploads.fail(place, fault, 0),
            },
            Next::End(place) => {
                let faults = self.uploads.end(place, due);
                if !faults.is_empty() {
                    self.events.raise(Event { at: due, faults });
                }
            }
        }
    }

    /// Processes one row.
    fn process_row(&mut self, place: usize, start: u64, text: &str, due: Timestamp) {
        let span = Span::of_row(place, start, text);
        let fault = match read(text, &self.choices, due) {
            Err(detail) => Some(invalid(span, detail)),
            Ok(parsed) => {
                self.totals.accepted += 1;
                self.totals.pending += 1;
                self.held.push(Held::new(span, parsed.at));
                self.judge(self.held.len() - 1, &parsed, due, due)
            }
        };
        let failed = fault.as_ref().is_some_and(|fault| match self.choices.failed_rows {
            FailedRows::Invalid => fault.failure == Failure::InvalidMeasurement,
            FailedRows::NotIngested => fault.failure != Failure::CalculationError,
        });
        self.uploads.count(place, failed);
        if let Some(fault) = fault {
            self.raise_row(fault, due);
        }
    }

    /// Makes the job fail if any of its rows breaks the schema.
    fn fail_if_any(&mut self, place: usize, due: Timestamp) {
        let Some(file) = self.uploads.arrived(place).filter(|file| file.fault.is_none()) else { return };
        let (mut reader, mut faults) = (Reader::default(), Vec::new());
        // A file that cannot be read ends here; processing it says so.
        while let Ok(Some((start, text))) = reader.next(&file.spool) {
            if let Err(detail) = read(&text, &self.choices, due) {
                faults.push(invalid(Span::of_row(place, start, &text), detail));
            }
        }
        if !faults.is_empty() {
            let failed = faults.len();
            self.uploads.fail(place, format!("{failed} rows break the schema, and it is all or nothing"), failed as u64);
            faults.into_iter().for_each(|fault| self.raise_row(fault, due));
        }
    }

    /// Raises the event of a row, or keeps it for that of the job.
    fn raise_row(&mut self, fault: Fault, due: Timestamp) {
        match self.choices.events_per {
            EventsPer::Measurement => self.events.raise(Event { at: due, faults: vec![fault] }),
            EventsPer::Request => self.uploads.keep(fault),
        }
    }
}

/// What a row of a file that fails before any later check raises.
fn invalid(span: Span, detail: String) -> Fault {
    Fault { span, failure: Failure::InvalidMeasurement, detail: Some(detail.into()), meter: None, account: None }
}

/// Reads a row as a measurement, as of `at`.
fn read<'a>(text: &'a str, choices: &Choices, at: Timestamp) -> Result<Parsed<'a>, String> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
    let parsed = schema::one(raw, choices.refuse_long_metadata)?;
    let latest = after(at, Duration::from_secs(choices.future_tolerance_s));
    if choices.future_ts == FutureTs::Refuse && parsed.at > latest {
        return Err(format!("ts: expected {DATE_TIME_RULE}, not in the future"));
    }
    Ok(parsed)
}

impl Span {
    /// Where a row stands in the file of the job at `place`.
    fn of_row(place: usize, start: u64, text: &str) -> Self {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        Self { source: Source::Job(small(place)), start: small(start), end: small(start.saturating_add(text.len())) }
    }
}

impl Held {
    /// A measurement whose later checks are to come.
    pub(crate) fn new(span: Span, at: Timestamp) -> Self {
        Self { span, state: Fate::Pending, at, meter: u32::MAX, account: u32::MAX }
    }
}
