//! The function that fetches m3ter's later answer and looks at the quarantine, as a process: what it cannot see it does not call
//! nothing.
//!
//! Every round is held to what has no exception: it is answered before the deadline, one line closes it, and nothing was asked of
//! AWS but what its role allows. Nothing that it ever printed quotes a customer.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use m3ter_client::Clock;
use relay_core::limits::DAY_MS;
use relay_store::{
    Action, EntryText, LedgerAnswer, LedgerMode, LedgerWrite, Marker, NewEntry, NewLine, S3Access, Store, quarantine_id,
};
use runtime_api::{Function, FunctionSpec, ObjectFault, Outcome, StartError, epoch_ms};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::usage::CANARY;
use crate::world::{BOUND, Outside, SECRET_ARN, STORE_URL, binary};

const QUEUE_ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:usage";
const WELL: Duration = Duration::from_secs(60);
/// Less than the 5 s after which the store's client gives up by itself: it is the invocation's own bound that is tested.
const SHORT: Duration = Duration::from_secs(4);
/// What a schedule of EventBridge sends.
const SCHEDULED: &str = r#"{"version":"0","detail-type":"Scheduled Event","source":"aws.events","detail":{}}"#;
/// Half of what the template gives the function.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// What it may write below, as its role says.
const MAY_WRITE: [&str; 4] = ["relay/watch/", "relay/quarantine/", "relay/catalogue/", "relay/probe/"];

/// The running function and its outside.
struct Watch {
    outside: Outside,
    function: Function,
    store: Store,
    now_ms: i64,
}

/// What came of one look.
struct Looked {
    answer: Result<Value, String>,
    line: Value,
}

impl Watch {
    async fn start(timeout: Duration) -> Watch {
        let outside = Outside::start().await;
        let function = Function::start(spec(&outside).timeout(timeout)).await.unwrap();
        let access = S3Access {
            region: Some("eu-central-1".into()),
            endpoint: Some(outside.aws.url()),
            access_key_id: "test".into(),
            secret_access_key: "test".into(),
            ..S3Access::default()
        };
        let store = Store::open(STORE_URL, &access).unwrap();
        Watch { outside, function, store, now_ms: i64::try_from(epoch_ms()).unwrap() }
    }

    /// Quarantines measurements in one object, so long ago; they were sent then.
    async fn keep(&self, name: &str, ago_ms: i64, count: usize) {
        let text =
            |number| format!(r#"{{"uid":"canary-{name}-{number}","meter":"m","account":"canary","ts":"2026-01-01T00:00:00Z"}}"#);
        let texts: Vec<String> = (0..count).map(text).collect();
        let entries = texts.iter().enumerate().map(|(position, text)| NewEntry {
            qid: None,
            uid: Some("canary"),
            reason: "MeterInvalid",
            detail: "expected better",
            stage: "submit",
            first_sent_at_ms: Some(self.now_ms - ago_ms),
            message_id: name,
            position,
            source: QUEUE_ARN,
            attributes: Vec::new(),
            queued_at_ms: None,
            first_received_at_ms: None,
            receives: 1,
            origin: None,
            text: EntryText::Measurement(text),
        });
        self.store.quarantine(name, self.now_ms - ago_ms, entries, Instant::now() + BOUND).await.unwrap();
    }

    async fn drop(&self, name: &str, position: usize) {
        let (by, because, new_uid, supersedes) = Default::default();
        let (action, at, run) = (Action::Drop, self.now_ms, Uuid::nil());
        let marker = Marker { action, at, run, by, because, new_uid, supersedes, beyond_window: false };
        let qid = quarantine_id(QUEUE_ARN, name, position);
        self.store.mark(qid, "drop", &marker, Instant::now() + BOUND).await.unwrap();
    }

    #[track_caller]
    fn look(&mut self, event: &str) -> impl Future<Output = Looked> {
        let (caller, event) = (std::panic::Location::caller(), event.to_owned());
        async move {
            let invocation = self.function.invoke(event).await;
            assert!(invocation.deadline_slack > Duration::ZERO && invocation.idle, "{caller}: {invocation:?}");
            let answer = match &invocation.outcome {
                Outcome::Response(answer) => Ok(serde_json::from_slice(answer).unwrap()),
                Outcome::Error { message, .. } => Err(message.clone()),
                Outcome::TimedOut | Outcome::Exited(_) => panic!("{caller}: no answer: {invocation:?}"),
            };
            let lines = self.function.output().stdout.lines();
            let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
            let is_closing =
                |line: &Value| line["requestId"] == invocation.request_id.as_str() && line["message"] == "invocation";
            let mut lines = lines.filter(is_closing);
            let (Some(line), None) = (lines.next(), lines.next()) else { panic!("{caller}: one line closes the look") };
            Looked { answer, line }
        }
    }

    /// The quarantine is counted each hour: this makes it due again.
    fn forget(&self) {
        self.outside.aws.objects().put("store", "relay/watch/v1/cursor.json", "{}");
    }

    /// Looks; what is open, leaves soon, is outside, could not be read.
    async fn counts(&mut self, event: &str, expected: [u64; 4]) {
        self.forget();
        let Looked { answer, line } = self.look(event).await;
        let answer = answer.unwrap();
        let counts = ["QuarantineOpen", "LeavesWindowSoon", "OutsideWindow", "Unreadable"];
        assert_eq!(counts.map(|name| line[name].as_u64().unwrap()), expected, "{line}");
        let told = ["leaves_window_soon", "outside_window", "unreadable"].map(|name| answer["looked"][name].as_u64().unwrap());
        assert_eq!((&told[..], &line["LookFailed"]), (&expected[1..], &json!(0)));
    }

    /// Looks where nothing can be seen: an error, and no count.
    async fn sees_nothing(&mut self) {
        let Looked { answer, line } = self.look(SCHEDULED).await;
        assert!(answer.unwrap_err().starts_with("expected"));
        assert_eq!((&line["level"], &line["EventsUnreadable"]), (&json!("error"), &json!(1)));
        assert!(line.get("LeavesWindowSoon").is_none() && line.get("QuarantineOpen").is_none(), "{line}");
    }
}

impl Drop for Watch {
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
    }
}

