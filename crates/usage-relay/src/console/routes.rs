//! What is served: one page, the states as they come, and what its buttons ask for.
//!
//! Everything passes [`Guard`] first, and carries headers that let the page load nothing from elsewhere and nobody frame it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{Stream, unfold};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::faults::Trouble;
use super::guard::Guard;
use super::work::{Done, Work};
use crate::failure::Failure;

/// Most pages that are served at once.
const VIEWERS_MAX: usize = 16;
/// Most bytes of a request's body.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Most measurements that a button sends.
const SEND_MAX: u64 = 10_000;
/// A line on a stream that is otherwise silent, so that both ends notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a page waits before it connects anew.
const RECONNECT: Duration = Duration::from_secs(1);

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Where the page's word goes.
const WORD_PLACE: &str = "{{word}}";

/// Nothing from elsewhere, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

#[derive(Debug, Clone)]
struct Served {
    work: Arc<Work>,
    guard: Arc<Guard>,
}

/// The routes over `work`, for whom `guard` lets through.
pub(super) fn routes(work: Arc<Work>, guard: Guard) -> Router {
    let served = Served { work, guard: Arc::new(guard) };
    Router::new()
        .route("/", get(page))
        .route("/page.css", get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route("/page.js", get(async || ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)))
        .route("/events", get(events))
        .route("/send", post(send))
        .route("/trouble", post(trouble))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&served.guard), guarded))
        .layer(map_response(with_headers))
        .with_state(served)
}

async fn guarded(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let allowed = match request.method() {
        &Method::GET | &Method::HEAD => guard.may_read(request.headers()),
        _ => guard.may_act(request.headers()),
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => (StatusCode::FORBIDDEN, Json(json!({"error": refused.to_string()}))).into_response(),
    }
}

async fn with_headers(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn page(State(served): State<Served>) -> Response {
    let text = PAGE.replace(WORD_PLACE, served.guard.word());
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

async fn events(State(served): State<Served>) -> Response {
    if served.work.viewers() >= VIEWERS_MAX {
        let text = format!("expected at most {VIEWERS_MAX} pages of this console to be open\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(stream(served.work.states())).keep_alive(keep_alive).into_response()
}

/// The state that there is, then each one that comes.
fn stream(states: watch::Receiver<Arc<str>>) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold((states, true), async |(mut states, is_first)| {
        if !is_first || states.borrow().is_empty() {
            states.changed().await.ok()?;
        }
        let text = Arc::clone(&states.borrow_and_update());
        Some((Ok(Event::default().event("state").retry(RECONNECT).data(text)), (states, false)))
    })
}

/// What a button sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what", deny_unknown_fields)]
enum Send {
    Demo { count: u64 },
    Mistakes,
    Again,
}

async fn send(State(served): State<Served>, Json(what): Json<Send>) -> Response {
    let work = &served.work;
    let done = match what {
        Send::Demo { count } if !(1..=SEND_MAX).contains(&count) => {
            Err(Failure::Data(format!("expected 1 to {SEND_MAX} measurements")))
        }
        Send::Demo { count } => work.send_demo(count).await,
        Send::Mistakes => work.send_mistakes().await,
        Send::Again => work.send_last_again().await,
    };
    answer(done.map(|Done { measurements, messages }| json!({"measurements": measurements, "messages": messages})))
}

/// A switch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switched {
    trouble: Trouble,
    on: bool,
}

async fn trouble(State(served): State<Served>, Json(Switched { trouble, on }): Json<Switched>) -> Response {
    answer(served.work.switch(trouble, on).await.map(|()| json!({"on": on})))
}

fn answer(done: Result<serde_json::Value, Failure>) -> Response {
    match done {
        Ok(said) => Json(said).into_response(),
        Err(failure) => {
            let status = match failure {
                Failure::Data(_) | Failure::Usage(_) => StatusCode::UNPROCESSABLE_ENTITY,
                Failure::CouldNot(_) => StatusCode::BAD_GATEWAY,
            };
            (status, Json(json!({"error": failure.to_string()}))).into_response()
        }
    }
}
