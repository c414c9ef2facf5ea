//! From a message to m3ter's ledger and the quarantine.

use std::collections::BTreeMap;

use m3ter_sandbox::{Fault, FaultRule};
use runtime_api::{AttributeShape, Outcome, Record};
use serde_json::{Value, json};

use crate::usage::{body, but, event_of, gzipped, redelivery, uid};
use crate::world::World;

/// One message of every shape: eleven measurements that m3ter takes.
fn every_shape(world: &World) -> Vec<Record> {
    let [a, b, c, d, e, f, g, h, i, j] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(|name| world.usage.good(name));
    let unknown_meter = but(world.usage.good("k"), "meter", json!("canary-meter"));
    vec![
        Record::new(a.to_string()),
        Record::new(json!([b, c]).to_string()),
        Record::new(body(&[d, e])),
        Record::new(format!("{f}\n{g}\n")),
        Record::new(json!({"Type": "Notification", "Message": h.to_string()}).to_string()),
        Record::new(json!({"detail-type": "usage", "account": "canary-aws-account", "detail": i}).to_string()),
        gzipped(&j.to_string()),
        Record::new(unknown_meter.to_string()),
    ]
}

/// A copy, and one message of each kind that cannot go on or not now.
fn every_misfit(world: &World) -> Vec<Record> {
    let pointer =
        json!(["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "canary-bucket", "s3Key": "canary"}]);
    vec![
        Record::new(world.usage.good("a").to_string()),
        Record::new(but(world.usage.good("a"), "measure", json!({"calls": 2})).to_string()),
        Record::new(world.usage.bad("l").to_string()),
        Record::new("canary, but no JSON"),
        Record::new("[]"),
        Record::new(pointer.to_string()).message_id("pointer"),
    ]
}

#[tokio::test]
async fn every_shape_goes_the_whole_way_and_the_books_agree() {
    let mut world = World::start().await;
    let records = [every_shape(&world), every_misfit(&world)].concat();
    let delivery = world.deliver(&event_of(records)).await;

    assert_eq!(delivery.returned, ["pointer"]);
    delivery.counts(&[("Received", 14), ("Done", 13), ("Returned", 1), ("PayloadPointers", 1)]);
    delivery.counts(&[("Found", 17), ("Accepted", 11), ("Collapsed", 1), ("Quarantined", 4), ("Unresolved", 1)]);
    delivery.counts(&[("Batches", 1), ("Attempts", 1), ("GiveUp", 0), ("UnknownAnswer", 0), ("Braked", 1)]);
    assert_eq!(delivery.line["level"], "warn");

    let totals = world.ledger().totals;
    assert_eq!((totals.accepted, totals.ingested, totals.duplicates), (11, 10, 0));
    assert_eq!(totals.rejected, BTreeMap::from([("UndefinedMeter".to_owned(), 1)]));
    world.counted_once(10);

    let mut kept: Vec<_> = world.quarantined().await.into_iter().map(|entry| entry.reason).collect();
    kept.sort();
    assert_eq!(kept, ["Empty", "MeterMissing", "NotJson", "UidConflict"]);
    let counted = delivery.lines.iter().filter(|line| line["message"] == "quarantined");
    let mut reasons: Vec<_> = counted.map(|line| (line["Reason"].as_str().unwrap(), line["Quarantined"].as_u64())).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["Empty", "MeterMissing", "NotJson", "UidConflict"].map(|reason| (reason, Some(1))));
}

#[tokio::test]
async fn a_kept_measurement_has_all_that_is_needed_to_send_it_again() {
    let mut world = World::start().await;
    let bad = world.usage.bad("bad");
    let record = Record::new(body(&[world.usage.good("good"), bad.clone()])).attribute("canary-name", "canary-value");
    let event = event_of([record.message_id("m-1").sent_at_ms(1_700_000_000_000).first_received_at_ms(1_700_000_000_001)]);
    assert!(world.deliver(&event).await.returned.is_empty());
    let [entry] = &world.quarantined().await[..] else { panic!("one entry was expected") };
    assert_eq!((entry.message_id.as_str(), entry.position, entry.uid.as_deref()), ("m-1", 1, Some(uid("bad").as_str())));
    assert_eq!((entry.stage.as_str(), entry.first_sent_at), ("guard", None));
    assert_eq!((entry.queued_at, entry.first_received_at, entry.receives), (Some(1_700_000_000_000), Some(1_700_000_000_001), 1));
    let attributes = entry.attributes.as_deref().unwrap();
    assert_eq!((attributes[0].name.as_str(), attributes[0].value.as_str()), ("canary-name", "canary-value"));
    assert_eq!(serde_json::from_str::<Value>(entry.measurement.as_ref().unwrap().get()).unwrap(), bad);
}

#[tokio::test]
async fn odd_records_cost_no_good_one_anything() {
    let mut world = World::start().await;
    let good = |name: &str| Record::new(world.usage.good(name).to_string());
    let records = [
        good("plain"),
        good("nulls").attribute("canary", "canary").attribute_shape(AttributeShape::Nulls),
        good("no message attributes").with("messageAttributes", Value::Null),
        good("no such field").without("messageAttributes"),
        good("attributes of another kind").with("messageAttributes", json!({"a": null, "b": 7, "Content-Encoding": {}})),
        good("no attributes").with("attributes", Value::Null),
        good("no attributes at all").without("attributes"),
        good("numbers").with("attributes", json!({"ApproximateReceiveCount": 7, "SentTimestamp": null})),
        good("no times").with("attributes", json!({"ApproximateReceiveCount": "many", "SentTimestamp": "canary"})),
        good("no source").with("eventSourceARN", Value::Null),
        good("no handle").without("receiptHandle").without("md5OfBody").without("eventSource").without("awsRegion"),
        good("more").with("canary", json!({"deep": [1, {"er": null}]})),
        good("no id").without("messageId"),
        good("null body").with("body", Value::Null),
        good("no body").without("body"),
        good("a number for a body").with("body", 7),
    ];
    let delivery = world.deliver(&event_of(records)).await;
    assert!(delivery.returned.is_empty());
    delivery.counts(&[("Received", 16), ("Done", 16), ("Found", 16), ("Accepted", 13), ("Quarantined", 3)]);
    let reasons: Vec<_> = world.quarantined().await.into_iter().map(|entry| entry.reason).collect();
    assert_eq!(reasons.iter().filter(|reason| *reason == "Empty").count(), 2, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason == "NotAMeasurement"), "{reasons:?}");
    world.counted_once(13);
}

