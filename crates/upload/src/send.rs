//! Hands one part over to m3ter: the window is held, the ledger says that it may have been sent, and then it is.
//!
//! What comes of it is known from m3ter's job alone. Where there was no answer the job is asked before the part is sent once more,
//! and should it be sent twice all the same, m3ter drops the second by its uids.

use std::time::Duration;

use futures_util::StreamExt;
use m3ter_client::{Broke, FileBody, JobStatus, NotAnswered, NotPut, UploadJob};
use relay_core::guard::earliest_ms;
use relay_core::limits::WINDOW_SAFE_MS;
use relay_store::LedgerAnswer;
use tokio::time::timeout_at;

use crate::error::UploadError;
use crate::journal::{Part, PartState, Try};
use crate::run::{Next, Run, STEP_LEAST, Stage};

/// A part is not begun to be sent with less time than it takes at this speed, in bytes a second.
const SLOW: u64 = 2 * 1024 * 1024;
/// How often in a row a run tries to hand a part over before it ends.
const HANDOVERS_MAX: u32 = 3;
/// The wait before the next of them.
const HANDOVER_PAUSE: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Sends the part at `place`, or comes a step nearer to it.
    pub(crate) async fn send(&mut self, place: usize) -> Result<Next, UploadError> {
        let Some(part) = self.part(place).cloned() else { return Ok(Next::Step) };
        let now_ms = self.now_ms();
        if part.ts_max > now_ms {
            return Ok(Next::Wait(Duration::from_millis(part.ts_max.abs_diff(now_ms))));
        }
        if let Some(job) = self.has_arrived(&part).await? {
            // The last one is followed.
            self.part_mut(place, |part| {
                part.jobs.retain(|one| one.job != job.job);
                part.jobs.push(job);
            });
            return self.is_sent(place).await;
        }
        if !self.is_inside_window(&part, now_ms) {
            return self.sift_again(place, now_ms).await;
        }
        if Duration::from_secs(part.bytes / SLOW) + STEP_LEAST > self.left() {
            return Ok(Next::End);
        }
        self.record(&part, LedgerAnswer::Unknown, now_ms).await?;
        self.state_mut().sent = true;
        self.part_mut(place, |part| part.sent_since = part.sent_since.or(Some(now_ms)));
        self.write().await?;
        match self.hand_over(place, &part).await {
            Ok(()) => {
                self.handovers = 0;
                let now_ms = self.now_ms();
                // It may have taken long; how soon it must be in its job is counted from its end.
                self.part_mut(place, |part| part.jobs.iter_mut().rev().take(1).for_each(|last| last.at = now_ms));
                self.is_sent(place).await
            }
            Err(UploadError::NotTaken { .. } | UploadError::Unsure) if self.handovers + 1 < HANDOVERS_MAX => {
                self.handovers += 1;
                Ok(Next::Wait(HANDOVER_PAUSE))
            }
            Err(error) => Err(error),
        }
    }

    /// One attempt, under a new URL.
    async fn hand_over(&mut self, place: usize, part: &Part) -> Result<(), UploadError> {
        let session = self.session();
        let to = session.upload_url(&format!("{}-{}", self.upload, part.name), part.bytes).await?;
        let attempt = Try { job: to.job_id.clone(), at: self.now_ms() };
        self.part_mut(place, |part| part.jobs.push(attempt));
        self.write().await?;
        let text = self.means.store.read_part(self.upload, &part.name).await?;
        if text.bytes != part.bytes {
            return Err(UploadError::PartChanged);
        }
        let body = FileBody { bytes: text.bytes, stream: text.stream.map(|piece| piece.map_err(|_| Broke)).boxed() };
        match timeout_at(self.means.until, session.put_file(&to, body)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(NotPut::Refused { status })) => Err(UploadError::NotTaken { status }),
            Ok(Err(NotPut::Unknown | NotPut::Broke)) | Err(_) => Err(UploadError::Unsure),
        }
    }

    /// The latest of the attempts of which nobody knows, if one brought the part there.
    async fn has_arrived(&self, part: &Part) -> Result<Option<Try>, UploadError> {
        for attempt in part.jobs.iter().skip(part.judged).rev() {
            let job = self.job(&attempt.job).await?;
            match job.map(|job| job.status) {
                Some(JobStatus::Running | JobStatus::Failed | JobStatus::Succeeded) => return Ok(Some(attempt.clone())),
                Some(JobStatus::NotUploaded | JobStatus::Unknown) | None => {}
            }
        }
        Ok(None)
    }

    /// The job of this id; `None` if m3ter has none.
    pub(crate) async fn job(&self, id: &str) -> Result<Option<UploadJob>, UploadError> {
        match self.session().job(id).await {
            Ok(job) => Ok(Some(job)),
            Err(NotAnswered::Refused { status: 404 }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_sent(&mut self, place: usize) -> Result<Next, UploadError> {
        self.part_mut(place, |part| part.state = PartState::Sent);
        self.write().await?;
        let parts = &self.state().parts;
        let bytes_sent = parts.iter().filter(|part| part.state != PartState::Ready).map(|part| part.bytes).sum();
        self.show(Stage::Sending { bytes_sent, bytes: parts.iter().map(|part| part.bytes).sum() });
        Ok(Next::Step)
    }

    /// Whether m3ter still knows the uids of everything in the part that may have been sent before.
    fn is_inside_window(&self, part: &Part, now_ms: i64) -> bool {
        let declared = self.state().options.first_sent.first_sent(part.sent_since, now_ms);
        let first_sent_ms = earliest_ms(part.ts_min, declared);
        now_ms.saturating_sub(first_sent_ms) < WINDOW_SAFE_MS
    }
}
