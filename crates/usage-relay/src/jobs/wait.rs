//! `usage-relay jobs wait`: follows jobs to their end.
//!
//! m3ter tells nobody when it is done, so it is asked: often where little is left, rarely where much is.

use std::time::Duration;

use m3ter_client::{Client, JobFilter, JobStatus, NotAnswered, UploadJob};

use super::pace::{Pace, about, is_over};
use super::{all, job_id, no_job, told};
use crate::clock::{self, Stopwatch};
use crate::failure::Failure;
use crate::figures::counted;
use crate::m3ter::{M3terArguments, question};
use crate::terminal::{self, Progress};

/// The shortest and the longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Where nobody knows how long it takes.
const PAUSE_UNKNOWN: Duration = Duration::from_secs(5);
/// How much of the time that is left passes before the next look.
const PAUSE_SHARE: u32 = 20;
/// Looks in a row that m3ter may leave without an answer, each of them half a minute: a network that is gone for five minutes ends
/// nothing.
const UNANSWERED_MAX: u32 = 10;
/// Jobs that may be before ours were begun at most so long ago.
const BEFORE_MS: i64 = 2 * 86_400_000;

const HELP: &str = "\
Examples:
  usage-relay jobs wait 0b6d2ab4-6f0c-4a39-9d0b-3a4a1e3c1c11
  usage-relay jobs wait 0b6d2ab4-6f0c-4a39-9d0b-3a4a1e3c1c11 --timeout 2h --json && echo done
  usage-relay jobs list --status running --json | jq -r '.jobs[].job' | xargs usage-relay jobs wait

m3ter processes 2,000 rows a second, one file after another. A job whose file never came has no end: --timeout ends the waiting.

Exit codes: 0 all succeeded, though single rows may have failed; 1 a job failed, or m3ter has no such job; 2 m3ter did not answer, or \
time was up; 64 the command line is wrong, or keys are missing.";

/// Wait until m3ter has processed files that were uploaded.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// m3ter's ids of the jobs
    #[arg(value_name = "JOB", required = true, value_parser = job_id)]
    jobs: Vec<String>,

    #[command(flatten)]
    m3ter: M3terArguments,

    /// Wait no longer than this: such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = time_to_wait)]
    timeout: Option<Duration>,

    /// Print a line of JSON for each job, once it is over
    #[arg(long)]
    json: bool,
}

/// Follows, and tells of each job when it is over.
///
/// # Errors
/// [`Failure::Data`] if a job failed or there is none, [`Failure::CouldNot`] if m3ter does not answer or time is up.
pub(crate) async fn run(mut arguments: Arguments) -> Result<(), Failure> {
    arguments.jobs.sort();
    arguments.jobs.dedup();
    let client = arguments.m3ter.client()?;
    let mut followed = Followed { client: &client, json: arguments.json, jobs: Vec::new(), pace: Pace::default() };
    let following = followed.follow(&arguments.jobs);
    let ended = match arguments.timeout {
        None => following.await,
        Some(limit) => match tokio::time::timeout(limit, following).await {
            Ok(ended) => ended,
            Err(_) => Err(Failure::CouldNot(format!("time is up: {}", followed.standing(&arguments.jobs)))),
        },
    };
    ended?;
    let failed = followed.jobs.iter().filter(|job| job.status == JobStatus::Failed).count();
    match failed {
        0 => Ok(()),
        failed => {
            Err(Failure::Data(format!("{} failed; usage-relay jobs show JOB says what to do", counted(failed as u64, "job"))))
        }
    }
}

/// Jobs that are followed.
struct Followed<'c> {
    client: &'c Client,
    json: bool,
    /// As they were when last seen.
    jobs: Vec<UploadJob>,
    pace: Pace,
}

