//! Objects of newline-delimited JSON, written whole or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::time::{Instant, timeout_at};

/// The longest a probe waits.
const PROBE: Duration = Duration::from_secs(5);

/// Where quarantine and the rest of the relay's objects live. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
    prefix: Path,
    suspect: Arc<AtomicBool>,
}

/// Why the store did not do it. What was being written may be there or not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store answered with an error, or not at all.
    #[error("the store failed")]
    Failed(#[source] object_store::Error),
    /// Time was up.
    #[error("the store did not answer in time")]
    TimedOut,
    /// An object is not what its name says.
    #[error("the object {name} is not readable: {expected}")]
    Unreadable {
        /// Its name in the store.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl Store {
    /// A store over `objects`, below `prefix`.
    pub fn over(objects: Arc<dyn ObjectStore>, prefix: Path) -> Store {
        Store { objects, prefix, suspect: Arc::new(AtomicBool::new(false)) }
    }

    /// Whether the last put failed. Then nothing should be submitted before [`Store::probe`] holds: what cannot be settled
    /// would be submitted again on each delivery.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Puts a small object, to see whether putting works. Takes at most 5 s: a store that hangs must not cost an
    /// invocation of waiting each time.
    pub async fn probe(&self, until: Instant) -> Result<(), StoreError> {
        self.put("probe/v1/last", Bytes::from_static(b"{}\n"), until.min(Instant::now() + PROBE)).await
    }

    /// Writes one object, whole or not at all. A failure makes the store suspect; a success ends that.
    pub(crate) async fn put(&self, name: &str, bytes: Bytes, until: Instant) -> Result<(), StoreError> {
        let result = self.try_put(name, bytes, until).await;
        self.suspect.store(result.is_err(), Ordering::Relaxed);
        result
    }

    /// The same of an object that nothing depends on: the store is not judged by it.
    pub(crate) async fn try_put(&self, name: &str, bytes: Bytes, until: Instant) -> Result<(), StoreError> {
        self.put_at(&self.path(name), bytes, until).await
    }

    /// The same at a place that was named in full.
    pub(crate) async fn put_at(&self, path: &Path, bytes: Bytes, until: Instant) -> Result<(), StoreError> {
        match timeout_at(until, self.objects.put(path, PutPayload::from_bytes(bytes))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(StoreError::Failed(error)),
            Err(_) => Err(StoreError::TimedOut),
        }
    }

    /// Names below `folder`, in order.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Path>, StoreError> {
        let listed: Vec<_> = self.objects.list(Some(&self.path(folder))).try_collect().await.map_err(StoreError::Failed)?;
        let mut names: Vec<Path> = listed.into_iter().map(|object| object.location).collect();
        names.sort();
        Ok(names)
    }

    /// The lines of the object `name`, as [`Store::list`] names it.
    pub(crate) async fn read_lines(&self, name: &Path) -> Result<Vec<u8>, StoreError> {
        let object = self.objects.get(name).await.map_err(StoreError::Failed)?;
        let packed = object.bytes().await.map_err(StoreError::Failed)?;
        zstd::stream::decode_all(packed.as_ref())
            .map_err(|_| StoreError::Unreadable { name: name.to_string(), expected: "a whole zstd stream" })
    }

    /// What everything is below.
    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Where `name` is.
    pub(crate) fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }
}

/// `dt=YYYY-MM-DD` of a time in milliseconds since the epoch, in UTC.
pub(crate) fn day_folder(at_ms: i64) -> String {
    hour_folder(at_ms).split('/').next().unwrap_or_default().to_owned()
}

/// `dt=YYYY-MM-DD/hr=HH` of a time in milliseconds since the epoch, in UTC.
pub(crate) fn hour_folder(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default().to_zoned(TimeZone::UTC);
    at.strftime("dt=%Y-%m-%d/hr=%H").to_string()
}
