//! What becomes of the rows of a file: the checks, the one memory of uids, the events and the books.

use std::time::Duration;

use m3ter_sandbox::{Choices, EventsPer, FailedRows, FutureTs, Ledger, LedgerQuery, RejectedUid, State, UploadRows};
use serde_json::{Value, json};

use crate::client::{Client, DAY, but, good};
use crate::uploads::{standing, two_a_second};

#[tokio::test(start_paused = true)]
async fn a_file_and_the_api_share_one_memory_of_uids_both_ways() {
    for delay in [0, 60_000] {
        let client = Client::choosing(Choices { enrichment_delay_ms: delay, ..Choices::default() }).await;
        client.accepted(&[good("a"), good("b")]).await;
        client.upload(&[good("b"), good("c"), good("c")]).await;
        client.accepted(&[good("c"), good("d")]).await;
        client.upload(&[good("d"), good("e")]).await;
        tokio::time::advance(Duration::from_millis(delay)).await;
        let ledger = client.ledger();
        assert_eq!((ledger.totals.received, ledger.totals.accepted), (9, 9));
        assert_eq!((ledger.totals.ingested, ledger.totals.duplicates), (5, 4));
        assert_eq!(ledger.meters["api"].count, 5);
        assert_eq!(ledger.totals.requests, 2, "an upload is no ingest request");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_is_received_when_it_is_processed_and_its_uid_kept_for_35_days_from_then() {
    let mut client = Client::with(two_a_second(Choices::default())).await;
    client.upload(&[good("a"), good("b")]).await;
    client.accepted(&[good("b")]).await;
    client.sandbox.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(client.ledger().totals.duplicates, 1, "the API was faster");
    client.sandbox.advance(DAY * 35 - Duration::from_secs(1)).unwrap();
    client.token = client.fetch_token().await;
    client.accepted(&[good("a"), good("b")]).await;
    let totals = client.ledger().totals;
    assert_eq!((totals.ingested, totals.duplicates), (3, 2), "half a second more, for the row that came after half a second");
}

#[tokio::test(start_paused = true)]
async fn a_row_is_checked_further_as_a_measurement_of_a_request_is() {
    let client = Client::new().await;
    let bad = [
        but(good("1"), json!({"meter": "none"})),
        but(good("2"), json!({"measure": {}})),
        but(good("3"), json!({"measure": {"n": 1, "method": 1}})),
        but(good("4"), json!({"account": "AC-ME"})),
        but(good("5"), json!({"ts": "2026-06-01T00:02:00Z"})),
    ];
    let id = client.upload(&[&[good("0")], &bad[..], &[but(good("6"), json!({"account": "other"}))]].concat()).await;
    assert_eq!(client.standing(&id).await, standing("succeeded", [7, 7, 0]), "those are no failed rows");
    let types = ["UndefinedMeter", "MissingField", "DuplicateField", "InvalidAccountCode", "TimestampInFuture"];
    assert_eq!(client.event_types().await, types);
    let ledger = client.ledger();
    assert_eq!((ledger.totals.ingested, ledger.meters["api"].accounts), (2, 2));
    assert_eq!(client.get("accounts?codes=other").await["data"][0]["name"], "other-autocreated");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_breaks_the_schema_fails_alone_and_is_an_event_with_a_log() {
    let client = Client::new().await;
    let rows = [good("a"), json!(5), but(good("b"), json!({"meter": ""})), good("c")];
    let id = client.upload(&rows).await;
    assert_eq!(client.standing(&id).await, standing("succeeded", [4, 4, 2]));
    assert_eq!(client.event_types().await, ["InvalidMeasurement", "InvalidMeasurement"]);
    let totals = client.ledger().totals;
    assert_eq!((totals.received, totals.accepted, totals.ingested), (4, 2, 2));
    let events = client.get("events").await;
    let data = &events["data"][0]["m3terEvent"]["eventData"];
    assert_eq!(
        data["message"],
        "the row is no measurement: meter: expected 1 to 80 characters, no control characters, no space at either end"
    );
    let log = log_of(&client, data).await;
    assert_eq!((&log[0]["type"], &log[0]["measurement"]), (&json!("InvalidMeasurement"), &rows[2]));
    let data = &events["data"][1]["m3terEvent"]["eventData"];
    assert_eq!(log_of(&client, data).await[0]["measurement"], json!(5));
    client.accepted(&[good("b")]).await;
    assert_eq!(client.ledger().totals.duplicates, 0, "its uid was never received");
}

async fn log_of(client: &Client, data: &Value) -> Value {
    let url = data["getDownloadUrl"].as_str().unwrap().strip_prefix("http://sandbox.test").unwrap();
    let link = client.get(url).await;
    client.get(link["url"].as_str().unwrap().strip_prefix("http://sandbox.test").unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn failed_rows_may_be_all_that_were_not_ingested() {
    for (failed_rows, failed) in [(FailedRows::Invalid, 1), (FailedRows::NotIngested, 3)] {
        let client = Client::choosing(Choices { failed_rows, ..Choices::default() }).await;
        let rows = [good("a"), good("a"), but(good("b"), json!({"meter": "none"})), json!({}), good("c")];
        let id = client.upload(&rows).await;
        assert_eq!(client.standing(&id).await, standing("succeeded", [5, 5, failed]));
        assert_eq!(client.event_types().await, ["DuplicateUid", "UndefinedMeter", "InvalidMeasurement"]);
    }
}

#[tokio::test(start_paused = true)]
async fn it_may_be_all_or_nothing() {
    let choices = Choices { upload_rows: UploadRows::AllOrNothing, ..Choices::default() };
    let client = Client::choosing(choices).await;
    let failed = client.upload(&[good("a"), json!({}), json!([])]).await;
    assert_eq!(client.standing(&failed).await, standing("failed", [3, 0, 2]));
    assert_eq!(client.line(&failed).fault.as_deref(), Some("2 rows break the schema, and it is all or nothing"));
    assert_eq!(client.event_types().await, ["InvalidMeasurement", "InvalidMeasurement"]);
    let fine = client.upload(&[good("a"), but(good("b"), json!({"meter": "none"}))]).await;
    assert_eq!(client.standing(&fine).await, standing("succeeded", [2, 2, 0]), "later checks stop no file");
    let totals = client.ledger().totals;
    assert_eq!((totals.received, totals.accepted, totals.ingested), (5, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_no_array_fails_as_a_whole_when_its_turn_comes() {
    let client = Client::with(two_a_second(Choices::default())).await;
    client.upload(&[good("a"), good("b")]).await;
    let one = good("c");
    let files = [one.to_string(), format!("{{\"measurements\":[{one}]}}"), format!("[{one}"), format!("[{one},{{\"a\":}}]")];
    let mut failed = Vec::new();
    for file in &files {
        failed.push(client.upload_raw(file).await);
    }
    let last = client.upload(&[good("d")]).await;
    assert_eq!(client.standing(&failed[0]).await, standing("running", [0, 0, 0]));
    tokio::time::advance(Duration::from_secs(1)).await;
    for (id, file) in failed.iter().zip(&files) {
        assert_eq!(client.standing(id).await, standing("failed", [0, 0, 0]), "{file}");
        assert!(client.line(id).fault.unwrap().starts_with("expected"), "{file}");
    }
    assert_eq!(client.standing(&last).await.0, "running", "a failed job costs the next no time");
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(client.standing(&last).await.0, "succeeded");
    assert_eq!((client.ledger().totals.ingested, client.event_types().await.len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn failures_of_a_job_may_be_one_event_at_its_end() {
    let choices = Choices { events_per: EventsPer::Request, ..Choices::default() };
    let client = Client::with(two_a_second(choices)).await;
    client.upload(&[json!(null), but(good("a"), json!({"meter": "none"})), good("b")]).await;
    tokio::time::advance(Duration::from_millis(1_400)).await;
    assert_eq!(client.get("events").await["data"], json!([]));
    tokio::time::advance(Duration::from_millis(100)).await;
    let events = client.get("events").await;
    let errors = events["data"][0]["m3terEvent"]["eventData"]["errors"].as_array().unwrap();
    let types: Vec<&str> = errors.iter().map(|error| error["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["InvalidMeasurement", "UndefinedMeter"]);
    assert_eq!(events["data"][0]["eventTime"], "2026-06-01T00:00:01.5Z");
}

#[tokio::test(start_paused = true)]
async fn choices_hold_for_rows_as_for_requests() {
    let future = but(good("a"), json!({"ts": "2026-06-01T00:02:00Z"}));
    let client = Client::choosing(Choices { future_ts: FutureTs::Refuse, ..Choices::default() }).await;
    let id = client.upload(&[future, good("b")]).await;
    assert_eq!(client.standing(&id).await, standing("succeeded", [2, 2, 1]));
    for (rejected_uid, ingested) in [(RejectedUid::Keep, 0), (RejectedUid::Free, 1)] {
        let client = Client::choosing(Choices { rejected_uid, ..Choices::default() }).await;
        client.upload(&[but(good("a"), json!({"meter": "none"}))]).await;
        client.upload(&[good("a")]).await;
        assert_eq!(client.ledger().totals.ingested, ingested);
    }
}

#[tokio::test(start_paused = true)]
async fn the_ledger_and_queries_read_rows_from_their_file() {
    let client = Client::new().await;
    client.accepted(&[good("a")]).await;
    let row = but(good("b"), json!({"account": "ümlaut", "measure": {"n": 2.5}}));
    let id = client.upload(&[good("a"), row.clone()]).await;
    let ledger = client.sandbox.ledger_of(&LedgerQuery { measurements: true, ..LedgerQuery::default() });
    let lines = ledger.measurements.unwrap();
    let places: Vec<_> = lines.iter().map(|line| (line.request, line.job.clone(), line.state)).collect();
    assert_eq!(
        places,
        [(Some(0), None, State::Ingested), (None, Some(id.clone()), State::Duplicate), (None, Some(id), State::Ingested)]
    );
    assert_eq!(serde_json::from_str::<Value>(lines[2].measurement.get()).unwrap(), row);
    let again: Ledger = serde_json::from_value(client.get("/_sandbox/ledger").await).unwrap();
    assert_eq!(again.uploads, ledger.uploads, "and it is read back as it is shown");
    let meter = client.get("meters").await["data"][0]["id"].clone();
    let sum = json!({"meterId": meter, "fieldCode": "n", "fieldType": "MEASURE", "function": "SUM"});
    let (_, answer) = client.post("usage/query", json!({"aggregations": [sum], "groups": [{"groupType": "ACCOUNT"}]})).await;
    let sums: Vec<_> = answer["data"].as_array().unwrap().iter().map(|row| (&row["accountCode"], &row["api.n.sum"])).collect();
    assert_eq!(sums, [(&json!("acme"), &json!(1)), (&json!("ümlaut"), &json!(2.5))]);
}
