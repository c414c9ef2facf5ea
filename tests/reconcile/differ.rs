//! One side has what the other has not: what explains it, and what does not.

use m3ter_sandbox::{Category, Choices, MeterRequest, RejectedUid};
use relay_store::{LedgerAnswer, LedgerMode};
use serde_json::{Value, json};
use watch::reconcile::{ReconcileError, next_night, nightly};

use crate::world::{DAY, HOUR_MS, NOW_MS, SENT_MS, To, World, api, soon, told};

fn unknown_meter(uid: &str) -> Value {
    json!({"uid": uid, "meter": "nothing", "account": "acme", "ts": "2026-11-20T10:00:00Z", "measure": {"calls": 4}})
}

#[tokio::test(start_paused = true)]
async fn a_later_rejection_explains_what_m3ter_lacks_and_a_replay_settles_it() {
    let world = World::with(Choices { rejected_uid: RejectedUid::Free, ..Choices::default() });
    let one = unknown_meter("1");
    world.send(&[one.clone(), api("2", "acme", json!(1))]).await;
    let report = world.day().await;
    assert_eq!(told(&report), ["nothing acme 2026-11-20 - -1 -1", "nothing acme 2026-11-20 calls -4 -4"]);
    assert_eq!(report.unknown_meters, ["nothing"]);
    let qid = world.reject(&one, "UndefinedMeter", SENT_MS + 1).await;
    let report = world.day().await;
    assert_eq!(
        told(&report),
        ["nothing acme 2026-11-20 - -1 0 1 UndefinedMeter 1", "nothing acme 2026-11-20 calls -4 0 1 UndefinedMeter 4"]
    );
    assert_eq!((report.totals.explained, report.totals.unexplained), (2, 0));
    assert_eq!(report.rows[0].explained_by[0].uids, ["1"]);
    create(&world);
    world.send_at(SENT_MS + HOUR_MS, To::Both, Some(&format!("replay:{qid}")), &[one]).await;
    let report = world.day().await;
    assert_eq!((report.totals.rows, report.totals.agree), (5, 5), "{:?}", told(&report));
}

