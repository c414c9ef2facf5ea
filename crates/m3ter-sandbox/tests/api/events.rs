//! Events and the logs behind them.

use std::time::Duration;

use http::{Method, StatusCode};
use m3ter_sandbox::{Choices, EventsPer};
use serde_json::{Value, json};

use crate::client::{Client, DAY, START, but, good};

fn bad(uid: &str) -> Value {
    but(good(uid), json!({"meter": "unknown"}))
}

fn uids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|event| event["m3terEvent"]["eventData"]["uid"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_has_its_envelope_and_a_link_for_its_log() {
    let client = Client::new().await;
    client.accepted(&[bad("a")]).await;
    let event = client.get("events").await["data"][0].clone();
    assert_eq!(
        (&event["eventName"], &event["eventTime"], &event["dtActioned"]),
        (&json!("ingest.validation.failure"), &json!(START), &json!(null))
    );
    let url = event["m3terEvent"]["eventData"]["getDownloadUrl"].as_str().unwrap();
    assert!(
        url.starts_with("http://sandbox.test/organizations/sandbox-org/measurements/failedIngest/getDownloadUrl?file="),
        "{url}"
    );
    assert_eq!(client.get(&format!("events/{}", event["id"].as_str().unwrap())).await, event);
    assert_eq!(client.call(Method::GET, "events/unknown", None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn the_log_holds_the_error_and_the_original_measurement_for_five_minutes() {
    let client = Client::new().await;
    client.accepted(&[bad("a")]).await;
    let event = client.get("events").await["data"][0].clone();
    let url = event["m3terEvent"]["eventData"]["getDownloadUrl"].as_str().unwrap();
    let link = client.get(url.strip_prefix("http://sandbox.test").unwrap()).await["url"].as_str().unwrap().to_owned();
    let link = link.strip_prefix("http://sandbox.test").unwrap();
    let log = client.get(link).await;
    assert_eq!((&log[0]["type"], &log[0]["measurement"]), (&json!("UndefinedMeter"), &bad("a")));
    assert_eq!(log[0]["error"], "no meter has this code: unknown");
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(client.call(Method::GET, link, None).await.0, StatusCode::FORBIDDEN);
    let (status, _) = client.call(Method::GET, "measurements/failedIngest/getDownloadUrl?file=other", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = client.call(Method::GET, "measurements/failedIngest/getDownloadUrl", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn events_come_newest_first_and_pages_do_not_shift_under_new_ones() {
    let client = Client::new().await;
    client.accepted(&[bad("1"), bad("2"), bad("3"), bad("4"), bad("5")]).await;
    let first = client.get("events?pageSize=2").await;
    assert_eq!(uids(&first), ["5", "4"]);
    client.accepted(&[bad("6")]).await;
    let second = client.get(&format!("events?pageSize=2&nextToken={}", first["nextToken"].as_str().unwrap())).await;
    assert_eq!(uids(&second), ["3", "2"]);
    let third = client.get(&format!("events?pageSize=2&nextToken={}", second["nextToken"].as_str().unwrap())).await;
    assert_eq!((uids(&third), &third["nextToken"]), (vec!["1"], &json!(null)));
    for query in ["pageSize=0", "pageSize=101", "nextToken=x", "includeActioned=x"] {
        assert_eq!(client.call(Method::GET, &format!("events?{query}"), None).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_filter_of_events_filters() {
    let client = Client::new().await;
    client.accepted(&[good("1"), bad("2"), good("1"), but(bad("3"), json!({"account": "other"}))]).await;
    let account = client.get("accounts").await["data"][0]["id"].as_str().unwrap().to_owned();
    let meter = client.get("meters").await["data"][0]["id"].as_str().unwrap().to_owned();
    let all = client.get("events").await;
    let id = |n: usize| all["data"][n]["id"].as_str().unwrap().to_owned();
    for (query, found) in [
        (String::new(), vec!["3", "1", "2"]),
        ("eventName=ingest.validation.failure".to_owned(), vec!["3", "1", "2"]),
        ("eventName=billing.bill.created".to_owned(), vec![]),
        ("eventType=IngestValidationFailure&includeActioned=true".to_owned(), vec!["3", "1", "2"]),
        ("eventType=Notification".to_owned(), vec![]),
        (format!("accountId={account}"), vec!["1", "2"]),
        (format!("resourceId={meter}"), vec!["1"]),
        ("accountId=unknown".to_owned(), vec![]),
        ("notificationId=x".to_owned(), vec![]),
        ("notificationCode=x".to_owned(), vec![]),
        (format!("ids={},{}", id(0), id(2)), vec!["3", "2"]),
        (format!("ids={}&ids={}", id(0), id(1)), vec!["3", "1"]),
        ("ids=unknown".to_owned(), vec![]),
        ("eventName=&ids=&accountId=".to_owned(), vec!["3", "1", "2"]),
    ] {
        assert_eq!(uids(&client.get(&format!("events?{query}")).await), found, "{query}");
    }
    let (status, _) = client.call(Method::GET, &format!("events?ids={}&eventType=x", id(0)), None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "ids cannot be used with other filters");
}

#[tokio::test(start_paused = true)]
async fn events_are_gone_after_28_days() {
    let mut client = Client::new().await;
    client.accepted(&[bad("a")]).await;
    client.sandbox.advance(DAY * 28 - Duration::from_millis(1)).unwrap();
    client.token = client.fetch_token().await;
    assert_eq!(client.get("events").await["data"].as_array().unwrap().len(), 1);
    client.sandbox.advance(Duration::from_millis(1)).unwrap();
    assert_eq!(client.get("events").await["data"], json!([]));
    assert_eq!(client.ledger().totals.rejected["UndefinedMeter"], 1, "the ledger forgets nothing");
}

#[tokio::test(start_paused = true)]
async fn own_choice_one_event_can_stand_for_a_request() {
    let client = Client::choosing(Choices { events_per: EventsPer::Request, ..Choices::default() }).await;
    client.accepted(&[good("1")]).await;
    client.accepted(&[good("1"), good("2"), bad("3")]).await;
    let events = client.get("events").await;
    assert_eq!(events["data"].as_array().unwrap().len(), 1);
    let data = &events["data"][0]["m3terEvent"]["eventData"];
    let types: Vec<&Value> = data["errors"].as_array().unwrap().iter().map(|error| &error["type"]).collect();
    assert_eq!(types, ["DuplicateUid", "UndefinedMeter"]);
    let url = data["getDownloadUrl"].as_str().unwrap().strip_prefix("http://sandbox.test").unwrap();
    let link = client.get(url).await["url"].as_str().unwrap().to_owned();
    let log = client.get(link.strip_prefix("http://sandbox.test").unwrap()).await;
    assert_eq!((&log[0]["measurement"], &log[1]["measurement"]), (&good("1"), &bad("3")));
}

#[tokio::test(start_paused = true)]
async fn types_and_fields_of_events_are_listed() {
    let client = Client::new().await;
    assert_eq!(client.get("events/types").await, json!({"events": ["ingest.validation.failure"]}));
    assert!(client.get("events/fields").await["events"]["ingest.validation.failure"].is_object());
    assert_eq!(client.get("events/fields?eventName=other").await, json!({"events": {}}));
}
