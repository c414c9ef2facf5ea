//! The sandbox's own routes, below `/_sandbox`: no token needed, no fault met, no part of m3ter's API.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::{Refusal, ok, read};
use crate::clock::after;
use crate::faults::FaultRule;
use crate::ledger::LedgerQuery;
use crate::options::Credentials;
use crate::paging::Params;
use crate::sandbox::{Sandbox, unwritable};

/// How long a download link of a failed ingest log lives (m3ter's documentation: 5 minutes).
const LINK_LIFETIME: Duration = Duration::from_secs(300);

/// All routes below `/_sandbox`.
pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/ledger", get(ledger))
        .route("/clock", get(read_clock).post(advance_clock))
        .route("/faults", get(read_faults).post(add_faults).delete(clear_faults))
        .route("/credentials", post(set_credentials))
        .route("/failed-ingest/{link}", get(failed_ingest))
}

/// Links to failed ingest logs: the event each leads to, and until when.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    live: HashMap<String, (u64, Timestamp)>,
    given: u64,
}

impl Grants {
    /// The last part of a new link to the log of event `number`.
    pub(crate) fn give(&mut self, number: u64, now: Timestamp) -> String {
        self.live.retain(|_, (_, expires)| *expires > now);
        self.given += 1;
        let link = format!("{}-{}", crate::events::event_id(number), self.given);
        self.live.insert(link.clone(), (number, after(now, LINK_LIFETIME)));
        link
    }
}

/// `GET /_sandbox/ledger[?measurements=true][&uid=…][&requests=false]`.
async fn ledger(State(sandbox): State<Sandbox>, params: Params) -> Result<Response, Refusal> {
    let query = LedgerQuery {
        requests: params.flag("requests")?.unwrap_or(true),
        measurements: params.flag("measurements")?.unwrap_or(false),
        uid: params.text("uid").map(str::to_owned),
    };
    Ok(ok(&sandbox.ledger_of(&query)))
}

/// The sandbox's time.
#[derive(Serialize)]
struct Now {
    now: Timestamp,
}

/// `GET /_sandbox/clock`.
async fn read_clock(State(sandbox): State<Sandbox>) -> Response {
    ok(&Now { now: sandbox.now() })
}

/// How far to advance the clock: the sum of what is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(default)]
    advance_s: u64,
    #[serde(default)]
    advance_ms: u64,
}

/// `POST /_sandbox/clock`.
async fn advance_clock(State(sandbox): State<Sandbox>, body: Bytes) -> Result<Response, Refusal> {
    let Advance { advance_s, advance_ms } = read(&body)?;
    let by = Duration::from_secs(advance_s).saturating_add(Duration::from_millis(advance_ms));
    if by.is_zero() {
        return Err(Refusal::bad("expected {\"advance_s\": seconds} or {\"advance_ms\": milliseconds}, above 0"));
    }
    sandbox.advance(by).map_err(unwritable)?;
    Ok(ok(&Now { now: sandbox.now() }))
}

/// `GET /_sandbox/faults`.
async fn read_faults(State(sandbox): State<Sandbox>) -> Response {
    ok(&sandbox.faults())
}

/// `POST /_sandbox/faults`: one rule, or a list of them.
async fn add_faults(State(sandbox): State<Sandbox>, body: Bytes) -> Result<Response, Refusal> {
    let is_list = body.trim_ascii_start().starts_with(b"[");
    let rules: Vec<FaultRule> = if is_list { read(&body)? } else { vec![read(&body)?] };
    FaultRule::check(&rules).map_err(|fault| Refusal::bad(fault.to_string()))?;
    rules.into_iter().for_each(|rule| sandbox.add_fault(rule));
    Ok(ok(&sandbox.faults()))
}

/// `DELETE /_sandbox/faults`.
async fn clear_faults(State(sandbox): State<Sandbox>) -> Response {
    sandbox.clear_faults();
    ok(&sandbox.faults())
}

/// New credentials.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    access_key_id: String,
    api_secret: String,
    #[serde(default)]
    revoke_tokens: bool,
}

/// `POST /_sandbox/credentials`.
async fn set_credentials(State(sandbox): State<Sandbox>, body: Bytes) -> Result<StatusCode, Refusal> {
    // serde's own words could hold the secret.
    let wanted = "expected {\"access_key_id\": text, \"api_secret\": text} and maybe \"revoke_tokens\": true";
    let rotation: Rotation = serde_json::from_slice(&body).map_err(|_| Refusal::bad(wanted))?;
    sandbox.set_credentials(Credentials::new(rotation.access_key_id, rotation.api_secret));
    if rotation.revoke_tokens {
        sandbox.revoke_tokens();
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /_sandbox/failed-ingest/{link}`: where a failed ingest download URL leads.
async fn failed_ingest(State(sandbox): State<Sandbox>, Path(link): Path<String>) -> Result<Response, Refusal> {
    let inner = sandbox.lock();
    let now = inner.clock.now();
    let grant = inner.grants.live.get(&link).filter(|(_, expires)| *expires > now);
    let (number, _) = grant.ok_or_else(|| Refusal::forbidden("the link is expired or unknown"))?;
    let event = inner.book.events.get(*number).ok_or_else(|| Refusal::missing("event"))?;
    Ok(ok(&inner.book.failed_ingest_log(event)))
}
