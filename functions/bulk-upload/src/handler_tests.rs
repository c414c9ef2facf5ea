//! What an invocation does about files: over a bucket in memory and an m3ter that takes them, and in what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use m3ter_client::{Client, ClientSettings, Credentials, Endpoint, NoAnswer, Secrets, SecretsError, Transport};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutOptions};
use relay_core::guard::MissingUid;
use relay_store::{LedgerMode, LedgerWrite, Store};
use serde_json::{Value, json};

use super::*;

/// 2026-06-01T00:00:00Z in milliseconds since the epoch.
const NOW_MS: i64 = 1_780_272_000_000;
/// No word of it may be in the log.
const KEY: &str = "uploads/canary & co.ndjson";

/// An m3ter that takes files, and says of its jobs what it is told to say.
struct M3ter {
    status: Mutex<&'static str>,
    /// Answers everything with this, unless it is 200.
    refuses_with: Mutex<u16>,
    taken: Mutex<BTreeMap<String, Bytes>>,
}

#[async_trait]
impl Transport for M3ter {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let path = request.uri().path().to_owned();
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut taken = self.taken.lock().unwrap();
        let (status, body) = match (request.method(), *self.refuses_with.lock().unwrap()) {
            _ if path.ends_with("/oauth/token") => (200, json!({"access_token": "canary-token", "expires_in": 18_000})),
            (_, status @ 201..) => (status, json!({"message": "canary"})),
            (&Method::PUT, _) => {
                taken.insert(last, request.into_body());
                (200, Value::Null)
            }
            (&Method::POST, _) => {
                let id = format!("job-{}", taken.len() + 1);
                (200, json!({"jobId": id, "url": format!("http://127.0.0.1/canary/{id}"), "headers": {}}))
            }
            (_, _) => {
                let rows = taken.get(&last).map_or(0, |body| serde_json::from_slice::<Vec<Value>>(body).unwrap().len());
                let status = *self.status.lock().unwrap();
                (200, json!({"id": last, "status": status, "totalRows": rows, "processedRows": rows, "failedRows": 0}))
            }
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

#[derive(Clone, Default)]
struct Waits(Arc<Mutex<Vec<u64>>>);

#[async_trait]
impl Visibility for Waits {
    async fn put_off(&self, handle: &str, seconds: u64) {
        assert_eq!(handle, "handle");
        self.0.lock().unwrap().push(seconds);
    }
}

struct World {
    function: Function,
    bucket: Arc<InMemory>,
    m3ter: Arc<M3ter>,
    waits: Waits,
}

/// What came of an invocation.
#[derive(Debug)]
struct Handled {
    /// Messages that stay.
    stay: usize,
    counts: Value,
    log: Vec<Value>,
}

impl World {
    fn new() -> World {
        let m3ter = Arc::new(M3ter { status: Mutex::new("succeeded"), refuses_with: Mutex::new(200), taken: Mutex::default() });
        let api = Endpoint::parse("http://127.0.0.1").unwrap();
        let settings = ClientSettings { org_id: "org".into(), ingest: api.clone(), api, requests_per_second: 1.0 };
        let (bucket, waits) = (Arc::new(InMemory::new()), Waits::default());
        let office = Office {
            client: Client::new(m3ter.clone(), m3ter.clone(), &settings),
            store: Store::over(bucket.clone(), Path::from("relay")),
            files: Store::over(bucket.clone(), Path::default()),
            bucket: "bucket".into(),
            missing_uid: MissingUid::Refuse,
            ledger: (LedgerMode::Full, LedgerWrite::Required),
        };
        World { function: Function { office, queue: Box::new(waits.clone()), name: "bulk".into() }, bucket, m3ter, waits }
    }

    /// Puts a file there, and gives back what S3 tells of it.
    async fn put(&self, key: &str, content: impl Into<Vec<u8>>, metadata: &[(&'static str, &'static str)]) -> Value {
        let path = Path::parse(key).unwrap();
        let attributes =
            Attributes::from_iter(metadata.iter().map(|(name, value)| (Attribute::Metadata((*name).into()), *value)));
        let put = PutOptions { attributes, ..PutOptions::default() };
        self.bucket.put_opts(&path, content.into().into(), put).await.unwrap();
        record(key, &self.bucket.head(&path).await.unwrap().e_tag.unwrap())
    }

    async fn handle(&self, records: &[Value]) -> Handled {
        self.deliver(&json!({ "Records": records }).to_string(), 1).await
    }

    async fn deliver(&self, body: &str, receives: u32) -> Handled {
        let attributes = json!({"ApproximateReceiveCount": receives.to_string(), "SentTimestamp": (NOW_MS - 7_000).to_string()});
        let message = json!({"messageId": "m-1", "receiptHandle": "handle", "body": body, "attributes": attributes});
        let call = Call { request_id: "request-1", deadline_ms: NOW_MS + 900_000, trace: None, now_ms: NOW_MS };
        let mut log = Vec::new();
        let event = json!({ "Records": [message] }).to_string();
        let answer = self.function.handle(&event, call, fastrand::Rng::with_seed(7), &mut log).await.unwrap();
        let log = String::from_utf8(log).unwrap();
        assert!(!log.contains("canary"), "{log}");
        let mut log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Handled { stay: answer.failures.len(), counts: log.pop().unwrap(), log }
    }

    async fn read(&self, key: &str) -> Option<Value> {
        let object = self.bucket.get(&Path::parse(key).unwrap()).await.ok()?;
        Some(serde_json::from_slice(&object.bytes().await.unwrap()).unwrap())
    }

    async fn report(&self) -> Value {
        self.read(&format!("{KEY}.report.json")).await.expect("expected a report")
    }

    fn files_taken(&self) -> usize {
        self.m3ter.taken.lock().unwrap().len()
    }
}

fn record(key: &str, etag: &str) -> Value {
    let key = key.replace(' ', "+").replace('&', "%26");
    let object = json!({"key": key, "size": 7, "eTag": etag.trim_matches('"'), "sequencer": "0055AED6DCD90281E5"});
    json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "bucket"}, "object": object}})
}

