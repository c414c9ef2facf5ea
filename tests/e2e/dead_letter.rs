//! The function that keeps what the queue gave up: a message leaves the dead-letter queue only when the store has it.
//!
//! Every delivery is held to what has no exception: it is answered before the deadline and by the contract, one line closes its
//! accounts and they balance, and nothing but a put was asked of AWS. Nothing that it ever printed quotes a customer.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use relay_store::Entry;
use runtime_api::{AwsStub, Function, FunctionSpec, ObjectFault, Outcome, Record, SqsEvent, StartError, check_response};
use serde_json::{Value, json};

use crate::usage::CANARY;
use crate::world::{STORE_URL, binary, quarantine_objects, quarantined, until};

const QUEUE_ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:usage";
const DEAD_ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:usage-dead";
/// What a function of Lambda's smallest size has.
const SMALLEST_FUNCTION_BYTES: u64 = 128 << 20;

/// The running function and its outside.
struct Desk {
    aws: AwsStub,
    function: Function,
}

/// What came back from one delivery.
struct Delivery {
    returned: Vec<String>,
    line: Value,
}

impl Desk {
    async fn start(timeout: Duration) -> Desk {
        let aws = AwsStub::start().await.unwrap();
        let function = Function::start(spec(&aws).timeout(timeout)).await.unwrap();
        Desk { aws, function }
    }

    #[track_caller]
    fn deliver(&mut self, event: &SqsEvent) -> impl Future<Output = Delivery> {
        let caller = std::panic::Location::caller();
        async move {
            let invocation = self.function.invoke(event).await;
            let Outcome::Response(answer) = &invocation.outcome else {
                panic!("{caller}: no answer: {:?}\n{:?}", invocation.outcome, self.function.output());
            };
            assert!(invocation.deadline_slack > Duration::ZERO && invocation.idle, "{caller}: {invocation:?}");
            let returned = check_response(event, answer).unwrap();
            let lines = self.function.output().stdout.lines();
            let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
            let mut lines = lines.filter(|line| line["requestId"] == invocation.request_id.as_str());
            let (Some(line), None) = (lines.next(), lines.next()) else { panic!("{caller}: one line closes the accounts") };
            let count = |name: &str| line[name].as_u64().unwrap();
            assert_eq!(count("Received"), count("Stored") + count("Returned"), "{caller}: {line}");
            assert_eq!(count("Returned"), returned.len() as u64, "{caller}: {line}");
            Delivery { returned, line }
        }
    }

    /// Delivers what cannot be stored: everything stays, and a person is told.
    async fn cannot_store(&mut self, event: &SqsEvent) {
        let Delivery { mut returned, line } = self.deliver(event).await;
        let mut ids = event.message_ids().to_vec();
        returned.sort();
        ids.sort();
        assert_eq!((returned, &line["StoreFailed"], &line["level"]), (ids, &json!(1), &json!("error")));
    }

    /// Delivers what can be stored: nothing stays.
    async fn stores(&mut self, event: &SqsEvent) {
        let Delivery { returned, line } = self.deliver(event).await;
        assert_eq!((returned.len(), &line["StoreFailed"], &line["level"]), (0, &json!(0), &json!("warn")));
        assert_eq!(line["Stored"], event.message_ids().len());
    }

    /// What is in the quarantine, in the order of message ids.
    async fn kept(&self) -> Vec<Entry> {
        let mut kept = quarantined(&self.aws).await;
        kept.sort_by(|one, other| one.message_id.cmp(&other.message_id));
        kept
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
        assert!(self.aws.unexpected().is_empty(), "{:?}", self.aws.unexpected());
    }
}

/// The function as the template sets it up.
fn spec(aws: &AwsStub) -> FunctionSpec {
    FunctionSpec::new(binary("dead-letter"))
        .env("STORE_URL", STORE_URL)
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_SECRET_ACCESS_KEY", "canary-aws-secret")
        .env("AWS_SESSION_TOKEN", "canary-aws-session")
}

