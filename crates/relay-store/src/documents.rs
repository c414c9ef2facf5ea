//! Small JSON documents that are replaced as a whole: cursors and reports.

use bytes::Bytes;
use object_store::ObjectStoreExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::scan::FETCH_TIMEOUT;
use crate::store::{Store, StoreError};

impl Store {
    /// The document `name`, such as `watch/v1/cursor.json`; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked, or the document is no JSON of that shape.
    pub async fn document<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.path(name);
        let get = async { self.objects.get(&path).await?.bytes().await };
        let text = match timeout(FETCH_TIMEOUT, get).await {
            Ok(Ok(text)) => text,
            Ok(Err(object_store::Error::NotFound { .. })) => return Ok(None),
            Ok(Err(error)) => return Err(StoreError::Failed(error)),
            Err(_) => return Err(StoreError::TimedOut),
        };
        let expected = "a document of this version";
        serde_json::from_slice(&text).map(Some).map_err(|_| StoreError::Unreadable { name: path.to_string(), expected })
    }

    /// Writes the document `name`, whole or not at all, before `until`.
    ///
    /// # Errors
    /// [`StoreError`] if it may be there or not.
    pub async fn put_document<T: Serialize>(&self, name: &str, value: &T, until: Instant) -> Result<(), StoreError> {
        let expected = "a value that JSON can hold";
        let text = serde_json::to_vec(value).map_err(|_| StoreError::Unreadable { name: name.to_owned(), expected })?;
        self.put(name, Bytes::from(text), until).await
    }
}
