//! The checks before acceptance.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use m3ter_sandbox::{Choices, FutureTs, Limits, Options, Outcome};
use serde_json::{Value, json};

use crate::client::{Client, START, but, good, options, read};

#[tokio::test(start_paused = true)]
async fn an_accepted_request_says_so_and_nothing_of_its_measurements() {
    let client = Client::new().await;
    client.accepted(&[good("a"), but(good("b"), json!({"meter": "unknown"}))]).await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_measurement_refuses_its_whole_request() {
    let client = Client::new().await;
    let (status, body) = client.submit(&[good("a"), but(good("b"), json!({"ts": "yesterday"}))]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["message"].as_str().unwrap().starts_with("measurements[1]: ts: expected an ISO 8601"), "{body}");
    let ledger = client.ledger();
    assert_eq!((ledger.totals.received, ledger.totals.accepted), (2, 0));
    assert_eq!((ledger.requests[0].outcome, ledger.requests[0].status), (Outcome::Refused, Some(400)));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_the_requests_shape_is_answered_400() {
    let client = Client::new().await;
    for body in ["", "nonsense", "[]", r#"{"measurements":[]}"#, r#"{"measurements":[5]}"#, r#"{"measurement":[]}"#] {
        let (status, answer) = read(client.submit_raw(body).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer["message"].is_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_measurements_are_accepted_and_one_more_refuses_them_all() {
    let client = Client::new().await;
    let many: Vec<Value> = (0..1_001).map(|n| good(&n.to_string())).collect();
    client.accepted(&many[..1_000]).await;
    assert_eq!(client.submit(&many).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(client.ledger().totals.ingested, 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_512000_bytes_is_answered_403_and_one_byte_less_is_accepted() {
    let client = Client::new().await;
    let body = |bytes: usize| {
        let plain = json!({"measurements": [good("a")]}).to_string();
        plain.replace('[', &format!("[{}", " ".repeat(bytes - plain.len())))
    };
    let (status, answer) = read(client.submit_raw(body(512_000)).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(answer["message"].as_str().unwrap().contains("512000"), "{answer}");
    assert_eq!(read(client.submit_raw(body(511_999)).await).await.0, StatusCode::OK);
    let ledger = client.ledger();
    assert_eq!((ledger.requests[0].bytes, ledger.requests[1].bytes), (512_000, 511_999));
    assert_eq!(ledger.requests[0].measurements, 1, "what a refused request held is known too");
}

#[tokio::test(start_paused = true)]
async fn another_organisation_is_answered_403() {
    let client = Client::new().await;
    let request = Request::post("/organizations/other/measurements").header("authorization", format!("Bearer {}", client.token));
    let body = json!({"measurements": [good("a")]}).to_string();
    let (status, _) = read(client.send(request.body(Body::from(body)).unwrap()).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(client.ledger().totals.accepted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_path_or_method_that_is_not_there_is_answered_with_a_message() {
    let client = Client::new().await;
    let (status, body) = client.call(http::Method::GET, "nothing", None).await;
    assert_eq!((status, body["message"].is_string()), (StatusCode::NOT_FOUND, true));
    let (status, body) = client.call(http::Method::GET, "measurements", None).await;
    assert_eq!((status, body["message"].is_string()), (StatusCode::METHOD_NOT_ALLOWED, true));
}

#[tokio::test(start_paused = true)]
async fn the_51st_request_of_a_second_is_answered_429_for_the_rest_of_that_second() {
    let client = Client::with(Options { limits: Limits::default(), ..options(Choices::default()) }).await;
    for n in 0..50 {
        client.accepted(&[good(&n.to_string())]).await;
    }
    assert_eq!(client.submit(&[good("x")]).await.0, StatusCode::TOO_MANY_REQUESTS);
    tokio::time::advance(Duration::from_secs(1)).await;
    client.accepted(&[good("x")]).await;
    let ledger = client.ledger();
    assert_eq!((ledger.requests[50].outcome, ledger.totals.accepted), (Outcome::Throttled, 51));
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_five_minutes_rolls_per_source_address() {
    let limits = Limits { ingest_per_ip_5_min: Some(2), ..Limits::none() };
    let client = Client::with(Options { limits, ..options(Choices::default()) }).await;
    client.accepted(&[good("a")]).await;
    tokio::time::advance(Duration::from_secs(200)).await;
    client.accepted(&[good("b")]).await;
    assert_eq!(client.submit(&[good("c")]).await.0, StatusCode::TOO_MANY_REQUESTS);
    tokio::time::advance(Duration::from_secs(100)).await;
    client.accepted(&[good("c")]).await;
    assert_eq!(client.submit(&[good("d")]).await.0, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn own_choice_a_future_ts_can_refuse_the_request() {
    let choices = Choices { future_ts: FutureTs::Refuse, ..Choices::default() };
    let client = Client::choosing(choices).await;
    let (status, body) = client.submit(&[good("a"), but(good("b"), json!({"ts": "2026-06-01T00:01:01Z"}))]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["message"].as_str().unwrap().contains("future"), "{body}");
    client.accepted(&[but(good("b"), json!({"ts": "2026-06-01T00:01:00Z"}))]).await;
}

#[tokio::test(start_paused = true)]
async fn own_choice_long_metadata_can_refuse_the_request() {
    let long = but(good("a"), json!({"metadata": {"agent": "x".repeat(257)}}));
    Client::new().await.accepted(std::slice::from_ref(&long)).await;
    let client = Client::choosing(Choices { refuse_long_metadata: true, ..Choices::default() }).await;
    assert_eq!(client.submit(&[long]).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn the_ledger_tells_of_each_request_what_came_and_what_was_answered() {
    let client = Client::new().await;
    let body = json!({"measurements": [good("a"), but(good("b"), json!({"metadata": {"x": "äö"}}))]}).to_string();
    let largest = good("b").to_string().len() + r#""metadata":{"x":"äö"},"#.len();
    let bytes = body.len() as u64;
    let request = Request::post("/organizations/sandbox-org/measurements")
        .header("authorization", format!("Bearer {}", client.token))
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    client.send(request.body(Body::from(body)).unwrap()).await;
    let shown = client.get("/_sandbox/ledger").await;
    let expected = json!({
        "at": START, "status": 200, "outcome": "accepted", "measurements": 2, "bytes": bytes, "largest_bytes": largest,
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    assert_eq!(shown["requests"], json!([expected]));
    assert_eq!(shown["totals"]["token_requests"], 1);
    assert!(client.get("/_sandbox/ledger?requests=false").await["requests"].as_array().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_ledger_shows_each_measurement_as_it_was_received() {
    let client = Client::new().await;
    let raw = r#"{ "ts":"2026-05-31T23:00:00+00:00",  "uid":"a", "meter":"api","account":"\u0061cme", "what":{"method":"x"}, "measure":{"n":1.50} }"#;
    client.submit_raw(format!("{{\"measurements\":[{raw}]}}")).await;
    client.accepted(&[but(good("b"), json!({"meter": "gone"})), good("a")]).await;
    let ledger = client.sandbox.ledger_of(&m3ter_sandbox::LedgerQuery { measurements: true, ..Default::default() });
    let lines = ledger.measurements.unwrap();
    assert_eq!(lines[0].measurement.get(), raw);
    assert_eq!((lines[0].uid.as_deref(), lines[0].account.as_str()), (Some("a"), "acme"));
    let of_a = client.get("/_sandbox/ledger?uid=a").await;
    let states: Vec<&Value> = of_a["measurements"].as_array().unwrap().iter().map(|line| &line["state"]).collect();
    assert_eq!(states, ["ingested", "duplicate"]);
    let of_b = client.get("/_sandbox/ledger?measurements=true&uid=b").await;
    assert_eq!((&of_b["measurements"][0]["type"], &of_b["measurements"][0]["request"]), (&json!("UndefinedMeter"), &json!(1)));
}
