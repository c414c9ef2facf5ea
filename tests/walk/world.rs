//! A world to deliver messages in: the shipped function over the four doubles, at a fixed time.
//!
//! Every delivery is held to what has no exception: the accounts close, exactly one line says so, nothing that is a
//! customer's stands in the log, the answer names what stays once, limits of m3ter are kept, the function is back in
//! time, and no message is done before each of its measurements is at m3ter or in the quarantine.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use ingest_relay::handler::Function;
use lambda_shell::Call;
use lambda_shell::answer::{Answer, HandlerError};
use m3ter_client::{Client, ClientSettings, Clock, Endpoint, Session};
use m3ter_sandbox::{Category, Choices, Credentials, Ledger, LedgerQuery, MeterRequest, Options, Sandbox};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use relay::{LastCatalogue, Preflight, Relay, Settings};
use relay_core::guard::MissingUid;
use relay_core::limits::{BATCH_BYTES_MAX, BATCH_MEASUREMENTS_MAX, DAY_MS};
use relay_store::{Entry, LedgerMode, LedgerWrite, Payloads, Store, quarantine_id};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::seams::{Death, Door, Line, LineHandle, Objects, Vault};

/// When every test begins: 2026-06-01T00:00:00Z in milliseconds since the epoch.
pub(crate) const START_MS: i64 = 1_780_272_000_000;
/// Where messages come from.
pub(crate) const QUEUE_ARN: &str = "arn:aws:sqs:eu-west-1:123456789012:usage";
/// The credentials at the start.
pub(crate) const KEY: (&str, &str) = ("canary-key-1", "canary-secret-1");

/// What a world is like.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) requests_per_second: f64,
    pub(crate) in_flight: usize,
    pub(crate) timeout_s: i64,
    pub(crate) token_lifetime_s: u64,
    pub(crate) missing_uid: MissingUid,
    pub(crate) ledger: relay::Ledger,
    pub(crate) payloads: Payloads,
    pub(crate) preflight: Preflight,
    pub(crate) choices: Choices,
}

impl Default for Setup {
    /// The shares of the template's defaults.
    fn default() -> Self {
        Setup {
            requests_per_second: 4.0,
            in_flight: 4,
            timeout_s: 60,
            token_lifetime_s: 18_000,
            missing_uid: MissingUid::Refuse,
            ledger: relay::Ledger::default(),
            payloads: Payloads::default(),
            preflight: Preflight::Warn,
            choices: Choices { future_tolerance_s: 0, ..Choices::default() },
        }
    }
}

/// A message on the queue.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    /// The uid at each position; empty where there is none to look for.
    pub(crate) uids: Vec<String>,
    pub(crate) receives: u32,
    pub(crate) sent_at_ms: i64,
    /// Name and value of each, as text.
    pub(crate) attributes: Vec<(String, String)>,
}

impl Message {
    /// A body as the API takes it.
    pub(crate) fn of(id: &str, measurements: &[Value]) -> Message {
        let uid = |measurement: &Value| measurement["uid"].as_str().unwrap_or_default().to_owned();
        let uids = measurements.iter().map(uid).collect();
        Message { uids, ..Message::raw(id, &json!({ "measurements": measurements }).to_string()) }
    }

    /// Any body.
    pub(crate) fn raw(id: &str, body: &str) -> Message {
        Message {
            id: id.into(),
            body: body.into(),
            uids: Vec::new(),
            receives: 1,
            sent_at_ms: START_MS - 60_000,
            attributes: Vec::new(),
        }
    }

    pub(crate) fn received(mut self, receives: u32) -> Message {
        self.receives = receives;
        self
    }

    pub(crate) fn sent_at(mut self, sent_at_ms: i64) -> Message {
        self.sent_at_ms = sent_at_ms;
        self
    }

    pub(crate) fn attribute(mut self, name: &str, value: &str) -> Message {
        self.attributes.push((name.into(), value.into()));
        self
    }