impl Followed<'_> {
    /// Asks until all of `ids` are over.
    async fn follow(&mut self, ids: &[String]) -> Result<(), Failure> {
        let (began, mut unanswered, mut progress) = (Stopwatch::start(), 0, None);
        loop {
            match self.look(ids, progress.as_ref()).await {
                Ok(()) => unanswered = 0,
                // Once m3ter was there, it may be away for a while.
                Err((_, NotAnswered::Unknown | NotAnswered::Later))
                    if self.jobs.len() == ids.len() && unanswered < UNANSWERED_MAX =>
                {
                    unanswered += 1;
                }
                Err((failure, _)) => return Err(failure),
            }
            if self.jobs.iter().all(is_over) {
                return Ok(());
            }
            let left = self.left(began.elapsed()).await;
            self.show(left, progress.get_or_insert_with(|| Progress::start(Some(0), "rows processed")));
            clock::pause(left.map_or(PAUSE_UNKNOWN, |left| (left / PAUSE_SHARE).clamp(PAUSES.0, PAUSES.1))).await;
        }
    }

    /// Asks once for each job that was not over, and tells of those that are.
    async fn look(&mut self, ids: &[String], progress: Option<&Progress>) -> Result<(), (Failure, NotAnswered)> {
        for id in ids {
            let known = self.jobs.iter().position(|job| job.id == *id);
            if known.and_then(|place| self.jobs.get(place)).is_some_and(is_over) {
                continue;
            }
            let answered = question(self.client).job(id).await.map_err(|error| (no_job(id, &error), error))?;
            // By the id that was asked for, whatever m3ter calls it.
            let job = UploadJob { id: id.clone(), ..answered };
            if is_over(&job) {
                let told = progress.map_or_else(|| self.tell(&job), |progress| progress.aside(|| self.tell(&job)));
                told.map_err(|failure| (failure, NotAnswered::GiveUp))?;
            }
            match known.and_then(|place| self.jobs.get_mut(place)) {
                Some(known) => *known = job,
                None => self.jobs.push(job),
            }
        }
        Ok(())
    }

    fn tell(&self, job: &UploadJob) -> Result<(), Failure> {
        if self.json { terminal::print_json(&told::json(job)) } else { terminal::print(&told::line(job)) }
    }

    /// The time that is left. What m3ter does not tell of other jobs makes it shorter, and is no failure.
    async fn left(&mut self, at: Duration) -> Option<Duration> {
        let since_ms = clock::now().as_millisecond().saturating_sub(BEFORE_MS);
        let created_start = jiff::Timestamp::from_millisecond(since_ms).ok().map(|since| since.to_string());
        let filter = JobFilter { created_start, created_end: None };
        let others = all(|| question(self.client), &filter, |_| ()).await.unwrap_or_default();
        self.pace.left(at, &self.jobs, &others)
    }

    fn show(&self, left: Option<Duration>, progress: &Progress) {
        let sum = |rows: fn(&UploadJob) -> u64| self.jobs.iter().map(rows).sum();
        progress.of(sum(|job| job.processed_rows), sum(|job| job.total_rows));
        let absent = self.jobs.iter().filter(|job| job.status == JobStatus::NotUploaded).count();
        progress.say(match (absent, left) {
            (0, Some(left)) => format!("({} left)", about(left)),
            (0, None) => "(m3ter has not counted the rows yet)".to_owned(),
            (absent, _) => format!("({} without a file yet)", counted(absent as u64, "job")),
        });
    }

    /// How those that are not over stand.
    fn standing(&self, ids: &[String]) -> String {
        let open: Vec<&UploadJob> = self.jobs.iter().filter(|job| !is_over(job)).collect();
        match open.first() {
            Some(first) if open.len() == 1 => told::line(first),
            Some(first) => format!("{} are not over; {}", counted(open.len() as u64, "job"), told::line(first)),
            None => format!("m3ter has not told of {}", counted((ids.len() - self.jobs.len()) as u64, "job")),
        }
    }
}

/// Reads `90s`, `30m` or `2h`.
fn time_to_wait(text: &str) -> Result<Duration, String> {
    let read = |unit: char, unit_s: u64| text.strip_suffix(unit)?.parse::<u32>().ok().map(|number| u64::from(number) * unit_s);
    let seconds = read('s', 1).or_else(|| read('m', 60)).or_else(|| read('h', 3_600));
    let seconds = seconds.filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| "expected a time such as 90s, 30m or 2h".to_owned())
}

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;
