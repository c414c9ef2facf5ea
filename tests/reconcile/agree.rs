//! Both sides have the same.

use m3ter_sandbox::{AccountRequest, Category, MeterRequest};
use relay_store::{LedgerAnswer, LedgerMode};
use serde_json::{Value, json};
use watch::reconcile::{Counts, Question};

use crate::world::{SENT_MS, To, World, about, api, told};

fn job(uid: &str, ts: &str, seconds: &str) -> Value {
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    json!({
        "uid": uid, "meter": "jobs", "account": "acme", "ts": ts,
        "measure": {"seconds": number(seconds)}, "cost": {"spent": 0.1}, "income": {"earned": -0.2},
    })
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_what_m3ter_counted_to_the_last_digit() {
    let world = World::new();
    let visits =
        json!({"uid": "v", "meter": "visits", "account": "beta", "ts": "2026-11-20T23:59:59.999Z", "where": {"page": "/"}});
    world
        .send(&[
            api("1", "acme", json!(0.1)),
            api("2", "acme", json!(0.2)),
            api("3", "beta", json!(9_007_199_254_740_993_i64)),
            visits,
        ])
        .await;
    world
        .send(&[
            job("4", "2026-11-20T00:00:00Z", "0.1"),
            job("5", "2026-11-21T00:30:00+01:00", "0.2"),
            job("6", "2026-11-20T22:00:00Z", "-0.3"),
        ])
        .await;
    let report = world.ask(&Question { all_rows: true, ..about("2026-11-20", "2026-11-21") }).await.unwrap();
    let told: Vec<String> = report
        .rows
        .iter()
        .map(|row| {
            format!("{} {} {} {} {}", row.meter, row.account, row.measure.as_deref().unwrap_or("-"), row.ledger, row.m3ter)
        })
        .collect();
    assert_eq!(
        told,
        [
            "api acme - 2 2",
            "api acme bytes 200 200",
            "api acme calls 0.3 0.3",
            "api beta - 1 1",
            "api beta bytes 100 100",
            "api beta calls 9007199254740993 9007199254740993",
            "jobs acme - 3 3",
            "jobs acme earned -0.6 -0.6",
            "jobs acme seconds 0 0",
            "jobs acme spent 0.3 0.3",
            "visits beta - 1 1",
        ]
    );
    assert!(report.is_whole && report.unread.is_empty());
    assert_eq!(report.totals, Counts { measurements: 7, rows: 11, agree: 11, ..Counts::default() });
    assert_eq!((report.horizon.ledger_objects, report.horizon.events_read_to.as_deref()), (2, None));
    assert_eq!(report.horizon.read_from, "2026-11-19T23:00:00Z", "fifteen minutes before the day, in whole hours");
}

#[tokio::test(start_paused = true)]
async fn copies_count_once_on_both_sides() {
    let world = World::new();
    let one = api("1", "acme", json!(5));
    for _ in 0..3 {
        world.send(std::slice::from_ref(&one)).await;
    }
    world.record(LedgerMode::Full, SENT_MS, LedgerAnswer::Unknown, None, &[one]).await;
    let report = world.day().await;
    assert_eq!((report.totals.measurements, report.totals.agree, report.totals.rows), (1, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn only_the_days_meters_and_accounts_that_are_asked_for_are_compared() {
    let world = World::new();
    let other_day = |uid: &str, ts: &str| {
        let mut one = api(uid, "acme", json!(1));
        one["ts"] = ts.into();
        one
    };
    world
        .send(&[
            api("1", "acme", json!(1)),
            api("2", "beta", json!(2)),
            other_day("3", "2026-11-21T00:00:00Z"),
            other_day("4", "2026-11-19T23:59:59Z"),
        ])
        .await;
    world.send(&[job("5", "2026-11-20T10:00:00Z", "1")]).await;
    // Planted where it must not be seen.
    world.send_at(SENT_MS, To::LedgerAlone, None, &[api("6", "beta", json!(7)), job("7", "2026-11-20T10:00:00Z", "1")]).await;
    let mut question = about("2026-11-20", "2026-11-21");
    question.meters = ["api".to_owned()].into();
    question.accounts = ["acme".to_owned()].into();
    let report = world.ask(&question).await.unwrap();
    assert_eq!((report.totals.measurements, report.totals.rows, report.totals.agree), (1, 3, 3));
    assert_eq!((report.meters, report.accounts), (vec!["api".to_owned()], vec!["acme".to_owned()]));
    assert!(world.way.queries().iter().all(|query| query["accountIds"].as_array().is_some_and(|ids| ids.len() == 1)));
    question.accounts = ["nobody".to_owned()].into();
    let report = world.ask(&question).await.unwrap();
    assert_eq!((report.totals.rows, told(&report).len()), (0, 0), "an account that nobody knows is not every account");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_the_ledger_does_not_hold_is_called_by_its_code() {
    let world = World::new();
    world.sandbox.create_account(AccountRequest::new("gamma")).unwrap();
    world.send(&[api("1", "acme", json!(1))]).await;
    world.send_at(SENT_MS, To::M3terAlone, None, &[api("2", "gamma", json!(3))]).await;
    // Rows that name accounts by id alone.
    world.way.bend_answers(|answer| {
        for row in answer["data"].as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("accountCode");
        }
    });
    let report = world.day().await;
    assert_eq!(
        told(&report),
        ["api gamma 2026-11-20 - 1 1", "api gamma 2026-11-20 bytes 100 100", "api gamma 2026-11-20 calls 3 3"]
    );
}

#[tokio::test(start_paused = true)]
async fn codes_with_a_comma_are_no_two_codes() {
    let world = World::new();
    world.sandbox.create_meter(MeterRequest::new("a,b").field(Category::Measure, "calls")).unwrap();
    let one = |uid: &str, meter: &str, account: &str| {
        let mut one = api(uid, account, json!(1));
        one["meter"] = meter.into();
        one
    };
    world.send(&[one("1", "a,b", "x,y"), one("2", "a,b", "acme"), one("3", "api", "x,y")]).await;
    let mut question = about("2026-11-20", "2026-11-21");
    let report = world.ask(&question).await.unwrap();
    assert_eq!((report.totals.rows, report.totals.agree, report.unknown_meters.len()), (7, 7, 0), "{:?}", told(&report));
    question.accounts = ["x,y".to_owned()].into();
    let report = world.ask(&question).await.unwrap();
    assert_eq!((report.totals.rows, report.totals.agree), (5, 5), "{:?}", told(&report));
    assert_eq!(report.unconfigured.len(), 1, "bytes of a,b");
}

#[tokio::test(start_paused = true)]
async fn a_day_without_anything_is_a_report_without_rows_and_asks_m3ter_nothing() {
    let world = World::new();
    let report = world.day().await;
    assert_eq!((report.totals.rows, report.horizon.ledger_objects_listed, report.is_whole), (0, 0, true));
    assert!(world.way.queries().is_empty());
}
