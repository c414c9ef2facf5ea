//! Writes a ledger of ten million lines as the relay does, explains one measurement in it, and prints what that took.
//!
//! `make bench-explain`. Times depend on the machine and are printed, never judged; what memory it takes does not, and is:
//! the exit code is 1 if it was more than the bound.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use recovery::gather::Look;
use recovery::life::Place;
use relay_store::{LedgerAnswer, LedgerMode, LedgerWrite, NewLine, S3Access, Store};
use tokio::time::Instant;
use uuid::Uuid;

const OBJECTS: u64 = 1_000;
const LINES: u64 = 10_000;
/// 2026-06-01T00:00:00Z in milliseconds since the epoch.
const START_MS: i64 = 1_780_272_000_000;
/// Objects are spread evenly over 35 days.
const EVERY_MS: i64 = 35 * 86_400_000 / OBJECTS.cast_signed();
/// Most memory the search may take at its peak.
const MEMORY_MIB_MAX: u64 = 256;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(&format!("cannot start: {error}"), ExitCode::from(2)),
    };
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".local/bench-explain".to_owned());
    match runtime.block_on(run(Path::new(&folder))) {
        Ok(code) => code,
        Err(error) => say(&error, ExitCode::from(2)),
    }
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
    code
}

async fn run(folder: &Path) -> Result<ExitCode, String> {
    let wanted = uid(OBJECTS / 2, LINES / 2);
    let folder =
        if folder.is_absolute() { folder.to_owned() } else { std::env::current_dir().map_err(|e| e.to_string())?.join(folder) };
    if !folder.exists() {
        let watch = Instant::now();
        write(&folder).await?;
        say(
            &format!("wrote {} lines in {} objects, {:.1} s", OBJECTS * LINES, OBJECTS, watch.elapsed().as_secs_f64()),
            ExitCode::SUCCESS,
        );
    }
    let store = open(&folder)?;
    for round in 1..=3 {
        let watch = Instant::now();
        let mut nothing = |_: u64, _: u64| {};
        let mut look = Look::new(&store, (START_MS, START_MS + 35 * 86_400_000), &mut nothing);
        let stories = look.stories(std::slice::from_ref(&wanted)).await.map_err(|error| error.to_string())?;
        let took_s = watch.elapsed().as_secs_f64();
        let found = stories.first().is_some_and(|story| story.place == Place::Accepted);
        if !found || !look.looked.unreadable.is_empty() {
            return Err(format!("expected to find {wanted}: {stories:?} {:?}", look.looked));
        }
        let lines = look.looked.ledger_lines;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let rate = lines as f64 / took_s / 1e6;
        say(
            &format!("round {round}: {lines} lines, {took_s:.2} s on {cores} cores, {rate:.1} million lines a second"),
            ExitCode::SUCCESS,
        );
    }
    let peak_mib = peak_mib().ok_or("cannot read /proc/self/status")?;
    let holds = peak_mib <= MEMORY_MIB_MAX;
    let code = if holds { ExitCode::SUCCESS } else { ExitCode::from(1) };
    Ok(say(&format!("peak memory {peak_mib} MiB; the bound is {MEMORY_MIB_MAX} MiB"), code))
}

fn open(folder: &Path) -> Result<Store, String> {
    Store::open(&format!("file://{}", folder.display()), &S3Access::default()).map_err(|error| error.to_string())
}

/// Random enough that it does not compress, and the same each time.
fn uid(object: u64, line: u64) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{object}/{line}").as_bytes()).to_string()
}

async fn write(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let store = open(folder)?;
    for object in 0..OBJECTS {
        let now_ms = START_MS + object.cast_signed() * EVERY_MS;
        let lines: Vec<_> = (0..LINES).map(|line| measured(object, line)).collect();
        let lines = lines.iter().enumerate().map(|(index, (uid, account, text))| NewLine {
            uid,
            meter: "api_requests",
            account,
            ts: "2026-06-01T00:00:00.000Z",
            ts_ms: START_MS,
            batch: u32::try_from(index / 1_000).unwrap_or(0) + 1,
            message_id: "0c7a3a3e-95f4-4b0e-a6d2-1f2f4f0b2a55",
            queued_at_ms: Some(now_ms - 20_000),
            sent_at_ms: now_ms,
            attempts: 1,
            receives: 1,
            answer: LedgerAnswer::Accepted,
            origin: None,
            text,
        });
        let invocation = format!("7b0c6a52-0000-4000-8000-{object:012}");
        let until = Instant::now() + Duration::from_secs(600);
        let mode = (LedgerMode::Full, LedgerWrite::Required);
        store.record(mode, &invocation, now_ms, lines, until).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn measured(object: u64, line: u64) -> (String, String, String) {
    let uid = uid(object, line);
    let account = format!("customer-{:03}", (object * 31 + line * 7) % 500);
    let (calls, bytes) = (line % 9 + 1, (object * 977 + line * 31) % 40_000);
    let text = format!(
        r#"{{"uid":"{uid}","meter":"api_requests","account":"{account}","ts":"2026-06-01T00:00:00.000Z","measure":{{"calls":{calls},"bytes":{bytes}}},"what":{{"region":"eu-west-1","method":"GET"}}}}"#
    );
    (uid, account, text)
}

/// The most memory this process ever held.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1_024)
}
