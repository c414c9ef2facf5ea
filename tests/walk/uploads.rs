//! Files: in process by the seam's defaults, over loopback by the real transport, and what a socket can do to either.
//!
//! Time is paused only once a transfer stands still, so that what ends it is a clock that nobody waits for.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::{Request, Response};
use m3ter_client::{
    Broke, Client, ClientSettings, Clock, Endpoint, FileBody, HttpTransport, JobFilter, JobStatus, NoAnswer, NotAnswered, NotPut,
    Pieces, Session, Transport,
};
use m3ter_sandbox::{Category, Credentials, Fault, FaultRule, Limits, MeterRequest, Options, Route, Sandbox};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::seams::{Door, Vault};
use crate::world::{KEY, START_MS, good};

/// More than a connection over loopback keeps in its buffers.
const LARGE_BYTES: usize = 16 * 1024 * 1024;

fn sandbox() -> Sandbox {
    let limits = Limits { upload_per_second: None, ..Limits::default() };
    let options = Options { credentials: Credentials::new(KEY.0, KEY.1), limits, ..Options::default() };
    let sandbox = Sandbox::open(options).unwrap();
    sandbox.create_meter(MeterRequest::new("api").field(Category::Measure, "n")).unwrap();
    sandbox
}

fn client(transport: Arc<dyn Transport>, base: &str) -> Client {
    let api = Endpoint::parse(base).unwrap();
    let settings = ClientSettings { org_id: "sandbox-org".into(), api: api.clone(), ingest: api, requests_per_second: 50.0 };
    Client::new(transport, Vault::holding(KEY.0, KEY.1), &settings)
}

fn session(client: &Client) -> Session<'_> {
    let clock = Clock::starting_at(START_MS);
    client.session(clock, clock.budget(START_MS + 60_000), Some("00-trace".into()), fastrand::Rng::with_seed(1))
}

/// A sandbox over loopback.
struct Served {
    sandbox: Sandbox,
    client: Client,
    serving: JoinHandle<()>,
}

