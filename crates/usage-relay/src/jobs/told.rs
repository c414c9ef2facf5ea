//! A job as it is told: in words, and as JSON.
//!
//! Names of files come from whoever uploaded them: what would steer a terminal is not printed.

use jiff::Timestamp;
use m3ter_client::{JobStatus, UploadJob};
use serde::Serialize;

use crate::figures::{counted, grouped};

/// A job, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Job<'j> {
    job: &'j str,
    file: &'j str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaded_at: Option<&'j str>,
    bytes: u64,
    status: &'static str,
    total_rows: u64,
    processed_rows: u64,
    failed_rows: u64,
    version: u64,
}

/// `job`, as JSON.
pub(super) fn json(job: &UploadJob) -> Job<'_> {
    Job {
        job: &job.id,
        file: &job.file_name,
        uploaded_at: job.upload_date.as_deref(),
        bytes: job.content_length,
        status: job.status.word(),
        total_rows: job.total_rows,
        processed_rows: job.processed_rows,
        failed_rows: job.failed_rows,
        version: job.version,
    }
}

/// `job` in one line.
pub(super) fn line(job: &UploadJob) -> String {
    format!("job {} ({}) {}", plain(&job.id), plain(&job.file_name), state(job))
}

/// How far it is, as the end of a sentence.
fn state(job: &UploadJob) -> String {
    let failed = match job.failed_rows {
        0 => String::new(),
        failed => format!(", of which {} failed", grouped(failed)),
    };
    let of = format!("{} of {}", grouped(job.processed_rows), counted(job.total_rows, "row"));
    match job.status {
        JobStatus::NotUploaded => "waits for its file".to_owned(),
        JobStatus::Running if job.total_rows == 0 => "waits for its turn".to_owned(),
        JobStatus::Running => format!("is running: {of} processed{failed}"),
        JobStatus::Succeeded => format!("succeeded: {of} processed{failed}"),
        JobStatus::Failed => format!("failed: {of} processed{failed}"),
        JobStatus::Unknown => format!("is in a state that m3ter does not publish: {of} processed{failed}"),
    }
}

/// `job` in full.
pub(super) fn text(job: &UploadJob) -> String {
    let mut lines = vec![
        line(job),
        format!("  file      {}, {}", plain(&job.file_name), counted(job.content_length, "byte")),
        format!("  uploaded  {}", uploaded(job)),
    ];
    lines.extend(next(job).map(|next| format!("  {next}")));
    lines.join("\n")
}

/// What to do now.
fn next(job: &UploadJob) -> Option<String> {
    let id = plain(&job.id);
    match job.status {
        JobStatus::NotUploaded => {
            Some("m3ter takes a file for one minute after it gave out the URL; an upload under way goes on".to_owned())
        }
        JobStatus::Running => Some(format!("next: usage-relay jobs wait {id}")),
        JobStatus::Failed => {
            Some(format!("m3ter does not say why. next: usage-relay jobs original {id} --output FILE; usage-relay check FILE"))
        }
        JobStatus::Succeeded if job.failed_rows > 0 => Some(
            "which rows failed, and why, comes as m3ter's events: usage-relay watch brings them into the quarantine".to_owned(),
        ),
        JobStatus::Succeeded | JobStatus::Unknown => None,
    }
}

