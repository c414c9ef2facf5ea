//! The one HTTP/1.1 server that everything in this crate answers with.
//!
//! A handler sees a whole request (chunked or not) and gives a whole response, which leaves in one write on a socket without
//! Nagle's delay: two small writes would meet a delayed acknowledgement and add a false 40 ms to each invocation.
//!
//! A handler may also never return (a peer that hangs), or return [`Severed`] (the connection closes without an answer).
//! Dropping the server closes its port and every connection.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What a handler decides: an answer, or a connection closed without one.
pub(crate) type Answer = Result<Response<Full<Bytes>>, Severed>;

/// The connection closes and the client never learns what became of its request.
#[derive(Debug, thiserror::Error)]
#[error("connection closed without an answer, on purpose")]
pub(crate) struct Severed;

/// A server on a free loopback port, until dropped.
#[derive(Debug)]
pub(crate) struct HttpServer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Starts answering with `handler` on a free port of 127.0.0.1.
    pub(crate) async fn start<H, F>(handler: H) -> io::Result<Self>
    where
        H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, handler));
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.accepting.abort(); // drops the JoinSet, and with it every connection
    }
}

/// Accepts until aborted. Ends, closing the port, if the listener itself fails: a test then sees refused connections.
async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                connections.spawn(serve(stream, handler.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<H, F>(stream: TcpStream, handler: H)
where
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Answer>,
{
    if stream.set_nodelay(true).is_err() {
        return; // the peer is gone already
    }
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Severed)?.to_bytes();
        handler(Request::from_parts(head, body)).await
    });
    // An error here is a client that went away or a connection severed on purpose: both are what a test arranged.
    let _closed = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An answer with `status`, a content type and a body.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    /// Sends `request` as it is, and gives what came back until the server closed.
    async fn sent(server: &HttpServer, request: &str) -> String {
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_chunked_body_arrives_whole() {
        let echo = |request: Request<Bytes>| async move { answer(StatusCode::OK, "text/plain", request.into_body()) };
        let server = HttpServer::start(echo).await.unwrap();
        let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = sent(&server, &format!("{head}5\r\nfirst\r\n7\r\n second\r\n0\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("first second"), "{answer}");
    }

    #[tokio::test]
    async fn a_severed_connection_closes_without_a_byte() {
        let server = HttpServer::start(|_| async { Err(Severed) }).await.unwrap();
        assert_eq!(sent(&server, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
    }

    #[tokio::test]
    async fn a_dropped_server_closes_its_port() {
        let server = HttpServer::start(|_| std::future::pending::<Answer>()).await.unwrap();
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        let address = server.address();
        drop(server);
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(20), client.read_to_end(&mut rest)).await;
        assert!(end.is_ok() && rest.is_empty(), "it ends because the server did: {end:?}");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
