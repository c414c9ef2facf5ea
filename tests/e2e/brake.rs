//! When returned messages come back, as SQS is told.

use std::collections::BTreeMap;

use m3ter_sandbox::{Fault, FaultRule};
use runtime_api::{Record, SqsEvent};
use serde_json::json;

use crate::usage::{but, event_of, timestamp};
use crate::world::World;

/// Messages that m3ter cannot have now, one for each receive count. The handle of each is its count.
fn returned(world: &World, receives: impl IntoIterator<Item = u32>) -> SqsEvent {
    world.sandbox.add_fault(FaultRule::new(Fault::status(404)));
    let record = |count: u32| {
        let body = world.usage.good(&count.to_string()).to_string();
        Record::new(body).receives(count).receipt_handle(count.to_string())
    };
    event_of(receives.into_iter().map(record))
}

/// Seconds by receipt handle, of every change that was asked for.
fn seconds(world: &World) -> BTreeMap<String, i64> {
    let changes = world.aws.queue().changes();
    let count = changes.len();
    assert!(changes.iter().all(|change| change.queue_url.ends_with("/usage")), "{changes:?}");
    let seconds: BTreeMap<_, _> = changes.into_iter().map(|change| (change.receipt_handle, change.timeout_s)).collect();
    assert_eq!(seconds.len(), count, "one change for each message");
    seconds
}

#[tokio::test]
async fn first_receives_come_back_soon_late_ones_late_and_the_fifth_and_sixth_as_the_queue_says() {
    let mut world = World::start().await;
    let event = returned(&world, [1, 2, 3, 4, 5, 6, 7, 49]);
    let delivery = world.deliver(&event).await;
    delivery.everything_was_returned(&event, "GiveUp");
    delivery.counts(&[("Braked", 6), ("BrakeFailed", 0)]);
    let seconds = seconds(&world);
    let within = |receives: &str, least: i64, most: i64| {
        assert!((least..=most).contains(&seconds[receives]), "{receives}: {} s", seconds[receives]);
    };
    within("1", 5, 10);
    within("2", 10, 20);
    within("3", 20, 40);
    within("4", 40, 80);
    within("7", 450, 900);
    within("49", 450, 900);
    assert_eq!(seconds.len(), 6);
}

#[tokio::test]
async fn calls_hold_at_most_ten_messages_and_every_entrys_answer_is_read() {
    let mut world = World::start().await;
    world.aws.queue().refuse(["7", "8", "31"]);
    let event = returned(&world, 7..=31);
    let delivery = world.deliver(&event).await;
    delivery.counts(&[("Returned", 25), ("Braked", 22), ("BrakeFailed", 3)]);
    assert_eq!((world.aws.queue().requests(), seconds(&world).len()), (3, 25));
}

#[tokio::test]
async fn at_most_500_messages_of_an_invocation_are_made_to_come_back_sooner() {
    let mut world = World::start().await;
    world.sandbox.add_fault(FaultRule::new(Fault::status(404)));
    let soon = (0..600).map(|number| Record::new(world.usage.small(&number.to_string()).to_string()));
    let late = (600..620).map(|number| Record::new(world.usage.small(&number.to_string()).to_string()).receives(7));
    let event = event_of(soon.chain(late));
    let delivery = world.deliver(&event).await;
    delivery.counts(&[("Returned", 620), ("Braked", 520), ("BrakeFailed", 0)]);
    let late = seconds(&world).into_values().filter(|seconds| *seconds > 80).count();
    assert_eq!((late, world.aws.queue().requests()), (20, 52));
}

#[tokio::test]
async fn a_measurement_slightly_ahead_comes_back_when_it_is_due() {
    let mut world = World::start().await;
    let ahead = but(world.usage.good("ahead"), "ts", json!(timestamp(&world.sandbox, 300)));
    let event = event_of([Record::new(ahead.to_string()).receipt_handle("ahead")]);
    world.deliver(&event).await.counts(&[("Returned", 1), ("Attempts", 0), ("Braked", 1)]);
    let due_s = seconds(&world)["ahead"];
    assert!((270..=300).contains(&due_s), "{due_s} s");
}
