//! The function that sends files, as a process: a file goes the whole way, also where the store or m3ter fail on it.
//!
//! Every delivery is held to what has no exception: it is answered before the deadline and by the contract, one line closes it, and
//! nothing was asked of AWS but what its role allows. Nothing that it ever printed quotes a customer, or names a file.

use std::io::Write;
use std::time::Duration;

use m3ter_sandbox::{Fault, FaultRule, Route};
use runtime_api::{Function, FunctionSpec, ObjectFault, Outcome, Record, SqsEvent, StartError, check_response};
use serde_json::{Value, json};

use crate::usage::{CANARY, Producer, but};
use crate::world::{Outside, SECRET_ARN, STORE_URL, binary, quarantine_objects, until};

const QUEUE_URL: &str = "http://127.0.0.1/123456789012/files";
const KEY: &str = "uploads/canary (1).ndjson";
/// Enough for a file; the template gives it 900 s.
const WELL: Duration = Duration::from_secs(120);
/// A quarter of what the template gives it.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// The running function and its outside.
struct Desk {
    outside: Outside,
    function: Function,
    usage: Producer,
}

/// What came back from one delivery.
struct Delivery {
    stays: bool,
    line: Value,
}

impl Desk {
    async fn start() -> Desk {
        let outside = Outside::start().await;
        let function = Function::start(spec(&outside).timeout(WELL)).await.unwrap();
        let usage = Producer::at(&outside.sandbox);
        Desk { outside, function, usage }
    }

    fn rows(&self, name: &str, count: usize) -> Vec<Value> {
        self.usage.many(name, count)
    }

    /// Puts a file into the bucket, and gives back the message that S3 sends.
    fn put(&self, rows: &[Value], metadata: &[(&str, &str)]) -> String {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let etag = self.outside.aws.objects().put_with("store", KEY, text, metadata);
        told(&etag)
    }

    async fn deliver(&mut self, message: &str) -> Delivery {
        let event = SqsEvent::builder().record(Record::new(message)).build().unwrap();
        let invocation = self.function.invoke(&event).await;
        let Outcome::Response(answer) = &invocation.outcome else {
            panic!("no answer: {:?}\n{:?}", invocation.outcome, self.function.output());
        };
        assert!(invocation.deadline_slack > Duration::ZERO && invocation.idle, "{invocation:?}");
        let returned = check_response(&event, answer).unwrap();
        let lines = self.function.output().stdout.lines();
        let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        let mut lines = lines.filter(|line| line["requestId"] == invocation.request_id.as_str());
        let (Some(line), None) = (lines.next(), lines.next()) else { panic!("one line closes the accounts") };
        assert_eq!(line["Returned"].as_u64().unwrap(), returned.len() as u64);
        Delivery { stays: !returned.is_empty(), line }
    }

    /// Delivers a message as long as it stays; gives back the last delivery.
    async fn deliver_until_done(&mut self, message: &str) -> Delivery {
        for _ in 0..20 {
            let delivery = self.deliver(message).await;
            if !delivery.stays {
                return delivery;
            }
        }
        panic!("the message still stays: {:?}", self.function.output().stdout.lines().last());
    }

    fn report(&self) -> Option<Value> {
        let report = self.outside.aws.objects().get("store", &format!("{KEY}.report.json"))?;
        Some(serde_json::from_slice(&report.body).unwrap())
    }

    /// How many measurements m3ter counts, and how many copies it dropped.
    fn counted(&self) -> (u64, u64) {
        let totals = self.outside.sandbox.ledger().totals;
        (totals.ingested, totals.duplicates)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the test failed already, and says why
        }
        let output = self.function.output();
        for text in [output.stdout.text(), output.stderr.text()] {
            assert!(!text.contains(CANARY), "the function printed {CANARY:?}: {text}");
        }
        let aws = &self.outside.aws;
        assert!(aws.unexpected().is_empty(), "{:?}", aws.unexpected());
        for call in aws.objects().calls() {
            assert!(may_ask(&call), "its role does not allow {call}");
        }
    }
}

/// What its role says, of a call as `METHOD /bucket/key?query`.
fn may_ask(call: &str) -> bool {
    let (method, place) = call.split_once(' ').unwrap();
    let place = place.strip_prefix("/store").unwrap_or(place).trim_start_matches('/');
    let below = |folders: &[&str]| folders.iter().any(|folder| place.starts_with(folder));
    let key = place.split('?').next().unwrap_or_default();
    match method {
        "GET" if key.is_empty() => {
            ["prefix=uploads%2F", "prefix=relay%2Fupload-journals%2F"].iter().any(|list| place.contains(list))
        }
        "GET" | "HEAD" => below(&["uploads/", "relay/upload-journals/"]),
        "DELETE" => below(&["relay/upload-journals/"]),
        // A listing of deletions is one, too.
        "POST" if key.is_empty() => place.contains("delete"),
        "PUT" | "POST" => {
            below(&["relay/upload-journals/", "relay/ledger/", "relay/quarantine/"])
                || (below(&["uploads/"]) && key.ends_with(".report.json"))
        }
        _ => false,
    }
}

/// The message that S3 sends of the file with this entity tag.
fn told(etag: &str) -> String {
    let object = json!({"key": "uploads/canary+%281%29.ndjson", "size": 1, "eTag": etag.trim_matches('"')});
    let s3 = json!({"bucket": {"name": "store"}, "object": object});
    json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}]}).to_string()
}

