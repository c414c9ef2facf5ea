//! The one seam to m3ter: a request goes out, an answer comes back, or it does not.
//!
//! Files alone are too large to be in memory as a whole. A transport within the process need not care: what it is not told
//! about files, it does by [`Transport::send`].

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{Request, Response};

/// Carries requests to m3ter.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends `request` and reads the whole answer, up to a bound. Does not follow redirects, does not try again.
    /// The caller bounds the time by dropping the future.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer>;

    /// Sends a file, piece by piece, and reads the answer like [`Transport::send`]. The same rules hold; it ends by itself only
    /// when nothing moves any more. This one gathers the file first.
    async fn upload(&self, request: Request<FileBody>) -> Result<Response<Bytes>, NoAnswer> {
        let (parts, mut body) = request.into_parts();
        let mut whole = BytesMut::new();
        while let Some(piece) = body.stream.next().await {
            whole.extend_from_slice(&piece.map_err(|Broke| NoAnswer::Broken)?);
        }
        self.send(Request::from_parts(parts, whole.freeze())).await
    }

    /// Sends `request`, and gives the answer as soon as it begins. This one waits for its end.
    async fn download(&self, request: Request<Bytes>) -> Result<Response<Pieces>, NoAnswer> {
        let answer = self.send(request).await?;
        Ok(answer.map(|body| stream::iter([Ok(body)]).boxed()))
    }
}

/// What an answer holds, as it comes.
pub type Pieces = BoxStream<'static, Result<Bytes, NoAnswer>>;

/// A file that goes out.
pub struct FileBody {
    /// Bytes of the whole file.
    pub bytes: u64,
    /// As many bytes, in pieces of any length.
    pub stream: BoxStream<'static, Result<Bytes, Broke>>,
}

/// Our side could not read the file further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file could not be read to its end")]
pub struct Broke;

/// How many bytes an answer may have, as an extension of a request whose answer may be longer than the usual
/// [`ANSWER_BYTES_MAX`](relay_core::limits::ANSWER_BYTES_MAX). A transport within the process need not heed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerBytesMax(pub usize);

/// No answer, or not a whole one. What was sent may have been taken all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The host could not be reached.
    #[error("no connection to m3ter")]
    NoConnection,
    /// The connection broke before the answer was whole.
    #[error("the connection to m3ter broke")]
    Broken,
    /// The answer is longer than any of m3ter's.
    #[error("the answer is longer than any of m3ter's")]
    TooLong,
    /// Time was up.
    #[error("no answer from m3ter in time")]
    TimedOut,
}
