//! m3ter's file uploads: a URL to put a file to, the file, and the job that it becomes.
//!
//! The token goes to m3ter's API alone. The URL that m3ter gives out is signed, lives for one minute, leads to wherever m3ter
//! keeps files, and is a secret of its own: it gets no token, no trace, and stands in no text.
//!
//! Each question for a URL makes a job, also one whose answer is lost: that one stays [`JobStatus::NotUploaded`] and harms
//! nothing. A file goes out in one attempt. What m3ter publishes of a job is its shape, so it is read leniently.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response};
use relay_core::limits::PAGE_MAX;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::time::timeout_at;
use url::Url;

use crate::ask::{NotAnswered, Page, encoded, read};
use crate::endpoint::is_safe;
use crate::session::Session;
use crate::transport::{Broke, FileBody, NoAnswer, Pieces};

/// What a file is to m3ter: it knows this and `text/json`.
const CONTENT_TYPE: &str = "application/json";
/// Longest name of a file, in UTF-16 units. Source: m3ter's API reference, `GetUploadUrlRequest.fileName.maxLength`; the unit
/// is the narrowest reading of it.
const FILE_NAME_UNITS_MAX: usize = 100;
/// Headers that say how a request is sent, which only the one who sends it can know.
const OURS: [HeaderName; 4] = [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING];

/// Where to put the file of a job, within a minute of being asked for. `Debug` does not show the URL.
pub struct UploadUrl {
    /// m3ter's id of the job.
    pub job_id: String,
    signed: Signed,
}

impl fmt::Debug for UploadUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("UploadUrl").field("job_id", &self.job_id).finish_non_exhaustive()
    }
}

/// A signed URL, and the headers that m3ter wants with it.
struct Signed {
    url: String,
    headers: HeaderMap,
}

/// A file that comes in.
pub struct Download {
    /// Its length, if it is said first.
    pub bytes: Option<u64>,
    /// The file, as it comes. It is whole once the stream ended without an error.
    pub stream: Pieces,
}

/// A job of m3ter's: what became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UploadJob {
    /// m3ter's id of it.
    #[serde(deserialize_with = "text")]
    pub id: String,
    /// As it was named when the URL was asked for.
    #[serde(deserialize_with = "text")]
    pub file_name: String,
    /// When the file came, as m3ter writes it; none before.
    #[serde(deserialize_with = "text_or_none")]
    pub upload_date: Option<String>,
    /// Bytes that were announced.
    #[serde(deserialize_with = "count")]
    pub content_length: u64,
    /// How far it is.
    #[serde(deserialize_with = "status")]
    pub status: JobStatus,
    /// Measurements in the file; 0 while that is unknown.
    #[serde(deserialize_with = "count")]
    pub total_rows: u64,
    /// Those that were processed.
    #[serde(deserialize_with = "count")]
    pub processed_rows: u64,
    /// Those that failed.
    #[serde(deserialize_with = "count")]
    pub failed_rows: u64,
    /// Grows with each change.
    #[serde(deserialize_with = "count")]
    pub version: u64,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobStatus {
    /// Its URL was given out; no file came.
    NotUploaded,
    /// Its file came, and is processed or waits for its turn.
    Running,
    /// Over: the file as a whole could not be processed.
    Failed,
    /// Over: every row was processed, which does not say that every row was ingested.
    Succeeded,
    /// A word that m3ter does not publish, or none.
    #[default]
    Unknown,
}

impl JobStatus {
    /// m3ter's word for it.
    pub fn word(self) -> &'static str {
        match self {
            JobStatus::NotUploaded => "notUploaded",
            JobStatus::Running => "running",
            JobStatus::Failed => "failed",
            JobStatus::Succeeded => "succeeded",
            JobStatus::Unknown => "unknown",
        }
    }

    /// The status that `word` is m3ter's word for.
    pub fn of(word: &str) -> JobStatus {
        let all = [JobStatus::NotUploaded, JobStatus::Running, JobStatus::Failed, JobStatus::Succeeded];
        all.into_iter().find(|status| status.word().eq_ignore_ascii_case(word)).unwrap_or_default()
    }
}

/// Which jobs are listed: those whose URL was asked for in this span of time. Both are dates as m3ter takes them, such as
/// `2026-01-02T03:04:05Z`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// From then on.
    pub created_start: Option<String>,
    /// Until then.
    pub created_end: Option<String>,
}

