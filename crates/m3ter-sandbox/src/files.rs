//! Where the URLs of uploads and originals lead: the file store in m3ter's place.
//!
//! The documented part: a URL lives one minute, and takes the file with the headers that came with it. All else is the
//! sandbox's own choice, and strict, because a client that passes here passes anywhere: the query of the URL is its
//! signature, an `Authorization` header is refused (a token has no business at a file store), exactly the declared
//! bytes must come with their `Content-Length`, and a job takes one file.
//!
//! A file is written to disk as it arrives, and its rows are counted on the way; see [`spool`](crate::spool).

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::answer::Refusal;
use crate::clock::after;
use crate::front::Met;
use crate::journal::Entry;
use crate::paging::Params;
use crate::rows::Rows;
use crate::sandbox::{Inner, Sandbox, unwritable};
use crate::spool::Spool;
use crate::uploads::{Found, Job, job_id};

/// What the paths of all files begin with.
pub(crate) const FILES: &str = "/uploads/";
/// The path of a file.
pub(crate) const ROUTE: &str = "/uploads/{job}";
/// The header that goes with a URL, beside the content type.
pub(crate) const JOB_HEADER: &str = "x-upload-job";
/// How long a URL lives (m3ter's documentation: one minute for an upload; for an original it gives none).
const LINK_LIFETIME: Duration = Duration::from_secs(60);

/// What the file store knows beside the books.
#[derive(Debug)]
pub(crate) struct Files {
    /// Where files are kept; `None` is in temporary files.
    pub(crate) folder: Option<PathBuf>,
    /// Uploads that were begun.
    pub(crate) begun: u64,
}

impl Inner {
    /// The path and query of a URL that lets `method` at the file of the job at `place`, from now on.
    pub(crate) fn link(&self, method: &Method, place: usize) -> String {
        let expires = after(self.clock.now(), LINK_LIFETIME);
        let signature = self.signature(method, place, expires.as_millisecond());
        format!("{FILES}{}?expires={}&signature={signature}", job_id(place), expires.as_millisecond())
    }

    fn signature(&self, method: &Method, place: usize, expires_ms: i64) -> Uuid {
        let name = format!("m3ter-sandbox/{}/{method}/{place}/{expires_ms}", self.options.organisation);
        Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
    }

    /// The job that a URL leads to, if the URL was given for `method` and still lives.
    fn linked(&self, method: &Method, id: &str, params: &Params, headers: &HeaderMap) -> Result<(usize, &Job), Refusal> {
        if headers.contains_key(header::AUTHORIZATION) {
            return Err(Refusal::bad("expected no authorization header: the URL is signed"));
        }
        let unknown = || Refusal::forbidden("expected the URL as it was given, query and method included");
        let (place, job) = self.book.uploads.find(id).map_err(|_| unknown())?;
        let expires_ms: i64 = params.text("expires").and_then(|text| text.parse().ok()).ok_or_else(unknown)?;
        if params.text("signature") != Some(self.signature(method, place, expires_ms).to_string().as_str()) {
            return Err(unknown());
        }
        if Timestamp::from_millisecond(expires_ms).is_ok_and(|expires| expires <= self.clock.now()) {
            return Err(Refusal::forbidden("the URL is expired"));
        }
        if headers.get(JOB_HEADER).is_none_or(|value| value.as_bytes() != id.as_bytes()) {
            return Err(Refusal::forbidden(format!("expected the header {JOB_HEADER} as it came with the URL")));
        }
        Ok((place, job))
    }

    /// Checks an upload before its body is read: the place of its job, the bytes to come, and where to write them.
    fn admit_file(&mut self, id: &str, params: &Params, request: &Request) -> Result<(usize, u64, Spool), Refusal> {
        let headers = request.headers();
        let (place, job) = self.linked(&Method::PUT, id, params, headers)?;
        let (wanted, kind) = (job.request.content_length, &job.request.content_type);
        if headers.get(header::CONTENT_TYPE).is_none_or(|value| value.as_bytes() != kind.as_bytes()) {
            return Err(Refusal::forbidden("expected the header content-type as it came with the URL"));
        }
        match length_of(request) {
            Some(found) if found == wanted => {}
            Some(found) => return Err(Refusal::bad(format!("content-length: expected {wanted} as declared, found {found}"))),
            None => {
                let message = "expected a content-length: a body in chunks is not taken".to_owned();
                return Err(Refusal { status: StatusCode::LENGTH_REQUIRED, message });
            }
        }
        refuse_second(job)?;
        self.files.begun += 1;
        let spool = Spool::create(self.files.folder.as_deref(), self.files.begun).map_err(unkept)?;
        Ok((place, wanted, spool))
    }

