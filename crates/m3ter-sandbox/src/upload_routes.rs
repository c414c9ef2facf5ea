//! `/fileuploads/measurements`: upload jobs, and the URLs that lead to their files.
//!
//! A job begins when its URL is asked for. m3ter publishes the shapes here, not the order of the list (newest first:
//! the sandbox's own choice) nor what a job shows before its file came (no date, and zero rows).

use axum::extract::{Path, State};
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::json;

use crate::answer::{Refusal, ok, read as read_json};
use crate::config_routes::{Answer, Place};
use crate::event_routes::base;
use crate::files::JOB_HEADER;
use crate::journal::Entry;
use crate::paging::{Page, Params};
use crate::rules::{DATE_TIME_RULE, date_time};
use crate::sandbox::{Sandbox, unwritable};
use crate::uploads::{UploadRequest, job_id};

/// `POST /fileuploads/measurements/generateUploadUrl`.
pub(crate) async fn generate(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts, body: Bytes) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let request: UploadRequest = read_json(&body)?;
    request.check()?;
    let at = inner.clock.now();
    inner.write(&Entry::Job { at, request: request.clone() }).map_err(unwritable)?;
    let content_type = request.content_type.clone();
    let job = inner.book.uploads.create(at, request);
    let id = job_id(job).to_string();
    Ok(ok(&json!({
        "jobId": id,
        "url": format!("{}{}", base(&parts), inner.link(&Method::PUT, job)),
        "headers": { "content-type": content_type, JOB_HEADER: id },
    })))
}

/// `GET /fileuploads/measurements/jobs`: newest first. `dateCreatedStart` is included, `dateCreatedEnd` is not.
pub(crate) async fn list(State(sandbox): State<Sandbox>, Path(place): Path<Place>, params: Params, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let (size, before) = (params.page_size()?, params.after()?);
    let (start, end) = (date(&params, "dateCreatedStart")?, date(&params, "dateCreatedEnd")?);
    let uploads = &inner.book.uploads;
    let jobs = uploads.jobs.iter().enumerate().rev().filter(|(place, job)| {
        before.is_none_or(|before| (*place as u64) < before)
            && start.is_none_or(|start| job.created >= start)
            && end.is_none_or(|end| job.created < end)
    });
    Ok(ok(&Page::of(jobs.map(|(place, job)| (place as u64, uploads.view(place, job))), size)))
}

/// A date of the query.
fn date(params: &Params, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let read = |text| date_time(text).ok_or_else(|| Refusal::bad(format!("{name}: expected {DATE_TIME_RULE}")));
    params.text(name).map(read).transpose()
}

/// `GET /fileuploads/measurements/jobs/{id}`.
pub(crate) async fn read(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let (number, job) = inner.book.uploads.find(&place.id)?;
    Ok(ok(&inner.book.uploads.view(number, job)))
}

/// `GET /fileuploads/measurements/jobs/{id}/original`.
pub(crate) async fn original(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let (number, job) = inner.book.uploads.find(&place.id)?;
    if job.arrived.is_none() {
        return Err(Refusal::missing("file"));
    }
    Ok(ok(&json!({
        "jobId": place.id,
        "url": format!("{}{}", base(&parts), inner.link(&Method::GET, number)),
        "headers": { JOB_HEADER: place.id },
    })))
}
