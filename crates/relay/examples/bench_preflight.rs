//! Walks the same messages with and without a catalogue of 100,000 accounts, side by side, and prints what pre-flight costs.
//!
//! `make bench-preflight`. What is timed is the whole walk: decode, guard, pre-flight, collapse, pack, submit to a m3ter within the
//! process that accepts at once, ledger into memory, settle. Time is processor time of its thread. What a Lambda function
//! adds (the event's JSON, HTTP, TLS) is left out, which makes the share look larger than it is. Each round walks once of each kind,
//! in another order; the ratio is the middle one of all rounds, so that what else the machine does falls on all alike. Times
//! depend on the machine and are the fastest; the ratio is what all this is for.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bumpalo::Bump;
use bytes::Bytes;
use http::{Request, Response};
use m3ter_client::{Client, ClientSettings, Clock, Credentials, Endpoint, NoAnswer, Secrets, SecretsError, Transport};
use relay::{Invocation, LastCatalogue, Ledger, Preflight, Relay, Settings};
use relay_core::guard::MissingUid;
use relay_core::inbound::Inbound;
use relay_store::{AccountLine, CatalogueRead, LedgerMode, LedgerWrite, MeterLine, Payloads, S3Access, Store, StoredCatalogue};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

const ACCOUNTS: u64 = 100_000;
const METERS: u64 = 50;
const MESSAGES: usize = 100;
const IN_A_MESSAGE: usize = 100;
const ROUNDS: usize = 150;
/// 2026-06-01T00:00:00Z in milliseconds since the epoch.
const START_MS: i64 = 1_780_272_000_000;

/// m3ter, which accepts everything at once.
struct Accepts;

#[async_trait]
impl Transport for Accepts {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let body: &'static [u8] = match request.uri().path().ends_with("/oauth/token") {
            true => br#"{"access_token":"t","token_type":"Bearer","expires_in":18000}"#,
            false => br#"{"result":"accepted"}"#,
        };
        Ok(Response::new(Bytes::from_static(body)))
    }
}

struct Keys;

#[async_trait]
impl Secrets for Keys {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        Ok(Credentials { access_key_id: "k".into(), api_secret: "s".into() })
    }
}

/// One kind of walk, and how long it took in each round.
struct Kind {
    name: &'static str,
    relay: Relay,
    took: Vec<Duration>,
}

fn kind(name: &'static str, preflight: Preflight, mode: LedgerMode, store: &Store) -> Result<Kind, Box<dyn Error>> {
    let endpoint = || Endpoint::parse("https://m3ter.test");
    let settings = ClientSettings { org_id: "o".into(), api: endpoint()?, ingest: endpoint()?, requests_per_second: 1_000_000.0 };
    let client = Client::new(Arc::new(Accepts), Arc::new(Keys), &settings);
    let settings = Settings {
        missing_uid: MissingUid::Refuse,
        exhaust_after_ms: 864_000_000,
        batches_in_flight: 4,
        ledger: Ledger { mode, write: LedgerWrite::Required },
        preflight,
    };
    let (store, payloads, catalogue) = (store.clone(), Payloads::default(), LastCatalogue::default());
    Ok(Kind { name, relay: Relay { client, store, payloads, catalogue, settings }, took: Vec::new() })
}

fn account(number: u64) -> String {
    format!("customer-{number:08}")
}

fn stored() -> StoredCatalogue {
    let fields =
        [("MEASURE", "calls"), ("MEASURE", "bytes"), ("WHAT", "region")].map(|(category, code)| (category.into(), code.into()));
    let meter = |number| MeterLine {
        code: format!("meter-{number}"),
        id: format!("{:032x}", number + 7),
        fields: fields.to_vec(),
        last_seen_ms: START_MS,
    };
    let mut rng = fastrand::Rng::with_seed(1);
    let accounts = (0..ACCOUNTS).map(|number| AccountLine {
        code: account(number),
        id: format!("{:032x}", rng.u128(..)),
        created_ms: Some(START_MS - rng.i64(0..100_000_000_000)),
        last_seen_ms: START_MS,
        skeleton: false,
    });
    StoredCatalogue { read_at_ms: START_MS, meters: (0..METERS).map(meter).collect(), accounts: accounts.collect() }
}

