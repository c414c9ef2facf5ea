//! Tokens and the secret: fetched once, kept, renewed in time, and right again after every kind of trouble.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use m3ter_client::{SecretsError, Submitted};
use m3ter_sandbox::{Credentials, Fault, FaultRule, Outcome, Route};
use serde_json::json;
use tokio::time::advance;

use crate::seams::Reading;
use crate::world::{KEY, Message, Setup, World, good, many};

const OTHER_KEY: (&str, &str) = ("canary-key-2", "canary-secret-2");

fn batch(uid: &str) -> Bytes {
    json!({"measurements": [good(uid)]}).to_string().into()
}

fn one() -> [Message; 1] {
    [Message::of("m-1", &[good("a")])]
}

fn refused_for_its_token(world: &World) -> usize {
    world.ledger().requests.iter().filter(|request| request.outcome == Outcome::Unauthorised).count()
}

#[tokio::test(start_paused = true)]
async fn one_token_is_fetched_for_many_parallel_submits() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 500 }).on(Route::Token));
    let session = world.session();
    let uids: Vec<String> = (0..8).map(|number| format!("p-{number}")).collect();
    let submitted = join_all(uids.iter().map(async |uid| session.submit(batch(uid)).await.submitted)).await;
    assert_eq!(submitted, vec![Submitted::Accepted; 8]);
    assert_eq!((world.ledger().totals.token_requests, world.vault.reads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_over_invocations_until_a_minute_before_it_expires() {
    let world = World::new();
    assert!(world.is_done(&one()[0]).await);
    advance(Duration::from_secs(18_000 - 60) - Duration::from_millis(1)).await;
    assert!(world.is_done(&Message::of("m-2", &[good("b")])).await);
    assert_eq!(world.ledger().totals.token_requests, 1);
    advance(Duration::from_millis(1)).await;
    assert!(world.is_done(&Message::of("m-3", &[good("c")])).await);
    assert_eq!((world.ledger().totals.token_requests, refused_for_its_token(&world), world.vault.reads()), (2, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_short_lived_token_is_renewed_after_nine_tenths_of_its_life() {
    let world = World::with(Setup { token_lifetime_s: 100, ..Setup::default() });
    let session = world.session();
    session.warm_up().await;
    advance(Duration::from_secs(90) - Duration::from_millis(1)).await;
    session.warm_up().await;
    assert_eq!(world.ledger().totals.token_requests, 1);
    advance(Duration::from_millis(1)).await;
    session.warm_up().await;
    assert_eq!(world.ledger().totals.token_requests, 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_mid_run_is_replaced_and_nothing_is_refused() {
    let world = World::new();
    world.deliver(&one()).await;
    // m3ter's clock alone goes on: the relay does not know that its token is too old.
    world.sandbox.advance(Duration::from_secs(6 * 3_600)).unwrap();
    let handled = world.deliver(&[Message::of("m-2", &many("b", 3_000))]).await;
    handled.counts(&[("Accepted", 3_000), ("Returned", 0), ("Quarantined", 0), ("GiveUp", 0), ("Unproven", 0)]);
    assert!(refused_for_its_token(&world) >= 1);
    assert_eq!(world.ledger().totals.tokens_issued, 2);
}

#[tokio::test(start_paused = true)]
async fn parallel_batches_that_meet_one_revoked_token_share_one_new_one() {
    let world = World::new();
    world.deliver(&one()).await;
    world.sandbox.revoke_tokens();
    world.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 300 }).on(Route::Any));
    let handled = world.deliver(&[Message::of("m-2", &many("b", 4_000))]).await;
    handled.counts(&[("Accepted", 4_000), ("Attempts", 8)]);
    assert_eq!((world.ledger().totals.tokens_issued, refused_for_its_token(&world)), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_is_read_again_once_and_all_is_right_in_the_same_process() {
    let world = World::new();
    world.deliver(&one()).await;
    world.sandbox.set_credentials(Credentials::new(OTHER_KEY.0, OTHER_KEY.1));
    world.sandbox.revoke_tokens();
    world.vault.now(Reading::Gives(OTHER_KEY.0, OTHER_KEY.1));
    let handled = world.deliver(&[Message::of("m-2", &many("b", 2_500))]).await;
    handled.counts(&[("Accepted", 2_500), ("Returned", 0), ("GiveUp", 0)]);
    assert_eq!((world.vault.reads(), world.ledger().totals.tokens_issued), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_secret_rotated_while_the_old_token_still_works_is_read_when_that_token_ends() {
    let world = World::new();
    world.deliver(&one()).await;
    world.sandbox.set_credentials(Credentials::new(OTHER_KEY.0, OTHER_KEY.1));
    world.vault.now(Reading::Gives(OTHER_KEY.0, OTHER_KEY.1));
    assert!(world.is_done(&Message::of("m-2", &[good("b")])).await);
    assert_eq!(world.vault.reads(), 1);
    advance(Duration::from_secs(18_000)).await;
    assert!(world.is_done(&Message::of("m-3", &[good("c")])).await);
    assert_eq!((world.vault.reads(), refused_for_its_token(&world)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_returns_everything_reads_sparingly_and_is_right_again_after_its_correction() {
    let world = World::new();
    world.vault.now(Reading::Gives("canary-key-1", "canary-wrong"));
    let messages = [Message::of("m-1", &many("a", 2_500)), Message::of("m-2", &[good("b")])];
    let mut reads = Vec::new();
    for _ in 0..8 {
        let handled = world.deliver(&messages).await;
        handled.counts(&[("Returned", 2), ("Quarantined", 0), ("Attempts", 0), ("GiveUp", 3)]);
        assert_eq!(handled.line["level"], "error");
        reads.push(world.vault.reads());
        advance(Duration::from_secs(20)).await;
    }
    // The first reading, and again once in 60 s: at 20 s, 80 s, 140 s.
    assert_eq!(reads, [1, 2, 2, 2, 3, 3, 3, 4]);
    world.vault.now(Reading::Gives(KEY.0, KEY.1));
    advance(Duration::from_secs(40)).await;
    world.deliver(&messages).await.counts(&[("Done", 2), ("Accepted", 2_501)]);
    assert!(world.quarantined().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_4xx_of_the_token_endpoint_is_a_credentials_fault_and_asked_only_once_an_invocation() {
    for status in [400, 401, 403, 404, 418, 422] {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(Fault::status(status)).on(Route::Token));
        let handled = world.deliver(&[Message::of("m-1", &many("a", 2_500))]).await;
        handled.counts(&[("Returned", 1), ("GiveUp", 3), ("Quarantined", 0), ("Attempts", 0)]);
        assert_eq!(world.door.seen().len(), 1, "{status}");
        world.sandbox.clear_faults();
        assert!(world.is_done(&Message::of("m-1", &many("a", 2_500))).await, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_in_trouble_is_tried_again() {
    for fault in [408, 429, 500, 503].map(Fault::status).into_iter().chain([Fault::Reset, Fault::Truncate, Fault::DropAnswer]) {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(fault.clone()).on(Route::Token).times(2));
        let handled = world.deliver(&one()).await;
        handled.counts(&[("Done", 1), ("GiveUp", 0)]);
        assert_eq!(world.door.seen().len(), 4, "{fault:?}");

        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(fault).on(Route::Token));
        let handled = world.deliver(&one()).await;
        handled.counts(&[("Returned", 1), ("GiveUp", 0), ("Quarantined", 0), ("Attempts", 0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_answer_that_is_not_m3ters_is_unknown() {
    let odd = |body: &str| Fault::Status { status: 200, retry_after: None, body: Some(body.into()) };
    let redirect = Fault::status(302);
    for fault in [Fault::Html, odd("{}"), odd(r#"{"access_token":"a\nb","expires_in":9}"#), redirect] {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(fault.clone()).on(Route::Token).times(1));
        let handled = world.deliver(&one()).await;
        handled.counts(&[("Returned", 1), ("UnknownAnswer", 1), ("Quarantined", 0), ("Attempts", 0)]);
        assert!(world.is_done(&one()[0]).await, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_be_used_returns_everything_and_is_right_again_later() {
    for (reading, given_up) in [
        (Reading::Fails(SecretsError::Denied), 1),
        (Reading::Fails(SecretsError::Malformed), 1),
        (Reading::Fails(SecretsError::Unreachable), 0),
        (Reading::Hangs, 0),
    ] {
        let world = World::new();
        world.vault.now(reading.clone());
        let handled = world.deliver(&one()).await;
        handled.counts(&[("Returned", 1), ("GiveUp", given_up), ("Quarantined", 0), ("Attempts", 0)]);
        assert!(handled.count("SecretUnreadable") >= 1, "{reading:?}");
        world.vault.now(Reading::Gives(KEY.0, KEY.1));
        assert!(world.is_done(&one()[0]).await, "{reading:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_does_not_make_the_next_invocation_wait() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::Hang).on(Route::Token).times(4));
    world.deliver(&[Message::of("m-1", &many("a", 4_000))]).await;
    world.sandbox.clear_faults();
    let handled = world.deliver(&[Message::of("m-1", &many("a", 4_000))]).await;
    handled.counts(&[("Done", 1)]);
    assert!(handled.took < Duration::from_secs(1), "{:?}", handled.took);
}
