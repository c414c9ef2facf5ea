//! The ledger: what was sent to m3ter and how it answered, one object for each invocation.
//!
//! A measurement that m3ter accepted has at least one accepted line; the first is the earliest. One that was sent and never
//! answered has a line that says `unknown`, and a later line or a quarantine entry settles it. Lines are for people, for
//! `explain`, and for SQL; the relay itself never reads them: m3ter's window is its memory.
//!
//! A line begins with its uid, and text in it is escaped as little as JSON allows, so that a reader finds a uid by its bytes
//! and parses only the lines that hold it. What an object spans stands in its name: a listing tells which ones matter.

use bytes::Bytes;
use relay_core::canonical;
use relay_core::inbound::Origin;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::lines::Lines;
use crate::store::{Store, StoreError, hour_folder};

/// The folder of the ledger, with the version of its layout.
pub(crate) const FOLDER: &str = "ledger/v1";

/// What a line says of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerMode {
    /// Everything, with the measurement as it was sent.
    Full,
    /// Identity and answer: no meter, account, time or content.
    Uids,
    /// There is no ledger.
    Off,
}

/// What a ledger that cannot be written means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerWrite {
    /// The messages whose measurements it should hold are not done.
    Required,
    /// They are done all the same; the lines are lost.
    BestEffort,
}

/// How m3ter answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerAnswer {
    /// It took the measurement.
    Accepted,
    /// Nobody knows: there was no answer, or none that tells.
    Unknown,
}

/// A line to write. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct NewLine<'a> {
    /// The measurement's uid.
    pub uid: &'a str,
    /// Its meter.
    pub meter: &'a str,
    /// Its account.
    pub account: &'a str,
    /// Its time, as written.
    pub ts: &'a str,
    /// The same.
    pub ts_ms: i64,
    /// The number of the request within the invocation, from 1: the last that held it.
    pub batch: u32,
    /// The queue's id of the message.
    pub message_id: &'a str,
    /// When the message was queued.
    pub queued_at_ms: Option<i64>,
    /// When the first request of this invocation that held it was sent.
    pub sent_at_ms: i64,
    /// How many requests of this invocation held it.
    pub attempts: u32,
    /// How often the message had been delivered.
    pub receives: u32,
    /// m3ter's answer.
    pub answer: LedgerAnswer,
    /// Where it came from, if not from a producer.
    pub origin: Option<Origin<'a>>,
    /// The measurement as it was sent.
    pub text: &'a str,
}

/// A line as it was read. Fields of a later version are passed over.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    /// The measurement's uid.
    pub uid: String,
    /// Its meter; absent in mode `uids`, as are `account`, `ts` and `measurement`.
    pub meter: Option<String>,
    /// Its account.
    pub account: Option<String>,
    /// Its time, as written.
    pub ts: Option<String>,
    /// The request: the invocation's id and the number of the request within it.
    pub batch: String,
    /// The queue's id of the message.
    pub message_id: String,
    /// When the message was queued: milliseconds since the epoch.
    pub queued_at: Option<i64>,
    /// When the first request of the invocation that held it was sent: milliseconds since the epoch.
    pub sent_at: i64,
    /// How many requests of the invocation held it.
    pub attempts: u32,
    /// How often the message had been delivered.
    pub receives: u32,
    /// m3ter's answer.
    pub answer: LedgerAnswer,
    /// The UUIDv5 of its canonical form, which leaves the uid out: equal for equal content.
    pub content_hash: Uuid,
    /// Where it came from, if not from a producer.
    pub origin: Option<LineOrigin>,
    /// The measurement as it was sent, line breaks between its parts aside.
    pub measurement: Option<Box<RawValue>>,
}

/// Where a measurement came from, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LineOrigin {
    /// `replay`, `upload`, `correction` or `agent`.
    pub kind: String,
    /// The id of the quarantine entry, or the uid, that it stands for.
    pub of: String,
}

impl LineOrigin {
    /// The quarantine entry that it names, if it names one. Other origins name a uid, or an upload.
    pub fn entry(&self) -> Option<Uuid> {
        ["replay", "correction"].contains(&self.kind.as_str()).then(|| self.of.parse().ok())?
    }

    /// Whether it came in a file: from a producer as well, by the other way.
    pub fn is_upload(&self) -> bool {
        self.kind == "upload"
    }
}

/// What the name of a ledger object tells. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerObject {
    /// When it was written.
    pub written_at_ms: i64,
    /// The earliest `ts` of its measurements.
    pub ts_min_ms: i64,
    /// The latest.
    pub ts_max_ms: i64,
    /// How many lines it holds.
    pub lines: u64,
}

impl LedgerObject {
    /// Reads the last part of an object's name; `None` if it is none of a ledger object.
    pub fn parse(file_name: &str) -> Option<LedgerObject> {
        let mut parts = file_name.strip_suffix(".ndjson.zst")?.splitn(5, '_');
        let mut next = || parts.next()?.parse().ok();
        let (written_at_ms, ts_min_ms, ts_max_ms, lines) = (next()?, next()?, next()?, next()?);
        let lines = u64::try_from(lines).ok()?;
        parts.next().map(|_invocation| LedgerObject { written_at_ms, ts_min_ms, ts_max_ms, lines })
    }

