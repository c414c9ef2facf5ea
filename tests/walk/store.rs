//! The quarantine is written before a message is done, and a store in trouble never becomes a storm of re-sends.

use std::time::Duration;

use m3ter_sandbox::{Fault, FaultRule};
use tokio::time::{Instant, advance};

use crate::seams::Puts;
use crate::world::{Message, World, bad, good, many};

const TROUBLE: [Puts; 3] = [Puts::Fail, Puts::Hang, Puts::LoseTheAnswer];

fn mixed(id: &str) -> Message {
    let mut measurements = many(id, 99);
    measurements.push(bad(&format!("{id}-bad")));
    Message::of(id, &measurements)
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_refusal_cannot_be_kept_is_returned_and_the_others_are_done() {
    for trouble in TROUBLE {
        let world = World::without_ledger();
        world.objects.now(trouble);
        let handled = world.deliver(&[mixed("m-1"), Message::of("m-2", &[good("x")])]).await;
        assert_eq!(handled.returned, ["m-1"], "{trouble:?}");
        handled.counts(&[("Accepted", 100), ("Quarantined", 0), ("Unresolved", 1), ("StoreFailed", 1)]);
        assert_eq!(handled.line["level"], "error");
        assert_eq!(world.quarantined().await.len(), usize::from(trouble == Puts::LoseTheAnswer));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_put_nothing_is_submitted_before_a_put_has_worked() {
    for trouble in TROUBLE {
        let world = World::without_ledger();
        world.objects.now(trouble);
        world.deliver(&[mixed("m-1")]).await;
        let submitted = world.door.batches().len();
        for receives in 2..=10 {
            let handled = world.deliver(&[mixed("m-1").received(receives), Message::of("m-2", &[good("x")])]).await;
            handled.counts(&[("Returned", 2), ("Attempts", 0), ("Batches", 0), ("StoreFailed", 1), ("Quarantined", 0)]);
        }
        assert_eq!(world.door.batches().len(), submitted, "{trouble:?}");

        world.objects.now(Puts::Work);
        let (before, tried) = (world.door.batches().len(), world.objects.tried().len());
        let handled = world.deliver(&[mixed("m-1").received(11), Message::of("m-2", &[good("x")])]).await;
        handled.counts(&[("Done", 2), ("Accepted", 100), ("Quarantined", 1), ("StoreFailed", 0)]);
        let names: Vec<String> = world.objects.tried().into_iter().skip(tried).map(|(_, name)| name).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].starts_with("relay/probe/v1/") && names[1].starts_with("relay/quarantine/v1/dt=2026-06-01/hr=00/"));
        assert_eq!(world.door.batches().len(), before + 1);
        // Written up to eleven times, known once; counted once, though submitted twice.
        assert_eq!(world.reasons().await, [("m-1".into(), 99, "MeterMissing".into())]);
        assert_eq!(world.ledger().totals.ingested, 100);
    }
}

#[tokio::test(start_paused = true)]
async fn the_probe_comes_before_the_first_request_with_a_batch() {
    let world = World::without_ledger();
    world.objects.now(Puts::Fail);
    world.deliver(&[mixed("m-1")]).await;
    world.objects.now(Puts::Work);
    advance(Duration::from_secs(60)).await;
    let start = Instant::now();
    world.sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 1_000 }));
    assert!(world.is_done(&mixed("m-1")).await);
    let tried: Vec<_> = world.objects.tried().into_iter().skip(1).map(|(at, _)| at - start).collect();
    assert_eq!(tried, [Duration::ZERO, Duration::from_secs(1)], "the probe, and after the answer the quarantine");
}

#[tokio::test(start_paused = true)]
async fn a_store_in_good_order_is_not_probed_and_not_written_without_need() {
    let world = World::without_ledger();
    assert!(world.is_done(&Message::of("m-1", &many("a", 10))).await);
    assert!(world.is_done(&mixed("m-2")).await);
    assert!(world.is_done(&Message::of("m-3", &many("b", 10))).await);
    assert_eq!(world.objects.tried().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_refusals_of_one_invocation_are_one_object() {
    let world = World::without_ledger();
    let messages: Vec<Message> = (0..50).map(|n| mixed(&format!("m-{n}"))).collect();
    world.deliver(&messages).await.counts(&[("Done", 50), ("Quarantined", 50), ("Accepted", 4_950)]);
    assert_eq!((world.objects.tried().len(), world.quarantined().await.len()), (1, 50));
}

#[tokio::test(start_paused = true)]
async fn ten_lost_answers_leave_one_entry() {
    let world = World::without_ledger();
    for receives in 1..=10 {
        world.objects.now(Puts::LoseTheAnswer);
        assert!(!world.is_done(&mixed("m-1").received(receives)).await);
        // The probe works, the quarantine's answer is lost again.
        world.objects.now(Puts::Work);
        assert!(world.is_done(&Message::of("m-2", &[good("x")])).await);
    }
    assert!(world.is_done(&mixed("m-1").received(11)).await);
    let written = world.objects.tried().into_iter().filter(|(_, name)| name.contains("quarantine")).count();
    assert_eq!((written, world.quarantined().await.len()), (11, 1));
    assert_eq!(world.ledger().totals.ingested, 100);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_an_exhausted_message_is_returned_all_the_same() {
    let world = World::without_ledger();
    world.objects.now(Puts::Fail);
    let old = mixed("m-1").sent_at(crate::world::START_MS - 12 * relay_core::limits::DAY_MS);
    for _ in 0..3 {
        assert!(!world.is_done(&old).await);
    }
    world.objects.now(Puts::Work);
    assert!(world.is_done(&old).await);
}