/// The function as the template sets it up.
fn spec(outside: &Outside) -> FunctionSpec {
    FunctionSpec::new(binary("ingest-watch"))
        .env("M3TER_ORG_ID", outside.sandbox.organisation())
        .env("M3TER_API_URL", outside.m3ter.url())
        .env("M3TER_SECRET_ARN", SECRET_ARN)
        .env("STORE_URL", STORE_URL)
        .env("AWS_ENDPOINT_URL", outside.aws.url())
        .env("AWS_SECRET_ACCESS_KEY", "canary-aws-secret")
        .env("AWS_SESSION_TOKEN", "canary-aws-session")
}

#[tokio::test]
async fn what_is_open_is_counted_by_its_age_and_nothing_is_written_but_where_its_role_allows() {
    let mut watch = Watch::start(WELL).await;
    watch.counts(SCHEDULED, [0, 0, 0, 0]).await;
    watch.keep("young", DAY_MS, 3).await;
    watch.keep("soon", 31 * DAY_MS, 2).await;
    watch.keep("late", 35 * DAY_MS, 1).await;
    let before = watch.outside.aws.objects().calls().len();
    watch.counts(SCHEDULED, [6, 2, 1, 0]).await;
    let asked = watch.outside.aws.objects().calls().split_off(before);
    let may = |call: &String| match call.split_once(' ') {
        Some(("GET" | "HEAD", _)) => true,
        Some(("PUT", name)) => MAY_WRITE.iter().any(|folder| name.contains(folder)),
        _ => false,
    };
    assert!(!asked.is_empty() && asked.iter().all(may), "{asked:?}");
    watch.drop("soon", 0).await;
    watch.drop("late", 0).await;
    for event in ["{}", "null", "[]", "\"by hand\"", SCHEDULED] {
        watch.counts(event, [4, 1, 0, 0]).await;
    }
}

