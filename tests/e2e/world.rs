//! The function as a process, and everything around it.
//!
//! Every delivery is held to what has no exception: it is answered before the deadline and by the contract, exactly one
//! line closes its accounts and they balance, and nothing was asked of AWS that the function should not ask. When a world
//! ends, what the sandbox took is searched for canaries, and so is everything the function ever printed: found there,
//! and not here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use m3ter_client::{Client, ClientSettings, Endpoint, HttpTransport, Secrets, SecretsError};
use m3ter_sandbox::{Category, Credentials, Ledger, LedgerQuery, MeterRequest, Options, Sandbox, State};
use relay_store::{Entry, Line, S3Access, Store};
use runtime_api::{
    AwsStub, Function, FunctionSpec, Invocation, Outcome, Output, SqsEvent, StartError, StoredObject, check_response,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::m3ter::Host;
use crate::usage::{CANARY, METER, Producer};

/// No condition is waited for longer, unless a test fails.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
/// The secret's ARN. An operator chose the name, so it is no canary.
pub(crate) const SECRET_ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:m3ter";
/// The store of every function.
pub(crate) const STORE_URL: &str = "s3://store/relay";
const QUEUE_URL: &str = "http://127.0.0.1/123456789012/usage";
/// Credentials at the start.
pub(crate) const KEY: (&str, &str) = ("canary-key-1", "canary-secret-1");

/// The credentials at the start, for a client beside the function's.
struct Keys;

#[async_trait]
impl Secrets for Keys {
    async fn read(&self) -> Result<m3ter_client::Credentials, SecretsError> {
        Ok(m3ter_client::Credentials { access_key_id: KEY.0.into(), api_secret: KEY.1.into() })
    }
}

/// All that the function reaches.
pub(crate) struct Outside {
    pub(crate) sandbox: Sandbox,
    pub(crate) m3ter: Host,
    pub(crate) aws: AwsStub,
}

/// A running function and its outside.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) aws: AwsStub,
    pub(crate) function: Function,
    pub(crate) usage: Producer,
    m3ter: Option<Host>,
    outputs: Vec<Output>,
}

/// What came back from one delivery.
pub(crate) struct Delivery {
    /// Ids of messages that stay, in the answer's order.
    pub(crate) returned: Vec<String>,
    /// The line that closes the accounts.
    pub(crate) line: Value,
    /// All lines of this invocation.
    pub(crate) lines: Vec<Value>,
    pub(crate) invocation: Invocation,
}

/// The file that is deployed as the function `name`.
pub(crate) fn binary(name: &str) -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/lambda").join(name).join("bootstrap");
    assert!(binary.is_file(), "{} is missing: run `make functions`", binary.display());
    binary
}

/// The secret's text.
pub(crate) fn secret((access_key_id, api_secret): (&str, &str)) -> String {
    json!({"access_key_id": access_key_id, "api_secret": api_secret}).to_string()
}

/// What is in the quarantine, each entry once.
pub(crate) async fn quarantined(aws: &AwsStub) -> Vec<Entry> {
    let access = S3Access {
        region: Some("eu-central-1".into()),
        endpoint: Some(aws.url()),
        access_key_id: "test".into(),
        secret_access_key: "test".into(),
        ..S3Access::default()
    };
    Store::open(STORE_URL, &access).unwrap().quarantined().await.unwrap()
}

/// How many objects the quarantine consists of.
pub(crate) fn quarantine_objects(aws: &AwsStub) -> usize {
    aws.objects().stored().iter().filter(|object| object.key.starts_with("relay/quarantine/v1/")).count()
}

/// Waits until `condition` holds. It is looked at whenever everything else in this process had its turn.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let holds = timeout(BOUND, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    holds.await.expect("the condition came to hold");
}

impl Outside {
    /// Everything up and well.
    pub(crate) async fn start() -> Outside {
        let options = Options { credentials: Credentials::new(KEY.0, KEY.1), ..Options::default() };
        let sandbox = Sandbox::open(options).unwrap();
        sandbox.create_meter(MeterRequest::new(METER).field(Category::Measure, "calls")).unwrap();
        let aws = AwsStub::start().await.unwrap();
        aws.secrets().set(SECRET_ARN, secret(KEY));
        let m3ter = Host::down(sandbox.clone()).serve_anew().await;
        Outside { sandbox, m3ter, aws }
    }

    /// A client of m3ter beside the function's.
    pub(crate) fn client(&self) -> Client {
        let api = Endpoint::parse(&self.m3ter.url()).unwrap();
        let (org_id, ingest) = (self.sandbox.organisation().to_owned(), api.clone());
        let settings = ClientSettings { org_id, api, ingest, requests_per_second: 50.0 };
        Client::new(Arc::new(HttpTransport::new().unwrap()), Arc::new(Keys), &settings)
    }

