//! Any body to the sandbox's ingest, twice → an answer, and books that close. The first byte chooses what m3ter leaves open.
#![no_main]

use std::cell::OnceCell;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use m3ter_sandbox::{
    Category, Choices, EventsPer, FutureTs, Ledger, LedgerQuery, Limits, MeterRequest, Options, RejectedUid, Sandbox, State,
};
use relay_fuzz::Reading;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

const ENRICHMENT_DELAY_MS: u64 = 1_000;

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    RUNTIME.with(|runtime| {
        let built = || Builder::new_current_thread().enable_time().build().expect("a runtime without I/O needs nothing");
        // A sandbox of its own for each input: a finding is found again from its input alone.
        runtime.get_or_init(built).block_on(one(*choice, body));
    });
});

fn choices(choice: u8) -> Choices {
    Choices {
        any_meter: choice & 1 != 0,
        enrichment_delay_ms: if choice & 2 != 0 { ENRICHMENT_DELAY_MS } else { 0 },
        refuse_long_metadata: choice & 4 != 0,
        future_ts: [FutureTs::Reject, FutureTs::Refuse, FutureTs::Ingest, FutureTs::Reject][usize::from(choice >> 3 & 3)],
        events_per: if choice & 32 != 0 { EventsPer::Request } else { EventsPer::Measurement },
        rejected_uid: if choice & 64 != 0 { RejectedUid::Free } else { RejectedUid::Keep },
        ..Choices::default()
    }
}

async fn one(choice: u8, body: &[u8]) {
    let start = Some("2026-01-02T04:04:05Z".parse().expect("a time"));
    let options = Options { start, choices: choices(choice), limits: Limits::none(), ..Options::default() };
    let sandbox = Sandbox::open(options).expect("an empty sandbox opens");
    let meter = MeterRequest::new("api").field(Category::What, "method").field(Category::Measure, "n");
    sandbox.create_meter(meter).expect("a meter like others");
    let router = sandbox.router();
    let token = token(&router).await;
    let statuses = [submit(&router, &token, body).await, submit(&router, &token, body).await];
    assert_eq!(statuses[0], statuses[1], "the same request, the same answer: checks before acceptance remember nothing");
    if statuses[0] == 200 {
        must_be_valid(body);
    } else {
        assert!(matches!(statuses[0], 400 | 403), "{statuses:?}");
    }
    close(&sandbox, statuses[0]);
    sandbox.advance(Duration::from_millis(ENRICHMENT_DELAY_MS)).expect("no journal is written");
    let ledger = close(&sandbox, statuses[0]);
    assert_eq!(ledger.totals.pending, 0);
    for path in ["/_sandbox/ledger?measurements=true", "/organizations/sandbox-org/events"] {
        let (status, body) = send(&router, Request::get(path).header("authorization", &token), b"").await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(), "{path}");
    }
}

async fn send(router: &Router, request: http::request::Builder, body: &[u8]) -> (u16, Bytes) {
    let request = request.body(Body::from(body.to_vec())).expect("a request of fixed parts");
    let response = router.clone().oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.expect("a whole body").to_bytes())
}

async fn token(router: &Router) -> String {
    let basic = format!("Basic {}", STANDARD.encode("sandbox:sandbox-secret"));
    let request = Request::post("/oauth/token").header("authorization", basic).header("content-type", "application/json");
    let (status, body) = send(router, request, br#"{"grant_type":"client_credentials"}"#).await;
    assert_eq!(status, 200);
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    format!("Bearer {}", body["access_token"].as_str().expect("a token"))
}

/// Submits `body`, and gives the status of the answer, which is JSON as m3ter writes it.
async fn submit(router: &Router, token: &str, body: &[u8]) -> u16 {
    let request = Request::post("/organizations/sandbox-org/measurements").header("authorization", token);
    let (status, answer) = send(router, request, body).await;
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    assert!(if status == 200 { answer["result"] == "accepted" } else { answer["message"].is_string() }, "{status} {answer}");
    status
}

/// The second reading of a body that was accepted finds nothing missing.
fn must_be_valid(body: &[u8]) {
    let value = match Reading::of(body) {
        Reading::Is(value) => value,
        Reading::Untold => return,
        Reading::Not => panic!("accepted what is not JSON"),
    };
    let measurements = value["measurements"].as_array().expect("an array");
    assert!(value.is_object() && (1..=1_000).contains(&measurements.len()));
    for measurement in measurements {
        assert!(measurement.is_object());
        for key in ["meter", "account", "ts"] {
            let code = measurement[key].as_str().expect(key);
            assert!((1..=80).contains(&code.chars().count()) && code.trim_matches(' ') == code, "{key} {code:?}");
        }
        assert!(
            measurement.get("uid").is_none_or(|uid| uid.is_null() || uid.as_str().is_some_and(|uid| uid.chars().count() <= 50))
        );
        for category in ["measure", "cost", "income"] {
            let numbers = measurement.get(category).filter(|category| !category.is_null());
            assert!(numbers.is_none_or(|numbers| numbers.as_object().expect(category).values().all(Value::is_number)));
        }
        for category in ["who", "what", "where", "other", "metadata"] {
            let texts = measurement.get(category).filter(|category| !category.is_null());
            assert!(texts.is_none_or(|texts| texts.as_object().expect(category).values().all(Value::is_string)));
        }
    }
}

/// The books close: every sum is what the list of measurements says.
fn close(sandbox: &Sandbox, status: u16) -> Ledger {
    let ledger = sandbox.ledger_of(&LedgerQuery { requests: true, measurements: true, uid: None });
    let totals = &ledger.totals;
    let lines = ledger.measurements.as_deref().expect("they were asked for");
    let count = |state| lines.iter().filter(|line| line.state == state).count() as u64;
    assert_eq!(totals.requests, 2);
    assert_eq!(totals.received, ledger.requests.iter().map(|line| line.measurements).sum::<u64>());
    assert_eq!(totals.accepted, if status == 200 { totals.received } else { 0 });
    assert_eq!(totals.accepted, lines.len() as u64);
    assert_eq!(totals.ingested, count(State::Ingested));
    assert_eq!(totals.duplicates, count(State::Duplicate));
    assert_eq!(totals.rejected.values().sum::<u64>(), count(State::Rejected));
    assert_eq!(totals.pending, count(State::Pending));
    assert_eq!(totals.accepted, totals.ingested + totals.duplicates + totals.rejected.values().sum::<u64>() + totals.pending);
    assert_eq!(totals.ingested, ledger.meters.values().map(|meter| meter.count).sum::<u64>());
    ledger
}
