//! S3 with path-style addresses: put, also in parts, get, head, list (version 2) and delete, in memory.
//!
//! `If-None-Match: *` on a put is respected, since "written once" rests on it. Absent: copies, versions, bucket
//! settings. Every object has the same modification time: nothing here tells time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_RANGE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::{hang_if, listing, lock};
use crate::http_server::{Answer, Severed, answer};

const XML: &str = "application/xml";
/// The modification time of every object, as HTTP writes it; [`listing::MODIFIED`] is the same.
const MODIFIED: HeaderValue = HeaderValue::from_static("Sun, 01 Nov 2026 00:00:00 GMT");
/// What starts the name of each of an object's own metadata headers.
const METADATA_PREFIX: &str = "x-amz-meta-";

/// The objects of an [`crate::AwsStub`]. Cloning gives another handle on the same ones.
#[derive(Clone, Debug, Default)]
pub struct ObjectsStub(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By bucket and key, and so in the order in which S3 lists.
    objects: BTreeMap<(String, String), StoredObject>,
    calls: Vec<String>,
    writes: u64,
    /// What was put in parts and is not whole yet: by the upload's id, by number.
    parts: BTreeMap<String, BTreeMap<u32, Bytes>>,
    fault: Option<ObjectFault>,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// What is in it.
    pub body: Bytes,
    /// Its own metadata, names in lower case and without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// Its entity tag, with its quotes; each write makes a new one.
    pub etag: String,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFault {
    /// Puts are answered with 503 `SlowDown` and nothing is stored.
    FailPuts,
    /// Puts are never answered and nothing is stored.
    HangPuts,
    /// Nothing is answered.
    HangAll,
    /// Puts are stored, and the connection closes without an answer.
    LosePutAnswers,
}

impl ObjectsStub {
    /// Everything stored, by bucket and key.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredObject> {
        lock(&self.0).objects.values().cloned().collect()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        let id = (bucket.to_owned(), key.to_owned());
        lock(&self.0).objects.get(&id).cloned()
    }

    /// Stores an object from the test.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        self.store(bucket, key, body.into(), BTreeMap::new());
    }

    /// The same with metadata of its own, as `x-amz-meta-…` would give it. Gives back its entity tag.
    pub fn put_with(&self, bucket: &str, key: &str, body: impl Into<Bytes>, metadata: &[(&str, &str)]) -> String {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.store(bucket, key, body.into(), metadata.collect())
    }

    /// Every request so far, as `METHOD /bucket/key?query`, answered or not.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        lock(&self.0).calls.clone()
    }

    /// Sets what goes wrong from now on; `None` ends it.
    pub fn fault(&self, fault: impl Into<Option<ObjectFault>>) {
        lock(&self.0).fault = fault.into();
    }

    /// Answers an S3 request, or gives `None` for one that this stub does not know.
    pub(super) async fn serve(&self, request: &Request<Bytes>) -> Option<Answer> {
        let fault = {
            let mut state = lock(&self.0);
            state.calls.push(format!("{} {}", request.method(), request.uri()));
            state.fault
        };
        hang_if(fault == Some(ObjectFault::HangAll)).await;
        let path = listing::decoded(request.uri().path());
        let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), ""));
        let query = listing::Query::parse(request.uri().query().unwrap_or_default());
        Some(match *request.method() {
            _ if request.headers().contains_key("x-amz-copy-source") => return None,
            _ if query.has("uploads") || query.has("uploadId") => return self.in_parts(request, bucket, key, &query),
            Method::PUT if !key.is_empty() => self.put_object(request, bucket, key, fault).await,
            Method::GET if key.is_empty() && query.has("list-type") => self.list(bucket, &query),
            Method::GET | Method::HEAD if !key.is_empty() => self.get_object(request, bucket, key),
            Method::DELETE if !key.is_empty() => {
                self.delete(bucket, [key]);
                answer(StatusCode::NO_CONTENT, XML, "")
            }
            Method::POST if query.has("delete") => {
                let keys = listing::keys_to_delete(&String::from_utf8_lossy(request.body()));
                self.delete(bucket, keys.iter().map(String::as_str));
                answer(StatusCode::OK, XML, listing::deleted(&keys))
            }
            _ => return None,
        })
    }

    async fn put_object(&self, request: &Request<Bytes>, bucket: &str, key: &str, fault: Option<ObjectFault>) -> Answer {
        match fault {
            Some(ObjectFault::FailPuts) => {
                return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
            }
            Some(ObjectFault::HangPuts) => hang_if(true).await,
            Some(ObjectFault::HangAll | ObjectFault::LosePutAnswers) | None => {}
        }
        let headers = request.headers();
        let before = self.get(bucket, key).map(|object| object.etag);
        if headers.get(IF_NONE_MATCH).is_some_and(|tag| tag == "*") && before.is_some() {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        if let Some(wanted) = headers.get(IF_MATCH)
            && before.is_none_or(|tag| *wanted != *tag)
        {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        let etag = self.store(bucket, key, request.body().clone(), metadata(headers));
        if fault == Some(ObjectFault::LosePutAnswers) {
            return Err(Severed);
        }
        let mut response = answer(StatusCode::OK, XML, "")?;
        set(&mut response, ETAG, &etag)?;
        Ok(response)
    }

    /// A put in parts: begun, each part, ended, given up. The object is there when it is ended. (S3 wants 5 MiB of each but the last.)
    fn in_parts(&self, request: &Request<Bytes>, bucket: &str, key: &str, query: &listing::Query) -> Option<Answer> {
        let Some(id) = query.get("uploadId").map(str::to_owned) else {
            let mut state = lock(&self.0);
            let id = format!("upload-{}", state.parts.len() + 1);
            state.parts.insert(id.clone(), BTreeMap::new());
            let body = format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
            return (request.method() == Method::POST).then(|| answer(StatusCode::OK, XML, body));
        };
        let no_upload = || error(StatusCode::NOT_FOUND, "NoSuchUpload");
        match *request.method() {
            Method::PUT => {
                let number: u32 = query.get("partNumber")?.parse().ok()?;
                let mut state = lock(&self.0);
                let Some(parts) = state.parts.get_mut(&id) else { return Some(no_upload()) };
                parts.insert(number, request.body().clone());
                let response = answer(StatusCode::OK, XML, "");
                Some(response.and_then(|mut response| set(&mut response, ETAG, &format!("\"{number}\"")).map(|()| response)))
            }
            Method::POST => {
                let Some(parts) = lock(&self.0).parts.remove(&id) else { return Some(no_upload()) };
                let whole = parts.into_values().collect::<Vec<_>>().concat();
                let etag = self.store(bucket, key, whole.into(), BTreeMap::new());
                let body = format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>");
                Some(answer(StatusCode::OK, XML, body))
            }
            Method::DELETE => {
                lock(&self.0).parts.remove(&id);
                Some(answer(StatusCode::NO_CONTENT, XML, ""))
            }
            _ => None,
        }
    }

    fn get_object(&self, request: &Request<Bytes>, bucket: &str, key: &str) -> Answer {
        let Some(object) = self.get(bucket, key) else {
            return error(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        if request.headers().get(IF_MATCH).is_some_and(|wanted| *wanted != *object.etag) {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        let size = object.body.len();
        let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
        let part = match range.map(|range| listing::range(range, size)) {
            None => None,
            Some(Some(part)) => Some(part),
            Some(None) => return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
        };
        let (status, body) = part
            .clone()
            .map_or((StatusCode::OK, object.body.clone()), |part| (StatusCode::PARTIAL_CONTENT, object.body.slice(part)));
        // For HEAD, hyper sends the length of this body and not the body.
        let mut response = answer(status, "application/octet-stream", body)?;
        if let Some(part) = part {
            let last = part.end.saturating_sub(1);
            set(&mut response, CONTENT_RANGE, &format!("bytes {}-{last}/{size}", part.start))?;
        }
        response.headers_mut().insert(LAST_MODIFIED, MODIFIED);
        set(&mut response, ETAG, &object.etag)?;
        for (name, value) in &object.metadata {
            let name = format!("{METADATA_PREFIX}{name}");
            let name = HeaderName::try_from(name).map_err(|_| Severed)?;
            set(&mut response, name, value)?;
        }
        Ok(response)
    }

    fn list(&self, bucket: &str, query: &listing::Query) -> Answer {
        let state = lock(&self.0);
        let objects = state.objects.values().filter(|object| object.bucket == bucket);
        answer(StatusCode::OK, XML, listing::page(objects, query))
    }

    fn delete<'k>(&self, bucket: &str, keys: impl IntoIterator<Item = &'k str>) {
        let mut state = lock(&self.0);
        for key in keys {
            state.objects.remove(&(bucket.to_owned(), key.to_owned()));
        }
    }

    fn store(&self, bucket: &str, key: &str, body: Bytes, metadata: BTreeMap<String, String>) -> String {
        let mut state = lock(&self.0);
        state.writes += 1;
        let etag = format!("\"{:032x}\"", state.writes);
        let object = StoredObject { bucket: bucket.to_owned(), key: key.to_owned(), body, metadata, etag: etag.clone() };
        state.objects.insert((bucket.to_owned(), key.to_owned()), object);
        etag
    }
}

fn metadata(headers: &HeaderMap) -> BTreeMap<String, String> {
    let own = |(name, value): (&HeaderName, &HeaderValue)| {
        let name = name.as_str().strip_prefix(METADATA_PREFIX)?.to_owned();
        Some((name, value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(own).collect()
}

fn set(response: &mut Response<Full<Bytes>>, name: HeaderName, value: &str) -> Result<(), Severed> {
    let value = HeaderValue::from_str(value).map_err(|_| Severed)?;
    response.headers_mut().insert(name, value);
    Ok(())
}

fn error(status: StatusCode, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    answer(status, XML, body)
}
