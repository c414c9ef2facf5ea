//! A sandbox, a store, and a way between them that can be bent.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use m3ter_client::{Client, ClientSettings, Clock, Credentials, Endpoint, NoAnswer, Secrets, SecretsError, Submitted, Transport};
use m3ter_sandbox::{Category, Choices, MeterRequest, Options, Sandbox};
use object_store::memory::InMemory;
use object_store::path::Path;
use relay_core::inbound::Origin;
use relay_store::{EntryText, LedgerAnswer, LedgerMode, LedgerWrite, NewEntry, NewLine, Store};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt;
use uuid::Uuid;
use watch::reconcile::{Question, ReconcileError, Report, reconcile};
use watch::round::{Job, Times};

/// When every test looks: 2026-11-22T02:00:00Z in milliseconds since the epoch.
pub(crate) const NOW_MS: i64 = 1_795_312_800_000;
/// An hour in milliseconds.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// When most is sent: a day before.
pub(crate) const SENT_MS: i64 = NOW_MS - 24 * HOUR_MS;
/// The day that most is about.
pub(crate) const DAY: &str = "2026-11-20";

type Bend = Box<dyn Fn(&mut Value) + Send + Sync>;

/// The way to m3ter.
pub(crate) struct Way {
    sandbox: Sandbox,
    queries: Mutex<Vec<Value>>,
    bend_query: Mutex<Option<Bend>>,
    bend_answer: Mutex<Option<Bend>>,
}

impl Way {
    /// Changes each usage query before m3ter sees it.
    pub(crate) fn bend_queries(&self, bend: impl Fn(&mut Value) + Send + Sync + 'static) {
        *self.bend_query.lock().unwrap() = Some(Box::new(bend));
    }

    /// Changes each answer to a usage query.
    pub(crate) fn bend_answers(&self, bend: impl Fn(&mut Value) + Send + Sync + 'static) {
        *self.bend_answer.lock().unwrap() = Some(Box::new(bend));
    }

    /// The usage queries so far, as they were asked.
    pub(crate) fn queries(&self) -> Vec<Value> {
        self.queries.lock().unwrap().clone()
    }
}

#[async_trait]
impl Transport for Way {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let is_query = request.uri().path().ends_with("/usage/query");
        let bent = |bend: &Mutex<Option<Bend>>, body: Bytes| match (bend.lock().unwrap().as_ref(), is_query) {
            (Some(bend), true) => {
                let mut value: Value = serde_json::from_slice(&body).unwrap();
                bend(&mut value);
                Bytes::from(value.to_string())
            }
            _ => body,
        };
        if is_query {
            self.queries.lock().unwrap().push(serde_json::from_slice(request.body()).unwrap());
        }
        let request = request.map(|body| Full::new(bent(&self.bend_query, body)));
        let answer = self.sandbox.router().oneshot(request).await.unwrap_or_else(|never| match never {});
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| NoAnswer::Broken)?.to_bytes();
        Ok(Response::from_parts(parts, bent(&self.bend_answer, body)))
    }
}

struct Keys;

#[async_trait]
impl Secrets for Keys {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        Ok(Credentials { access_key_id: "sandbox".into(), api_secret: "sandbox-secret".into() })
    }
}

/// A sandbox with meters, a store, and a client.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) way: Arc<Way>,
    pub(crate) store: Store,
    client: Client,
    written: Cell<u32>,
}

/// Where a measurement goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Both,
    M3terAlone,
    LedgerAlone,
}

impl World {
    /// With the meters `api` (measures `calls` and `bytes`), `jobs` (a measure, a cost, an income) and `visits` (no number).
    pub(crate) fn new() -> World {
        World::with(Choices::default())
    }

    /// The same, of a m3ter that behaves so.
    pub(crate) fn with(choices: Choices) -> World {
        let start = Some(Timestamp::from_millisecond(NOW_MS).unwrap());
        let sandbox = Sandbox::open(Options { start, choices, ..Options::default() }).unwrap();
        let meters = [
            MeterRequest::new("api")
                .field(Category::Measure, "calls")
                .field(Category::Measure, "bytes")
                .field(Category::What, "region"),
            MeterRequest::new("jobs")
                .field(Category::Measure, "seconds")
                .field(Category::Cost, "spent")
                .field(Category::Income, "earned"),
            MeterRequest::new("visits").field(Category::Where, "page"),
        ];
        meters.into_iter().for_each(|meter| drop(sandbox.create_meter(meter).unwrap()));
        let way = Arc::new(Way {
            sandbox: sandbox.clone(),
            queries: Mutex::default(),
            bend_query: Mutex::default(),
            bend_answer: Mutex::default(),
        });
        let base = Endpoint::parse("http://127.0.0.1:1").unwrap();
        let settings =
            ClientSettings { org_id: sandbox.organisation(), api: base.clone(), ingest: base, requests_per_second: 40.0 };
        let store = Store::over(Arc::new(InMemory::new()), Path::from("relay"));
        let client = Client::new(way.clone(), Arc::new(Keys), &settings);
        World { sandbox, way, store, client, written: Cell::new(0) }
    }

    fn next(&self) -> String {
        self.written.set(self.written.get() + 1);
        format!("i-{}", self.written.get())
    }

