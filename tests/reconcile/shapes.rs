//! What m3ter's answers may look like: cut off, renamed, or of no use.

use std::collections::BTreeMap;

use m3ter_client::NotAnswered;
use m3ter_sandbox::{Credentials, Fault, FaultRule, Route};
use serde_json::{Value, json};
use watch::reconcile::ReconcileError;

use crate::world::{SENT_MS, To, World, about, api, told};

/// A measurement of each of `accounts` accounts on each of the first `days` days of November.
fn many(accounts: usize, days: usize) -> Vec<Value> {
    let pairs = (0..accounts).flat_map(|account| (1..=days).map(move |day| (account, day)));
    let one = |(account, day): (usize, usize)| {
        let mut one = api(&format!("u-{account}-{day}"), &format!("a{account}"), json!(account));
        one["ts"] = format!("2026-11-{day:02}T12:00:00Z").into();
        one
    };
    pairs.map(one).collect()
}

fn limit_to(rows: u64) -> impl Fn(&mut Value) + Send + Sync {
    move |query| query["limit"] = rows.into()
}

#[tokio::test(start_paused = true)]
async fn where_there_are_more_rows_than_m3ter_gives_days_are_halved_and_then_accounts() {
    let world = World::new();
    world.send(&many(7, 4)).await;
    world.send_at(SENT_MS, To::LedgerAlone, None, &[api("x", "a3", json!(1))]).await;
    world.way.bend_queries(limit_to(5));
    let report = world.ask(&about("2026-11-01", "2026-11-21")).await.unwrap();
    assert_eq!((report.totals.measurements, report.totals.rows, report.totals.agree), (29, 87, 84), "{:?}", report.unread);
    assert!(told(&report).iter().all(|row| row.starts_with("api a3 2026-11-20 ")));
    let queries = world.way.queries();
    let of_one_day = queries.iter().filter(|query| query["accountIds"].is_array()).count();
    assert!(of_one_day >= 8 && queries.len() > of_one_day, "{} of {}", of_one_day, queries.len());
    assert!(queries.iter().all(|query| query["limit"] == 20_000), "as many as m3ter gives at most");
}

#[tokio::test(start_paused = true)]
async fn more_than_20_000_rows_are_compared_whole() {
    let world = World::new();
    world.send(&many(1_010, 20)).await;
    let report = world.ask(&about("2026-11-01", "2026-11-21")).await.unwrap();
    assert_eq!((report.totals.measurements, report.totals.rows, report.totals.agree), (20_200, 60_600, 60_600));
    assert_eq!(world.way.queries().len(), 3, "one that was cut off, and its halves");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_large_for_m3ter_is_asked_for_in_halves() {
    let world = World::new();
    world.send(&many(2, 2)).await;
    // After the questions for the meter and for the accounts.
    let too_large = Fault::Status { status: 413, retry_after: None, body: None };
    world.sandbox.add_fault(FaultRule::new(too_large).on(Route::Api).skip(2).times(1));
    let report = world.ask(&about("2026-11-01", "2026-11-03")).await.unwrap();
    assert_eq!((report.totals.rows, report.totals.agree, report.is_whole), (12, 12, true), "{:?}", report.unread);
    assert_eq!(world.way.queries().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn columns_may_be_called_otherwise() {
    let world = World::new();
    world.send(&many(2, 2)).await;
    world.send(&[api("x", "a0", json!(1.5))]).await;
    let names: BTreeMap<&str, &str> = [
        ("accountId", "ACCOUNT_ID"),
        ("accountCode", "account_code"),
        ("startTime", "time"),
        ("api.calls.sum", "SUM(calls)"),
        ("api.calls.count", "callsCount"),
        ("api.bytes.sum", "bytes_SUM"),
        ("api.bytes.count", "count_of_bytes"),
    ]
    .into();
    world.way.bend_answers(move |answer| {
        for row in answer["data"].as_array_mut().unwrap() {
            let renamed = |(name, value): (&String, &Value)| (names[name.as_str()].to_owned(), value.clone());
            *row = row.as_object().unwrap().iter().map(renamed).collect();
        }
    });
    let report = world.ask(&about("2026-11-01", "2026-11-21")).await.unwrap();
    assert_eq!((report.totals.rows, report.totals.agree, report.is_whole), (15, 15, true), "{:?}", report.unread);
}

#[tokio::test(start_paused = true)]
async fn where_no_column_is_known_as_the_day_days_are_asked_for_one_by_one() {
    let world = World::new();
    world.send(&many(2, 2)).await;
    world.way.bend_answers(|answer| {
        for row in answer["data"].as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("startTime");
        }
    });
    let report = world.ask(&about("2026-11-01", "2026-11-05")).await.unwrap();
    assert_eq!((report.totals.rows, report.totals.agree, report.is_whole), (12, 12, true), "{:?}", report.unread);
    assert_eq!(world.way.queries().len(), 5, "four days, in two halves, of which the empty one is not halved again");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_is_told_and_its_meter_is_not_compared() {
    let world = World::new();
    world.send(&[api("1", "acme", json!(1))]).await;
    world
        .send(&[json!({"uid": "2", "meter": "visits", "account": "acme", "ts": "2026-11-20T10:00:00Z", "where": {"page": "/"}})])
        .await;
    world.way.bend_answers(|answer| {
        for row in answer["data"].as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("api.calls.sum");
        }
    });
    let report = world.day().await;
    assert_eq!((report.totals.rows, report.totals.agree, report.is_whole), (1, 1, false));
    let [unread] = report.unread.as_slice() else { panic!("{:?}", report.unread) };
    assert_eq!(unread.name, "usage of meter api");
    assert!(
        unread.expected.starts_with("expected a column with the SUM of calls; found the columns accountCode, "),
        "{unread:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_that_m3ter_does_not_take_is_told_and_stops_no_other() {
    let world = World::new();
    world.send(&[api("1", "acme", json!(1))]).await;
    world
        .send(&[json!({"uid": "2", "meter": "visits", "account": "acme", "ts": "2026-11-20T10:00:00Z", "where": {"page": "/"}})])
        .await;
    world.way.bend_queries(|query| {
        if query["aggregations"].as_array().unwrap().len() > 1 {
            query["limit"] = json!(0);
        }
    });
    let report = world.day().await;
    assert_eq!((report.totals.rows, report.totals.agree, report.is_whole), (1, 1, false));
    assert_eq!(report.unread[0].expected, "expected m3ter to take the question; it answered 400");
}

#[tokio::test(start_paused = true)]
async fn a_sum_that_m3ter_added_up_in_doubles_agrees() {
    let world = World::new();
    world.send(&[api("1", "acme", json!(0.1)), api("2", "acme", json!(0.2)), api("3", "acme", json!(-0.3))]).await;
    world.way.bend_answers(|answer| answer["data"][0]["api.calls.sum"] = json!(5.551115123125783e-17));
    let report = world.day().await;
    assert_eq!((report.totals.rows, report.totals.agree), (3, 3), "{:?}", told(&report));
}

#[tokio::test(start_paused = true)]
async fn a_m3ter_that_lets_nobody_ask_is_an_error_and_no_empty_answer() {
    let world = World::new();
    world.send(&[api("1", "acme", json!(1))]).await;
    world.sandbox.set_credentials(Credentials::new("other", "keys"));
    world.sandbox.revoke_tokens();
    let error = world.ask(&about("2026-11-20", "2026-11-21")).await.unwrap_err();
    assert!(
        matches!(error, ReconcileError::M3ter(NotAnswered::GiveUp | NotAnswered::Refused { status: 401 | 403 })),
        "{error:?}"
    );
}
