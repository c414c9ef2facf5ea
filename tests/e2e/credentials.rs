//! Credentials that change, and credentials that are wrong.

use std::time::Duration;

use m3ter_sandbox::{Credentials, Fault, FaultRule, Route};
use tokio::time::Instant;

use crate::usage::{body, event};
use crate::world::{KEY, Outside, SECRET_ARN, World, secret};

const WRONG: (&str, &str) = ("canary-key-0", "canary-secret-0");
const NEXT: (&str, &str) = ("canary-key-2", "canary-secret-2");

#[tokio::test]
async fn a_rotation_is_followed_in_the_same_process() {
    let mut world = World::start().await;
    let pid = world.function.pid();
    world.all_is_well("before").await;
    assert_eq!(world.aws.secrets().calls(), 1);

    world.sandbox.set_credentials(Credentials::new(NEXT.0, NEXT.1));
    world.sandbox.revoke_tokens();
    world.aws.secrets().set(SECRET_ARN, secret(NEXT));
    world.all_is_well("after").await;
    world.all_is_well("long after").await;
    assert_eq!(world.aws.secrets().calls(), 2, "one read for one rotation");
    assert_eq!(world.function.pid(), pid);
    world.counted_once(3);
}

/// A process whose secret was wrong from its first moment.
async fn with_wrong_secret() -> World {
    let outside = Outside::start().await;
    outside.aws.secrets().set(SECRET_ARN, secret(WRONG));
    let spec = outside.spec();
    outside.run(spec).await
}

#[tokio::test]
async fn a_secret_corrected_before_the_first_event_is_right_at_once() {
    let mut world = with_wrong_secret().await;
    world.aws.secrets().set(SECRET_ARN, secret(KEY));
    world.all_is_well("first").await;
    assert_eq!(world.aws.secrets().calls(), 2);
    world.counted_once(1);
}

/// As the template leaves it, or as a slip of an operator does.
#[tokio::test]
async fn a_secret_that_is_not_there_or_not_filled_returns_everything_until_it_is() {
    let outside = Outside::start().await;
    outside.aws.secrets().remove(SECRET_ARN);
    let spec = outside.spec();
    let mut world = outside.run(spec).await;
    let pid = world.function.pid();
    let event = event([world.usage.good("good").to_string()]);
    world.deliver(&event).await.everything_was_returned(&event, "GiveUp");
    for unfilled in ["canary-placeholder", "{}", r#"{"access_key_id":"canary","api_secret":""}"#, r#"["canary","canary"]"#] {
        world.aws.secrets().set(SECRET_ARN, unfilled);
        let delivery = world.deliver(&event).await;
        delivery.everything_was_returned(&event, "GiveUp");
        assert_eq!(delivery.line["level"], "error");
    }
    world.aws.secrets().set(SECRET_ARN, secret(KEY));
    world.deliver(&event).await.counts(&[("Done", 1), ("Accepted", 1)]);
    assert_eq!(world.function.pid(), pid);
    world.counted_once(1);
}

/// The re-read is 60 s away, and a test does not sleep. So m3ter takes 3 s to turn the credentials down: each round of the
/// loop below is an invocation that waits for a real answer, and about twenty of them fill the minute.
#[tokio::test]
async fn wrong_credentials_return_everything_and_the_corrected_secret_is_found_in_the_same_process() {
    let mut world = with_wrong_secret().await;
    let pid = world.function.pid();
    let mixed = body(&[world.usage.good("second"), world.usage.bad("bad")]);
    let event = event([world.usage.good("first").to_string(), mixed]);
    let before_reread = Instant::now();
    let refused = world.deliver(&event).await;
    refused.everything_was_returned(&event, "GiveUp");
    refused.counts(&[("Attempts", 0)]);
    assert_eq!(refused.line["level"], "error");
    assert_eq!(world.aws.secrets().calls(), 2, "one at the start, one because it was refused");

    world.aws.secrets().set(SECRET_ARN, secret(KEY));
    world.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 3_000 }).on(Route::Token));
    let mut delivery = world.deliver(&event).await;
    while !delivery.returned.is_empty() {
        delivery.everything_was_returned(&event, "GiveUp");
        assert!(before_reread.elapsed() < Duration::from_secs(75), "still wrong: {}", delivery.line);
        delivery = world.deliver(&event).await;
    }
    assert!(before_reread.elapsed() >= Duration::from_secs(60), "a refused secret is read again at most once in 60 s");
    assert_eq!((world.aws.secrets().calls(), world.function.pid()), (3, pid));
    let reasons: Vec<_> = world.quarantined().await.into_iter().map(|entry| entry.reason).collect();
    assert_eq!(reasons, ["MeterMissing"], "nothing was kept for our own fault");
    world.counted_once(2);
}
