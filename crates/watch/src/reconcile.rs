//! The ledger held against what m3ter says it counted.
//!
//! Three parts that know nothing of each other: `gather` reads the store, `ask` asks m3ter, `compare` holds one against the
//! other. What they count is defined in `held` (where a measurement counts, by the UTC day of its `ts`), `totals` (each uid
//! once), `explain` (what may differ, and why) and `rows` (m3ter's answer, whose columns have no published names).
//!
//! A difference says that one side has what the other has not. It does not say which is right.
//!
//! Absent: mending anything. What to do about a difference is an operator's decision.

mod ask;
mod compare;
mod decimal;
mod explain;
mod gather;
mod held;
mod report;
mod rows;
mod totals;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::Date;
use m3ter_client::{NotAnswered, Session};
use relay_core::limits::DAY_MS;
use relay_store::{Store, StoreError};
use tokio::time::{Instant, timeout_at};

pub use self::decimal::Decimal;
pub use self::explain::Effect;
pub use self::report::{Counts, Explained, Horizon, Report, Row, Unconfigured, Unread};
pub use self::totals::{Bounds, TooMuch};

use self::compare::compare;
use self::gather::{Gathered, gather};
use self::held::Names;
use self::report::{date_of, day_of};

/// Most rows of a report; the others are counted.
const ROWS_MAX: usize = 100_000;
/// The same of a report that is kept in the store.
const ROWS_KEPT_MAX: usize = 10_000;

/// What a function of 512 MB can hold: at most 100 MB of uids, and 50 of the rest, by the sizes in [`Bounds`].
const NIGHTLY: Bounds = Bounds { uids: 2_000_000, places: 50_000, whole: 50_000 };
/// What a laptop can hold: at most 1.5 GB of uids, and 0.8 of the rest.
const LAPTOP: Bounds = Bounds { uids: 30_000_000, places: 1_000_000, whole: 500_000 };

/// What is to be reconciled.
#[derive(Clone, Debug)]
pub struct Question {
    /// The first day, in UTC.
    pub from_day: Date,
    /// The day after the last.
    pub until_day: Date,
    /// Codes of meters; none means those that the ledger holds.
    pub meters: BTreeSet<String>,
    /// Codes of accounts; none means all.
    pub accounts: BTreeSet<String>,
    /// Whether rows that agree are reported too.
    pub all_rows: bool,
    /// How much may be held at once.
    pub bounds: Bounds,
}

impl Question {
    /// About everything from `from_day` to the day before `until_day`, with the memory of a laptop.
    pub fn about(from_day: Date, until_day: Date) -> Question {
        let (meters, accounts) = Default::default();
        Question { from_day, until_day, meters, accounts, all_rows: false, bounds: LAPTOP }
    }

    /// In days since the epoch.
    fn days(&self) -> (i64, i64) {
        (day_of(self.from_day), day_of(self.until_day))
    }
}

/// What is being read, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Objects of the quarantine.
    Quarantine,
    /// Objects of the ledger.
    Ledger,
    /// The same again, for uids with several contents.
    Contests,
    /// Meters that m3ter is asked about.
    M3ter,
}

