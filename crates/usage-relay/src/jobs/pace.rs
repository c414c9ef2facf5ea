//! How long m3ter will still take: from how fast it is, and from what is before us.
//!
//! m3ter processes one file after another, so what is before a job counts as much as the job itself. Until it has been seen at work, it
//! is taken to be as fast as it says.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use m3ter_client::{JobStatus, UploadJob};

use super::told::when;
use crate::figures::counted;

/// Rows that m3ter processes a second. Source: m3ter's documentation.
const ROWS_PER_SECOND: f64 = 2_000.0;
/// How long m3ter is watched before its own pace is believed: it tells of its progress in steps.
const WATCHED_LEAST: Duration = Duration::from_secs(5);

/// m3ter at work, as seen so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When it was first seen.
    began: Option<Duration>,
    /// Rows of each job that were processed then, and that are by now.
    seen: BTreeMap<String, (u64, u64)>,
}

impl Pace {
    /// The time until the jobs `awaited` are over, as of `at` since the start. `jobs` are all that m3ter tells of, those too. `None`
    /// while nobody knows how many rows there are.
    pub(super) fn left(&mut self, at: Duration, awaited: &[UploadJob], jobs: &[UploadJob]) -> Option<Duration> {
        let ours: BTreeMap<&str, &UploadJob> = awaited.iter().map(|job| (job.id.as_str(), job)).collect();
        let last = awaited.iter().filter(|job| job.status == JobStatus::Running).filter_map(when).max();
        let others = jobs.iter().filter(|job| !ours.contains_key(job.id.as_str()) && is_before(job, last));
        let mut rows = 0;
        for job in ours.values().copied().chain(others) {
            let first = self.seen.entry(job.id.clone()).or_insert((job.processed_rows, job.processed_rows));
            first.1 = first.1.max(job.processed_rows);
            if job.status == JobStatus::Running {
                rows += job.total_rows.saturating_sub(job.processed_rows);
            }
        }
        let is_counted = ours.values().all(|job| job.status != JobStatus::NotUploaded && job.total_rows > 0 || is_over(job));
        let watched = at.saturating_sub(*self.began.get_or_insert(at));
        let processed: u64 = self.seen.values().map(|(first, now)| now - first).sum();
        let own = processed as f64 / watched.as_secs_f64();
        let rate = if watched >= WATCHED_LEAST && processed > 0 { own } else { ROWS_PER_SECOND };
        is_counted.then(|| Duration::try_from_secs_f64(rows as f64 / rate).unwrap_or(Duration::MAX))
    }
}

/// Whether m3ter is done with a job.
pub(super) fn is_over(job: &UploadJob) -> bool {
    matches!(job.status, JobStatus::Failed | JobStatus::Succeeded)
}

/// Whether a job is processed before one whose file came at `last`; both must be known.
fn is_before(job: &UploadJob, last: Option<Timestamp>) -> bool {
    job.status != JobStatus::NotUploaded && when(job).zip(last).is_some_and(|(when, last)| when < last)
}

/// A time to wait, in the words of somebody who waits.
pub(super) fn about(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        ..10 => "a few seconds".to_owned(),
        10..90 => format!("about {}", counted(seconds.div_ceil(10) * 10, "second")),
        90..5_400 => format!("about {}", counted(seconds.div_ceil(60), "minute")),
        _ => format!("about {}", counted(seconds.div_ceil(3_600), "hour")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, minute: u8, total_rows: u64, processed_rows: u64) -> UploadJob {
        let status = if total_rows == processed_rows { JobStatus::Succeeded } else { JobStatus::Running };
        let upload_date = Some(format!("2026-01-01T00:{minute:02}:00Z"));
        UploadJob { id: id.into(), upload_date, status, total_rows, processed_rows, ..UploadJob::default() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn at_first_m3ter_is_as_fast_as_it_says_and_what_is_before_us_counts() {
        let ours = [job("a", 5, 4_000, 0)];
        assert_eq!(Pace::default().left(seconds(0), &ours, &[]), Some(seconds(2)));
        let before = [ours[0].clone(), job("b", 4, 10_000, 2_000), job("c", 3, 9_000, 9_000)];
        assert_eq!(Pace::default().left(seconds(0), &ours, &before), Some(seconds(6)));
        let after = [job("d", 6, 1_000_000, 0), UploadJob { status: JobStatus::NotUploaded, ..job("e", 1, 9, 0) }];
        assert_eq!(Pace::default().left(seconds(0), &ours, &after), Some(seconds(2)));
    }

    #[test]
    fn once_it_has_been_watched_its_own_pace_is_believed() {
        let mut pace = Pace::default();
        let ours = |processed| [job("a", 5, 4_000, processed)];
        let before = |processed| [job("b", 4, 1_000, processed)];
        assert_eq!(pace.left(seconds(10), &ours(0), &before(0)), Some(Duration::from_millis(2_500)));
        // 1,000 rows in 10 s, all of them of the job before us, which is over now.
        assert_eq!(pace.left(seconds(20), &ours(0), &before(1_000)), Some(seconds(40)));
        // What is no longer listed was done all the same: 2,000 rows in 20 s.
        assert_eq!(pace.left(seconds(30), &ours(1_000), &[]), Some(seconds(30)));
        assert_eq!(pace.left(seconds(40), &ours(4_000), &[]), Some(seconds(0)));
    }

    #[test]
    fn a_pace_that_was_watched_too_shortly_or_is_none_is_not_believed() {
        let mut pace = Pace::default();
        assert_eq!(pace.left(seconds(0), &[job("a", 5, 4_000, 0)], &[]), Some(seconds(2)));
        assert_eq!(pace.left(seconds(4), &[job("a", 5, 4_000, 2_000)], &[]), Some(seconds(1)));
        let mut still = Pace::default();
        assert_eq!(still.left(seconds(0), &[job("a", 5, 4_000, 0)], &[]), Some(seconds(2)));
        assert_eq!(still.left(seconds(60), &[job("a", 5, 4_000, 0)], &[]), Some(seconds(2)));
    }

    #[test]
    fn without_a_number_of_rows_nobody_knows() {
        let uncounted = UploadJob { status: JobStatus::Running, ..job("a", 5, 0, 0) };
        assert_eq!(Pace::default().left(seconds(0), &[uncounted], &[]), None);
        let absent = UploadJob { status: JobStatus::NotUploaded, ..job("a", 5, 9, 0) };
        assert_eq!(Pace::default().left(seconds(0), &[absent, job("b", 5, 9, 0)], &[]), None);
        let failed = UploadJob { status: JobStatus::Failed, ..job("a", 5, 0, 0) };
        assert_eq!(Pace::default().left(seconds(0), &[failed], &[]), Some(seconds(0)));
    }

    #[test]
    fn a_time_to_wait_is_rounded_up_to_what_somebody_who_waits_would_say() {
        for (s, expected) in [
            (0, "a few seconds"),
            (10, "about 10 seconds"),
            (11, "about 20 seconds"),
            (90, "about 2 minutes"),
            (5_399, "about 90 minutes"),
            (5_400, "about 2 hours"),
        ] {
            assert_eq!(about(seconds(s)), expected);
        }
    }
}
