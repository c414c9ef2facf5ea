//! Jobs and their URLs: what is taken, what is refused, and what is listed.

use std::time::Duration;

use axum::body::Body;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use m3ter_sandbox::Choices;
use serde_json::{Value, json};

use crate::client::{Client, DAY, but, good, options, read};
use crate::uploads::{UPLOADS, standing};

#[tokio::test(start_paused = true)]
async fn a_job_takes_what_the_schema_allows() {
    let client = Client::new().await;
    let fine = json!({"fileName": "x".repeat(100), "contentType": "text/json", "contentLength": 1_073_741_824, "more": 1});
    let path = format!("{UPLOADS}/generateUploadUrl");
    let (status, answer) = client.post(&path, fine.clone()).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["url"].as_str().unwrap().starts_with("http://sandbox.test/uploads/"), "{answer}");
    assert_eq!(answer["headers"]["content-type"], "text/json");
    for (change, words) in [
        (json!({"fileName": ""}), "fileName: expected 1 to 100"),
        (json!({"fileName": "x".repeat(101)}), "fileName: expected 1 to 100"),
        (json!({"fileName": null}), "body: invalid type: null"),
        (json!({"contentType": "text/csv"}), "contentType: expected application/json or text/json"),
        (json!({"contentLength": 0}), "contentLength: expected 1 to"),
        (json!({"contentLength": 1_073_741_825}), "contentLength: expected 1 to"),
        (json!({"contentLength": -1}), "body:"),
    ] {
        let (status, answer) = client.post(&path, but(fine.clone(), change)).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{answer}");
    }
    assert_eq!(client.get(&format!("{UPLOADS}/jobs")).await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_url_lives_one_minute_by_the_sandboxs_clock() {
    let client = Client::new().await;
    for (wait_s, status) in [(59, 200), (60, 403)] {
        let (id, given) = client.job_for(2).await;
        client.sandbox.advance(Duration::from_secs(wait_s)).unwrap();
        assert_eq!(client.put(&given, "[]").await.status(), status);
        assert_eq!(client.standing(&id).await.0 == "notUploaded", status == 403);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_refused_unless_url_headers_and_length_are_as_given() {
    let client = Client::new().await;
    let (id, given) = client.job_for(2).await;
    let other = |name: &str, value: Value| but(given.clone(), json!({ name: value }));
    let url = given["url"].as_str().unwrap();
    let headers = |change: Value| other("headers", but(given["headers"].clone(), change));
    for (given, file, status) in [
        (other("url", json!(url.split('?').next().unwrap())), "[]", 403),
        (other("url", json!(url.replace("expires=1", "expires=2"))), "[]", 403),
        (other("headers", json!({})), "[]", 403),
        (headers(json!({"content-type": "text/json"})), "[]", 403),
        (headers(json!({"x-upload-job": "another"})), "[]", 403),
        (headers(json!({"authorization": "Bearer x"})), "[]", 400),
        (given.clone(), "[", 400),
        (given.clone(), "[ ]", 400),
        (headers(json!({"content-length": "2"})), "[", 400),
        (headers(json!({"content-length": "2"})), "[ ]", 400),
    ] {
        let (found, answer) = read(client.put(&given, file).await).await;
        assert_eq!(found, status, "{given} {file}: {answer}");
        assert!(answer["message"].is_string(), "{answer}");
    }
    // Going through a map, a body no longer says how long it is.
    let in_chunks = Body::new(Body::from("[]").map_frame(|frame| frame));
    assert_eq!(client.put(&given, in_chunks).await.status(), StatusCode::LENGTH_REQUIRED);
    assert_eq!(client.standing(&id).await, standing("notUploaded", [0, 0, 0]));
    assert_eq!(client.put(&given, "[]").await.status(), 200, "none of this cost the job its file");
}

#[tokio::test(start_paused = true)]
async fn a_job_takes_one_file() {
    let client = Client::new().await;
    let (id, given) = client.job_for(2).await;
    assert_eq!(client.put(&given, "[]").await.status(), 200);
    assert_eq!(client.put(&given, "{}").await.status(), 409);
    assert_eq!(client.standing(&id).await.0, "succeeded");
}

#[tokio::test(start_paused = true)]
async fn the_original_is_given_back_as_it_came() {
    let client = Client::new().await;
    let file = format!(" [{}]\n", [good("ü").to_string(), json!({"x": "y".repeat(200_000)}).to_string()].join(" , "));
    let id = client.upload_raw(&file).await;
    let given = client.get(&format!("{UPLOADS}/jobs/{id}/original")).await;
    assert_eq!(given["jobId"], json!(id));
    let ask = async || client.send(client.at(Method::GET, &given).body(Body::empty()).unwrap()).await;
    let answer = ask().await;
    assert_eq!(answer.headers()["content-length"], file.len().to_string().as_str());
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), file.as_bytes());
    client.sandbox.advance(Duration::from_secs(60)).unwrap();
    assert_eq!(ask().await.status(), 403, "its URL lives one minute, too");
    let (id, given) = client.job_for(2).await;
    assert_eq!(client.call(Method::GET, &format!("{UPLOADS}/jobs/{id}/original"), None).await.0, 404);
    let at = client.at(Method::GET, &given).body(Body::empty()).unwrap();
    assert_eq!(client.send(at).await.status(), 403, "a URL is good for what it was given for");
}

#[tokio::test(start_paused = true)]
async fn jobs_are_listed_newest_first_by_page_and_by_date_of_creation() {
    let mut client = Client::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, client.job_for(2).await.0);
        client.sandbox.advance(DAY).unwrap();
        client.token = client.fetch_token().await;
    }
    let listed = async |query: &str| {
        let page = client.get(&format!("{UPLOADS}/jobs?{query}")).await;
        let ids = page["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), page["nextToken"].as_str().map(str::to_owned))
    };
    assert_eq!(listed("fileKey=x&nextToken=").await, (ids.clone(), None));
    let (first, token) = listed("pageSize=3").await;
    assert_eq!(first, ids[..3]);
    assert_eq!(listed(&format!("pageSize=3&nextToken={}", token.unwrap())).await, (ids[3..].to_vec(), None));
    let range = "dateCreatedStart=2026-06-02T00:00:00Z&dateCreatedEnd=2026-06-04T00:00:00Z";
    assert_eq!(listed(range).await.0, ids[2..4], "the start is included, the end is not");
    for bad in ["dateCreatedStart=yesterday", "dateCreatedEnd=2026-06-04", "pageSize=101"] {
        assert_eq!(client.call(Method::GET, &format!("{UPLOADS}/jobs?{bad}"), None).await.0, 400, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_are_for_their_organisation_and_a_live_token() {
    let mut client = Client::with(options(Choices::default())).await;
    let id = client.upload(&[good("a")]).await;
    for path in [format!("{UPLOADS}/jobs"), format!("{UPLOADS}/jobs/{id}"), format!("{UPLOADS}/jobs/{id}/original")] {
        let elsewhere = format!("/organizations/elsewhere/{path}");
        assert_eq!(client.call(Method::GET, &elsewhere, None).await.0, 403, "{path}");
    }
    for unknown in ["x", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(client.call(Method::GET, &format!("{UPLOADS}/jobs/{unknown}"), None).await.0, 404);
    }
    client.token = "none".to_owned();
    assert_eq!(client.call(Method::GET, &format!("{UPLOADS}/jobs"), None).await.0, 403);
    assert_eq!(client.post(&format!("{UPLOADS}/generateUploadUrl"), json!({})).await.0, 403);
}