fn row(uid: &str) -> String {
    let row = json!({"uid": uid, "meter": "m", "account": "a", "ts": "2026-05-31T23:00:00Z", "measure": {"n": 1}});
    format!("{row}\n")
}

fn counts<const N: usize>(handled: &Handled, names: [&str; N]) -> [u64; N] {
    names.map(|name| handled.counts[name].as_u64().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_file_is_sent_and_its_message_stays_until_m3ter_has_processed_it() {
    let world = World::new();
    *world.m3ter.status.lock().unwrap() = "running";
    let told = world.put(KEY, row("u-1") + &row("u-2") + &row("u-1"), &[]).await;
    let first = world.handle(std::slice::from_ref(&told)).await;
    assert_eq!((first.stay, world.files_taken(), world.waits.0.lock().unwrap().len()), (1, 1, 1));
    assert_eq!(counts(&first, ["Received", "Returned", "UploadsDone", "OldestReturnedAge"]), [1, 1, 0, 7_000]);
    assert_eq!(world.read(&format!("{KEY}.report.json")).await, None);

    *world.m3ter.status.lock().unwrap() = "succeeded";
    let second = world.handle(&[told]).await;
    assert_eq!((second.stay, world.files_taken()), (0, 1));
    assert_eq!(counts(&second, ["UploadsDone", "UploadRows", "UploadQuarantined", "UploadPartsSent"]), [1, 3, 0, 1]);
    let report = world.report().await;
    assert_eq!(
        (&report["status"], &report["rows"], &report["sent"], &report["copies"]),
        (&json!("done"), &json!(3), &json!(2), &json!(1))
    );
    assert_eq!((&report["file"], &report["parts"][0]["jobs"][0]), (&json!(format!("s3://bucket/{KEY}")), &json!("job-1")));
    assert_eq!(second.counts["level"], "info");
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_comes_again_changes_nothing_and_is_not_counted_again() {
    let world = World::new();
    let told = world.put(KEY, row("u-1"), &[]).await;
    assert_eq!(world.handle(std::slice::from_ref(&told)).await.stay, 0);
    let report = world.report().await;
    let again = world.handle(&[told]).await;
    assert_eq!((again.stay, world.files_taken(), world.report().await), (0, 1, report));
    assert_eq!(counts(&again, ["UploadsDone", "UploadRows", "UploadPartsSent"]), [0; 3]);
    assert!(again.log.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bad_rows_are_quarantined_and_reported_with_line_and_reason_and_the_others_are_sent() {
    let world = World::new();
    let told = world.put(KEY, row("u-1") + "not JSON\n" + &row("u-3").replace("\"m\"", "\" m\"") + &row("u-2"), &[]).await;
    let handled = world.handle(&[told]).await;
    assert_eq!(counts(&handled, ["UploadsDone", "UploadRows", "UploadQuarantined"]), [1, 4, 2]);
    assert_eq!(handled.counts["level"], "warn");
    let report = world.report().await;
    let bad: Vec<_> = report["quarantined_by_reason"].as_object().unwrap().values().collect();
    let lines: Vec<_> = bad.iter().map(|reason| reason["examples"][0]["line"].as_u64().unwrap()).collect();
    assert_eq!((bad.len(), report["quarantined"].clone(), report["sent"].clone()), (2, json!(2), json!(2)));
    assert!(lines.contains(&2) && lines.contains(&3), "{lines:?}");
    let kept = world.function.office.store.quarantined().await.unwrap();
    let id = report["upload"].as_str().unwrap();
    assert!(kept.len() == 2 && kept.iter().all(|entry| entry.message_id == id), "{kept:?}");
    assert!(report["what_to_do"].as_str().unwrap().contains(id));
}

#[tokio::test(start_paused = true)]
async fn what_stands_beside_a_file_says_how_it_is_uploaded() {
    let world = World::new();
    let bare = row("x").replace("\"uid\":\"x\",", "").replace(",\"uid\":\"x\"", "");
    assert!(!bare.contains("uid"), "{bare}");
    let told = world.put(KEY, bare.clone(), &[("mint", "content"), ("first-sent", "never")]).await;
    assert_eq!(counts(&world.handle(&[told]).await, ["UploadsDone", "UploadQuarantined"]), [1, 0]);
    let told = world.put("uploads/other", bare, &[]).await;
    assert_eq!(counts(&world.handle(&[told]).await, ["UploadsDone", "UploadQuarantined"]), [1, 1]);
}

/// Such a file is refused with what was expected, and m3ter hears nothing of it.
async fn check_refused(content: &[u8], metadata: &[(&'static str, &'static str)], expected: &str) {
    let world = World::new();
    let told = world.put(KEY, content, metadata).await;
    let handled = world.handle(std::slice::from_ref(&told)).await;
    assert_eq!((handled.stay, world.files_taken()), (0, 0));
    assert_eq!(counts(&handled, ["UploadsDone", "UploadsFailed", "UploadRows"]), [0, 1, 0]);
    let report = world.report().await;
    assert_eq!(report["status"], "refused");
    assert!(report["because"].as_str().unwrap().contains(expected), "{report}");
    assert_eq!(counts(&world.handle(&[told]).await, ["UploadsFailed"]), [0], "it was said already");
}

#[tokio::test(start_paused = true)]
async fn a_parquet_file_is_refused_with_the_advice_to_use_the_command_line() {
    check_refused(b"PAR1\x15\x04\x15\x10", &[], "usage-relay upload FILE").await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_cannot_be_read_refuses_its_file() {
    check_refused(row("u-1").as_bytes(), &[("first-sent", "yesterday")], "2026-11-01T00:00:00Z").await;
    check_refused(row("u-1").as_bytes(), &[("mint", "uuid")], "x-amz-meta-mint to be content").await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_to_its_end_is_not_sent_at_all() {
    let world = World::new();
    let told = world.put(KEY, b"\x28\xb5\x2f\xfdbroken".as_slice(), &[]).await;
    let handled = world.handle(&[told]).await;
    assert_eq!((handled.stay, counts(&handled, ["UploadsFailed", "UploadsDone"])), (0, [1, 0]));
    let report = world.report().await;
    assert_eq!(report["status"], "failed");
    assert!(report["because"].as_str().unwrap().starts_with("nothing was sent: line 1"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_deleted_or_replaced_before_it_was_read_is_done_with_and_counts_as_failed() {
    for replaced in [false, true] {
        let world = World::new();
        let told = world.put(KEY, row("u-1"), &[]).await;
        world.bucket.delete(&Path::parse(KEY).unwrap()).await.unwrap();
        if replaced {
            world.put(KEY, row("u-2"), &[]).await;
        }
        let handled = world.handle(&[told]).await;
        assert_eq!((handled.stay, world.files_taken(), handled.log.len()), (0, 0, 1));
        assert_eq!(counts(&handled, ["UploadsDone", "UploadsFailed"]), [0, 1], "somebody waits for it");
        assert_eq!(world.read(&format!("{KEY}.report.json")).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_deleted_after_it_was_read_is_gone_on_with() {
    let world = World::new();
    *world.m3ter.status.lock().unwrap() = "running";
    let told = world.put(KEY, row("u-1"), &[]).await;
    assert_eq!(world.handle(std::slice::from_ref(&told)).await.stay, 1);
    world.bucket.delete(&Path::parse(KEY).unwrap()).await.unwrap();
    *world.m3ter.status.lock().unwrap() = "succeeded";
    assert_eq!(counts(&world.handle(&[told]).await, ["UploadsDone", "Returned"]), [1, 0]);
    assert_eq!(world.report().await["status"], "done");
}

#[tokio::test(start_paused = true)]
async fn the_report_of_a_file_that_was_replaced_is_not_written_over_that_of_the_other() {
    let world = World::new();
    *world.m3ter.status.lock().unwrap() = "running";
    let told = world.put(KEY, row("u-1"), &[]).await;
    assert_eq!(world.handle(std::slice::from_ref(&told)).await.stay, 1);
    world.put(KEY, row("u-2"), &[]).await;
    *world.m3ter.status.lock().unwrap() = "succeeded";
    assert_eq!(counts(&world.handle(std::slice::from_ref(&told)).await, ["UploadsDone"]), [1]);
    assert_eq!(world.read(&format!("{KEY}.report.json")).await, None);
    assert_eq!(counts(&world.handle(&[told]).await, ["UploadsDone"]), [0], "once");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_m3ter_does_not_process_is_sent_again_and_then_reported_with_how_to_resume() {
    let world = World::new();
    *world.m3ter.status.lock().unwrap() = "failed";
    let told = world.put(KEY, row("u-1"), &[]).await;
    let handled = world.handle(&[told]).await;
    assert_eq!((handled.stay, world.files_taken()), (0, 3));
    assert_eq!(counts(&handled, ["UploadsFailed", "UploadPartsSent"]), [1, 0]);
    let report = world.report().await;
    let advice = format!("usage-relay upload --resume {}", report["upload"].as_str().unwrap());
    assert!(report["what_to_do"].as_str().unwrap().ends_with(&advice), "{report}");
}

#[tokio::test(start_paused = true)]
async fn each_file_of_a_message_is_done_and_the_message_waits_for_the_last() {
    let world = World::new();
    let told = [world.put(KEY, row("u-1"), &[]).await, world.put("uploads/b", row("u-2"), &[]).await];
    let handled = world.handle(&told).await;
    assert_eq!((handled.stay, counts(&handled, ["Received", "UploadsDone"])), (0, [1, 2]));

    let world = World::new();
    let done = world.put(KEY, row("u-1"), &[]).await;
    world.handle(std::slice::from_ref(&done)).await;
    *world.m3ter.status.lock().unwrap() = "running";
    let other = world.put("uploads/b", row("u-2"), &[]).await;
    assert_eq!(world.handle(&[done, other]).await.stay, 1);
}

#[tokio::test(start_paused = true)]
async fn reports_folders_and_s3s_test_are_done_with_in_silence() {
    let world = World::new();
    let mut folder = record("uploads/2026/", "e");
    folder["s3"]["object"]["size"] = json!(0);
    let handled = world.handle(&[record(&format!("{KEY}.report.json"), "e"), folder]).await;
    assert_eq!((handled.stay, handled.log.len()), (0, 0));
    let handled = world.deliver(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"bucket"}"#, 1).await;
    assert_eq!((handled.stay, handled.log.len(), counts(&handled, ["UploadsFailed"])), (0, 0, [0]));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_tells_of_no_file_stays_and_rings() {
    for body in ["canary", r#"{"Records":[{"canary":1}]}"#, &json!({"Records": [record("relay/ledger/canary", "e")]}).to_string()]
    {
        let world = World::new();
        let handled = world.deliver(body, 1).await;
        assert_eq!((handled.stay, counts(&handled, ["UploadsFailed", "Returned"])), (1, [1, 1]), "{body}");
        assert_eq!(world.waits.0.lock().unwrap()[..], [WAIT_MAX_S]);
    }
}

#[tokio::test(start_paused = true)]
async fn while_m3ter_does_not_let_us_a_file_waits_longer_each_time_and_nothing_of_it_is_lost() {
    let world = World::new();
    *world.m3ter.refuses_with.lock().unwrap() = 403;
    let told = world.put(KEY, row("u-1"), &[]).await;
    let body = json!({ "Records": [told] }).to_string();
    for receives in [1, 4, 11] {
        let handled = world.deliver(&body, receives).await;
        assert_eq!((handled.stay, counts(&handled, ["UploadsStuck", "UploadsFailed"])), (1, [1, 0]));
        assert_eq!(handled.counts["level"], "error");
    }
    assert_eq!(world.waits.0.lock().unwrap()[..], [1, 8, 900]);
    *world.m3ter.refuses_with.lock().unwrap() = 200;
    assert_eq!(counts(&world.deliver(&body, 12).await, ["UploadsDone"]), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_reached_under_its_name_rings() {
    let world = World::new();
    let handled = world.handle(&[record("uploads//canary", "e")]).await;
    assert_eq!((handled.stay, counts(&handled, ["UploadsFailed"])), (0, [1]));
    assert_eq!(handled.log[0]["level"], "error");
}

#[test]
fn an_upload_is_cut_off_before_its_report_is_due_and_that_before_the_end() {
    let times = Times::of(Duration::from_secs(900));
    assert!(times.steps < times.cut_off && times.cut_off < times.reports);
    assert!(times.reports < Instant::now() + Duration::from_secs(900));
}