    /// The function as the template sets it up, with a fair share of requests for a test.
    pub(crate) fn spec(&self) -> FunctionSpec {
        FunctionSpec::new(binary("ingest-relay"))
            .env("M3TER_ORG_ID", self.sandbox.organisation())
            .env("M3TER_API_URL", self.m3ter.url())
            .env("M3TER_INGEST_URL", self.m3ter.url())
            .env("M3TER_SECRET_ARN", SECRET_ARN)
            .env("STORE_URL", STORE_URL)
            .env("QUEUE_URL", QUEUE_URL)
            .env("REQUESTS_PER_SECOND", "50")
            .env("MAXIMUM_CONCURRENCY", "2")
            .env("AWS_ENDPOINT_URL", self.aws.url())
            .env("AWS_SECRET_ACCESS_KEY", "canary-aws-secret")
            .env("AWS_SESSION_TOKEN", "canary-aws-session")
    }

    /// Starts the function.
    pub(crate) async fn run(self, spec: FunctionSpec) -> World {
        let Outside { sandbox, m3ter, aws } = self;
        let function = Function::start(spec).await.unwrap();
        let usage = Producer::at(&sandbox);
        let outputs = vec![function.output()];
        World { sandbox, m3ter: Some(m3ter), aws, function, usage, outputs }
    }

    /// Starts the function where it must refuse to start, and gives back why.
    pub(crate) async fn refusal(&self, spec: FunctionSpec) -> StartError {
        Function::start(spec).await.expect_err("it refuses to start")
    }
}

impl World {
    /// Everything up and well, and a function with the template's time-out.
    pub(crate) async fn start() -> World {
        let outside = Outside::start().await;
        let spec = outside.spec();
        outside.run(spec).await
    }

    /// The same with another time-out: what a dead service may cost shrinks with it.
    pub(crate) async fn with_timeout(limit_s: u64) -> World {
        let outside = Outside::start().await;
        let spec = outside.spec().timeout(Duration::from_secs(limit_s));
        outside.run(spec).await
    }

    /// Delivers an event that must be answered.
    #[track_caller]
    pub(crate) fn deliver(&mut self, event: &SqsEvent) -> impl Future<Output = Delivery> {
        let caller = std::panic::Location::caller();
        async move {
            let invocation = self.function.invoke(event).await;
            let Outcome::Response(answer) = &invocation.outcome else {
                panic!("{caller}: no answer: {:?}\n{:?}", invocation.outcome, self.function.output());
            };
            let returned = check_response(event, answer).unwrap();
            let lines = self.lines_of(&invocation);
            let closing: Vec<_> = lines.iter().filter(|line| line["message"] == "invocation").collect();
            let [line] = closing[..] else { panic!("{caller}: one line closes the accounts, not {closing:?}") };
            let delivery = Delivery { returned, line: line.clone(), lines, invocation };
            delivery.check(event);
            delivery
        }
    }

    /// Delivers bodies as messages on their first delivery.
    #[track_caller]
    pub(crate) fn send<B: Into<String>>(&mut self, bodies: impl IntoIterator<Item = B>) -> impl Future<Output = Delivery> {
        let event = crate::usage::event(bodies);
        let caller = std::panic::Location::caller();
        async move {
            let delivered = self.deliver(&event).await;
            assert_eq!(delivered.line["Received"], event.message_ids().len(), "{caller}");
            delivered
        }
    }

    /// Sends one good measurement that must be accepted.
    pub(crate) async fn all_is_well(&mut self, name: &str) {
        let sound = self.usage.good(name).to_string();
        let delivery = self.send([sound]).await;
        delivery.counts(&[("Done", 1), ("Accepted", 1), ("Returned", 0)]);
        assert_eq!(delivery.line["level"], "info");
    }

    /// Starts another process in place of one that ended.
    pub(crate) async fn respawn(&mut self) {
        self.function.respawn().await.unwrap();
        self.outputs.push(self.function.output());
    }

    /// Where m3ter is.
    pub(crate) fn m3ter_address(&self) -> SocketAddr {
        self.m3ter.as_ref().unwrap().address()
    }

    /// m3ter closes all its connections, and takes new ones.
    pub(crate) async fn m3ter_hangs_up(&mut self) {
        self.m3ter = Some(self.m3ter.take().unwrap().serve_anew().await);
    }

    /// The sandbox's ledger, with every measurement.
    pub(crate) fn ledger(&self) -> Ledger {
        self.sandbox.ledger_of(&LedgerQuery { requests: true, measurements: true, uid: None })
    }

