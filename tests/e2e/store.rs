//! A store that fails, and a store whose answers are lost.

use runtime_api::ObjectFault;

use crate::usage::{body, event};
use crate::world::World;

#[tokio::test]
async fn while_the_store_is_down_nothing_that_needs_it_is_done_and_then_nothing_is_submitted() {
    let mut world = World::start().await;
    let pid = world.function.pid();
    let mixed = body(&[world.usage.good("second"), world.usage.bad("bad")]);
    let event = event([world.usage.good("first").to_string(), mixed]);
    world.aws.objects().fault(ObjectFault::FailPuts);
    let delivery = world.deliver(&event).await;
    assert_eq!(delivery.returned, event.message_ids()[1..]);
    delivery.counts(&[("Done", 1), ("Accepted", 2), ("Quarantined", 0), ("StoreFailed", 1)]);
    assert_eq!(delivery.line["level"], "error");

    for _ in 0..3 {
        let delivery = world.deliver(&event).await;
        delivery.everything_was_returned(&event, "StoreFailed");
        delivery.counts(&[("Attempts", 0)]);
    }
    assert_eq!(world.ledger().totals.requests, 1, "no submission while the store is suspect");

    world.aws.objects().fault(None);
    let delivery = world.deliver(&event).await;
    delivery.counts(&[("Done", 2), ("Accepted", 2), ("Quarantined", 1), ("StoreFailed", 0)]);
    assert_eq!((world.quarantined().await.len(), world.function.pid()), (1, pid));
    world.counted_once(2);
}

/// Each process forgets that the store was suspect, so each writes the entry again.
#[tokio::test]
async fn an_entry_whose_writing_was_never_confirmed_is_one_entry_however_often_it_was_written() {
    let mut world = World::start().await;
    let event = event([body(&[world.usage.good("good"), world.usage.bad("bad")])]);
    world.aws.objects().fault(ObjectFault::LosePutAnswers);
    for written in 1..=3 {
        let delivery = world.deliver(&event).await;
        assert_eq!(delivery.returned, event.message_ids());
        delivery.counts(&[("Quarantined", 0), ("StoreFailed", 1)]);
        assert_eq!(world.quarantine_objects(), written);
        world.respawn().await;
    }
    world.aws.objects().fault(None);
    world.deliver(&event).await.counts(&[("Done", 1), ("Quarantined", 1), ("StoreFailed", 0)]);
    assert_eq!((world.quarantine_objects(), world.quarantined().await.len()), (4, 1));
    world.counted_once(1);
}
