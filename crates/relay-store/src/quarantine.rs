//! The quarantine: what cannot go on, with its reason and everything needed to send it again.
//!
//! An entry is known by its `qid`, made from the queue, the message and the place in it, or from what m3ter rejected. Writing an entry twice is harmless:
//! readers collapse by `qid`. An entry of the same message as the one before it in its object carries no attributes of its
//! own: they are the message's, and a message may hold 80,000 measurements and a megabyte of attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use relay_core::inbound::{Attribute, Origin};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::ledger::LineOrigin;
use crate::lines::Lines;
use crate::store::{Store, StoreError, hour_folder};

const FOLDER: &str = "quarantine/v1";

/// The namespace of quarantine ids, itself the UUIDv5 of the URL namespace and the name `usage-relay/quarantine/v1`.
const NAMESPACE: Uuid = Uuid::from_u128(0x9533_5eae_eeb8_5a84_991b_8fbe_94dc_bc3e);

/// The id of what stands at `position` (from 0) of a message.
pub fn quarantine_id(source: &str, message_id: &str, position: usize) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{source}\n{message_id}\n{position}").as_bytes())
}

/// The id of what m3ter rejected after it had accepted it. Copies of one measurement, from whatever messages, are one entry; what
/// was sent again from an entry, which `origin` names, and rejected again is another.
pub fn rejection_id(uid: &str, content_hash: Uuid, origin: Option<&str>) -> Uuid {
    let origin = origin.unwrap_or_default();
    Uuid::new_v5(&NAMESPACE, format!("rejected\n{content_hash}\n{origin}\n{uid}").as_bytes())
}

/// One attribute of the message, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EntryAttribute {
    /// Its name.
    pub name: String,
    /// The queue's word for its type.
    pub data_type: String,
    /// Its value; base64 where it is binary.
    pub value: String,
}

/// An entry to write. Times are milliseconds since the epoch.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    /// Its id; `None`: that of its place in its message.
    pub qid: Option<Uuid>,
    /// The measurement's uid, where it has one.
    pub uid: Option<&'a str>,
    /// The stable name of the reason.
    pub reason: &'a str,
    /// What was expected.
    pub detail: &'a str,
    /// The stable name of the stage.
    pub stage: &'a str,
    /// Not before this time was it first sent to m3ter; `None` if it certainly never was.
    pub first_sent_at_ms: Option<i64>,
    /// The queue's id of the message.
    pub message_id: &'a str,
    /// The place in the message, from 0.
    pub position: usize,
    /// The queue.
    pub source: &'a str,
    /// The message's attributes: the same for each entry of one message.
    pub attributes: Vec<Attribute<'a>>,
    /// When the message was queued.
    pub queued_at_ms: Option<i64>,
    /// When it was first delivered.
    pub first_received_at_ms: Option<i64>,
    /// How often it was delivered.
    pub receives: u32,
    /// Where it came from, if not from a producer.
    pub origin: Option<Origin<'a>>,
    /// The text: of a measurement, or of a whole body.
    pub text: EntryText<'a>,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryText<'a> {
    /// A JSON object, kept as JSON.
    Measurement(&'a str),
    /// Anything else, kept as a string.
    Body(&'a str),
}

#[derive(Serialize)]
struct Line<'a> {
    qid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    reason: &'a str,
    detail: &'a str,
    stage: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_sent_at: Option<i64>,
    message_id: &'a str,
    position: usize,
    source_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Vec<LineAttribute<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_received_at: Option<i64>,
    receives: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<OriginOut<'a>>,
    quarantined_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    measurement: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

#[derive(Serialize)]
struct OriginOut<'a> {
    kind: &'static str,
    of: &'a str,
}

#[derive(Serialize)]
struct LineAttribute<'a> {
    name: &'a str,
    data_type: &'a str,
    value: &'a str,
}

/// An entry as it was read. Unknown fields, of a later version, are not kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Its id.
    pub qid: Uuid,
    /// The measurement's uid, where it has one.
    pub uid: Option<String>,
    /// The stable name of the reason.
    pub reason: String,
    /// What was expected.
    pub detail: String,
    /// The stable name of the stage.
    pub stage: String,
    /// Not before this time was it first sent to m3ter: milliseconds since the epoch.
    pub first_sent_at: Option<i64>,
    /// The queue's id of the message.
    pub message_id: String,
    /// The place in the message, from 0.
    pub position: usize,
    /// The queue.
    pub source_arn: String,
    /// The message's attributes; `None` only where they were never written. Shared between the entries of one message.
    pub attributes: Option<Arc<[EntryAttribute]>>,
    /// When the message was queued: milliseconds since the epoch.
    pub queued_at: Option<i64>,
    /// When it was first delivered: milliseconds since the epoch.
    pub first_received_at: Option<i64>,
    /// How often it was delivered.
    #[serde(default)]
    pub receives: u32,
    /// Where it came from, if not from a producer.
    pub origin: Option<LineOrigin>,
    /// When it was written: milliseconds since the epoch.
    pub quarantined_at: i64,
    /// The measurement, as written; or
    pub measurement: Option<Box<RawValue>>,
    /// the body, as text.
    pub body: Option<String>,
}

