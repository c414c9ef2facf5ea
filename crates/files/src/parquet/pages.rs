//! The pages of a Parquet file, and how much of them memory holds.
//!
//! A page is what a column is read by: a mebibyte or so, as most writers make them, and a dictionary for each column. All that are held at
//! once, unpacked, have to stay within [`PAGES_BYTES_MAX`]; one that would go beyond ends the reading. How large a row group is does
//! not matter.
//!
//! A page is unpacked before it is counted: one whose header lies takes, until it is seen through, as much as it says, at most 2 GiB, and one
//! that is packed with gzip as much as comes out of it. So this is for files of one's own, and the functions do without.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;

/// Most bytes of pages held at once, and of what is read at once: a hundred columns with a page of the usual mebibyte each.
pub(super) const PAGES_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Said of pages that are larger.
#[derive(Debug)]
pub(super) struct TooMuch;

impl fmt::Display for TooMuch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = PAGES_BYTES_MAX / (1024 * 1024);
        write!(out, "expected pages that take at most {mebibytes} MiB together; write the file with pages of 1 MiB, as is usual")
    }
}

impl std::error::Error for TooMuch {}

fn too_much() -> ParquetError {
    ParquetError::External(Box::new(TooMuch))
}

/// Runs what reads the file. A file that is broken can make it panic, which is an error of the file here.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    let came_to_grief = |_| Err(ParquetError::General("it says what cannot be".to_owned()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(came_to_grief)
}

/// The file.
pub(super) struct Pages {
    file: File,
    bytes_read: Arc<AtomicU64>,
    held: Held,
}

impl Pages {
    /// Of `file`; counts in `bytes_read`.
    pub(super) fn of(file: File, bytes_read: Arc<AtomicU64>) -> Self {
        // What was looked at to tell the format is read again.
        bytes_read.store(0, Ordering::Relaxed);
        Self { file, bytes_read, held: Held::default() }
    }

    /// What is held of it.
    pub(super) fn held(&self) -> Held {
        self.held.clone()
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Pages {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if length > PAGES_BYTES_MAX {
            return Err(too_much());
        }
        let bytes = self.file.get_bytes(start, length)?;
        self.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// How many bytes of pages are held. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<AtomicUsize>);

impl Held {
    /// Counts the pages of `inner`, for as long as anything of them is held.
    pub(super) fn watch(&self, inner: Box<dyn PageReader>) -> Box<dyn PageReader> {
        Box::new(Watched { inner, held: self.clone() })
    }

    /// `bytes`, counted until the last of them is let go.
    fn hold(&self, bytes: Bytes) -> Result<Bytes> {
        let length = bytes.len();
        let before = self.0.fetch_add(length, Ordering::Relaxed);
        let counted = Bytes::from_owner(Counted { bytes, held: self.clone() });
        if before.saturating_add(length) > PAGES_BYTES_MAX { Err(too_much()) } else { Ok(counted) }
    }
}

/// Bytes that are held.
struct Counted {
    bytes: Bytes,
    held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Pages that are counted.
struct Watched {
    inner: Box<dyn PageReader>,
    held: Held,
}

impl PageReader for Watched {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.inner.get_next_page()? else { return Ok(None) };
        match &mut page {
            Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } | Page::DictionaryPage { buf, .. } => {
                *buf = self.held.hold(std::mem::take(buf))?;
            }
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }
}

impl Iterator for Watched {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_let_go_and_no_more_is_held_than_may_be() {
        let held = Held::default();
        let of = |length: usize| held.hold(Bytes::from(vec![0; length]));
        let (one, other) = (of(1_000).unwrap(), of(PAGES_BYTES_MAX - 1_000).unwrap());
        let slice = one.slice(10..20);
        drop(one);
        assert!(of(1).unwrap_err().to_string().contains("at most 128 MiB together"), "a slice holds all of its page");
        drop((slice, other));
        assert_eq!(held.0.load(Ordering::Relaxed), 0, "nor is what was refused held");
        assert!(of(PAGES_BYTES_MAX).is_ok());
    }

    #[test]
    fn no_more_is_read_at_once_than_may_be_held() {
        let pages = Pages::of(tempfile::tempfile().unwrap(), Arc::default());
        let error = pages.get_bytes(0, PAGES_BYTES_MAX + 1).unwrap_err();
        assert!(matches!(error, ParquetError::External(cause) if cause.is::<TooMuch>()));
    }
}