    fn record(&self) -> Value {
        let attribute = |(name, value): &(String, String)| (name.clone(), json!({"stringValue": value, "dataType": "String"}));
        let attributes: serde_json::Map<_, _> = self.attributes.iter().map(attribute).collect();
        json!({
            "messageId": self.id,
            "receiptHandle": format!("handle-of-{}", self.id),
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": self.receives.to_string(),
                "SentTimestamp": self.sent_at_ms.to_string(),
                "ApproximateFirstReceiveTimestamp": self.sent_at_ms.to_string(),
            },
            "messageAttributes": attributes,
            "eventSource": "aws:sqs",
            "eventSourceARN": QUEUE_ARN,
            "awsRegion": "eu-west-1",
        })
    }
}

/// A measurement that passes every check. Its uid and account are canaries.
pub(crate) fn good(uid: &str) -> Value {
    json!({"uid": format!("canary-{uid}"), "meter": "api", "account": "canary-account", "ts": "2026-05-31T23:00:00Z", "measure": {"n": 1}})
}

/// `count` of them.
pub(crate) fn many(name: &str, count: usize) -> Vec<Value> {
    (0..count).map(|number| good(&format!("{name}-{number}"))).collect()
}

/// One that guard refuses.
pub(crate) fn bad(uid: &str) -> Value {
    but(good(uid), "meter", Value::Null)
}

/// The same with another value under `key`.
pub(crate) fn but(mut measurement: Value, key: &str, value: Value) -> Value {
    measurement[key] = value;
    measurement
}

/// What came back from one delivery.
#[derive(Debug)]
pub(crate) struct Handled {
    /// Ids of messages that stay, in order.
    pub(crate) returned: Vec<String>,
    /// The line that closes the accounts.
    pub(crate) line: Value,
    /// Everything that was logged.
    pub(crate) log: String,
    pub(crate) took: Duration,
}

impl Handled {
    /// A number of the line.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.line[name].as_u64().unwrap_or_else(|| panic!("no {name} in {}", self.line))
    }

    #[track_caller]
    pub(crate) fn counts(&self, expected: &[(&str, u64)]) {
        let found: Vec<_> = expected.iter().map(|(name, _)| (*name, self.count(name))).collect();
        assert_eq!(found, expected, "{}", self.line);
    }
}

