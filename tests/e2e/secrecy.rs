//! What m3ter says about data goes to the quarantine, and never to the log. That no canary is ever printed is asserted of
//! every world when it ends.

use m3ter_sandbox::{Containing, Fault, FaultRule, Route};

use crate::usage::{event, uid};
use crate::world::{Outside, World};

/// Words that quote what nobody may print.
const WORDS: &str = "canary-uid-culprit of canary-account, sent with canary-secret-1, is not welcome";

fn quoting(status: u16) -> Fault {
    let body = serde_json::json!({ "message": WORDS }).to_string();
    Fault::Status { status, retry_after: None, body: Some(body) }
}

#[tokio::test]
async fn m3ters_words_about_a_culprit_are_kept_beside_it_and_printed_nowhere() {
    let mut world = World::start().await;
    world.sandbox.add_fault(FaultRule::new(quoting(400)).containing(Containing::uid(uid("culprit"))));
    let bodies = ["a", "b", "culprit", "c"].map(|name| world.usage.good(name).to_string());
    let delivery = world.send(bodies).await;
    delivery.counts(&[("Done", 4), ("Accepted", 3), ("Quarantined", 1)]);
    let [entry] = &world.quarantined().await[..] else { panic!("one entry was expected") };
    assert_eq!((entry.reason.as_str(), entry.uid.as_deref()), ("RefusedByApi", Some(uid("culprit").as_str())));
    assert!(entry.detail.contains(WORDS), "{}", entry.detail);
    world.counted_once(3);
}

/// The search is worth nothing if it finds nothing: here is something to find.
#[tokio::test]
#[should_panic(expected = "the function printed \"canary\"")]
async fn a_canary_in_the_output_is_found_when_a_world_ends() {
    let outside = Outside::start().await;
    let mut spec = outside.spec();
    spec.name = "canary-function".into(); // a name is printed on purpose
    let mut world = outside.run(spec).await;
    world.all_is_well("good").await;
}

#[tokio::test]
async fn whatever_the_status_what_m3ter_says_is_printed_nowhere() {
    let outside = Outside::start().await;
    outside.sandbox.add_fault(FaultRule::new(quoting(400)).on(Route::Token));
    let spec = outside.spec();
    let mut world = outside.run(spec).await;
    let event = event([world.usage.good("quoted").to_string()]);
    world.deliver(&event).await.everything_was_returned(&event, "GiveUp");
    world.sandbox.clear_faults();
    for status in [400, 401, 403, 404, 409, 429, 500, 200] {
        world.sandbox.add_fault(FaultRule::new(quoting(status)).times(2));
        world.deliver(&event).await;
    }
    world.sandbox.clear_faults();
    world.deliver(&event).await.counts(&[("Done", 1), ("Accepted", 1)]);
    assert_eq!(world.quarantine_objects(), 0);
    world.counted_once(1);
}
