//! The ledger holds what was sent and how it was answered, before any of it is done.

use m3ter_client::NoAnswer;
use m3ter_sandbox::{Containing, Fault, FaultRule};
use relay::Ledger;
use relay_store::{LedgerAnswer, LedgerMode, LedgerObject, LedgerWrite, Line};
use serde_json::{Value, json};

use crate::seams::Puts;
use crate::world::{Message, START_MS, Setup, World, bad, but, good, many};

const TROUBLE: [Puts; 3] = [Puts::Fail, Puts::Hang, Puts::LoseTheAnswer];

fn kept(mode: LedgerMode, write: LedgerWrite) -> World {
    World::with(Setup { ledger: Ledger { mode, write }, ..Setup::default() })
}

/// Uid, answer, batch number and attempts of each line, sorted.
fn told(lines: &[Line]) -> Vec<(&str, LedgerAnswer, &str, u32)> {
    let number = |line: &Line| line.batch.rfind('-').unwrap() + 1;
    let mut told: Vec<_> =
        lines.iter().map(|line| (line.uid.as_str(), line.answer, &line.batch[number(line)..], line.attempts)).collect();
    told.sort_by_key(|(uid, ..)| *uid);
    told
}

use LedgerAnswer::{Accepted, Unknown};

#[tokio::test(start_paused = true)]
async fn a_line_says_what_was_sent_when_in_which_batch_and_how_it_was_answered() {
    let world = World::new();
    let pretty = serde_json::to_string_pretty(&good("\"a\"\\ü\n")).unwrap();
    assert!(world.is_done(&Message::raw("m-1", &pretty).received(3).sent_at(START_MS - 9_000)).await);
    let lines = world.recorded().await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let sent = good("\"a\"\\ü\n");
    assert_eq!(line.uid, "canary-\"a\"\\ü\n");
    assert_eq!(
        (line.meter.as_deref(), line.account.as_deref(), line.ts.as_deref()),
        (sent["meter"].as_str(), sent["account"].as_str(), sent["ts"].as_str())
    );
    assert_eq!(line.batch, "8476a536-e9f4-11e8-9739-000000000001-1");
    assert_eq!((line.message_id.as_str(), line.receives, line.queued_at), ("m-1", 3, Some(START_MS - 9_000)));
    assert_eq!((line.attempts, line.answer, line.sent_at), (1, Accepted, START_MS));
    assert_eq!(serde_json::from_str::<Value>(line.measurement.as_ref().unwrap().get()).unwrap(), sent);
    assert_eq!(line.origin, None);
}

#[tokio::test(start_paused = true)]
async fn equal_content_has_an_equal_hash_under_whatever_uid_and_other_content_another() {
    let world = World::new();
    let measurements = [good("a"), good("b"), but(good("c"), "measure", json!({"n": 2.5}))];
    assert!(world.is_done(&Message::of("m-1", &measurements)).await);
    let lines = world.recorded().await;
    let hash = |uid: &str| lines.iter().find(|line| line.uid == uid).unwrap().content_hash;
    assert!(hash("canary-a") == hash("canary-b") && hash("canary-a") != hash("canary-c"));
}

