//! Scripted trouble on the way of a file.

use http::StatusCode;
use m3ter_sandbox::{Abort, Fault, FaultRule, Route};
use serde_json::json;

use crate::client::{Client, good};
use crate::uploads::standing;

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
async fn a_rule_for_uploads_concerns_only_them() {
    let client = with(Fault::status(500)).await;
    let (_, given) = client.job_for(2).await;
    client.accepted(&[good("a")]).await;
    assert_eq!(client.put(&given, "[]").await.status(), 500);
    let cut = json!({"fault": {"kind": "cut-upload"}});
    let (status, answer) = client.post("/_sandbox/faults", cut).await;
    assert_eq!(
        (status, answer["message"].as_str()),
        (StatusCode::BAD_REQUEST, Some("rules[0]: fault: cut-upload: expected the route \"upload\""))
    );
}
