//! Scripted faults and the clock, in process.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use m3ter_sandbox::{Abort, Containing, Fault, FaultRule, Outcome, Route};
use serde_json::json;
use tokio::time::Instant;

use crate::client::{Client, good, read};

fn body(uid: &str) -> String {
    json!({"measurements": [good(uid)]}).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_scripted_status_answers_in_m3ters_place_and_counts_nothing() {
    let client = Client::new().await;
    let fault = Fault::Status { status: 503, retry_after: Some("7".to_owned()), body: None };
    client.sandbox.add_fault(FaultRule::new(fault).skip(1).times(1));
    client.accepted(&[good("a")]).await;
    let response = client.submit_raw(body("b")).await;
    assert_eq!((response.status(), &response.headers()["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"7".parse().unwrap()));
    client.accepted(&[good("b")]).await;
    let ledger = client.ledger();
    assert_eq!((ledger.totals.received, ledger.totals.accepted), (3, 2));
    let line = &ledger.requests[1];
    assert_eq!((line.outcome, line.status, line.fault.as_deref()), (Outcome::Fault, Some(503), Some("status")));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_counted_on_arrival() {
    let client = Client::new().await;
    client.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 12_000 }));
    let started = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(10), client.submit_raw(body("a"))).await;
    assert!(answer.is_err(), "the client gave up");
    assert_eq!(client.ledger().totals.ingested, 1);
    assert_eq!(client.submit(&[good("a")]).await.0, StatusCode::OK);
    assert_eq!(started.elapsed(), Duration::from_secs(22));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_answer_leaves_its_measurements_counted() {
    let client = Client::new().await;
    client.sandbox.add_fault(FaultRule::new(Fault::DropAnswer).times(1));
    let response = client.submit_raw(body("a")).await;
    assert_eq!(response.extensions().get::<Abort>(), Some(&Abort));
    let ledger = client.ledger();
    assert_eq!(ledger.totals.ingested, 1);
    assert_eq!((ledger.requests[0].outcome, ledger.requests[0].status), (Outcome::Accepted, None));
    client.accepted(&[good("a")]).await;
    assert_eq!(client.ledger().totals.duplicates, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_and_a_page_of_html_count_nothing() {
    let client = Client::new().await;
    client.sandbox.add_fault(FaultRule::new(Fault::Reset).times(1));
    client.sandbox.add_fault(FaultRule::new(Fault::Html).times(1));
    assert!(client.submit_raw(body("a")).await.extensions().get::<Abort>().is_some());
    let response = client.submit_raw(body("a")).await;
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert_eq!((client.ledger().totals.received, client.ledger().totals.accepted), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_truncated_answer_fails_half_way_and_its_measurements_are_counted() {
    let client = Client::new().await;
    client.sandbox.add_fault(FaultRule::new(Fault::Truncate));
    let response = client.submit_raw(body("a")).await;
    assert_eq!((response.status(), &response.headers()["content-length"]), (StatusCode::OK, &"21".parse().unwrap()));
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(client.ledger().totals.ingested, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_request_is_never_answered_and_counts_nothing() {
    let client = Client::new().await;
    client.sandbox.add_fault(FaultRule::new(Fault::Hang).times(1));
    assert!(tokio::time::timeout(Duration::from_secs(3_600), client.submit_raw(body("a"))).await.is_err());
    let ledger = client.ledger();
    assert_eq!((ledger.totals.accepted, ledger.requests[0].status), (0, None));
}

#[tokio::test(start_paused = true)]
async fn one_measurement_can_be_made_to_refuse_every_request_that_holds_it() {
    let client = Client::new().await;
    client.sandbox.add_fault(FaultRule::new(Fault::status(413)).containing(Containing::uid("bad")));
    assert_eq!(client.submit(&[good("a"), good("bad")]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    client.accepted(&[good("a")]).await;
    assert_eq!(client.submit(&[good("bad")]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn token_requests_and_other_routes_can_be_scripted_too() {
    let client = Client::new().await;
    let fault = |status| Fault::Status { status, retry_after: None, body: Some("<html>".to_owned()) };
    client.sandbox.add_fault(FaultRule::new(fault(500)).on(Route::Token));
    client.sandbox.add_fault(FaultRule::new(fault(502)).on(Route::Api));
    assert_eq!(client.ask_for_token("sandbox", "sandbox-secret").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(client.call(Method::GET, "events", None).await.0, StatusCode::BAD_GATEWAY);
    client.accepted(&[good("a")]).await;
    assert_eq!(client.ledger().requests.len(), 1, "only ingest requests are in the ledger");
}

#[tokio::test(start_paused = true)]
async fn faults_are_added_shown_and_cleared_over_http() {
    let client = Client::new().await;
    let rules = json!([
        {"fault": {"kind": "reset"}, "times": 1},
        {"route": "any", "probability": 1.0, "seed": 9, "fault": {"kind": "status", "status": 429, "retry_after": "1"}},
    ]);
    assert_eq!(client.post("/_sandbox/faults", rules).await.0, StatusCode::OK);
    assert_eq!(
        client.post("/_sandbox/faults", json!({"fault": {"kind": "html"}, "containing": {"meter": "x"}})).await.0,
        StatusCode::OK
    );
    client.submit(&[good("a")]).await;
    assert_eq!(client.submit(&[good("a")]).await.0, StatusCode::TOO_MANY_REQUESTS);
    let shown = client.get("/_sandbox/faults").await;
    assert_eq!(shown["fired"], json!({"reset": 1, "status": 1}));
    assert_eq!(
        (shown["rules"].as_array().unwrap().len(), &shown["rules"][0]["fired"], &shown["rules"][0]["seen"]),
        (3, &json!(1), &json!(1))
    );
    let (_, cleared) = client.call(Method::DELETE, "/_sandbox/faults", None).await;
    assert_eq!(cleared, json!({"rules": [], "fired": {"reset": 1, "status": 1}}));
    client.accepted(&[good("a")]).await;
    for bad in [
        json!({}),
        json!({"fault": {"kind": "status", "status": 99}}),
        json!({"fault": {"kind": "reset"}, "probability": 2}),
        json!({"fault": {"kind": "reset"}, "times": 0}),
        json!([{"fault": {"kind": "reset"}}, {"fault": {"kind": "reset"}, "probability": -1}]),
        json!({"fault": {"kind": "reset"}, "tmies": 1}),
    ] {
        assert_eq!(client.post("/_sandbox/faults", bad).await.0, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_read_and_moved_over_http() {
    let client = Client::new().await;
    let (status, body) = client.post("/_sandbox/clock", json!({"advance_s": 60, "advance_ms": 500})).await;
    assert_eq!((status, &body), (StatusCode::OK, &json!({"now": "2026-06-01T00:01:00.5Z"})));
    assert_eq!(client.get("/_sandbox/clock").await, body);
    for bad in [json!({}), json!({"advance_s": -1}), json!({"to": "x"})] {
        assert_eq!(client.post("/_sandbox/clock", bad).await.0, StatusCode::BAD_REQUEST);
    }
    let (status, _) = read(client.submit_raw(body_of_now()).await).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(client.ledger().totals.ingested, 1);
}

fn body_of_now() -> String {
    body("a").replace("2026-05-31T23:00:00Z", "2026-06-01T00:02:00Z")
}
