//! Scripted trouble on the way of a file.

use std::time::Duration;

use http::StatusCode;
use m3ter_sandbox::{Abort, Choices, Fault, FaultRule, Options, Route};
use serde_json::json;

use crate::client::{Client, good};
use crate::uploads::{standing, two_a_second};

async fn with(fault: Fault) -> Client {
    let client = Client::new().await;
    client.sandbox.add_fault(FaultRule::new(fault).on(Route::Upload).times(1));
    client
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_meets_a_fault_in_m3ters_place_is_not_kept_and_can_be_sent_again() {
    let faults = [(Fault::status(500), 500), (Fault::status(403), 403), (Fault::Html, 200), (Fault::Reset, 0)];
    for (fault, status) in faults {
        let client = with(fault.clone()).await;
        let file = json!([good("a")]).to_string();
        let (id, given) = client.job_for(file.len()).await;
        let answer = client.put(&given, file.clone()).await;
        let broken = answer.extensions().get::<Abort>().is_some();
        assert_eq!((broken, broken || answer.status() == status), (status == 0, true), "{fault:?}");
        assert_eq!(client.standing(&id).await, standing("notUploaded", [0, 0, 0]), "{fault:?}");
        assert_eq!(client.put(&given, file).await.status(), StatusCode::OK);
        assert_eq!(client.standing(&id).await, standing("succeeded", [1, 1, 0]));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_answer_is_dropped_is_kept() {
    let client = with(Fault::DropAnswer).await;
    let file = json!([good("a")]).to_string();
    let (id, given) = client.job_for(file.len()).await;
    assert!(client.put(&given, file.clone()).await.extensions().get::<Abort>().is_some());
    assert_eq!(client.standing(&id).await, standing("succeeded", [1, 1, 0]));
    assert_eq!(client.put(&given, file).await.status(), StatusCode::CONFLICT);
}

#[tokio::test(start_paused = true)]
async fn half_of_an_upload_may_be_kept_as_the_whole_and_its_job_fails() {
    let client = with(Fault::CutUpload).await;
    let file = json!([good("a"), good("b"), good("c")]).to_string();
    let (id, given) = client.job_for(file.len()).await;
    assert_eq!(client.put(&given, file.clone()).await.status(), StatusCode::OK);
    assert_eq!(client.standing(&id).await, standing("failed", [0, 0, 0]));
    assert_eq!(client.job(&id).await["contentLength"], json!(file.len()));
    assert_eq!(client.ledger().totals.received, 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_may_fail_half_way_and_what_it_counted_until_then_is_a_duplicate_afterwards() {
    let client = Client::with(two_a_second(Choices::default())).await;
    client.sandbox.add_fault(FaultRule::new(Fault::FailJob).on(Route::Upload).times(1));
    let rows = ["a", "b", "c", "d", "e"].map(good);
    let id = client.upload(&rows).await;
    assert_eq!(client.standing(&id).await, standing("running", [5, 0, 0]));
    client.sandbox.advance(Duration::from_secs(60)).unwrap();
    assert_eq!(client.standing(&id).await, standing("failed", [5, 2, 0]));
    assert_eq!(client.line(&id).fault.as_deref(), Some("scripted fault: the job fails after 2 rows"));
    let totals = client.ledger().totals;
    assert_eq!((totals.received, totals.accepted, totals.ingested), (5, 2, 2));
    let again = client.upload(&rows).await;
    client.sandbox.advance(Duration::from_secs(60)).unwrap();
    assert_eq!(client.standing(&again).await, standing("succeeded", [5, 5, 0]));
    let totals = client.ledger().totals;
    assert_eq!((totals.ingested, totals.duplicates), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_half_way_has_failed_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Options { data: Some(folder.path().join("journal")), ..two_a_second(Choices::default()) };
    let client = Client::with(open()).await;
    client.sandbox.add_fault(FaultRule::new(Fault::FailJob).on(Route::Upload));
    let id = client.upload(&[good("a"), good("b")]).await;
    client.sandbox.advance(Duration::from_secs(60)).unwrap();
    assert_eq!(client.standing(&id).await, standing("failed", [2, 1, 0]));
    drop(client);
    assert_eq!(Client::with(open()).await.standing(&id).await, standing("failed", [2, 1, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_rule_for_uploads_concerns_only_them() {
    let client = with(Fault::status(500)).await;
    let (_, given) = client.job_for(2).await;
    client.accepted(&[good("a")]).await;
    assert_eq!(client.put(&given, "[]").await.status(), 500);
    for kind in ["cut-upload", "fail-job"] {
        let (status, answer) = client.post("/_sandbox/faults", json!({"fault": {"kind": kind}})).await;
        let expected = format!("rules[0]: fault: {kind}: expected the route \"upload\"");
        assert_eq!((status, answer["message"].as_str()), (StatusCode::BAD_REQUEST, Some(expected.as_str())));
    }
}
