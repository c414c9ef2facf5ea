//! Bodies that producers put into S3 because they are too large for the queue. They are only ever read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::{Instant, timeout_at};

use crate::open::{OpenError, S3Access, bucket_store};

/// The buckets that bodies may be read from, each by its name.
#[derive(Clone, Debug, Default)]
pub struct Payloads {
    buckets: BTreeMap<String, Arc<dyn ObjectStore>>,
}

/// Why there is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPayload {
    /// There is no such object.
    Missing,
    /// It has more bytes than are wanted: so many.
    TooLarge(u64),
    /// The bucket is not one of those that may be read.
    OtherBucket,
    /// The store did not give it: an error, a refusal, silence, or time was up.
    Failed,
}

impl Payloads {
    /// The buckets of these names. Does not yet speak to them.
    pub fn open<'n>(names: impl IntoIterator<Item = &'n str>, s3: &S3Access) -> Result<Payloads, OpenError> {
        let mut payloads = Payloads::default();
        for name in names {
            payloads = payloads.with(name, Arc::new(bucket_store(name, s3)?));
        }
        Ok(payloads)
    }

    /// The same and one bucket more.
    pub fn with(mut self, name: &str, bucket: Arc<dyn ObjectStore>) -> Payloads {
        self.buckets.insert(name.to_owned(), bucket);
        self
    }

    /// Whether there is none to read from.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The payload at `key` of `bucket`, of at most `bytes_max` bytes, before `until`.
    pub async fn fetch(&self, bucket: &str, key: &str, bytes_max: usize, until: Instant) -> Result<Bytes, NoPayload> {
        let bucket = self.buckets.get(bucket).ok_or(NoPayload::OtherBucket)?;
        // A name that no object can have is that of none.
        let path = Path::parse(key).map_err(|_| NoPayload::Missing)?;
        let reading = async {
            let object =
                bucket.get(&path).await.map_err(|error| match matches!(error, object_store::Error::NotFound { .. }) {
                    true => NoPayload::Missing,
                    false => NoPayload::Failed,
                })?;
            if object.meta.size > bytes_max as u64 {
                return Err(NoPayload::TooLarge(object.meta.size));
            }
            object.bytes().await.map_err(|_| NoPayload::Failed)
        };
        timeout_at(until, reading).await.unwrap_or(Err(NoPayload::Failed))
    }
}
