//! What becomes of a message: done when all of it is settled, returned while anything is not, kept whole when it is too old.

use std::time::Duration;

use m3ter_sandbox::{Fault, FaultRule, State};
use relay_core::guard::MissingUid;
use relay_core::limits::DAY_MS;
use serde_json::{Value, json};
use tokio::time::advance;

use crate::world::{Message, START_MS, Setup, World, bad, but, good, many};

/// A measurement whose time comes five minutes after the start.
fn early(uid: &str) -> Value {
    but(good(uid), "ts", json!("2026-06-01T00:05:00Z"))
}

fn with_one_bad(id: &str) -> Message {
    let mut measurements = many(id, 100);
    measurements[37] = bad(&format!("{id}-37"));
    Message::of(id, &measurements)
}

#[tokio::test(start_paused = true)]
async fn of_a_message_of_100_with_one_bad_99_are_accepted_one_is_kept_and_the_message_is_done() {
    let world = World::new();
    let handled = world.deliver(&[with_one_bad("m-1")]).await;
    handled.counts(&[("Done", 1), ("Found", 100), ("Accepted", 99), ("Quarantined", 1), ("Batches", 1), ("Attempts", 1)]);
    let kept = world.quarantined().await;
    assert_eq!((kept.len(), kept[0].position, kept[0].reason.as_str()), (1, 37, "MeterMissing"));
    assert_eq!((kept[0].first_sent_at, kept[0].stage.as_str()), (None, "guard"));
    assert_eq!(kept[0].uid.as_deref(), Some("canary-m-1-37"));
    let text = kept[0].measurement.as_ref().unwrap().get();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), bad("m-1-37"));
    assert_eq!(world.ledger().totals.ingested, 99);
}

#[tokio::test(start_paused = true)]
async fn redelivered_ten_times_for_one_undecided_measurement_it_leaves_one_entry_and_nothing_is_counted_twice() {
    let world = World::new();
    let mut measurements = many("a", 100);
    (measurements[10], measurements[20]) = (bad("a-10"), early("a-20"));
    for receives in 1..=10 {
        let handled = world.deliver(&[Message::of("m-1", &measurements).received(receives)]).await;
        handled.counts(&[("Returned", 1), ("Accepted", 98), ("Quarantined", 0), ("Unresolved", 2)]);
        let tried = world.objects.tried();
        assert!(tried.iter().all(|(_, name)| name.contains("ledger")), "nothing is quarantined before the message is done");
        advance(Duration::from_secs(20)).await;
    }
    advance(Duration::from_secs(100)).await;
    assert!(world.is_done(&Message::of("m-1", &measurements).received(11)).await);
    assert_eq!(world.reasons().await, [("m-1".into(), 10, "MeterMissing".into())]);
    let totals = world.ledger().totals;
    assert_eq!((totals.ingested, totals.accepted), (99, 98 * 10 + 99));
}

#[tokio::test(start_paused = true)]
async fn a_measurement_ahead_of_its_time_is_not_sent_and_comes_back_when_it_is_due() {
    let world = World::new();
    let handled = world.deliver(&[Message::of("m-1", &[early("a")]), Message::of("m-2", &[good("b")])]).await;
    assert_eq!(handled.returned, ["m-1"]);
    assert_eq!(world.line.seconds(), [("handle-of-m-1".to_owned(), 300)]);
    assert_eq!(world.ledger().totals.received, 1);
    advance(Duration::from_secs(300)).await;
    assert!(world.is_done(&Message::of("m-1", &[early("a")]).received(2)).await);
    assert_eq!(world.ledger().totals.ingested, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_older_than_ten_days_is_kept_with_the_time_of_its_first_send() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)));
    let limit = START_MS - 10 * DAY_MS;
    // Attempts go on for 18 s: the one just inside the limit is measured after them.
    let messages = [
        Message::of("m-old", &[good("a"), bad("b")]).sent_at(limit - 1),
        Message::of("m-young", &[good("c")]).sent_at(limit + 60_000),
    ];
    let handled = world.deliver(&messages).await;
    assert_eq!(handled.returned, ["m-young"]);
    let reasons = [("m-old".into(), 0, "Exhausted".into()), ("m-old".into(), 1, "MeterMissing".into())];
    assert_eq!(world.reasons().await, reasons);
    let kept = world.quarantined().await;
    let exhausted = kept.iter().find(|entry| entry.reason == "Exhausted").unwrap();
    assert_eq!((exhausted.first_sent_at, exhausted.stage.as_str()), (Some(limit - 1), "submit"));
}

#[tokio::test(start_paused = true)]
async fn an_old_message_that_m3ter_takes_is_simply_done() {
    let world = World::new();
    assert!(world.is_done(&Message::of("m-1", &[good("a")]).sent_at(START_MS - 13 * DAY_MS)).await);
    assert!(world.quarantined().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_measurement_that_may_have_left_the_window_is_kept_and_not_sent() {
    let world = World::new();
    let old = but(good("a"), "ts", json!("2026-04-20T00:00:00Z"));
    // Sent to the queue a minute ago it is safe, however old its time is.
    assert!(world.is_done(&Message::of("m-1", std::slice::from_ref(&old))).await);
    assert!(world.is_done(&Message::of("m-2", &[but(old, "uid", json!("canary-b"))]).sent_at(START_MS - 34 * DAY_MS)).await);
    assert_eq!(world.reasons().await, [("m-2".into(), 0, "OutsideWindow".into())]);
    assert_eq!(world.ledger().totals.received, 1);
}

const POINTER: &str =
    r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"canary-bucket","s3Key":"canary"}]"#;

