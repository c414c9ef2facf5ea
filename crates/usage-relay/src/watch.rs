//! `usage-relay watch`: fetches m3ter's later answers and acts on them, round after round, until it is told to stop.
//!
//! It does what the function ingest-watch does on its schedule. Being stopped in the middle of a round loses nothing: what was
//! done is noted, and the next round does the rest. Two of them at the same time do the same twice, which harms nothing.

use std::time::Duration;

use ::watch::counts::Counts;
use ::watch::look;
use ::watch::round::{Job, Round, Times};
use clap::ValueEnum;
use m3ter_client::{Client, Clock};
use relay_store::{LedgerMode, Store};
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use crate::aws::chain;
use crate::clock;
use crate::failure::Failure;
use crate::figures::counted;
use crate::m3ter::{M3terArguments, ensure};
use crate::stop::stopped;
use crate::store::{open_store, store_failed};
use crate::terminal;

/// The longest a round may take.
const ROUND: Duration = Duration::from_secs(3_600);
/// The shortest pause between rounds: m3ter's events are minutes late anyway.
const PAUSE_LEAST_S: u64 = 10;

const EXAMPLES: &str = "\
Examples:
  usage-relay watch --store-url s3://bucket/relay --org-id \"$ORG_ID\"    # instead of the function ingest-watch
  usage-relay watch --once --json                                        # one round, for a scheduler of your own

Each round reads m3ter's events of failed ingests. What m3ter rejected goes into the quarantine with m3ter's reason; a copy that it \
dropped is noted as a receipt. Each hour it counts the quarantine and reads meters and accounts, each day it holds the ledger against \
what m3ter counted.

Exit codes: 0 stopped, or the one round was done; 2 store or m3ter did not answer; 64 the command line is wrong, or keys are missing.";

/// Fetch what m3ter rejected after accepting it, and act on it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The store, such as s3://bucket/prefix or file:///folder: output StoreUrl of the stack
    #[arg(long, value_name = "URL", env = "STORE_URL", hide_env_values = true)]
    store_url: String,

    #[command(flatten)]
    m3ter: M3terArguments,

    /// What the relay's ledger keeps: its setting LedgerMode
    #[arg(long, value_enum, default_value = "full", env = "LEDGER_MODE")]
    ledger_mode: Mode,

    /// Seconds between two rounds
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u64).range(PAUSE_LEAST_S..=86_400))]
    every: u64,

    /// Do one round and end; exit code 2 if any part of it failed
    #[arg(long)]
    once: bool,

    /// One line of JSON for each round
    #[arg(long)]
    json: bool,
}

/// What the ledger keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Full,
    Uids,
    Off,
}

impl Mode {
    /// The same, as the store calls it.
    pub(crate) fn ledger(self) -> LedgerMode {
        match self {
            Self::Full => LedgerMode::Full,
            Self::Uids => LedgerMode::Uids,
            Self::Off => LedgerMode::Off,
        }
    }
}

/// A round, as JSON.
#[derive(Debug, Serialize)]
struct RoundJson<'r> {
    at: String,
    #[serde(flatten)]
    counts: &'r Counts,
    is_whole: bool,
    ingested: u64,
    oldest_unsettled_s: Option<u64>,
    looked: Option<&'r look::Counts>,
    unreconciled: Option<u64>,
    failed: Vec<&'static str>,
}

/// Watches.
///
/// # Errors
/// [`Failure::Usage`] if the store or the keys are not named, [`Failure::CouldNot`] if store or m3ter cannot be asked at the
/// beginning, or in the one round that was asked for.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let store = open_store(&arguments.store_url).await?;
    let client = arguments.m3ter.client()?;
    ensure(&client).await?;
    let mut stop = std::pin::pin!(stopped()?);
    loop {
        let began = clock::Stopwatch::start();
        let done = tokio::select! {
            done = one_round(&store, &client, arguments.ledger_mode, arguments.json) => done,
            () = &mut stop => return Ok(()),
        };
        if arguments.once {
            return done;
        }
        if let Err(failure) = done {
            terminal::complain(&failure.to_string());
        }
        let pause = Duration::from_secs(arguments.every).saturating_sub(began.elapsed());
        tokio::select! {
            () = clock::pause(pause) => {}
            () = &mut stop => return Ok(()),
        }
    }
}

/// Does one round, and tells of it.
///
/// # Errors
/// [`Failure::CouldNot`] if any part of it failed.
pub(crate) async fn one_round(store: &Store, client: &Client, mode: Mode, is_json: bool) -> Result<(), Failure> {
    let now_ms = clock::now().as_millisecond();
    let clock = Clock::starting_at(now_ms);
    let budget = clock.budget(now_ms.saturating_add(i64::try_from(ROUND.as_millis()).unwrap_or(i64::MAX)));
    let session = client.session(clock, budget, None, fastrand::Rng::new());
    let name = Uuid::from_u128(u128::from(fastrand::u64(..))).to_string();
    let times = Times::of(Instant::now(), &budget);
    let job = Job { store, ledger: mode.ledger(), name: &name, now_ms, times };
    let round = job.round(&session).await.map_err(|error| store_failed(&error))?;
    match is_json {
        true => terminal::print_json(&json(&round, now_ms))?,
        false => terminal::print(&text(&round, now_ms))?,
    }
    let failures = round.failures();
    let told: Vec<String> = failures.iter().map(|(part, error)| format!("{part} failed: {}", chain(*error))).collect();
    if told.is_empty() { Ok(()) } else { Err(Failure::CouldNot(told.join("; "))) }
}

fn json(round: &Round, now_ms: i64) -> RoundJson<'_> {
    RoundJson {
        at: recovery::life::time(now_ms),
        counts: &round.counts,
        is_whole: round.passed.as_ref().is_ok_and(|passed| passed.is_whole),
        ingested: round.ingested.values().sum(),
        oldest_unsettled_s: round.oldest_unsettled_s,
        looked: round.looked.as_ref().and_then(|looked| looked.as_ref().ok()),
        unreconciled: round
            .reconciled
            .as_ref()
            .and_then(|nightly| nightly.as_ref().ok())
            .map(|nightly| nightly.counts.unexplained),
        failed: round.failures().into_iter().map(|(part, _)| part).collect(),
    }
}

/// One line: what was done, in the order of what to look at first.
fn text(round: &Round, now_ms: i64) -> String {
    let Counts { events, rejected, receipts, calculation_errors, unjudged, waiting, .. } = &round.counts;
    let mut parts = vec![format!("{} acted on", counted(*events, "event"))];
    let more = [
        (*rejected, "rejected later: in the quarantine"),
        (*receipts, "copies that m3ter dropped of what it has"),
        (*calculation_errors, "counted without a derived field"),
        (*unjudged, "copies that nobody can judge without a ledger"),
        (*waiting, "waiting for a deeper look or their log"),
        (round.ingested.values().sum(), "ingested"),
    ];
    parts.extend(more.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    if let Some(Ok(looked)) = &round.looked {
        parts.push(format!("{} in the quarantine", counted_open(looked.open.values().sum())));
    }
    if let Some(Ok(nightly)) = &round.reconciled {
        parts.push(format!(
            "{} reconciled, {} without an explanation",
            nightly.day,
            counted(nightly.counts.unexplained, "difference")
        ));
    }
    format!("{}  {}", recovery::life::time(now_ms), parts.join("; "))
}

fn counted_open(open: u64) -> String {
    if open == 0 { "nothing open".to_owned() } else { format!("{open} open") }
}
