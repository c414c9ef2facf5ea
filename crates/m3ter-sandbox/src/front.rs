//! The front: all routes, and in front of them the faults.
//!
//! A fault that stands for m3ter (a status, a page of HTML, a closed connection, silence) never reaches the routes; one
//! that spoils the answer (late, dropped, cut) lets the request through first, so that its measurements are counted.
//!
//! A closed connection is an [`Abort`] in the response's extensions: the server closes the socket instead of answering,
//! and an in-process caller must treat such a response as a broken connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Frame;

use crate::answer::Refusal;
use crate::faults::{Fault, Route};
use crate::sandbox::Sandbox;
use crate::script::Plan;
use crate::{auth, config_routes, control, event_routes, files, ingest, query, search, upload_routes};

/// In the extensions of a response that stands for no answer: the connection breaks here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort;

/// Where a request came from; set by the server, absent in process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    /// The peer of a request; loopback in process.
    pub(crate) fn of(extensions: &Extensions) -> IpAddr {
        extensions.get::<Self>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0)
    }
}

/// What a request that is let through meets on the way back; the ledger notes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Met {
    pub(crate) fault: Option<String>,
    /// The client gets no answer.
    pub(crate) silent: bool,
    /// Half of the file is kept.
    pub(crate) cut: bool,
    /// The job of the file fails half-way.
    pub(crate) fails: bool,
}

impl Sandbox {
    /// m3ter's API and the sandbox's own routes, for a server or for calls in process.
    ///
    /// In process, a response with an [`Abort`] in its extensions is a broken connection, a body may fail half-way,
    /// and the source IP of every request is 127.0.0.1.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/oauth/token", post(auth::token))
            .nest("/organizations/{org}", organisation())
            .route(files::ROUTE, put(files::put).get(files::get))
            .nest("/_sandbox", control::routes())
            .fallback(|| async { Refusal::missing("resource") })
            .method_not_allowed_fallback(|| async {
                Refusal { status: StatusCode::METHOD_NOT_ALLOWED, message: "method not allowed".to_owned() }
            })
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(self.clone(), front))
            .with_state(self.clone())
    }
}

/// The routes of one organisation, as far as the sandbox has them.
fn organisation() -> Router<Sandbox> {
    use config_routes as config;
    Router::new()
        .route("/measurements", post(ingest::submit))
        .route("/measurements/failedIngest/getDownloadUrl", get(event_routes::download_url))
        .route("/events", get(event_routes::list))
        .route("/events/types", get(event_routes::types))
        .route("/events/fields", get(event_routes::fields))
        .route("/events/{id}", get(event_routes::read))
        .route("/meters", get(config::list_meters).post(config::create_meter))
        .route("/meters/{id}", get(config::read_meter).put(config::change_meter).delete(config::delete_meter))
        .route("/accounts", get(config::list_accounts).post(config::create_account))
        .route("/accounts/search", get(search::accounts))
        .route("/accounts/{id}", get(config::read_account).put(config::change_account).delete(config::delete_account))
        .route("/usage/query", post(query::query))
        .route("/fileuploads/measurements/generateUploadUrl", post(upload_routes::generate))
        .route("/fileuploads/measurements/jobs", get(upload_routes::list))
        .route("/fileuploads/measurements/jobs/{id}", get(upload_routes::read))
        .route("/fileuploads/measurements/jobs/{id}/original", get(upload_routes::original))
}

/// Lets a request meet what the script has for it.
async fn front(State(sandbox): State<Sandbox>, request: Request, next: Next) -> Response {
    let Some(route) = Route::of(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    let (mut parts, body) = request.into_parts();
    // A file is not gathered in memory, so its rules see nothing of it.
    let (seen, body) = if route == Route::Upload {
        (Bytes::new(), body)
    } else {
        match body.collect().await.map(http_body_util::Collected::to_bytes) {
            Ok(bytes) => (bytes.clone(), Body::from(bytes)),
            Err(_) => return abort(), // the client broke off
        }
    };
    let plan = sandbox.lock().script.plan(route, &seen);
    let response = match &plan.fault {
        Some(fault) if !fault.lets_through() => {
            if route == Route::Ingest {
                ingest::note_fault(&sandbox, &parts, &seen, &plan);
            }
            if *fault != Fault::Hang {
                // A reset comes in the middle of a file, every answer after it.
                files::swallow(body, if *fault == Fault::Reset { 2 } else { 1 }).await;
            }
            in_place_of_m3ter(fault).await
        }
        _ => {
            let silent = plan.fault == Some(Fault::DropAnswer);
            let (cut, fails) = (plan.fault == Some(Fault::CutUpload), plan.fault == Some(Fault::FailJob));
            parts.extensions.insert(Met { fault: plan.kind(), silent, cut, fails });
            next.run(Request::from_parts(parts, body)).await
        }
    };
    let Plan { delay, fault } = plan;
    late(delay).await;
    match fault {
        Some(Fault::DropAnswer) => abort(),
        Some(Fault::Truncate) => cut(response).await,
        _ => response,
    }
}

/// Lets a scripted delay pass.
#[expect(clippy::disallowed_methods, reason = "a late answer is what the script asks for")]
async fn late(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// The answer of a fault that m3ter never sees the request of.
async fn in_place_of_m3ter(fault: &Fault) -> Response {
    let page = "<!doctype html><html><body><h1>Please wait while we check your browser</h1></body></html>";
    match fault {
        Fault::Status { status, retry_after, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = body.clone().unwrap_or_else(|| r#"{"message":"scripted fault"}"#.to_owned());
            let mut response = (status, headers(&body), body).into_response();
            if let Some(value) = retry_after.as_ref().and_then(|after| HeaderValue::from_str(after).ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            response
        }
        Fault::Html => (StatusCode::OK, headers(page), page).into_response(),
        Fault::Hang => std::future::pending().await,
        Fault::Reset | Fault::DropAnswer | Fault::Truncate | Fault::CutUpload | Fault::FailJob | Fault::Delay { .. } => abort(),
    }
}

/// The content type of a scripted body.
fn headers(body: &str) -> HeaderMap {
    let kind = if body.starts_with('<') { "text/html; charset=utf-8" } else { "application/json" };
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
}

/// No answer: the connection is closed.
fn abort() -> Response {
    let mut response = StatusCode::BAD_GATEWAY.into_response();
    response.extensions_mut().insert(Abort);
    response
}

/// The same answer, whose body breaks off half-way.
async fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let half = whole.slice(..whole.len() / 2);
    Response::from_parts(parts, Body::new(Cut { half: Some(half), flushed: false }))
}

/// A body that gives its first half and then fails.
struct Cut {
    half: Option<Bytes>,
    flushed: bool,
}

impl HttpBody for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if !self.flushed {
            // Give the server a turn to send the first half; an error at once would take it along.
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::ConnectionReset, "scripted fault: truncated body"))))
    }
}
