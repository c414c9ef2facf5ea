//! The checks after acceptance, and what is counted.

use std::time::Duration;

use m3ter_sandbox::{AccountRequest, Category, Choices, FutureTs, MeterRequest, Number, RejectedUid};
use serde_json::json;

use crate::client::{Client, DAY, but, good};

#[tokio::test(start_paused = true)]
async fn each_failure_has_its_type_and_only_a_calculation_error_is_ingested() {
    let client = Client::new().await;
    client
        .sandbox
        .create_meter(MeterRequest::new("derived").field(Category::Measure, "n").derived("twice", "n * factor"))
        .unwrap();
    client.sandbox.create_account(AccountRequest::new("Acme-Corp")).unwrap();
    client
        .accepted(&[
            good("1"),
            good("1"),
            but(good("2"), json!({"meter": "unknown"})),
            but(good("3"), json!({"measure": {}})),
            but(good("4"), json!({"cost": {"method": 1}})),
            but(good("5"), json!({"account": "acme corp"})),
            but(good("6"), json!({"ts": "2026-06-01T00:01:00.001Z"})),
            but(good("7"), json!({"meter": "derived", "account": "Acme-Corp"})),
        ])
        .await;
    let types = [
        "DuplicateUid",
        "UndefinedMeter",
        "MissingField",
        "DuplicateField",
        "InvalidAccountCode",
        "TimestampInFuture",
        "CalculationError",
    ];
    assert_eq!(client.event_types().await, types);
    let totals = client.ledger().totals;
    assert_eq!((totals.accepted, totals.ingested, totals.duplicates), (8, 2, 1));
    assert_eq!(totals.rejected.values().sum::<u64>(), 5);
    assert_eq!(totals.ingested_with_error["CalculationError"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_uid_is_known_for_35_days_from_its_first_receipt() {
    let client = Client::new().await;
    client.accepted(&[good("a")]).await;
    client.sandbox.advance(DAY * 34).unwrap();
    let mut client = client;
    client.token = client.fetch_token().await;
    client.accepted(&[good("a")]).await;
    assert_eq!(client.ledger().totals.duplicates, 1, "a later copy is dropped, and does not renew the window");
    client.sandbox.advance(DAY).unwrap();
    client.token = client.fetch_token().await;
    client.accepted(&[good("a")]).await;
    let totals = client.ledger().totals;
    assert_eq!((totals.ingested, totals.duplicates), (2, 1), "after 35 days it is billed again");
}

#[tokio::test(start_paused = true)]
async fn own_choice_uids_are_unique_in_the_organisation_not_in_a_meter() {
    let client = Client::new().await;
    client.sandbox.create_meter(MeterRequest::new("other").field(Category::Measure, "n")).unwrap();
    client.accepted(&[good("a"), but(good("a"), json!({"meter": "other"}))]).await;
    assert_eq!(client.event_types().await, ["DuplicateUid"]);
}

#[tokio::test(start_paused = true)]
async fn own_choice_the_uid_of_a_rejected_measurement_is_kept_or_freed() {
    for (rejected_uid, ingested) in [(RejectedUid::Keep, 0), (RejectedUid::Free, 1)] {
        let client = Client::choosing(Choices { rejected_uid, ..Choices::default() }).await;
        client.accepted(&[but(good("a"), json!({"meter": "unknown"}))]).await;
        client.accepted(&[good("a")]).await;
        assert_eq!(client.ledger().totals.ingested, ingested, "{rejected_uid:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn own_choice_a_measurement_without_uid_is_ingested_and_never_a_duplicate() {
    let client = Client::new().await;
    let nameless = but(good("x"), json!({"uid": null}));
    client.accepted(&[nameless.clone(), nameless.clone()]).await;
    client.accepted(&[nameless]).await;
    assert_eq!(client.ledger().totals.ingested, 3);
}

#[tokio::test(start_paused = true)]
async fn own_choice_a_future_ts_can_be_ingested() {
    let client = Client::choosing(Choices { future_ts: FutureTs::Ingest, ..Choices::default() }).await;
    client.accepted(&[but(good("a"), json!({"ts": "2036-06-01T00:00:00Z"}))]).await;
    assert_eq!(client.ledger().totals.ingested, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_account_becomes_a_skeleton_account() {
    let client = Client::new().await;
    client.accepted(&[but(good("a"), json!({"account": "new one"}))]).await;
    let accounts = client.get("accounts?codes=new%20one").await;
    assert_eq!((&accounts["data"][0]["name"], &accounts["data"][0]["code"]), (&json!("new one-autocreated"), &json!("new one")));
    client.accepted(&[but(good("b"), json!({"account": "NEW_ONE"}))]).await;
    assert_eq!(client.event_types().await, ["InvalidAccountCode"], "a skeleton account is matched closely too");
    assert_eq!(client.get("accounts").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_measurement_creates_no_account() {
    let client = Client::new().await;
    client.accepted(&[but(good("a"), json!({"meter": "unknown"}))]).await;
    assert_eq!(client.get("accounts").await["data"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_field_in_the_wrong_category_counts_as_missing() {
    let client = Client::new().await;
    client.accepted(&[but(good("a"), json!({"measure": {}, "cost": {"n": 1}}))]).await;
    assert_eq!(client.event_types().await, ["MissingField"]);
}

#[tokio::test(start_paused = true)]
async fn fields_that_the_meter_does_not_have_are_stored_and_counted() {
    let client = Client::new().await;
    client.accepted(&[but(good("a"), json!({"measure": {"n": 1, "more": 2}, "who": {"x": "y"}}))]).await;
    assert_eq!(client.ledger().meters["api"].sums["more"], Number::from(2));
}

#[tokio::test(start_paused = true)]
async fn sums_are_exact_for_each_field_and_count_what_was_ingested_only() {
    let client = Client::new().await;
    let with = |uid: &str, account: &str, n: &str, cost: &str| {
        let text = format!(r#"{{"n":{n}}}"#);
        let cost = format!(r#"{{"c":{cost}}}"#);
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        but(good(uid), json!({"account": account, "measure": parse(&text), "cost": parse(&cost)}))
    };
    client.accepted(&[with("1", "a", "2147483647", "0.1"), with("2", "b", "599998858", "0.2"), with("1", "c", "5", "5")]).await;
    let shown = client.get("/_sandbox/ledger").await;
    assert_eq!(shown["meters"]["api"].to_string(), r#"{"accounts":2,"count":2,"sums":{"cost.c":0.3,"n":2747482505}}"#);
    let ledger = client.ledger();
    assert_eq!(ledger.meters["api"].sums["cost.c"], Number::parse("0.3").unwrap());
    let again: m3ter_sandbox::Ledger = serde_json::from_value(shown).unwrap();
    assert_eq!(again.meters, ledger.meters);
}

#[tokio::test(start_paused = true)]
async fn the_later_checks_can_come_later_and_see_what_is_there_by_then() {
    let client = Client::choosing(Choices { enrichment_delay_ms: 10_000, ..Choices::default() }).await;
    client.accepted(&[good("a"), good("a"), but(good("b"), json!({"meter": "late"}))]).await;
    assert_eq!(client.ledger().totals.pending, 3);
    client.sandbox.create_meter(MeterRequest::new("late").field(Category::Measure, "n")).unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    let totals = client.ledger().totals;
    assert_eq!((totals.pending, totals.ingested, totals.duplicates), (0, 2, 1));
    assert_eq!(client.get("events").await["data"][0]["eventTime"], "2026-06-01T00:00:10Z");
}

#[tokio::test(start_paused = true)]
async fn own_choice_any_meter_can_be_taken() {
    let client = Client::choosing(Choices { any_meter: true, ..Choices::default() }).await;
    client.accepted(&[but(good("a"), json!({"meter": "whatever"}))]).await;
    assert_eq!(client.ledger().meters["whatever"].count, 1);
    assert_eq!(client.get("meters?codes=whatever").await["data"][0]["name"], "whatever-autocreated");
}
