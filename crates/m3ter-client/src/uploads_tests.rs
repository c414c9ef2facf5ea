//! What is read of an answer, and what it means. What a socket does to a file is tested from outside, in `tests/walk`.

use std::sync::Mutex;

use async_trait::async_trait;
use http::StatusCode;

use super::*;
use crate::{Client, ClientSettings, Clock, Credentials, Endpoint, Secrets, SecretsError, Transport};

const ORG: &str = "https://api.test/organizations/o";

/// Answers in turn, and keeps what was asked.
#[derive(Default)]
struct Door {
    answers: Mutex<Vec<(u16, String)>>,
    seen: Mutex<Vec<Request<Bytes>>>,
}

#[async_trait]
impl Transport for Door {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let path = request.uri().path().to_owned();
        if path == "/oauth/token" {
            return Ok(Response::new(Bytes::from_static(br#"{"access_token":"canary","expires_in":18000}"#)));
        }
        self.seen.lock().unwrap().push(request);
        let (status, body) = self.answers.lock().unwrap().remove(0);
        if status == 0 {
            return Err(NoAnswer::Broken);
        }
        let mut answer = Response::new(Bytes::from(body));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok(answer)
    }
}

struct Vault;

#[async_trait]
impl Secrets for Vault {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        Ok(Credentials { access_key_id: "k".into(), api_secret: "s".into() })
    }
}

fn client(answers: &[(u16, &str)]) -> (Client, Arc<Door>) {
    let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    let door = Arc::new(Door { answers: Mutex::new(answers), ..Door::default() });
    let api = Endpoint::parse("https://api.test").unwrap();
    let settings = ClientSettings { org_id: "o".into(), api: api.clone(), ingest: api, requests_per_second: 1.0 };
    (Client::new(door.clone(), Arc::new(Vault), &settings), door)
}

fn session(client: &Client) -> Session<'_> {
    let clock = Clock::starting_at(0);
    client.session(clock, clock.budget(60_000), Some("00-trace".to_owned()), fastrand::Rng::with_seed(1))
}