/// The function as the template sets it up.
fn spec(outside: &Outside) -> FunctionSpec {
    FunctionSpec::new(binary("bulk-upload"))
        .env("M3TER_ORG_ID", outside.sandbox.organisation())
        .env("M3TER_API_URL", outside.m3ter.url())
        .env("M3TER_INGEST_URL", outside.m3ter.url())
        .env("M3TER_SECRET_ARN", SECRET_ARN)
        .env("STORE_URL", STORE_URL)
        .env("QUEUE_URL", QUEUE_URL)
        .env("MISSING_UID", "refuse")
        .env("LEDGER_MODE", "full")
        .env("LEDGER_WRITE", "required")
        .env("AWS_ENDPOINT_URL", outside.aws.url())
        .env("AWS_SECRET_ACCESS_KEY", "canary-aws-secret")
        .env("AWS_SESSION_TOKEN", "canary-aws-session")
}

#[tokio::test]
async fn a_file_goes_the_whole_way_and_its_bad_rows_into_the_quarantine() {
    let mut desk = Desk::start().await;
    let mut rows = desk.rows("a", 5);
    rows[3] = but(rows[3].clone(), "meter", Value::Null);
    let message = desk.put(&rows, &[]);
    let last = desk.deliver_until_done(&message).await;
    let counts =
        ["UploadsDone", "UploadRows", "UploadQuarantined", "UploadPartsSent"].map(|name| last.line[name].as_u64().unwrap());
    assert_eq!((counts, desk.counted()), ([1, 5, 1, 1], (4, 0)));
    let report = desk.report().unwrap();
    assert_eq!(
        (&report["status"], &report["quarantined_by_reason"]["MeterMissing"]["examples"][0]["line"]),
        (&json!("done"), &json!(4))
    );
    assert_eq!(quarantine_objects(&desk.outside.aws), 1);
    // Each wait was told to the queue, none longer than a quarter of an hour.
    assert!(desk.outside.aws.queue().changes().iter().all(|change| change.queue_url == QUEUE_URL && change.timeout_s <= 900));

    let again = desk.deliver(&message).await;
    assert_eq!((again.stays, again.line["UploadsDone"].as_u64(), desk.counted()), (false, Some(0), (4, 0)));
}

#[tokio::test]
async fn a_file_whose_store_fails_waits_and_is_sent_once_when_the_store_works() {
    let mut desk = Desk::start().await;
    let message = desk.put(&desk.rows("a", 3), &[]);
    desk.outside.aws.objects().fault(ObjectFault::FailPuts);
    let stuck = desk.deliver(&message).await;
    assert_eq!((stuck.stays, stuck.line["UploadsStuck"].as_u64(), desk.counted()), (true, Some(1), (0, 0)));
    desk.outside.aws.objects().fault(None);
    desk.deliver_until_done(&message).await;
    assert_eq!(desk.counted(), (3, 0));
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_asked_about_and_counted_once() {
    for fault in [Fault::DropAnswer, Fault::Truncate, Fault::Reset] {
        let mut desk = Desk::start().await;
        let message = desk.put(&desk.rows("a", 3), &[]);
        desk.outside.sandbox.add_fault(FaultRule::new(fault).on(Route::Upload).times(1));
        desk.deliver_until_done(&message).await;
        assert_eq!(desk.counted().0, 3);
        assert_eq!(desk.report().unwrap()["sent"], 3);
    }
}

/// Most of a large file is somewhere else: in the bucket, or on its way.
#[tokio::test]
async fn a_file_of_100_mib_takes_less_memory_than_it_has_bytes() {
    let mut desk = Desk::start().await;
    let note = "canary".repeat(8_500);
    let rows: Vec<Value> = desk.rows("a", 2_000).into_iter().map(|row| but(row, "metadata", json!({"note": note}))).collect();
    let message = desk.put(&rows, &[]);
    assert!(desk.deliver(&message).await.stays);
    let sandbox = desk.outside.sandbox.clone();
    until(|| sandbox.ledger().totals.ingested == 2_000).await;
    desk.deliver_until_done(&message).await;
    assert_eq!(desk.counted(), (2_000, 0));
    let peak = desk.function.usage().unwrap().peak_rss_bytes;
    writeln!(std::io::stderr(), "a file of 100 MiB: peak memory {} MiB", peak >> 20).unwrap();
    assert!(peak < MEMORY_BYTES_MAX, "{peak}");
}

#[tokio::test]
async fn a_file_that_is_gone_is_done_with_and_counts_as_failed() {
    let mut desk = Desk::start().await;
    let gone = desk.deliver(&told("\"0123\"")).await;
    assert_eq!((gone.stays, gone.line["UploadsFailed"].as_u64(), desk.report()), (false, Some(1), None));
}

#[tokio::test]
async fn without_its_settings_it_refuses_to_start_and_names_all_of_them() {
    let outside = Outside::start().await;
    let wrong = spec(&outside).env("STORE_URL", "memory:").env("MISSING_UID", "canary").env("QUEUE_URL", "");
    let StartError::Exited { status, output } = Function::start(wrong).await.unwrap_err() else { panic!("it ends by itself") };
    assert_eq!(status.code(), Some(1));
    let text = output.stdout.text();
    assert!(["STORE_URL", "MISSING_UID", "QUEUE_URL"].iter().all(|name| text.contains(name)) && !text.contains(CANARY), "{text}");
}
