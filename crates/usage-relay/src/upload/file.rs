//! A file that was named on the command line: a path, standard input, or an object of a bucket.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ::upload::Input;
use files::source::{Format, Source};
use relay_store::{GivenObject, Store};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

use crate::failure::Failure;
use crate::send::read;
use crate::store::{open_store_for_files, store_failed};
use crate::terminal;

/// Bytes read at once to know a file by its content.
const BUFFER_BYTES: usize = 256 * 1024;

/// Where a file is.
#[derive(Debug)]
pub(super) enum Named {
    /// On this machine; `-` is standard input.
    Path(PathBuf),
    /// In a bucket.
    Object {
        /// The URL of the bucket, and
        bucket: String,
        /// of the object.
        url: String,
        key: String,
    },
}

impl Named {
    /// What `name` names. A path is looked at before anything is begun.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] with the system's reason, [`Failure::Usage`] if it is a URL of another kind.
    pub(super) fn of(name: &Path) -> Result<Named, Failure> {
        let text = name.to_str().unwrap_or_default();
        let expected = || Failure::Usage(format!("expected a path, -, file:///path or s3://bucket/key, found {text}"));
        match Url::parse(text) {
            Ok(url) if url.scheme() == "s3" => {
                let bucket = url.host_str().ok_or_else(expected)?;
                // As it was written: a URL would escape what is part of the name.
                let key = text.strip_prefix(&format!("s3://{bucket}/")).filter(|key| !key.is_empty()).ok_or_else(expected)?;
                Ok(Named::Object { bucket: format!("s3://{bucket}"), url: text.to_owned(), key: key.to_owned() })
            }
            Ok(url) if url.scheme() == "file" => Named::path(&url.to_file_path().map_err(|()| expected())?),
            Ok(_) if text.contains("://") => Err(expected()),
            _ => Named::path(name),
        }
    }

    fn path(path: &Path) -> Result<Named, Failure> {
        read::check(&Source::at(path))?;
        Ok(Named::Path(path.to_owned()))
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        match self {
            Named::Path(path) => Source::at(path).name(),
            Named::Object { url, .. } => url.clone(),
        }
    }

    /// Says under which id it is begun, where that is needed to go on with it: a pipe cannot be read again.
    pub(super) fn begins(&self, upload: Uuid) {
        if matches!(self, Named::Path(path) if comes_once(path)) {
            terminal::complain(&format!("{} is upload {upload}; once it is read, --resume goes on with it", self.name()));
        }
    }

    /// What tells its content from any other.
    pub(super) async fn digest(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Named::Path(path) if comes_once(path) => Ok(fastrand::u128(..).to_le_bytes().to_vec()),
            Named::Path(path) => {
                let could_not = |error: &std::io::Error| read::unreadable(&Source::at(path), error);
                let mut file = File::open(path).map_err(|error| could_not(&error))?;
                let (mut digest, mut buffer) = (Sha256::new(), vec![0; BUFFER_BYTES]);
                loop {
                    match file.read(&mut buffer).map_err(|error| could_not(&error))? {
                        0 => return Ok(digest.finalize().to_vec()),
                        length => digest.update(buffer.get(..length).unwrap_or_default()),
                    }
                }
            }
            Named::Object { url, .. } => {
                let (_, found) = self.found().await?;
                Ok(::upload::object_digest(url, &found.etag.unwrap_or_default()))
            }
        }
    }

    /// It as a file to read.
    pub(super) async fn input(&self, format: Format) -> Result<Input, Failure> {
        match self {
            Named::Path(path) => Ok(Input::of(Source::at(path), format)),
            Named::Object { url, .. } => {
                let (files, found) = self.found().await?;
                Ok(Input { format, ..::upload::object(&files, url.clone(), &found) })
            }
        }
    }

    async fn found(&self) -> Result<(Store, GivenObject), Failure> {
        let Named::Object { bucket, url, key } = self else {
            return Err(Failure::Usage("expected an object of a bucket".to_owned()));
        };
        let files = open_store_for_files(bucket).await?;
        let found = files.given(key).await.map_err(|error| store_failed(&error))?;
        found.map(|found| (files, found)).ok_or_else(|| Failure::CouldNot(format!("there is no {url}")))
    }
}

/// Whether what is at `path` can be read only once, as a pipe: it is new each time.
fn comes_once(path: &Path) -> bool {
    path.as_os_str() == "-" || !std::fs::metadata(path).is_ok_and(|about| about.is_file())
}
