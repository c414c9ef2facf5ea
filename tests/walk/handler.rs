//! What Lambda sees: the answer, the log, and how the queue is braked.

use std::collections::BTreeSet;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use lambda_shell::Call;
use lambda_shell::answer::HandlerError;
use m3ter_client::Clock;
use m3ter_sandbox::{Containing, Fault, FaultRule, Route};
use serde_json::{Value, json};

use crate::seams::{Calls, Reading};
use crate::world::{KEY, Message, START_MS, World, bad, good, many};

#[tokio::test(start_paused = true)]
async fn the_answer_names_each_message_that_stays_once_and_nothing_else() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)).containing(Containing::uid("canary-a")));
    let stays = Message::of("m-1", &[good("a")]);
    let messages = [stays.clone(), Message::of("m-2", &[bad("b")]), stays];
    let (answer, ..) = world.invoke(&messages, None).await;
    let answer = serde_json::to_string(&answer.unwrap()).unwrap();
    assert_eq!(answer, r#"{"batchItemFailures":[{"itemIdentifier":"m-1"}]}"#);
    let (answer, ..) = world.invoke(&[], None).await;
    assert_eq!(serde_json::to_string(&answer.unwrap()).unwrap(), r#"{"batchItemFailures":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_an_id_that_must_stay_fails_the_invocation_and_one_that_is_done_does_not() {
    let world = World::new();
    let nameless = Message::of("", &[good("a")]);
    assert!(world.invoke(std::slice::from_ref(&nameless), None).await.0.is_ok());
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)));
    let (answer, log, _) = world.invoke(&[nameless], None).await;
    assert_eq!(answer, Err(HandlerError::NoMessageId));
    assert_eq!(log.lines().count(), 1, "the accounts are closed all the same");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_kind_is_an_error_and_reaches_nobody() {
    let world = World::new();
    let call = Call { request_id: "r", deadline_ms: START_MS + 60_000, trace: None, now_ms: START_MS };
    let (mut log, mut rng) = (Vec::new(), fastrand::Rng::with_seed(1));
    let answer = world.function.handle(r#"{"canary":1}"#, call, &mut rng, &mut log).await;
    assert!(matches!(answer, Err(HandlerError::Event(_))));
    assert!(!format!("{answer:?}").contains("canary"));
    assert!(world.door.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nulls_and_missing_fields_in_one_record_harm_no_other() {
    let world = World::new();
    let body = json!({"measurements": [good("a")]}).to_string();
    let event = json!({"Records": [
        {"messageId": "m-1", "body": body, "attributes": null, "messageAttributes": null, "receiptHandle": null, "eventSourceARN": null},
        {"messageId": "m-2", "body": null},
        {"messageId": "m-3"},
        {"messageId": "m-4", "body": body, "attributes": {"SentTimestamp": "soon", "ApproximateReceiveCount": -3}},
    ]});
    let call = Call { request_id: "r", deadline_ms: START_MS + 60_000, trace: None, now_ms: START_MS };
    let (mut log, mut rng) = (Vec::new(), fastrand::Rng::with_seed(1));
    let answer = world.function.handle(&event.to_string(), call, &mut rng, &mut log).await.unwrap();
    assert!(answer.failures.is_empty(), "{answer:?}");
    assert_eq!(world.ledger().totals.ingested, 1);
    let reasons: Vec<String> = world.quarantined().await.into_iter().map(|entry| entry.reason).collect();
    assert_eq!(reasons, ["Empty", "Empty"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_quarantined_keeps_its_messages_attributes_and_the_encoding_only_with_the_body_that_has_it() {
    let world = World::new();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bad("a").to_string().as_bytes()).unwrap();
    let packed = STANDARD.encode(gzip.finish().unwrap());
    let text = |value: &str| json!({"stringValue": value, "dataType": "String"});
    let attributes = json!({"Content-Encoding": text("gzip"), "tenant": text("t")});
    let event = json!({"Records": [
        {"messageId": "m-1", "body": packed, "messageAttributes": attributes},
        {"messageId": "m-2", "body": "not packed", "messageAttributes": attributes},
    ]});
    let call = Call { request_id: "r", deadline_ms: START_MS + 60_000, trace: None, now_ms: START_MS };
    let (mut log, mut rng) = (Vec::new(), fastrand::Rng::with_seed(1));
    world.function.handle(&event.to_string(), call, &mut rng, &mut log).await.unwrap();
    let kept = world.quarantined().await;
    let seen = kept.iter().map(|entry| {
        let names: BTreeSet<&str> =
            entry.attributes.iter().flat_map(|all| all.iter()).map(|attribute| attribute.name.as_str()).collect();
        (entry.message_id.as_str(), entry.measurement.is_some(), entry.body.as_deref(), names)
    });
    let expected =
        [("m-1", true, None, ["tenant"].into()), ("m-2", false, Some("not packed"), ["Content-Encoding", "tenant"].into())];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
}

/// A world with a canary in every body, account, uid and secret, in trouble of every kind.
async fn logs_of_trouble() -> Vec<Value> {
    let mut logs = String::new();
    let faults = [
        FaultRule::new(Fault::status(400)).containing(Containing::uid("canary-a-7")),
        FaultRule::new(Fault::status(401)),
        FaultRule::new(Fault::status(403)),
        FaultRule::new(Fault::status(404)),
        FaultRule::new(Fault::status(503)),
        FaultRule::new(Fault::Html),
        FaultRule::new(Fault::DropAnswer),
        FaultRule::new(Fault::status(400)).on(Route::Token),
        FaultRule::new(Fault::Html).on(Route::Token),
    ];
    for fault in faults {
        let world = World::new();
        world.sandbox.add_fault(fault);
        let messages = [
            Message::of("m-1", &many("a", 20)),
            Message::of("m-2", &[bad("b")]),
            Message::raw("m-3", "canary {"),
            Message::raw("m-4", "[\"canary\"]"),
        ];
        logs += &world.deliver(&messages).await.log;
    }
    assert!(!logs.contains("canary"), "{logs}");
    logs.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_line_is_json_with_level_time_and_metrics_and_quotes_no_data() {
    let lines = logs_of_trouble().await;
    let messages: BTreeSet<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["invocation", "quarantined"].into());
    for line in &lines {
        assert!(["info", "warn", "error"].contains(&line["level"].as_str().unwrap()));
        assert!(line["timestamp"].as_str().unwrap().starts_with("2026-06-01T00:00:"));
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(metrics["Namespace"], "UsageRelay");
        for metric in metrics["Metrics"].as_array().unwrap() {
            assert!(line.get(metric["Name"].as_str().unwrap()).is_some(), "{line}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn quarantined_measurements_are_counted_by_reason() {
    let world = World::new();
    let handled = world.deliver(&[Message::of("m-1", &[bad("a"), bad("b"), good("c")]), Message::raw("m-2", "{")]).await;
    let lines = handled.log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let reasons: Vec<_> = lines
        .filter(|line| line["message"] == "quarantined")
        .map(|line| (line["Reason"].clone(), line["Quarantined"].clone()))
        .collect();
    assert_eq!(reasons, [(json!("NotJson"), json!(1)), (json!("MeterMissing"), json!(2))]);
    assert_eq!(handled.line["level"], "warn");
}

#[tokio::test(start_paused = true)]
async fn the_level_is_info_when_all_is_well_and_error_when_a_person_must_act() {
    let world = World::new();
    assert_eq!(world.deliver(&[Message::of("m-1", &[good("a")])]).await.line["level"], "info");
    world.vault.now(Reading::Gives(KEY.0, "canary-wrong"));
    world.sandbox.revoke_tokens();
    let handled = world.deliver(&[Message::of("m-2", &[good("b")])]).await;
    handled.counts(&[("GiveUp", 1), ("Returned", 1)]);
    assert_eq!(handled.line["level"], "error");
}

#[tokio::test(start_paused = true)]
async fn ages_are_counted_from_the_time_of_sending() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(404)).containing(Containing::uid("canary-b")));
    let messages = [
        Message::of("m-1", &[bad("a")]).sent_at(START_MS - 500_000),
        Message::of("m-2", &[good("b")]).sent_at(START_MS - 70_000),
    ];
    world.deliver(&messages).await.counts(&[("QueueLag", 500_000), ("OldestReturnedAge", 70_000)]);
}

#[tokio::test(start_paused = true)]
async fn the_brake_hurries_first_receives_leaves_the_middle_alone_and_slows_late_ones() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(404)));
    let receives = [1, 2, 3, 4, 5, 6, 7, 20, 60];
    let messages: Vec<Message> =
        receives.map(|n| Message::of(&format!("m-{n:02}"), &[good(&format!("r-{n}"))]).received(n)).into();
    let handled = world.deliver(&messages).await;
    handled.counts(&[("Returned", 9), ("Braked", 7), ("BrakeFailed", 0)]);
    let asked = world.line.seconds();
    let ranges = [
        ("07", 450..=900),
        ("20", 450..=900),
        ("60", 900..=1_800),
        ("01", 5..=10),
        ("02", 10..=20),
        ("03", 20..=40),
        ("04", 40..=80),
    ];
    assert_eq!(asked.len(), ranges.len());
    for ((handle, seconds), (name, range)) in asked.iter().zip(ranges) {
        assert_eq!(*handle, format!("handle-of-m-{name}"));
        assert!(range.contains(seconds), "{handle} {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_brake_asks_in_calls_of_ten_for_at_most_500_early_messages_and_reads_every_answer() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(404)));
    let messages: Vec<Message> = (0..1_200).map(|n| Message::of(&format!("m-{n}"), &[good(&format!("u-{n}"))])).collect();
    world.deliver(&messages).await.counts(&[("Returned", 1_200), ("Braked", 500), ("BrakeFailed", 0)]);
    let asked = world.line.asked();
    assert!(asked.len() == 50 && asked.iter().all(|call| call.len() == 10));
    world.line.now(Calls::RefuseEach);
    world.deliver(&messages).await.counts(&[("Returned", 1_200), ("Braked", 0), ("BrakeFailed", 500)]);
}

#[tokio::test(start_paused = true)]
async fn a_brake_that_hangs_changes_no_answer() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(404)));
    world.line.now(Calls::Hang);
    let messages: Vec<Message> = (0..100).map(|n| Message::of(&format!("m-{n}"), &[good(&format!("u-{n}"))])).collect();
    let handled = world.deliver(&messages).await;
    assert_eq!((handled.returned.len(), handled.took.as_secs()), (100, 58));
    handled.counts(&[("Braked", 0), ("BrakeFailed", 100)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_is_not_braked() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[good("a"), bad("b")])]).await;
    assert!(world.line.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_secret_shows_when_anything_is_printed_for_debugging() {
    let world = World::new();
    let session = world.session();
    session.warm_up().await;
    let token = world.ledger().totals.tokens_issued;
    assert_eq!(token, 1);
    let shown = format!("{:?} {:?}", world.function.relay, Clock::starting_at(START_MS));
    assert!(shown.contains("client: Client"), "{shown}");
    assert!(!shown.contains("canary") && !shown.contains("Bearer") && !shown.contains("eyJ"), "{shown}");
}
