//! What the contenders speak to: m3ter's token and ingest endpoints, a secret, and a store, with TLS and without.
//!
//! It takes everything, keeps it, and looks at it only when it is asked for its books, so that it has as little to do as may be while a
//! contender is measured. It runs in a process of its own ([`SinkProcess`]): then nothing it does is a thread of anybody measured.
//!
//! Absent on purpose: checks of tokens and signatures, limits, faults. The sandbox has those; here they would only take time.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::books::Books;

/// The organisation whose measurements are taken.
pub(crate) const ORGANISATION: &str = "bench-org";
/// The secret that holds m3ter's credentials.
pub(crate) const SECRET_ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:m3ter";
/// The bucket, and the prefix in it.
pub(crate) const BUCKET: &str = "store";
pub(crate) const PREFIX: &str = "relay";

/// Where a sink listens, on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) tls: u16,
}

impl Ports {
    /// The base URL, without a slash at the end.
    pub(crate) fn url(self, tls: bool) -> String {
        if tls { format!("https://127.0.0.1:{}", self.tls) } else { format!("http://127.0.0.1:{}", self.plain) }
    }
}

/// What was taken since the books were last asked for.
#[derive(Debug, Default)]
struct Taken {
    bodies: Vec<Bytes>,
    books: Books,
    /// What the driver put there for the contenders to read.
    kept: BTreeMap<String, Bytes>,
}

/// Serves until its standard input ends: the life of the process that a driver starts. Each line `books` is answered with
/// the books, as JSON on a line, and begins new ones. The first line it prints says its ports.
pub(crate) fn run(fixtures: &Path) -> io::Result<()> {
    let taken = Arc::<Mutex<Taken>>::default();
    let tls = acceptor(fixtures)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listeners = runtime.block_on(async {
        io::Result::Ok((TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?))
    })?;
    let ports = Ports { plain: listeners.0.local_addr()?.port(), tls: listeners.1.local_addr()?.port() };
    let serving = Arc::clone(&taken);
    std::thread::spawn(move || runtime.block_on(serve(listeners, tls, serving)));
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&ports)?)?;
    out.flush()?;
    for line in io::stdin().lines() {
        if line? == "books" {
            let books = lock(&taken).close();
            writeln!(out, "{}", serde_json::to_string(&books)?)?;
            out.flush()?;
        }
    }
    Ok(())
}