/// A message as the dead-letter queue delivers it.
fn dead(id: &str, body: impl Into<String>) -> Record {
    let system = json!({
        "ApproximateReceiveCount": "1001", "SentTimestamp": "1780000000000", "ApproximateFirstReceiveTimestamp": "1780000000500",
        "DeadLetterQueueSourceArn": QUEUE_ARN,
    });
    Record::new(body).message_id(id).attribute("note", "canary-attribute").with("attributes", system)
}

fn event(records: impl IntoIterator<Item = Record>) -> SqsEvent {
    SqsEvent::builder().queue_arn(DEAD_ARN).records(records).build().unwrap()
}

fn three() -> SqsEvent {
    event(["a", "b", "c"].map(|id| dead(id, format!("canary-body-{id}"))))
}

const WELL: Duration = Duration::from_secs(60);
/// Less than the 5 s after which the store's client gives up by itself: it is the invocation's own bound that is tested.
const SHORT: Duration = Duration::from_secs(4);

#[tokio::test]
async fn what_the_queue_gave_up_is_kept_with_its_body_and_attributes_and_nothing_else_is_asked_of_aws() {
    let mut desk = Desk::start(WELL).await;
    desk.stores(&three()).await;
    let kept = desk.kept().await;
    let bodies: Vec<_> = kept.iter().map(|entry| (entry.message_id.as_str(), entry.body.as_deref().unwrap())).collect();
    assert_eq!(bodies, [("a", "canary-body-a"), ("b", "canary-body-b"), ("c", "canary-body-c")]);
    for entry in &kept {
        assert_eq!((entry.reason.as_str(), entry.stage.as_str(), entry.receives), ("DeliveryExhausted", "delivery", 1_001));
        assert_eq!((entry.source_arn.as_str(), entry.first_sent_at), (QUEUE_ARN, Some(1_780_000_000_000)));
        let attributes: Vec<_> = entry.attributes.iter().flat_map(|all| all.iter()).map(|one| one.value.as_str()).collect();
        assert_eq!(attributes, ["canary-attribute"]);
    }
    let before_reading: Vec<_> = desk.aws.objects().calls().into_iter().filter(|call| !call.starts_with("GET")).collect();
    assert_eq!((before_reading.len(), quarantine_objects(&desk.aws)), (1, 1), "{before_reading:?}");
}

#[tokio::test]
async fn while_the_store_is_down_everything_stays_and_afterwards_nothing_is_missing() {
    let mut desk = Desk::start(WELL).await;
    let pid = desk.function.pid();
    desk.aws.objects().fault(ObjectFault::FailPuts);
    desk.cannot_store(&three()).await;
    desk.cannot_store(&three()).await;
    desk.aws.objects().fault(None);
    desk.stores(&three()).await;
    assert_eq!((desk.kept().await.len(), desk.function.pid()), (3, pid));
}

#[tokio::test]
async fn what_was_written_and_never_confirmed_stays_and_is_one_entry_however_often_it_was_written() {
    let mut desk = Desk::start(WELL).await;
    desk.aws.objects().fault(ObjectFault::LosePutAnswers);
    desk.cannot_store(&three()).await;
    assert_eq!(quarantine_objects(&desk.aws), 1, "it is there, but nobody said so");
    desk.aws.objects().fault(None);
    desk.stores(&three()).await;
    assert_eq!((quarantine_objects(&desk.aws), desk.kept().await.len()), (2, 3));
}

