//! `usage-relay reconcile`: the ledger's totals against m3ter's, number by number.
//!
//! The answer comes first, in one sentence. A difference that is explained is no failure: what m3ter rejected is in the
//! quarantine, and waits for somebody there.

mod table;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use watch::reconcile::{Question, ReconcileError, Report, Step, nightly_day, reconcile};

use crate::clock;
use crate::failure::Failure;
use crate::figures::counted;
use crate::m3ter::{M3terArguments, ensure, not_answered, session};
use crate::store::{When, open_store, store_failed};
use crate::terminal::{self, Progress};

/// The longest it may take: at one question a second, asking about 3,600 meters takes an hour.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// How many things that could not be read are named.
const NAMED_MAX: usize = 10;

const EXAMPLES: &str = "\
Examples:
  usage-relay reconcile                                     # the day before yesterday
  usage-relay reconcile --day 2026-11-20 --meter api_calls
  usage-relay reconcile --since 7d --csv > differences.csv
  usage-relay reconcile --since 2026-11-01 --all --json

It compares how many measurements there are, and the sum of each of their numbers, by meter, account and day: the UTC day of \
their ts. Counts are compared exactly; sums too, unless they differ by less than a part in a billion, since m3ter's are \
doubles. m3ter's less the ledger's is the difference.

What explains a difference: a measurement that m3ter rejected later (the reason of its quarantine entry); NotSettledYet, \
accepted less than an hour ago or since m3ter's events were last read; Unanswered, sent and never answered; SeveralContents, \
a uid that was sent with several. What arrives later than this moment is in no sum yet.

It needs LedgerMode full: uids and off keep nothing that could be added up.

Exit codes: 0 both sides agree, or all is explained; 1 a difference has no explanation, or something could not be read; 2 the \
store or m3ter did not answer; 64 the command line is wrong, or keys are missing.";

/// Hold the ledger against what m3ter says it counted.
///
/// Says where they differ, by how much, and which measurements explain it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// One day, in UTC. Today is still moving: what arrives meanwhile may be on one side alone
    #[arg(long, value_name = "DATE", value_parser = date, conflicts_with = "since")]
    day: Option<Date>,

    /// From the day of this time to yesterday: a time, a date, or an age such as 7d
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    since: Option<When>,

    /// This meter; give it once for each. Without it, the meters that the ledger holds
    #[arg(long, value_name = "CODE")]
    meter: Vec<String>,

    /// This account; give it once for each
    #[arg(long, value_name = "CODE")]
    account: Vec<String>,

    /// Show what agrees too
    #[arg(long)]
    all: bool,

    /// The store, such as s3://bucket/prefix or file:///folder: output StoreUrl of the stack
    #[arg(long, value_name = "URL", env = "STORE_URL", hide_env_values = true)]
    store_url: String,

    #[command(flatten)]
    m3ter: M3terArguments,

    /// Print one line of JSON: the whole report, with uids of measurements that explain something
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print CSV: a line for each row
    #[arg(long)]
    csv: bool,
}

/// Reconciles.
///
/// # Errors
/// [`Failure::Data`] if a difference has no explanation or something could not be read, [`Failure::CouldNot`] if the store or
/// m3ter does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let now_ms = clock::now().as_millisecond();
    let (from_day, until_day) = days(arguments.day, arguments.since, now_ms)?;
    let question = Question {
        meters: codes(&arguments.meter),
        accounts: codes(&arguments.account),
        all_rows: arguments.all,
        ..Question::about(from_day, until_day)
    };
    let client = arguments.m3ter.client()?;
    let store = open_store(&arguments.store_url).await?;
    ensure(&client).await?;
    let progress = Progress::start(Some(0), "");
    let mut tell = |step, done, of| {
        progress.say(doing(step).to_owned());
        progress.of(done, of);
    };
    let found = reconcile(&session(&client, LIMIT), &store, &question, now_ms, &mut tell).await;
    progress.finish();
    let report = found.map_err(|error| failed(&error))?;
    match (arguments.json, arguments.csv) {
        (true, _) => terminal::print_json(&report)?,
        (false, true) => table::csv(&report)?,
        (false, false) => terminal::print(&table::text(&report))?,
    }
    verdict(&report)
}

fn doing(step: Step) -> &'static str {
    match step {
        Step::Quarantine => "objects of the quarantine read",
        Step::Ledger => "objects of the ledger read",
        Step::Contests => "objects of the ledger read again, for uids with several contents",
        Step::M3ter => "meters asked about",
    }
}

fn codes(codes: &[String]) -> BTreeSet<String> {
    codes.iter().cloned().collect()
}

