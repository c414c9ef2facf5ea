//! Upload jobs: what each is, and when its rows are due.
//!
//! Jobs are processed one after another, in the order in which their files arrived, at so many rows a second of the
//! sandbox's clock. The rule: which rows are processed is a function of the journal and the clock, so a sandbox that
//! is opened again goes on in the middle of a file.
//!
//! Nothing is counted here: [`process`](crate::process) does that, with the checks that API ingests meet.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::answer::Refusal;
use crate::clock::after;
use crate::events::{Fault, id_of, number_of};
use crate::rules::at_most;
use crate::spool::{Reader, Spool};

/// Most characters of a file's name (OpenAPI, `GetUploadUrlRequest.fileName.maxLength`).
const FILE_NAME_CHARACTERS_MAX: usize = 100;
/// Most bytes of a file (OpenAPI, `GetUploadUrlRequest.contentLength.maximum`).
const FILE_BYTES_MAX: u64 = 1_073_741_824;
/// What a file may be (OpenAPI, `GetUploadUrlRequest.contentType.enum`).
const CONTENT_TYPES: [&str; 2] = ["application/json", "text/json"];
/// What the ids of jobs begin with.
const ID_KIND: &[u8; 10] = b"m3ter-file";

const _: () = assert!(FILE_BYTES_MAX < u32::MAX as u64, "a place in a file fits a span");

/// `GetUploadUrlRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UploadRequest {
    pub(crate) file_name: String,
    pub(crate) content_type: String,
    pub(crate) content_length: u64,
}

impl UploadRequest {
    /// Refuses what m3ter's schema does not allow.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.file_name.is_empty() || !at_most(&self.file_name, FILE_NAME_CHARACTERS_MAX) {
            return Err(Refusal::bad(format!("fileName: expected 1 to {FILE_NAME_CHARACTERS_MAX} characters")));
        }
        if !CONTENT_TYPES.contains(&self.content_type.as_str()) {
            return Err(Refusal::bad(format!("contentType: expected {}", CONTENT_TYPES.join(" or "))));
        }
        if !(1..=FILE_BYTES_MAX).contains(&self.content_length) {
            return Err(Refusal::bad(format!("contentLength: expected 1 to {FILE_BYTES_MAX}")));
        }
        Ok(())
    }
}

/// A job as m3ter shows it (`UploadJobResponse`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadJob {
    /// A UUID.
    pub id: String,
    /// 1 when the URL was given, 2 when the file arrived, 3 when the job ended.
    pub version: i64,
    /// As the caller named it.
    pub file_name: String,
    /// When the file arrived; none before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_date: Option<Timestamp>,
    /// Bytes, as declared.
    pub content_length: u64,
    /// How far it is.
    pub status: JobStatus,
    /// Rows in the file, once it arrived; 0 if it is no JSON array.
    pub total_rows: u64,
    /// Rows that were processed, failed ones included.
    pub processed_rows: u64,
    /// Rows that failed, by [`FailedRows`](crate::FailedRows).
    pub failed_rows: u64,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobStatus {
    /// Its URL was given; no file arrived.
    NotUploaded,
    /// Its file arrived, and is being processed or waits for its turn.
    Running,
    /// Over: the file as a whole could not be processed.
    Failed,
    /// Over: every row was processed, which does not say that every row was ingested.
    Succeeded,
}

/// A job in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadLine {
    /// As m3ter shows it.
    #[serde(flatten)]
    pub job: UploadJob,
    /// Why it failed, which m3ter's API has no place for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) created: Timestamp,
    pub(crate) request: UploadRequest,
    pub(crate) arrived: Option<Arrived>,
}

/// The file of a job.
#[derive(Debug)]
pub(crate) struct Arrived {
    at: Timestamp,
    /// Rows processed a second; `None` is all at once.
    per_second: Option<u32>,
    /// Rows in it.
    rows: u64,
    /// Why the file as a whole cannot be processed.
    pub(crate) fault: Option<String>,
    /// After how many rows it fails, if the script has it so.
    fails_after: Option<u64>,
    pub(crate) spool: Spool,
    pub(crate) bytes: u64,
    pub(crate) processed: u64,
    pub(crate) failed: u64,
    ended: bool,
}

/// What the journal keeps of a file, beside the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// When it arrived.
    pub(crate) at: Timestamp,
    /// Rows of it processed a second.
    pub(crate) per_second: Option<u32>,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Why it is no JSON array.
    pub(crate) fault: Option<String>,
    /// After how many rows its job fails, if the script has it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fails_after: Option<u64>,
}

/// All jobs.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    pub(crate) jobs: Vec<Job>,
    /// Jobs whose file arrived and that have not ended, in order of arrival.
    waiting: VecDeque<usize>,
    /// The job at the front of those, once its turn came.
    turn: Option<Turn>,
    /// When the last job ended.
    free_at: Option<Timestamp>,
}

/// A job that is being processed.
#[derive(Debug)]
struct Turn {
    begun: Timestamp,
    reader: Reader,
    /// Failures for one event at the end.
    faults: Vec<Fault>,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Next {
    /// The turn of this job comes.
    Begin(usize),
    /// A row of this job.
    Row(usize),
    /// The last row of this job is done.
    End(usize),
}

impl Uploads {
    /// Enters a job whose URL was asked for.
    pub(crate) fn create(&mut self, created: Timestamp, request: UploadRequest) -> usize {
        self.jobs.push(Job { created, request, arrived: None });
        self.jobs.len() - 1
    }

