//! Uploading in process, for the tests of uploads; and jobs in the order in which they are processed.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use m3ter_sandbox::{Choices, JobStatus, Limits, Options, UploadLine};
use serde_json::{Value, json};

use crate::client::{Client, but, good, options, read};

pub(crate) const UPLOADS: &str = "fileuploads/measurements";

/// The options of tests that look at the speed: rows are processed two a second.
pub(crate) fn two_a_second(choices: Choices) -> Options {
    Options { limits: Limits { upload_per_second: Some(2), ..Limits::none() }, ..options(choices) }
}

impl Client {
    /// A job for a file of so many bytes: its id, and what goes with its URL.
    pub(crate) async fn job_for(&self, bytes: usize) -> (String, Value) {
        let request = json!({"fileName": "usage.json", "contentType": "application/json", "contentLength": bytes});
        let (status, answer) = self.post(&format!("{UPLOADS}/generateUploadUrl"), request).await;
        assert_eq!(status, 200, "{answer}");
        (answer["jobId"].as_str().unwrap().to_owned(), answer)
    }

    /// A request to a URL that was given, with the headers that came with it.
    pub(crate) fn at(&self, method: Method, given: &Value) -> http::request::Builder {
        let mut request = Request::builder().method(method).uri(given["url"].as_str().unwrap());
        for (name, value) in given["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        request
    }

    /// Puts a file to the URL of its job.
    pub(crate) async fn put(&self, given: &Value, file: impl Into<Body>) -> Response {
        self.send(self.at(Method::PUT, given).body(file.into()).unwrap()).await
    }

    /// Uploads a file, whatever it holds; the id of its job.
    pub(crate) async fn upload_raw(&self, file: &str) -> String {
        let (id, given) = self.job_for(file.len()).await;
        let (status, answer) = read(self.put(&given, file.to_owned()).await).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        id
    }

    /// Uploads these rows; the id of their job.
    pub(crate) async fn upload(&self, rows: &[Value]) -> String {
        self.upload_raw(&Value::from(rows.to_vec()).to_string()).await
    }

    /// A job as m3ter shows it.
    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("{UPLOADS}/jobs/{id}")).await
    }

    /// Status and rows of a job: total, processed, failed.
    pub(crate) async fn standing(&self, id: &str) -> (String, [u64; 3]) {
        let job = self.job(id).await;
        let rows = ["totalRows", "processedRows", "failedRows"].map(|name| job[name].as_u64().unwrap());
        (job["status"].as_str().unwrap().to_owned(), rows)
    }

    /// A job in the ledger.
    pub(crate) fn line(&self, id: &str) -> UploadLine {
        self.ledger().uploads.into_iter().find(|line| line.job.id == id).unwrap()
    }
}

pub(crate) fn standing(status: &str, rows: [u64; 3]) -> (String, [u64; 3]) {
    (status.to_owned(), rows)
}

#[tokio::test(start_paused = true)]
async fn a_job_goes_from_its_url_over_its_file_to_its_end() {
    let client = Client::with(two_a_second(Choices::default())).await;
    let file = json!([good("a"), good("b")]).to_string();
    let (id, given) = client.job_for(file.len()).await;
    let before = client.job(&id).await;
    assert_eq!(
        before,
        json!({"id": id, "version": 1, "fileName": "usage.json", "contentLength": file.len(), "status": "notUploaded",
               "totalRows": 0, "processedRows": 0, "failedRows": 0})
    );
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(client.put(&given, file).await.status(), 200);
    let running = but(before, json!({"version": 2, "status": "running", "totalRows": 2, "uploadDate": "2026-06-01T00:00:30Z"}));
    assert_eq!(client.job(&id).await, running);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(client.job(&id).await, but(running, json!({"version": 3, "status": "succeeded", "processedRows": 2})));
    assert_eq!(client.ledger().totals.ingested, 2);
}