/// Bodies with measurements of every meter and of accounts all over the catalogue, each with the data fields of its meter and
/// `more`.
fn bodies(more: &str) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut one = |place: usize| {
        let (meter, account, n) = (rng.u64(..METERS), account(rng.u64(..ACCOUNTS)), rng.u32(..));
        format!(
            r#"{{"uid":"01985c2e-7d1c-7a60-9b5e-{place:012x}","meter":"meter-{meter}","account":"{account}","ts":"2026-05-31T23:00:00Z","measure":{{"calls":1,"bytes":{n}{more}}},"what":{{"region":"eu-west-1"}}}}"#
        )
    };
    (0..MESSAGES)
        .map(|message| {
            let texts: Vec<String> = (0..IN_A_MESSAGE).map(|place| one(message * IN_A_MESSAGE + place)).collect();
            format!(r#"{{"measurements":[{}]}}"#, texts.join(","))
        })
        .collect()
}

async fn walk(relay: &Relay, messages: &[Inbound<'_>], round: usize) -> Result<Duration, Box<dyn Error>> {
    let clock = Clock::starting_at(START_MS);
    let (id, budget) = (format!("round-{round}"), clock.budget(START_MS + 60_000));
    let rng = fastrand::Rng::with_seed(3);
    let invocation = Invocation { id: &id, messages, clock, budget, traceparent: None, rng };
    let arena = Bump::new();
    let began = processor_time();
    let walked = relay.walk(invocation, &arena).await;
    let took = processor_time().saturating_sub(began);
    if walked.report.accounts.accepted != MESSAGES * IN_A_MESSAGE {
        return Err(format!("expected everything to be accepted: {:?}", walked.report.accounts).into());
    }
    Ok(took)
}

/// What this thread has used, which is the only one.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

async fn compare(title: &str, bodies: &[String], mut kinds: Vec<Kind>) -> Result<(), Box<dyn Error>> {
    let messages: Vec<Inbound<'_>> = bodies
        .iter()
        .map(|body| Inbound { id: "m", handle: "h", body, sent_at_ms: Some(START_MS - 1_000), source: "q", ..Inbound::default() })
        .collect();
    for round in 0..ROUNDS {
        for turn in 0..kinds.len() {
            let place = (turn + round) % kinds.len();
            if let Some(kind) = kinds.get_mut(place) {
                kind.took.push(walk(&kind.relay, &messages, round).await?);
            }
        }
    }
    say(title)?;
    let Some(base) = kinds.first().map(|kind| kind.took.clone()) else { return Ok(()) };
    for kind in kinds {
        let fastest = kind.took.iter().min().map_or(0.0, |took| took.as_nanos() as f64 / (MESSAGES * IN_A_MESSAGE) as f64);
        let mut ratios: Vec<f64> =
            kind.took.iter().zip(&base).map(|(took, base)| took.as_secs_f64() / base.as_secs_f64()).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
        say(&format!("  {:12} {fastest:7.0} ns a measurement, ratio {ratio:.3}", kind.name))?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::open("memory:", &S3Access::default())?;
    let until = || Instant::now() + Duration::from_secs(60);
    store.put_catalogue(&stored(), false, until()).await?;
    let began = Instant::now();
    let CatalogueRead::Changed { .. } = store.catalogue_unless(None, until()).await? else {
        return Err("expected a catalogue".into());
    };
    say(&format!("a catalogue of {ACCOUNTS} accounts is read in {} ms", began.elapsed().as_millis()))?;
    for (ledger, mode) in [("without a ledger", LedgerMode::Off), ("with the whole ledger", LedgerMode::Full)] {
        let of = |name, preflight| kind(name, preflight, mode, &store);
        let kinds = || -> Result<_, Box<dyn Error>> {
            Ok(vec![of("off", Preflight::Off)?, of("warn", Preflight::Warn)?, of("quarantine", Preflight::Quarantine)?])
        };
        compare(&format!("{ledger}, data fields as configured"), &bodies(""), kinds()?).await?;
        compare(&format!("{ledger}, one data field more"), &bodies(r#","extra":1"#), kinds()?).await?;
    }
    Ok(())
}