#[tokio::test(start_paused = true)]
async fn the_name_of_an_object_tells_its_time_its_span_and_its_lines() {
    let world = World::new();
    let old = but(good("a"), "ts", json!("2026-05-30T00:00:00Z"));
    assert!(world.is_done(&Message::of("m-1", &[good("b"), old, bad("c")])).await);
    let names: Vec<String> = world.objects.tried().into_iter().map(|(_, name)| name).collect();
    let (folder, name) = names[0].rsplit_once('/').unwrap();
    assert_eq!(folder, "relay/ledger/v1/dt=2026-06-01/hr=00");
    let object = LedgerObject::parse(name).unwrap();
    assert_eq!((object.written_at_ms, object.lines), (START_MS, 2));
    assert_eq!(object.ts_min_ms, START_MS - 2 * relay_core::limits::DAY_MS);
    assert!(object.ts_max_ms > object.ts_min_ms && name.ends_with("_8476a536-e9f4-11e8-9739-000000000001.ndjson.zst"));
    assert!(names[1].starts_with("relay/quarantine/"), "the ledger comes first: {names:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_and_never_answered_is_unknown_and_a_later_line_settles_it() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::DropAnswer));
    let message = Message::of("m-1", &[good("a")]);
    assert!(!world.is_done(&message).await);
    let lines = world.recorded().await;
    assert_eq!((lines.len(), lines[0].answer), (1, Unknown));
    assert!(lines[0].attempts > 1, "{lines:?}");
    world.sandbox.clear_faults();
    assert!(world.is_done(&message.received(2)).await);
    let answers: Vec<_> = world.recorded().await.iter().map(|line| line.answer).collect();
    assert_eq!(answers, [Unknown, Accepted]);
}

#[tokio::test(start_paused = true)]
async fn what_certainly_did_not_reach_m3ter_has_no_line() {
    let world = World::new();
    world.door.fail_next(&[NoAnswer::NoConnection; 20]);
    assert!(!world.is_done(&Message::of("m-1", &[good("a")])).await);
    world.door.fail_next(&[]);
    world.sandbox.add_fault(FaultRule::new(Fault::status(429)));
    assert!(!world.is_done(&Message::of("m-1", &[good("a")])).await);
    world.sandbox.clear_faults();
    assert!(world.is_done(&Message::of("m-2", &[bad("b")])).await);
    assert!(world.recorded().await.is_empty());
    assert!(world.objects.tried().iter().all(|(_, name)| name.contains("quarantine")));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_may_hide_an_acceptance_is_unknown() {
    for fault in [Fault::status(500), Fault::status(504), Fault::Truncate] {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(fault));
        assert!(!world.is_done(&Message::of("m-1", &[good("a")])).await);
        assert_eq!(world.recorded().await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_culprit_has_no_line_and_its_neighbours_say_how_many_requests_held_them() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(400)).containing(Containing::uid("canary-culprit")));
    let handled = world.deliver(&[Message::of("m-1", &[good("a"), good("b"), good("c"), good("culprit")])]).await;
    handled.counts(&[("Done", 1), ("Accepted", 3), ("Quarantined", 1), ("Recorded", 3)]);
    let lines = world.recorded().await;
    // All four, then halves, then the half with the culprit taken apart.
    assert_eq!(told(&lines)[..2], [("canary-a", Accepted, "2", 2), ("canary-b", Accepted, "2", 2)]);
    assert_eq!(told(&lines)[2].0, "canary-c");
    assert!(lines.iter().all(|line| line.uid != "canary-culprit"));
}

#[tokio::test(start_paused = true)]
async fn copies_have_one_line() {
    let world = World::new();
    let messages = [Message::of("m-1", &[good("a"), good("a")]), Message::of("m-2", &[good("a")])];
    world.deliver(&messages).await.counts(&[("Done", 2), ("Collapsed", 2), ("Recorded", 1)]);
    assert_eq!(world.recorded().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_its_ledger_nothing_is_done_that_was_sent_and_the_next_invocation_asks_the_store_first() {
    for trouble in TROUBLE {
        let world = World::new();
        world.objects.now(trouble);
        let messages = [Message::of("m-1", &[good("a"), bad("x")]), Message::of("m-2", &many("b", 5))];
        let handled = world.deliver(&messages).await;
        handled.counts(&[
            ("Returned", 2),
            ("Accepted", 6),
            ("Quarantined", 0),
            ("StoreFailed", 1),
            ("Unrecorded", 6),
            ("Recorded", 0),
        ]);
        assert_eq!(handled.line["level"], "error");
        let submitted = world.door.batches().len();
        world.deliver(&messages).await.counts(&[("Returned", 2), ("Attempts", 0), ("StoreFailed", 1)]);
        assert_eq!(world.door.batches().len(), submitted, "{trouble:?}");
        world.objects.now(Puts::Work);
        world.deliver(&messages).await.counts(&[("Done", 2), ("Accepted", 6), ("Quarantined", 1), ("Recorded", 6)]);
        assert_eq!(world.ledger().totals.ingested, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_at_best_effort_holds_up_nothing_and_says_what_it_lost() {
    for trouble in TROUBLE {
        let world = kept(LedgerMode::Full, LedgerWrite::BestEffort);
        world.objects.now(trouble);
        for message in ["m-1", "m-2"] {
            let handled = world.deliver(&[Message::of(message, &many(message, 5))]).await;
            handled.counts(&[("Done", 1), ("Accepted", 5), ("StoreFailed", 0), ("Unrecorded", 5), ("Recorded", 0)]);
            assert_eq!(handled.line["level"], "warn");
        }
        world.objects.now(Puts::Work);
        world.deliver(&[Message::of("m-3", &many("m-3", 5))]).await.counts(&[("Done", 1), ("Recorded", 5), ("Unrecorded", 0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn mode_uids_holds_no_usage_data() {
    let world = kept(LedgerMode::Uids, LedgerWrite::Required);
    assert!(world.is_done(&Message::of("m-1", &[good("a")])).await);
    let lines = world.recorded().await;
    let line = &lines[0];
    assert_eq!((line.uid.as_str(), line.answer), ("canary-a", Accepted));
    assert!(line.meter.is_none() && line.account.is_none() && line.ts.is_none() && line.measurement.is_none());
}

#[tokio::test(start_paused = true)]
async fn mode_off_writes_nothing() {
    let world = kept(LedgerMode::Off, LedgerWrite::Required);
    world.objects.now(Puts::Fail);
    world.deliver(&[Message::of("m-1", &[good("a")])]).await.counts(&[("Done", 1), ("Recorded", 0), ("Unrecorded", 0)]);
    assert!(world.objects.tried().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_put_on_the_queue_again_says_on_whose_behalf() {
    let world = World::new();
    let replayed = Message::of("m-1", &[good("a")]).attribute("usage-relay-origin", "replay:canary-qid");
    let odd = Message::of("m-2", &[good("b")]).attribute("usage-relay-origin", "whoever");
    assert!(world.deliver(&[replayed, odd]).await.returned.is_empty());
    let lines = world.recorded().await;
    let origins: Vec<_> = lines.iter().map(|line| line.origin.as_ref().map(|origin| (&*origin.kind, &*origin.of))).collect();
    assert_eq!(origins, [Some(("replay", "canary-qid")), None]);
}
