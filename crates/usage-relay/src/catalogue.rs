//! `usage-relay catalogue`: which meters and accounts m3ter had when it was last asked, as the store tells it.

use std::time::Duration;

use recovery::life::time;
use relay_store::{AccountLine, MeterLine, StoredCatalogue};
use serde::Serialize;
use tokio::time::Instant;

use crate::clock;
use crate::failure::Failure;
use crate::figures::counted;
use crate::store::{open_store, store_failed};
use crate::terminal;

/// Longest wait for the store: half a million accounts are 16 MiB.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  usage-relay catalogue
  usage-relay catalogue --skeletons
  usage-relay catalogue --accounts --json | jq -r '.list.accounts[].account'

A skeleton is an account that m3ter made by itself, for a code that it did not know: a new customer, or a mistake that is billed \
to nobody. ingest-watch asks m3ter and writes the catalogue; this command asks m3ter nothing.

Exit codes: 0 shown; 1 there is none yet; 2 the store did not answer; 64 the command line is wrong.";

/// Show which meters and accounts m3ter had when it was last asked.
///
/// The relay holds measurements against this before it sends them: see setting Preflight.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The store, such as s3://bucket/prefix or file:///folder: output StoreUrl of the stack
    #[arg(long, value_name = "URL", env = "STORE_URL", hide_env_values = true)]
    store_url: String,

    /// List the meters with their data fields
    #[arg(long)]
    meters: bool,

    /// List the accounts
    #[arg(long)]
    accounts: bool,

    /// List the accounts that m3ter made by itself and still has
    #[arg(long, conflicts_with = "accounts")]
    skeletons: bool,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// As JSON.
#[derive(Debug, Serialize)]
struct Told<'a> {
    read_at: String,
    age_seconds: i64,
    meters: usize,
    accounts: usize,
    skeletons: usize,
    meters_gone: usize,
    accounts_gone: usize,
    list: Lists<'a>,
}

/// What was asked for, those that m3ter no longer lists among it.
#[derive(Debug, Serialize)]
struct Lists<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    meters: Option<&'a [MeterLine]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<Vec<&'a AccountLine>>,
}

/// Reads and shows.
///
/// # Errors
/// [`Failure::Data`] if there is no catalogue yet, [`Failure::CouldNot`] if the store does not give it.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let store = open_store(&arguments.store_url).await?;
    let read = store.catalogue(Instant::now() + READ_TIMEOUT).await.map_err(|error| store_failed(&error))?;
    let Some(catalogue) = read else {
        let how = "ingest-watch writes it when it has listed m3ter's meters and accounts for the first time";
        return Err(Failure::Data(format!("expected a catalogue in this store, found none: {how}")));
    };
    let told = told(&catalogue, &arguments, clock::now().as_millisecond());
    match arguments.json {
        true => terminal::print_json(&told),
        false => terminal::print(&text(&catalogue, &told)),
    }
}

fn told<'a>(catalogue: &'a StoredCatalogue, arguments: &Arguments, now_ms: i64) -> Told<'a> {
    let (meters, accounts) = (catalogue.meters_listed().count(), catalogue.accounts_listed().count());
    let is_skeleton = |account: &&AccountLine| account.skeleton;
    let skeletons = || catalogue.accounts_listed().filter(is_skeleton);
    let listed_accounts = match (arguments.accounts, arguments.skeletons) {
        (true, _) => Some(catalogue.accounts.iter().collect()),
        (false, true) => Some(skeletons().collect()),
        (false, false) => None,
    };
    Told {
        read_at: time(catalogue.read_at_ms),
        age_seconds: now_ms.saturating_sub(catalogue.read_at_ms).max(0) / 1_000,
        meters,
        accounts,
        skeletons: skeletons().count(),
        meters_gone: catalogue.meters.len() - meters,
        accounts_gone: catalogue.accounts.len() - accounts,
        list: Lists { meters: arguments.meters.then_some(catalogue.meters.as_slice()), accounts: listed_accounts },
    }
}

fn text(catalogue: &StoredCatalogue, told: &Told<'_>) -> String {
    let count = |number: usize, noun: &str| counted(number as u64, noun);
    let mut lines = vec![
        format!("m3ter was asked {}, {} ago", told.read_at, age(told.age_seconds)),
        format!(
            "it had {} and {}, of which {} it made by itself (--skeletons)",
            count(told.meters, "meter"),
            count(told.accounts, "account"),
            told.skeletons
        ),
    ];
    if told.meters_gone + told.accounts_gone > 0 {
        let (meters, accounts) = (count(told.meters_gone, "meter"), count(told.accounts_gone, "account"));
        lines.push(format!("kept besides: {meters} and {accounts} that it no longer lists"));
    }
    let gone = |last_seen_ms: i64| match last_seen_ms < catalogue.read_at_ms {
        true => format!("  last listed {}", time(last_seen_ms)),
        false => String::new(),
    };
    if let Some(meters) = told.list.meters {
        lines.push(String::new());
        lines.extend(meters.iter().map(|meter| {
            let fields = meter.fields.iter().map(|(category, code)| format!("{}.{code}", category.to_lowercase()));
            let fields: Vec<String> = fields.collect();
            format!("meter {}  id {}  {}{}", meter.code, meter.id, fields.join(" "), gone(meter.last_seen_ms))
        }));
    }
    if let Some(accounts) = &told.list.accounts {
        lines.push(String::new());
        lines.extend(accounts.iter().map(|account| {
            let created = account.created_ms.map(|created_ms| format!("  created {}", time(created_ms))).unwrap_or_default();
            let skeleton = if account.skeleton { "  skeleton" } else { "" };
            format!("account {}  id {}{created}{skeleton}{}", account.code, account.id, gone(account.last_seen_ms))
        }));
    }
    lines.join("\n")
}

/// In the largest unit that leaves two or more.
fn age(seconds: i64) -> String {
    let (unit_s, unit) = match seconds {
        ..120 => (1, "second"),
        120..7_200 => (60, "minute"),
        7_200..172_800 => (3_600, "hour"),
        _ => (86_400, "day"),
    };
    counted((seconds / unit_s).unsigned_abs(), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_the_largest_unit_that_leaves_two() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (7_200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }
}
