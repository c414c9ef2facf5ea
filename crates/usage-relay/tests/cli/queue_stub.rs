//! A queue that answers `SendMessageBatch` as SQS does, or as a test wants it to fail.
//!
//! It speaks AWS JSON 1.0 over HTTP on loopback and keeps SQS's own limits, so that a sender which breaks them fails here as
//! it would there. Asked for its attributes, it says that it is empty. It knows no credentials and no receiving.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

/// What the stub says to one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    /// It is on the queue.
    Taken,
    /// It is not, by the queue's fault.
    Again,
    /// It is not, by the sender's fault.
    Refused,
    /// Nothing at all, although it is not on the queue.
    Nothing,
}

/// What the stub says to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Each entry on its own merits.
    Answer,
    /// An HTTP error with this status and code for all.
    Fail(u16, &'static str),
}

type SayToCall = Box<dyn Fn(usize) -> Call + Send>;
type SayToEntry = Box<dyn Fn(&str, usize) -> Say + Send>;

/// Decides: for a call, by its number from 0; for an entry, by its body and how often it was seen before.
pub(crate) struct Script {
    pub(crate) call: SayToCall,
    pub(crate) entry: SayToEntry,
}

impl Script {
    /// Everything is taken.
    pub(crate) fn all_well() -> Self {
        Self { call: Box::new(|_| Call::Answer), entry: Box::new(|_, _| Say::Taken) }
    }
}

/// What the stub has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Bodies on the queue, in the order in which they were taken.
    pub(crate) taken: Vec<String>,
    /// The attributes of each, name and value, sorted.
    pub(crate) attributes: Vec<Vec<(String, String)>>,
    /// Entries and bytes of each call.
    pub(crate) calls: Vec<(usize, usize)>,
    /// Calls that broke one of SQS's limits.
    pub(crate) broken: Vec<String>,
    sights: HashMap<String, usize>,
}

/// A running stub. It ends with its runtime.
pub(crate) struct QueueStub {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _runtime: tokio::runtime::Runtime,
}

impl QueueStub {
    /// Starts on a free port of loopback.
    pub(crate) fn start(script: Script) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let state = (Arc::clone(&seen), Arc::new(Mutex::new(script)));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let state = state.clone();
                let service = hyper::service::service_fn(move |request| answer(request, state.clone()));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self { address, seen, _runtime: runtime }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn queue_url(&self) -> String {
        format!("http://{}/000000000000/usage", self.address)
    }

    pub(crate) fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

type State = (Arc<Mutex<Seen>>, Arc<Mutex<Script>>);

async fn answer(request: Request<Incoming>, (seen, script): State) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.headers().get("x-amz-target").map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    match target.as_deref() {
        Some("AmazonSQS.SendMessageBatch") => {}
        Some("AmazonSQS.GetQueueAttributes") => return Ok(respond(200, &empty())),
        _ => return Ok(fault(400, "com.amazonaws.sqs#UnsupportedOperation")),
    }
    let call: Value = serde_json::from_slice(&body).unwrap();
    let entries = call["Entries"].as_array().unwrap();
    let bodies: Vec<(&str, &str)> =
        entries.iter().map(|entry| (entry["Id"].as_str().unwrap(), entry["MessageBody"].as_str().unwrap())).collect();
    let mut seen = seen.lock().unwrap();
    let before = seen.taken.len();
    let answer = take(&bodies, &mut seen, &script.lock().unwrap());
    // By body: of equal bodies in one call the attributes are told apart by nobody here.
    let taken: Vec<Vec<(String, String)>> = seen.taken[before..].iter().map(|body| attributes(entries, body)).collect();
    seen.attributes.extend(taken);
    Ok(answer)
}

fn attributes(entries: &[Value], body: &str) -> Vec<(String, String)> {
    let entry = entries.iter().find(|entry| entry["MessageBody"] == body).unwrap();
    let all = entry["MessageAttributes"].as_object().into_iter().flatten();
    let value = |attribute: &Value| attribute["StringValue"].as_str().or(attribute["BinaryValue"].as_str()).unwrap().to_owned();
    let mut read: Vec<_> = all.map(|(name, attribute)| (name.clone(), value(attribute))).collect();
    read.sort();
    read
}

fn take(entries: &[(&str, &str)], seen: &mut Seen, script: &Script) -> Response<Full<Bytes>> {
    let bytes: usize = entries.iter().map(|(_, body)| body.len()).sum();
    let number = seen.calls.len();
    seen.calls.push((entries.len(), bytes));
    if let Some(code) = broken_limit(entries, bytes) {
        seen.broken.push(code.to_owned());
        return fault(400, code);
    }
    if let Call::Fail(status, code) = (script.call)(number) {
        return fault(status, code);
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, body) in entries {
        let sights = seen.sights.entry((*body).to_owned()).or_default();
        let say = (script.entry)(body, *sights);
        *sights += 1;
        match say {
            Say::Taken => {
                let message_id = format!("message-{}", seen.taken.len());
                seen.taken.push((*body).to_owned());
                successful.push(json!({"Id": id, "MessageId": message_id, "MD5OfMessageBody": "0"}));
            }
            Say::Again => failed.push(json!({"Id": id, "SenderFault": false, "Code": "InternalError"})),
            Say::Refused => failed.push(json!({"Id": id, "SenderFault": true, "Code": "InvalidMessageContents"})),
            Say::Nothing => {}
        }
    }
    respond(200, &json!({"Successful": successful, "Failed": failed}))
}

fn empty() -> Value {
    json!({"Attributes": {
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
    }})
}

fn broken_limit(entries: &[(&str, &str)], bytes: usize) -> Option<&'static str> {
    let mut ids: Vec<&str> = entries.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    if entries.is_empty() {
        Some("com.amazonaws.sqs#EmptyBatchRequest")
    } else if entries.len() > 10 {
        Some("com.amazonaws.sqs#TooManyEntriesInBatchRequest")
    } else if bytes > 1_048_576 {
        Some("com.amazonaws.sqs#BatchRequestTooLong")
    } else if ids.len() < entries.len() {
        Some("com.amazonaws.sqs#BatchEntryIdsNotDistinct")
    } else {
        None
    }
}

fn fault(status: u16, code: &str) -> Response<Full<Bytes>> {
    respond(status, &json!({"__type": code, "message": "as the test wants it"}))
}

fn respond(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0".parse().unwrap());
    response
}

#[test]
fn the_stub_refuses_what_sqs_refuses() {
    let mut seen = Seen::default();
    let script = Script::all_well();
    let big = "x".repeat(600_000);
    let eleven = [("0", "a"); 11];
    for entries in [&[][..], &eleven, &[("0", &*big), ("1", &*big)], &[("0", "a"), ("0", "b")]] {
        assert_eq!(take(entries, &mut seen, &script).status(), 400);
    }
    assert_eq!((seen.broken.len(), seen.taken.len()), (4, 0));
    assert_eq!(take(&[("0", "a"), ("1", "a")], &mut seen, &script).status(), 200);
    assert_eq!(seen.taken, ["a", "a"]);
}
