//! `/meters` and `/accounts`: create, read, list, change, delete.

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::{Refusal, ok, read};
use crate::catalogue::Shelf;
use crate::front::Peer;
use crate::journal::Entry;
use crate::paging::{Page, Params};
use crate::sandbox::{Inner, Sandbox};

/// The organisation of a path, and the id in it if it has one.
#[derive(Debug, Deserialize)]
pub(crate) struct Place {
    pub(crate) org: String,
    #[serde(default)]
    pub(crate) id: String,
}

/// The answer of every route that may refuse.
pub(crate) type Answer = Result<Response, Refusal>;

impl Inner {
    /// Token, organisation and rates of a request other than ingest.
    pub(crate) fn admit_parts(&mut self, parts: &Parts, place: &Place) -> Result<(), Refusal> {
        self.admit(&parts.headers, &place.org, Peer::of(&parts.extensions))
    }
}

/// One page of `shelf`, in order of creation: `codes`, `ids`, and `productId` where entries have one.
fn page<T>(shelf: &Shelf<T>, params: &Params) -> Answer {
    let (size, after) = (params.page_size()?, params.after()?);
    let (codes, ids, products) = (params.list("codes"), params.list("ids"), params.list("productId"));
    let entries = shelf.live().map(|(place, entry)| (u64::from(place), entry));
    let entries = entries.filter(|(place, entry)| {
        let product = entry.view.get("productId").and_then(Value::as_str).unwrap_or("");
        after.is_none_or(|after| *place > after)
            && (codes.is_empty() || codes.contains(&entry.code.as_str()))
            && (ids.is_empty() || ids.contains(&entry.id.as_str()))
            && (products.is_empty() || products.contains(&product))
    });
    Ok(ok(&Page::of(entries.map(|(place, entry)| (place, &entry.view)), size)))
}

/// The entry at `place`, as the API shows it.
fn view<T>(shelf: &Shelf<T>, place: u32) -> Answer {
    let nothing = Map::new();
    Ok(ok(shelf.at(place).map_or(&nothing, |entry| &entry.view)))
}

/// `GET /meters`.
pub(crate) async fn list_meters(
    State(sandbox): State<Sandbox>,
    Path(place): Path<Place>,
    params: Params,
    parts: Parts,
) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    page(&inner.book.meters, &params)
}

/// `POST /meters`.
pub(crate) async fn create_meter(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts, body: Bytes) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let created = inner.put_meter(None, read(&body)?)?;
    view(&inner.book.meters, created)
}

/// `GET /meters/{id}`.
pub(crate) async fn read_meter(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let (found, _) = inner.book.meters.find(&place.id)?;
    view(&inner.book.meters, found)
}

/// `PUT /meters/{id}`.
pub(crate) async fn change_meter(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts, body: Bytes) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let changed = inner.put_meter(Some(place.id), read(&body)?)?;
    view(&inner.book.meters, changed)
}

/// `DELETE /meters/{id}`.
pub(crate) async fn delete_meter(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    inner.book.meters.find(&place.id)?;
    let at = inner.clock.now();
    let deleted = inner.delete(Entry::Meter { at, id: Some(place.id), request: None })?;
    view(&inner.book.meters, deleted)
}

/// `GET /accounts`.
pub(crate) async fn list_accounts(
    State(sandbox): State<Sandbox>,
    Path(place): Path<Place>,
    params: Params,
    parts: Parts,
) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    page(&inner.book.accounts, &params)
}

/// `POST /accounts`.
pub(crate) async fn create_account(
    State(sandbox): State<Sandbox>,
    Path(place): Path<Place>,
    parts: Parts,
    body: Bytes,
) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let created = inner.put_account(None, read(&body)?)?;
    view(&inner.book.accounts, created)
}

/// `GET /accounts/{id}`.
pub(crate) async fn read_account(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let (found, _) = inner.book.accounts.find(&place.id)?;
    view(&inner.book.accounts, found)
}

/// `PUT /accounts/{id}`.
pub(crate) async fn change_account(
    State(sandbox): State<Sandbox>,
    Path(place): Path<Place>,
    parts: Parts,
    body: Bytes,
) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let changed = inner.put_account(Some(place.id), read(&body)?)?;
    view(&inner.book.accounts, changed)
}

/// `DELETE /accounts/{id}`.
pub(crate) async fn delete_account(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    inner.book.accounts.find(&place.id)?;
    let at = inner.clock.now();
    let deleted = inner.delete(Entry::Account { at, id: Some(place.id), request: None })?;
    view(&inner.book.accounts, deleted)
}
