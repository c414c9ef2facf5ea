//! Files over the network: one goes out with its length said first, one comes in as it is sent.
//!
//! A file store such as S3 takes no body in chunks, so the length stands in a header and the body keeps to it. A gibibyte
//! takes as long as it takes: what ends a transfer is that nothing moved for [`STALL`], and not how long it has lasted.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use relay_core::limits::ANSWER_BYTES_MAX;
use tokio::time::timeout;

use crate::http_transport::{exchange, no_answer, with_head_of};
use crate::transport::{AnswerBytesMax, Broke, FileBody, NoAnswer, Pieces};

/// How long nothing may move: no byte handed to the connection, or none that came from it. Long enough for what lies in the
/// buffers of a slow line at the end, some 4 MiB, and for a store that checks what it got before it answers. An upload is
/// looked at no more often, so it may take twice as long to be given up.
const STALL: Duration = Duration::from_secs(60);

/// Most bytes handed to the connection at once, so that a long piece is seen to move.
const PIECE_BYTES: usize = 256 * 1024;

/// Sends a file. An answer that says it is done, before the connection took all of it, is none.
pub(crate) async fn upload(client: &reqwest::Client, request: Request<FileBody>) -> Result<Response<Bytes>, NoAnswer> {
    let most = request.extensions().get().map_or(ANSWER_BYTES_MAX, |AnswerBytesMax(most)| *most);
    let taken = Arc::new(AtomicU64::new(0));
    let bytes = request.body().bytes;
    let request = request.map(|body| reqwest::Body::wrap(Streamed::of(body, taken.clone())));
    let request = reqwest::Request::try_from(request).map_err(|_| NoAnswer::NoConnection)?;
    let mut exchange = pin!(exchange(client, request, most));
    let mut before = 0;
    let answer = loop {
        match timeout(STALL, &mut exchange).await {
            Ok(answer) => break answer?,
            Err(_) => {
                let now = taken.load(Ordering::Relaxed);
                if now == before {
                    return Err(NoAnswer::TimedOut);
                }
                before = now;
            }
        }
    };
    let is_early = answer.status().is_success() && taken.load(Ordering::Relaxed) < bytes;
    if is_early { Err(NoAnswer::Broken) } else { Ok(answer) }
}

/// Sends `request` and gives the answer once its head is there.
pub(crate) async fn download(client: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Pieces>, NoAnswer> {
    let request = reqwest::Request::try_from(request).map_err(|_| NoAnswer::NoConnection)?;
    let answer = timeout(STALL, client.execute(request)).await.map_err(|_| NoAnswer::TimedOut)?;
    let mut answer = answer.map_err(no_answer)?;
    let head = with_head_of(&mut answer, ());
    let pieces = stream::try_unfold(answer, |mut answer| async move {
        let piece = timeout(STALL, answer.chunk()).await.map_err(|_| NoAnswer::TimedOut)?;
        Ok(piece.map_err(|_| NoAnswer::Broken)?.map(|piece| (piece, answer)))
    });
    Ok(head.map(|()| pieces.boxed()))
}

/// A file as the body of a request.
struct Streamed {
    /// Behind a lock that is never taken, since a body must be fit to be shared and a stream is not.
    stream: Mutex<BoxStream<'static, Result<Bytes, Broke>>>,
    /// What was read and not handed on.
    piece: Bytes,
    bytes: u64,
    /// Bytes handed to the connection.
    taken: Arc<AtomicU64>,
}

impl Streamed {
    fn of(body: FileBody, taken: Arc<AtomicU64>) -> Streamed {
        Streamed { stream: Mutex::new(body.stream), piece: Bytes::new(), bytes: body.bytes, taken }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Broke;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        let Streamed { stream, piece, bytes: _, taken } = self.get_mut();
        let stream = stream.get_mut().unwrap_or_else(PoisonError::into_inner);
        while piece.is_empty() {
            match ready!(stream.poll_next_unpin(context)) {
                Some(Ok(next)) => *piece = next,
                Some(Err(broke)) => return Poll::Ready(Some(Err(broke))),
                None => return Poll::Ready(None),
            }
        }
        let next = piece.split_to(piece.len().min(PIECE_BYTES));
        taken.fetch_add(next.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(next))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.saturating_sub(self.taken.load(Ordering::Relaxed)))
    }
}
