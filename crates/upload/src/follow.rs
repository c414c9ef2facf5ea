//! Follows m3ter's jobs to their ends.

use std::time::Duration;

use m3ter_client::{JobStatus, UploadJob};
use relay_store::LedgerAnswer;

use crate::error::UploadError;
use crate::journal::{Part, PartState};
use crate::run::{Next, ROWS_PER_SECOND, Run, Stage};

/// m3ter did not process a part this often: it will not do so by itself.
const FAILURES_MAX: u32 = 3;
/// A file that m3ter took is not in its job after so many milliseconds: it did not arrive.
const ARRIVAL_MS: i64 = 10 * 60 * 1_000;

impl Run<'_> {
    /// Looks at each job that has not ended.
    pub(crate) async fn follow(&mut self) -> Result<Next, UploadError> {
        let sent: Vec<usize> = self.places(PartState::Sent).collect();
        let mut next = None;
        for place in sent {
            let Some(part) = self.part(place).cloned() else { continue };
            let Some(attempt) = part.jobs.last() else { continue };
            let job = self.job(&attempt.job).await?;
            let is_late = self.now_ms().saturating_sub(attempt.at) > ARRIVAL_MS;
            match judge(job.as_ref(), &part, is_late) {
                Meaning::Ended => self.is_done(place, &part, job).await?,
                Meaning::Failed => self.has_failed(place).await?,
                Meaning::Running => {
                    self.counted(place, job);
                    continue;
                }
            }
            next = Some(Next::Step);
        }
        let parts = &self.state().parts;
        let (rows_processed, rows) =
            parts.iter().fold((0, 0), |(processed, rows), part| (processed + part.processed_rows, rows + part.rows));
        self.show(Stage::Processing { rows_processed, rows });
        let left = Duration::from_secs(rows.saturating_sub(rows_processed) / ROWS_PER_SECOND);
        Ok(next.unwrap_or(Next::Wait(left)))
    }

    async fn is_done(&mut self, place: usize, part: &Part, job: Option<UploadJob>) -> Result<(), UploadError> {
        let sent_at_ms = part.jobs.last().map_or_else(|| self.now_ms(), |last| last.at);
        self.record(part, LedgerAnswer::Accepted, sent_at_ms).await?;
        self.counted(place, job);
        self.part_mut(place, |part| part.state = PartState::Done);
        self.write().await?;
        // m3ter has it, and the ledger. Should it stay, it is in nobody's way.
        let _ = self.means.store.delete_part(self.upload, &part.name, self.store_until()).await;
        Ok(())
    }

    async fn has_failed(&mut self, place: usize) -> Result<(), UploadError> {
        self.part_mut(place, |part| {
            part.failures += 1;
            part.judged = part.jobs.len();
            part.state = if part.failures < FAILURES_MAX { PartState::Ready } else { PartState::Failed };
        });
        self.write().await
    }

    fn counted(&mut self, place: usize, job: Option<UploadJob>) {
        let Some(job) = job else { return };
        self.part_mut(place, |part| (part.processed_rows, part.failed_rows) = (job.processed_rows, job.failed_rows));
    }
}

/// What m3ter says of a part.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Running,
    Ended,
    Failed,
}

fn judge(job: Option<&UploadJob>, part: &Part, is_late: bool) -> Meaning {
    let Some(job) = job else { return if is_late { Meaning::Failed } else { Meaning::Running } };
    // Where it does not say how many there are, it has processed as many.
    let rows = if job.total_rows == 0 { job.processed_rows } else { job.total_rows };
    match job.status {
        JobStatus::Succeeded if rows == part.rows => Meaning::Ended,
        JobStatus::Succeeded | JobStatus::Failed => Meaning::Failed,
        JobStatus::NotUploaded if is_late => Meaning::Failed,
        JobStatus::NotUploaded | JobStatus::Running | JobStatus::Unknown => Meaning::Running,
    }
}
