//! `usage-relay jobs list`: the jobs of the organisation, newest first.
//!
//! m3ter publishes no order for its list, and filters by time alone: so all of it is read, sorted and then cut.

use clap::ValueEnum;
use jiff::Timestamp;
use m3ter_client::{JobFilter, JobStatus, UploadJob};
use serde::Serialize;

use super::{all, told};
use crate::clock;
use crate::failure::Failure;
use crate::figures::counted;
use crate::m3ter::{M3terArguments, not_answered, question};
use crate::store::When;
use crate::terminal::{self, Progress};

const HELP: &str = "\
Examples:
  usage-relay jobs list
  usage-relay jobs list --since 7d --status running --status failed
  usage-relay jobs list --since 2026-11-01 --until 2026-11-08 --json | jq -r '.jobs[].job'

Newest first, by when the file came; jobs whose file never came are at the end.

Exit codes: 0 shown, also if there are none; 2 m3ter did not answer; 64 the command line is wrong, or keys are missing.";

/// List files that were uploaded to m3ter, newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    m3ter: M3terArguments,

    /// Only jobs that were begun since: a time, a date, or an age such as 7d or 12h
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    since: Option<When>,

    /// Only jobs that were begun before: the same
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,

    /// Only jobs of this status; may be given more than once
    #[arg(long, value_enum)]
    status: Vec<Status>,

    /// At most as many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Status {
    NotUploaded,
    Running,
    Failed,
    Succeeded,
}

impl Status {
    fn is(self, status: JobStatus) -> bool {
        status
            == match self {
                Self::NotUploaded => JobStatus::NotUploaded,
                Self::Running => JobStatus::Running,
                Self::Failed => JobStatus::Failed,
                Self::Succeeded => JobStatus::Succeeded,
            }
    }
}

/// As JSON.
#[derive(Debug, Serialize)]
struct Told<'j> {
    /// Those shown.
    jobs: Vec<told::Job<'j>>,
    /// Those that fit, shown or not.
    found: usize,
}

/// Asks, sorts, shows.
///
/// # Errors
/// [`Failure::Usage`] without keys, or if the span of time is none; [`Failure::CouldNot`] if m3ter does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let now_ms = clock::now().as_millisecond();
    let filter = filter(arguments.since, arguments.until, now_ms)?;
    let client = arguments.m3ter.client()?;
    let progress = Progress::start(None, "jobs listed");
    let listed = all(|| question(&client), &filter, |count| progress.set(count as u64)).await;
    progress.finish();
    let mut jobs = listed.map_err(|error| not_answered(&error))?;
    jobs.retain(|job| arguments.status.is_empty() || arguments.status.iter().any(|status| status.is(job.status)));
    sort(&mut jobs);
    let found = jobs.len();
    jobs.truncate(arguments.limit.map_or(found, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
    match arguments.json {
        true => terminal::print_json(&Told { jobs: jobs.iter().map(told::json).collect(), found }),
        false => terminal::print(&text(&jobs, found)),
    }
}

fn filter(since: Option<When>, until: Option<When>, now_ms: i64) -> Result<JobFilter, Failure> {
    let [since_ms, until_ms] = [since, until].map(|when| when.map(|when| when.at_ms(now_ms)));
    if let (Some(since_ms), Some(until_ms)) = (since_ms, until_ms)
        && since_ms >= until_ms
    {
        return Err(Failure::Usage("expected --since to be before --until".to_owned()));
    }
    let date = |at_ms| Timestamp::from_millisecond(at_ms).unwrap_or_default().to_string();
    Ok(JobFilter { created_start: since_ms.map(date), created_end: until_ms.map(date) })
}

/// Newest first. What has no date, or none that can be read, keeps its order at the end.
fn sort(jobs: &mut [UploadJob]) {
    jobs.sort_by_key(|job| std::cmp::Reverse(told::when(job)));
}

fn text(jobs: &[UploadJob], found: usize) -> String {
    if jobs.is_empty() {
        return "m3ter has no such jobs".to_owned();
    }
    let mut lines = told::table(jobs);
    let more = found.saturating_sub(jobs.len());
    if more > 0 {
        lines.push(format!("and {} more", counted(more as u64, "job")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_those_without_a_date_last() {
        let job = |id: &str, date: &str| UploadJob {
            id: id.into(),
            upload_date: Some(date.into()).filter(|date: &String| !date.is_empty()),
            ..UploadJob::default()
        };
        let mut jobs = [
            job("none", ""),
            job("old", "2026-01-01T00:00:00Z"),
            job("odd", "yesterday"),
            job("new", "2026-01-01T03:00:00+02:00"),
        ];
        sort(&mut jobs);
        assert_eq!(jobs.map(|job| job.id), ["new", "old", "none", "odd"]);
    }

    #[test]
    fn a_span_of_time_begins_before_it_ends() {
        let [at, later] = [When::At(1_000), When::At(2_000)];
        let both = filter(Some(at), Some(later), 0).unwrap();
        assert_eq!(both.created_start.as_deref(), Some("1970-01-01T00:00:01Z"));
        assert_eq!(both.created_end.as_deref(), Some("1970-01-01T00:00:02Z"));
        assert_eq!(filter(None, None, 0), Ok(JobFilter::default()));
        assert!(matches!(filter(Some(later), Some(at), 0), Err(Failure::Usage(_))));
        assert!(matches!(filter(Some(at), Some(at), 0), Err(Failure::Usage(_))));
    }
}