#[tokio::test(start_paused = true)]
async fn what_the_watch_quarantines_explains_what_m3ter_lacks() {
    let world = World::new();
    let lacks_bytes = json!({
        "uid": "2", "meter": "api", "account": "acme", "ts": "2026-11-20T11:00:00.250+00:00", "measure": {"calls": 2.50},
        "what": {"region": "eu"},
    });
    world.send(&[unknown_meter("1"), lacks_bytes, api("3", "acme", json!(1))]).await;
    assert_eq!(world.day().await.totals.unexplained, 4);
    world.watch().await;
    let report = world.day().await;
    assert_eq!(
        told(&report),
        [
            "api acme 2026-11-20 - -1 0 1 MissingField 1",
            "api acme 2026-11-20 calls -2.5 0 1 MissingField 2.5",
            "nothing acme 2026-11-20 - -1 0 1 UndefinedMeter 1",
            "nothing acme 2026-11-20 calls -4 0 1 UndefinedMeter 4",
        ]
    );
    assert!(report.horizon.events_read_to.is_some() && report.is_whole);
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_m3ter_dropped_is_missing_until_its_rejection_is_known() {
    let world = World::with(Choices { rejected_uid: RejectedUid::Keep, ..Choices::default() });
    let one = unknown_meter("1");
    world.send(std::slice::from_ref(&one)).await;
    let qid = world.reject(&one, "UndefinedMeter", SENT_MS + 1).await;
    create(&world);
    world.send_at(SENT_MS + HOUR_MS, To::Both, Some(&format!("replay:{qid}")), std::slice::from_ref(&one)).await;
    assert_eq!(told(&world.day().await), ["nothing acme 2026-11-20 - -1 -1", "nothing acme 2026-11-20 calls -4 -4"]);
    world.reject(&one, "ReplayDropped", SENT_MS + HOUR_MS + 1).await;
    assert_eq!(told(&world.day().await)[1], "nothing acme 2026-11-20 calls -4 0 1 ReplayDropped 4");
}

fn create(world: &World) {
    world.sandbox.create_meter(MeterRequest::new("nothing").field(Category::Measure, "calls")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_difference_that_was_planted_is_found_on_either_side() {
    let world = World::new();
    world.send(&[api("1", "acme", json!(1)), api("2", "beta", json!(2))]).await;
    world.send_at(SENT_MS, To::LedgerAlone, None, &[api("3", "acme", json!(0.5))]).await;
    world.send_at(SENT_MS, To::M3terAlone, None, &[api("4", "beta", json!(7))]).await;
    let report = world.day().await;
    assert_eq!(
        told(&report),
        [
            "api acme 2026-11-20 - -1 -1",
            "api acme 2026-11-20 bytes -100 -100",
            "api acme 2026-11-20 calls -0.5 -0.5",
            "api beta 2026-11-20 - 1 1",
            "api beta 2026-11-20 bytes 100 100",
            "api beta 2026-11-20 calls 7 7",
        ]
    );
    assert_eq!((report.totals.rows, report.totals.unexplained), (6, 6));
}

#[tokio::test(start_paused = true)]
async fn what_m3ter_counted_though_it_is_said_to_have_rejected_it_is_found() {
    let world = World::new();
    let one = api("1", "acme", json!(1));
    world.send(std::slice::from_ref(&one)).await;
    world.reject(&one, "MissingField", SENT_MS + 1).await;
    let report = world.day().await;
    assert_eq!(told(&report)[0], "api acme 2026-11-20 - 0 1 1 MissingField 1");
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_within_the_hour_or_since_events_were_read_may_still_be_missing() {
    let world = World::new();
    world.send_at(NOW_MS - HOUR_MS + 1, To::LedgerAlone, None, &[api("1", "acme", json!(1))]).await;
    world.send_at(NOW_MS - HOUR_MS, To::LedgerAlone, None, &[api("2", "beta", json!(1))]).await;
    let counts = |report: &watch::reconcile::Report| (report.totals.explained, report.totals.unexplained);
    let report = world.day().await;
    assert_eq!((told(&report)[0].as_str(), counts(&report)), ("api acme 2026-11-20 - -1 0 1 NotSettledYet 1", (3, 3)));
    let cursor = json!({"read_to": NOW_MS - 2 * HOUR_MS});
    world.store.put_document("watch/v1/cursor.json", &cursor, soon()).await.unwrap();
    let report = world.day().await;
    assert_eq!((counts(&report), report.horizon.events_read_to.as_deref()), ((6, 0), Some("2026-11-22T00:00:00Z")));
    assert_eq!(report.horizon.settled_until, "2026-11-21T23:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn what_was_never_answered_explains_only_what_m3ter_has_more() {
    let world = World::new();
    let (arrived, lost) = (api("1", "acme", json!(3)), api("2", "acme", json!(5)));
    world.send_at(SENT_MS, To::M3terAlone, None, std::slice::from_ref(&arrived)).await;
    world.record(LedgerMode::Full, SENT_MS, LedgerAnswer::Unknown, None, &[arrived, lost]).await;
    let report = world.day().await;
    assert_eq!(told(&report)[2], "api acme 2026-11-20 calls 3 0 2 Unanswered 8");
    assert_eq!((report.totals.measurements, report.totals.explained), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn of_two_contents_the_earliest_counts_and_the_contest_is_told() {
    let world = World::new();
    let (first, second) = (api("1", "acme", json!(3)), api("1", "beta", json!(5)));
    world.send_at(SENT_MS, To::Both, None, &[first]).await;
    world.send_at(SENT_MS + 1, To::Both, None, &[second]).await;
    let report = world.day().await;
    assert_eq!((report.totals.contested, report.totals.measurements, report.totals.agree), (1, 1, report.totals.rows));
    // The other way round at m3ter: both places may differ by it.
    let world = World::new();
    world.send_at(SENT_MS, To::M3terAlone, None, &[api("1", "beta", json!(5))]).await;
    world.send_at(SENT_MS, To::LedgerAlone, None, &[api("1", "acme", json!(3))]).await;
    world.send_at(SENT_MS + 1, To::LedgerAlone, None, &[api("1", "beta", json!(5))]).await;
    let report = world.day().await;
    assert_eq!((report.totals.explained, report.totals.unexplained), (6, 0), "{:?}", told(&report));
    assert_eq!(told(&report)[2], "api acme 2026-11-20 calls -3 0 1 SeveralContents 3");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_without_measurements_is_no_agreement() {
    let world = World::new();
    world.record(LedgerMode::Uids, SENT_MS, LedgerAnswer::Accepted, None, &[api("1", "acme", json!(3))]).await;
    let error = world.ask(&crate::world::about(DAY, "2026-11-21")).await.unwrap_err();
    assert!(matches!(error, ReconcileError::NoMeasurements { lines: 1 }));
    world.send(&[api("2", "acme", json!(3))]).await;
    let report = world.day().await;
    assert_eq!((report.is_whole, report.totals.lines_without_measurement, report.totals.agree), (false, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn the_night_keeps_its_report_in_the_store_and_counts_what_is_unexplained() {
    let world = World::new();
    world.send(&[api("1", "acme", json!(1))]).await;
    world.send_at(SENT_MS, To::LedgerAlone, None, &[api("2", "acme", json!(1))]).await;
    let night = next_night(0, NOW_MS).unwrap();
    let done = nightly(&world.session(), &world.store, night, NOW_MS, soon()).await.unwrap();
    assert_eq!((done.day.to_string().as_str(), done.counts.unexplained, done.is_whole), (DAY, 3, true));
    let kept: Value = world.store.document("watch/v1/reconcile/2026-11-20.json").await.unwrap().unwrap();
    assert_eq!((&kept["from_day"], &kept["totals"]["unexplained"]), (&json!(DAY), &json!(3)));
    assert_eq!((&kept["rows"][2]["measure"], &kept["rows"][2]["unexplained"]), (&json!("calls"), &json!(-1)));
    let late = nightly(&world.session(), &world.store, night, NOW_MS, tokio::time::Instant::now()).await;
    assert!(matches!(late, Err(ReconcileError::TimeUp)), "{late:?}");
}
