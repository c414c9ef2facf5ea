//! The Runtime API itself: what a runtime asks, and what it is told.
//!
//! `GET …/invocation/next` waits for an event, `POST …/invocation/{id}/response` and `…/error` answer it, `POST …/init/error` gives
//! up before the first one. Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>, read November 2026.
//!
//! One exchange belongs to one process and ends with it: an answer from a process that is gone can never be taken for one from its successor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::http_server::{Answer, Severed, answer};
use crate::spec::PAYLOAD_BYTES_MAX;

const PREFIX: &str = "/2018-06-01/runtime/";
const JSON: &str = "application/json";

/// What the process is doing, as far as its requests tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has not asked for an event yet.
    Starting,
    /// It waits for an event.
    Idle,
    /// It has an event.
    Busy,
    /// It said that it cannot start.
    InitFailed(FunctionError),
}

/// An error as a runtime reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionError {
    #[serde(rename = "errorType")]
    pub(crate) kind: String,
    #[serde(rename = "errorMessage")]
    pub(crate) message: String,
}

impl FunctionError {
    /// A body that is not Lambda's error JSON becomes the message, so that nothing a runtime says is lost.
    fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body)
            .unwrap_or_else(|_| Self { kind: String::new(), message: String::from_utf8_lossy(body).into_owned() })
    }
}

/// One event on its way to the process.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
    pub(crate) function_arn: String,
    pub(crate) deadline_ms: u64,
    pub(crate) event: Bytes,
    pub(crate) answer: oneshot::Sender<Answered>,
}

/// The process's answer to one event.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) result: Result<Bytes, FunctionError>,
    /// From when the event left here until the answer was here whole.
    pub(crate) elapsed: Duration,
    /// When the answer was here whole.
    pub(crate) at: Instant,
}

/// The event the process works on.
#[derive(Debug)]
struct Current {
    request_id: String,
    handed_at: Instant,
    answer: oneshot::Sender<Answered>,
}

