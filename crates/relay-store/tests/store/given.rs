//! What the tests of this crate begin with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use relay_store::{EntryText, NewEntry, S3Access, Store};
use tokio::time::Instant;

/// 2026-06-01T00:00:00Z in milliseconds since the epoch.
pub(crate) const START_MS: i64 = 1_780_272_000_000;

/// An entry that keeps `text`, of `position` in the message `m-1`.
pub(crate) fn entry(position: usize, text: EntryText<'_>) -> NewEntry<'_> {
    NewEntry {
        qid: None,
        uid: None,
        reason: "NotJson",
        detail: "expected JSON",
        stage: "decode",
        first_sent_at_ms: None,
        message_id: "m-1",
        position,
        source: "arn:queue",
        attributes: Vec::new(),
        queued_at_ms: None,
        first_received_at_ms: None,
        receives: 1,
        origin: None,
        text,
    }
}

/// Time enough.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// A store in `folder`.
pub(crate) fn in_folder(folder: &Path) -> Store {
    Store::open(&format!("file://{}", folder.display()), &S3Access::default()).unwrap()
}

/// A store in memory.
pub(crate) fn in_memory() -> Store {
    Store::open("memory:", &S3Access::default()).unwrap()
}

/// Every file below `folder`, as a path from there, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path().strip_prefix(folder).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}
