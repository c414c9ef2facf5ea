//! Objects that somebody else put into a bucket: files to upload, and what is written beside them.
//!
//! They may be replaced or deleted at any time. So each is read as it was found, or not at all: what comes of several requests is
//! never half of one object and half of another.
//!
//! A large object comes in pieces, each a request of its own: a request that carried all of it would have to be let run for as long as
//! the slowest line takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{Attribute, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::time::{Instant, timeout};

use crate::scan::FETCH_TIMEOUT;
use crate::store::{Store, StoreError};

/// Bytes of one request. They come within the time of one try at 7 Mbit/s.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// Requests at once: while one piece is used the next one comes.
const PIECES: usize = 2;

/// An object as it was found.
#[derive(Clone, Debug)]
pub struct GivenObject {
    /// How many bytes it has.
    pub bytes: u64,
    /// What the store calls its content, without quotation marks; another content has another one.
    pub etag: Option<String>,
    /// Its version, where the bucket keeps versions.
    pub version: Option<String>,
    /// What its owner wrote beside it (`x-amz-meta-…`), by name in lower case.
    pub metadata: BTreeMap<String, String>,
    path: Path,
    if_match: Option<String>,
}

/// Why a piece did not come.
#[derive(Debug, thiserror::Error)]
pub enum NoPiece {
    /// The object is another one by now, or gone.
    #[error("the object was replaced or deleted while it was read")]
    Changed,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Whether an object of this name can be reached: one with an empty part in it, or `.` or `..`, cannot.
    pub fn reaches(&self, key: &str) -> bool {
        self.path_as_it_is(key).is_some()
    }

    /// The object at `key`; `None` if there is none, or it cannot be reached.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn given(&self, key: &str) -> Result<Option<GivenObject>, StoreError> {
        let Some(path) = self.path_as_it_is(key) else { return Ok(None) };
        let head = self.objects.get_opts(&path, GetOptions { head: true, ..GetOptions::default() });
        let found = match timeout(FETCH_TIMEOUT, head).await {
            Ok(Ok(found)) => found,
            Ok(Err(object_store::Error::NotFound { .. })) => return Ok(None),
            Ok(Err(error)) => return Err(StoreError::Failed(error)),
            Err(_) => return Err(StoreError::TimedOut),
        };
        let metadata = found.attributes.iter().filter_map(|(name, value)| {
            let Attribute::Metadata(name) = name else { return None };
            Some((name.to_ascii_lowercase(), value.to_string()))
        });
        Ok(Some(GivenObject {
            bytes: found.meta.size,
            etag: found.meta.e_tag.as_deref().map(|etag| etag.trim_matches('"').to_owned()),
            version: found.meta.version.clone(),
            metadata: metadata.collect(),
            path,
            if_match: found.meta.e_tag.clone(),
        }))
    }

    /// What is in `object`, in pieces. The first error ends it.
    pub fn read_given(&self, object: &GivenObject) -> BoxStream<'static, Result<Bytes, NoPiece>> {
        let pieces = pieces(&self.objects, object.path.clone(), object.bytes, object.if_match.clone());
        let changed = |error: StoreError| {
            use object_store::Error::{NotFound, Precondition};
            let is_other = matches!(error, StoreError::Failed(NotFound { .. } | Precondition { .. }));
            if is_other { NoPiece::Changed } else { NoPiece::Store(error) }
        };
        pieces.map(move |piece| piece.map_err(changed)).boxed()
    }

    /// The first `bytes` of `object`, or all if it has fewer.
    ///
    /// # Errors
    /// [`NoPiece`].
    pub async fn first_of_given(&self, object: &GivenObject, bytes: usize) -> Result<Bytes, NoPiece> {
        let beginning = GivenObject { bytes: object.bytes.min(bytes as u64), ..object.clone() };
        self.read_given(&beginning).next().await.unwrap_or(Ok(Bytes::new()))
    }

    /// Writes `text` at `key`, unless that is what is there. Whether it was written.
    ///
    /// # Errors
    /// [`StoreError`] if it may be there or not.
    pub async fn put_beside(&self, key: &str, text: Bytes, until: Instant) -> Result<bool, StoreError> {
        let unreadable =
            || StoreError::Unreadable { name: "beside a file".to_owned(), expected: "a name that an object can have" };
        let path = self.path_as_it_is(key).ok_or_else(unreadable)?;
        let get = async { self.objects.get(&path).await?.bytes().await };
        if matches!(timeout(FETCH_TIMEOUT, get).await, Ok(Ok(there)) if there == text) {
            return Ok(false);
        }
        self.put_at(&path, text, until).await.map(|()| true)
    }

    /// Where `key` is, as somebody else wrote it: nothing in it is escaped. `None` if no object can have that name.
    fn path_as_it_is(&self, key: &str) -> Option<Path> {
        match self.prefix().as_ref() {
            "" => Path::parse(key).ok(),
            prefix => Path::parse(format!("{prefix}/{key}")).ok(),
        }
    }
}

/// The object at `path`, which has so many `bytes`, in pieces; as long as it is the one of that `if_match`.
pub(crate) fn pieces(
    objects: &Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
    if_match: Option<String>,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let objects = Arc::clone(objects);
    let places = (0..bytes.div_ceil(PIECE_BYTES)).map(move |piece| piece * PIECE_BYTES);
    let fetch = move |start: u64| {
        let (objects, path) = (Arc::clone(&objects), path.clone());
        let range = Some(GetRange::Bounded(start..bytes.min(start + PIECE_BYTES)));
        let options = GetOptions { range, if_match: if_match.clone(), ..GetOptions::default() };
        async move {
            let get = async { objects.get_opts(&path, options).await?.bytes().await };
            timeout(FETCH_TIMEOUT, get).await.map_err(|_| StoreError::TimedOut)?.map_err(StoreError::Failed)
        }
    };
    stream::iter(places).map(fetch).buffered(PIECES).boxed()
}
