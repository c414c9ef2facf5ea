//! Over a real socket: what only a connection can show.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml allows both in test functions, but does not see that these helpers only serve tests"
)]

use std::io;
use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use m3ter_sandbox::{Fault, FaultRule, Limits, Options, Route, Sandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A served sandbox; dropping `stop` ends it.
struct Served {
    sandbox: Sandbox,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<io::Result<()>>,
}

async fn served(limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let choices = m3ter_sandbox::Choices { any_meter: true, ..Default::default() };
    let sandbox = Sandbox::open(Options { limits, choices, ..Options::default() }).unwrap();
    let (stop, stopped) = oneshot::channel();
    let serving = sandbox.clone().serve(listener, async move { drop(stopped.await) });
    Served { sandbox, address, stop, ended: tokio::spawn(serving) }
}

/// Writes a request and reads one whole answer, by its content length.
async fn exchange(stream: &mut TcpStream, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return Ok(text);
            }
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
    }
}

fn post(path: &str, authorization: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn token(stream: &mut TcpStream) -> String {
    let basic = format!("Basic {}", BASE64_STANDARD.encode("sandbox:sandbox-secret"));
    let answer = exchange(stream, &post("/oauth/token", &basic, r#"{"grant_type":"client_credentials"}"#)).await.unwrap();
    let (_, rest) = answer.split_once("\"access_token\":\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn submission(token: &str, uid: &str) -> String {
    let body = format!(r#"{{"measurements":[{{"uid":"{uid}","meter":"m","account":"a","ts":"2026-01-01T00:00:00Z"}}]}}"#);
    post("/organizations/sandbox-org/measurements", &format!("Bearer {token}"), &body)
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let served = served(Limits::none()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let token = token(&mut stream).await;
    for n in 0..20 {
        let answer = exchange(&mut stream, &submission(&token, &n.to_string())).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"result":"accepted"}"#), "{answer}");
    }
    assert_eq!(served.sandbox.ledger().totals.ingested, 20);
}

#[tokio::test]
async fn a_reset_and_a_dropped_answer_break_the_connection_without_a_byte() {
    let served = served(Limits::none()).await;
    for (fault, ingested) in [(Fault::Reset, 0), (Fault::DropAnswer, 1)] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let token = token(&mut stream).await;
        served.sandbox.add_fault(FaultRule::new(fault).times(1));
        let error = exchange(&mut stream, &submission(&token, "a")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        assert_eq!(served.sandbox.ledger().totals.ingested, ingested);
    }
}

#[tokio::test]
async fn a_truncated_answer_sends_half_of_its_body_and_closes() {
    let served = served(Limits::none()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let token = token(&mut stream).await;
    served.sandbox.add_fault(FaultRule::new(Fault::Truncate));
    let error = exchange(&mut stream, &submission(&token, "a")).await.unwrap_err();
    let seen = error.to_string();
    assert!(seen.starts_with("HTTP/1.1 200") && seen.contains("content-length: 21") && seen.ends_with(r#"{"result":"#), "{seen}");
    assert_eq!(served.sandbox.ledger().totals.ingested, 1);
}

#[tokio::test]
async fn the_source_address_of_a_connection_is_what_its_rate_is_counted_by() {
    let served = served(Limits { ingest_per_ip_5_min: Some(1), ..Limits::none() }).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    let token = token(&mut first).await;
    assert!(exchange(&mut first, &submission(&token, "a")).await.unwrap().starts_with("HTTP/1.1 200"));
    let mut second = TcpStream::connect(served.address).await.unwrap();
    assert!(exchange(&mut second, &submission(&token, "b")).await.unwrap().starts_with("HTTP/1.1 429"));
}

/// The path of a URL for a file of so many bytes, and the head of its `PUT`.
async fn upload_head(stream: &mut TcpStream, token: &str, bytes: usize) -> String {
    let request = format!(r#"{{"fileName":"f","contentType":"application/json","contentLength":{bytes}}}"#);
    let path = "/organizations/sandbox-org/fileuploads/measurements/generateUploadUrl";
    let answer = exchange(stream, &post(path, &format!("Bearer {token}"), &request)).await.unwrap();
    let part = |name: &str| answer.split_once(&format!("\"{name}\":\"")).unwrap().1.split('"').next().unwrap();
    let (path, id) = (part("url").strip_prefix("http://x").unwrap(), part("jobId"));
    format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-upload-job: {id}\r\ncontent-length: {bytes}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_file_of_many_pieces_is_uploaded_and_one_that_breaks_off_is_not_kept() {
    let served = served(Limits::none()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let token = token(&mut stream).await;
    let rows: Vec<String> = (0..20_000)
        .map(|n| format!(r#"{{"uid":"{n}","meter":"m","account":"a","ts":"2026-01-01T00:00:00Z","measure":{{"n":1}}}}"#))
        .collect();
    let file = format!("[{}]", rows.join(","));
    let head = upload_head(&mut stream, &token, file.len()).await;
    let mut broken = TcpStream::connect(served.address).await.unwrap();
    broken.write_all(format!("{head}{}", &file[..file.len() / 2]).as_bytes()).await.unwrap();
    drop(broken);
    let answer = exchange(&mut stream, &format!("{head}{file}")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let ledger = served.sandbox.ledger();
    assert_eq!((ledger.totals.received, ledger.totals.ingested), (20_000, 20_000));
}

#[tokio::test]
async fn a_reset_upload_breaks_off_half_way() {
    let served = served(Limits::none()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let token = token(&mut stream).await;
    let head = upload_head(&mut stream, &token, 1 << 20).await;
    served.sandbox.add_fault(FaultRule::new(Fault::Reset).on(Route::Upload));
    let half = format!("{head}{}", " ".repeat(1 << 19));
    let error = exchange(&mut stream, &half).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    assert_eq!(served.sandbox.faults().fired.get("reset"), Some(&1));
}

#[tokio::test]
async fn shutdown_ends_serving_and_closes_even_a_hanging_connection() {
    let served = served(Limits::none()).await;
    served.sandbox.add_fault(FaultRule::new(Fault::Hang));
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let hanging = tokio::spawn(async move { exchange(&mut stream, &submission("none", "a")).await });
    while served.sandbox.ledger().requests.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(served.stop);
    served.ended.await.unwrap().unwrap();
    assert!(hanging.await.unwrap().is_err());
}