/// Jobs as a table, under a head.
pub(super) fn table(jobs: &[UploadJob]) -> Vec<String> {
    let rows: Vec<[String; 7]> = jobs.iter().map(row).collect();
    let head = ["uploaded", "status", "rows", "processed", "failed", "job", "file"].map(str::to_owned);
    let all = || std::iter::once(&head).chain(&rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let put = |row: &[String; 7]| {
        let [uploaded, status, rows, processed, failed, job, file] = row;
        let [w0, w1, w2, w3, w4, w5, _] = widths;
        format!("{uploaded:<w0$}  {status:<w1$}  {rows:>w2$}  {processed:>w3$}  {failed:>w4$}  {job:<w5$}  {file}")
    };
    all().map(put).collect()
}

fn row(job: &UploadJob) -> [String; 7] {
    [
        uploaded(job),
        job.status.word().to_owned(),
        grouped(job.total_rows),
        grouped(job.processed_rows),
        grouped(job.failed_rows),
        plain(&job.id),
        plain(&job.file_name),
    ]
}

/// When its file came: to the second where that can be read, else as m3ter writes it.
fn uploaded(job: &UploadJob) -> String {
    match (when(job), &job.upload_date) {
        (Some(at), _) => format!("{at:.0}"),
        (None, Some(date)) => plain(date),
        (None, None) => "not yet".to_owned(),
    }
}

/// When its file came, if m3ter says so in a way that can be read.
pub(super) fn when(job: &UploadJob) -> Option<Timestamp> {
    job.upload_date.as_ref()?.parse().ok()
}

/// `text` without what would steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: JobStatus, rows: [u64; 3]) -> UploadJob {
        let [total_rows, processed_rows, failed_rows] = rows;
        let (id, file_name) = ("j".to_owned(), "f\u{1b}[2J".to_owned());
        let upload_date = Some("2026-01-02T03:04:05.678Z".to_owned());
        UploadJob { id, file_name, upload_date, status, total_rows, processed_rows, failed_rows, ..UploadJob::default() }
    }

    #[test]
    fn a_job_is_told_in_one_line_that_steers_no_terminal() {
        for (status, rows, expected) in [
            (JobStatus::NotUploaded, [0, 0, 0], "waits for its file"),
            (JobStatus::Running, [0, 0, 0], "waits for its turn"),
            (JobStatus::Running, [2_000, 1_000, 0], "is running: 1,000 of 2,000 rows processed"),
            (JobStatus::Succeeded, [1, 1, 0], "succeeded: 1 of 1 row processed"),
            (JobStatus::Succeeded, [9, 9, 2], "succeeded: 9 of 9 rows processed, of which 2 failed"),
            (JobStatus::Failed, [0, 0, 0], "failed: 0 of 0 rows processed"),
            (JobStatus::Unknown, [0, 0, 0], "is in a state that m3ter does not publish: 0 of 0 rows processed"),
        ] {
            assert_eq!(line(&job(status, rows)), format!("job j (f\u{fffd}[2J) {expected}"));
        }
    }

    #[test]
    fn what_to_do_next_follows_from_the_state() {
        let next = |status, rows| text(&job(status, rows)).lines().nth(3).unwrap_or_default().trim().to_owned();
        assert_eq!(next(JobStatus::Running, [1, 0, 0]), "next: usage-relay jobs wait j");
        assert!(next(JobStatus::Failed, [0, 0, 0]).contains("usage-relay jobs original j --output FILE"));
        assert!(next(JobStatus::Succeeded, [2, 2, 1]).contains("usage-relay watch"));
        assert_eq!(next(JobStatus::Succeeded, [2, 2, 0]), "");
    }

    #[test]
    fn a_table_has_its_numbers_below_one_another() {
        let undated = UploadJob { upload_date: None, ..job(JobStatus::NotUploaded, [0, 0, 0]) };
        let odd = UploadJob { upload_date: Some("today".into()), ..job(JobStatus::Running, [5, 1, 0]) };
        let lines = table(&[job(JobStatus::Succeeded, [12_345, 12_345, 7]), undated, odd]);
        let expected = [
            "uploaded              status         rows  processed  failed  job  file",
            "2026-01-02T03:04:05Z  succeeded    12,345     12,345       7  j    f\u{fffd}[2J",
            "not yet               notUploaded       0          0       0  j    f\u{fffd}[2J",
            "today                 running           5          1       0  j    f\u{fffd}[2J",
        ];
        assert_eq!(lines, expected);
    }
}
