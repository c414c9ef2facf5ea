//! Serving over a socket, with hyper directly.
//!
//! axum's own server has no way to close a connection instead of answering, which is what half of the faults are
//! about. Here a response with an [`Abort`] makes the connection fail, and its socket is reset.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::front::{Abort, Peer};
use crate::sandbox::Sandbox;

impl Sandbox {
    /// Serves HTTP/1.1 on `listener` until `shutdown` is ready; then every connection is closed at once.
    ///
    /// Binds nothing itself: the caller decides on the address, 127.0.0.1 with port 0 as a rule.
    ///
    /// # Errors
    /// The listener fails for good. A connection that could not be accepted is passed over.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let router = self.router();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => drop(connections.spawn(connection(router.clone(), stream, peer))),
                    Err(fault) if is_of_one_connection(&fault) => {}
                    Err(fault) => return Err(fault),
                },
            }
        }
    }
}

/// Whether `accept` failed for one connection only.
fn is_of_one_connection(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&fault.kind())
}

/// Serves one connection to its end.
async fn connection(router: Router, stream: TcpStream, peer: SocketAddr) {
    // Answers are small: waiting to fill a packet would delay each by 40 ms. Failing to set it costs only that.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        answer(router.clone(), request.map(Body::new))
    });
    let mut serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let Err(fault) = (&mut serving).await else { return };
    if fault.source().is_some_and(|cause| cause.is::<Aborted>()) {
        // Dropping the socket now resets it, where it would otherwise close in good order.
        let _ = serving.into_parts().io.into_inner().set_zero_linger();
    }
    // Any other end (a body cut on purpose, a client gone) is nothing to report.
}

/// The router's answer, or an error where the script wants none.
async fn answer(router: Router, request: Request<Body>) -> Result<Response, Aborted> {
    let response = router.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
    if response.extensions().get::<Abort>().is_some() { Err(Aborted) } else { Ok(response) }
}

/// Ends a connection without an answer.
#[derive(Debug)]
struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted fault: no answer")
    }
}

impl Error for Aborted {}