/// Why nothing could be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The last day is before the first.
    #[error("expected at least one day")]
    NoDay,
    /// The ledger keeps no measurements.
    #[error(
        "expected a ledger that keeps measurements; its {lines} lines hold none: LedgerMode uids cannot be reconciled, only full can"
    )]
    NoMeasurements {
        /// Lines.
        lines: u64,
    },
    /// There is too much to hold at once.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// The store did not do it.
    #[error("the store failed the reconciliation")]
    Store(#[from] StoreError),
    /// m3ter did not answer.
    #[error("m3ter could not be asked what it counted")]
    M3ter(#[from] NotAnswered),
    /// Time was up.
    #[error("the reconciliation did not end in time")]
    TimeUp,
}

/// Holds the ledger in `store` against what m3ter counted, as of `now_ms`: milliseconds since the epoch. `tell` is told what is
/// being read, how much of it is done, and of how much.
///
/// # Errors
/// [`ReconcileError`] if one side cannot be had. What is missing in part is told in the report: [`Report::is_whole`].
pub async fn reconcile(
    session: &Session<'_>,
    store: &Store,
    question: &Question,
    now_ms: i64,
    tell: &mut dyn FnMut(Step, u64, u64),
) -> Result<Report, ReconcileError> {
    let (from_day, until_day) = question.days();
    if from_day >= until_day {
        return Err(ReconcileError::NoDay);
    }
    let Gathered { totals, explanations, contested, lines_without_measurement, horizon, mut unread } =
        gather(store, question, now_ms, tell).await?;
    let measurements = totals.tallies().values().map(|tally| tally.count).sum();
    if measurements == 0 && lines_without_measurement > 0 {
        return Err(ReconcileError::NoMeasurements { lines: lines_without_measurement });
    }
    let mut names = Names::default();
    let mut named = |codes: &BTreeSet<String>| codes.iter().map(|code| names.name(code)).collect::<BTreeSet<Arc<str>>>();
    let (meters, accounts) = (named(&question.meters), named(&question.accounts));
    let places = || totals.tallies().keys().chain(explanations.keys());
    let wanted = ask::Wanted {
        from_day,
        until_day,
        meters: if meters.is_empty() { places().map(|place| Arc::clone(&place.meter)).collect() } else { meters },
        known_accounts: places().map(|place| Arc::clone(&place.account)).chain(accounts.iter().cloned()).collect(),
        accounts,
    };
    let usage = ask::usage(session, &wanted, &mut names, &mut |done, of| tell(Step::M3ter, done, of)).await?;
    unread.extend(usage.unread);
    let mut counts =
        Counts { measurements, contested, lines_without_measurement, odd_numbers: totals.odd_numbers(), ..Counts::default() };
    let mut rows = Vec::new();
    let unconfigured = compare(totals.tallies(), &usage.counted, &explanations, &usage.meters, &mut |row| {
        counts.rows += 1;
        match (row.agrees, row.unexplained.is_zero()) {
            (true, _) => counts.agree += 1,
            (false, true) => counts.explained += 1,
            (false, false) => counts.unexplained += 1,
        }
        if question.all_rows || !row.agrees {
            rows.push(row);
        }
    });
    let unknown = usage.meters.iter().filter(|(_, fields)| **fields == compare::Fields::NoMeter);
    let is_whole = unread.is_empty() && lines_without_measurement == 0 && counts.odd_numbers == 0;
    let mut report = Report {
        from_day: question.from_day.to_string(),
        until_day: question.until_day.to_string(),
        meters: wanted.meters.iter().map(ToString::to_string).collect(),
        accounts: question.accounts.iter().cloned().collect(),
        horizon,
        totals: counts,
        rows,
        more_rows: 0,
        unknown_meters: unknown.map(|(code, _)| code.to_string()).collect(),
        unconfigured: unconfigured
            .iter()
            .map(|(meter, field)| Unconfigured { meter: meter.to_string(), field: field.to_string() })
            .collect(),
        unread,
        is_whole,
    };
    report.keep(ROWS_MAX);
    Ok(report)
}

/// What a nightly reconciliation came to. The report is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nightly {
    /// The day.
    pub day: Date,
    /// Counts; `unexplained` is the metric `Unreconciled`.
    pub counts: Counts,
    /// Whether all was compared that was to be compared.
    pub is_whole: bool,
}

/// The day that is reconciled at `now_ms`: the one before yesterday, in UTC.
///
/// Yesterday is too young. A measurement may arrive hours after its `ts`, from a producer that was offline or a queue that was
/// held up, and m3ter may reject it an hour after that; the events of a day are read again until it is a day old. Of the day
/// before, all that is at hand in time has had at least a day to be rejected and noticed. What arrives later still is in the
/// sums of both sides when somebody asks again, and the report says how late that may be.
pub fn nightly_day(now_ms: i64) -> Date {
    date_of(now_ms.div_euclid(DAY_MS) - 2)
}

/// Days that are made up for, if nights were missed.
const NIGHTS_MAX: i64 = 7;

/// The day whose turn it is at `now_ms`, in days since the epoch: the one after `last`, at most a week back and at most
/// [`nightly_day`]; `None` if there is none. The first is [`nightly_day`].
pub fn next_night(last: i64, now_ms: i64) -> Option<i64> {
    let latest = now_ms.div_euclid(DAY_MS) - 2;
    let next = if last == 0 { latest } else { (last + 1).max(latest - NIGHTS_MAX + 1) };
    (next <= latest).then_some(next)
}

