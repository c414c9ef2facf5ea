//! What a message is kept with, and what stays; over a store in memory, or one that fails.

use relay_store::{Entry, S3Access, quarantine_id};
use serde_json::{Value, json};

use super::*;

const NOW_MS: i64 = 1_780_272_000_000;
const DEAD_ARN: &str = "arn:aws:sqs:eu-west-1:123456789012:dead";
const QUEUE_ARN: &str = "arn:aws:sqs:eu-west-1:123456789012:usage";

/// What came of one event: the answer, the entries that are in the store now, and the line.
struct Handled {
    answer: Result<Answer, HandlerError>,
    kept: Vec<Entry>,
    line: Value,
}

fn function() -> Function {
    Function { store: Store::open("memory:", &S3Access::default()).unwrap(), name: "dead".into() }
}

/// The same with a store that takes nothing: where its folder was, there is a file. All is gone with what comes back.
fn function_without_a_store() -> (tempfile::TempDir, Function) {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("store");
    std::fs::create_dir(&folder).unwrap();
    let store = Store::open(&format!("file://{}", folder.display()), &S3Access::default()).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    (outer, Function { store, ..function() })
}

async fn handle(function: &Function, event: &str) -> Handled {
    let call = Call { request_id: "request-1", deadline_ms: NOW_MS + 60_000, trace: None, now_ms: NOW_MS };
    let mut log = Vec::new();
    let answer = function.handle(event, call, &mut log).await;
    let line = serde_json::from_slice(&log).unwrap_or_default();
    Handled { answer, kept: function.store.quarantined().await.unwrap_or_default(), line }
}

fn record(id: &str, body: &str) -> Value {
    json!({
        "messageId": id, "receiptHandle": "h", "body": body, "eventSourceARN": DEAD_ARN,
        "attributes": {
            "ApproximateReceiveCount": "1001", "SentTimestamp": "1780000000000", "ApproximateFirstReceiveTimestamp": "1780000000500",
            "DeadLetterQueueSourceArn": QUEUE_ARN,
        },
        "messageAttributes": {"Content-Encoding": {"stringValue": "gzip", "dataType": "String"}},
    })
}

fn event(records: &[Value]) -> String {
    json!({ "Records": records }).to_string()
}

/// `record` with another value at this place.
fn but(mut record: Value, pointer: &str, value: Value) -> Value {
    *record.pointer_mut(pointer).unwrap() = value;
    record
}

fn counts(line: &Value) -> [u64; 4] {
    ["Received", "Stored", "Returned", "StoreFailed"].map(|name| line[name].as_u64().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_message_is_kept_whole_with_its_times_and_counts_as_sent() {
    let function = function();
    let Handled { answer, kept, line } = handle(&function, &event(&[record("m-1", "not even JSON")])).await;
    assert_eq!(answer.unwrap().failures, []);
    let [entry] = &kept[..] else { panic!("one entry was expected, not {kept:?}") };
    assert_eq!((entry.reason.as_str(), entry.stage.as_str()), ("DeliveryExhausted", "delivery"));
    assert_eq!((entry.body.as_deref(), &entry.measurement.is_none(), &entry.uid), (Some("not even JSON"), &true, &None));
    assert_eq!((entry.queued_at, entry.first_received_at), (Some(1_780_000_000_000), Some(1_780_000_000_500)));
    assert_eq!((entry.receives, entry.first_sent_at), (1_001, Some(1_780_000_000_000)));
    assert_eq!((entry.source_arn.as_str(), entry.message_id.as_str()), (QUEUE_ARN, "m-1"));
    let attributes = entry.attributes.as_deref().unwrap();
    assert_eq!((attributes[0].name.as_str(), attributes[0].value.as_str(), attributes.len()), ("Content-Encoding", "gzip", 1));
    assert_eq!((counts(&line), &line["level"], &line["QueueLag"]), ([1, 1, 0, 0], &json!("warn"), &json!(272_000_000)));
}

#[tokio::test]
async fn when_an_earlier_life_was_first_sent_and_what_it_stands_for_is_not_forgotten() {
    let first_sent = json!({
        "usage-relay-first-sent-at": {"stringValue": "1779000000000", "dataType": "Number"},
        "usage-relay-origin": {"stringValue": "replay:some-entry", "dataType": "String"},
    });
    let unreadable = json!({"usage-relay-first-sent-at": {"stringValue": "once", "dataType": "String"}});
    let records = [("a", first_sent), ("b", unreadable)].map(|(id, value)| but(record(id, ""), "/messageAttributes", value));
    let mut kept = handle(&function(), &event(&records)).await.kept;
    kept.sort_by(|one, other| one.message_id.cmp(&other.message_id));
    let first_sent_at: Vec<_> = kept.iter().map(|entry| entry.first_sent_at).collect();
    assert_eq!(first_sent_at, [Some(1_779_000_000_000), Some(0)], "what cannot be told may be any age");
    let of: Vec<_> = kept.iter().map(|entry| entry.origin.as_ref().map(|origin| origin.of.as_str())).collect();
    assert_eq!(of, [Some("some-entry"), None]);
}

#[tokio::test]
async fn an_entry_is_told_by_the_queue_that_gave_it_up_and_stored_twice_it_is_one() {
    let function = function();
    let twice = event(&[record("m-1", "x"), record("m-1", "x")]);
    let kept = handle(&function, &twice).await.kept;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].qid, quarantine_id(QUEUE_ARN, "m-1", WHOLE_MESSAGE));
    assert_ne!(kept[0].qid, quarantine_id(QUEUE_ARN, "m-1", 0), "it must not pass for its first measurement");

    let untold = but(record("m-2", "y"), "/attributes", json!({}));
    let kept = handle(&function, &event(&[untold])).await.kept;
    assert!(kept.iter().any(|entry| entry.qid == quarantine_id(DEAD_ARN, "m-2", WHOLE_MESSAGE) && entry.source_arn == DEAD_ARN));
}

