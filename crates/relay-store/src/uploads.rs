//! Uploads: the journal of each, and the parts that are to be sent.
//!
//! A journal is a row of steps, each the whole state, each created and never replaced. So two runs at once cannot undo what the
//! other wrote: whoever comes second finds the step taken. A part is an object that holds a request's body as it will be sent; it may
//! have a gibibyte, so it is written and read in pieces.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::given::pieces;
use crate::scan::FETCH_TIMEOUT;
use crate::store::{Store, StoreError};

/// Not below `uploads/`, where people put their files and each new object wakes the function that sends them.
const FOLDER: &str = "upload-journals/v1";
/// What the name of a step begins with.
const STEP: &str = "step-";
/// The longest that is waited for an unfinished part to be taken away.
const ABORT: Duration = Duration::from_secs(5);
/// Bytes written at once: S3 takes no fewer, but for the last.
pub const PIECE_BYTES: usize = 5 * 1024 * 1024;

/// The last step of a journal.
#[derive(Clone, Debug)]
pub struct Step<T> {
    /// Its number, from 1.
    pub number: u32,
    /// The state as of this step.
    pub state: T,
}

/// What became of writing a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is the journal's last.
    Ours,
    /// Another run wrote one of this number first.
    Taken,
}

/// A part as it is read.
pub struct PartBody {
    /// How many bytes it has.
    pub bytes: u64,
    /// They themselves. An error is the store's.
    pub stream: BoxStream<'static, Result<Bytes, StoreError>>,
}

/// A part as it is written.
#[derive(Debug)]
pub struct PartWriter {
    pieces: Box<dyn MultipartUpload>,
}

impl PartWriter {
    /// Writes the next piece: [`PIECE_BYTES`] or more, fewer only if it is the last.
    ///
    /// # Errors
    /// [`StoreError`]: then the part will not be there.
    pub async fn write(&mut self, piece: Bytes, until: Instant) -> Result<(), StoreError> {
        let written = within(until, self.pieces.put_part(PutPayload::from_bytes(piece))).await;
        self.or_aborted(written).await
    }

    /// Ends it: now the part is there, as a whole.
    ///
    /// # Errors
    /// [`StoreError`]: then it may be there or not.
    pub async fn finish(mut self, until: Instant) -> Result<(), StoreError> {
        let finished = within(until, self.pieces.complete()).await.map(|_| ());
        self.or_aborted(finished).await
    }

    /// What was written of a part that fails would be kept, and paid for, for ever.
    async fn or_aborted(&mut self, done: Result<(), StoreError>) -> Result<(), StoreError> {
        if done.is_err() {
            let _ = timeout(ABORT, self.pieces.abort()).await;
        }
        done
    }
}

impl Store {
    /// The last step of the journal of `upload`; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked, or the step is no state of that shape.
    pub async fn upload_step<T: DeserializeOwned>(&self, upload: Uuid) -> Result<Option<Step<T>>, StoreError> {
        let names = match timeout(FETCH_TIMEOUT, self.list(&format!("{FOLDER}/{upload}"))).await {
            Ok(names) => names?,
            Err(_) => return Err(StoreError::TimedOut),
        };
        let number = |name: &str| name.strip_prefix(STEP)?.strip_suffix(".json")?.parse::<u32>().ok();
        let Some(number) = names.iter().filter_map(|name| number(name.filename()?)).max() else { return Ok(None) };
        let state = self.document(&step_name(upload, number)).await?;
        Ok(state.map(|state| Step { number, state }))
    }

    /// Writes step `number` of the journal of `upload`, unless there is one.
    ///
    /// # Errors
    /// [`StoreError`] if it may be there or not.
    pub async fn write_upload_step<T: Serialize>(
        &self,
        upload: Uuid,
        number: u32,
        state: &T,
        until: Instant,
    ) -> Result<Written, StoreError> {
        let name = step_name(upload, number);
        let text = serde_json::to_vec(state)
            .map_err(|_| StoreError::Unreadable { name: name.clone(), expected: "a state that JSON can hold" })?;
        let (text, path) = (Bytes::from(text), self.path(&name));
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.objects.put_opts(&path, PutPayload::from_bytes(text.clone()), create);
        match timeout_at(until, put).await {
            Ok(Ok(_)) => Ok(Written::Ours),
            Ok(Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => {
                // The answer to a first attempt may have been lost on the way: then it is ours that is there.
                let there = self.objects.get(&path).await.map_err(StoreError::Failed)?;
                let there = there.bytes().await.map_err(StoreError::Failed)?;
                Ok(if there == text { Written::Ours } else { Written::Taken })
            }
            Ok(Err(error)) => Err(StoreError::Failed(error)),
            Err(_) => Err(StoreError::TimedOut),
        }
    }

    /// Begins the part `part` of `upload`. It is there when it is finished, and not before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write_part(&self, upload: Uuid, part: &str, until: Instant) -> Result<PartWriter, StoreError> {
        let path = self.path(&part_name(upload, part));
        let pieces = within(until, self.objects.put_multipart(&path)).await?;
        Ok(PartWriter { pieces })
    }

    /// The part `part` of `upload`, as a stream: each piece a request of its own, so that none lasts long, however slowly it is read.
    ///
    /// # Errors
    /// [`StoreError`] if it is not there or the store cannot be asked.
    pub async fn read_part(&self, upload: Uuid, part: &str) -> Result<PartBody, StoreError> {
        let path = self.path(&part_name(upload, part));
        let bytes = within(Instant::now() + FETCH_TIMEOUT, self.objects.head(&path)).await?.size;
        Ok(PartBody { bytes, stream: pieces(&self.objects, path, bytes, None) })
    }

    /// Deletes the part `part` of `upload`. One that is gone already is fine.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_part(&self, upload: Uuid, part: &str, until: Instant) -> Result<(), StoreError> {
        let path = self.path(&part_name(upload, part));
        match within(until, self.objects.delete(&path)).await {
            Err(StoreError::Failed(object_store::Error::NotFound { .. })) => Ok(()),
            other => other,
        }
    }

    /// Deletes what is beside the journal of `upload`, but for the parts `kept`.
    ///
    /// # Errors
    /// [`StoreError`]: some may be left.
    pub async fn delete_parts_but(&self, upload: Uuid, kept: &[&str], until: Instant) -> Result<(), StoreError> {
        let names = match timeout_at(until, self.list(&format!("{FOLDER}/{upload}"))).await {
            Ok(names) => names?,
            Err(_) => return Err(StoreError::TimedOut),
        };
        let is_left = |name: &&str| !name.starts_with(STEP) && !kept.contains(name);
        for name in names.iter().filter_map(|name| name.filename()).filter(is_left) {
            self.delete_part(upload, name, until).await?;
        }
        Ok(())
    }
}

fn step_name(upload: Uuid, number: u32) -> String {
    format!("{FOLDER}/{upload}/{STEP}{number:05}.json")
}

fn part_name(upload: Uuid, part: &str) -> String {
    format!("{FOLDER}/{upload}/{part}")
}

async fn within<T>(until: Instant, ask: impl Future<Output = object_store::Result<T>>) -> Result<T, StoreError> {
    match timeout_at(until, ask).await {
        Ok(answer) => answer.map_err(StoreError::Failed),
        Err(_) => Err(StoreError::TimedOut),
    }
}

impl std::fmt::Debug for PartBody {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PartBody").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