#[tokio::test]
async fn a_store_that_hangs_does_not_outlast_the_deadline_and_counts_nothing() {
    let mut watch = Watch::start(SHORT).await;
    let pid = watch.function.pid();
    watch.keep("soon", 31 * DAY_MS, 1).await;
    watch.outside.aws.objects().fault(ObjectFault::HangAll);
    watch.sees_nothing().await;
    watch.outside.aws.objects().fault(None);
    watch.counts(SCHEDULED, [1, 1, 0, 0]).await;
    assert_eq!(watch.function.pid(), pid);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_an_error_and_counts_nothing() {
    let mut watch = Watch::start(WELL).await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed again at once
    let spec = spec(&watch.outside).env("AWS_ENDPOINT_URL", format!("http://{closed}"));
    watch.function = Function::start(spec.timeout(WELL)).await.unwrap();
    watch.sees_nothing().await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_and_hides_no_other() {
    let mut watch = Watch::start(WELL).await;
    watch.keep("soon", 31 * DAY_MS, 2).await;
    let whole = watch.outside.aws.objects().stored().pop().unwrap();
    let torn = whole.body.slice(..whole.body.len() / 2);
    watch.outside.aws.objects().put(&whole.bucket, &whole.key.replace("soon", "torn"), torn);
    let Looked { answer, line } = watch.look(SCHEDULED).await;
    assert_eq!((&answer.unwrap()["looked"]["is_whole"], &line["level"]), (&json!(false), &json!("error")));
    assert_eq!((&line["LeavesWindowSoon"], &line["Unreadable"]), (&json!(2), &json!(1)));
    assert!(line.get("OutsideWindow").is_none(), "whether there are none nobody knows: {line}");
}

/// In objects of 10,000, each as an invocation would write it.
#[tokio::test]
async fn a_hundred_thousand_entries_are_counted_in_half_of_the_functions_memory() {
    const OBJECTS: usize = 10;
    let mut watch = Watch::start(WELL).await;
    for object in 0..OBJECTS {
        watch.keep(&format!("m-{object}"), 31 * DAY_MS, 10_000).await;
    }
    let (count, began) = (OBJECTS as u64 * 10_000, Instant::now());
    watch.counts(SCHEDULED, [count, count, 0, 0]).await;
    let (usage, took) = (watch.function.usage().unwrap(), began.elapsed());
    let peak_mib = usage.peak_rss_bytes >> 20;
    // Not through the test's captured output: a figure is of use only where it is seen.
    writeln!(std::io::stderr(), "{count} entries: {took:.1?}, {:.1?} of processor time, peak memory {peak_mib} MiB", usage.cpu)
        .unwrap();
    assert!(usage.peak_rss_bytes < MEMORY_BYTES_MAX, "{peak_mib} MiB");
}

#[tokio::test]
async fn without_a_store_it_refuses_to_start_and_says_what_it_expected() {
    let outside = Outside::start().await;
    let refusal = Function::start(spec(&outside).env("STORE_URL", "memory:")).await.expect_err("it refuses to start");
    let StartError::Exited { output, .. } = refusal else { panic!("{refusal:?}") };
    let line: Value = serde_json::from_str(&output.stdout.text()).unwrap();
    let said = (&line["message"], &line["detail"]);
    assert_eq!(said, (&json!("refused to start"), &json!("STORE_URL: expected s3://bucket/prefix")));
}

#[tokio::test]
async fn what_m3ter_rejected_later_is_in_the_quarantine_after_one_round_and_stays_one_entry() {
    let mut watch = Watch::start(WELL).await;
    let original =
        r#"{"uid":"canary-1","meter":"nobody","account":"canary","ts":"2026-01-01T00:00:00Z","measure":{"calls":1.50}}"#;
    let body = format!(r#"{{"measurements":[{original}]}}"#);
    // Sent and recorded as the relay does.
    let line = NewLine {
        uid: "canary-1",
        meter: "nobody",
        account: "canary",
        ts: "2026-01-01T00:00:00Z",
        ts_ms: 1_767_225_600_000,
        batch: 1,
        message_id: "m-1",
        queued_at_ms: Some(watch.now_ms),
        sent_at_ms: watch.now_ms,
        attempts: 1,
        receives: 1,
        answer: LedgerAnswer::Accepted,
        origin: None,
        text: original,
    };
    let ledger = (LedgerMode::Full, LedgerWrite::Required);
    watch.store.record(ledger, "invocation", watch.now_ms, [line], Instant::now() + BOUND).await.unwrap();
    let clock = Clock::starting_at(watch.now_ms);
    let client = watch.outside.client();
    let session = client.session(clock, clock.budget(watch.now_ms + 60_000), None, fastrand::Rng::with_seed(7));
    session.submit(body.into()).await;
    for expected in [1, 0] {
        let Looked { line, .. } = watch.look(SCHEDULED).await;
        assert_eq!((&line["Rejected"], &line["EventsUnreadable"]), (&json!(expected), &json!(0)), "{line}");
    }
    let kept = watch.store.quarantined().await.unwrap();
    let [entry] = kept.as_slice() else { panic!("one entry was expected: {}", kept.len()) };
    assert_eq!((entry.stage.as_str(), entry.reason.as_str()), ("ingest", "UndefinedMeter"));
    assert_eq!(entry.measurement.as_ref().unwrap().get(), original, "to the digit");
}