/// Why a file was not put where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPut {
    /// It was surely not taken: the URL is expired (403), the job has a file already (409), or something is wrong with either.
    #[error("the file was refused with status {status}")]
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// It was surely not taken: our side could not read it to its end, or it is not as long as was said.
    #[error("the file could not be read to its end, or is not as long as was announced")]
    Broke,
    /// It may have been taken: the job knows.
    #[error("expected an answer to the file; there was none, or none that says whether it was taken")]
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    #[serde(default)]
    job_id: String,
    url: String,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
}

impl Session<'_> {
    /// Asks for a URL to put a file of `bytes` to, which makes a job. Of a name that is longer than m3ter takes, the end is
    /// kept. Asked more than once where an answer does not come; each time makes a job, and the last one counts.
    ///
    /// # Errors
    /// [`NotAnswered`]; [`NotAnswered::Unknown`] also if the URL leads nowhere that is safe.
    pub async fn upload_url(&self, file_name: &str, bytes: u64) -> Result<UploadUrl, NotAnswered> {
        let name = end_of(file_name);
        let body = json!({ "fileName": name, "contentType": CONTENT_TYPE, "contentLength": bytes }).to_string();
        let answer = self.post("/fileuploads/measurements/generateUploadUrl", body.into()).await?;
        let (job_id, signed) = given(&answer)?;
        if place_of(&job_id).is_err() {
            return Err(NotAnswered::Unknown);
        }
        Ok(UploadUrl { job_id, signed })
    }

    /// Puts a file to where `to` leads, in one attempt, without the token. Takes as long as the line needs: the caller bounds
    /// the time by dropping the future, after which the file may have been taken. Ends by itself when nothing moves any more.
    ///
    /// # Errors
    /// [`NotPut`].
    pub async fn put_file(&self, to: &UploadUrl, body: FileBody) -> Result<(), NotPut> {
        let UploadUrl { job_id: _, signed: Signed { url, headers } } = to;
        let broke = Arc::new(AtomicBool::new(false));
        let bytes = body.bytes;
        let mut request = Request::new(exactly(body, broke.clone()));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = url.parse().map_err(|_| NotPut::Unknown)?;
        request.headers_mut().clone_from(headers);
        request.headers_mut().insert(CONTENT_LENGTH, bytes.into());
        self.counts.borrow_mut().attempts += 1;
        let answer = self.client.transport.upload(request).await;
        let put = put(answer.map(|answer| answer.status().as_u16()), broke.load(Ordering::Relaxed));
        if put == Err(NotPut::Unknown) {
            self.counts.borrow_mut().unknown_answers += 1;
        }
        put
    }

    /// The job with this id.
    ///
    /// # Errors
    /// [`NotAnswered`]; [`NotAnswered::Refused`] with 404 if there is none.
    pub async fn job(&self, id: &str) -> Result<UploadJob, NotAnswered> {
        read(&self.get(&place_of(id)?).await?)
    }

    /// A page of jobs: the first, or the one that `next_token` stands for; and what the next one is asked for with.
    ///
    /// # Errors
    /// [`NotAnswered`].
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        next_token: Option<&str>,
    ) -> Result<(Vec<UploadJob>, Option<String>), NotAnswered> {
        let mut question = format!("{JOBS}?pageSize={PAGE_MAX}");
        let JobFilter { created_start, created_end } = filter;
        let given = [("dateCreatedStart", created_start.as_deref()), ("dateCreatedEnd", created_end.as_deref())];
        for (name, value) in given.into_iter().chain([("nextToken", next_token)]) {
            question.extend(value.map(|value| format!("&{name}={}", encoded(value))));
        }
        let page: Page = read(&self.get(&question).await?)?;
        let jobs = page.data.iter().map(|job| read(job.get().as_bytes())).collect::<Result<_, _>>()?;
        Ok((jobs, page.next_token.filter(|token| !token.is_empty())))
    }

    /// The file of the job with this id, as it was uploaded. A link that expired before it was followed is asked for once more.
    ///
    /// # Errors
    /// [`NotAnswered`]; [`NotAnswered::Refused`] with 404 if there is no such job, or it has no file.
    pub async fn original(&self, id: &str) -> Result<Download, NotAnswered> {
        let question = format!("{}/original", place_of(id)?);
        match self.follow(&question).await {
            Err(NotAnswered::Refused { status: 401 | 403 } | NotAnswered::Unknown) => self.follow(&question).await,
            other => other,
        }
    }

    /// Asks for a link, and opens what it leads to.
    async fn follow(&self, question: &str) -> Result<Download, NotAnswered> {
        let (_, Signed { url, headers }) = given(&self.get(question).await?)?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.parse().map_err(|_| NotAnswered::Unknown)?;
        *request.headers_mut() = headers;
        self.counts.borrow_mut().attempts += 1;
        let until = self.budget.submit_until.min(self.clock.instant() + self.budget.attempt);
        let answer = timeout_at(until, self.client.transport.download(request)).await;
        let answer: Response<Pieces> = match answer.unwrap_or(Err(NoAnswer::TimedOut)) {
            Ok(answer) => answer,
            Err(_) => {
                self.counts.borrow_mut().unknown_answers += 1;
                return Err(NotAnswered::Unknown);
            }
        };
        let length = |answer: &Response<Pieces>| answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        match answer.status().as_u16() {
            200 => Ok(Download { bytes: length(&answer), stream: answer.into_body() }),
            status @ 400..=499 => Err(NotAnswered::Refused { status }),
            _ => Err(NotAnswered::Unknown),
        }
    }
}

