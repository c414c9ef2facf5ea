//! A client of the sandbox in process.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use m3ter_sandbox::{Abort, Category, Choices, Credentials, Ledger, Limits, MeterRequest, Options, Sandbox};
use serde_json::{Value, json};
use tower::ServiceExt;

/// When every test begins, by the sandbox's clock.
pub(crate) const START: &str = "2026-06-01T00:00:00Z";
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A sandbox with the meter `api` (`what.method`, `measure.n`), and a token for it.
pub(crate) struct Client {
    pub(crate) sandbox: Sandbox,
    pub(crate) token: String,
}

/// The options of most tests: a fixed start, no rate limits, own choices as given.
pub(crate) fn options(choices: Choices) -> Options {
    let start = Some(START.parse().unwrap());
    Options { start, choices, limits: Limits::none(), ..Options::default() }
}

impl Client {
    pub(crate) async fn new() -> Self {
        Self::with(options(Choices::default())).await
    }

    pub(crate) async fn choosing(choices: Choices) -> Self {
        Self::with(options(choices)).await
    }

    /// Opens a sandbox, gets a token, and creates the meter unless it is there.
    pub(crate) async fn with(options: Options) -> Self {
        let sandbox = Sandbox::open(options).unwrap();
        let mut client = Self { sandbox, token: String::new() };
        client.token = client.fetch_token().await;
        // It is there already where a journal was replayed.
        let _ =
            client.sandbox.create_meter(MeterRequest::new("api").field(Category::What, "method").field(Category::Measure, "n"));
        client
    }

    pub(crate) async fn fetch_token(&self) -> String {
        let (status, body) = self.ask_for_token("sandbox", "sandbox-secret").await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn ask_for_token(&self, id: &str, secret: &str) -> (StatusCode, Value) {
        let request = token_request(id, secret).header("content-type", "application/json");
        read(self.send(request.body(r#"{"grant_type":"client_credentials"}"#.into()).unwrap()).await).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        self.sandbox.router().oneshot(request).await.unwrap()
    }

    /// Calls a route of the organisation, or one of the sandbox's own if `path` starts with `/`.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/organizations/sandbox-org/{path}") };
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", self.token));
        let request = request.header("host", "sandbox.test").body(body.map_or_else(Body::empty, |body| body.to_string().into()));
        read(self.send(request.unwrap()).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Submits a body of bytes, whatever it holds.
    pub(crate) async fn submit_raw(&self, body: impl Into<Body>) -> Response {
        let request =
            Request::post("/organizations/sandbox-org/measurements").header("authorization", format!("Bearer {}", self.token));
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn submit(&self, measurements: &[Value]) -> (StatusCode, Value) {
        read(self.submit_raw(json!({ "measurements": measurements }).to_string()).await).await
    }

    /// Submits measurements that must be accepted.
    pub(crate) async fn accepted(&self, measurements: &[Value]) {
        let (status, body) = self.submit(measurements).await;
        assert_eq!((status, &body), (StatusCode::OK, &json!({"result": "accepted"})));
    }

    /// The types of all events, oldest first.
    pub(crate) async fn event_types(&self) -> Vec<String> {
        let events = self.get("events").await;
        let types = events["data"].as_array().unwrap().iter().rev();
        types.map(|event| event["m3terEvent"]["eventData"]["type"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let ledger = self.sandbox.ledger();
        let totals = &ledger.totals;
        let ends = totals.ingested + totals.duplicates + totals.rejected.values().sum::<u64>() + totals.pending;
        assert_eq!(totals.accepted, ends, "the accounts close: {totals:?}");
        ledger
    }
}

/// A request for a token, but for its body.
pub(crate) fn token_request(id: &str, secret: &str) -> http::request::Builder {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let basic = BASE64_STANDARD.encode(format!("{id}:{secret}"));
    Request::post("/oauth/token").header("authorization", format!("Basic {basic}"))
}

/// A measurement of the meter `api` that passes every check.
pub(crate) fn good(uid: &str) -> Value {
    json!({"uid": uid, "meter": "api", "account": "acme", "ts": "2026-05-31T23:00:00Z", "what": {"method": "GET"}, "measure": {"n": 1}})
}

/// The same with other properties.
pub(crate) fn but(mut measurement: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        measurement[name] = value.clone();
    }
    measurement
}

/// Status and JSON body; null where the connection broke.
pub(crate) async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    if response.extensions().get::<Abort>().is_some() {
        return (status, Value::Null);
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub(crate) fn credentials(id: &str, secret: &str) -> Credentials {
    Credentials::new(id, secret)
}
