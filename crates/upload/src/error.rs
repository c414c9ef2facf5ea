//! Why a run of an upload ended before its time. Nothing is lost by it: another run goes on where this one was.

use m3ter_client::NotAnswered;
use relay_store::StoreError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// m3ter's API.
    #[error(transparent)]
    NotAnswered(#[from] NotAnswered),
    /// The place to which m3ter says that files go.
    #[error("m3ter's file store refused a file with status {status}: expected it to take what m3ter gave out a link for")]
    NotTaken {
        /// HTTP status.
        status: u16,
    },
    /// The same, without an answer.
    #[error("there was no answer from m3ter's file store: expected it to take a file")]
    Unsure,
    /// The file could not be read on.
    #[error("the file could not be read")]
    Unreadable(#[source] std::io::Error),
    /// Two runs at once.
    #[error("another run is at work on this upload: expected to be the only one")]
    AnotherRun,
    /// A later version of the relay began it.
    #[error("the upload's journal has version {version}, expected 1: a later version of usage-relay began it")]
    Version {
        /// The version.
        version: u32,
    },
    /// There is no journal.
    #[error("there is no upload of this id in the store, expected one that was begun")]
    Unknown,
    /// It was ended before all of its file was read, and the file is not here.
    #[error("the upload ended before all of its file was read, and nothing was sent: expected the file once more")]
    NotPrepared,
    /// A part is not what was written.
    #[error("a part of the upload is not as it was written: expected one measurement a line")]
    PartChanged,
}