fn file(pieces: &[Result<&'static str, Broke>], bytes: u64) -> FileBody {
    let pieces: Vec<_> = pieces.iter().map(|piece| piece.map(|text| Bytes::from_static(text.as_bytes()))).collect();
    FileBody { bytes, stream: stream::iter(pieces).boxed() }
}

const URL: &str =
    r#"{"jobId":"j-1","url":"https://files.test/f?canary=1","headers":{"x-one":"1","Host":"h","content-length":"9"}}"#;

#[tokio::test(start_paused = true)]
async fn a_file_goes_to_the_url_with_its_headers_and_its_length_and_without_token_or_trace() {
    let (client, door) = client(&[(200, URL), (200, "")]);
    let session = session(&client);
    let url = session.upload_url("usage.json", 5).await.unwrap();
    assert_eq!(url.job_id, "j-1");
    assert!(!format!("{url:?}").contains("canary"), "{url:?}");
    session.put_file(&url, file(&[Ok("[1"), Ok(""), Ok(",2]")], 5)).await.unwrap();
    let seen = door.seen.lock().unwrap();
    let [asked, put] = &seen[..] else { panic!("expected two requests") };
    assert_eq!(
        (asked.method(), asked.uri().to_string()),
        (&Method::POST, format!("{ORG}{JOBS}").replace("jobs", "generateUploadUrl"))
    );
    let wanted = json!({"fileName": "usage.json", "contentType": "application/json", "contentLength": 5});
    assert_eq!(serde_json::from_slice::<Value>(asked.body()).unwrap(), wanted);
    assert_eq!((put.method(), put.uri().to_string().as_str()), (&Method::PUT, "https://files.test/f?canary=1"));
    assert_eq!(put.body(), "[1,2]");
    let headers: Vec<_> = put.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("x-one", "1"), ("content-length", "5")]);
    assert!(!format!("{:?}", put.headers()).contains("x-one\": \"1\""), "what m3ter signed is a secret");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_makes_another_job_and_the_last_one_counts() {
    let (client, _) = client(&[(0, ""), (200, URL)]);
    let session = session(&client);
    assert_eq!(session.upload_url("f", 1).await.unwrap().job_id, "j-1");
    assert_eq!(session.counts().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_url_that_is_no_place_for_usage_is_not_one() {
    for url in ["http://files.test/f", "ftp://files.test/f", "files.test", "", "https://user:word@files.test/f"] {
        let given = json!({"jobId": "j", "url": url, "headers": {}}).to_string();
        let (client, _) = client(&[(200, &given)]);
        assert_eq!(session(&client).upload_url("f", 1).await.unwrap_err(), NotAnswered::Unknown, "{url}");
    }
    for odd in [
        r#"{"url":"https://files.test/f"}"#,
        r#"{"jobId":"../x","url":"https://files.test/f"}"#,
        r#"{"jobId":"j","url":"https://files.test/f","headers":{"x y":"1"}}"#,
        r#"{"jobId":"j","url":"https://files.test/f","headers":{"x":"1\n"}}"#,
        "[]",
    ] {
        let (client, _) = client(&[(200, odd)]);
        assert_eq!(session(&client).upload_url("f", 1).await.unwrap_err(), NotAnswered::Unknown, "{odd}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_is_put_in_one_attempt_and_its_answer_is_told() {
    let refused = |status| Err(NotPut::Refused { status });
    for (status, expected) in [
        (200, Ok(())),
        (201, Ok(())),
        (204, Ok(())),
        (400, refused(400)),
        (403, refused(403)),
        (409, refused(409)),
        (429, refused(429)),
        (0, Err(NotPut::Unknown)),
        (202, Err(NotPut::Unknown)),
        (307, Err(NotPut::Unknown)),
        (500, Err(NotPut::Unknown)),
        (503, Err(NotPut::Unknown)),
    ] {
        let (client, door) = client(&[(200, URL), (status, "")]);
        let session = session(&client);
        let url = session.upload_url("f", 2).await.unwrap();
        assert_eq!(session.put_file(&url, file(&[Ok("[]")], 2)).await, expected, "{status}");
        assert_eq!(door.seen.lock().unwrap().len(), 2, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_as_long_as_was_said_never_goes_out_whole() {
    for pieces in [&[Ok("[")][..], &[], &[Ok("["), Err(Broke)], &[Err(Broke)], &[Ok("["), Ok("1]")], &[Ok("[1]")]] {
        let (client, door) = client(&[(200, URL), (200, "")]);
        let session = session(&client);
        let url = session.upload_url("f", 2).await.unwrap();
        assert_eq!(session.put_file(&url, file(pieces, 2)).await, Err(NotPut::Broke), "{pieces:?}");
        assert_eq!(door.seen.lock().unwrap().len(), 1, "{pieces:?}");
    }
    // All of it went out, and more was to come.
    let (client, _) = client(&[(200, URL), (200, "")]);
    let session = session(&client);
    let url = session.upload_url("f", 2).await.unwrap();
    assert_eq!(session.put_file(&url, file(&[Ok("[]"), Ok("x")], 2)).await, Err(NotPut::Unknown));
}

#[test]
fn an_answer_to_a_file_that_broke_off_is_believed_only_where_it_says_no() {
    assert_eq!(put(Ok(403), true), Err(NotPut::Refused { status: 403 }));
    assert_eq!(put(Ok(200), true), Err(NotPut::Unknown));
    assert_eq!(put(Ok(500), true), Err(NotPut::Unknown));
    assert_eq!(put(Err(NoAnswer::Broken), true), Err(NotPut::Broke));
    assert_eq!(put(Err(NoAnswer::NoConnection), false), Err(NotPut::Unknown));
}

#[test]
fn a_job_is_read_leniently() {
    let job = |text: &str| serde_json::from_str::<UploadJob>(text).unwrap();
    let whole = r#"{"id":"j","version":3,"fileName":"f","uploadDate":"2026-01-02T03:04:05Z","contentLength":9,"status":"succeeded",
        "totalRows":4,"processedRows":3,"failedRows":1,"more":[]}"#;
    let expected = UploadJob {
        id: "j".into(),
        file_name: "f".into(),
        upload_date: Some("2026-01-02T03:04:05Z".into()),
        content_length: 9,
        status: JobStatus::Succeeded,
        total_rows: 4,
        processed_rows: 3,
        failed_rows: 1,
        version: 3,
    };
    assert_eq!(job(whole), expected);
    assert_eq!(job("{}"), UploadJob::default());
    let odd = r#"{"id":1,"fileName":null,"uploadDate":5,"contentLength":"9","status":null,"totalRows":-1,"processedRows":null}"#;
    assert_eq!(job(odd), UploadJob::default());
    for (word, status) in [
        ("notUploaded", JobStatus::NotUploaded),
        ("NOTUPLOADED", JobStatus::NotUploaded),
        ("running", JobStatus::Running),
        ("failed", JobStatus::Failed),
        ("paused", JobStatus::Unknown),
    ] {
        assert_eq!(job(&format!(r#"{{"status":"{word}"}}"#)).status, status, "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_are_listed_page_by_page_within_a_span_of_time() {
    let page = r#"{"data":[{"id":"b"},{"id":"a"}],"nextToken":"t/2"}"#;
    let (client, door) = client(&[(200, page), (200, r#"{"data":[],"nextToken":""}"#), (200, r#"{"data":[5]}"#)]);
    let session = session(&client);
    let filter = JobFilter { created_start: Some("2026-01-01T00:00:00+01:00".into()), created_end: None };
    let (jobs, next) = session.jobs(&filter, None).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(session.jobs(&JobFilter::default(), next.as_deref()).await, Ok((Vec::new(), None)));
    assert_eq!(session.jobs(&JobFilter::default(), None).await, Err(NotAnswered::Unknown), "what is no job is not passed over");
    let asked: Vec<String> = door.seen.lock().unwrap().iter().map(|seen| seen.uri().to_string()).collect();
    assert_eq!(asked[0], format!("{ORG}{JOBS}?pageSize=100&dateCreatedStart=2026-01-01T00%3A00%3A00%2B01%3A00"));
    assert_eq!(asked[1], format!("{ORG}{JOBS}?pageSize=100&nextToken=t%2F2"));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_would_lead_elsewhere_is_no_jobs() {
    let (client, door) = client(&[]);
    let session = session(&client);
    for id in ["", ".", "..", "a/b", "a?b", "%2e", "ä"] {
        assert_eq!(session.job(id).await, Err(NotAnswered::Refused { status: 404 }), "{id}");
        assert_eq!(session.original(id).await.err(), Some(NotAnswered::Refused { status: 404 }), "{id}");
    }
    assert!(door.seen.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_original_comes_by_a_link_that_is_asked_for_again_once_it_expired() {
    let (client, door) = client(&[(200, URL), (403, ""), (200, URL), (200, "[1]")]);
    let session = session(&client);
    let mut original = session.original("j-1").await.unwrap().stream;
    assert_eq!(original.next().await.unwrap().unwrap(), "[1]");
    let seen = door.seen.lock().unwrap();
    assert_eq!(seen.len(), 4);
    assert!(seen[0].headers().contains_key("authorization") && !seen[1].headers().contains_key("authorization"));
    assert_eq!(seen[3].headers()["x-one"], "1");
}

#[test]
fn the_end_of_a_name_is_kept_as_far_as_it_fits() {
    assert_eq!(end_of("usage.json"), "usage.json");
    assert_eq!(end_of(&format!("{}b", "a".repeat(100))), format!("{}b", "a".repeat(99)));
    // A letter outside the basic plane is two units, and is not cut.
    assert_eq!(end_of(&format!("😀{}", "a".repeat(98))).len(), 98 + 4);
    assert_eq!(end_of(&format!("😀{}", "a".repeat(99))).len(), 99);
    assert_eq!(end_of(""), "");
}