    /// Holds the sandbox to have counted so many measurements, and each uid among them once.
    #[track_caller]
    pub(crate) fn counted_once(&self, expected: u64) {
        let ledger = self.ledger();
        assert_eq!(ledger.totals.ingested, expected, "{:?}", ledger.totals);
        let mut times = BTreeMap::new();
        for line in ledger.measurements.unwrap().into_iter().filter(|line| line.state == State::Ingested) {
            *times.entry(line.uid.unwrap()).or_insert(0) += 1;
        }
        assert!(times.values().all(|times| *times == 1), "{times:?}");
        let sums: u64 = ledger.meters.values().map(|meter| meter.count).sum();
        assert_eq!(sums, expected);
    }

    /// What is in the quarantine, each entry once.
    pub(crate) async fn quarantined(&self) -> Vec<Entry> {
        quarantined(&self.aws).await
    }

    /// Every line of the relay's ledger.
    pub(crate) fn recorded(&self) -> Vec<Line> {
        let stored = self.aws.objects().stored();
        let ledger = stored.iter().filter(|object| object.key.starts_with("relay/ledger/v1/"));
        let text = |object: &StoredObject| String::from_utf8(zstd::stream::decode_all(&*object.body).unwrap()).unwrap();
        let lines: Vec<String> = ledger.flat_map(|object| text(object).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.iter().map(|line| serde_json::from_str(line).expect("a line of the ledger")).collect()
    }

    /// How many objects the quarantine consists of.
    pub(crate) fn quarantine_objects(&self) -> usize {
        quarantine_objects(&self.aws)
    }

    fn lines_of(&self, invocation: &Invocation) -> Vec<Value> {
        let lines = self.function.output().stdout.lines();
        let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        lines.filter(|line| line["requestId"] == invocation.request_id).collect()
    }
}

impl Delivery {
    fn check(&self, event: &SqsEvent) {
        assert!(self.invocation.deadline_slack > Duration::ZERO && self.invocation.idle, "{:?}", self.invocation);
        let count = |name: &str| self.count(name);
        assert_eq!(count("AccountsMismatch"), 0, "{}", self.line);
        assert!(count("Received") >= event.message_ids().len() as u64);
        assert_eq!(count("Received"), count("Done") + count("Returned"), "{}", self.line);
        assert_eq!(count("Returned"), self.returned.len() as u64, "{}", self.line);
        let ends = count("Accepted") + count("Collapsed") + count("Quarantined") + count("Unresolved");
        assert_eq!(count("Found"), ends, "{}", self.line);
    }

    /// A number of the line.
    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.line[name].as_u64().unwrap_or_else(|| panic!("no {name} in {}", self.line))
    }

    #[track_caller]
    pub(crate) fn counts(&self, expected: &[(&str, u64)]) {
        let found: Vec<_> = expected.iter().map(|(name, _)| (*name, self.count(name))).collect();
        assert_eq!(found, expected, "{}", self.line);
    }

    /// Holds the delivery to have lost nothing and decided nothing: all of `event` stays, and a person is told why.
    #[track_caller]
    pub(crate) fn everything_was_returned(&self, event: &SqsEvent, why: &str) {
        self.everything_stays(event, why);
        self.counts(&[("Accepted", 0)]);
    }

    /// Holds the delivery to have lost nothing, though m3ter may have accepted it: all of `event` stays, and a person is told why.
    #[track_caller]
    pub(crate) fn everything_stays(&self, event: &SqsEvent, why: &str) {
        let (mut returned, mut ids) = (self.returned.clone(), event.message_ids().to_vec());
        returned.sort();
        ids.sort();
        assert_eq!(returned, ids, "{}", self.line);
        self.counts(&[("Done", 0), ("Quarantined", 0)]);
        assert!(self.count(why) > 0, "no {why} in {}", self.line);
        assert_ne!(self.line["level"], "info");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the test failed already, and says why
        }
        for output in &self.outputs {
            for text in [output.stdout.text(), output.stderr.text()] {
                for secret in [CANARY, "Basic ", "Bearer ", "eyJ"] {
                    assert!(!text.contains(secret), "the function printed {secret:?}: {text}");
                }
            }
        }
        for line in self.ledger().measurements.unwrap() {
            let (uid, text) = (line.uid.unwrap(), line.measurement.get());
            assert!(uid.contains(CANARY) && line.account.contains(CANARY) && text.contains(CANARY), "{text}");
        }
        assert!(self.aws.unexpected().is_empty(), "{:?}", self.aws.unexpected());
    }
}
