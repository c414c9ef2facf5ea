//! What an invocation says and answers: over a store in memory, one that is down, and one that never answers.

use std::net::TcpListener;

use relay_core::limits::DAY_MS;
use relay_store::S3Access;
use serde_json::{Value, json};

use super::*;
use crate::look::tests::{NOW_MS, Shelf};

/// Handles one invocation that may take so long; gives back its lines too.
async fn handle(store: Store, timeout_ms: i64) -> (Result<Counts, LookError>, Vec<Value>) {
    let function = Function { store, name: "watch".into() };
    let call = Call { request_id: "request-1", deadline_ms: NOW_MS + timeout_ms, trace: None, now_ms: NOW_MS };
    let mut log = Vec::new();
    let answer = function.handle(call, &mut log).await;
    let lines = String::from_utf8(log).unwrap();
    (answer, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A store behind a port of this machine.
fn bucket(port: u16) -> Store {
    let endpoint = Some(format!("http://127.0.0.1:{port}"));
    let s3 = S3Access { endpoint, access_key_id: "a".into(), secret_access_key: "canary".into(), ..S3Access::default() };
    Store::open("s3://bucket/relay", &s3).unwrap()
}

fn check_failed(lines: &[Value], detail: &str) {
    let [closing, why] = lines else { panic!("two lines were expected, not {lines:?}") };
    assert_eq!((&closing["level"], &closing["LookFailed"]), (&json!("error"), &json!(1)));
    for count in ["QuarantineOpen", "LeavesWindowSoon", "OutsideWindow", "Unreadable"] {
        assert_eq!(closing.get(count), None, "what is unknown is not zero");
    }
    assert_eq!((&why["level"], &why["message"]), (&json!("error"), &json!("the look failed")));
    let told = why["detail"].as_str().unwrap();
    assert!(told.starts_with(detail) && !told.contains("canary"), "{told}");
}

#[tokio::test]
async fn a_look_is_answered_and_told_with_all_its_counts() {
    let shelf = Shelf::new();
    shelf.keep_sent("soon", 31 * DAY_MS).await;
    shelf.keep_sent("outside", 34 * DAY_MS).await;
    let (answer, lines) = handle(shelf.store.clone(), 60_000).await;
    let expected = json!({
        "open": {"RefusedByApi": 2}, "leaves_window_soon": 1, "outside_window": 1, "unreadable": 0, "is_whole": true,
    });
    assert_eq!(serde_json::to_value(answer.unwrap()).unwrap(), expected);
    let counts = ["QuarantineOpen", "LeavesWindowSoon", "OutsideWindow", "Unreadable", "LookFailed"];
    assert_eq!(counts.map(|count| lines[0][count].as_u64().unwrap()), [2, 1, 1, 0, 0]);
    assert_eq!(
        (&lines[0]["level"], &lines[0]["requestId"], &lines[0]["Function"]),
        (&json!("warn"), &json!("request-1"), &json!("watch"))
    );
    assert_eq!((lines.len(), &lines[1]["Reason"], &lines[1]["QuarantineOpen"]), (2, &json!("RefusedByApi"), &json!(2)));
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_and_no_count() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(); // closed again at once
    let (answer, lines) = handle(bucket(port), 60_000).await;
    assert!(matches!(answer, Err(LookError::Store(_))), "{answer:?}");
    check_failed(&lines, "expected the store to show what is in it: the store failed: ");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_an_error_before_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap(); // nobody ever accepts
    let began = Instant::now();
    let (answer, lines) = handle(bucket(listener.local_addr().unwrap().port()), 3_000).await;
    assert!(matches!(answer, Err(LookError::TimeUp { within_ms: 2_700 })), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
    check_failed(&lines, "expected to have read the quarantine within 2700 ms");
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_that_hides_no_count() {
    let shelf = Shelf::new();
    shelf.put("relay/quarantine/v1/dt=2099-12-31/hr=00/0-torn.ndjson.zst", b"torn").await;
    let (answer, lines) = handle(shelf.store.clone(), 60_000).await;
    assert_eq!(answer.unwrap().unreadable, 1);
    assert_eq!(
        (&lines[0]["level"], &lines[0]["Unreadable"], lines[0].get("LeavesWindowSoon")),
        (&json!("error"), &json!(1), None)
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_written_costs_no_answer() {
    let function = Function { store: Shelf::new().store, name: "watch".into() };
    let call = Call { request_id: "r", deadline_ms: NOW_MS + 60_000, trace: None, now_ms: NOW_MS };
    let mut full: &mut [u8] = &mut [];
    assert!(function.handle(call, &mut full).await.is_ok());
}

#[test]
fn the_look_has_all_the_time_but_what_the_answer_takes() {
    let check = |timeout_ms: i64, expected_ms: u128| {
        let call = Call { request_id: "r", deadline_ms: 1_000 + timeout_ms, trace: None, now_ms: 1_000 };
        assert_eq!(time_to_look(&call).as_millis(), expected_ms);
    };
    check(300_000, 298_000);
    check(20_000, 18_000);
    check(5_000, 4_500);
    check(0, 0);
    check(-5, 0);
}
