//! Each way out, and all together, accepting and never answering: the function is back in time, whatever its time-out.

use std::time::Duration;

use m3ter_sandbox::{Fault, FaultRule, Route};

use crate::seams::{Calls, Puts, Reading};
use crate::world::{Message, Setup, World, bad, good, many};

/// A message that needs m3ter, the store, and (returned) the brake.
fn messages() -> Vec<Message> {
    let mut measurements = many("a", 4_500);
    measurements.push(bad("b"));
    vec![Message::of("m-1", &measurements), Message::of("m-2", &[bad("c")])]
}

async fn took(timeout_s: i64, hang: impl Fn(&World)) -> f64 {
    let world = World::with(Setup { timeout_s, ..Setup::default() });
    hang(&world);
    let handled = world.deliver(&messages()).await;
    let took_s = handled.took.as_secs_f64();
    assert_eq!(handled.count("Duration"), u64::try_from(handled.took.as_millis()).unwrap());
    took_s
}

fn m3ter_hangs(world: &World) {
    world.sandbox.add_fault(FaultRule::new(Fault::Hang));
}

fn tokens_hang(world: &World) {
    world.sandbox.add_fault(FaultRule::new(Fault::Hang).on(Route::Token));
}

fn secret_hangs(world: &World) {
    world.vault.now(Reading::Hangs);
}

fn store_hangs(world: &World) {
    world.objects.now(Puts::Hang);
}

fn queue_hangs(world: &World) {
    m3ter_hangs(world);
    world.line.now(Calls::Hang);
}

fn all_hang(world: &World) {
    queue_hangs(world);
    store_hangs(world);
}

#[tokio::test(start_paused = true)]
async fn of_a_minute_m3ter_gets_48_seconds_the_store_5_and_the_brake_5_and_2_are_left() {
    assert_eq!(took(60, m3ter_hangs).await, 48.0);
    assert_eq!(took(60, secret_hangs).await, 48.0);
    assert!(took(60, tokens_hang).await <= 48.0);
    assert_eq!(took(60, store_hangs).await, 53.0);
    assert_eq!(took(60, queue_hangs).await, 58.0);
    assert_eq!(took(60, all_hang).await, 58.0);
}

#[tokio::test(start_paused = true)]
async fn a_function_of_five_seconds_is_back_in_time_too() {
    for hang in [m3ter_hangs, tokens_hang, secret_hangs, store_hangs, queue_hangs, all_hang] {
        let took_s = took(5, hang).await;
        assert!(took_s < 4.9, "{took_s}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_of_fifteen_minutes_is_back_in_time_too() {
    for hang in [m3ter_hangs, tokens_hang, secret_hangs, store_hangs, queue_hangs, all_hang] {
        let took_s = took(900, hang).await;
        assert!(took_s <= 898.0, "{took_s}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_returns_everything_at_once() {
    for timeout_s in [0, -5] {
        let world = World::with(Setup { timeout_s, ..Setup::default() });
        all_hang(&world);
        let (answer, log, took) = world.invoke(&messages(), None).await;
        assert_eq!((answer.unwrap().failures.len(), took), (2, Duration::ZERO));
        assert!(log.contains(r#""AccountsMismatch":0"#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_m3ter_holds_back_no_message_that_needs_nothing_of_it() {
    let world = World::new();
    m3ter_hangs(&world);
    let handled = world.deliver(&[Message::of("m-1", &[good("a")]), Message::of("m-2", &[bad("b")])]).await;
    assert_eq!(handled.returned, ["m-1"]);
    handled.counts(&[("Quarantined", 1), ("Unresolved", 1), ("UnknownAnswer", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_holds_back_no_message_that_needs_nothing_of_it() {
    let world = World::without_ledger();
    store_hangs(&world);
    let handled = world.deliver(&[Message::of("m-1", &[good("a")]), Message::of("m-2", &[bad("b")])]).await;
    assert_eq!(handled.returned, ["m-2"]);
    handled.counts(&[("Accepted", 1), ("StoreFailed", 1), ("Quarantined", 0)]);
}

#[tokio::test(start_paused = true)]
async fn while_a_store_hangs_the_probe_ends_in_time_as_well() {
    let world = World::new();
    store_hangs(&world);
    world.deliver(&messages()).await;
    let handled = world.deliver(&messages()).await;
    assert!(handled.took <= Duration::from_secs(53), "{:?}", handled.took);
    handled.counts(&[("Attempts", 0), ("Returned", 2)]);
}
