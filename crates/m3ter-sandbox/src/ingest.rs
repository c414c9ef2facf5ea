//! `POST /organizations/{org}/measurements`: the checks before acceptance, and the entry in the books.
//!
//! The order of the checks is the sandbox's own choice: token, organisation, rates, size, schema. A request is accepted
//! whole or refused whole.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use serde::Serialize;

use crate::answer::{Refusal, ok};
use crate::book::Book;
use crate::clock::after;
use crate::faults::Fault;
use crate::front::{Met, Peer};
use crate::journal::Entry;
use crate::ledger::{Outcome, RequestLine};
use crate::options::FutureTs;
use crate::rules::DATE_TIME_RULE;
use crate::sandbox::{Inner, Sandbox, unwritable};
use crate::schema::{self, BODY_BYTES_LIMIT, Parsed};
use crate::script::Plan;

/// `SubmitMeasurementsResponse`.
#[derive(Serialize)]
struct Accepted {
    result: &'static str,
}

/// `POST /organizations/{org}/measurements`.
pub(crate) async fn submit(
    State(sandbox): State<Sandbox>,
    Path(organisation): Path<String>,
    parts: Parts,
    body: Bytes,
) -> Response {
    let met = parts.extensions.get::<Met>().cloned().unwrap_or_default();
    let refuse_long_metadata = sandbox.lock().options.choices.refuse_long_metadata;
    // Read before the lock is taken: this is where the time goes.
    let parsed = if body.len() < BODY_BYTES_LIMIT {
        schema::parse(&body, refuse_long_metadata)
    } else {
        Err(Refusal::forbidden(format!("expected a body of less than {BODY_BYTES_LIMIT} bytes, found {}", body.len())))
    };
    let mut inner = sandbox.lock();
    let mut line = line(&inner, &parts, &body, parsed.as_deref().ok());
    line.fault = met.fault;
    let admitted = inner.admit_ingest(&parts, &organisation);
    let checked = admitted.and_then(|()| {
        let parsed = parsed.map_err(|refusal| (refusal, Outcome::Refused))?;
        inner.check_times(&parsed).map_err(|refusal| (refusal, Outcome::Refused))?;
        Ok(parsed)
    });
    let seen = |status: u16| (!met.silent).then_some(status);
    match checked {
        Ok(parsed) => {
            line.status = seen(200);
            match inner.accept(line, &body, &parsed) {
                Ok(()) => ok(&Accepted { result: "accepted" }),
                Err(refusal) => refusal.into_response(),
            }
        }
        Err((refusal, outcome)) => {
            (line.status, line.outcome) = (seen(refusal.status.as_u16()), outcome);
            inner.note(line).map_or_else(IntoResponse::into_response, |()| refusal.into_response())
        }
    }
}

/// Enters a request that met a fault in m3ter's place.
pub(crate) fn note_fault(sandbox: &Sandbox, parts: &Parts, body: &Bytes, plan: &Plan) {
    let mut inner = sandbox.lock();
    let mut line = line(&inner, parts, body, None);
    line.fault = plan.kind();
    line.status = plan.fault.as_ref().and_then(Fault::answers).map(|status| status.as_u16());
    line.outcome = Outcome::Fault;
    // The fault happens whether or not it can be journalled: it counts nothing.
    let _ = inner.note(line);
}

/// What the ledger says of a request, as if it were accepted.
fn line(inner: &Inner, parts: &Parts, body: &Bytes, parsed: Option<&[Parsed<'_>]>) -> RequestLine {
    let (measurements, largest) = match parsed {
        Some(parsed) => (parsed.len(), parsed.iter().map(|one| one.raw.len()).max()),
        None => schema::split(body).map_or((0, None), |raw| (raw.len(), raw.iter().map(|one| one.get().len()).max())),
    };
    let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
    RequestLine {
        at: inner.clock.now(),
        status: Some(200),
        outcome: Outcome::Accepted,
        fault: None,
        measurements: measurements as u64,
        bytes: body.len() as u64,
        largest_bytes: largest.unwrap_or(0) as u64,
        traceparent: traceparent.map(str::to_owned),
    }
}

impl Inner {
    /// The checks that do not look at the body.
    fn admit_ingest(&mut self, parts: &Parts, organisation: &str) -> Result<(), (Refusal, Outcome)> {
        let now = self.clock.now();
        self.tokens.check(&parts.headers, now).map_err(|refusal| (refusal, Outcome::Unauthorised))?;
        self.check_organisation(organisation).map_err(|refusal| (refusal, Outcome::Refused))?;
        let (peer, limits) = (Peer::of(&parts.extensions), &self.options.limits);
        let admitted = self.ingest.admit(now, peer, limits.ingest_per_second, limits.ingest_per_ip_5_min);
        admitted.map_err(|refusal| (refusal, Outcome::Throttled))
    }

    /// Refuses times in the future, if that was chosen.
    fn check_times(&self, parsed: &[Parsed<'_>]) -> Result<(), Refusal> {
        let choices = &self.options.choices;
        let latest = after(self.clock.now(), Duration::from_secs(choices.future_tolerance_s));
        match parsed.iter().position(|one| one.at > latest) {
            Some(index) if choices.future_ts == FutureTs::Refuse => {
                Err(Refusal::bad(format!("measurements[{index}]: ts: expected {DATE_TIME_RULE}, not in the future")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Journals and enters an accepted request.
    fn accept(&mut self, line: RequestLine, body: &Bytes, parsed: &[Parsed<'_>]) -> Result<(), Refusal> {
        let text = std::str::from_utf8(body).map_err(|fault| Refusal::bad(fault.to_string()))?;
        let entry = Entry::Request { line: line.clone(), body: Some(Cow::Borrowed(text)) };
        if let Err(fault) = self.write(&entry) {
            self.book.note(RequestLine { status: line.status.and(Some(500)), outcome: Outcome::Failed, ..line });
            return Err(unwritable(fault));
        }
        self.book.accept(line, body, parsed);
        Ok(())
    }

    /// Journals and enters a request that was not accepted.
    fn note(&mut self, line: RequestLine) -> Result<(), Refusal> {
        let written = self.write(&Entry::Request { line: line.clone(), body: None });
        self.book.note(line);
        written.map_err(unwritable)
    }
}

impl Book {
    /// Enters a request of the journal again.
    pub(crate) fn replay_request(&mut self, line: RequestLine, body: Option<Cow<'_, str>>) -> Result<(), String> {
        let Some(body) = body else {
            self.note(line);
            return Ok(());
        };
        let body = Bytes::from(body.into_owned());
        let parsed = schema::parse(&body, self.choices.refuse_long_metadata).map_err(|refusal| refusal.message)?;
        self.accept(line, &body, &parsed);
        Ok(())
    }
}
