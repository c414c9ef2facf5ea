//! What an invocation says and answers: over a store in memory, one that is down, and one that never answers.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use m3ter_client::{ClientSettings, Credentials, Endpoint, NoAnswer, Secrets, SecretsError, Transport};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use relay_store::S3Access;
use serde_json::{Value, json};

use super::*;

/// 2100-01-01T00:00:00Z in milliseconds since the epoch: later than any clock that a store in memory stamps its objects with.
const NOW_MS: i64 = 4_102_444_800_000;

/// An m3ter that has `events`, and nothing else; or one whose events are not to be had.
struct M3ter {
    events: Result<Value, u16>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Transport for M3ter {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let path = request.uri().path().to_owned();
        self.asked.lock().unwrap().push(request.uri().path_and_query().unwrap().to_string());
        let (status, body) = match (path.ends_with("/oauth/token"), path.ends_with("/events"), &self.events) {
            (true, _, _) => (200, json!({"access_token": "canary-token", "expires_in": 18_000})),
            (_, true, Err(status)) => (*status, json!({"message": "canary"})),
            (_, true, Ok(events)) => (200, json!({"data": events})),
            (_, _, _) => (200, json!({"data": []})),
        };
        let mut answer = Response::new(Bytes::from(body.to_string()));
        *answer.status_mut() = status.try_into().unwrap();
        Ok(answer)
    }
}

#[async_trait]
impl Secrets for M3ter {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        Ok(Credentials { access_key_id: "canary".into(), api_secret: "canary".into() })
    }
}

fn rejected(uid: &str) -> Value {
    json!({"id": uid, "eventTime": "2099-12-31T23:00:00Z", "m3terEvent": {"eventData": {
        "type": "UndefinedMeter", "message": "no meter has this code", "uid": uid, "meter": "m", "account": "canary-account",
    }}})
}

fn function(store: Store, events: Result<Value, u16>) -> (Function, Arc<M3ter>) {
    let m3ter = Arc::new(M3ter { events, asked: Mutex::default() });
    let api = Endpoint::parse("http://127.0.0.1").unwrap();
    let settings = ClientSettings { org_id: "org".into(), ingest: api.clone(), api, requests_per_second: 1.0 };
    let client = Client::new(m3ter.clone(), m3ter.clone(), &settings);
    (Function { client, store, ledger: LedgerMode::Full, name: "watch".into() }, m3ter)
}

fn shelf() -> (Store, Arc<InMemory>) {
    let objects = Arc::new(InMemory::new());
    (Store::over(objects.clone(), Path::from("relay")), objects)
}