#[tokio::test]
async fn an_event_whose_messages_cannot_be_named_fails_whole_so_that_all_come_back() {
    let mut world = World::start().await;
    let pid = world.function.pid();
    world.sandbox.add_fault(FaultRule::new(Fault::status(404)));
    let nameless = event_of([Record::new(world.usage.good("nameless").to_string()).without("messageId")]);
    for event in [nameless.bytes(), "{\"Records\":\"canary\"}".into(), "[\"canary\"]".into()] {
        let outcome = world.function.invoke(event).await.outcome;
        assert!(matches!(&outcome, Outcome::Error { message, .. } if !message.contains("canary")), "{outcome:?}");
    }
    world.sandbox.clear_faults();
    world.all_is_well("after").await;
    assert_eq!(world.function.pid(), pid);
}

#[tokio::test]
async fn one_bad_measurement_of_a_hundred_costs_the_other_99_nothing() {
    let mut world = World::start().await;
    let mut measurements = world.usage.many("good", 99);
    measurements.insert(42, world.usage.bad("bad"));
    let delivery = world.send([body(&measurements)]).await;
    delivery.counts(&[("Done", 1), ("Found", 100), ("Accepted", 99), ("Quarantined", 1)]);
    let [entry] = &world.quarantined().await[..] else { panic!("one entry was expected") };
    assert_eq!((entry.reason.as_str(), entry.position), ("MeterMissing", 42));
    world.counted_once(99);
}

#[tokio::test]
async fn a_message_delivered_ten_times_before_it_is_done_leaves_one_quarantine_entry() {
    let mut world = World::with_timeout(2).await;
    let mut measurements = world.usage.many("good", 99);
    measurements.push(world.usage.bad("bad"));
    let bodies = [body(&measurements)];
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)));
    for receives in 1..=10 {
        let event = redelivery(&bodies, receives);
        let delivery = world.deliver(&event).await;
        assert_eq!(delivery.returned, event.message_ids());
        delivery.counts(&[("Done", 0), ("Accepted", 0), ("Quarantined", 0), ("Unresolved", 100)]);
    }
    assert_eq!((world.quarantine_objects(), world.ledger().totals.accepted), (0, 0));
    world.sandbox.clear_faults();
    let delivery = world.deliver(&redelivery(&bodies, 11)).await;
    delivery.counts(&[("Done", 1), ("Accepted", 99), ("Quarantined", 1)]);
    assert_eq!((world.quarantine_objects(), world.quarantined().await.len()), (1, 1));
    world.counted_once(99);
}