/// The first day, and the one after the last.
fn days(day: Option<Date>, since: Option<When>, now_ms: i64) -> Result<(Date, Date), Failure> {
    let after = |day: Date| day.checked_add(1.day()).map_err(|_| Failure::Usage("expected a day that has a next one".to_owned()));
    let date = |at_ms: i64| Timestamp::from_millisecond(at_ms).unwrap_or_default().to_zoned(TimeZone::UTC).date();
    let Some(since) = since else {
        let day = day.unwrap_or_else(|| nightly_day(now_ms));
        return Ok((day, after(day)?));
    };
    let (from, today) = (date(since.at_ms(now_ms)), date(now_ms));
    match from < today {
        true => Ok((from, today)),
        false => Err(Failure::Usage(
            "expected --since to be before today: today is not over; --day asks for it all the same".to_owned(),
        )),
    }
}

fn date(text: &str) -> Result<Date, String> {
    // A time would pass for its date.
    let date = text.parse::<Date>().ok().filter(|_| text.len() == "2026-11-20".len());
    date.ok_or_else(|| "expected a date such as 2026-11-20".to_owned())
}

fn failed(error: &ReconcileError) -> Failure {
    match error {
        ReconcileError::NoDay => Failure::Usage(error.to_string()),
        ReconcileError::NoMeasurements { .. } => Failure::Data(error.to_string()),
        ReconcileError::TooMuch(_) | ReconcileError::TimeUp => Failure::CouldNot(error.to_string()),
        ReconcileError::Store(error) => store_failed(error),
        ReconcileError::M3ter(cause) => match not_answered(cause) {
            Failure::CouldNot(text) => Failure::CouldNot(format!("{error}: {text}")),
            other @ (Failure::Data(_) | Failure::Usage(_)) => other,
        },
    }
}

/// What the exit code says.
fn verdict(report: &Report) -> Result<(), Failure> {
    let totals = &report.totals;
    for one in report.unread.iter().take(NAMED_MAX) {
        terminal::complain(&format!("cannot read {}: {}", one.name, one.expected));
    }
    let more = report.unread.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        terminal::complain(&format!("and {more} more"));
    }
    if report.horizon.ledger_objects_listed == 0 {
        let from = &report.horizon.read_from;
        return Err(Failure::Data(format!(
            "the ledger holds nothing that was sent since {from}; with LedgerMode off it never does"
        )));
    }
    match (totals.unexplained, report.is_whole) {
        (0, true) => Ok(()),
        (0, false) => Err(Failure::Data(format!("what could be read is compared; {}", missing(report).join(", ")))),
        (1, _) => Err(Failure::Data("1 row differs without an explanation".to_owned())),
        (rows, _) => Err(Failure::Data(format!("{} differ without an explanation", counted(rows, "row")))),
    }
}

/// What is in no sum, though it should be.
fn missing(report: &Report) -> Vec<String> {
    let told = [
        (report.unread.len() as u64, "part", "could not be read"),
        (report.totals.lines_without_measurement, "ledger line", "without a measurement, as LedgerMode uids writes them"),
        (report.totals.odd_numbers, "number", "beyond what can be added"),
    ];
    let some = told.into_iter().filter(|(count, _, _)| *count > 0);
    some.map(|(count, what, why)| format!("{} {why}", counted(count, what))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T10:00:00Z in milliseconds since the epoch.
    const NOW_MS: i64 = 1_795_341_600_000;

    fn check(day: Option<&str>, since: Option<&str>, expected: &str) {
        let day = day.map(|day| date(day).unwrap());
        let since = since.map(|since| When::parse(since).unwrap());
        let told = match days(day, since, NOW_MS) {
            Ok((from, until)) => format!("{from} {until}"),
            Err(failure) => failure.to_string(),
        };
        assert!(told.starts_with(expected), "{told}");
    }

    #[test]
    fn days_are_those_that_are_over_unless_one_is_asked_for() {
        check(None, None, "2026-11-20 2026-11-21");
        check(Some("2026-11-22"), None, "2026-11-22 2026-11-23");
        check(None, Some("2d"), "2026-11-20 2026-11-22");
        check(None, Some("2026-11-01"), "2026-11-01 2026-11-22");
        check(None, Some("1h"), "expected --since to be before today");
    }

    #[test]
    fn a_day_is_a_date_and_nothing_else() {
        for text in ["", "2026-11-31", "2026-11-20T00:00:00Z", "yesterday", "7d"] {
            assert!(date(text).unwrap_err().starts_with("expected a date"), "{text}");
        }
    }
}
