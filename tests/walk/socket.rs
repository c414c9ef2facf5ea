//! The real transport over loopback: what a socket can do to a request. No paused clock here, and no wait on time either.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use m3ter_client::{Client, ClientSettings, Clock, Endpoint, HttpTransport, NoAnswer, Submitted, Transport};
use m3ter_sandbox::{Category, Credentials, Fault, FaultRule, MeterRequest, Options, Sandbox};
use relay_core::limits::ANSWER_BYTES_MAX;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::seams::Vault;
use crate::world::{KEY, START_MS, good};

/// What a connection does with the next request: the bytes it answers, and whether it closes then.
struct Reply(String, bool);

/// A server that follows a script over all its connections.
struct Server {
    url: String,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    script: Mutex<VecDeque<Reply>>,
    connections: Mutex<usize>,
    heads: Mutex<Vec<String>>,
    closed: Notify,
}

impl Server {
    async fn answering(script: Vec<Reply>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let seen = Arc::new(Seen { script: Mutex::new(script.into()), ..Seen::default() });
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *shared.connections.lock().unwrap() += 1;
                let shared = shared.clone();
                connections.spawn(async move {
                    serve(stream, &shared).await;
                    shared.closed.notify_one();
                });
            }
        });
        Server { url, seen, task }
    }

    async fn send(&self, transport: &HttpTransport) -> Result<Response<Bytes>, NoAnswer> {
        let request = Request::builder().method(Method::POST).uri(&self.url).header("authorization", "Bearer canary");
        transport.send(request.body(Bytes::from_static(b"{}")).unwrap()).await
    }

    fn connections(&self) -> usize {
        *self.seen.connections.lock().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers requests until the script says to close, or the client goes.
async fn serve(stream: TcpStream, seen: &Seen) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let from = head.len();
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
            let line = head[from..].trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        seen.heads.lock().unwrap().push(head);
        let Some(Reply(answer, closes)) = seen.script.lock().unwrap().pop_front() else { return };
        // The client may have gone: then there is nobody to tell.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.flush().await;
        if closes {
            return;
        }
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn one(answer: String, closes: bool) -> Result<Response<Bytes>, NoAnswer> {
    let server = Server::answering(vec![Reply(answer, closes)]).await;
    server.send(&HttpTransport::new().unwrap()).await
}

#[tokio::test]
async fn requests_one_after_another_share_a_connection() {
    let server = Server::answering((0..5).map(|n| Reply(ok(&n.to_string()), false)).collect()).await;
    let transport = HttpTransport::new().unwrap();
    for n in 0..5 {
        assert_eq!(server.send(&transport).await.unwrap().body(), n.to_string().as_bytes());
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_without_a_lost_request() {
    let server = Server::answering(vec![Reply(ok("1"), true), Reply(ok("2"), false)]).await;
    let transport = HttpTransport::new().unwrap();
    assert_eq!(server.send(&transport).await.unwrap().body(), "1");
    server.seen.closed.notified().await;
    assert_eq!(server.send(&transport).await.unwrap().body(), "2");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let elsewhere = Server::answering(vec![Reply(ok("canary"), true)]).await;
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let answer = format!("HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url);
        let answer = one(answer, false).await.unwrap();
        assert_eq!(answer.status().as_u16().to_string(), status[..3]);
    }
    assert_eq!(elsewhere.connections(), 0, "the token goes to no other host");
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_bound_and_no_further() {
    let largest = "x".repeat(ANSWER_BYTES_MAX);
    assert_eq!(one(ok(&largest), false).await.unwrap().body().len(), ANSWER_BYTES_MAX);
    assert_eq!(one(ok(&format!("{largest}x")), false).await.err(), Some(NoAnswer::TooLong));
    // Without an end, and without saying how long it is.
    let chunk = format!("10000\r\n{largest}\r\n");
    let endless = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(2));
    assert_eq!(one(endless, false).await.err(), Some(NoAnswer::TooLong));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    for cut in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "no http\r\n\r\n"] {
        assert_eq!(one(cut.into(), true).await.err(), Some(NoAnswer::Broken), "{cut:?}");
    }
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n";
    assert_eq!(one(chunked.into(), true).await.err(), Some(NoAnswer::Broken));
}

#[tokio::test]
async fn a_host_that_nobody_listens_at_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    drop(listener);
    let request = Request::post(url).header("authorization", "Bearer canary").body(Bytes::new()).unwrap();
    let error = HttpTransport::new().unwrap().send(request).await.unwrap_err();
    assert_eq!(error, NoAnswer::NoConnection);
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[tokio::test]
async fn a_request_goes_out_as_it_is_with_our_name_and_asks_for_no_compression() {
    let server = Server::answering(vec![Reply(ok(""), false)]).await;
    let transport = HttpTransport::new().unwrap();
    let answer = server.send(&transport).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "0");
    let heads = server.seen.heads.lock().unwrap().clone();
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("post /x http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer canary\r\n") && head.contains("user-agent: usage-relay/"), "{head}");
    assert!(!head.contains("accept-encoding"), "{head}");
    assert!(!format!("{transport:?}").contains("canary"));
}

#[tokio::test]
async fn the_client_submits_to_a_sandbox_over_a_socket_and_survives_a_reset() {
    let options = Options { credentials: Credentials::new(KEY.0, KEY.1), ..Options::default() };
    let sandbox = Sandbox::open(options).unwrap();
    sandbox.create_meter(MeterRequest::new("api").field(Category::Measure, "n")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let serving = tokio::spawn(sandbox.clone().serve(listener, std::future::pending()));
    let settings = ClientSettings { org_id: "sandbox-org".into(), api: base.clone(), ingest: base, requests_per_second: 50.0 };
    let client = Client::new(Arc::new(HttpTransport::new().unwrap()), Vault::holding(KEY.0, KEY.1), &settings);
    let clock = Clock::starting_at(START_MS);
    let session = client.session(clock, clock.budget(START_MS + 60_000), None, fastrand::Rng::with_seed(1));
    sandbox.add_fault(FaultRule::new(Fault::DropAnswer).times(1));
    sandbox.add_fault(FaultRule::new(Fault::Reset).times(1));
    let body = json!({"measurements": [good("a")]}).to_string();
    assert_eq!(session.submit(body.into()).await.submitted, Submitted::Accepted);
    assert_eq!((sandbox.ledger().totals.ingested, session.counts().attempts), (1, 3));
    serving.abort();
}
