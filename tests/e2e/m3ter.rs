//! m3ter on a port of its own: the sandbox, served from the test's process.

use std::net::{Ipv4Addr, SocketAddr};

use m3ter_sandbox::Sandbox;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// An address of 127.0.0.1 that is the sandbox's, whether anybody answers there or not.
pub(crate) struct Host {
    sandbox: Sandbox,
    address: SocketAddr,
    listening: Listening,
}

enum Listening {
    /// Bound, so that nobody else gets the port, and not listening: connections are refused.
    No(TcpSocket),
    Yes {
        /// Outlives each time of serving: no connection is refused between two of them.
        listener: std::net::TcpListener,
        serving: JoinHandle<()>,
    },
}

impl Host {
    /// A free port where every connection is refused.
    pub(crate) fn down(sandbox: Sandbox) -> Host {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Host { sandbox, address: socket.local_addr().unwrap(), listening: Listening::No(socket) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base URL of both APIs.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers from now on. Those who are connected already are hung up on: they find their connection closed.
    pub(crate) async fn serve_anew(self) -> Host {
        let Host { sandbox, address, listening } = self;
        let listener = match listening {
            Listening::No(socket) => socket.listen(128).unwrap().into_std().unwrap(),
            Listening::Yes { listener, serving } => {
                serving.abort();
                assert!(serving.await.unwrap_err().is_cancelled(), "the sandbox serves until it is told not to");
                listener
            }
        };
        let accepting = TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
        let served = sandbox.clone();
        let serving = tokio::spawn(async move { served.serve(accepting, std::future::pending()).await.unwrap() });
        Host { sandbox, address, listening: Listening::Yes { listener, serving } }
    }
}
