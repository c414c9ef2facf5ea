//! The one loop of attempts: silence, throttling, slowness, the rate, and the trace that every request carries.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use m3ter_client::{Submitted, Undecided};
use m3ter_sandbox::{Fault, FaultRule, Outcome, Route};
use serde_json::json;
use tokio::time::Instant;

use crate::world::{Message, Setup, World, good, many};

fn batch(uid: &str) -> Bytes {
    json!({"measurements": [good(uid)]}).to_string().into()
}

fn throttled(retry_after: Option<&str>) -> Fault {
    Fault::Status { status: 429, retry_after: retry_after.map(str::to_owned), body: None }
}

/// When batches were sent, in milliseconds after `since`.
fn sent_ms(world: &World, since: Instant) -> Vec<u128> {
    world.door.batches().into_iter().map(|seen| (seen.at - since).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_in_silence_is_sent_again_and_counted_once() {
    for fault in [Fault::DropAnswer, Fault::Truncate] {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(fault).times(2));
        let handled = world.deliver(&[Message::of("m-1", &many("a", 300))]).await;
        handled.counts(&[("Done", 1), ("Accepted", 300), ("UnknownAnswer", 2), ("Attempts", 3)]);
        let totals = world.ledger().totals;
        assert_eq!((totals.accepted, totals.ingested, totals.duplicates), (900, 300, 600));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_in_silence_until_the_end_is_returned_and_counted_once() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::DropAnswer));
    let message = Message::of("m-1", &many("a", 300));
    let handled = world.deliver(std::slice::from_ref(&message)).await;
    handled.counts(&[("Returned", 1), ("Accepted", 0), ("Unresolved", 300), ("Quarantined", 0)]);
    world.sandbox.clear_faults();
    assert!(world.is_done(&message).await);
    assert_eq!(world.ledger().totals.ingested, 300);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_the_least_wait() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(throttled(Some("3"))).times(1));
    let start = Instant::now();
    assert_eq!(world.session().submit(batch("a")).await.submitted, Submitted::Accepted);
    let sent = sent_ms(&world, start);
    assert!(sent[0] == 0 && (3_000..=3_200).contains(&sent[1]), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_that_leaves_no_time_is_not_waited_for() {
    for told in ["19", "3600", "99999999999"] {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(throttled(Some(told))));
        let start = Instant::now();
        let submitted = world.session().submit(batch("a")).await.submitted;
        assert_eq!((submitted, start.elapsed()), (Submitted::Undecided(Undecided::Later), Duration::ZERO), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_that_is_no_number_of_seconds_is_as_good_as_none() {
    for told in ["soon", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", ""] {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(throttled(Some(told))).times(1));
        let start = Instant::now();
        assert_eq!(world.session().submit(batch("a")).await.submitted, Submitted::Accepted, "{told}");
        assert!(start.elapsed() <= Duration::from_millis(250), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_429_keeps_rate_and_deadline_and_returns_everything() {
    for retry_after in [None, Some("2")] {
        let world = World::with(Setup { in_flight: 16, ..Setup::default() });
        world.sandbox.add_fault(FaultRule::new(throttled(retry_after)));
        let start = Instant::now();
        let message = Message::of("m-1", &many("a", 10_000));
        let handled = world.deliver(std::slice::from_ref(&message)).await;
        handled.counts(&[("Returned", 1), ("Unresolved", 10_000), ("Quarantined", 0), ("GiveUp", 0)]);
        assert_eq!(handled.count("Throttled"), handled.count("Attempts"));
        assert!(handled.took <= Duration::from_secs(48), "{:?}", handled.took);
        rate_is_kept(&sent_ms(&world, start), 4);
        world.sandbox.clear_faults();
        assert!(world.is_done(&message).await);
    }
}

/// Any window of whole seconds holds at most that many seconds' worth of requests, and one burst.
fn rate_is_kept(sent_ms: &[u128], per_second: usize) {
    for (place, from) in sent_ms.iter().enumerate() {
        for seconds in 1..=48_u128 {
            let within = sent_ms[place..].iter().filter(|at| **at < from + seconds * 1_000).count();
            let most = per_second * (usize::try_from(seconds).unwrap() + 1);
            assert!(within <= most, "{within} requests in {seconds} s from {from} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn over_many_batches_the_share_of_the_rate_is_used_and_never_exceeded() {
    let world = World::new();
    let start = Instant::now();
    let session = world.session();
    let uids: Vec<String> = (0..100).map(|number| format!("r-{number}")).collect();
    let submitted = join_all(uids.iter().map(async |uid| session.submit(batch(uid)).await.submitted)).await;
    assert_eq!(submitted, vec![Submitted::Accepted; 100]);
    let sent = sent_ms(&world, start);
    rate_is_kept(&sent, 4);
    // Four at once, and then one each quarter of a second.
    assert_eq!((sent[3], sent[4], sent[99]), (0, 250, 24_000));
}

#[tokio::test(start_paused = true)]
async fn answers_that_take_12_seconds_are_waited_for() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 12_000 }));
    let handled = world.deliver(&[Message::of("m-1", &many("a", 8_000))]).await;
    handled.counts(&[("Done", 1), ("Accepted", 8_000), ("Attempts", 8), ("UnknownAnswer", 0)]);
    assert_eq!(handled.took, Duration::from_secs(24));
    assert_eq!(handled.line["SubmitLatency"], json!(vec![12_000; 8]));
}

#[tokio::test(start_paused = true)]
async fn no_more_batches_are_in_flight_than_the_setting_says() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 5_000 }));
    let start = Instant::now();
    world.deliver(&[Message::of("m-1", &many("a", 9_000))]).await.counts(&[("Done", 1)]);
    // Four at once, each of the others when one of them is answered, and the last one after those.
    assert_eq!(sent_ms(&world, start), [0, 0, 0, 0, 5_000, 5_000, 5_000, 5_000, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_waits_half_a_minute_for_its_answer_and_no_longer() {
    let world = World::with(Setup { timeout_s: 300, ..Setup::default() });
    let session = world.session();
    session.warm_up().await;
    world.sandbox.add_fault(FaultRule::new(Fault::Hang).times(1));
    let start = Instant::now();
    assert_eq!(session.submit(batch("a")).await.submitted, Submitted::Accepted);
    let sent = sent_ms(&world, start);
    assert!((30_000..=30_250).contains(&sent[1]), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_is_made_while_half_its_time_is_left_and_not_later() {
    let world = World::with(Setup { in_flight: 1, ..Setup::default() });
    world.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 11_000 }));
    let handled = world.deliver(&[Message::of("m-1", &many("a", 5_000))]).await;
    // At 0, 11, 22 and 33 s; at 44 s only 4 s of 48 are left.
    handled.counts(&[("Attempts", 4), ("Accepted", 4_000), ("Unresolved", 1_000), ("Returned", 1)]);
    assert_eq!(handled.took, Duration::from_secs(44));
}

#[tokio::test(start_paused = true)]
async fn another_attempt_is_made_only_if_a_whole_one_still_fits() {
    let world = World::with(Setup { requests_per_second: 1.0, in_flight: 16, ..Setup::default() });
    world.sandbox.add_fault(FaultRule::new(throttled(None)));
    let start = Instant::now();
    world.deliver(&[Message::of("m-1", &many("a", 12_000))]).await;
    let sent = sent_ms(&world, start);
    // Twelve first attempts, one a second; the others must begin 30 s before 48 s are over, however long they wait for their turn.
    assert!(sent.len() > 12 && sent.iter().all(|at| *at <= 18_000), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn jitter_keeps_parallel_batches_from_coming_back_together() {
    let world = World::with(Setup { requests_per_second: 50.0, in_flight: 8, ..Setup::default() });
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)).times(8));
    let start = Instant::now();
    let session = world.session();
    let uids: Vec<String> = (0..8).map(|number| format!("j-{number}")).collect();
    join_all(uids.iter().map(async |uid| session.submit(batch(uid)).await.submitted)).await;
    let again: BTreeSet<u128> = sent_ms(&world, start).split_off(8).into_iter().collect();
    assert!(again.len() > 4, "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn every_request_of_an_invocation_carries_its_trace() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)).times(2));
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)).on(Route::Token).times(1));
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let (answer, ..) = world.invoke(&[Message::of("m-1", &many("a", 2_000))], Some(trace)).await;
    assert!(answer.unwrap().failures.is_empty());
    let traces: BTreeSet<_> = world.door.seen().into_iter().map(|seen| seen.traceparent).collect();
    assert_eq!(traces, [Some("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01".to_owned())].into());
    assert_eq!(world.door.seen().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn each_invocation_has_a_trace_of_its_own() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[good("a")])]).await;
    world.deliver(&[Message::of("m-2", &[good("b")])]).await;
    let traces: BTreeSet<_> = world.door.batches().into_iter().map(|seen| seen.traceparent.unwrap()).collect();
    assert_eq!(traces.len(), 2);
    assert!(world.ledger().requests.iter().all(|request| request.traceparent.is_some()));
}

#[tokio::test(start_paused = true)]
async fn the_real_limits_of_m3ter_are_met_with_patience() {
    // 70 requests a second are asked for; the organisation may send 50.
    let world = World::with(Setup { requests_per_second: 70.0, in_flight: 16, ..Setup::default() });
    let session = world.session();
    let uids: Vec<String> = (0..60).map(|number| format!("l-{number}")).collect();
    let submitted = join_all(uids.iter().map(async |uid| session.submit(batch(uid)).await.submitted)).await;
    assert_eq!(submitted, vec![Submitted::Accepted; 60]);
    assert!(world.ledger().requests.iter().any(|request| request.outcome == Outcome::Throttled));
}
