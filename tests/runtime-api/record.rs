//! One record of an SQS event, as an event source mapping writes it, or as it should never be.
//!
//! An ordinary record is written straight to bytes, field by field. [`Record::with`] and [`Record::without`] change top-level fields
//! of the finished record, so that anything odd can be injected without a knob of its own here.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// `md5OfBody` of every record. Not the body's: nothing here checks it, and hashing 10,000 bodies would only cost time.
const MD5_OF_BODY: &str = "0123456789abcdef0123456789abcdef";
/// `SenderId` of every record.
const SENDER_ID: &str = "AIDAIENQZJOLO23YVJ4VO";

/// How a message attribute shows the fields it does not use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttributeShape {
    /// Empty lists, as a mapping without a window writes them.
    #[default]
    Lists,
    /// Explicit nulls, as a mapping with a batching window may write them.
    Nulls,
}

/// One record. What is not set gets its value from the event it is built into.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub(crate) body: String,
    pub(crate) message_id: Option<String>,
    pub(crate) receipt_handle: Option<String>,
    pub(crate) receives: Option<u32>,
    pub(crate) sent_at_ms: Option<u64>,
    pub(crate) first_received_at_ms: Option<u64>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) shape: AttributeShape,
    changes: Vec<(String, Option<Value>)>,
}

impl Record {
    /// A record whose message has this body.
    #[must_use]
    pub fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Sets `messageId`. Default: made from the body and the position, so that building the same event again is a redelivery.
    #[must_use]
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// Sets `receiptHandle`. Default: made from the message id.
    #[must_use]
    pub fn receipt_handle(mut self, handle: impl Into<String>) -> Self {
        self.receipt_handle = Some(handle.into());
        self
    }

    /// Sets `ApproximateReceiveCount`. Default: the event's.
    #[must_use]
    pub fn receives(mut self, count: u32) -> Self {
        self.receives = Some(count);
        self
    }

    /// Sets `SentTimestamp`, in milliseconds since 1970. Default: the event's.
    #[must_use]
    pub fn sent_at_ms(mut self, at_ms: u64) -> Self {
        self.sent_at_ms = Some(at_ms);
        self
    }

    /// Sets `ApproximateFirstReceiveTimestamp`, in milliseconds since 1970. Default: when it was sent.
    #[must_use]
    pub fn first_received_at_ms(mut self, at_ms: u64) -> Self {
        self.first_received_at_ms = Some(at_ms);
        self
    }

    /// Adds a message attribute of type `String`.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Sets how message attributes show the fields they do not use.
    #[must_use]
    pub fn attribute_shape(mut self, shape: AttributeShape) -> Self {
        self.shape = shape;
        self
    }

    /// Replaces one top-level field of the finished record (`"messageAttributes"`, `"attributes"`, `"body"`, …) by any JSON.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.changes.push((field.into(), Some(value.into())));
        self
    }

    /// Leaves one top-level field out of the finished record.
    #[must_use]
    pub fn without(mut self, field: impl Into<String>) -> Self {
        self.changes.push((field.into(), None));
        self
    }

    /// The `messageId` this record has when it is the `nth` (from 0) of an event.
    ///
    /// Shaped like a UUID. Not random: the same body in the same place is the same message.
    pub(crate) fn id(&self, seed: u64, nth: usize) -> String {
        self.message_id.clone().unwrap_or_else(|| {
            let mut hash = DefaultHasher::new();
            self.body.hash(&mut hash);
            seed.hash(&mut hash);
            let place = (seed << 32) ^ u64::try_from(nth).unwrap_or(u64::MAX);
            Uuid::from_u64_pair(hash.finish(), place).to_string()
        })
    }

    /// Appends this record's JSON to `out`, and says which `messageId` a reader finds in it, if it is one.
    pub(crate) fn write(&self, out: &mut Vec<u8>, around: &Around<'_>, nth: usize) -> Result<Option<String>, serde_json::Error> {
        let id = self.id(around.seed, nth);
        let sent_at_ms = self.sent_at_ms.unwrap_or(around.sent_at_ms);
        let handle = self.receipt_handle.clone().unwrap_or_else(|| format!("{id}{}", around.receipt_padding));
        let wire = Wire {
            message_id: &id,
            receipt_handle: &handle,
            body: &self.body,
            attributes: SystemAttributes {
                receives: &self.receives.unwrap_or(around.receives).to_string(),
                sent_at: &sent_at_ms.to_string(),
                sender: SENDER_ID,
                first_received_at: &self.first_received_at_ms.unwrap_or(sent_at_ms).to_string(),
            },
            message_attributes: self.message_attributes(),
            md5_of_body: MD5_OF_BODY,
            event_source: "aws:sqs",
            event_source_arn: around.queue_arn,
            aws_region: around.region,
        };
        if self.changes.is_empty() {
            serde_json::to_writer(&mut *out, &wire)?;
            return Ok(Some(id));
        }
        let changed = self.changed(serde_json::to_value(&wire)?);
        serde_json::to_writer(&mut *out, &changed)?;
        Ok(changed.get("messageId").and_then(Value::as_str).map(str::to_owned))
    }

    fn changed(&self, mut record: Value) -> Value {
        let mut nothing = Map::new();
        let fields = record.as_object_mut().unwrap_or(&mut nothing);
        for (field, value) in &self.changes {
            match value {
                Some(value) => fields.insert(field.clone(), value.clone()),
                None => fields.remove(field),
            };
        }
        record
    }

    fn message_attributes(&self) -> BTreeMap<&str, WireAttribute<'_>> {
        let nothing = match self.shape {
            AttributeShape::Lists => Some([]),
            AttributeShape::Nulls => None,
        };
        let wire = |value| WireAttribute {
            string_value: value,
            binary_value: self.shape,
            string_list_values: nothing,
            binary_list_values: nothing,
            data_type: "String",
        };
        let attributes = self.attributes.iter();
        attributes.map(|(name, value)| (name.as_str(), wire(value.as_str()))).collect()
    }
}

/// What the records of one event share.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    pub(crate) seed: u64,
    pub(crate) receives: u32,
    pub(crate) sent_at_ms: u64,
    pub(crate) receipt_padding: &'a str,
    pub(crate) queue_arn: &'a str,
    pub(crate) region: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: &'a str,
    attributes: SystemAttributes<'a>,
    message_attributes: BTreeMap<&'a str, WireAttribute<'a>>,
    md5_of_body: &'a str,
    event_source: &'a str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

#[derive(Serialize)]
struct SystemAttributes<'a> {
    #[serde(rename = "ApproximateReceiveCount")]
    receives: &'a str,
    #[serde(rename = "SentTimestamp")]
    sent_at: &'a str,
    #[serde(rename = "SenderId")]
    sender: &'a str,
    #[serde(rename = "ApproximateFirstReceiveTimestamp")]
    first_received_at: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAttribute<'a> {
    string_value: &'a str,
    #[serde(skip_serializing_if = "absent", serialize_with = "null")]
    binary_value: AttributeShape,
    string_list_values: Option<[&'a str; 0]>,
    binary_list_values: Option<[&'a str; 0]>,
    data_type: &'a str,
}

fn absent(shape: &AttributeShape) -> bool {
    *shape == AttributeShape::Lists
}

fn null<S: serde::Serializer>(_: &AttributeShape, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_none()
}