#[tokio::test]
async fn what_cannot_be_stored_stays_each_message_named_once() {
    let (_folder, function) = function_without_a_store();
    let records = [record("b", "x"), record("a", "y"), record("b", "x")];
    let Handled { answer, kept, line } = handle(&function, &event(&records)).await;
    let failures: Vec<_> = answer.unwrap().failures.into_iter().map(|failure| failure.id).collect();
    assert_eq!((failures, kept.len()), (vec!["a".to_owned(), "b".to_owned()], 0));
    assert_eq!((counts(&line), &line["level"]), ([3, 0, 3, 1], &json!("error")));
}

#[tokio::test]
async fn odd_records_are_kept_as_far_as_they_go_and_none_for_another() {
    let odd = r#"{"Records":[
        {"messageId":"a","body":"half of a pair: \ud800","attributes":null,"messageAttributes":null},
        {"messageId":"b","body":{"no":"string"},"attributes":[],"messageAttributes":"odd"},
        {"messageId":"c","body":"\u0000\r\n\"\\ \u2028 ü"},
        null, {}, {"body":"no id"}, {"messageId":"d","body":""}]}"#;
    let Handled { answer, kept, line } = handle(&function(), odd).await;
    assert_eq!((answer.unwrap().failures.len(), counts(&line)), (0, [7, 7, 0, 0]));
    let mut bodies: Vec<_> = kept.iter().map(|entry| (entry.message_id.as_str(), entry.body.as_deref().unwrap())).collect();
    bodies.sort_unstable();
    let expected = [
        ("a", r#""half of a pair: \ud800""#),
        ("b", r#"{"no":"string"}"#),
        ("c", "\0\r\n\"\\ \u{2028} ü"),
        ("d", ""),
        ("request-1-3", ""),
        ("request-1-4", ""),
        ("request-1-5", "no id"),
    ];
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_message_that_must_stay_and_has_no_id_fails_the_invocation() {
    let (_folder, function) = function_without_a_store();
    let Handled { answer, line, .. } = handle(&function, r#"{"Records":[{"body":"x"}]}"#).await;
    assert_eq!((answer, counts(&line)), (Err(HandlerError::NoMessageId), [1, 0, 1, 1]));
}

#[tokio::test]
async fn what_is_no_sqs_event_fails_the_invocation_and_no_messages_are_no_object() {
    let function = function();
    assert!(matches!(handle(&function, "{}").await.answer, Err(HandlerError::Event(_))));
    let Handled { answer, kept, line } = handle(&function, r#"{"Records":[]}"#).await;
    assert_eq!((answer.unwrap().failures.len(), kept.len()), (0, 0));
    assert_eq!((counts(&line), &line["level"]), ([0, 0, 0, 0], &json!("info")));
}

fn check_time(timeout_ms: i64, expected_ms: u128) {
    let call = Call { request_id: "r", deadline_ms: 1_000 + timeout_ms, trace: None, now_ms: 1_000 };
    assert_eq!(time_to_store(&call).as_millis(), expected_ms);
}

#[test]
fn the_store_has_all_the_time_but_what_the_answer_takes() {
    check_time(60_000, 58_000);
    check_time(900_000, 898_000);
    check_time(6_000, 5_800);
    check_time(0, 0);
    check_time(-5, 0);
}
