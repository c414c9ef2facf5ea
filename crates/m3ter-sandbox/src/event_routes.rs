//! `/events`, and the logs of failed ingests.
//!
//! m3ter publishes the envelope of an event and that an ingest failure's response carries a `getDownloadUrl`; all else
//! inside `m3terEvent`, and the shape of the log, is the sandbox's own choice. Nothing can be marked as actioned (the
//! subset has no call for it) and there are no notifications, so `includeActioned` changes nothing and a filter by
//! notification finds nothing.

use std::borrow::Cow;

use axum::extract::{Path, State};
use http::request::Parts;
use http::{Uri, header};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::{Refusal, ok};
use crate::book::Book;
use crate::config_routes::{Answer, Place};
use crate::events::{EVENT_NAME, EVENT_TYPE, Event, Fault, event_id, event_number};
use crate::options::EventsPer;
use crate::paging::{Page, Params};
use crate::sandbox::Sandbox;
use crate::schema::Names;

/// Where the file of an event's log is said to be.
const FILE_FOLDER: &str = "failedIngest/";

/// `GET /events`.
pub(crate) async fn list(State(sandbox): State<Sandbox>, Path(place): Path<Place>, params: Params, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let (size, before) = (params.page_size()?, params.after()?);
    params.flag("includeActioned")?;
    let ids = params.list("ids");
    let filters = ["eventName", "eventType", "accountId", "resourceId", "notificationId", "notificationCode"];
    if !ids.is_empty() && filters.iter().any(|name| params.text(name).is_some()) {
        return Err(Refusal::bad("ids: expected no other filter beside it"));
    }
    let numbers: Vec<u64> = ids.iter().filter_map(|id| event_number(id)).collect();
    let (book, base) = (&inner.book, base(&parts));
    let events = book
        .events
        .newest_first(before)
        .filter(|(number, event)| (ids.is_empty() || numbers.contains(number)) && book.fits(event, &params));
    Ok(ok(&Page::of(events.map(|(number, event)| (number, book.event_view(number, event, &base))), size)))
}

/// `GET /events/{id}`.
pub(crate) async fn read(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let number = event_number(&place.id).ok_or_else(|| Refusal::missing("event"))?;
    let event = inner.book.events.get(number).ok_or_else(|| Refusal::missing("event"))?;
    Ok(ok(&inner.book.event_view(number, event, &base(&parts))))
}

/// `GET /events/types`: the types that the sandbox raises.
pub(crate) async fn types(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts) -> Answer {
    sandbox.lock().admit_parts(&parts, &place)?;
    Ok(ok(&json!({ "events": [EVENT_NAME] })))
}

/// `GET /events/fields[?eventName=]`.
pub(crate) async fn fields(State(sandbox): State<Sandbox>, Path(place): Path<Place>, params: Params, parts: Parts) -> Answer {
    sandbox.lock().admit_parts(&parts, &place)?;
    let known = params.text("eventName").is_none_or(|name| name == EVENT_NAME);
    let names = ["type", "message", "uid", "meter", "account", "ts", "meterId", "accountId", "getDownloadUrl"];
    let fields: Value = names.iter().map(|name| (format!("new.{name}"), json!("string"))).collect();
    let events = if known { json!({ EVENT_NAME: fields }) } else { json!({}) };
    Ok(ok(&json!({ "events": events })))
}

/// `GET /measurements/failedIngest/getDownloadUrl?file=`: a link that lives five minutes.
pub(crate) async fn download_url(
    State(sandbox): State<Sandbox>,
    Path(place): Path<Place>,
    params: Params,
    parts: Parts,
) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let file = params.text("file").ok_or_else(|| Refusal::bad("file: expected the path that an event's getDownloadUrl holds"))?;
    let number = file.strip_prefix(FILE_FOLDER).and_then(|file| file.strip_suffix(".json")).and_then(event_number);
    let number = number.filter(|number| inner.book.events.get(*number).is_some()).ok_or_else(|| Refusal::missing("file"))?;
    let now = inner.clock.now();
    let link = inner.grants.give(number, now);
    Ok(ok(&json!({ "url": format!("{}/_sandbox/failed-ingest/{link}", base(&parts)) })))
}