/// The function and everything around it.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) door: Arc<Door>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) line: Arc<Line>,
    pub(crate) death: Death,
    pub(crate) function: Function,
    setup: Setup,
    started: Instant,
    invocations: Cell<u64>,
    pub(crate) rng: RefCell<fastrand::Rng>,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(Setup::default())
    }

    /// Where the store is written for the quarantine alone.
    pub(crate) fn without_ledger() -> World {
        World::with(Setup { ledger: relay::Ledger { mode: LedgerMode::Off, write: LedgerWrite::Required }, ..Setup::default() })
    }

    /// Where m3ter does what it does not publish as chosen.
    pub(crate) fn choosing(choices: Choices) -> World {
        World::with(Setup { choices: Choices { future_tolerance_s: 0, ..choices }, ..Setup::default() })
    }

    pub(crate) fn with(setup: Setup) -> World {
        let options = Options {
            start: Some("2026-06-01T00:00:00Z".parse().unwrap()),
            credentials: Credentials::new(KEY.0, KEY.1),
            token_lifetime_s: setup.token_lifetime_s,
            choices: setup.choices.clone(),
            ..Options::default()
        };
        let sandbox = Sandbox::open(options).unwrap();
        sandbox.create_meter(MeterRequest::new("api").field(Category::Measure, "n")).unwrap();
        sandbox.create_meter(MeterRequest::new("other").field(Category::Measure, "n")).unwrap();
        let death = Death::default();
        let (door, vault) = (Door::mortal(sandbox.clone(), death.clone()), Vault::holding(KEY.0, KEY.1));
        let (objects, line) = (Objects::mortal(death.clone()), Line::new());
        let settings = ClientSettings {
            org_id: "sandbox-org".into(),
            api: Endpoint::parse("https://api.test").unwrap(),
            ingest: Endpoint::parse("https://ingest.test").unwrap(),
            requests_per_second: setup.requests_per_second,
        };
        let client = Client::new(door.clone(), vault.clone(), &settings);
        let store = Store::over(objects.clone(), Path::from("relay"));
        let payloads = setup.payloads.clone();
        let walk = Settings {
            missing_uid: setup.missing_uid,
            exhaust_after_ms: 10 * DAY_MS,
            batches_in_flight: setup.in_flight,
            ledger: setup.ledger,
            preflight: setup.preflight,
        };
        let relay = Relay { client, store, payloads, catalogue: LastCatalogue::default(), settings: walk };
        let function = Function { relay, queue: Box::new(LineHandle(line.clone())), name: "relay".into() };
        World {
            sandbox,
            door,
            vault,
            objects,
            line,
            death,
            function,
            setup,
            started: Instant::now(),
            invocations: Cell::new(0),
            rng: RefCell::new(fastrand::Rng::with_seed(7)),
        }
    }

    /// Milliseconds since the epoch, by the paused clock.
    pub(crate) fn now_ms(&self) -> i64 {
        START_MS + i64::try_from(self.started.elapsed().as_millis()).unwrap()
    }

    /// Delivers `messages` in one event.
    pub(crate) async fn deliver(&self, messages: &[Message]) -> Handled {
        let (answer, log, took) = self.invoke(messages, None).await;
        let answer = answer.unwrap();
        let response = serde_json::to_value(&answer).unwrap();
        assert_eq!(response.as_object().unwrap().keys().collect::<Vec<_>>(), ["batchItemFailures"]);
        let handled = Handled {
            returned: answer.failures.iter().map(|failure| failure.id.clone()).collect(),
            line: self.invocation_line(&log),
            log,
            took,
        };
        self.check(messages, &handled).await;
        handled
    }

    /// Delivers one message and says whether it left the queue.
    pub(crate) async fn is_done(&self, message: &Message) -> bool {
        self.deliver(std::slice::from_ref(message)).await.returned.is_empty()
    }

    /// Delivers `messages` without checking anything but that the handler comes back.
    pub(crate) async fn invoke(
        &self,
        messages: &[Message],
        trace: Option<&str>,
    ) -> (Result<Answer, HandlerError>, String, Duration) {
        let event = json!({"Records": messages.iter().map(Message::record).collect::<Vec<_>>()}).to_string();
        self.invocations.set(self.invocations.get() + 1);
        let request_id = format!("8476a536-e9f4-11e8-9739-{:012x}", self.invocations.get());
        let now_ms = self.now_ms();
        let call = Call { request_id: &request_id, deadline_ms: now_ms + self.setup.timeout_s * 1_000, trace, now_ms };
        let (began, mut log, mut rng) = (Instant::now(), Vec::new(), self.rng.borrow_mut().fork());
        let handled = timeout(Duration::from_secs(10_000), self.function.handle(&event, call, &mut rng, &mut log)).await;
        (handled.expect("the handler came back"), String::from_utf8(log).unwrap(), began.elapsed())
    }

    /// A session of the client as an invocation has one.
    pub(crate) fn session(&self) -> Session<'_> {
        self.session_of(self.setup.timeout_s)
    }

    /// A session as ingest-watch has one.
    pub(crate) fn watching(&self) -> Session<'_> {
        self.session_of(290)
    }

    fn session_of(&self, timeout_s: i64) -> Session<'_> {
        let now_ms = self.now_ms();
        let clock = Clock::starting_at(now_ms);
        let budget = clock.budget(now_ms + timeout_s * 1_000);
        self.function.relay.client.session(clock, budget, None, self.rng.borrow_mut().fork())
    }

    /// What is in the quarantine, past any misbehaviour of the store.
    pub(crate) async fn quarantined(&self) -> Vec<Entry> {
        Store::over(self.objects.inner.clone(), Path::from("relay")).quarantined().await.unwrap()
    }

    /// Every line of the relay's ledger, in the order of writing, past any misbehaviour of the store.
    pub(crate) async fn recorded(&self) -> Vec<relay_store::Line> {
        let objects: Vec<_> = self.objects.inner.list(Some(&Path::from("relay/ledger"))).try_collect().await.unwrap();
        let mut names: Vec<Path> = objects.into_iter().map(|object| object.location).collect();
        names.sort();
        let mut lines = Vec::new();
        for name in names {
            let packed = self.objects.inner.get(&name).await.unwrap().bytes().await.unwrap();
            let text = String::from_utf8(zstd::stream::decode_all(packed.as_ref()).unwrap()).unwrap();
            lines.extend(text.lines().map(|line| serde_json::from_str::<relay_store::Line>(line).expect("a line of the ledger")));
        }
        lines
    }

    /// Message and reason of every entry, sorted.
    pub(crate) async fn reasons(&self) -> Vec<(String, usize, String)> {
        let entries = self.quarantined().await.into_iter();
        let mut reasons: Vec<_> = entries.map(|entry| (entry.message_id, entry.position, entry.reason)).collect();
        reasons.sort();
        reasons
    }

    /// The sandbox's ledger, with every measurement.
    pub(crate) fn ledger(&self) -> Ledger {
        self.sandbox.ledger_of(&LedgerQuery { requests: true, measurements: true, uid: None })
    }

    fn invocation_line(&self, log: &str) -> Value {
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        let mut closing = lines.into_iter().filter(|line| line["message"] == "invocation");
        let line = closing.next().expect("a line that closes the accounts");
        assert_eq!(closing.next(), None, "exactly one line closes the accounts");
        line
    }

    async fn check(&self, messages: &[Message], handled: &Handled) {
        let count = |name: &str| handled.count(name);
        assert_eq!(count("AccountsMismatch"), 0, "{}", handled.line);
        assert_eq!(count("Received"), messages.len() as u64);
        assert_eq!(count("Received"), count("Done") + count("Returned"), "{}", handled.line);
        let ends = count("Accepted") + count("Collapsed") + count("Quarantined") + count("Unresolved");
        assert_eq!(count("Found"), ends, "{}", handled.line);
        assert!(!handled.log.contains("canary"), "the log quotes data: {}", handled.log);

        let ids: BTreeSet<&str> = messages.iter().map(|message| message.id.as_str()).collect();
        let returned: BTreeSet<&str> = handled.returned.iter().map(String::as_str).collect();
        assert_eq!(returned.len(), handled.returned.len(), "each id is named once");
        assert!(returned.is_subset(&ids));
        assert_eq!(returned.is_empty(), count("Returned") == 0);

        // Two seconds before the end, or as large a part of a short time-out; tokio's timers are a millisecond coarse.
        let timeout_s = self.setup.timeout_s as f64;
        let latest = Duration::from_secs_f64(timeout_s - 2.0 * (timeout_s / 60.0).min(1.0) + 0.001);
        assert!(handled.took <= latest, "took {:?}", handled.took);

        let ledger = self.ledger();
        for request in &ledger.requests {
            assert!(request.measurements <= BATCH_MEASUREMENTS_MAX as u64 && request.bytes <= BATCH_BYTES_MAX as u64);
        }
        let lines = ledger.measurements.unwrap();
        let accepted: BTreeSet<&str> = lines.iter().filter_map(|line| line.uid.as_deref()).collect();
        // A ledger that must be written holds whatever is done.
        let required = self.setup.ledger.mode != LedgerMode::Off && self.setup.ledger.write == LedgerWrite::Required;
        let recorded: BTreeSet<String> = match required {
            true => self.recorded().await.into_iter().map(|line| line.uid).collect(),
            false => accepted.iter().map(|uid| (*uid).to_owned()).collect(),
        };
        let kept: BTreeSet<_> = self.quarantined().await.into_iter().map(|entry| entry.qid).collect();
        for message in messages.iter().filter(|message| !returned.contains(message.id.as_str())) {
            for (position, uid) in message.uids.iter().enumerate() {
                let is_kept = kept.contains(&quarantine_id(QUEUE_ARN, &message.id, position));
                assert!(is_kept || accepted.contains(uid.as_str()), "{} is done without {uid:?}", message.id);
                assert!(is_kept || recorded.contains(uid.as_str()), "{} is done and {uid:?} is not in the ledger", message.id);
            }
        }
    }
}
