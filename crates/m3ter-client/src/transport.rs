//! The one seam to m3ter: a request goes out, an answer comes back, or it does not.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

/// Carries requests to m3ter.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends `request` and reads the whole answer, up to a bound. Does not follow redirects, does not try again.
    /// The caller bounds the time by dropping the future.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer>;
}

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
