//! A peer that accepts and never answers: the outage that no status code announces.
//!
//! It reads whatever it is sent, so that a client gets as far as waiting for the answer. Connections stay open until it is dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// A loopback listener that accepts every connection and never writes a byte.
#[derive(Debug)]
pub struct Blackhole {
    address: SocketAddr,
    swallowed: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

impl Blackhole {
    /// Opens a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (counter, swallowed) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, counter));
        Ok(Self { address, swallowed, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections have sent at least one byte: a client really asked, and is waiting.
    #[must_use]
    pub fn requests(&self) -> usize {
        *self.swallowed.borrow()
    }

    /// Waits at most `within` until at least `count` connections have sent something. Says whether they did.
    pub async fn swallowed(&self, count: usize, within: Duration) -> bool {
        let mut swallowed = self.swallowed.clone();
        let enough = timeout(within, swallowed.wait_for(|&so_far| so_far >= count));
        matches!(enough.await, Ok(Ok(_)))
    }
}

impl Drop for Blackhole {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, counter: watch::Sender<usize>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                connections.spawn(swallow(stream, counter.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn swallow(mut stream: TcpStream, counter: watch::Sender<usize>) {
    if stream.read_u8().await.is_ok() {
        counter.send_modify(|count| *count += 1);
        // Ends when the client gives up; how it did so does not matter.
        let _given_up = copy(&mut stream, &mut sink()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const BOUND: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_takes_a_request_and_answers_nothing() {
        let blackhole = Blackhole::start().await.unwrap();
        let mut client = TcpStream::connect(blackhole.address()).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(blackhole.swallowed(1, BOUND).await);
        assert_eq!(blackhole.requests(), 1);
        let mut byte = [0];
        let read = client.try_read(&mut byte);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);

        drop(blackhole); // closes what it held, without a byte
        let end = timeout(BOUND, client.read(&mut byte)).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}