    pub(crate) fn session(&self) -> m3ter_client::Session<'_> {
        let clock = Clock::starting_at(NOW_MS);
        self.client.session(clock, clock.budget(NOW_MS + HOUR_MS), None, fastrand::Rng::with_seed(1))
    }

    /// Sends `measurements` in batches, as the relay does.
    pub(crate) async fn send(&self, measurements: &[Value]) {
        self.send_at(SENT_MS, To::Both, None, measurements).await;
    }

    /// The same at a time, to one side or both, with an origin.
    pub(crate) async fn send_at(&self, sent_at_ms: i64, to: To, origin: Option<&str>, measurements: &[Value]) {
        for batch in measurements.chunks(1_000) {
            if to != To::LedgerAlone {
                let body = Bytes::from(json!({ "measurements": batch }).to_string());
                assert_eq!(self.session().submit(body).await.submitted, Submitted::Accepted);
            }
            if to != To::M3terAlone {
                self.record(LedgerMode::Full, sent_at_ms, LedgerAnswer::Accepted, origin, batch).await;
            }
        }
    }

    /// Writes a ledger object.
    pub(crate) async fn record(
        &self,
        mode: LedgerMode,
        sent_at_ms: i64,
        answer: LedgerAnswer,
        origin: Option<&str>,
        measurements: &[Value],
    ) {
        let texts: Vec<String> = measurements.iter().map(Value::to_string).collect();
        let lines = measurements.iter().zip(&texts).map(|(one, text)| {
            let field = |name: &str| one[name].as_str().unwrap();
            NewLine {
                uid: field("uid"),
                meter: field("meter"),
                account: field("account"),
                ts: field("ts"),
                ts_ms: field("ts").parse::<Timestamp>().unwrap().as_millisecond(),
                batch: 1,
                message_id: "m-1",
                queued_at_ms: None,
                sent_at_ms,
                attempts: 1,
                receives: 1,
                answer,
                origin: origin.and_then(Origin::parse),
                text,
            }
        });
        let mode = (mode, LedgerWrite::Required);
        self.store.record(mode, &self.next(), sent_at_ms, lines, soon()).await.unwrap();
    }

    /// Quarantines what m3ter rejected later, as the watch does.
    pub(crate) async fn reject(&self, measurement: &Value, reason: &str, at_ms: i64) -> Uuid {
        let (text, qid) = (measurement.to_string(), Uuid::from_u128(u128::from(self.written.get()) + 1));
        let entry = NewEntry {
            qid: Some(qid),
            uid: measurement["uid"].as_str(),
            reason,
            detail: "m3ter said so",
            stage: "ingest",
            first_sent_at_ms: Some(SENT_MS),
            message_id: "m-1",
            position: 0,
            source: "arn:queue",
            attributes: Vec::new(),
            queued_at_ms: None,
            first_received_at_ms: None,
            receives: 1,
            origin: None,
            text: EntryText::Measurement(&text),
        };
        self.store.quarantine(&self.next(), at_ms, [entry], soon()).await.unwrap();
        qid
    }

    /// Lets the watch look at m3ter's events, and act on them.
    pub(crate) async fn watch(&self) {
        // The events are of now, the ledger's lines are a day old: only later is it sure that no newer send is under way.
        let now_ms = NOW_MS + 17 * 60_000;
        let times = Times { pass: soon(), chores: Instant::now(), settle: soon() };
        let job = Job { store: &self.store, ledger: LedgerMode::Full, name: &self.next(), now_ms, times };
        let round = job.round(&self.session()).await.unwrap();
        assert!(round.passed.is_ok(), "{:?}", round.passed);
    }

    /// Reconciles [`DAY`].
    pub(crate) async fn day(&self) -> Report {
        self.ask(&about(DAY, "2026-11-21")).await.unwrap()
    }

    pub(crate) async fn ask(&self, question: &Question) -> Result<Report, ReconcileError> {
        reconcile(&self.session(), &self.store, question, NOW_MS, &mut |_, _, _| {}).await
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A question about the days from `from` to before `until`.
pub(crate) fn about(from: &str, until: &str) -> Question {
    Question::about(from.parse().unwrap(), until.parse().unwrap())
}

/// A measurement of the meter `api` on [`DAY`].
pub(crate) fn api(uid: &str, account: &str, calls: Value) -> Value {
    json!({
        "uid": uid, "meter": "api", "account": account, "ts": "2026-11-20T10:00:00Z",
        "measure": {"calls": calls, "bytes": 100}, "what": {"region": "eu"},
    })
}

/// The rows of a report that differ: meter, account, day, measure, difference, what is left, and why.
pub(crate) fn told(report: &Report) -> Vec<String> {
    let one = |row: &watch::reconcile::Row| {
        let because: Vec<String> =
            row.explained_by.iter().map(|one| format!("{} {} {}", one.count, one.reason, one.sum)).collect();
        let measure = row.measure.as_deref().unwrap_or("-");
        let whole = format!(
            "{} {} {} {measure} {} {} {}",
            row.meter,
            row.account,
            row.day,
            row.difference,
            row.unexplained,
            because.join(", ")
        );
        whole.trim_end().to_owned()
    };
    report.rows.iter().map(one).collect()
}
