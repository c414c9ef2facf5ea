//! Each row of the table of verdicts, by the live client: status × body × bytes sent × age of the token × evidence.

use std::time::Duration;

use bytes::Bytes;
use m3ter_client::{NoAnswer, Submitted, Undecided};
use m3ter_sandbox::{Fault, FaultRule, Route};
use serde_json::json;
use tokio::time::advance;

use crate::world::{World, but, good};

const GIVE_UP: Submitted = Submitted::Undecided(Undecided::GiveUp);
const UNKNOWN: Submitted = Submitted::Undecided(Undecided::Unknown);
const LATER: Submitted = Submitted::Undecided(Undecided::Later);

fn batch() -> Bytes {
    json!({"measurements": [good("a")]}).to_string().into()
}

/// A batch of more than 480,000 bytes.
fn large() -> Bytes {
    json!({"measurements": [but(good("a"), "who", json!({"x": "y".repeat(481_000)}))]}).to_string().into()
}

fn answer(status: u16, body: &str) -> Fault {
    Fault::Status { status, retry_after: None, body: Some(body.into()) }
}

/// Every request is answered with `fault`: what the client makes of it, and after how many requests.
async fn always(fault: Fault, body: Bytes) -> (Submitted, usize) {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(fault));
    let submitted = world.session().submit(body).await.submitted;
    (submitted, world.door.batches().len())
}

/// The first request is answered with `fault`, later ones by m3ter.
async fn once(fault: Fault) -> (Submitted, usize) {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(fault).times(1));
    let submitted = world.session().submit(batch()).await.submitted;
    (submitted, world.door.batches().len())
}

#[tokio::test(start_paused = true)]
async fn only_a_200_that_says_accepted_is_accepted() {
    assert_eq!(always(answer(200, r#"{"result":"accepted"}"#), batch()).await, (Submitted::Accepted, 1));
    for body in ["", "{}", "accepted", r#"{"result":"failed"}"#, r#"{"result":"accep"#, "<html>accepted</html>"] {
        assert_eq!(always(answer(200, body), batch()).await, (UNKNOWN, 1), "{body}");
    }
    assert_eq!(always(Fault::Html, batch()).await, (UNKNOWN, 1));
}

#[tokio::test(start_paused = true)]
async fn any_other_2xx_or_3xx_is_unknown_and_not_followed_or_repeated() {
    for status in [201, 202, 204, 206, 301, 302, 303, 304, 307, 308] {
        assert_eq!(always(answer(status, r#"{"result":"accepted"}"#), batch()).await, (UNKNOWN, 1), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_about_data_is_a_refusal_with_m3ters_words() {
    for status in [400, 413, 422] {
        let (submitted, requests) = always(answer(status, r#"{"message":"ts is odd"}"#), batch()).await;
        let Submitted::Refused { turndown, generation } = submitted else { panic!("{status}: {submitted:?}") };
        assert_eq!((turndown.status, turndown.words.as_str(), turndown.credentials_likelier), (status, "ts is odd", false));
        assert_eq!((generation, requests), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_under_a_fresh_token_is_our_fault_and_a_single_one_is_not() {
    assert_eq!(always(Fault::status(401), batch()).await, (GIVE_UP, 2));
    assert_eq!(once(Fault::status(401)).await, (Submitted::Accepted, 2));
}

#[tokio::test(start_paused = true)]
async fn a_403_is_tried_once_more_under_a_fresh_token_and_then_points_at_credentials_unless_the_body_is_large() {
    assert_eq!(once(Fault::status(403)).await, (Submitted::Accepted, 2));
    for (body, credentials_likelier) in [(batch(), true), (large(), false)] {
        let (submitted, requests) = always(Fault::status(403), body).await;
        let Submitted::Refused { turndown, generation } = submitted else { panic!("{submitted:?}") };
        assert_eq!((turndown.credentials_likelier, generation, requests), (credentials_likelier, 2, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn every_status_not_named_is_given_up_after_one_request() {
    for status in [402, 404, 405, 406, 407, 410, 411, 414, 415, 418, 421, 426, 431, 451, 499] {
        assert_eq!(always(Fault::status(status), batch()).await, (GIVE_UP, 1), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_is_tried_again_and_undecided_when_it_does_not_help() {
    for status in [408, 409, 429, 500, 502, 503, 504, 599] {
        assert_eq!(once(Fault::status(status)).await, (Submitted::Accepted, 2), "{status}");
        let standing = if status == 429 { LATER } else { UNKNOWN };
        let (submitted, requests) = always(Fault::status(status), batch()).await;
        assert_eq!(submitted, standing, "{status}");
        assert!(requests > 3, "{status}: {requests} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_server_are_counted_at_both_of_its_doors() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(503)).on(Route::Token).times(2));
    world.sandbox.add_fault(FaultRule::new(Fault::status(500)).times(1));
    let session = world.session();
    assert_eq!(session.submit(batch()).await.submitted, Submitted::Accepted);
    assert_eq!((session.counts().server_faults, session.counts().unknown_answers), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn silence_is_counted_at_both_of_its_doors() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::Reset).on(Route::Token).times(2));
    world.sandbox.add_fault(FaultRule::new(Fault::Reset).times(1));
    let session = world.session();
    assert_eq!(session.submit(batch()).await.submitted, Submitted::Accepted);
    assert_eq!((session.counts().unknown_answers, session.counts().server_faults), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn no_answer_of_any_kind_is_tried_again() {
    for failure in [NoAnswer::NoConnection, NoAnswer::Broken, NoAnswer::TooLong, NoAnswer::TimedOut] {
        let world = World::new();
        let session = world.session();
        session.warm_up().await;
        world.door.fail_next(&[failure]);
        assert_eq!(session.submit(batch()).await.submitted, Submitted::Accepted, "{failure:?}");
        assert_eq!((session.counts().unknown_answers, world.door.batches().len()), (1, 2));
    }
    for fault in [Fault::Reset, Fault::DropAnswer, Fault::Truncate] {
        assert_eq!(once(fault.clone()).await, (Submitted::Accepted, 2), "{fault:?}");
        assert_eq!(always(fault.clone(), batch()).await.0, UNKNOWN, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_is_evidence_under_its_own_token_for_15_minutes_and_across_invocations() {
    let world = World::new();
    let session = world.session();
    assert!(!session.accepted_under(1));
    assert_eq!(session.submit(batch()).await.submitted, Submitted::Accepted);
    assert!(session.accepted_under(1) && !session.accepted_under(2));
    advance(Duration::from_secs(15 * 60)).await;
    assert!(world.session().accepted_under(1));
    advance(Duration::from_millis(1)).await;
    assert!(!world.session().accepted_under(1));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_evidence() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(400)));
    let session = world.session();
    session.submit(batch()).await;
    assert!(!session.accepted_under(1));
}

#[tokio::test(start_paused = true)]
async fn a_late_acceptance_under_an_older_token_does_not_hide_that_the_newer_one_works() {
    let world = World::new();
    let session = world.session();
    session.warm_up().await;
    world.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 5_000 }).times(1));
    world.sandbox.add_fault(FaultRule::new(Fault::status(403)).skip(1).times(1));
    // The first is answered late, under the first token. The second is refused at once and goes again under a new one.
    let again = async || session.submit(batch()).await.submitted;
    let (slow, renewed) = futures_util::future::join(again(), again()).await;
    assert_eq!((slow, renewed), (Submitted::Accepted, Submitted::Accepted));
    assert!(session.accepted_under(2));
}