#[tokio::test(start_paused = true)]
async fn rows_are_processed_at_the_speed_that_is_set_and_jobs_one_after_another() {
    let client = Client::with(two_a_second(Choices::default())).await;
    let first = client.upload(&["a", "b", "c"].map(good)).await;
    let second = client.upload(&["d", "e"].map(good)).await;
    for (half_seconds, first_rows, second_rows) in [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 3, 1), (5, 3, 2)] {
        assert_eq!(client.standing(&first).await.1[1], first_rows, "after {half_seconds} half seconds");
        assert_eq!(client.standing(&second).await.1[1], second_rows, "after {half_seconds} half seconds");
        assert_eq!(client.ledger().totals.ingested, first_rows + second_rows);
        tokio::time::advance(Duration::from_millis(500)).await;
    }
    // A sandbox that was idle does not make up for it.
    tokio::time::advance(Duration::from_secs(60)).await;
    let third = client.upload(&[good("f")]).await;
    assert_eq!(client.standing(&third).await, standing("running", [1, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn two_thousand_rows_a_second_are_the_default_and_without_a_limit_all_are_processed_at_once() {
    assert_eq!(Limits::default().upload_per_second, Some(2_000));
    for none in [None, Some(0)] {
        let limits = Limits { upload_per_second: none, ..Limits::none() };
        let client = Client::with(Options { limits, ..options(Choices::default()) }).await;
        let rows: Vec<Value> = (0..5_000).map(|n| good(&n.to_string())).collect();
        let id = client.upload(&rows).await;
        assert_eq!(client.standing(&id).await, standing("succeeded", [5_000, 5_000, 0]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_sandbox_goes_on_in_the_middle_of_a_file() {
    for choices in [
        Choices { events_per: m3ter_sandbox::EventsPer::Request, ..Choices::default() },
        Choices { enrichment_delay_ms: 500, ..Choices::default() },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let kept = || Options { data: Some(path.clone()), ..two_a_second(choices.clone()) };
        let client = Client::with(kept()).await;
        client.accepted(&[good("b")]).await;
        let running = client.upload(&[good("a"), good("b"), json!(5), good("c")]).await;
        let waiting = client.upload(&[good("c"), good("d")]).await;
        let (open, given) = client.job_for(2).await;
        client.sandbox.advance(Duration::from_millis(1_500)).unwrap();
        let books = async |client: &Client| {
            let jobs = client.get(&format!("{UPLOADS}/jobs")).await;
            (client.ledger().totals.ingested, client.ledger().meters, jobs, client.get("events").await)
        };
        let before = books(&client).await;
        assert_eq!(client.line(&running).job.status, JobStatus::Running);
        drop(client);

        // The job whose URL still lives takes its file; the others end.
        let client = Client::with(kept()).await;
        assert_eq!(books(&client).await, before);
        assert_eq!(client.put(&given, "[]").await.status(), 200);
        client.sandbox.advance(Duration::from_secs(10)).unwrap();
        for (id, rows) in [(&running, [4, 4, 1]), (&waiting, [2, 2, 0]), (&open, [0, 0, 0])] {
            assert_eq!(client.standing(id).await, standing("succeeded", rows));
        }
        let totals = client.ledger().totals;
        assert_eq!((totals.received, totals.accepted, totals.ingested, totals.duplicates), (7, 6, 4, 2));
        let after = books(&client).await;
        drop(client);
        assert_eq!(books(&Client::with(kept()).await).await, after);
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrived_when_the_process_died_can_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let kept = || Options { data: Some(path.clone()), ..options(Choices::default()) };
    let client = Client::with(kept()).await;
    let file = json!([good("a")]).to_string();
    let (id, given) = client.job_for(file.len()).await;
    assert_eq!(client.put(&given, file.clone()).await.status(), 200);
    drop(client);
    // It died in the journal's line about one file, and while another arrived.
    let journal = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &journal[..journal.len() - 9]).unwrap();
    let part = folder.path().join("journal.uploads/7.part");
    std::fs::write(&part, "[").unwrap();

    let client = Client::with(kept()).await;
    assert!(!part.exists());
    assert_eq!(client.standing(&id).await, standing("notUploaded", [0, 0, 0]));
    assert_eq!(client.put(&given, file).await.status(), 200);
    assert_eq!(client.standing(&id).await, standing("succeeded", [1, 1, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_journal_whose_uploaded_file_is_gone_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let kept = || Options { data: Some(path.clone()), ..options(Choices::default()) };
    let client = Client::with(kept()).await;
    client.upload(&[good("a")]).await;
    drop(client);
    std::fs::write(folder.path().join("journal.uploads/0.json"), "[]").unwrap();
    let error = m3ter_sandbox::Sandbox::open(kept()).unwrap_err().to_string();
    assert!(error.contains("the uploaded file 0 cannot be used: expected"), "{error}");
}