    /// Enters the file of a job.
    pub(crate) fn arrive(&mut self, place: usize, found: Found, spool: Spool) {
        let Some(job) = self.jobs.get_mut(place) else { return };
        let Found { at, per_second, bytes, rows, fault, fails_after } = found;
        let (processed, failed, ended) = (0, 0, false);
        job.arrived = Some(Arrived { at, per_second, rows, fault, fails_after, spool, bytes, processed, failed, ended });
        self.waiting.push_back(place);
    }

    /// The place of the job with this id; 404 otherwise.
    pub(crate) fn find(&self, id: &str) -> Result<(usize, &Job), Refusal> {
        let place = number_of(ID_KIND, id).and_then(|number| usize::try_from(number).ok());
        place.and_then(|place| Some((place, self.jobs.get(place)?))).ok_or_else(|| Refusal::missing("job"))
    }

    /// The file of the job at `place`.
    pub(crate) fn arrived(&self, place: usize) -> Option<&Arrived> {
        self.jobs.get(place)?.arrived.as_ref()
    }

    fn arrived_mut(&mut self, place: usize) -> Option<&mut Arrived> {
        self.jobs.get_mut(place)?.arrived.as_mut()
    }

    /// What is due next, and when; `delay` is that of the later checks.
    pub(crate) fn next(&self, delay: Duration) -> Option<(Timestamp, Next)> {
        let place = *self.waiting.front()?;
        let file = self.arrived(place)?;
        let Some(turn) = &self.turn else {
            let ready = after(file.at, delay);
            return Some((self.free_at.map_or(ready, |free_at| free_at.max(ready)), Next::Begin(place)));
        };
        if file.fault.is_some() || file.processed == file.rows || file.fails_after == Some(file.processed) {
            return Some((file.due(turn.begun, file.processed), Next::End(place)));
        }
        Some((file.due(turn.begun, file.processed + 1), Next::Row(place)))
    }

    /// Begins the next job.
    pub(crate) fn begin(&mut self, begun: Timestamp) {
        self.turn = Some(Turn { begun, reader: Reader::default(), faults: Vec::new() });
    }

    /// The next row of the job whose turn it is.
    pub(crate) fn row(&mut self, place: usize) -> Result<Option<(u64, Box<str>)>, String> {
        let file = self.jobs.get(place).and_then(|job| job.arrived.as_ref());
        match (&mut self.turn, file) {
            (Some(turn), Some(file)) => turn.reader.next(&file.spool),
            (None, _) | (_, None) => Ok(None),
        }
    }

    /// Counts a row, as a failed one if it is.
    pub(crate) fn count(&mut self, place: usize, failed: bool) {
        if let Some(file) = self.arrived_mut(place) {
            file.processed += 1;
            file.failed += u64::from(failed);
        }
    }

    /// Keeps a failure for the event at the end of the job.
    pub(crate) fn keep(&mut self, fault: Fault) {
        if let Some(turn) = &mut self.turn {
            turn.faults.push(fault);
        }
    }

    /// Makes the job fail as a whole, with `failed` more bad rows found.
    pub(crate) fn fail(&mut self, place: usize, fault: String, failed: u64) {
        if let Some(file) = self.arrived_mut(place) {
            file.fault = Some(fault);
            file.failed += failed;
        }
    }

    /// Ends the job whose turn it is, and gives the failures that were kept.
    pub(crate) fn end(&mut self, place: usize, at: Timestamp) -> Vec<Fault> {
        self.waiting.pop_front();
        self.free_at = Some(at);
        if let Some(file) = self.arrived_mut(place) {
            file.ended = true;
            let scripted = file.fails_after.map(|rows| format!("scripted fault: the job fails after {rows} rows"));
            file.fault = file.fault.take().or(scripted);
        }
        self.turn.take().map(|turn| turn.faults).unwrap_or_default()
    }

    /// The job at `place` as m3ter shows it.
    pub(crate) fn view(&self, place: usize, job: &Job) -> UploadJob {
        let file = job.arrived.as_ref();
        UploadJob {
            id: job_id(place).to_string(),
            version: match file {
                None => 1,
                Some(file) if !file.ended => 2,
                Some(_) => 3,
            },
            file_name: job.request.file_name.clone(),
            upload_date: file.map(|file| file.at),
            content_length: job.request.content_length,
            status: file.map_or(JobStatus::NotUploaded, Arrived::status),
            total_rows: file.map_or(0, |file| file.rows),
            processed_rows: file.map_or(0, |file| file.processed),
            failed_rows: file.map_or(0, |file| file.failed),
        }
    }

    /// All jobs, in order of creation.
    pub(crate) fn lines(&self) -> Vec<UploadLine> {
        let line = |(place, job)| {
            let job: &Job = job;
            // A fault is told once m3ter would know it.
            let fault = job.arrived.as_ref().filter(|file| file.ended).and_then(|file| file.fault.clone());
            UploadLine { job: self.view(place, job), fault }
        };
        self.jobs.iter().enumerate().map(line).collect()
    }
}

impl Arrived {
    /// When so many rows are processed of a job that began at `begun`.
    fn due(&self, begun: Timestamp, rows: u64) -> Timestamp {
        let Some(per_second) = self.per_second.map(u64::from).filter(|per_second| *per_second > 0) else { return begun };
        let nanoseconds = rows % per_second * 1_000_000_000 / per_second;
        after(begun, Duration::from_secs(rows / per_second).saturating_add(Duration::from_nanos(nanoseconds)))
    }

    fn status(&self) -> JobStatus {
        match (self.ended, &self.fault) {
            (false, _) => JobStatus::Running,
            (true, Some(_)) => JobStatus::Failed,
            (true, None) => JobStatus::Succeeded,
        }
    }
}

/// The id of the job at `place`.
pub(crate) fn job_id(place: usize) -> Uuid {
    id_of(ID_KIND, place as u64)
}