    /// Keeps a file that arrived whole, journals and enters it.
    fn arrive(&mut self, place: usize, mut spool: Spool, found: Found) -> Result<(), Refusal> {
        // Another upload may have been faster.
        self.book.uploads.jobs.get(place).map(refuse_second).transpose()?;
        spool.keep(place).map_err(unkept)?;
        self.write(&Entry::File { job: place, found: found.clone() }).map_err(unwritable)?;
        self.book.arrive(place, found, spool);
        Ok(())
    }
}

/// 409 for a job that has its file.
fn refuse_second(job: &Job) -> Result<(), Refusal> {
    let message = || "the file of this job was uploaded already".to_owned();
    if job.arrived.is_some() { Err(Refusal { status: StatusCode::CONFLICT, message: message() }) } else { Ok(()) }
}

/// The answer when a file cannot be kept.
fn unkept(fault: io::Error) -> Refusal {
    Refusal::failed(format!("the sandbox cannot keep the file: {}", fault.kind()))
}

/// The bytes that a request is to bring; in process its body may say so without a header.
fn length_of(request: &Request) -> Option<u64> {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    declared.or_else(|| request.body().size_hint().exact())
}

/// `PUT` of a file.
pub(crate) async fn put(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    params: Params,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let met = request.extensions().get::<Met>();
    let (cut, fails) = met.map_or((false, false), |met| (met.cut, met.fails));
    let admitted = sandbox.lock().admit_file(&id, &params, &request);
    let (place, wanted, mut spool) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            // Read to its end, so that the refusal is seen: a client that is still sending would see a reset.
            swallow(request.into_body(), 1).await;
            return Err(refusal);
        }
    };
    let kept = if cut { wanted / 2 } else { wanted };
    let mut scan = Scan::default();
    let (mut body, mut received) = (request.into_body(), 0_u64);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad("the upload broke off"))?;
        let Ok(mut bytes) = frame.into_data() else { continue };
        let room = usize::try_from(kept.saturating_sub(received)).unwrap_or(usize::MAX);
        received += bytes.len() as u64;
        bytes.truncate(room);
        // Written in line: it goes to the page cache, and whoever uploads is the only one who waits.
        spool.write(&bytes).map_err(unkept)?;
        scan.take(&bytes);
    }
    if received != wanted {
        return Err(Refusal::bad(format!("expected {wanted} bytes as declared, found {received}")));
    }
    let mut inner = sandbox.lock();
    let (rows, fault) = scan.end();
    let (at, per_second, fails_after) = (inner.clock.now(), inner.options.limits.upload_per_second, fails.then_some(rows / 2));
    let found = Found { at, per_second, bytes: kept, rows, fault, fails_after };
    inner.arrive(place, spool, found)?;
    Ok(StatusCode::OK)
}

/// Reads the rows of a file as it arrives.
#[derive(Debug, Default)]
struct Scan {
    rows: Rows,
    fault: Option<String>,
}

impl Scan {
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]) {
        if self.fault.is_none() {
            let json = |start: u64, text: &str| match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => Ok(()),
                Err(fault) => Err(format!("expected JSON in the row at byte {start}: {fault}")),
            };
            self.fault = self.rows.take(bytes, json).err();
        }
    }

    /// How many rows there are, and why it is no JSON array.
    fn end(self) -> (u64, Option<String>) {
        match self.fault.map_or_else(|| self.rows.end(), Err) {
            Ok(rows) => (rows, None),
            Err(fault) => (0, Some(fault)),
        }
    }
}

/// Reads a body up to one of `parts` equal parts and keeps nothing of it.
pub(crate) async fn swallow(mut body: Body, parts: u64) {
    let until = body.size_hint().exact().unwrap_or(0) / parts;
    let mut read = 0;
    while read < until
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
    }
}

/// `GET` of an original.
pub(crate) async fn get(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let inner = sandbox.lock();
    let (place, job) = inner.linked(&Method::GET, &id, &params, &headers)?;
    let file = job.arrived.as_ref().ok_or_else(|| Refusal::missing("file"))?;
    let (kind, bytes) = (job.request.content_type.clone(), file.bytes);
    drop(inner);
    let body = Body::new(Original { sandbox, place, at: 0, bytes });
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_LENGTH, bytes.to_string())], body).into_response())
}

/// The content of an uploaded file, read as it is sent.
struct Original {
    sandbox: Sandbox,
    place: usize,
    at: u64,
    bytes: u64,
}

impl HttpBody for Original {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.at >= self.bytes {
            return Poll::Ready(None);
        }
        let file = self.sandbox.lock().book.uploads.arrived(self.place).map(|file| file.spool.piece(self.at));
        Poll::Ready(Some(match file.unwrap_or_else(|| Ok(Vec::new())) {
            Ok(piece) if piece.is_empty() => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(piece) => {
                self.at += piece.len() as u64;
                Ok(Frame::data(Bytes::from(piece)))
            }
            Err(fault) => Err(fault),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.saturating_sub(self.at))
    }
}
