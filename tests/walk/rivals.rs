//! Copies and rivals: one uid is sent once, its copies share the verdict, another content under it is a conflict.

use m3ter_sandbox::{Containing, Fault, FaultRule};
use serde_json::json;

use crate::world::{Message, World, but, good, many};

/// m3ter refuses the measurement of this uid and meter.
fn refuse(world: &World, uid: &str, meter: &str) {
    let containing = Containing { uid: Some(uid.into()), meter: Some(meter.into()) };
    world.sandbox.add_fault(FaultRule::new(Fault::status(400)).containing(containing));
}

fn reasons(expected: &[(&str, usize, &str)]) -> Vec<(String, usize, String)> {
    expected.iter().map(|(message, position, reason)| ((*message).into(), *position, (*reason).into())).collect()
}

#[tokio::test(start_paused = true)]
async fn copies_are_sent_once_and_share_the_acceptance() {
    let world = World::new();
    let spelled_otherwise = Message {
        uids: vec!["canary-a".into()],
        ..Message::raw(
            "m-3",
            r#"{ "ts":"2026-05-31T23:00:00Z", "measure":{"n" : 1}, "account":"canary-account", "meter":"api", "uid":"canary-a" }"#,
        )
    };
    let messages = [Message::of("m-1", &[good("a"), good("a")]), Message::of("m-2", &[good("a")]), spelled_otherwise];
    let handled = world.deliver(&messages).await;
    handled.counts(&[("Done", 3), ("Found", 4), ("Accepted", 1), ("Collapsed", 3), ("Quarantined", 0)]);
    assert_eq!((world.ledger().totals.received, world.ledger().totals.duplicates), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn copies_share_a_refusal_and_each_is_kept() {
    let world = World::new();
    refuse(&world, "canary-a", "api");
    let handled = world.deliver(&[Message::of("m-1", &[good("a"), good("b")]), Message::of("m-2", &[good("a")])]).await;
    handled.counts(&[("Done", 2), ("Accepted", 1), ("Quarantined", 2)]);
    assert_eq!(world.reasons().await, reasons(&[("m-1", 0, "RefusedByApi"), ("m-2", 0, "RefusedByApi")]));
}

#[tokio::test(start_paused = true)]
async fn copies_share_that_nothing_is_known() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)));
    let handled = world.deliver(&[Message::of("m-1", &[good("a")]), Message::of("m-2", &[good("a")])]).await;
    handled.counts(&[("Returned", 2), ("Unresolved", 2), ("Quarantined", 0)]);
}

#[tokio::test(start_paused = true)]
async fn of_two_contents_under_one_uid_the_first_is_accepted_and_the_other_a_conflict() {
    let world = World::new();
    let other = but(good("a"), "measure", json!({"n": 2}));
    let handled = world.deliver(&[Message::of("m-1", &[good("a")]), Message::of("m-2", &[other.clone(), other])]).await;
    handled.counts(&[("Done", 2), ("Accepted", 1), ("Quarantined", 2)]);
    assert_eq!(world.reasons().await, reasons(&[("m-2", 0, "UidConflict"), ("m-2", 1, "UidConflict")]));
    let kept = world.quarantined().await;
    // In an earlier delivery it may have been alone, and sent.
    assert!(kept.iter().all(|entry| entry.first_sent_at.is_some() && entry.stage == "submit"));
    assert_eq!(world.ledger().meters["api"].sums["n"].to_string(), "1");
}

#[tokio::test(start_paused = true)]
async fn if_the_first_is_refused_by_guard_its_rival_is_no_rival() {
    let world = World::new();
    let broken = but(good("a"), "account", json!(""));
    let handled = world.deliver(&[Message::of("m-1", &[broken, good("a")])]).await;
    handled.counts(&[("Done", 1), ("Accepted", 1), ("Quarantined", 1)]);
    assert_eq!(world.reasons().await, reasons(&[("m-1", 0, "AccountInvalid")]));
}

#[tokio::test(start_paused = true)]
async fn if_the_first_is_refused_by_m3ter_its_rival_is_tried_and_the_next_is_a_conflict() {
    let world = World::new();
    refuse(&world, "canary-a", "api");
    let second = but(good("a"), "meter", json!("other"));
    let third = but(second.clone(), "measure", json!({"n": 7}));
    let mut measurements = many("b", 50);
    measurements.extend([good("a"), second, third]);
    let handled = world.deliver(&[Message::of("m-1", &measurements)]).await;
    handled.counts(&[("Done", 1), ("Accepted", 51), ("Quarantined", 2), ("Batches", 2)]);
    assert_eq!(world.reasons().await, reasons(&[("m-1", 50, "RefusedByApi"), ("m-1", 52, "UidConflict")]));
    assert_eq!(world.ledger().meters["other"].sums["n"].to_string(), "1");
}

#[tokio::test(start_paused = true)]
async fn if_every_rival_is_refused_each_is_kept_with_m3ters_reason() {
    let world = World::new();
    refuse(&world, "canary-a", "api");
    refuse(&world, "canary-a", "other");
    let second = but(good("a"), "meter", json!("other"));
    let third = but(second.clone(), "measure", json!({"n": 7}));
    let handled = world.deliver(&[Message::of("m-1", &[good("b"), good("a"), second, third])]).await;
    handled.counts(&[("Done", 1), ("Accepted", 1), ("Quarantined", 3)]);
    let refused = [("m-1", 1, "RefusedByApi"), ("m-1", 2, "RefusedByApi"), ("m-1", 3, "RefusedByApi")];
    assert_eq!(world.reasons().await, reasons(&refused));
}

#[tokio::test(start_paused = true)]
async fn while_the_first_is_undecided_its_rival_is_neither_sent_nor_refused() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)));
    let other = but(good("a"), "measure", json!({"n": 2}));
    let messages = [Message::of("m-1", &[good("a")]), Message::of("m-2", &[other])];
    let handled = world.deliver(&messages).await;
    handled.counts(&[("Returned", 2), ("Unresolved", 2), ("Quarantined", 0)]);
    assert!(world.ledger().requests.iter().all(|request| request.measurements == 1));
    world.sandbox.clear_faults();
    world.deliver(&messages).await.counts(&[("Done", 2), ("Accepted", 1), ("Quarantined", 1)]);
}

#[tokio::test(start_paused = true)]
async fn one_message_delivered_twice_in_one_event_is_one_message() {
    let world = World::new();
    let message = Message::of("m-1", &[good("a"), crate::world::bad("b")]);
    let handled = world.deliver(&[message.clone(), message]).await;
    handled.counts(&[("Received", 2), ("Done", 2), ("Accepted", 1), ("Collapsed", 1), ("Quarantined", 2)]);
    assert_eq!((world.ledger().totals.received, world.quarantined().await.len()), (1, 1));
}