/// The base URL that the caller used, for links in answers.
pub(crate) fn base(parts: &Parts) -> String {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| Uri::authority(&parts.uri).map(http::uri::Authority::as_str)).unwrap_or("localhost");
    // Over a socket a request names no scheme; the sandbox speaks no TLS.
    format!("{}://{host}", parts.uri.scheme_str().unwrap_or("http"))
}

/// One line of a failed ingest log.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    r#type: &'static str,
    error: String,
    measurement: Option<Box<RawValue>>,
}

impl Book {
    /// Whether `event` passes the filters of `GET /events`.
    fn fits(&self, event: &Event, params: &Params) -> bool {
        let is = |name: &str, value: &str| params.text(name).is_none_or(|wanted| wanted == value);
        let account =
            params.text("accountId").is_none_or(|id| event.faults.iter().any(|fault| self.account_id(fault) == Some(id)));
        let resource =
            params.text("resourceId").is_none_or(|id| event.faults.iter().any(|fault| self.meter_id(fault) == Some(id)));
        let notified = params.text("notificationId").is_some() || params.text("notificationCode").is_some();
        is("eventName", EVENT_NAME) && is("eventType", EVENT_TYPE) && account && resource && !notified
    }

    fn account_id(&self, fault: &Fault) -> Option<&str> {
        fault.account.and_then(|place| self.accounts.at(place)).map(|entry| entry.id.as_str())
    }

    fn meter_id(&self, fault: &Fault) -> Option<&str> {
        fault.meter.and_then(|place| self.meters.at(place)).map(|entry| entry.id.as_str())
    }

    /// The text of the measurement that failed.
    fn raw_of(&self, fault: &Fault) -> Option<Cow<'_, str>> {
        self.raw(&fault.span)
    }

    /// An event as the API shows it.
    fn event_view(&self, number: u64, event: &Event, base: &str) -> Value {
        let id = event_id(number).to_string();
        let organisation = &self.organisation;
        let url =
            format!("{base}/organizations/{organisation}/measurements/failedIngest/getDownloadUrl?file={FILE_FOLDER}{id}.json");
        let mut errors: Vec<Value> = event.faults.iter().map(|fault| self.fault_view(fault)).collect();
        let mut data = match self.choices.events_per {
            EventsPer::Measurement => errors.pop().unwrap_or_default(),
            EventsPer::Request => json!({ "errors": errors }),
        };
        if let Value::Object(data) = &mut data {
            data.insert("getDownloadUrl".to_owned(), Value::from(url));
        }
        json!({
            "id": id,
            "eventName": EVENT_NAME,
            "eventTime": event.at.to_string(),
            "dtActioned": null,
            "m3terEvent": { "eventName": EVENT_NAME, "eventType": EVENT_TYPE, "orgId": organisation, "eventData": data },
        })
    }

    /// One failure inside an event.
    fn fault_view(&self, fault: &Fault) -> Value {
        let names: Names = self.raw_of(fault).and_then(|raw| serde_json::from_str(&raw).ok()).unwrap_or_default();
        json!({
            "type": fault.failure.name(),
            "message": fault.failure.message(fault.detail.as_deref()),
            "uid": names.uid,
            "meter": names.meter,
            "account": names.account,
            "ts": names.ts,
            "meterId": self.meter_id(fault),
            "accountId": self.account_id(fault),
        })
    }

    /// The log that a download link leads to: each error with the original measurement.
    pub(crate) fn failed_ingest_log(&self, event: &Event) -> Vec<Failed> {
        let failed = event.faults.iter().map(|fault| Failed {
            r#type: fault.failure.name(),
            error: fault.failure.message(fault.detail.as_deref()),
            measurement: self.raw_of(fault).and_then(|raw| RawValue::from_string(raw.into_owned()).ok()),
        });
        failed.collect()
    }
}
