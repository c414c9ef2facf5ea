//! Opens the store that a URL names.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use crate::store::Store;

/// How to reach S3. `Debug` does not show the keys.
#[derive(Clone, Default)]
pub struct S3Access {
    /// The region of the bucket.
    pub region: Option<String>,
    /// Another address than AWS's own, for an emulator; plain HTTP is allowed on this machine alone.
    pub endpoint: Option<String>,
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token, where the keys are temporary.
    pub session_token: Option<String>,
    /// How long one try may take, where 5 s are too few for what is sent over a slow line.
    pub patience: Option<Duration>,
    /// What all buckets are reached by: see [`S3Access::over`]. `None`: each has a client of its own.
    pub client: Option<reqwest::Client>,
}

impl S3Access {
    /// The same over one client for all buckets, made of `builder`: whoever has TLS set up already need not do so again for each.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn over(&self, builder: reqwest::ClientBuilder) -> Result<S3Access, reqwest::Error> {
        let client = builder.timeout(self.patience.unwrap_or(TRY)).connect_timeout(TRY).https_only(!self.is_local()).build()?;
        Ok(S3Access { client: Some(client), ..self.clone() })
    }

    /// Whether it is an emulator on this machine: nobody else is spoken to in the open.
    fn is_local(&self) -> bool {
        let is_local = |url: Url| matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        self.endpoint.as_deref().is_some_and(|endpoint| Url::parse(endpoint).is_ok_and(is_local))
    }
}

/// A client that is there already.
#[derive(Debug)]
struct Given(reqwest::Client);

impl HttpConnector for Given {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl std::fmt::Debug for S3Access {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("S3Access").field("region", &self.region).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no store.
    #[error("expected a store URL: s3://bucket/prefix, file:///folder, or memory:")]
    NotAStoreUrl,
    /// There is no such folder, or it cannot be used.
    #[error("the store's folder cannot be used")]
    Folder(#[source] object_store::Error),
    /// S3 cannot be set up so.
    #[error("the store's bucket cannot be used")]
    Bucket(#[source] object_store::Error),
}

/// A try takes at most this long; the caller bounds the whole.
const TRY: Duration = Duration::from_secs(5);

impl Store {
    /// Opens the store at `url`; `s3` is needed for `s3://` alone. Does not yet speak to it.
    pub fn open(url: &str, s3: &S3Access) -> Result<Store, OpenError> {
        let url = Url::parse(url).map_err(|_| OpenError::NotAStoreUrl)?;
        let prefix = || Path::from_url_path(url.path()).map_err(|_| OpenError::NotAStoreUrl);
        match (url.scheme(), url.host_str()) {
            ("s3", Some(bucket)) => Ok(Store::over(Arc::new(bucket_store(bucket, s3)?), prefix()?)),
            ("file", _) => {
                let folder = url.to_file_path().map_err(|()| OpenError::NotAStoreUrl)?;
                let objects = LocalFileSystem::new_with_prefix(folder).map_err(OpenError::Folder)?.with_fsync(true);
                Ok(Store::over(Arc::new(objects), Path::default()))
            }
            ("memory", _) => Ok(Store::over(Arc::new(InMemory::new()), Path::default())),
            _ => Err(OpenError::NotAStoreUrl),
        }
    }
}

/// The bucket as a store of objects.
pub(crate) fn bucket_store(bucket: &str, s3: &S3Access) -> Result<object_store::aws::AmazonS3, OpenError> {
    let client =
        ClientOptions::new().with_timeout(s3.patience.unwrap_or(TRY)).with_connect_timeout(TRY).with_allow_http(s3.is_local());
    // One quick second try. Every put is the same bytes under the same name, so a second one is harmless.
    let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: 1, retry_timeout: TRY };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_access_key_id(&s3.access_key_id)
        .with_secret_access_key(&s3.secret_access_key)
        .with_region(s3.region.as_deref().unwrap_or("us-east-1"))
        .with_client_options(client)
        .with_retry(retry);
    if let Some(client) = &s3.client {
        builder = builder.with_http_connector(Given(client.clone()));
    }
    if let Some(token) = &s3.session_token {
        builder = builder.with_token(token);
    }
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder.build().map_err(OpenError::Bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_file_and_memory_urls_are_stores_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = format!("file://{}", folder.path().display());
        let s3 = S3Access { access_key_id: "a".into(), secret_access_key: "b".into(), ..S3Access::default() };
        for url in ["s3://bucket", "s3://bucket/some/prefix", "memory:", file.as_str()] {
            assert!(Store::open(url, &s3).is_ok(), "{url}");
        }
        for url in ["", "bucket", "s3:///prefix", "az://container", "https://bucket.example"] {
            assert!(matches!(Store::open(url, &s3), Err(OpenError::NotAStoreUrl)), "{url}");
        }
        assert!(matches!(Store::open("file:///no/such/folder", &s3), Err(OpenError::Folder(_))));
    }

    #[test]
    fn keys_are_not_shown() {
        let s3 = S3Access {
            access_key_id: "canary".into(),
            secret_access_key: "canary".into(),
            session_token: Some("canary".into()),
            ..S3Access::default()
        };
        assert!(!format!("{s3:?}").contains("canary"));
    }
}
