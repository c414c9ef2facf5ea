//! What is asked of an upload, beside its file.

use relay_core::guard::{FirstSent, MissingUid};
use serde::{Deserialize, Serialize};

/// m3ter's largest file, less one byte: "split below" it. Source: OpenAPI, `GetUploadUrlRequest.contentLength.maximum`.
pub const PART_BYTES_MAX: u64 = 1_073_741_823;
/// A part that a line of 18 Mbit/s carries within the minute for which its URL lives, and that m3ter processes in some five minutes.
pub const PART_BYTES: u64 = 128 * 1024 * 1024;
/// A part holds at least one measurement, whatever its size.
pub const PART_BYTES_MIN: u64 = 1024 * 1024;

/// What an upload does with its file. A run that goes on with an upload keeps to what it was begun with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// What becomes of a measurement without uid.
    #[serde(with = "missing_uid")]
    pub missing_uid: MissingUid,
    /// When its measurements may first have been sent to m3ter.
    pub first_sent: Declared,
    /// Whether the first bad row ends it, before anything is sent.
    pub strict: bool,
    /// Most bytes of a part: [`PART_BYTES_MIN`] to [`PART_BYTES_MAX`].
    pub part_bytes_max: u64,
}

/// What is known of earlier sends of a file's measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Declared {
    /// Nothing: each may have been sent as early as its `ts` allows.
    Unknown,
    /// None was sent before this upload.
    Never,
    /// None was sent before this time: milliseconds since the epoch.
    NotBefore(i64),
}

impl Options {
    /// Whether `other` asks for the same, but for the very time of an earlier send: an age is another time each time it is read.
    pub fn is_like(&self, other: &Options) -> bool {
        let is_time = |options: &Options| matches!(options.first_sent, Declared::NotBefore(_));
        is_time(self) && is_time(other) && Options { first_sent: self.first_sent, ..*other } == *self
    }
}

impl Declared {
    /// The same of measurements that were sent at `sent_ms`, too.
    #[must_use]
    pub fn or_since(self, sent_ms: i64) -> Declared {
        match self {
            Declared::Unknown => Declared::Unknown,
            Declared::Never => Declared::NotBefore(sent_ms),
            Declared::NotBefore(at_ms) => Declared::NotBefore(at_ms.min(sent_ms)),
        }
    }

    /// The same, of measurements that this upload itself may have sent since `sent_since_ms`, judged at `now_ms`.
    pub(crate) fn first_sent(self, sent_since_ms: Option<i64>, now_ms: i64) -> FirstSent {
        match self {
            Declared::Unknown => FirstSent::Unknown,
            Declared::Never => FirstSent::NotBefore(sent_since_ms.unwrap_or(now_ms)),
            Declared::NotBefore(at_ms) => FirstSent::NotBefore(at_ms.min(sent_since_ms.unwrap_or(now_ms))),
        }
    }
}

/// As the setting spells it.
mod missing_uid {
    use relay_core::guard::MissingUid;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &MissingUid, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(match value {
            MissingUid::Refuse => "refuse",
            MissingUid::Content => "content",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<MissingUid, D::Error> {
        match String::deserialize(input)?.as_str() {
            "refuse" => Ok(MissingUid::Refuse),
            "content" => Ok(MissingUid::Content),
            _ => Err(D::Error::custom("expected refuse or content")),
        }
    }
}