    fn name(&self, invocation: &str) -> String {
        let LedgerObject { written_at_ms, ts_min_ms, ts_max_ms, lines } = self;
        let hour = hour_folder(*written_at_ms);
        format!("{FOLDER}/{hour}/{written_at_ms}_{ts_min_ms}_{ts_max_ms}_{lines}_{invocation}.ndjson.zst")
    }
}

impl Store {
    /// Writes `lines` as one object, before `until` or not at all; without any, or in mode off, nothing. `invocation` names
    /// it, once. Gives back how many lines were written. A failure makes the store suspect where the ledger is required.
    pub async fn record<'a>(
        &self,
        (mode, write): (LedgerMode, LedgerWrite),
        invocation: &str,
        now_ms: i64,
        lines: impl IntoIterator<Item = NewLine<'a>>,
        until: Instant,
    ) -> Result<u64, StoreError> {
        if mode == LedgerMode::Off {
            return Ok(0);
        }
        let unpackable = |_| StoreError::Unreadable { name: FOLDER.into(), expected: "lines that zstd can compress" };
        let Some((object, packed)) = pack(mode, invocation, now_ms, lines).map_err(unpackable)? else { return Ok(0) };
        let name = object.name(invocation);
        match write {
            LedgerWrite::Required => self.put(&name, packed, until).await?,
            LedgerWrite::BestEffort => self.try_put(&name, packed, until).await?,
        }
        Ok(object.lines)
    }
}

fn pack<'a>(
    mode: LedgerMode,
    invocation: &str,
    written_at_ms: i64,
    lines: impl IntoIterator<Item = NewLine<'a>>,
) -> std::io::Result<Option<(LedgerObject, Bytes)>> {
    let mut packed = Lines::new()?;
    let mut object = LedgerObject { written_at_ms, ts_min_ms: i64::MAX, ts_max_ms: i64::MIN, lines: 0 };
    let (mut text, mut form) = (String::new(), String::new());
    let mut arena = bumpalo::Bump::new();
    for line in lines {
        text.clear();
        line.write(mode, invocation, (&arena, &mut form), &mut text);
        arena.reset();
        packed.push_text(&text)?;
        object.ts_min_ms = object.ts_min_ms.min(line.ts_ms);
        object.ts_max_ms = object.ts_max_ms.max(line.ts_ms);
    }
    object.lines = packed.count();
    if object.lines == 0 { Ok(None) } else { packed.finish().map(|packed| Some((object, packed))) }
}

impl NewLine<'_> {
    /// Writes the line behind what `out` holds. In `form` there is room for its canonical form.
    fn write(&self, mode: LedgerMode, invocation: &str, (arena, form): (&bumpalo::Bump, &mut String), out: &mut String) {
        let mut text = |key: &str, value: &str| {
            out.push_str(key);
            canonical::string(value, out);
        };
        text("{\"uid\":", self.uid);
        if mode == LedgerMode::Full {
            text(",\"meter\":", self.meter);
            text(",\"account\":", self.account);
            text(",\"ts\":", self.ts);
        }
        text(",\"batch\":", invocation);
        // The number goes inside the string that was just closed.
        out.pop();
        number("-", self.batch.into(), out);
        out.push_str("\",\"message_id\":");
        canonical::string(self.message_id, out);
        if let Some(queued_at_ms) = self.queued_at_ms {
            number(",\"queued_at\":", queued_at_ms, out);
        }
        number(",\"sent_at\":", self.sent_at_ms, out);
        number(",\"attempts\":", self.attempts.into(), out);
        number(",\"receives\":", self.receives.into(), out);
        out.push_str(match self.answer {
            LedgerAnswer::Accepted => ",\"answer\":\"accepted\"",
            LedgerAnswer::Unknown => ",\"answer\":\"unknown\"",
        });
        // What was sent has a canonical form; should it have none, its own text tells it from others.
        form.clear();
        let content = if canonical::write(self.text, arena, form) { form.as_str() } else { self.text };
        let hash = canonical::content_uid(content).hyphenated();
        out.push_str(",\"content_hash\":\"");
        out.push_str(hash.encode_lower(&mut Uuid::encode_buffer()));
        out.push('"');
        if let Some(origin) = self.origin {
            out.push_str(",\"origin\":{\"kind\":\"");
            out.push_str(origin.kind.name());
            out.push_str("\",\"of\":");
            canonical::string(origin.of, out);
            out.push('}');
        }
        if mode == LedgerMode::Full {
            out.push_str(",\"measurement\":");
            // Line breaks in JSON are white space only; inside strings they are always escaped.
            match memchr::memchr2(b'\n', b'\r', self.text.as_bytes()).is_some() {
                true => out.push_str(&self.text.replace(['\n', '\r'], " ")),
                false => out.push_str(self.text),
            }
        }
        out.push('}');
    }
}

/// Writes `key` and then `number` in digits: a line has five, and the general way to write them takes longer than the rest of it.
fn number(key: &str, number: i64, out: &mut String) {
    out.push_str(key);
    if number < 0 {
        out.push('-');
    }
    let (mut digits, mut first, mut rest) = ([b'0'; 20], 20, number.unsigned_abs());
    loop {
        first -= 1;
        if let Some(digit) = digits.get_mut(first) {
            // Below ten.
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits.get(first..).unwrap_or_default().iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_its_digits() {
        for written in [0, 7, 10, 1_795_412_345_678, -1, i64::MAX, i64::MIN] {
            let mut out = String::new();
            number("-", written, &mut out);
            assert_eq!(out, format!("-{written}"));
        }
    }
}
