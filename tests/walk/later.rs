//! What m3ter says later: the shipped relay submits, the sandbox accepts and rejects afterwards, and the shipped job of
//! ingest-watch fetches that and acts on it, over the same store.

use std::time::Duration;

use m3ter_client::NoAnswer;
use m3ter_sandbox::{Category, Choices, EventsPer, Fault, FaultRule, MeterRequest, RejectedUid, Route};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use recovery::kept::STAGE_INGEST;
use relay_store::{Act, Entry, LedgerMode, LedgerWrite, Outcome};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use watch::pass::PassError;
use watch::round::{Job, Round, Times};

use crate::seams::{Gets, Puts};
use crate::world::{Message, Setup, World, but, good};

/// Long enough for anything here.
const LONG: Duration = Duration::from_secs(280);

/// One round of the job, now.
pub(crate) async fn round(world: &World) -> Round {
    round_with(world, LedgerMode::Full).await
}

async fn round_with(world: &World, ledger: LedgerMode) -> Round {
    let name = format!("pass-{}", world.rng.borrow_mut().u32(..));
    let (now, now_ms) = (Instant::now(), world.now_ms());
    let times = Times { pass: now + LONG / 2, chores: now + LONG, settle: now + LONG };
    let job = Job { store: &world.function.relay.store, ledger, name: &name, now_ms, times };
    job.round(&world.watching()).await.unwrap()
}

/// A measurement of a meter that nobody created.
fn of_no_meter(uid: &str) -> Value {
    but(good(uid), "meter", json!("nobody"))
}

/// Reason, stage and uid of each entry, in their order.
async fn kept(world: &World) -> Vec<(String, String)> {
    let entries = world.quarantined().await.into_iter().filter(|entry| entry.stage == STAGE_INGEST);
    let mut kept: Vec<_> = entries.map(|entry| (entry.uid.unwrap_or_default(), entry.reason)).collect();
    kept.sort();
    kept
}

fn is(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(uid, reason)| (format!("canary-{uid}"), (*reason).to_owned())).collect()
}

/// What stands in the notes of the job.
async fn acts(world: &World) -> Vec<Act> {
    let mut acts = Vec::new();
    for day in [-1, 0, 1] {
        let listed = world.function.relay.store.acts_of_day(world.now_ms() + day * 86_400_000).await.unwrap();
        let torn = world.function.relay.store.acts(listed.objects, Some, |act| acts.push(act)).await;
        assert!(torn.is_empty() && listed.unreadable.is_empty());
    }
    acts.sort_by(|one: &Act, other| (&one.event, &one.uid).cmp(&(&other.event, &other.uid)));
    acts
}

async fn entry(world: &World, uid: &str) -> Entry {
    let uid = format!("canary-{uid}");
    world.quarantined().await.into_iter().find(|entry| entry.uid.as_ref() == Some(&uid)).expect("it is in the quarantine")
}

/// A message that sends `measurement` again on behalf of `entry`, as replay does.
fn again(id: &str, measurement: &Value, entry: &Entry) -> Message {
    Message::of(id, std::slice::from_ref(measurement)).attribute("usage-relay-origin", &format!("replay:{}", entry.qid))
}

#[tokio::test(start_paused = true)]
async fn what_m3ter_rejects_later_is_in_the_quarantine_with_m3ters_reason_and_the_original() {
    let world = World::new();
    let odd = but(of_no_meter("2"), "measure", json!({"n": 1.50}));
    assert!(world.deliver(&[Message::of("m-1", &[good("1"), odd.clone()])]).await.returned.is_empty());
    let found = round(&world).await;
    assert_eq!((found.counts.events, found.counts.rejected, found.passed.unwrap().is_whole), (1, 1, true));
    assert_eq!(kept(&world).await, is(&[("2", "UndefinedMeter")]));
    let entry = entry(&world, "2").await;
    assert_eq!(entry.measurement.unwrap().get(), odd.to_string(), "as it was sent, to the digit");
    assert_eq!((entry.message_id.as_str(), entry.detail.as_str()), ("m-1", "no meter has this code: nobody"));
    assert_eq!(entry.first_sent_at, Some(world.now_ms() - 60_000), "since its message was queued");
}

