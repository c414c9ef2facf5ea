//! What the bench counts, and what it catches.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use runtime_api::FunctionSpec;

use crate::books::{Books, Duty};
use crate::measure::{BenchError, Contender, Measured, cold_starts, rounds};
use crate::sink::SinkProcess;
use crate::work::{Shape, Work};

fn sink() -> SinkProcess {
    SinkProcess::start(Path::new(env!("CARGO_BIN_EXE_bench"))).unwrap()
}

/// Three messages of two measurements, twice.
fn work() -> Work {
    Shape::new(3, 2, 250).work(2, runtime_api::epoch_ms()).unwrap()
}

fn contender(sink: &SinkProcess, odd: &str, duty: Duty) -> Contender {
    let spec = FunctionSpec::new(env!("CARGO_BIN_EXE_odd-lambda"))
        .env("ODD", odd)
        .env("ODD_ADDRESS", format!("127.0.0.1:{}", sink.ports().plain));
    Contender { name: odd.to_owned(), spec, duty, warm_ups: 0, events: 2 }
}

async fn measured(odd: &str, duty: Duty) -> Result<Vec<Measured>, BenchError> {
    let mut sink = sink();
    let contenders = [contender(&sink, odd, duty)];
    rounds(&contenders, &work(), 3, &mut sink).await
}

async fn told(odd: &str, duty: Duty) -> String {
    measured(odd, duty).await.expect_err("it did not do its work").to_string()
}

#[tokio::test]
async fn one_that_does_its_work_is_measured_in_every_round() {
    let measured = measured("none", Duty::Deliver).await.unwrap();
    let [one] = &measured[..] else { panic!("one was measured: {measured:?}") };
    assert_eq!(one.runs.len(), 3);
    assert!(one.runs.iter().all(|run| run.cpu_ns > 0.0 && run.answer_ms > 0.0), "{one:?}");
    assert_eq!(one.requests, 3.0, "a request for each message of an event");
    let bodies = 3 * (r#"{"measurements":[]}"#.len() + 2 * 250 + 1);
    assert_eq!(one.bytes, bodies as f64);
    assert!(one.peak_bytes > 0);
}

#[tokio::test]
async fn one_that_drops_a_measurement_is_caught() {
    assert_eq!(told("drop", Duty::Deliver).await, "drop did not do its work: 10 measurements arrived where 12 were owed");
}

#[tokio::test]
async fn one_that_submits_a_message_twice_is_caught() {
    assert_eq!(told("double", Duty::Deliver).await, "double did not do its work: 16 measurements arrived where 12 were owed");
}

#[tokio::test]
async fn one_that_submits_a_message_in_place_of_another_is_caught() {
    assert_eq!(told("instead", Duty::Deliver).await, "instead did not do its work: 8 different uids arrived where 12 were owed");
}

#[tokio::test]
async fn one_that_returns_a_message_is_caught() {
    assert!(told("return", Duty::Deliver).await.starts_with("return returned 1 messages to the queue"));
}

#[tokio::test]
async fn one_that_takes_more_requests_than_it_undertook_is_caught() {
    let told = told("none", Duty::DeliverInTheFewest).await;
    assert_eq!(told, "none did not do its work: 6 requests and 3120 bytes arrived where 2 and 3048 are the fewest");
}

#[tokio::test]
async fn one_without_the_ledger_that_it_undertook_is_caught() {
    // One message an event: so that requests are the fewest.
    let work = Shape::new(1, 2, 250).work(1, runtime_api::epoch_ms()).unwrap();
    let mut sink = sink();
    let contenders = [contender(&sink, "none", Duty::DeliverAndRecord)];
    let error = rounds(&contenders, &work, 1, &mut sink).await.unwrap_err();
    assert_eq!(error.to_string(), "none did not do its work: 0 ledger objects with 0 lines arrived where 1 with 2 were owed");
}

#[tokio::test]
async fn a_cold_start_is_counted_once_a_round_and_the_first_round_is_not() {
    let mut sink = sink();
    let contenders = [contender(&sink, "none", Duty::Deliver)];
    let starts = cold_starts(&contenders, &work(), 2, &mut sink).await.unwrap();
    let [(name, starts)] = &starts[..] else { panic!("one was started: {starts:?}") };
    assert_eq!((name.as_str(), starts.len()), ("none", 2));
    assert!(starts.iter().all(|start| start.answer_ms > 0.0), "{starts:?}");
}

/// Sends one request and gives back the whole answer.
fn asked(sink: &SinkProcess, request: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", sink.ports().plain)).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_sink_counts_ledger_objects_by_their_names_and_keeps_the_catalogue() {
    let mut sink = sink();
    let put =
        |name: &str| format!("PUT /store/relay/{name} HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
    let get = |name: &str| format!("GET /store/relay/{name} HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n");
    assert!(asked(&sink, &put("ledger/v1/dt=2026-11-23/hr=01/7_1_2_345_id.ndjson.zst")).starts_with("HTTP/1.1 200"));
    assert!(asked(&sink, &get("catalogue/v1/current.ndjson.zst")).starts_with("HTTP/1.1 404"));
    assert!(asked(&sink, &put("catalogue/v1/current.ndjson.zst")).starts_with("HTTP/1.1 200"));
    assert!(asked(&sink, &get("catalogue/v1/current.ndjson.zst")).ends_with("\r\n\r\nabc"));
    let books = sink.books().unwrap();
    assert_eq!((books.ledger_objects, books.ledger_lines, books.requests), (1, 345, 0));
    assert_eq!(books.unexpected, [""; 0]);
    assert_eq!(sink.books().unwrap(), Books::default(), "asked again, it tells of nothing twice");
}

#[test]
fn the_sink_tells_what_nobody_should_ask() {
    let mut sink = sink();
    asked(&sink, "PUT /store/relay/quarantine/v1/x HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    asked(&sink, "GET /elsewhere HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n");
    assert_eq!(sink.books().unwrap().unexpected, ["PUT /store/relay/quarantine/v1/x", "GET /elsewhere"]);
}

/// What rustls says when both sides trust each other, through the same provider: the connection is usable.
#[tokio::test]
async fn the_sink_speaks_tls_to_whoever_trusts_its_authority() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let sink = sink();
    let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls/ca.pem");
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(trusted).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", sink.ports().tls)).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
    stream.write_all(b"POST /oauth/token HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("access_token"), "{answer}");
}