/// Both ends of the conversation with one process.
#[derive(Debug)]
pub(crate) struct Exchange {
    events: mpsc::Sender<Handover>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Handover>>,
    current: Mutex<Option<Current>>,
    phase: watch::Sender<Phase>,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        let (events, waiting) = mpsc::channel(1);
        Self {
            events,
            waiting: tokio::sync::Mutex::new(waiting),
            current: Mutex::new(None),
            phase: watch::Sender::new(Phase::Starting),
        }
    }

    /// Offers an event to the process. Waits only while an earlier event was offered and not fetched.
    pub(crate) async fn hand_over(&self, handover: Handover) {
        // Cannot fail: the receiver lives in `self`.
        let _sent = self.events.send(handover).await;
    }

    /// Waits until the phase is one that `wanted` accepts.
    pub(crate) async fn reached(&self, wanted: impl FnMut(&Phase) -> bool) -> Phase {
        let mut phase = self.phase.subscribe();
        let reached = phase.wait_for(wanted).await;
        // An error would mean that the sender is gone, and `self` holds it.
        reached.map_or(Phase::Starting, |phase| phase.clone())
    }

    /// Answers one request of the process.
    pub(crate) async fn serve(self: Arc<Self>, request: Request<Bytes>) -> Answer {
        let path = request.uri().path().to_owned();
        let what = path.strip_prefix(PREFIX).unwrap_or_default();
        match (request.method(), what.split('/').collect::<Vec<_>>().as_slice()) {
            (&Method::GET, ["invocation", "next"]) => self.next().await,
            (&Method::POST, ["invocation", id, "response"]) => self.response(id, request.body()),
            (&Method::POST, ["invocation", id, "error"]) => self.finish(id, Err(FunctionError::parse(request.body()))),
            (&Method::POST, ["init", "error"]) => {
                let error = FunctionError::parse(request.body());
                self.phase.send_replace(Phase::InitFailed(error));
                accepted()
            }
            _ => refused(StatusCode::NOT_FOUND, "InvalidRequest", "no such Runtime API path"),
        }
    }

    async fn next(&self) -> Answer {
        let mut waiting = self.waiting.lock().await;
        self.phase.send_replace(Phase::Idle);
        let event = waiting.recv().await.ok_or(Severed)?;
        drop(waiting);
        let mut response = Response::new(Full::new(event.event));
        let headers = [
            ("content-type", JSON),
            ("lambda-runtime-aws-request-id", &event.request_id),
            ("lambda-runtime-deadline-ms", &event.deadline_ms.to_string()),
            ("lambda-runtime-invoked-function-arn", &event.function_arn),
            ("lambda-runtime-trace-id", &event.trace_id),
        ];
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| Severed)?;
            response.headers_mut().insert(name, value);
        }
        *self.current() = Some(Current { request_id: event.request_id, handed_at: Instant::now(), answer: event.answer });
        self.phase.send_replace(Phase::Busy);
        Ok(response)
    }

    fn response(&self, id: &str, body: &Bytes) -> Answer {
        if body.len() <= PAYLOAD_BYTES_MAX {
            return self.finish(id, Ok(body.clone()));
        }
        let (kind, message) =
            ("Function.ResponseSizeTooLarge", format!("answer of {} bytes; at most {PAYLOAD_BYTES_MAX} are allowed", body.len()));
        let error = FunctionError { kind: kind.to_owned(), message: message.clone() };
        self.finish(id, Err(error))?;
        refused(StatusCode::PAYLOAD_TOO_LARGE, kind, &message)
    }

    /// Ends the current invocation; anything else (a second answer, an unknown id) is the runtime's mistake and is told so.
    fn finish(&self, id: &str, result: Result<Bytes, FunctionError>) -> Answer {
        let Some(current) = self.current().take_if(|current| current.request_id == id) else {
            return refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "no such invocation is running");
        };
        let at = Instant::now();
        // An error means that nobody waits any more: the invocation was dropped by its test.
        let _nobody = current.answer.send(Answered { result, elapsed: at - current.handed_at, at });
        accepted()
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accepted() -> Answer {
    answer(StatusCode::ACCEPTED, JSON, r#"{"status":"OK"}"#)
}

fn refused(status: StatusCode, kind: &str, message: &str) -> Answer {
    let body = serde_json::json!({"errorType": kind, "errorMessage": message});
    answer(status, JSON, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(exchange: &Arc<Exchange>, method: Method, path: &str, body: &str) -> Response<Full<Bytes>> {
        let request = Request::builder().method(method).uri(path).body(Bytes::copy_from_slice(body.as_bytes()));
        Arc::clone(exchange).serve(request.unwrap()).await.unwrap()
    }

    fn offered() -> (Handover, oneshot::Receiver<Answered>) {
        let (answer, answered) = oneshot::channel();
        let handover = Handover {
            request_id: "r-1".to_owned(),
            trace_id: "t-1".to_owned(),
            function_arn: "arn".to_owned(),
            deadline_ms: 1_700_000_000_000,
            event: "{}".into(),
            answer,
        };
        (handover, answered)
    }

    #[tokio::test]
    async fn the_next_event_comes_with_all_that_lambda_says_about_it() {
        let exchange = Arc::new(Exchange::new());
        exchange.hand_over(offered().0).await;
        let next = asked(&exchange, Method::GET, "/2018-06-01/runtime/invocation/next", "").await;
        let header = |name| next.headers()[name].to_str().unwrap();
        assert_eq!(next.status(), StatusCode::OK);
        assert_eq!(header("lambda-runtime-aws-request-id"), "r-1");
        assert_eq!(header("lambda-runtime-deadline-ms"), "1700000000000");
        assert_eq!(header("lambda-runtime-invoked-function-arn"), "arn");
        assert_eq!(header("lambda-runtime-trace-id"), "t-1");
    }

    #[tokio::test]
    async fn only_the_running_invocation_can_be_answered_and_only_once() {
        let exchange = Arc::new(Exchange::new());
        let (handover, answered) = offered();
        exchange.hand_over(handover).await;
        asked(&exchange, Method::GET, "/2018-06-01/runtime/invocation/next", "").await;
        let post = async |id: &str, body: &str| {
            let path = format!("/2018-06-01/runtime/invocation/{id}/response");
            asked(&exchange, Method::POST, &path, body).await.status()
        };
        assert_eq!(post("r-0", "\"stale\"").await, StatusCode::BAD_REQUEST);
        assert_eq!(post("r-1", "\"first\"").await, StatusCode::ACCEPTED);
        assert_eq!(post("r-1", "\"second\"").await, StatusCode::BAD_REQUEST);
        assert_eq!(answered.await.unwrap().result, Ok("\"first\"".into()));
    }

    #[tokio::test]
    async fn an_error_that_is_not_lambdas_json_is_kept_as_its_message() {
        let exchange = Arc::new(Exchange::new());
        asked(&exchange, Method::POST, "/2018-06-01/runtime/init/error", "broken").await;
        let phase = exchange.reached(|phase| *phase != Phase::Starting).await;
        let error = FunctionError { kind: String::new(), message: "broken".to_owned() };
        assert_eq!(phase, Phase::InitFailed(error));
        let unknown = asked(&exchange, Method::GET, "/2018-06-01/extension/register", "").await;
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    }
}
