//! Everything that can be set when a sandbox is opened.
//!
//! Three groups, because they mean different things to a reader: [`Options`] (who, where, when), [`Limits`] (m3ter's
//! published numbers, which a test may lower or lift) and [`Choices`] (what m3ter does not publish, and so the sandbox
//! decided). Only the choices change what becomes of a journalled measurement, so only they are kept in the journal.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;

/// How a sandbox starts. `Options::default()` is an empty, in-memory m3ter at the system's time with m3ter's limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// The one organisation there is; any other in a path is answered 403. Default `sandbox-org`.
    pub organisation: String,
    /// What `POST /oauth/token` accepts. Default `sandbox` / `sandbox-secret`.
    pub credentials: Credentials,
    /// How long a token is valid, in seconds of the sandbox's clock. Default 18,000 (m3ter's API reference).
    pub token_lifetime_s: u64,
    /// Answer to bad credentials: 401 by default; m3ter publishes none, so 400 and 403 are worth trying too.
    pub bad_credentials_status: u16,
    /// Meters and accounts to create at start; those whose code exists already (from the journal) are left alone.
    pub catalogue: Option<Catalogue>,
    /// A journal file to append to and to replay at start; `None` keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Where the sandbox's clock starts; `None` is the system's time when the sandbox is opened.
    pub start: Option<Timestamp>,
    /// m3ter's limits.
    pub limits: Limits,
    /// The sandbox's own choices.
    pub choices: Choices,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            organisation: "sandbox-org".to_owned(),
            credentials: Credentials::new("sandbox", "sandbox-secret"),
            token_lifetime_s: 18_000,
            bad_credentials_status: 401,
            catalogue: None,
            data: None,
            start: None,
            limits: Limits::default(),
            choices: Choices::default(),
        }
    }
}

/// An access key id and its secret. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    access_key_id: String,
    api_secret: String,
}

impl Credentials {
    /// A pair that `POST /oauth/token` will accept.
    pub fn new(access_key_id: impl Into<String>, api_secret: impl Into<String>) -> Self {
        Self { access_key_id: access_key_id.into(), api_secret: api_secret.into() }
    }

    /// Whether `user_and_password` is what HTTP Basic sends for this pair.
    pub(crate) fn matches(&self, user_and_password: &str) -> bool {
        user_and_password
            .split_once(':')
            .is_some_and(|(user, password)| user == self.access_key_id && password == self.api_secret)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// m3ter's published limits. `None` lifts one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Ingest requests a second for the organisation; beyond it 429 for the rest of that second. Default 50.
    pub ingest_per_second: Option<u32>,
    /// Ingest requests in any five minutes from one source IP. Default 5,000.
    pub ingest_per_ip_5_min: Option<u32>,
    /// Configuration, event and query requests a second for the organisation. Default 50.
    pub config_per_second: Option<u32>,
    /// Configuration, event and query requests in any five minutes from one source IP. Default 20,000.
    pub config_per_ip_5_min: Option<u32>,
    /// Usage queries a second, sustained. Default 1.
    pub query_per_second: Option<u32>,
    /// Usage queries that may come at once. Default 10.
    pub query_burst: u32,
    /// Rows of uploaded files that are processed a second of the sandbox's clock; `None`, as 0, is all at once. Default
    /// 2,000. A file keeps the speed that was set when it arrived.
    pub upload_per_second: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ingest_per_second: Some(50),
            ingest_per_ip_5_min: Some(5_000),
            config_per_second: Some(50),
            config_per_ip_5_min: Some(20_000),
            query_per_second: Some(1),
            query_burst: 10,
            upload_per_second: Some(2_000),
        }
    }
}

impl Limits {
    /// No limit on any rate: for tests of something else, and for measuring speed.
    pub fn none() -> Self {
        Self {
            ingest_per_second: None,
            ingest_per_ip_5_min: None,
            config_per_second: None,
            config_per_ip_5_min: None,
            query_per_second: None,
            query_burst: 10,
            upload_per_second: None,
        }
    }
}

/// What m3ter does not publish and the relay's safety depends on. Each is safe to flip in a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choices {
    /// Whether the uid of a measurement that was rejected stays used. Default [`RejectedUid::Keep`].
    pub rejected_uid: RejectedUid,
    /// What happens to a `ts` in the future. Default [`FutureTs::Reject`].
    pub future_ts: FutureTs,
    /// How far ahead of the sandbox's clock a `ts` may be before it counts as future, in seconds. Default 60.
    pub future_tolerance_s: u64,
    /// Whether each failed measurement is an event, or each request or upload job with failures. Default
    /// [`EventsPer::Measurement`].
    pub events_per: EventsPer,
    /// Milliseconds of the sandbox's clock between acceptance and the later checks, and between the arrival of a file
    /// and its first row. Default 0: at once.
    pub enrichment_delay_ms: u64,
    /// Take any meter code, as if a meter without fields had been created for it. Default false.
    pub any_meter: bool,
    /// Refuse (400) a metadata value of more than 256 characters, which m3ter states in prose only. Default false.
    pub refuse_long_metadata: bool,
    /// What a row that breaks the schema costs the other rows of its file. Default [`UploadRows::Each`].
    pub upload_rows: UploadRows,
    /// Which rows a job counts as failed. Default [`FailedRows::Invalid`].
    pub failed_rows: FailedRows,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            rejected_uid: RejectedUid::Keep,
            future_ts: FutureTs::Reject,
            future_tolerance_s: 60,
            events_per: EventsPer::Measurement,
            enrichment_delay_ms: 0,
            any_meter: false,
            refuse_long_metadata: false,
            upload_rows: UploadRows::Each,
            failed_rows: FailedRows::Invalid,
        }
    }
}

/// What becomes of the uid of a measurement that was rejected after acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectedUid {
    /// It stays used for 35 days: a corrected re-send ends as `DuplicateUid`.
    Keep,
    /// It is free again: a corrected re-send is ingested.
    Free,
}

/// What happens to a measurement whose `ts` lies in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FutureTs {
    /// Accepted, then rejected with the event type `TimestampInFuture` (a name of the sandbox's own).
    Reject,
    /// The whole request is refused with 400; a row of a file breaks the schema.
    Refuse,
    /// Ingested like any other.
    Ingest,
}

/// How failures become events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventsPer {
    /// One event for each failed measurement.
    Measurement,
    /// One event for each request that holds failed measurements, and for each upload job, at its end.
    Request,
}

/// What becomes of a file in which a row breaks the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UploadRows {
    /// Each row stands alone: that one fails, the others are processed.
    Each,
    /// The job fails, and no row is processed.
    AllOrNothing,
}

/// Which rows of a file are counted in `failedRows`. All of them are events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedRows {
    /// Those that break the schema: what an ingest request would be refused for.
    Invalid,
    /// Those and what the later checks reject, duplicates included.
    NotIngested,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_show_in_debug() {
        let shown =
            format!("{:?}", Options { credentials: Credentials::new("canary-id", "canary-secret"), ..Options::default() });
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_secret_may_hold_a_colon() {
        assert!(Credentials::new("id", "a:b").matches("id:a:b"));
        assert!(!Credentials::new("id", "a:b").matches("id:a"));
    }
}
