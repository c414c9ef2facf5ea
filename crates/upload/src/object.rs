//! An object of a store as a file to upload: fetched piece by piece, while another thread reads.

use std::io::{Error, ErrorKind, Read};

use bytes::{Buf, Bytes};
use files::source::{Format, Source};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use relay_store::{GivenObject, NoPiece, Store};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::prepare::Input;

/// Pieces that were fetched and not read yet, at most.
const PIECES_WAITING_MAX: usize = 1;

/// What tells the content of the object at `url` from any other: the version is not in it, so the same content put there once more is
/// the same upload.
pub fn object_digest(url: &str, etag: &str) -> Vec<u8> {
    format!("{url}\n{etag}").into_bytes()
}

/// `found` in `files` as a file, under the `name` that errors and reports call it. One that is replaced or deleted while it is read is
/// an error of kind [`ErrorKind::NotFound`].
pub fn object(files: &Store, name: String, found: &GivenObject) -> Input {
    let (fetched, pieces) = channel(PIECES_WAITING_MAX);
    let source = Source::of(name.clone(), Some(found.bytes), Pieces { pieces, piece: Bytes::new() });
    Input { name, source, format: Format::Auto, feed: Box::pin(fetch(files.read_given(found), fetched)) }
}

/// A file that is not needed, because all of it was read: should it be read all the same, it is not there.
pub fn gone(name: String) -> Input {
    struct Gone;
    impl Read for Gone {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(ErrorKind::NotFound.into())
        }
    }
    Input::of(Source::of(name, None, Gone), Format::Auto)
}

async fn fetch(mut pieces: BoxStream<'static, Result<Bytes, NoPiece>>, fetched: Sender<std::io::Result<Bytes>>) {
    while let Some(piece) = pieces.next().await {
        // Neither kind is taken for a fault of the data.
        let piece = piece.map_err(|error| match error {
            NoPiece::Changed => Error::new(ErrorKind::NotFound, error),
            NoPiece::Store(_) => Error::new(ErrorKind::ConnectionAborted, error),
        });
        let is_end = piece.is_err();
        if fetched.send(piece).await.is_err() || is_end {
            return;
        }
    }
}

/// Reads what is fetched.
struct Pieces {
    pieces: Receiver<std::io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let length = self.piece.len().min(buffer.len());
        let (read, _) = buffer.split_at_mut(length);
        self.piece.copy_to_slice(read);
        Ok(length)
    }
}
