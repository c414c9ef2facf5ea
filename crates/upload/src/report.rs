//! What is said of an upload: what became of the rows of its file, and what is to be done about the rest.
//!
//! The same upload always has the same report: one that is written twice is one that did not change.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::journal::{Fault, PartState, Quarantined, State};
use crate::run::Ended;

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// m3ter has processed all that is to be sent of it.
    Done,
    /// Nothing was sent, or m3ter did not process a part of it.
    Failed,
    /// There is more to do.
    Continues,
    /// It was not begun.
    Refused,
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub struct Report<'r> {
    /// The upload's id: of its entries in ledger and quarantine, too.
    pub upload: Uuid,
    /// The file.
    pub file: &'r str,
    /// How it ended.
    pub status: Status,
    /// Why, if not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What is to be done, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what_to_do: Option<String>,
    /// What became of its rows.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub told: Option<Told<'r>>,
}

/// What became of a file that was read.
#[derive(Clone, Debug, Serialize)]
pub struct Told<'r> {
    begun_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// In all.
    pub rows: u64,
    /// In parts that m3ter has processed.
    pub sent: u64,
    /// Of an earlier row in the file.
    pub copies: u64,
    /// Not held against all rows before it: m3ter drops copies among these.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_compared: u64,
    /// That are in the quarantine.
    pub quarantined: u64,
    /// Of these, how many for each reason, and the first few.
    pub quarantined_by_reason: &'r BTreeMap<String, Quarantined>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'r Fault>,
    /// What was sent, or was to be.
    pub parts: Vec<Part<'r>>,
}

/// A part.
#[derive(Clone, Debug, Serialize)]
pub struct Part<'r> {
    rows: u64,
    bytes: u64,
    /// Where it stands.
    pub state: PartState,
    /// m3ter's jobs for it, in order.
    pub jobs: Vec<&'r str>,
    processed_rows: u64,
    /// Rows that m3ter rejected.
    pub failed_rows: u64,
}

impl<'r> Report<'r> {
    /// That of a file which is not begun, because of what was `expected`.
    pub fn refused(upload: Uuid, file: &'r str, expected: String) -> Report<'r> {
        let what_to_do = Some("mend that, and upload the file again".to_owned());
        Report { upload, file, status: Status::Refused, because: Some(expected), what_to_do, told: None }
    }

    /// That of an upload which cannot be gone on with, because of what was `expected`.
    pub fn broken(upload: Uuid, file: &'r str, expected: String) -> Report<'r> {
        let what_to_do = format!("usage-relay upload --again {file}: m3ter counts each uid once");
        Report { upload, file, status: Status::Failed, because: Some(expected), what_to_do: Some(what_to_do), told: None }
    }

    /// That of an upload whose run has `ended` so.
    pub fn of(upload: Uuid, file: &'r str, ended: Ended, state: &'r State) -> Report<'r> {
        let told = Some(told(state));
        let status = match ended {
            Ended::Done => Status::Done,
            Ended::Failed => Status::Failed,
            Ended::Continues { .. } => Status::Continues,
        };
        let bad: u64 = state.quarantined.values().map(|reason| reason.rows).sum();
        let failed = state.parts.iter().filter(|part| part.state == PartState::Failed).count();
        let (because, what_to_do) = match (&state.fault, failed, bad) {
            (Some(Fault { line, detail, .. }), ..) => {
                let because = format!("nothing was sent: line {line}: {detail}");
                (Some(because), Some("mend that, and upload the file again".to_owned()))
            }
            (None, 1.., _) => {
                let because =
                    format!("m3ter did not process {failed} of {} parts, though it had them several times", state.parts.len());
                (Some(because), Some(format!("when m3ter works again: usage-relay upload --resume {upload}")))
            }
            (None, 0, 1..) => {
                let what_to_do =
                    format!("usage-relay quarantine list --message {upload} shows them, quarantine export lets you mend them");
                (None, Some(what_to_do))
            }
            (None, 0, 0) => (None, None),
        };
        Report { upload, file, status, because, what_to_do, told }
    }

    /// Its text.
    pub fn text(&self) -> Vec<u8> {
        // There is nothing in it that JSON cannot hold.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

fn told(state: &State) -> Told<'_> {
    let part = |part: &'_ crate::journal::Part| -> u64 { if part.state == PartState::Done { part.rows } else { 0 } };
    let parts = state.parts.iter().map(|part| Part {
        rows: part.rows,
        bytes: part.bytes,
        state: part.state,
        jobs: part.jobs.iter().map(|attempt| attempt.job.as_str()).collect(),
        processed_rows: part.processed_rows,
        failed_rows: part.failed_rows,
    });
    Told {
        begun_at: time(state.begun_at),
        ended_at: state.ended_at.map(time),
        rows: state.rows.read,
        sent: state.parts.iter().map(part).sum(),
        copies: state.rows.copies,
        not_compared: state.rows.not_compared,
        quarantined: state.quarantined.values().map(|reason| reason.rows).sum(),
        quarantined_by_reason: &state.quarantined,
        fault: state.fault.as_ref(),
        parts: parts.collect(),
    }
}

fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().to_string()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