/// Reconciles `day`, counted since the epoch, and keeps the report in `store`, all before `until`.
///
/// # Errors
/// As [`reconcile`]; [`ReconcileError::TimeUp`].
pub async fn nightly(
    session: &Session<'_>,
    store: &Store,
    day: i64,
    now_ms: i64,
    until: Instant,
) -> Result<Nightly, ReconcileError> {
    if Instant::now() >= until {
        return Err(ReconcileError::TimeUp);
    }
    let (day, after) = (date_of(day), date_of(day + 1));
    let question = Question { bounds: NIGHTLY, ..Question::about(day, after) };
    let mut nobody = |_, _, _| {};
    let reconciled = timeout_at(until, reconcile(session, store, &question, now_ms, &mut nobody)).await;
    let mut report = reconciled.map_err(|_| ReconcileError::TimeUp)??;
    report.keep(ROWS_KEPT_MAX);
    store.put_document(&format!("watch/v1/reconcile/{day}.json"), &report, until).await?;
    Ok(Nightly { day, counts: report.totals, is_whole: report.is_whole })
}

impl ReconcileError {
    /// Whether trying again would end in the same way.
    pub fn is_lasting(&self) -> bool {
        match self {
            ReconcileError::NoDay | ReconcileError::NoMeasurements { .. } | ReconcileError::TooMuch(_) => true,
            ReconcileError::Store(_) | ReconcileError::M3ter(_) | ReconcileError::TimeUp => false,
        }
    }
}

impl Report {
    /// Keeps `most` rows, those that nothing explains before the others, in their order.
    fn keep(&mut self, most: usize) {
        if self.rows.len() <= most {
            return;
        }
        let unexplained = self.rows.iter().filter(|row| !row.unexplained.is_zero()).count();
        let (mut of_those, mut of_others) = (most.min(unexplained), most.saturating_sub(unexplained));
        let before = self.rows.len();
        self.rows.retain(|row| {
            let left = if row.unexplained.is_zero() { &mut of_others } else { &mut of_those };
            let stays = *left > 0;
            *left = left.saturating_sub(1);
            stays
        });
        self.more_rows += (before - self.rows.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_night_has_its_turn_and_those_that_were_missed_are_made_up_for_a_week() {
        let now_ms = 20_000 * DAY_MS + 5;
        assert_eq!(next_night(0, now_ms), Some(19_998), "the first is the day before yesterday");
        assert_eq!((next_night(19_998, now_ms), next_night(19_999, now_ms)), (None, None));
        assert_eq!((next_night(19_997, now_ms), next_night(19_995, now_ms)), (Some(19_998), Some(19_996)));
        assert_eq!(next_night(100, now_ms), Some(19_992));
    }

    #[test]
    fn the_day_before_yesterday_is_reconciled_at_whatever_hour() {
        let day = |text: &str| nightly_day(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).to_string();
        assert_eq!(day("2026-11-22T00:00:00Z"), "2026-11-20");
        assert_eq!(day("2026-11-22T23:59:59Z"), "2026-11-20");
        assert_eq!(day("2026-03-01T03:00:00Z"), "2026-02-27");
    }

    #[test]
    fn a_report_that_is_too_long_keeps_what_nothing_explains() {
        let row = |account: usize, unexplained: u64| Row {
            meter: "m".to_owned(),
            account: format!("a{account}"),
            day: "2026-11-20".to_owned(),
            measure: None,
            ledger: Decimal::default(),
            m3ter: Decimal::from(1),
            difference: Decimal::from(1),
            agrees: false,
            explained_by: Vec::new(),
            unexplained: Decimal::from(unexplained),
        };
        let horizon = Horizon {
            read_from: String::new(),
            read_until: String::new(),
            settled_until: String::new(),
            events_read_to: None,
            ledger_objects: 0,
            ledger_objects_listed: 0,
            quarantine_objects: 0,
        };
        let report = Report {
            from_day: String::new(),
            until_day: String::new(),
            meters: Vec::new(),
            accounts: Vec::new(),
            horizon,
            totals: Counts::default(),
            rows: (0..6).map(|account| row(account, u64::from(account % 3 == 2))).collect(),
            more_rows: 0,
            unknown_meters: Vec::new(),
            unconfigured: Vec::new(),
            unread: Vec::new(),
            is_whole: true,
        };
        let kept = |most: usize| {
            let mut report = report.clone();
            report.keep(most);
            (report.rows.iter().map(|row| row.account.clone()).collect::<Vec<_>>().join(" "), report.more_rows)
        };
        assert_eq!(kept(6), ("a0 a1 a2 a3 a4 a5".to_owned(), 0));
        assert_eq!(kept(3), ("a0 a2 a5".to_owned(), 3));
        assert_eq!(kept(1), ("a2".to_owned(), 5));
    }
}
