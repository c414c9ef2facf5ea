//! Where m3ter should be, something else answers, or nothing at all: everything comes back, and is right once m3ter is there.

use std::time::Duration;

use m3ter_sandbox::{Fault, FaultRule, Route};

use crate::m3ter::Host;
use crate::usage::{body, event};
use crate::world::{Outside, World};

/// Delivers to a function that meets `faults` from its start, and again without them.
async fn check(faults: &[(Fault, Route)], why: &str, level: &str) {
    let outside = Outside::start().await;
    for (fault, route) in faults {
        outside.sandbox.add_fault(FaultRule::new(fault.clone()).on(*route));
    }
    let spec = outside.spec();
    let mut world = outside.run(spec).await;
    returned_then_done(&mut world, why, level, async |world| world.sandbox.clear_faults()).await;
}

async fn returned_then_done(world: &mut World, why: &str, level: &str, mend: impl AsyncFnOnce(&mut World)) {
    let pid = world.function.pid();
    let mixed = body(&[world.usage.good("second"), world.usage.bad("bad")]);
    let event = event([world.usage.good("first").to_string(), mixed]);
    for _ in 0..2 {
        let delivery = world.deliver(&event).await;
        delivery.everything_was_returned(&event, why);
        assert_eq!(delivery.line["level"], level, "{}", delivery.line);
    }
    assert_eq!((world.quarantine_objects(), world.ledger().totals.accepted), (0, 0));

    mend(world).await;
    let delivery = world.deliver(&event).await;
    delivery.counts(&[("Done", 2), ("Accepted", 2), ("Quarantined", 1), (why, 0)]);
    assert_eq!(world.function.pid(), pid);
    world.counted_once(2);
}

#[tokio::test]
async fn a_host_that_answers_404_to_everything_costs_nothing() {
    check(&[(Fault::status(404), Route::Any)], "GiveUp", "error").await;
}

#[tokio::test]
async fn an_ingest_host_that_answers_404_costs_nothing() {
    check(&[(Fault::status(404), Route::Ingest)], "GiveUp", "error").await;
}

#[tokio::test]
async fn a_proxy_that_answers_everything_with_a_page_of_html_costs_nothing() {
    check(&[(Fault::Html, Route::Any)], "UnknownAnswer", "warn").await;
}

#[tokio::test]
async fn a_proxy_that_answers_submissions_with_a_page_of_html_costs_nothing() {
    check(&[(Fault::Html, Route::Ingest)], "UnknownAnswer", "warn").await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_costs_nothing() {
    check(&[(Fault::status(302), Route::Ingest)], "UnknownAnswer", "warn").await;
}

#[tokio::test]
async fn a_host_that_refuses_connections_costs_nothing() {
    let outside = Outside::start().await;
    let down = Host::down(outside.sandbox.clone());
    let outside = Outside { m3ter: down, ..outside };
    let spec = outside.spec().timeout(Duration::from_secs(4));
    let mut world = outside.run(spec).await;
    returned_then_done(&mut world, "UnknownAnswer", "warn", async |world| world.m3ter_hangs_up().await).await;
}

/// The one place where the shipped binary begins a TLS handshake here.
#[tokio::test]
async fn a_host_that_speaks_no_tls_where_it_should_costs_nothing() {
    let outside = Outside::start().await;
    let encrypted = outside.m3ter.url().replace("http:", "https:");
    let spec = outside.spec().env("M3TER_INGEST_URL", encrypted).timeout(Duration::from_secs(4));
    let mut world = outside.run(spec).await;
    let event = event([world.usage.good("first").to_string()]);
    world.deliver(&event).await.everything_was_returned(&event, "UnknownAnswer");
    assert_eq!((world.quarantine_objects(), world.ledger().totals.requests), (0, 0));
}

#[tokio::test]
async fn answers_that_are_lost_change_no_total() {
    let mut world = World::start().await;
    // Three batches; of the first six answers none arrives whole.
    for fault in [Fault::DropAnswer, Fault::Truncate] {
        world.sandbox.add_fault(FaultRule::new(fault).times(3));
    }
    let bodies: Vec<_> = ["a", "b", "c"].map(|name| body(&world.usage.many(name, 1_000))).into();
    let delivery = world.send(bodies).await;
    delivery.counts(&[("Done", 3), ("Accepted", 3_000), ("Attempts", 9), ("UnknownAnswer", 6)]);
    let totals = world.ledger().totals;
    assert_eq!((totals.accepted, totals.duplicates), (9_000, 6_000));
    world.counted_once(3_000);
}

#[tokio::test]
async fn answers_that_are_lost_until_the_end_return_the_messages_and_change_no_total() {
    let mut world = World::with_timeout(4).await;
    let bodies = [body(&world.usage.many("lost", 100))];
    let event = event(&bodies);
    world.sandbox.add_fault(FaultRule::new(Fault::DropAnswer));
    for _ in 0..2 {
        world.deliver(&event).await.everything_was_returned(&event, "UnknownAnswer");
    }
    world.counted_once(100);
    world.sandbox.clear_faults();
    world.deliver(&event).await.counts(&[("Done", 1), ("Accepted", 100)]);
    world.counted_once(100);
}