fn acceptor(fixtures: &Path) -> io::Result<TlsAcceptor> {
    let not_usable = |error: rustls::pki_types::pem::Error| io::Error::other(format!("{}: {error}", fixtures.display()));
    let chain = CertificateDer::from_pem_file(fixtures.join("loopback.pem")).map_err(not_usable)?;
    let key = PrivateKeyDer::from_pem_file(fixtures.join("loopback.key")).map_err(not_usable)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![chain], key))
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve((plain, tls): (TcpListener, TcpListener), acceptor: TlsAcceptor, taken: Arc<Mutex<Taken>>) {
    loop {
        let taken = Arc::clone(&taken);
        tokio::select! {
            Ok((stream, _)) = plain.accept() => {
                if stream.set_nodelay(true).is_ok() {
                    tokio::spawn(connection(stream, taken));
                }
            }
            Ok((stream, _)) = tls.accept() => {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that goes away during the handshake is missed where it counts: in the books.
                    if stream.set_nodelay(true).is_ok() && let Ok(stream) = acceptor.accept(stream).await {
                        connection(stream, taken).await;
                    }
                });
            }
            else => return,
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S, taken: Arc<Mutex<Taken>>) {
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        hyper::Result::Ok(lock(&taken).take(&Request::from_parts(head, body)))
    });
    // Ends with a client that went away, as each does when its process is ended.
    let _closed = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Taken {
    fn take(&mut self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let is_submit =
            path.strip_prefix("/organizations/").and_then(|rest| rest.strip_suffix("/measurements")) == Some(ORGANISATION);
        match (request.method(), path) {
            (&Method::POST, _) if is_submit => {
                self.bodies.push(request.body().clone());
                json(r#"{"result":"accepted"}"#)
            }
            (&Method::POST, "/oauth/token") => json(r#"{"access_token":"bench","expires_in":18000,"token_type":"Bearer"}"#),
            (&Method::POST, _) if target == "secretsmanager.GetSecretValue" => {
                let secret = r#"{\"access_key_id\":\"bench\",\"api_secret\":\"bench-secret\"}"#;
                json(&format!(r#"{{"ARN":"{SECRET_ARN}","Name":"m3ter","VersionId":"1","SecretString":"{secret}"}}"#))
            }
            (&Method::PUT, _) => self.put(request),
            (&Method::GET, _) if path.starts_with("/store/relay/") => match self.kept.get(path) {
                Some(object) => with_tag(Full::new(object.clone())),
                None => status(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>"),
            },
            (method, _) => {
                self.books.unexpected.push(format!("{method} {path} {target}").trim_end().to_owned());
                status(StatusCode::BAD_REQUEST, "{}")
            }
        }
    }

    fn put(&mut self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if path.starts_with("/store/relay/ledger/") {
            self.books.ledger_objects += 1;
            self.books.ledger_lines += lines(path);
        } else if path.starts_with("/store/relay/catalogue/") {
            self.kept.insert(path.to_owned(), request.body().clone());
        } else {
            self.books.unexpected.push(format!("PUT {path}"));
        }
        with_tag(Full::default())
    }

    fn close(&mut self) -> Books {
        let mut books = std::mem::take(&mut self.books);
        books.read(std::mem::take(&mut self.bodies).iter().map(|body| &body[..]));
        books
    }
}

/// How many lines an object of the ledger has, as its name says: `…/<written>_<first ts>_<last ts>_<lines>_<invocation>.ndjson.zst`.
fn lines(path: &str) -> usize {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split('_').nth(3).and_then(|lines| lines.parse().ok()).unwrap_or(0)
}

fn json(body: &str) -> Response<Full<Bytes>> {
    let mut response = status(StatusCode::OK, body);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
}

/// An object, with what S3 says about each.
fn with_tag(body: Full<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(body);
    response.headers_mut().insert(http::header::ETAG, HeaderValue::from_static("\"bench\""));
    response.headers_mut().insert(http::header::LAST_MODIFIED, HeaderValue::from_static("Sun, 01 Nov 2026 00:00:00 GMT"));
    response
}

/// A panic while it was held leaves it usable: it is only data.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sink in a process of its own. Ends when dropped.
#[derive(Debug)]
pub(crate) struct SinkProcess {
    child: Child,
    ask: Option<ChildStdin>,
    told: Lines<BufReader<ChildStdout>>,
    ports: Ports,
}

impl SinkProcess {
    /// Starts `binary` (this program) as a sink.
    pub(crate) fn start(binary: &Path) -> io::Result<SinkProcess> {
        let mut child = Command::new(binary).arg("sink").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("a pipe that was asked for is missing");
        let ask = child.stdin.take().ok_or_else(missing)?;
        let mut told = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        let ports = serde_json::from_str(&told.next().ok_or_else(ended)??)?;
        Ok(SinkProcess { child, ask: Some(ask), told, ports })
    }

    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    /// What it took since it was last asked. Blocks until it has read all of that.
    pub(crate) fn books(&mut self) -> io::Result<Books> {
        let ask = self.ask.as_mut().ok_or_else(ended)?;
        ask.write_all(b"books\n")?;
        ask.flush()?;
        Ok(serde_json::from_str(&self.told.next().ok_or_else(ended)??)?)
    }
}

fn ended() -> io::Error {
    io::Error::other("the sink ended")
}

impl Drop for SinkProcess {
    fn drop(&mut self) {
        self.ask = None; // its standard input ends, and so does it
        let _status = self.child.wait();
    }
}