impl Store {
    /// Writes `entries` as one object, before `until` or not at all; without any, nothing. `invocation` names it, once.
    /// Entries of one message must stand together.
    pub async fn quarantine<'a>(
        &self,
        invocation: &str,
        now_ms: i64,
        entries: impl IntoIterator<Item = NewEntry<'a>>,
        until: Instant,
    ) -> Result<(), StoreError> {
        let name = format!("{FOLDER}/{}/{now_ms}-{invocation}.ndjson.zst", hour_folder(now_ms));
        match pack(now_ms, entries) {
            Ok(Some(packed)) => self.put(&name, packed, until).await,
            Ok(None) => Ok(()),
            Err(_) => Err(StoreError::Unreadable { name, expected: "lines of JSON that zstd can compress" }),
        }
    }

    /// Every entry, once, in the order of their ids.
    pub async fn quarantined(&self) -> Result<Vec<Entry>, StoreError> {
        let mut entries = BTreeMap::new();
        for name in self.list(FOLDER).await? {
            let lines = self.read_lines(&name).await?;
            let unreadable = |_| StoreError::Unreadable { name: name.to_string(), expected: "one quarantine entry a line" };
            for entry in Entries::read_all(&lines).map_err(unreadable)? {
                entries.entry(entry.qid).or_insert(entry);
            }
        }
        Ok(entries.into_values().collect())
    }
}

fn pack<'a>(quarantined_at: i64, entries: impl IntoIterator<Item = NewEntry<'a>>) -> std::io::Result<Option<Bytes>> {
    let mut lines = Lines::new()?;
    let mut message = None;
    for entry in entries {
        let this = Some((entry.source, entry.message_id));
        let is_first = std::mem::replace(&mut message, this) != this;
        lines.push(|line| Ok(serde_json::to_writer(line, &entry.line(quarantined_at, is_first))?))?;
    }
    if lines.count() == 0 { Ok(None) } else { lines.finish().map(Some) }
}

impl NewEntry<'_> {
    fn line(&self, quarantined_at: i64, is_first_of_message: bool) -> Line<'_> {
        // Line breaks in JSON are white space only; inside strings they are always escaped.
        let one_line = |text: &str| RawValue::from_string(text.replace(['\n', '\r'], " ")).ok();
        let measurement = match self.text {
            EntryText::Measurement(text) => one_line(text),
            EntryText::Body(_) => None,
        };
        let (EntryText::Measurement(text) | EntryText::Body(text)) = self.text;
        let attribute = |Attribute { name, data_type, value }: &_| LineAttribute { name, data_type, value };
        Line {
            qid: self.qid.unwrap_or_else(|| quarantine_id(self.source, self.message_id, self.position)),
            uid: self.uid,
            reason: self.reason,
            detail: self.detail,
            stage: self.stage,
            first_sent_at: self.first_sent_at_ms,
            message_id: self.message_id,
            position: self.position,
            source_arn: self.source,
            attributes: is_first_of_message.then(|| self.attributes.iter().map(attribute).collect()),
            queued_at: self.queued_at_ms,
            first_received_at: self.first_received_at_ms,
            receives: self.receives,
            origin: self.origin.map(|origin| OriginOut { kind: origin.kind.name(), of: origin.of }),
            quarantined_at,
            body: measurement.is_none().then_some(text),
            measurement,
        }
    }
}

/// Reads the lines of one object, in their order.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    before: Option<MessageBefore>,
}

/// The message of the line before.
#[derive(Debug)]
struct MessageBefore {
    source: String,
    message_id: String,
    attributes: Option<Arc<[EntryAttribute]>>,
}

impl Entries {
    /// The entry that `line` holds.
    pub(crate) fn read(&mut self, line: &[u8]) -> serde_json::Result<Entry> {
        let mut entry: Entry = serde_json::from_slice(line)?;
        match &self.before {
            Some(before) if before.source == entry.source_arn && before.message_id == entry.message_id => {
                if entry.attributes.is_none() {
                    entry.attributes.clone_from(&before.attributes);
                }
            }
            Some(_) | None => {
                self.before = Some(MessageBefore {
                    source: entry.source_arn.clone(),
                    message_id: entry.message_id.clone(),
                    attributes: entry.attributes.clone(),
                });
            }
        }
        Ok(entry)
    }

    /// The entries that the lines of one object hold.
    fn read_all(lines: &[u8]) -> serde_json::Result<Vec<Entry>> {
        let mut entries = Entries::default();
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| entries.read(line)).collect()
    }
}
