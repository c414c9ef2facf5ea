//! A store that fails, and a store whose answers are lost.

use relay_store::LedgerAnswer;
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
    delivery.everything_stays(&event, "StoreFailed");
    delivery.counts(&[("Accepted", 2), ("Recorded", 0), ("Unrecorded", 2)]);
    assert_eq!(delivery.line["level"], "error");

    for _ in 0..3 {
        let delivery = world.deliver(&event).await;
        delivery.everything_was_returned(&event, "StoreFailed");
        delivery.counts(&[("Attempts", 0)]);
    }
    assert_eq!(world.ledger().totals.requests, 1, "no submission while the store is suspect");

    world.aws.objects().fault(None);
    let delivery = world.deliver(&event).await;
    delivery.counts(&[("Done", 2), ("Accepted", 2), ("Quarantined", 1), ("Recorded", 2), ("StoreFailed", 0)]);
    assert_eq!((world.quarantined().await.len(), world.function.pid()), (1, pid));
    world.counted_once(2);
}

/// Each process forgets that the store was suspect, so each writes the entry again.
#[tokio::test]
async fn an_entry_whose_writing_was_never_confirmed_is_one_entry_however_often_it_was_written() {
    let mut world = World::start().await;
    let event = event([body(&[world.usage.bad("worse"), world.usage.bad("bad")])]);
    world.aws.objects().fault(ObjectFault::LosePutAnswers);
    for written in 1..=3 {
        let delivery = world.deliver(&event).await;
        assert_eq!(delivery.returned, event.message_ids());
        delivery.counts(&[("Quarantined", 0), ("StoreFailed", 1)]);
        assert_eq!(world.quarantine_objects(), written);
        world.respawn().await;
    }
    world.aws.objects().fault(None);
    world.deliver(&event).await.counts(&[("Done", 1), ("Quarantined", 2), ("StoreFailed", 0)]);
    assert_eq!((world.quarantine_objects(), world.quarantined().await.len()), (4, 2));
}

/// What was accepted and could not be written down is accepted again by m3ter, which counts it once.
#[tokio::test]
async fn what_was_accepted_and_not_recorded_comes_back_until_it_is_and_is_counted_once() {
    let mut world = World::start().await;
    let event = event([body(&[world.usage.good("good"), world.usage.bad("bad")])]);
    world.aws.objects().fault(ObjectFault::LosePutAnswers);
    for _ in 1..=3 {
        let delivery = world.deliver(&event).await;
        assert_eq!(delivery.returned, event.message_ids());
        delivery.counts(&[("StoreFailed", 1), ("Unrecorded", 1)]);
        world.respawn().await;
    }
    world.aws.objects().fault(None);
    world.deliver(&event).await.counts(&[("Done", 1), ("Recorded", 1), ("Quarantined", 1), ("StoreFailed", 0)]);
    let lines = world.recorded();
    assert_eq!(lines.len(), 4, "the object was there each time, and its answer was not");
    assert!(lines.iter().all(|line| line.uid == lines[0].uid && line.answer == LedgerAnswer::Accepted));
    assert_eq!(world.quarantine_objects(), 1, "nothing is quarantined of a message that comes back");
    world.counted_once(1);
}
