//! How many measurements a second the sandbox takes in over loopback, in requests of 1,000, and prints it.
//!
//! `make bench-speeds`. The sandbox is served as the command serves it, by the default number of threads, with its checks, its
//! duplicate window and its books on, and m3ter's rate limits off. Who sends is in the same process, on threads of its own, and has
//! its requests ready, so that nearly all of the time is the sandbox's. Each round has a new sandbox and the same requests. Times
//! depend on the machine: they are printed, never judged; that every measurement was counted is.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use m3ter_sandbox::{Category, LedgerQuery, Limits, MeterRequest, Options, Sandbox};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio::time::Instant;

type Fault = Box<dyn Error + Send + Sync>;

const REQUESTS: usize = 400;
const IN_A_REQUEST: usize = 1_000;
const CONNECTIONS: usize = 4;
const ROUNDS: usize = 5;
/// `sandbox:sandbox-secret`, the sandbox's default credentials, as HTTP Basic has them.
const BASIC: &str = "c2FuZGJveDpzYW5kYm94LXNlY3JldA==";

fn main() -> Result<(), Fault> {
    let bodies: Vec<String> = (0..REQUESTS).map(body).collect();
    let bytes: usize = bodies.iter().map(String::len).sum();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut best = (f64::INFINITY, 0.0);
    for _ in 0..ROUNDS {
        let (took, used) = runtime.block_on(round(&bodies))?;
        if took.as_secs_f64() < best.0 {
            best = (took.as_secs_f64(), used.as_secs_f64());
        }
    }
    let measurements = (REQUESTS * IN_A_REQUEST) as f64;
    say(&format!(
        "sandbox: {:.0} measurements/s ({} in requests of {IN_A_REQUEST}, {} bytes each, the best of {ROUNDS} rounds); {:.2} µs of \
         processor a measurement, sender included",
        measurements / best.0,
        REQUESTS * IN_A_REQUEST,
        bytes / (REQUESTS * IN_A_REQUEST),
        best.1 * 1e6 / measurements,
    ))?;
    Ok(())
}

/// One request's measurements, each with a uid of its own.
fn body(request: usize) -> String {
    let one = |place: usize| {
        let (number, account) = (request * IN_A_REQUEST + place, (request * 7 + place) % 5_000);
        let uid = (number as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        format!(
            r#"{{"uid":"{uid:032x}","meter":"api_requests","account":"customer-{account:05}","ts":"2026-01-01T00:{:02}:{:02}.250Z","measure":{{"requests":{},"bytes":{}}},"what":{{"method":"GET","endpoint":"/v1/orders"}},"where":{{"region":"eu-west-1"}}}}"#,
            number / 60 % 60,
            number % 60,
            number % 17 + 1,
            number * 37 % 100_000,
        )
    };
    let all: Vec<String> = (0..IN_A_REQUEST).map(one).collect();
    format!(r#"{{"measurements":[{}]}}"#, all.join(","))
}

/// A new sandbox takes everything: how long that took, and how much processor time of this process.
async fn round(bodies: &[String]) -> Result<(Duration, Duration), Fault> {
    let sandbox = Sandbox::open(Options { limits: Limits::none(), ..Options::default() })?;
    sandbox.create_meter(
        MeterRequest::new("api_requests")
            .field(Category::Measure, "requests")
            .field(Category::Measure, "bytes")
            .field(Category::What, "method")
            .field(Category::What, "endpoint")
            .field(Category::Where, "region"),
    )?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(sandbox.clone().serve(listener, async move { drop(stopped.await) }));
    let (began, used) = (Instant::now(), processor_time());
    let sent = std::thread::scope(|scope| {
        let share = bodies.len().div_ceil(CONNECTIONS);
        let senders: Vec<_> = bodies.chunks(share).map(|bodies| scope.spawn(move || send(address, bodies))).collect();
        senders.into_iter().try_for_each(|sender| sender.join().unwrap_or_else(|_| Err("a sender died".into())))
    });
    let (took, used) = (began.elapsed(), processor_time().saturating_sub(used));
    sent?;
    drop(stop);
    serving.await??;
    let totals = sandbox.ledger_of(&LedgerQuery { requests: false, ..LedgerQuery::default() }).totals;
    if totals.ingested != (REQUESTS * IN_A_REQUEST) as u64 || totals.duplicates + totals.pending > 0 {
        return Err(format!("expected everything to be ingested: {totals:?}").into());
    }
    Ok((took, used))
}

/// Sends `bodies` one after another over one connection.
fn send(address: SocketAddr, bodies: &[String]) -> Result<(), Fault> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let given = ask(&mut stream, "/oauth/token", &format!("Basic {BASIC}"), r#"{"grant_type":"client_credentials"}"#)?;
    let token = given.split("\"access_token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let authorization = format!("Bearer {}", token.ok_or("expected a token")?);
    for body in bodies {
        let answer = ask(&mut stream, "/organizations/sandbox-org/measurements", &authorization, body)?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(format!("expected status 200, found {answer}").into());
        }
    }
    Ok(())
}

/// One request and its whole answer, which is small.
fn ask(stream: &mut TcpStream, path: &str, authorization: &str, body: &str) -> Result<String, Fault> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: sandbox\r\nauthorization: {authorization}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let (mut answer, mut room) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut room)?;
        answer.extend_from_slice(room.get(..count).unwrap_or_default());
        let text = std::str::from_utf8(&answer)?;
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("expected a length")?;
            if rest.len() >= length.parse()? {
                return Ok(text.to_owned());
            }
        }
        if count == 0 {
            return Err("the connection ended".into());
        }
    }
}

/// What this process has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}
