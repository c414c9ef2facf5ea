//! Services that accept and never answer: each invocation is back before its deadline, which a world asserts of every
//! delivery. The shares of an invocation shrink with its time-out.

use std::time::Duration;

use m3ter_sandbox::{Fault, FaultRule, Route};
use runtime_api::ObjectFault;
use tokio::time::Instant;

use crate::usage::{body, event};
use crate::world::{Outside, World};

/// Less than the 5 s after which the clients of AWS give up by themselves: it is the invocation's own bound that is tested.
const LIMIT: Duration = Duration::from_secs(4);
/// Lambda's bound for a start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Starts a function while something hangs already.
async fn started(outside: Outside) -> World {
    let spec = outside.spec().timeout(LIMIT);
    let began = Instant::now();
    let world = outside.run(spec).await;
    assert!(began.elapsed() < START_LIMIT, "{:?}", began.elapsed());
    world
}

#[tokio::test]
async fn m3ter_may_hang() {
    let outside = Outside::start().await;
    outside.sandbox.add_fault(FaultRule::new(Fault::Hang).on(Route::Token));
    let mut world = started(outside).await;
    let pid = world.function.pid();
    let event = event([world.usage.good("good").to_string()]);
    world.deliver(&event).await.everything_was_returned(&event, "UnknownAnswer");

    world.sandbox.clear_faults();
    world.sandbox.add_fault(FaultRule::new(Fault::Hang).on(Route::Ingest));
    world.deliver(&event).await.everything_was_returned(&event, "UnknownAnswer");
    assert_eq!(world.ledger().totals.accepted, 0);

    world.sandbox.clear_faults();
    world.deliver(&event).await.counts(&[("Done", 1), ("Accepted", 1)]);
    assert_eq!(world.function.pid(), pid);
    world.counted_once(1);
}

#[tokio::test]
async fn the_store_may_hang() {
    let mut world = World::with_timeout(LIMIT.as_secs()).await;
    let pid = world.function.pid();
    let mixed = body(&[world.usage.good("second"), world.usage.bad("bad")]);
    let event = event([world.usage.good("first").to_string(), mixed]);
    world.aws.objects().fault(ObjectFault::HangAll);
    let delivery = world.deliver(&event).await;
    delivery.everything_stays(&event, "StoreFailed");
    delivery.counts(&[("Accepted", 2), ("Unresolved", 1), ("Unrecorded", 2)]);
    assert_eq!(delivery.line["level"], "error");
    let probing = world.deliver(&event).await;
    probing.everything_was_returned(&event, "StoreFailed");
    probing.counts(&[("Attempts", 0)]);

    world.aws.objects().fault(None);
    let delivery = world.deliver(&event).await;
    delivery.counts(&[("Done", 2), ("Accepted", 2), ("Quarantined", 1), ("StoreFailed", 0)]);
    assert_eq!((world.quarantined().await.len(), world.function.pid()), (1, pid));
    world.counted_once(2);
}

/// Both at once is the latest that an invocation can be: m3ter uses up its time, then the brake all that is left.
#[tokio::test]
async fn the_queue_may_hang_and_m3ter_with_it() {
    let mut world = World::with_timeout(9).await;
    let pid = world.function.pid();
    let event = event([world.usage.good("good").to_string()]);
    world.aws.queue().hang(true);
    world.sandbox.add_fault(FaultRule::new(Fault::Hang));
    let delivery = world.deliver(&event).await;
    delivery.everything_was_returned(&event, "UnknownAnswer");
    delivery.counts(&[("Braked", 0), ("BrakeFailed", 1)]);

    world.aws.queue().hang(false);
    world.sandbox.clear_faults();
    world.deliver(&event).await.counts(&[("Done", 1), ("Accepted", 1)]);
    assert_eq!(world.function.pid(), pid);
    world.counted_once(1);
}

#[tokio::test]
async fn the_secrets_may_hang() {
    let outside = Outside::start().await;
    outside.aws.secrets().hang(true);
    let mut world = started(outside).await;
    let pid = world.function.pid();
    let event = event([world.usage.good("good").to_string()]);
    world.deliver(&event).await.everything_was_returned(&event, "Returned");

    world.aws.secrets().hang(false);
    world.deliver(&event).await.counts(&[("Done", 1), ("Accepted", 1)]);
    world.aws.secrets().hang(true);
    world.all_is_well("no secret is needed").await;
    assert_eq!(world.function.pid(), pid);
    world.counted_once(2);
}
