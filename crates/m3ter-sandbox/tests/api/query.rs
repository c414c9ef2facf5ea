//! Usage queries.

use std::time::Duration;

use http::StatusCode;
use m3ter_sandbox::{Choices, Limits, Options};
use serde_json::{Value, json};

use crate::client::{Client, but, good, options};

async fn filled() -> (Client, String) {
    let client = Client::new().await;
    let one = |uid: &str, account: &str, ts: &str, method: &str, n: f64| {
        but(good(uid), json!({"account": account, "ts": ts, "what": {"method": method}, "measure": {"n": n}}))
    };
    client
        .accepted(&[
            one("1", "a", "2026-05-01T10:00:00Z", "GET", 0.1),
            one("2", "a", "2026-05-01T11:00:00+00:00", "PUT", 0.2),
            one("3", "b", "2026-05-02T10:30:00Z", "GET", 4.0),
            one("4", "b", "2026-05-01T10:59:59Z", "GET", -2.0),
            one("4", "b", "2026-05-01T10:59:59Z", "GET", 1000.0),
        ])
        .await;
    let meter = client.get("meters").await["data"][0]["id"].as_str().unwrap().to_owned();
    (client, meter)
}

async fn rows(client: &Client, query: Value) -> Value {
    let (status, body) = client.post("usage/query", query).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body["data"].clone()
}

fn aggregate(meter: &str, field: &str, kind: &str, function: &str) -> Value {
    json!([{"meterId": meter, "fieldCode": field, "fieldType": kind, "function": function}])
}

#[tokio::test(start_paused = true)]
async fn every_function_is_computed_over_what_was_ingested() {
    let (client, meter) = filled().await;
    for (field, kind, function, value) in [
        ("n", "MEASURE", "SUM", json!(2.3)),
        ("n", "MEASURE", "COUNT", json!(4)),
        ("n", "MEASURE", "MIN", json!(-2)),
        ("n", "MEASURE", "MAX", json!(4)),
        ("n", "MEASURE", "LATEST", json!(4)),
        ("n", "MEASURE", "MEAN", json!(0.575)),
        ("n", "MEASURE", "UNIQUE", json!(4)),
        ("method", "DIMENSION", "UNIQUE", json!(2)),
        ("method", "DIMENSION", "COUNT", json!(4)),
        ("method", "DIMENSION", "LATEST", json!("GET")),
        ("nothing", "MEASURE", "SUM", json!(null)),
    ] {
        let found = rows(&client, json!({"aggregations": aggregate(&meter, field, kind, function)})).await;
        let column = format!("api.{field}.{}", function.to_lowercase());
        if column == "api.n.min" || column == "api.n.max" || column == "api.n.latest" {
            assert_eq!(found[0][&column].as_f64(), value.as_f64(), "{column}");
        } else {
            assert_eq!(found, json!([{column: value}]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_are_grouped_by_account_dimension_and_time() {
    let (client, meter) = filled().await;
    let count = aggregate(&meter, "n", "MEASURE", "COUNT");
    let by_account = rows(&client, json!({"aggregations": count, "groups": [{"groupType": "ACCOUNT"}]})).await;
    let found: Vec<_> =
        by_account.as_array().unwrap().iter().map(|row| (row["accountCode"].clone(), row["api.n.count"].clone())).collect();
    assert_eq!(found, [(json!("a"), json!(2)), (json!("b"), json!(2))]);
    let by_method = json!([{"groupType": "DIMENSION", "meterId": meter, "fieldCode": "method"}]);
    let by_method = rows(&client, json!({"aggregations": count, "groups": by_method})).await;
    assert_eq!(by_method, json!([{"method": "GET", "api.n.count": 3}, {"method": "PUT", "api.n.count": 1}]));
    let by_time = json!([{"groupType": "TIME", "frequency": "HOUR"}]);
    let by_time = rows(&client, json!({"aggregations": count, "groups": by_time})).await;
    let starts: Vec<_> = by_time.as_array().unwrap().iter().map(|row| row["startTime"].as_str().unwrap()).collect();
    assert_eq!(starts, ["2026-05-01T10:00:00Z", "2026-05-01T11:00:00Z", "2026-05-02T10:00:00Z"]);
}

#[tokio::test(start_paused = true)]
async fn the_start_is_included_and_the_end_is_not() {
    let (client, meter) = filled().await;
    let count = aggregate(&meter, "n", "MEASURE", "COUNT");
    let query = json!({"startDate": "2026-05-01T10:59:59Z", "endDate": "2026-05-02T10:30:00Z", "aggregations": count});
    assert_eq!(rows(&client, query).await, json!([{"api.n.count": 2}]));
}

#[tokio::test(start_paused = true)]
async fn accounts_meters_and_dimensions_filter() {
    let (client, meter) = filled().await;
    let count = aggregate(&meter, "n", "MEASURE", "COUNT");
    let account = client.get("accounts?codes=b").await["data"][0]["id"].clone();
    assert_eq!(rows(&client, json!({"aggregations": count, "accountIds": [account]})).await, json!([{"api.n.count": 2}]));
    assert_eq!(rows(&client, json!({"aggregations": count, "meterIds": [meter]})).await, json!([{"api.n.count": 4}]));
    assert_eq!(rows(&client, json!({"aggregations": count, "meterIds": ["unknown"]})).await, json!([]));
    let filter = json!([{"meterId": meter, "fieldCode": "method", "values": ["PUT", "POST"]}]);
    assert_eq!(rows(&client, json!({"aggregations": count, "dimensionFilters": filter})).await, json!([{"api.n.count": 1}]));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_there_is_more_data() {
    let (client, _) = filled().await;
    let (_, body) = client.post("usage/query", json!({"limit": 3})).await;
    assert_eq!((body["data"].as_array().unwrap().len(), &body["hasMoreData"]), (3, &json!(true)));
    assert_eq!(body["data"][0]["uid"], "4", "the most recently received first");
    let (_, body) = client.post("usage/query", json!({"limit": 4})).await;
    assert_eq!(body["hasMoreData"], json!(false));
}

#[tokio::test(start_paused = true)]
async fn a_faulty_query_is_refused() {
    let (client, meter) = filled().await;
    for query in [
        json!({"limit": 0}),
        json!({"limit": 20_001}),
        json!({"startDate": "today"}),
        json!({"aggregations": aggregate("unknown", "n", "MEASURE", "SUM")}),
        json!({"aggregations": aggregate(&meter, "n", "MEASURE", "MEDIAN")}),
        json!({"aggregations": aggregate(&meter, "method", "DIMENSION", "SUM")}),
        json!({"groups": [{"groupType": "TIME"}]}),
        json!({"dimensionFilters": [{"meterId": meter, "fieldCode": "method", "values": []}]}),
    ] {
        assert_eq!(client.post("usage/query", query.clone()).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_queries_may_come_at_once_and_then_one_a_second() {
    let limits = Limits { query_per_second: Some(1), ..Limits::none() };
    let client = Client::with(Options { limits, ..options(Choices::default()) }).await;
    for _ in 0..10 {
        assert_eq!(client.post("usage/query", json!({})).await.0, StatusCode::OK);
    }
    assert_eq!(client.post("usage/query", json!({})).await.0, StatusCode::TOO_MANY_REQUESTS);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(client.post("usage/query", json!({})).await.0, StatusCode::OK);
}