#[tokio::test(start_paused = true)]
async fn a_body_that_lies_in_s3_is_returned_and_counted_until_it_is_too_old_and_then_kept_whole() {
    let world = World::new();
    let handled = world.deliver(&[Message::raw("m-1", POINTER), Message::of("m-2", &[good("a")])]).await;
    handled.counts(&[("Returned", 1), ("Done", 1), ("PayloadPointers", 1), ("Unresolved", 1), ("Quarantined", 0)]);
    assert!(world.is_done(&Message::raw("m-1", POINTER).sent_at(START_MS - 11 * DAY_MS)).await);
    let kept = world.quarantined().await;
    assert_eq!((kept[0].reason.as_str(), kept[0].body.as_deref()), ("Exhausted", Some(POINTER)));
    assert!(kept[0].first_sent_at.is_some(), "a relay that may read the bucket may have sent what it holds");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_messages_of_one_measurement_go_in_ten_requests() {
    let world = World::new();
    let messages: Vec<Message> =
        many("a", 10_000).iter().enumerate().map(|(n, one)| Message::of(&format!("m-{n}"), std::slice::from_ref(one))).collect();
    let handled = world.deliver(&messages).await;
    handled.counts(&[("Done", 10_000), ("Accepted", 10_000), ("Batches", 10), ("Attempts", 10)]);
    let ledger = world.ledger();
    assert!(ledger.requests.iter().all(|request| request.measurements == 1_000));
    assert_eq!(ledger.totals.ingested, 10_000);
}

#[tokio::test(start_paused = true)]
async fn wide_measurements_are_batched_by_bytes() {
    let world = World::new();
    let wide: Vec<Value> = many("a", 40).into_iter().map(|one| but(one, "who", json!({"x": "y".repeat(50_000)}))).collect();
    let messages: Vec<Message> = wide.chunks(5).enumerate().map(|(n, some)| Message::of(&format!("m-{n}"), some)).collect();
    let handled = world.deliver(&messages).await;
    handled.counts(&[("Done", 8), ("Accepted", 40), ("Batches", 4)]);
    let requests = world.ledger().requests;
    assert!(requests.iter().all(|request| request.measurements == 10 && request.bytes < 512_000), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_measurement_too_large_for_any_batch_is_kept_and_its_neighbours_are_accepted() {
    let world = World::new();
    let huge = but(good("huge"), "who", json!({"x": "y".repeat(520_000)}));
    let handled = world.deliver(&[Message::of("m-1", &[good("a"), huge, good("b")])]).await;
    handled.counts(&[("Done", 1), ("Accepted", 2), ("Quarantined", 1)]);
    assert_eq!(world.reasons().await, [("m-1".into(), 1, "Oversize".into())]);
}

#[tokio::test(start_paused = true)]
async fn without_uids_equal_measurements_are_kept_or_become_one_as_it_is_set() {
    let anonymous = || but(good("x"), "uid", Value::Null);
    for (missing_uid, ingested, quarantined) in [(MissingUid::Refuse, 0, 2), (MissingUid::Content, 1, 0)] {
        let world = World::with(Setup { missing_uid, ..Setup::default() });
        let message = Message { uids: Vec::new(), ..Message::of("m-1", &[anonymous(), anonymous()]) };
        // Delivered twice: the uid that is made from content is the same each time.
        assert!(world.is_done(&message).await && world.is_done(&message).await);
        assert_eq!((world.ledger().totals.ingested, world.quarantined().await.len()), (ingested, quarantined));
    }
}

#[tokio::test(start_paused = true)]
async fn what_m3ter_rejects_after_accepting_is_done_for_the_walk() {
    let world = World::new();
    let unknown = but(good("a"), "meter", json!("no-such-meter"));
    assert!(world.is_done(&Message::of("m-1", &[unknown, good("b")])).await);
    let lines = world.ledger().measurements.unwrap();
    let states: Vec<State> = lines.iter().map(|line| line.state).collect();
    assert_eq!(states, [State::Rejected, State::Ingested]);
    assert!(world.quarantined().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_that_hold_nothing_usable_are_kept_and_cost_no_request() {
    let world = World::new();
    let bodies = ["", "canary", "[]", "null", r#"{"measurements":{}}"#, "\u{1}", "[1,2,3]"];
    let messages: Vec<Message> = bodies.iter().enumerate().map(|(n, body)| Message::raw(&format!("m-{n}"), body)).collect();
    let handled = world.deliver(&messages).await;
    handled.counts(&[("Done", 7), ("Found", 9), ("Quarantined", 9), ("Batches", 0)]);
    assert!(world.door.seen().is_empty());
}