impl Served {
    async fn new() -> Served {
        let (sandbox, listener) = (sandbox(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = sandbox.clone();
        let serving = tokio::spawn(async move { served.serve(listener, std::future::pending()).await.unwrap() });
        Served { sandbox, client: client(Arc::new(HttpTransport::new().unwrap()), &base), serving }
    }

    /// How a file fares that is put while `fault` waits for it, and how its job stands then.
    async fn put(&self, fault: Option<Fault>, body: FileBody) -> (Result<(), NotPut>, JobStatus) {
        self.sandbox.clear_faults();
        fault.into_iter().for_each(|fault| self.sandbox.add_fault(FaultRule::new(fault).on(Route::Upload)));
        let session = session(&self.client);
        let url = session.upload_url("usage.json", body.bytes).await.unwrap();
        let put = session.put_file(&url, body).await;
        (put, session.job(&url.job_id).await.unwrap().status)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A file of `rows`, behind as many blanks as make it `LARGE_BYTES` long.
fn large(rows: usize) -> Bytes {
    let rows: Vec<_> = (0..rows).map(|n| good(&format!("u-{n}"))).collect();
    let rows = json!(rows).to_string();
    format!("{}{rows}", " ".repeat(LARGE_BYTES - rows.len())).into()
}

/// In pieces of all lengths, from one byte to megabytes.
fn body(file: &Bytes) -> FileBody {
    let (mut rest, mut length, mut pieces) = (file.clone(), 1, Vec::new());
    while !rest.is_empty() {
        pieces.push(Ok(rest.split_to(length.min(rest.len()))));
        length *= 3;
    }
    FileBody { bytes: file.len() as u64, stream: stream::iter(pieces).boxed() }
}

#[tokio::test(start_paused = true)]
async fn a_file_goes_the_whole_way_through_a_transport_within_the_process() {
    let sandbox = sandbox();
    let client = client(Door::to(sandbox.clone()), "https://api.m3ter.test");
    let session = session(&client);
    let file = Bytes::from(json!([good("a"), good("b")]).to_string());
    let url = session.upload_url("usage.json", file.len() as u64).await.unwrap();
    assert_eq!(session.job(&url.job_id).await.unwrap().status, JobStatus::NotUploaded);
    session.put_file(&url, body(&file)).await.unwrap();
    let job = session.job(&url.job_id).await.unwrap();
    assert_eq!((job.status, job.total_rows, job.processed_rows, job.failed_rows), (JobStatus::Succeeded, 2, 2, 0));
    assert_eq!((job.file_name.as_str(), job.content_length), ("usage.json", file.len() as u64));
    assert_eq!(session.jobs(&JobFilter::default(), None).await, Ok((vec![job], None)));
    let original: Vec<Bytes> = session.original(&url.job_id).await.unwrap().stream.try_collect().await.unwrap();
    assert_eq!((original.concat(), sandbox.ledger().totals.ingested), (file.to_vec(), 2));
    // The same URL takes no second file, and none at all once its minute is over.
    assert_eq!(session.put_file(&url, body(&file)).await, Err(NotPut::Refused { status: 409 }));
    let late = session.upload_url("usage.json", 2).await.unwrap();
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    assert_eq!(session.put_file(&late, body(&Bytes::from_static(b"[]"))).await, Err(NotPut::Refused { status: 403 }));
}

#[tokio::test]
async fn a_large_file_goes_out_and_comes_back_over_a_socket() {
    let served = Served::new().await;
    let file = large(3);
    let session = session(&served.client);
    let url = session.upload_url("usage.json", file.len() as u64).await.unwrap();
    session.put_file(&url, body(&file)).await.unwrap();
    let job = session.job(&url.job_id).await.unwrap();
    assert_eq!((job.status, job.total_rows, served.sandbox.ledger().totals.ingested), (JobStatus::Succeeded, 3, 3));
    let original = session.original(&url.job_id).await.unwrap();
    assert_eq!(original.bytes, Some(file.len() as u64));
    let pieces: Vec<Bytes> = original.stream.try_collect().await.unwrap();
    assert!(pieces.len() > 1 && pieces.concat() == file);
    assert_eq!(session.original("no-such-job").await.err(), Some(NotAnswered::Refused { status: 404 }));
}

#[tokio::test]
async fn whether_a_file_was_taken_is_known_or_else_the_job_knows() {
    let (served, file) = (Served::new().await, large(1));
    for (fault, put, job) in [
        (Fault::DropAnswer, Err(NotPut::Unknown), JobStatus::Succeeded),
        (Fault::Reset, Err(NotPut::Unknown), JobStatus::NotUploaded),
        (Fault::Html, Ok(()), JobStatus::NotUploaded),
        (Fault::CutUpload, Ok(()), JobStatus::Failed),
        (Fault::status(403), Err(NotPut::Refused { status: 403 }), JobStatus::NotUploaded),
        (Fault::status(503), Err(NotPut::Unknown), JobStatus::NotUploaded),
    ] {
        assert_eq!(served.put(Some(fault.clone()), body(&file)).await, (put, job), "{fault:?}");
    }
}

#[tokio::test]
async fn a_file_that_breaks_off_or_is_not_as_long_as_was_said_is_not_taken() {
    let served = Served::new().await;
    let half = Bytes::from(vec![b' '; LARGE_BYTES / 2]);
    let bytes = LARGE_BYTES as u64;
    for pieces in [vec![Ok(half.clone()), Err(Broke)], vec![Ok(half.clone())], vec![Ok(half.clone()); 3]] {
        let bytes = if pieces.len() == 3 { bytes - 1 } else { bytes };
        let file = FileBody { bytes, stream: stream::iter(pieces).boxed() };
        assert_eq!(served.put(None, file).await, (Err(NotPut::Broke), JobStatus::NotUploaded));
    }
}

#[tokio::test]
async fn an_original_that_breaks_off_ends_with_an_error() {
    let served = Served::new().await;
    let session = session(&served.client);
    let file = large(1);
    let url = session.upload_url("usage.json", file.len() as u64).await.unwrap();
    session.put_file(&url, body(&file)).await.unwrap();
    // The question for the link passes, the file is cut.
    served.sandbox.add_fault(FaultRule::new(Fault::Truncate).on(Route::Api).skip(1));
    let mut original = session.original(&url.job_id).await.unwrap().stream;
    let (mut received, mut end) = (0, None);
    while let Some(piece) = original.next().await {
        match piece {
            Ok(piece) => received += piece.len(),
            Err(error) => end = Some(error),
        }
    }
    assert_eq!((received, end), (file.len() / 2, Some(NoAnswer::Broken)));
}

/// What a file store that is not one does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// Answers this once it has read the head.
    Says(&'static str),
    /// Reads everything, and answers nothing.
    Swallows,
    /// Reads nothing, and answers nothing.
    Stands,
}

/// A socket that stands for m3ter's file store, and an m3ter that leads there.
struct Elsewhere {
    url: String,
    http: HttpTransport,
    heads: Arc<Mutex<Vec<String>>>,
    came: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Elsewhere {
    async fn that(store: Store) -> Arc<Elsewhere> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/f", listener.local_addr().unwrap());
        let (heads, came) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Notify::new()));
        let (noted, told) = (heads.clone(), came.clone());
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = head(&mut stream).await;
                noted.lock().unwrap().push(head);
                match store {
                    Store::Says(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    Store::Swallows | Store::Stands => {}
                }
                told.notify_one();
                if store == Store::Swallows {
                    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap();
                }
                kept.push(stream);
            }
        });
        Arc::new(Elsewhere { url, http: HttpTransport::new().unwrap(), heads, came, task })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The head of a request, and nothing of its body.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[async_trait]
impl Transport for Elsewhere {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let answer = match request.uri().path() {
            "/oauth/token" => json!({"access_token": "canary-token", "expires_in": 18_000}),
            _ => json!({"jobId": "j", "url": self.url, "headers": {"content-type": "application/json"}}),
        };
        Ok(Response::new(answer.to_string().into()))
    }

    async fn upload(&self, request: Request<FileBody>) -> Result<Response<Bytes>, NoAnswer> {
        self.http.upload(request).await
    }

    async fn download(&self, request: Request<Bytes>) -> Result<Response<Pieces>, NoAnswer> {
        self.http.download(request).await
    }
}

#[tokio::test]
async fn a_file_has_its_length_in_front_and_goes_to_no_other_host() {
    let stranger = Elsewhere::that(Store::Says("")).await;
    let moved = format!("HTTP/1.1 307 Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", stranger.url);
    let elsewhere = Elsewhere::that(Store::Says(moved.leak())).await;
    let client = client(elsewhere.clone(), "https://api.m3ter.test");
    let session = session(&client);
    let url = session.upload_url("f", 2).await.unwrap();
    assert_eq!(session.put_file(&url, body(&Bytes::from_static(b"[]"))).await, Err(NotPut::Unknown));
    let heads = elsewhere.heads.lock().unwrap().clone();
    let [head] = &heads[..] else { panic!("expected one request, found {heads:?}") };
    assert!(head.starts_with("put /f http/1.1\r\n") && head.contains("content-length: 2\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    for absent in ["transfer-encoding", "authorization", "canary", "traceparent", "expect"] {
        assert!(!head.contains(absent), "{absent} in {head}");
    }
    assert!(stranger.heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_that_comes_before_the_file_is_believed_only_where_it_says_no() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", NotPut::Unknown),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", NotPut::Refused { status: 403 }),
    ] {
        let client = client(Elsewhere::that(Store::Says(answer)).await, "https://api.m3ter.test");
        let session = session(&client);
        let url = session.upload_url("f", 2).await.unwrap();
        let begun = stream::iter([Ok(Bytes::from_static(b"["))]).chain(stream::pending());
        let put = session.put_file(&url, FileBody { bytes: 2, stream: begun.boxed() }).await;
        assert_eq!(put, Err(expected), "{answer}");
    }
}

#[tokio::test]
async fn a_transfer_in_which_nothing_moves_any_more_is_given_up() {
    let file = large(1);
    for store in [Store::Stands, Store::Swallows] {
        let elsewhere = Elsewhere::that(store).await;
        let client = client(elsewhere.clone(), "https://api.m3ter.test");
        let session = session(&client);
        let url = session.upload_url("f", file.len() as u64).await.unwrap();
        let paused = async {
            elsewhere.came.notified().await;
            tokio::time::pause();
        };
        let (put, ()) = tokio::join!(session.put_file(&url, body(&file)), paused);
        assert_eq!(put, Err(NotPut::Unknown), "{store:?}");
        tokio::time::resume();
    }
    // A file that begins to come, and stops.
    let begun = Store::Says("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[");
    let client = client(Elsewhere::that(begun).await, "https://api.m3ter.test");
    let mut original = session(&client).original("j").await.unwrap().stream;
    assert_eq!(original.next().await, Some(Ok(Bytes::from_static(b"["))));
    tokio::time::pause();
    assert_eq!(original.next().await, Some(Err(NoAnswer::TimedOut)));
}

#[tokio::test]
async fn a_transfer_that_moves_slowly_is_not_given_up() {
    let elsewhere = Elsewhere::that(Store::Says("")).await;
    let client = client(elsewhere.clone(), "https://api.m3ter.test");
    let session = session(&client);
    let url = session.upload_url("f", 21).await.unwrap();
    let moved = Arc::new(Mutex::new(0_u32));
    let count = moved.clone();
    // A byte every 50 s, and then none: it stands still only after twenty of them.
    let every = tokio::time::Duration::from_secs(50);
    let slow = stream::unfold((tokio::time::interval(every), count), |(mut interval, count)| async move {
        if *count.lock().unwrap() == 20 {
            std::future::pending::<()>().await;
        }
        interval.tick().await;
        *count.lock().unwrap() += 1;
        Some((Ok(Bytes::from_static(b" ")), (interval, count)))
    });
    let paused = async {
        elsewhere.came.notified().await;
        tokio::time::pause();
    };
    let (put, ()) = tokio::join!(session.put_file(&url, FileBody { bytes: 21, stream: slow.boxed() }), paused);
    assert_eq!((put, *moved.lock().unwrap()), (Err(NotPut::Unknown), 20));
}