#[tokio::test(start_paused = true)]
async fn each_of_m3ters_documented_reasons_is_kept_but_what_is_counted_all_the_same_is_only_noted() {
    let world = World::new();
    world.sandbox.create_account(m3ter_sandbox::AccountRequest::new("Acme Ltd")).unwrap();
    let derived = MeterRequest::new("derived").field(Category::Measure, "n").derived("d", "missing * 2");
    world.sandbox.create_meter(derived).unwrap();
    let measurements = [
        of_no_meter("undefined"),
        but(good("missing"), "measure", json!({})),
        but(good("account"), "account", json!("acme ltd")),
        but(good("calculation"), "meter", json!("derived")),
    ];
    world.deliver(&[Message::of("m-1", &measurements)]).await;
    let found = round(&world).await.counts;
    assert_eq!((found.events, found.rejected, found.calculation_errors, found.unknown_types), (4, 3, 1, 0));
    let expected = [("account", "InvalidAccountCode"), ("missing", "MissingField"), ("undefined", "UndefinedMeter")];
    assert_eq!(kept(&world).await, is(&expected));
    let noted: Vec<_> = acts(&world).await.into_iter().filter(|act| act.outcome == Outcome::Recorded).collect();
    assert_eq!((noted.len(), noted[0].r#type.as_str()), (1, "CalculationError"));
}

#[tokio::test(start_paused = true)]
async fn a_reason_that_nobody_documents_is_kept_and_counted_as_unknown() {
    let world = World::new();
    // The relay would wait until it is due. Somebody else sends it, past the relay: it is kept all the same.
    let body = json!({"measurements": [but(good("1"), "ts", json!("2026-06-01T00:05:00Z"))]}).to_string();
    world.session().submit(body.into()).await;
    assert_eq!(round(&world).await.counts.waiting, 1, "its send may be under way, and not in the ledger yet");
    advance(Duration::from_secs(960)).await;
    let found = round(&world).await.counts;
    assert_eq!((found.rejected, found.unknown_types), (1, 1));
    assert_eq!(kept(&world).await, is(&[("1", "TimestampInFuture")]));
}

#[tokio::test(start_paused = true)]
async fn each_event_is_acted_on_once_however_often_it_is_listed() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[of_no_meter("1")])]).await;
    assert_eq!(round(&world).await.counts.events, 1);
    for hours in [0, 1, 24] {
        advance(Duration::from_secs(hours * 3_600)).await;
        assert_eq!(round(&world).await.counts.events, 0, "after {hours} h");
    }
    assert_eq!((acts(&world).await.len(), kept(&world).await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn copies_of_a_measurement_that_m3ter_has_are_receipts_and_stay_out_of_the_quarantine() {
    let world = World::new();
    let message = Message::of("m-1", &[good("1")]);
    world.deliver(std::slice::from_ref(&message)).await;
    world.deliver(&[message.received(2)]).await;
    let found = round(&world).await.counts;
    assert_eq!((found.receipts, found.rejected), (1, 0));
    assert_eq!(kept(&world).await, []);
    assert_eq!(acts(&world).await[0].outcome, Outcome::Receipt);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_copy_is_found_by_its_time_long_after_the_first() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[good("1")])]).await;
    round(&world).await;
    advance(Duration::from_secs(9 * 86_400)).await;
    // A producer's own retry, from a spool: one send, made once.
    world.deliver(&[Message::of("m-2", &[good("1")]).sent_at(world.now_ms())]).await;
    let found = round(&world).await.counts;
    assert_eq!((found.receipts, found.rejected, found.waiting), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_second_content_of_a_uid_is_quarantined_as_a_conflict() {
    let world = World::new();
    let other = but(good("1"), "measure", json!({"n": 2}));
    world.deliver(&[Message::of("m-1", &[good("1")])]).await;
    advance(Duration::from_secs(7_200)).await;
    world.deliver(&[Message::of("m-2", std::slice::from_ref(&other)).received(3)]).await;
    let found = round(&world).await.counts;
    assert_eq!((found.receipts, found.rejected), (0, 1));
    assert_eq!(kept(&world).await, is(&[("1", "UidConflict")]));
    assert_eq!(entry(&world, "1").await.measurement.unwrap().get(), other.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_what_nobody_here_sent_is_kept_and_only_after_all_was_read() {
    let world = World::new();
    round(&world).await;
    advance(Duration::from_secs(60)).await;
    // Somebody else sends it first, past the relay.
    let body = json!({"measurements": [good("1")]}).to_string();
    world.session().submit(body.into()).await;
    world.deliver(&[Message::of("m-1", &[good("1")])]).await;
    let found = round(&world).await.counts;
    assert_eq!((found.waiting, found.events, found.rejected), (1, 0, 0), "a deeper look is to come");
    advance(Duration::from_secs(3_600)).await;
    let found = round(&world).await.counts;
    assert_eq!((found.waiting, found.duplicate_of_unknown), (0, 1));
    assert_eq!(kept(&world).await, is(&[("1", "DuplicateOfUnknown")]));
}

#[tokio::test(start_paused = true)]
async fn copies_of_what_was_rejected_are_one_entry() {
    for rejected_uid in [RejectedUid::Keep, RejectedUid::Free] {
        let world = World::choosing(Choices { rejected_uid, ..Choices::default() });
        let message = Message::of("m-1", &[of_no_meter("1")]);
        for receives in 1..=3 {
            world.deliver(&[message.clone().received(receives)]).await;
            advance(Duration::from_secs(1)).await;
        }
        world.deliver(&[Message::of("m-2", &[of_no_meter("1")])]).await;
        round(&world).await;
        assert_eq!(kept(&world).await, is(&[("1", "UndefinedMeter")]), "{rejected_uid:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_m3ter_drops_is_never_taken_for_a_receipt_and_one_that_it_counts_is_done() {
    for (rejected_uid, expected) in [(RejectedUid::Keep, Some("ReplayDropped")), (RejectedUid::Free, None)] {
        let world = World::choosing(Choices { rejected_uid, ..Choices::default() });
        let late = of_no_meter("1");
        world.deliver(&[Message::of("m-1", std::slice::from_ref(&late))]).await;
        round(&world).await;
        let first = entry(&world, "1").await;
        world.sandbox.create_meter(MeterRequest::new("nobody").field(Category::Measure, "n")).unwrap();
        advance(Duration::from_secs(600)).await;
        world.deliver(&[again("m-2", &late, &first)]).await;
        let found = round(&world).await.counts;
        assert_eq!((found.replay_dropped, found.receipts), (u64::from(expected.is_some()), 0), "{rejected_uid:?}");
        let newer: Vec<_> = world.quarantined().await.into_iter().filter(|entry| entry.qid != first.qid).collect();
        assert_eq!(newer.first().map(|entry| entry.reason.as_str()), expected);
        if let Some(newer) = newer.first() {
            let origin = newer.origin.as_ref().unwrap();
            assert_eq!((origin.kind.as_str(), origin.of.clone()), ("replay", first.qid.to_string()));
            assert_eq!(newer.first_sent_at, first.first_sent_at, "it was first sent then");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_is_rejected_again_is_an_entry_of_its_own() {
    let world = World::choosing(Choices { rejected_uid: RejectedUid::Free, ..Choices::default() });
    let late = of_no_meter("1");
    world.deliver(&[Message::of("m-1", std::slice::from_ref(&late))]).await;
    round(&world).await;
    let first = entry(&world, "1").await;
    advance(Duration::from_secs(600)).await;
    world.deliver(&[again("m-2", &late, &first)]).await;
    round(&world).await;
    assert_eq!(kept(&world).await, is(&[("1", "UndefinedMeter"), ("1", "UndefinedMeter")]));
}

#[tokio::test(start_paused = true)]
async fn an_event_for_a_whole_request_tells_of_each_of_its_failures() {
    let world = World::choosing(Choices { events_per: EventsPer::Request, ..Choices::default() });
    let measurements = [of_no_meter("1"), good("2"), but(good("3"), "measure", json!({}))];
    world.deliver(&[Message::of("m-1", &measurements)]).await;
    assert_eq!(round(&world).await.counts.events, 1);
    assert_eq!(kept(&world).await, is(&[("1", "UndefinedMeter"), ("3", "MissingField")]));
}

#[tokio::test(start_paused = true)]
async fn more_events_than_a_page_holds_are_all_acted_on() {
    let world = World::new();
    let measurements: Vec<Value> = (0..250).map(|number| of_no_meter(&format!("{number:03}"))).collect();
    world.deliver(&[Message::of("m-1", &measurements)]).await;
    let found = round(&world).await;
    assert_eq!((found.counts.rejected, found.passed.unwrap().is_whole), (250, true));
    assert_eq!(kept(&world).await.len(), 250);
}

#[tokio::test(start_paused = true)]
async fn without_a_ledger_rejections_are_kept_as_m3ter_gave_them_back_and_copies_are_not_judged() {
    let ledger = relay::Ledger { mode: LedgerMode::Off, write: LedgerWrite::Required };
    let world = World::with(Setup { ledger, ..Setup::default() });
    let message = Message::of("m-1", &[good("1"), of_no_meter("2")]);
    world.deliver(std::slice::from_ref(&message)).await;
    world.deliver(&[message.received(2)]).await;
    let found = round_with(&world, LedgerMode::Off).await.counts;
    assert_eq!((found.rejected, found.unjudged, found.receipts), (1, 2, 0));
    assert_eq!(entry(&world, "2").await.measurement.unwrap().get(), of_no_meter("2").to_string());
}

#[tokio::test(start_paused = true)]
async fn what_the_store_did_not_take_is_not_noted_and_the_next_round_does_it() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[of_no_meter("1")])]).await;
    world.objects.now(Puts::Fail);
    let found = round(&world).await;
    assert!(matches!(found.passed, Err(PassError::Store(_))), "{:?}", found.passed);
    assert_eq!(acts(&world).await, []);
    world.objects.now(Puts::LoseTheAnswer);
    assert!(round(&world).await.passed.is_err());
    world.objects.now(Puts::Work);
    assert_eq!(round(&world).await.counts.events, 1);
    assert_eq!(kept(&world).await, is(&[("1", "UndefinedMeter")]), "once, though it was written three times");
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_be_listed_and_logs_that_cannot_be_fetched_wait_and_are_told() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[of_no_meter("1")])]).await;
    world.sandbox.add_fault(FaultRule::new(Fault::status(403)).on(Route::Api));
    let found = round(&world).await;
    assert!(found.is_blind() && found.passed.is_err() && found.cursor_age_s == 28 * 86_400);
    world.sandbox.clear_faults();
    // The list is there, the log is not.
    world.sandbox.add_fault(FaultRule::new(Fault::status(500)).on(Route::Api).skip(1));
    let found = round(&world).await;
    assert!(found.is_blind(), "{:?}", found.passed);
    assert_eq!((found.counts.unread_logs, found.counts.events, found.cursor_age_s), (1, 0, 28 * 86_400));
    world.sandbox.clear_faults();
    assert_eq!(round(&world).await.counts.events, 1);
}

#[tokio::test(start_paused = true)]
async fn a_round_meets_a_blip_with_another_attempt() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[of_no_meter("1")])]).await;
    world.door.fail_next(&[NoAnswer::Broken, NoAnswer::NoConnection]);
    assert_eq!(round(&world).await.counts.events, 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_fails_the_round_before_anything_is_asked() {
    let world = World::new();
    world.objects.gets(Gets::Fail);
    let (now, before) = (Instant::now(), world.door.seen().len());
    let times = Times { pass: now + LONG, chores: now + LONG, settle: now + LONG };
    let job = Job { store: &world.function.relay.store, ledger: LedgerMode::Full, name: "p", now_ms: world.now_ms(), times };
    assert!(job.round(&world.watching()).await.is_err());
    assert_eq!(world.door.seen().len(), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_past_the_horizon_is_counted_as_ingested_once_and_what_was_rejected_is_not() {
    let world = World::new();
    round(&world).await;
    advance(Duration::from_secs(7_200)).await;
    round(&world).await;
    let message = Message::of("m-1", &[good("1"), good("2"), of_no_meter("3")]);
    world.deliver(std::slice::from_ref(&message)).await;
    world.deliver(&[message.received(2)]).await;
    advance(Duration::from_secs(1_800)).await;
    let found = round(&world).await;
    assert_eq!((found.ingested.len(), found.oldest_unsettled_s), (0, Some(1_800)), "not past the horizon yet");
    advance(Duration::from_secs(1_801)).await;
    let found = round(&world).await;
    assert_eq!(found.ingested.into_iter().collect::<Vec<_>>(), [("api".to_owned(), 2)]);
    advance(Duration::from_secs(3_600)).await;
    let found = round(&world).await;
    assert_eq!((found.ingested.len(), found.oldest_unsettled_s), (0, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_cursor_costs_a_repetition_and_nothing_else() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[of_no_meter("1")])]).await;
    round(&world).await;
    for torn in [None, Some("torn")] {
        let cursor = Path::from("relay/watch/v1/cursor.json");
        match torn {
            None => world.objects.inner.delete(&cursor).await.unwrap(),
            Some(text) => drop(world.objects.inner.put(&cursor, text.into()).await.unwrap()),
        }
        let found = round(&world).await;
        assert_eq!((found.counts.events, found.passed.unwrap().is_whole), (0, true));
    }
    assert_eq!(kept(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_whose_first_send_is_not_in_the_ledger_yet_waits_for_it_even_in_a_deep_look() {
    let world = World::new();
    // The first invocation died after m3ter had counted, and so did the second; their message is on its way back.
    let body = || json!({"measurements": [good("1")]}).to_string();
    world.session().submit(body().into()).await;
    world.session().submit(body().into()).await;
    let found = round(&world).await.counts;
    assert_eq!((found.waiting, found.rejected), (1, 0), "the first look is a deep one");
    advance(Duration::from_secs(400)).await;
    world.deliver(&[Message::of("m-1", &[good("1")]).received(3)]).await;
    advance(Duration::from_secs(3_600)).await;
    let found = round(&world).await.counts;
    assert_eq!((found.receipts, found.rejected, found.waiting), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn two_contents_that_were_both_rejected_are_two_entries_also_where_the_ledger_kept_only_uids() {
    for mode in [LedgerMode::Full, LedgerMode::Uids] {
        let ledger = relay::Ledger { mode, write: LedgerWrite::Required };
        let choices = Choices { rejected_uid: RejectedUid::Free, future_tolerance_s: 0, ..Choices::default() };
        let world = World::with(Setup { ledger, choices, ..Setup::default() });
        let contents = [of_no_meter("1"), but(of_no_meter("1"), "measure", json!({"n": 2}))];
        for (number, content) in contents.iter().enumerate() {
            world.deliver(&[Message::of(&format!("m-{number}"), std::slice::from_ref(content))]).await;
            advance(Duration::from_secs(100)).await;
        }
        round_with(&world, mode).await;
        let kept = world.quarantined().await;
        let mut texts: Vec<String> = kept.iter().map(|entry| entry.measurement.as_ref().unwrap().get().to_owned()).collect();
        texts.sort();
        assert_eq!(texts, contents.each_ref().map(Value::to_string), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_send_is_not_in_the_ledger_yet_is_not_taken_for_one_about_an_earlier_send() {
    let world = World::choosing(Choices { rejected_uid: RejectedUid::Free, ..Choices::default() });
    let late = of_no_meter("1");
    world.deliver(&[Message::of("m-1", std::slice::from_ref(&late))]).await;
    round(&world).await;
    let first = entry(&world, "1").await;
    advance(Duration::from_secs(600)).await;
    // The invocation that replays it is still at work: m3ter has it, the ledger has not.
    world.session().submit(json!({"measurements": [late]}).to_string().into()).await;
    let found = round(&world).await.counts;
    assert_eq!((found.waiting, found.events), (1, 0));
    world.deliver(&[again("m-2", &late, &first)]).await;
    advance(Duration::from_secs(960)).await;
    round(&world).await;
    assert_eq!(kept(&world).await, is(&[("1", "UndefinedMeter"), ("1", "UndefinedMeter")]), "the replay was rejected again");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_gone_for_good_does_not_hold_up_what_comes_after_it() {
    let world = World::new();
    world.deliver(&[Message::of("m-1", &[of_no_meter("1")])]).await;
    // A file store says 403 of what it has not.
    let gone = || FaultRule::new(Fault::status(403)).on(Route::Api).skip(1);
    world.sandbox.add_fault(gone());
    assert_eq!(round(&world).await.counts.unread_logs, 1);
    advance(Duration::from_secs(86_400)).await;
    world.sandbox.clear_faults();
    world.sandbox.add_fault(gone());
    let found = round(&world).await;
    assert_eq!((found.counts.rejected, found.passed.unwrap().is_whole), (1, true));
    assert_eq!(kept(&world).await, is(&[("1", "UndefinedMeter")]), "as the event itself tells");
}

#[tokio::test(start_paused = true)]
async fn a_producers_own_copy_after_a_rejection_makes_the_way_out_by_a_new_uid_uncertain() {
    let world = World::choosing(Choices { rejected_uid: RejectedUid::Free, ..Choices::default() });
    let late = of_no_meter("1");
    world.deliver(&[Message::of("m-1", std::slice::from_ref(&late))]).await;
    round(&world).await;
    let first = entry(&world, "1").await;
    world.sandbox.create_meter(MeterRequest::new("nobody").field(Category::Measure, "n")).unwrap();
    advance(Duration::from_secs(600)).await;
    world.deliver(&[Message::of("m-2", std::slice::from_ref(&late)).sent_at(world.now_ms())]).await;
    world.deliver(&[again("m-3", &late, &first)]).await;
    round(&world).await;
    let dropped = world.quarantined().await.into_iter().find(|entry| entry.reason == "ReplayDropped").unwrap();
    assert!(dropped.detail.contains("look with reconcile"), "the producer's copy counts: {}", dropped.detail);
}
