//! The work that is counted: the relay's own stages, and the whole handler against a m3ter and a store within the process.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use bumpalo::Bump;
use bytes::Bytes;
use http::{Request, Response};
use ingest_relay::handler::Function;
use lambda_shell::Call;
use m3ter_client::{Client, ClientSettings, Credentials, Endpoint, NoAnswer, Secrets, SecretsError, Transport};
use relay::{Delay, LastCatalogue, Ledger, Preflight, Queue, Relay, Settings};
use relay_core::decode::{Found, InflateBudget, decode};
use relay_core::guard::{FirstSent, Judged, MissingUid, Rules, guard};
use relay_core::inbound::Inbound;
use relay_core::pack::pack;
use relay_store::{LedgerMode, LedgerWrite, Payloads, S3Access, Store};
use serde_json::json;

/// How many each kind of work goes through: enough that what happens once an invocation hardly counts.
pub(crate) const MEASUREMENTS: usize = 5_000;

/// 2026-06-01T00:00:00Z in milliseconds since the epoch.
const START_MS: i64 = 1_780_272_000_000;

/// A measurement of 267 bytes: what a metered API call looks like.
fn measurement(number: usize) -> String {
    format!(
        r#"{{"uid":"01985c2e-7d1c-7a60-9b5e-{number:012x}","meter":"api_calls","account":"customer-{:05}","ts":"2026-05-31T23:{:02}:{:02}.{:03}Z","measure":{{"calls":1,"bytes":{},"duration_ms":{}}},"what":{{"region":"eu-west-1","plan":"standard"}},"who":{{"key":"k-{:06}"}}}}"#,
        number % 977,
        number / 60 % 60,
        number % 60,
        number % 1_000,
        number * 7_919 % 100_000,
        number % 350,
        number * 31 % 4_000
    )
}

/// Bodies with `each` measurements.
fn bodies(each: usize) -> Vec<String> {
    let all: Vec<String> = (0..MEASUREMENTS).map(measurement).collect();
    let body = |some: &[String]| match some {
        [one] => one.clone(),
        _ => format!(r#"{{"measurements":[{}]}}"#, some.join(",")),
    };
    all.chunks(each).map(body).collect()
}

fn inbound(body: &str) -> Inbound<'_> {
    Inbound { id: "m", handle: "h", body, sent_at_ms: Some(START_MS - 1_000), source: "q", ..Inbound::default() }
}

/// Bodies to measurements.
pub(crate) struct Decoding {
    bodies: Vec<String>,
}

impl Decoding {
    pub(crate) fn new(each: usize) -> Decoding {
        Decoding { bodies: bodies(each) }
    }

    pub(crate) fn run(self) -> Decoding {
        let (arena, mut found, mut budget) = (Bump::new(), Vec::with_capacity(MEASUREMENTS), InflateBudget::default());
        for (index, body) in self.bodies.iter().enumerate() {
            black_box(decode(&inbound(body), index, &arena, &mut budget, &mut found));
        }
        assert_eq!(found.len(), MEASUREMENTS);
        self
    }
}

/// Measurements judged.
pub(crate) struct Guarding {
    bodies: Vec<String>,
}

impl Guarding {
    pub(crate) fn new(_each: usize) -> Guarding {
        Guarding { bodies: bodies(1) }
    }

    pub(crate) fn run(self) -> Guarding {
        let (arena, rules) = (Bump::new(), Rules { missing_uid: MissingUid::Refuse, now_ms: START_MS });
        for body in &self.bodies {
            let found = Found { message: 0, position: 0, text: body, refusal: None, read: None };
            assert!(matches!(black_box(guard(&found, FirstSent::NotBefore(START_MS), rules, &arena)), Judged::Good(_)));
        }
        self
    }
}

/// Measurements spliced into batches.
pub(crate) struct Packing {
    texts: Vec<String>,
}

impl Packing {
    pub(crate) fn new(_each: usize) -> Packing {
        Packing { texts: bodies(1) }
    }

    pub(crate) fn run(self) -> Packing {
        let packed = pack(self.texts.iter().map(String::len).enumerate());
        for batch in &packed.batches {
            black_box(batch.encode(|index| self.texts.get(index).map_or("", String::as_str)));
        }
        self
    }
}

/// An event to its answer.
pub(crate) struct Handling {
    event: String,
    function: Function,
    runtime: tokio::runtime::Runtime,
}

impl Handling {
    pub(crate) fn new(each: usize, ledger: bool) -> Handling {
        let record = |(number, body): (usize, String)| {
            json!({
                "messageId": format!("059f36b4-87a3-44ab-83d2-{number:012x}"),
                "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(11),
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "AWSTraceHeader": "Root=1-6741a0de-5f84fc1e1d8a3b2c4d5e6f70;Parent=53995c3f42cd8ad8;Sampled=0",
                    "SentTimestamp": (START_MS - 1_000).to_string(),
                    "SenderId": "AROAEXAMPLEEXAMPLEEXA:producer",
                    "ApproximateFirstReceiveTimestamp": (START_MS - 500).to_string(),
                },
                "messageAttributes": {},
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:usage",
                "awsRegion": "eu-west-1",
            })
        };
        let records: Vec<_> = bodies(each).into_iter().enumerate().map(record).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let work = Handling { event: json!({ "Records": records }).to_string(), function: function(ledger), runtime };
        // The first invocation fetches the token and grows what is kept.
        work.run()
    }

    pub(crate) fn run(self) -> Handling {
        let call = Call {
            request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            deadline_ms: START_MS + 60_000,
            trace: None,
            now_ms: START_MS,
        };
        let (mut log, mut rng) = (Vec::new(), fastrand::Rng::with_seed(1));
        let answer = self.runtime.block_on(self.function.handle(&self.event, call, &mut rng, &mut log)).unwrap();
        assert!(answer.failures.is_empty());
        self
    }
}

fn function(ledger: bool) -> Function {
    let endpoint = || Endpoint::parse("https://m3ter.test").unwrap();
    let settings = ClientSettings { org_id: "o".into(), api: endpoint(), ingest: endpoint(), requests_per_second: 1_000_000.0 };
    let client = Client::new(Arc::new(Accepts), Arc::new(Keys), &settings);
    let mode = if ledger { LedgerMode::Full } else { LedgerMode::Off };
    let settings = Settings {
        missing_uid: MissingUid::Refuse,
        exhaust_after_ms: 864_000_000,
        batches_in_flight: 4,
        ledger: Ledger { mode, write: LedgerWrite::Required },
        preflight: Preflight::Warn,
    };
    let store = Store::open("memory:", &S3Access::default()).unwrap();
    let relay = Relay { client, store, payloads: Payloads::default(), catalogue: LastCatalogue::default(), settings };
    Function { relay, queue: Box::new(NoQueue), name: "ingest-relay".into() }
}

/// m3ter, which accepts everything at once.
struct Accepts;

#[async_trait]
impl Transport for Accepts {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let body: &'static [u8] = match request.uri().path().ends_with("/oauth/token") {
            true => br#"{"access_token":"t","token_type":"Bearer","expires_in":18000}"#,
            false => br#"{"result":"accepted"}"#,
        };
        Ok(Response::new(Bytes::from_static(body)))
    }
}

struct Keys;

#[async_trait]
impl Secrets for Keys {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        Ok(Credentials { access_key_id: "k".into(), api_secret: "s".into() })
    }
}

/// The queue, which nothing is returned to.
struct NoQueue;

#[async_trait]
impl Queue for NoQueue {
    async fn delay(&self, delays: &[Delay]) -> Vec<bool> {
        vec![true; delays.len()]
    }
}