/// Handles one invocation that may take so long; gives back its lines too.
async fn handle(function: &Function, timeout_ms: i64) -> (Result<Answer, RoundError>, Vec<Value>) {
    let call = Call { request_id: "request-1", deadline_ms: NOW_MS + timeout_ms, trace: None, now_ms: NOW_MS };
    let mut log = Vec::new();
    let answer = function.handle(call, fastrand::Rng::with_seed(7), &mut log).await;
    let lines = String::from_utf8(log).unwrap();
    assert!(!lines.contains("canary"), "{lines}");
    (answer, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A store behind a port of this machine.
fn bucket(port: u16) -> Store {
    let endpoint = Some(format!("http://127.0.0.1:{port}"));
    let s3 = S3Access { endpoint, access_key_id: "a".into(), secret_access_key: "canary".into(), ..S3Access::default() };
    Store::open("s3://bucket/relay", &s3).unwrap()
}

fn check_failed(lines: &[Value], detail: &str) {
    let [closing, why] = lines else { panic!("two lines were expected, not {lines:?}") };
    assert_eq!((&closing["level"], &closing["EventsUnreadable"]), (&json!("error"), &json!(1)));
    for count in ["Events", "Rejected", "Ingested", "QuarantineOpen", "LeavesWindowSoon", "Unreadable"] {
        assert_eq!(closing.get(count), None, "what is unknown is not zero");
    }
    assert_eq!((&why["level"], &why["message"]), (&json!("error"), &json!("the round failed")));
    let told = why["detail"].as_str().unwrap();
    assert!(told.starts_with(detail), "{told}");
}

#[tokio::test]
async fn a_round_is_answered_and_told_with_all_its_counts() {
    let (function, m3ter) = function(shelf().0, Ok(json!([rejected("u-1"), rejected("u-2")])));
    let (answer, lines) = handle(&function, 300_000).await;
    let answer = answer.unwrap();
    assert_eq!((answer.counts.events, answer.counts.rejected, answer.is_whole), (2, 2, true));
    let looked = answer.looked.unwrap();
    assert_eq!(looked.open.into_iter().collect::<Vec<_>>(), [("UndefinedMeter".to_owned(), 2)]);
    let counts = ["Events", "Rejected", "Receipts", "EventsUnreadable", "CursorAgeSeconds", "QuarantineOpen", "LookFailed"];
    assert_eq!(counts.map(|count| lines[0][count].as_u64().unwrap()), [2, 2, 0, 0, 0, 2, 0]);
    assert_eq!((&lines[0]["level"], &lines[0]["requestId"]), (&json!("warn"), &json!("request-1")));
    assert_eq!(
        (&lines[1]["Meter"], &lines[1]["Reason"], &lines[1]["Rejected"]),
        (&json!("m"), &json!("UndefinedMeter"), &json!(2))
    );
    let asked = m3ter.asked.lock().unwrap().clone();
    let events = "/organizations/org/events?pageSize=100&eventType=IngestValidationFailure&includeActioned=true";
    assert!(asked.contains(&events.to_owned()), "{asked:?}");
    // Nothing new: nothing is acted on twice, and the chores are not due.
    let (answer, lines) = handle(&function, 300_000).await;
    let answer = answer.unwrap();
    assert_eq!((answer.counts.events, answer.counts.rejected, answer.looked), (0, 0, None));
    assert_eq!((lines.len(), &lines[0]["Rejected"], lines[0].get("QuarantineOpen")), (1, &json!(0), None));
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_be_read_are_told_and_the_chores_are_done_all_the_same() {
    for status in [403, 404, 500] {
        let (function, _) = function(shelf().0, Err(status));
        let (answer, lines) = handle(&function, 300_000).await;
        assert!(matches!(&answer, Err(RoundError::Parts(parts)) if parts == "reading m3ter's events"), "{answer:?}");
        assert_eq!((&lines[0]["level"], &lines[0]["EventsUnreadable"]), (&json!("error"), &json!(1)), "{status}");
        assert_eq!((lines[0].get("Events"), &lines[0]["CursorAgeSeconds"]), (None, &json!(28 * 86_400)), "{status}");
        assert_eq!(lines[0]["QuarantineOpen"], json!(0));
        assert_eq!(lines[1]["message"], json!("reading m3ter's events failed"));
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_and_no_count() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(); // closed again at once
    let (answer, lines) = handle(&function(bucket(port), Ok(json!([]))).0, 60_000).await;
    assert!(matches!(answer, Err(RoundError::Store(_))), "{answer:?}");
    check_failed(&lines, "expected the store to show where the last round ended: the store failed: ");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_an_error_before_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap(); // nobody ever accepts
    let began = Instant::now();
    let store = bucket(listener.local_addr().unwrap().port());
    let (answer, lines) = handle(&function(store, Ok(json!([]))).0, 3_000).await;
    assert!(matches!(answer, Err(RoundError::TimeUp)), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
    check_failed(&lines, "expected the round to end in the time there was");
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_that_hides_no_count() {
    let (store, objects) = shelf();
    let torn = Path::from("relay/quarantine/v1/dt=2099-12-31/hr=00/0-torn.ndjson.zst");
    objects.put(&torn, PutPayload::from_static(b"torn")).await.unwrap();
    let (answer, lines) = handle(&function(store, Ok(json!([]))).0, 60_000).await;
    assert_eq!(answer.unwrap().looked.unwrap().unreadable, 1);
    assert_eq!(
        (&lines[0]["level"], &lines[0]["Unreadable"], lines[0].get("LeavesWindowSoon")),
        (&json!("error"), &json!(1), None)
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_written_costs_no_answer() {
    let (function, _) = function(shelf().0, Ok(json!([])));
    let call = Call { request_id: "r", deadline_ms: NOW_MS + 60_000, trace: None, now_ms: NOW_MS };
    let mut full: &mut [u8] = &mut [];
    assert!(function.handle(call, fastrand::Rng::with_seed(7), &mut full).await.is_ok());
}
