//! What operators did about quarantined measurements: small objects, written once and never changed.
//!
//! A marker is created only if it is not there yet, which the store itself decides. So of two operators who want to do the
//! same at once, one does it. Nothing is ever deleted: a marker that was left behind is part of the story.
//!
//! Absent: what a marker allows or forbids. Who reads them decides that.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::scan::FETCH_TIMEOUT;
use crate::store::{Store, StoreError};

const FOLDER: &str = "actions/v1";

/// Up to so many entries are asked for one by one.
const FEW: usize = 200;
/// Entries asked for at the same time.
const LISTINGS: usize = 32;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was given up.
    Drop,
    /// It was put on the queue again as it was.
    Replay,
    /// It was put on the queue again after it had been mended.
    Import,
}

/// A marker: what was done about one quarantine entry. Fields of a later version are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// What was done.
    pub action: Action,
    /// When it was about to be done, by the operator's clock: milliseconds since the epoch.
    pub at: i64,
    /// The run of the command that did it: tells one's own marker from another's.
    pub run: Uuid,
    /// Who did it, if the operator's machine said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The uid it went out under, where that is another than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_uid: Option<String>,
    /// Its own uid, which the new one takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// Whether the operator overruled the window of m3ter's memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beyond_window: bool,
}

/// A marker that was listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkerName {
    /// What it is called, below its entry.
    pub name: String,
    /// When it was written, by the store's clock: milliseconds since the epoch.
    pub written_at_ms: i64,
}

/// Whether a marker was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It is ours.
    Created,
    /// Somebody else's was there before.
    TakenBefore,
}

impl Store {
    /// Creates the marker `name` of the entry `qid`, unless there is one. An answer that was lost is made good: a marker of
    /// the same run is ours.
    ///
    /// # Errors
    /// [`StoreError`] if it may be there or not.
    pub async fn mark(&self, qid: Uuid, name: &str, marker: &Marker, until: Instant) -> Result<Marked, StoreError> {
        let at = format!("{FOLDER}/{qid}/{name}.json");
        let text = serde_json::to_vec(marker)
            .map_err(|_| StoreError::Unreadable { name: at.clone(), expected: "a marker that JSON can hold" })?;
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(Bytes::from(text));
        match timeout_at(until, self.objects.put_opts(&self.path(&at), payload, create)).await {
            Ok(Ok(_)) => Ok(Marked::Created),
            Ok(Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => {
                let there = self.marker(qid, name).await?;
                Ok(if there.run == marker.run { Marked::Created } else { Marked::TakenBefore })
            }
            Ok(Err(error)) => Err(StoreError::Failed(error)),
            Err(_) => Err(StoreError::TimedOut),
        }
    }

    /// The names of all markers, by their entry. What is called otherwise than a marker is passed over.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn markers(&self) -> Result<BTreeMap<Uuid, Vec<MarkerName>>, StoreError> {
        Ok(by_entry(self.marker_names(FOLDER).await?))
    }

    /// The same of `qids` alone.
    ///
    /// # Errors
    /// As [`Store::markers`].
    pub async fn markers_of(&self, qids: &BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, Vec<MarkerName>>, StoreError> {
        // Markers are never deleted: after years there are many. A few are asked for one by one.
        if qids.len() > FEW {
            let mut found = self.markers().await?;
            found.retain(|qid, _| qids.contains(qid));
            return Ok(found);
        }
        let listings = stream::iter(qids).map(async |qid| self.marker_names(&format!("{FOLDER}/{qid}")).await);
        let listed: Vec<Vec<(Uuid, MarkerName)>> = listings.buffer_unordered(LISTINGS).try_collect().await?;
        Ok(by_entry(listed.into_iter().flatten()))
    }

    async fn marker_names(&self, below: &str) -> Result<Vec<(Uuid, MarkerName)>, StoreError> {
        let (mut listed, mut found) = (self.objects.list(Some(&self.path(below))), Vec::new());
        while let Some(object) = answered(listed.try_next()).await? {
            found.extend(marker_name(&object));
        }
        Ok(found)
    }

    /// The marker `name` of the entry `qid`.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be had, or is none.
    pub async fn marker(&self, qid: Uuid, name: &str) -> Result<Marker, StoreError> {
        let path = self.path(&format!("{FOLDER}/{qid}/{name}.json"));
        let get = async { self.objects.get(&path).await?.bytes().await };
        let text = answered(get).await?;
        serde_json::from_slice(&text)
            .map_err(|_| StoreError::Unreadable { name: path.to_string(), expected: "a marker: action, at, run" })
    }
}

async fn answered<T>(asked: impl Future<Output = object_store::Result<T>>) -> Result<T, StoreError> {
    timeout(FETCH_TIMEOUT, asked).await.map_err(|_| StoreError::TimedOut)?.map_err(StoreError::Failed)
}

fn by_entry(names: impl IntoIterator<Item = (Uuid, MarkerName)>) -> BTreeMap<Uuid, Vec<MarkerName>> {
    let mut found: BTreeMap<Uuid, Vec<MarkerName>> = BTreeMap::new();
    for (qid, name) in names {
        found.entry(qid).or_default().push(name);
    }
    found.values_mut().for_each(|names| names.sort_unstable());
    found
}

/// `…/<qid>/<name>.json`.
fn marker_name(object: &ObjectMeta) -> Option<(Uuid, MarkerName)> {
    let mut parts = object.location.as_ref().rsplit('/');
    let name = parts.next()?.strip_suffix(".json")?.to_owned();
    let qid = parts.next()?.parse().ok()?;
    Some((qid, MarkerName { name, written_at_ms: object.last_modified.timestamp_millis() }))
}
