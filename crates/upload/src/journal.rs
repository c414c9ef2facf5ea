//! What is known of an upload: written down before each step that goes on it, so that a run that was ended anywhere can be
//! taken up by another one.

use std::collections::BTreeMap;

use relay_core::reason::Refusal;
use relay_store::{Store, Written};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::UploadError;
use crate::options::Options;

/// The version of [`State`].
const VERSION: u32 = 1;
/// Bad rows named for each reason; the quarantine has all of them.
const EXAMPLES_MAX: usize = 5;

/// The whole state of an upload. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The run that wrote it: no two runs write the same, nor under the same names.
    pub(crate) run: u64,
    /// What the file is called.
    pub name: String,
    /// When the upload began.
    pub begun_at: i64,
    /// What was asked.
    pub options: Options,
    /// Whether all of the file was read, and the parts hold what is to be sent.
    pub prepared: bool,
    /// What was seen of the file so far, if not all of it was read: its name beside the parts.
    pub(crate) seen: Option<String>,
    /// Whether m3ter may have got anything of it.
    pub(crate) sent: bool,
    /// Rows read so far, and what they were.
    pub rows: Rows,
    /// Rows that went into the quarantine, by reason.
    pub quarantined: BTreeMap<String, Quarantined>,
    /// Why nothing of the file is sent.
    pub fault: Option<Fault>,
    /// What is sent, in order.
    pub parts: Vec<Part>,
    /// When all parts had ended.
    pub ended_at: Option<i64>,
}

/// What the rows of a file were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// All of them.
    pub read: u64,
    /// Those to send.
    pub good: u64,
    /// Copies of an earlier one in the file.
    pub copies: u64,
    /// Good ones that were not held against all before them, because there were too many: m3ter drops copies among them.
    pub not_compared: u64,
}

/// Rows that went into the quarantine for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// How many.
    pub rows: u64,
    /// The first few.
    pub examples: Vec<Example>,
}

/// A row that went into the quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its line in the file, from 1.
    pub line: u64,
    /// What was expected.
    pub detail: String,
}

/// Why nothing of a file is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The line in the file, from 1.
    pub line: u64,
    /// The stable name of the reason.
    pub reason: String,
    /// What was expected.
    pub detail: String,
}

impl Fault {
    pub(crate) fn of(line: u64, refusal: &Refusal) -> Fault {
        Fault { line, reason: refusal.reason.name().to_owned(), detail: refusal.detail.to_string() }
    }
}

/// A body for m3ter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name beside the journal.
    pub name: String,
    /// Measurements in it.
    pub rows: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// The earliest `ts` of them, and
    pub(crate) ts_min: i64,
    /// the latest: m3ter rejects the future, so the part waits for it.
    pub(crate) ts_max: i64,
    /// Where it stands.
    pub state: PartState,
    /// When this upload may first have sent it.
    pub(crate) sent_since: Option<i64>,
    /// m3ter's jobs for it, in order.
    pub jobs: Vec<Try>,
    /// Of these, how many are known to have come to nothing: the first.
    pub(crate) judged: usize,
    /// How often m3ter did not process it, since somebody last looked.
    pub(crate) failures: u32,
    /// What m3ter counted.
    pub processed_rows: u64,
    /// What m3ter counted: rows that it rejected.
    pub failed_rows: u64,
}

/// Where a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// To be sent. It may have been sent without an answer.
    Ready,
    /// m3ter has it.
    Sent,
    /// m3ter has processed it.
    Done,
    /// m3ter did not process it, though it had it several times.
    Failed,
}

/// One job of m3ter's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// m3ter's id.
    pub job: String,
    /// When its URL came.
    pub at: i64,
}

impl State {
    pub(crate) fn new(name: String, begun_at: i64, options: Options) -> State {
        State {
            version: VERSION,
            run: 0,
            name,
            begun_at,
            options,
            prepared: false,
            seen: None,
            sent: false,
            rows: Rows::default(),
            quarantined: BTreeMap::new(),
            fault: None,
            parts: Vec::new(),
            ended_at: None,
        }
    }

    /// Whether there is nothing left to do.
    pub fn is_over(&self) -> bool {
        self.fault.is_some() || self.ended_at.is_some()
    }

    /// Whether m3ter may have got anything of it.
    pub fn is_sent(&self) -> bool {
        self.sent
    }

    /// Counts a row of the quarantine.
    pub(crate) fn quarantine(&mut self, line: u64, refusal: &Refusal) {
        let reason = self.quarantined.entry(refusal.reason.name().to_owned()).or_default();
        reason.rows += 1;
        if reason.examples.len() < EXAMPLES_MAX {
            reason.examples.push(Example { line, detail: refusal.detail.to_string() });
        }
    }
}

/// The journal of one upload.
#[derive(Debug)]
pub(crate) struct Journal<'s> {
    store: &'s Store,
    upload: Uuid,
    steps: u32,
    /// The state, as this run has it.
    pub(crate) state: State,
}

impl<'s> Journal<'s> {
    /// The journal of `upload`, if there is one, as `run` goes on with it.
    pub(crate) async fn open(store: &'s Store, upload: Uuid, run: u64) -> Result<Option<Journal<'s>>, UploadError> {
        let Some(step) = store.upload_step::<State>(upload).await? else { return Ok(None) };
        match step.state.version {
            VERSION => Ok(Some(Journal { store, upload, steps: step.number, state: State { run, ..step.state } })),
            version => Err(UploadError::Version { version }),
        }
    }

    /// A journal without steps, as `run` begins it.
    pub(crate) fn new(store: &'s Store, upload: Uuid, run: u64, state: State) -> Journal<'s> {
        Journal { store, upload, steps: 0, state: State { run, ..state } }
    }

    /// Writes the state down: what follows may count on it.
    pub(crate) async fn write(&mut self, until: Instant) -> Result<(), UploadError> {
        match self.store.write_upload_step(self.upload, self.steps + 1, &self.state, until).await? {
            Written::Ours => {
                self.steps += 1;
                Ok(())
            }
            Written::Taken => Err(UploadError::AnotherRun),
        }
    }
}
