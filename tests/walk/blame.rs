//! Who is to blame for a refusal: culprits are found by halving, and only where something was accepted.

use std::time::Duration;

use m3ter_sandbox::{Containing, Fault, FaultRule, Route};
use serde_json::{Value, json};
use tokio::time::advance;

use crate::world::{Message, Setup, World, but, good, many};

const WORDS: &str = "canary-culprit is no measurement";

/// m3ter refuses every request that holds this measurement.
fn refuse(world: &World, uid: &str, status: u16) {
    let body = Some(json!({ "message": WORDS }).to_string());
    let fault = Fault::Status { status, retry_after: None, body };
    world.sandbox.add_fault(FaultRule::new(fault).containing(Containing::uid(uid)));
}

fn uid(measurement: &Value) -> String {
    measurement["uid"].as_str().unwrap().to_owned()
}

/// A world whose rate is no hindrance, since halving is what is looked at.
fn quick() -> World {
    World::with(Setup { requests_per_second: 40.0, ..Setup::default() })
}

#[tokio::test(start_paused = true)]
async fn one_culprit_among_a_thousand_is_found_and_quarantined_with_m3ters_words() {
    for status in [400, 413, 422] {
        for place in [0, 1, 499, 500, 731, 999] {
            let world = World::new();
            let measurements = many("a", 1_000);
            refuse(&world, &uid(&measurements[place]), status);
            let message = Message::of("m-1", &measurements);
            let handled = world.deliver(std::slice::from_ref(&message)).await;
            handled.counts(&[("Done", 1), ("Accepted", 999), ("Quarantined", 1), ("Unproven", 0), ("GiveUp", 0), ("Batches", 1)]);
            // The whole, and two halves for each halving of 1,000 down to one.
            assert!(handled.count("Attempts") <= 21, "{}", handled.count("Attempts"));
            let kept = world.quarantined().await;
            assert_eq!((kept[0].reason.as_str(), kept[0].stage.as_str(), kept[0].position), ("RefusedByApi", "submit", place));
            assert_eq!(kept[0].detail, format!("expected m3ter to accept it; HTTP {status}: {WORDS}"));
            assert_eq!(kept[0].first_sent_at, Some(message.sent_at_ms));
            assert_eq!(kept[0].uid, Some(uid(&measurements[place])));
            assert_eq!(world.ledger().totals.ingested, 999);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_culprits_are_all_found_and_nobody_else_pays() {
    for culprits in [vec![0, 999], vec![3, 100, 101, 102, 103, 400, 555, 700, 701, 998]] {
        let world = quick();
        let measurements = many("a", 1_000);
        culprits.iter().for_each(|place| refuse(&world, &uid(&measurements[*place]), 400));
        let handled = world.deliver(&[Message::of("m-1", &measurements)]).await;
        let bad = culprits.len() as u64;
        handled.counts(&[("Done", 1), ("Accepted", 1_000 - bad), ("Quarantined", bad), ("Unresolved", 0)]);
        assert!(handled.count("Attempts") <= 1 + 20 * bad, "{}", handled.count("Attempts"));
        let places: Vec<usize> = world.reasons().await.into_iter().map(|(_, position, _)| position).collect();
        assert_eq!(places, culprits);
    }
}

#[tokio::test(start_paused = true)]
async fn culprits_that_the_time_does_not_suffice_for_are_returned_and_found_later() {
    let world = World::new();
    let measurements = many("a", 1_000);
    (0..1_000).step_by(40).for_each(|place| refuse(&world, &uid(&measurements[place]), 400));
    let message = Message::of("m-1", &measurements);
    let first = world.deliver(std::slice::from_ref(&message)).await;
    assert_eq!(first.returned, ["m-1"]);
    first.counts(&[("Quarantined", 0)]);
    assert!(first.count("Accepted") > 0 && first.took <= Duration::from_secs(48));
    // A message of its own for each tenth brings it to an end: an invocation has time for so many.
    let tenths: Vec<Message> =
        measurements.chunks(100).enumerate().map(|(n, tenth)| Message::of(&format!("m-2-{n}"), tenth)).collect();
    for tenth in &tenths {
        let handled = world.deliver(std::slice::from_ref(tenth)).await;
        assert!(handled.returned.is_empty(), "{}", handled.line);
    }
    assert_eq!((world.quarantined().await.len(), world.ledger().totals.ingested), (25, 975));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_everything_blames_nobody_and_costs_few_requests() {
    for status in [400, 413, 422] {
        for (count, requests) in [(1, 1), (2, 3), (1_000, 21), (10_000, 30)] {
            let world = World::new();
            world.sandbox.add_fault(FaultRule::new(Fault::status(status)));
            let handled = world.deliver(&[Message::of("m-1", &many("a", count))]).await;
            handled.counts(&[("Returned", 1), ("Quarantined", 0), ("Accepted", 0), ("Unresolved", count as u64)]);
            assert!(handled.count("Attempts") <= requests, "{count}: {} requests", handled.count("Attempts"));
            assert!(handled.count("Unproven") > 0);
            assert_eq!(handled.line["level"], "error");
            assert!(world.quarantined().await.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_acceptance_one_search_goes_down_to_a_single_measurement_and_no_second_one_is_begun() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(400)));
    let handled = world.deliver(&[Message::of("m-1", &many("a", 1_000))]).await;
    let sent: Vec<u64> = world.ledger().requests.iter().map(|request| request.measurements).collect();
    // The whole, and two halves for each halving: the smallest is halved until it is one.
    assert_eq!((sent.len(), sent.iter().min(), handled.count("Attempts")), (21, Some(&1), 21));
}

#[tokio::test(start_paused = true)]
async fn refusals_that_leave_no_time_to_search_are_not_searched_and_counted_as_unproven() {
    let world = World::with(Setup { in_flight: 1, ..Setup::default() });
    let measurements = many("a", 1_002);
    let slow = |place: usize, delay_ms: u64| {
        FaultRule::new(Fault::Delay { delay_ms }).containing(Containing::uid(uid(&measurements[place])))
    };
    // One batch is turned down at 10 s, the other at 35 s of 48.
    for rule in [slow(0, 10_000), slow(1_000, 25_000), FaultRule::new(Fault::status(400))] {
        world.sandbox.add_fault(rule);
    }
    let handled = world.deliver(&[Message::of("m-1", &measurements)]).await;
    handled.counts(&[("Returned", 1), ("Quarantined", 0), ("Unproven", 2), ("Attempts", 2)]);
    assert_eq!(handled.took, Duration::from_secs(35));
}

#[tokio::test(start_paused = true)]
async fn a_lone_suspect_without_evidence_is_returned_and_with_evidence_quarantined() {
    let world = World::new();
    let suspect = Message::of("m-1", &[good("s")]);
    refuse(&world, "canary-s", 400);
    for _ in 0..3 {
        let handled = world.deliver(std::slice::from_ref(&suspect)).await;
        handled.counts(&[("Returned", 1), ("Quarantined", 0), ("Unproven", 1), ("Attempts", 1)]);
    }
    // Evidence of an earlier invocation of this environment will do.
    assert!(world.is_done(&Message::of("m-2", &[good("a")])).await);
    assert!(world.is_done(&suspect).await);
    assert_eq!(world.reasons().await, [("m-1".into(), 0, "RefusedByApi".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_lone_suspect_beside_other_traffic_is_found_in_the_same_invocation() {
    let world = World::new();
    refuse(&world, "canary-s", 400);
    let handled = world.deliver(&[Message::of("m-1", &[good("s")]), Message::of("m-2", &[good("a")])]).await;
    // Both, each alone, and the suspect once more: nothing had been accepted before it was sent.
    handled.counts(&[("Done", 2), ("Accepted", 1), ("Quarantined", 1), ("Attempts", 4)]);
}

#[tokio::test(start_paused = true)]
async fn evidence_of_more_than_15_minutes_ago_blames_nobody() {
    let world = World::new();
    assert!(world.is_done(&Message::of("m-1", &[good("a")])).await);
    refuse(&world, "canary-s", 400);
    advance(Duration::from_secs(15 * 60 + 1)).await;
    assert!(!world.is_done(&Message::of("m-2", &[good("s")])).await);
    assert!(world.quarantined().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn evidence_under_another_token_blames_nobody() {
    let world = World::new();
    assert!(world.is_done(&Message::of("m-1", &[good("a")])).await);
    world.sandbox.revoke_tokens();
    // m3ter itself turns the old token down; what comes under the new one is refused.
    world.sandbox.add_fault(FaultRule::new(Fault::status(400)).skip(1));
    let handled = world.deliver(&[Message::of("m-2", &[good("b")])]).await;
    handled.counts(&[("Returned", 1), ("Quarantined", 0), ("Unproven", 1)]);
    assert_eq!(world.ledger().totals.tokens_issued, 2);
}

#[tokio::test(start_paused = true)]
async fn a_403_for_size_is_halved_and_everything_is_accepted() {
    let world = World::new();
    let wide: Vec<Value> = many("a", 1_000).into_iter().map(|one| but(one, "who", json!({"x": "y".repeat(380)}))).collect();
    // m3ter turns the large body away, under the first token and under a fresh one.
    world.sandbox.add_fault(FaultRule::new(Fault::status(403)).times(2));
    let handled = world.deliver(&[Message::of("m-1", &wide)]).await;
    assert!(world.ledger().requests[0].bytes > 480_000);
    handled.counts(&[("Done", 1), ("Accepted", 1_000), ("Quarantined", 0), ("Attempts", 4), ("Unproven", 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_403_for_everything_is_a_credentials_fault_and_not_searched() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(403)));
    let handled = world.deliver(&[Message::of("m-1", &many("a", 4_000))]).await;
    handled.counts(&[("Returned", 1), ("Quarantined", 0), ("Unproven", 4)]);
    assert!(handled.count("Attempts") <= 8, "{}", handled.line);
    assert_eq!((world.ledger().totals.tokens_issued, world.vault.reads()), (2, 2));
    assert_eq!(handled.line["level"], "error");
    assert!(world.quarantined().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_403_for_everything_blames_nobody_even_after_an_acceptance() {
    let world = World::new();
    assert!(world.is_done(&Message::of("m-1", &[good("a")])).await);
    world.sandbox.add_fault(FaultRule::new(Fault::status(403)));
    for _ in 0..3 {
        let handled = world.deliver(&[Message::of("m-2", &many("b", 1_000))]).await;
        handled.counts(&[("Returned", 1), ("Quarantined", 0), ("Unproven", 1), ("Attempts", 2)]);
    }
    world.sandbox.clear_faults();
    assert!(world.is_done(&Message::of("m-2", &many("b", 1_000))).await);
}

#[tokio::test(start_paused = true)]
async fn a_403_for_one_measurement_is_blamed_on_it_once_a_witness_was_accepted_again() {
    let world = World::with(Setup { requests_per_second: 40.0, in_flight: 1, ..Setup::default() });
    let measurements = many("a", 1_001);
    refuse(&world, &uid(&measurements[3]), 403);
    let handled = world.deliver(&[Message::of("m-1", &measurements)]).await;
    handled.counts(&[("Done", 1), ("Accepted", 1_000), ("Quarantined", 1), ("Unproven", 0)]);
    assert_eq!(world.reasons().await, [("m-1".into(), 3, "RefusedByApi".into())]);
    // The witness alone came twice.
    assert_eq!((world.ledger().totals.ingested, world.ledger().totals.duplicates), (1_000, 1));
}

#[tokio::test(start_paused = true)]
async fn a_403_that_leaves_no_time_to_call_a_witness_blames_nobody() {
    let world = World::with(Setup { in_flight: 1, ..Setup::default() });
    let measurements = many("a", 1_001);
    let holding = |place: usize, fault: Fault| FaultRule::new(fault).containing(Containing::uid(uid(&measurements[place])));
    // The full batch is accepted under a fresh token after 10 s. The batch of one is turned down at 35 s of 48.
    world.sandbox.add_fault(holding(0, Fault::Delay { delay_ms: 5_000 }));
    world.sandbox.add_fault(holding(0, Fault::status(403)).times(1));
    world.sandbox.add_fault(holding(1_000, Fault::Delay { delay_ms: 25_000 }));
    world.sandbox.add_fault(holding(1_000, Fault::status(403)));
    let handled = world.deliver(&[Message::of("m-1", &measurements)]).await;
    handled.counts(&[("Returned", 1), ("Accepted", 1_000), ("Quarantined", 0), ("Unproven", 1), ("Attempts", 3)]);
    assert_eq!(handled.took, Duration::from_secs(35));
}

#[tokio::test(start_paused = true)]
async fn our_own_faults_return_everything_and_blame_nobody() {
    for fault in [Fault::status(404), Fault::status(401), Fault::status(415), Fault::Html, Fault::status(302)] {
        let world = World::new();
        assert!(world.is_done(&Message::of("m-1", &[good("a")])).await);
        world.sandbox.add_fault(FaultRule::new(fault.clone()));
        let handled = world.deliver(&[Message::of("m-2", &many("b", 2_000))]).await;
        handled.counts(&[("Returned", 1), ("Quarantined", 0), ("Accepted", 0)]);
        assert_eq!(handled.count("GiveUp") + handled.count("UnknownAnswer"), 2, "{fault:?}");
        assert!(world.quarantined().await.is_empty());
        world.sandbox.clear_faults();
        assert!(world.is_done(&Message::of("m-2", &many("b", 2_000))).await, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_culprit_in_one_batch_does_not_touch_the_others() {
    let world = World::new();
    refuse(&world, "canary-a-1500", 400);
    let messages: Vec<Message> =
        many("a", 5_000).chunks(250).enumerate().map(|(n, some)| Message::of(&format!("m-{n}"), some)).collect();
    let handled = world.deliver(&messages).await;
    handled.counts(&[("Done", 20), ("Accepted", 4_999), ("Quarantined", 1), ("Batches", 5)]);
    assert_eq!(world.reasons().await, [("m-6".into(), 0, "RefusedByApi".into())]);
}

#[tokio::test(start_paused = true)]
async fn messages_with_many_culprits_each_are_settled_one_after_another() {
    let world = World::new();
    let messages: Vec<Message> =
        (0..4).map(|number| Message::of(&format!("m-{number}"), &many(&format!("a{number}"), 250))).collect();
    for message in &messages {
        message.uids.iter().step_by(42).for_each(|uid| refuse(&world, uid, 400));
    }
    let mut left = messages;
    for delivery in 1.. {
        assert!(delivery <= 5, "still there: {:?}", left.iter().map(|message| &message.id).collect::<Vec<_>>());
        let handled = world.deliver(&left).await;
        left.retain(|message| handled.returned.contains(&message.id));
        if left.is_empty() {
            break;
        }
    }
    assert_eq!((world.quarantined().await.len(), world.ledger().totals.ingested), (4 * 6, 4 * 244));
}

#[tokio::test(start_paused = true)]
async fn batches_that_were_not_tried_yet_go_before_the_search_for_culprits() {
    let world = World::new();
    let measurements = many("a", 6_000);
    (0..1_000).step_by(25).for_each(|place| refuse(&world, &uid(&measurements[place]), 400));
    let messages: Vec<Message> =
        measurements.chunks(1_000).enumerate().map(|(number, some)| Message::of(&format!("m-{number}"), some)).collect();
    let handled = world.deliver(&messages).await;
    assert_eq!(handled.returned, ["m-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_with_more_culprits_than_time_holds_back_no_message_beside_it() {
    for in_flight in [1, 4] {
        let world = World::with(Setup { in_flight, ..Setup::default() });
        assert!(world.is_done(&Message::of("m-0", &[good("evidence")])).await);
        let messages: Vec<Message> =
            (1..5).map(|number| Message::of(&format!("m-{number}"), &many(&format!("a{number}"), 250))).collect();
        messages[0].uids.iter().step_by(5).for_each(|uid| refuse(&world, uid, 400));
        let handled = world.deliver(&messages).await;
        assert_eq!(handled.returned, ["m-1"], "{in_flight} in flight");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_measurement_that_was_refused_before_anything_was_accepted_is_tried_again_and_not_blamed() {
    let world = quick();
    let measurements = many("a", 1_001);
    let holding = |place: usize, fault: Fault| FaultRule::new(fault).containing(Containing::uid(uid(&measurements[place])));
    // Permission comes back while the full batch is under way; the batch of one was refused a moment before.
    world.sandbox.add_fault(holding(1_000, Fault::status(403)).times(1));
    world.sandbox.add_fault(holding(0, Fault::status(403)).times(1));
    world.sandbox.add_fault(holding(0, Fault::Delay { delay_ms: 500 }));
    let handled = world.deliver(&[Message::of("m-1", &measurements)]).await;
    handled.counts(&[("Done", 1), ("Accepted", 1_001), ("Quarantined", 0), ("Unproven", 0), ("Attempts", 4)]);
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_ends_in_the_middle_of_an_invocation_blames_nobody() {
    let world = World::with(Setup { in_flight: 1, ..Setup::default() });
    // The first request gets a fresh token, the second is accepted under it, and nothing after that.
    world.sandbox.add_fault(FaultRule::new(Fault::status(403)).times(1));
    world.sandbox.add_fault(FaultRule::new(Fault::status(403)).skip(1));
    let handled = world.deliver(&[Message::of("m-1", &many("a", 1_001))]).await;
    // The batch of one, and the witness with one more token.
    handled.counts(&[("Returned", 1), ("Accepted", 1_000), ("Quarantined", 0), ("Unproven", 1), ("Attempts", 4)]);
    world.sandbox.clear_faults();
    assert!(world.is_done(&Message::of("m-1", &many("a", 1_001))).await);
}

/// When all that is left are culprits, nothing more is accepted under a token that is new then.
#[tokio::test(start_paused = true)]
async fn culprits_are_found_also_where_a_token_ends_while_they_are_looked_for_whenever_that_is() {
    for sent_before in 0..24 {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(Fault::status(401)).on(Route::Ingest).skip(sent_before).times(1));
        let mut measurements = many("a", 32);
        for (culprit, place) in [5, 6, 20].into_iter().enumerate() {
            measurements[place] = good(&format!("culprit-{culprit}"));
            let uid = Containing::uid(format!("canary-culprit-{culprit}"));
            world.sandbox.add_fault(FaultRule::new(Fault::status(400)).containing(uid));
        }
        let handled = world.deliver(&[Message::of("m-1", &measurements)]).await;
        assert_eq!((handled.count("Done"), handled.count("Quarantined")), (1, 3), "after {sent_before} requests");
    }
}