#[tokio::test]
async fn a_store_that_hangs_does_not_outlast_the_deadline() {
    let mut desk = Desk::start(SHORT).await;
    let pid = desk.function.pid();
    desk.aws.objects().fault(ObjectFault::HangAll);
    desk.cannot_store(&three()).await;
    desk.aws.objects().fault(None);
    desk.stores(&three()).await;
    assert_eq!(desk.function.pid(), pid);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_writing_loses_nothing() {
    let mut desk = Desk::start(WELL).await;
    desk.aws.objects().fault(ObjectFault::HangPuts);
    let (killer, objects, event) = (desk.function.killer(), desk.aws.objects().clone(), three());
    let killing = async {
        until(|| !objects.calls().is_empty()).await;
        killer.kill().unwrap();
    };
    let (invocation, ()) = tokio::join!(desk.function.invoke(&event), killing);
    assert!(matches!(invocation.outcome, Outcome::Exited(status) if status.signal() == Some(9)), "{invocation:?}");
    assert_eq!(quarantine_objects(&desk.aws), 0);
    desk.aws.objects().fault(None);
    desk.function.respawn().await.unwrap();
    desk.stores(&event).await;
    assert_eq!(desk.kept().await.len(), 3);
}

#[tokio::test]
async fn bodies_of_any_kind_come_through_as_they_were() {
    let mut desk = Desk::start(WELL).await;
    let bodies = ["{\"measurements\":[", "\u{0}\r\n\"\\ \u{2028} \u{1f4a5}", "[[[[[[", "null", "", "{\"uid\":\"canary\"}"];
    desk.stores(&event(bodies.iter().enumerate().map(|(number, body)| dead(&number.to_string(), *body)))).await;
    let kept: Vec<_> = desk.kept().await.into_iter().map(|entry| entry.body.unwrap()).collect();
    assert_eq!(kept, bodies);
}

/// Lambda hands over no such event; whatever it is, nothing is lost by it.
#[tokio::test]
async fn an_event_that_is_no_text_or_none_of_sqs_fails_and_the_next_is_handled_by_the_same_process() {
    let mut desk = Desk::start(WELL).await;
    let pid = desk.function.pid();
    for odd in [&b"{\"Records\":[{\"body\":\"canary \xff\xfe\"}]}"[..], b"{\"canary\":1}", b"null"] {
        let invocation = desk.function.invoke(odd.to_vec()).await;
        assert!(matches!(&invocation.outcome, Outcome::Error { .. }), "{invocation:?}");
        assert!(invocation.idle && !format!("{:?}", invocation.outcome).contains(CANARY), "{invocation:?}");
    }
    assert_eq!(quarantine_objects(&desk.aws), 0);
    desk.stores(&three()).await;
    assert_eq!(desk.function.pid(), pid);
}

/// SQS takes 1 MiB a message, and Lambda hands over 6 MB; an emulator hands over all ten.
#[tokio::test]
async fn ten_messages_of_a_mebibyte_are_kept_and_the_smallest_function_lives() {
    let mut desk = Desk::start(WELL).await;
    let body = |number: usize| format!("{{\"canary\":\"{number}\",\"quotes\":\"{}\"}}", "\"\n".repeat(1 << 19));
    desk.stores(&event((0..10).map(|number| dead(&number.to_string(), body(number))))).await;
    let usage = desk.function.usage().unwrap();
    let peak_mib = usage.peak_rss_bytes >> 20;
    // Not through the test's captured output: a figure is of use only where it is seen.
    writeln!(std::io::stderr(), "10 dead letters of 1 MiB: {:.0?} of processor time, peak memory {peak_mib} MiB", usage.cpu)
        .unwrap();
    assert!(usage.peak_rss_bytes < SMALLEST_FUNCTION_BYTES, "{peak_mib} MiB");
    let kept = desk.kept().await;
    assert!(kept.len() == 10 && kept.iter().enumerate().all(|(number, entry)| entry.body == Some(body(number))));
}

#[tokio::test]
async fn without_a_store_it_refuses_to_start_and_says_what_it_expected() {
    let aws = AwsStub::start().await.unwrap();
    let refusal = Function::start(spec(&aws).env("STORE_URL", "file:///canary")).await.expect_err("it refuses to start");
    let StartError::Exited { output, .. } = refusal else { panic!("{refusal:?}") };
    let line: Value = serde_json::from_str(&output.stdout.text()).unwrap();
    assert_eq!(
        (&line["message"], &line["detail"]),
        (&json!("refused to start"), &json!("STORE_URL: expected s3://bucket/prefix"))
    );
}