/// Where m3ter lists jobs, within the organisation.
const JOBS: &str = "/fileuploads/measurements/jobs";

/// Where m3ter shows the job with this id. One that would lead elsewhere, such as `..`, is no job's.
fn place_of(id: &str) -> Result<String, NotAnswered> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match !id.is_empty() && id.bytes().all(is_plain) {
        true => Ok(format!("{JOBS}/{id}")),
        false => Err(NotAnswered::Refused { status: 404 }),
    }
}

/// As much of the end of `name` as m3ter takes: the end tells the parts of a file apart.
fn end_of(name: &str) -> &str {
    let mut units = 0;
    let fits = name.char_indices().rev().take_while(|(_, letter)| {
        units += letter.len_utf16();
        units <= FILE_NAME_UNITS_MAX
    });
    fits.last().map_or("", |(at, _)| name.get(at..).unwrap_or_default())
}

/// Reads a signed URL, if it is safe to follow.
fn given(answer: &[u8]) -> Result<(String, Signed), NotAnswered> {
    let Given { job_id, url, headers } = read(answer)?;
    let leads = Url::parse(&url).is_ok_and(|url| is_safe(&url) && url.username().is_empty() && url.password().is_none());
    if !leads {
        return Err(NotAnswered::Unknown);
    }
    let mut wanted = HeaderMap::new();
    for (name, value) in headers.unwrap_or_default() {
        let name = HeaderName::try_from(name).map_err(|_| NotAnswered::Unknown)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| NotAnswered::Unknown)?;
        value.set_sensitive(true);
        if !OURS.contains(&name) {
            wanted.insert(name, value);
        }
    }
    Ok((job_id, Signed { url, headers: wanted }))
}

/// The same file, whose stream breaks where it is not as long as was said. `broke` tells that it never went out whole.
fn exactly(body: FileBody, broke: Arc<AtomicBool>) -> FileBody {
    let FileBody { bytes, stream } = body;
    let stream = stream::try_unfold((stream, bytes, broke), |(mut stream, left, broke)| async move {
        match stream.next().await {
            Some(Ok(piece)) if piece.len() as u64 <= left => {
                let left = left - piece.len() as u64;
                Ok(Some((piece, (stream, left, broke))))
            }
            None if left == 0 => Ok(None),
            Some(Ok(_) | Err(Broke)) | None => {
                broke.store(left > 0, Ordering::Relaxed);
                Err(Broke)
            }
        }
    });
    FileBody { bytes, stream: stream.boxed() }
}

/// What the answer to a file means, which our side may have broken off.
fn put(status: Result<u16, NoAnswer>, broke: bool) -> Result<(), NotPut> {
    match status {
        Ok(200 | 201 | 204) if !broke => Ok(()),
        Ok(status @ 400..=499) => Err(NotPut::Refused { status }),
        // What never went out whole cannot have been taken.
        Err(_) if broke => Err(NotPut::Broke),
        // The host was not reached, so nothing went out; but the job is asked all the same.
        Ok(_) | Err(NoAnswer::NoConnection | NoAnswer::Broken | NoAnswer::TooLong | NoAnswer::TimedOut) => Err(NotPut::Unknown),
    }
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(text_or_none(from)?.unwrap_or_default())
}

fn text_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(Value::deserialize(from)?.as_u64().unwrap_or(0))
}

fn status<'de, D: Deserializer<'de>>(from: D) -> Result<JobStatus, D::Error> {
    Ok(text_or_none(from)?.map_or(JobStatus::Unknown, |word| JobStatus::of(&word)))
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;
