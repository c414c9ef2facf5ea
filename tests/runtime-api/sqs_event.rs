//! The event an SQS event source mapping hands a function: `{"Records":[…]}`.
//!
//! Field names and their order are AWS's. Receipt handles are as long as AWS's, since with them a record costs about 0.9 KB
//! beside its body, and sizes are part of what is tested; [`SqsEventBuilder::short_receipt_handles`] trades that for records.
//!
//! No size limit is enforced: Lambda never sends more than [`crate::PAYLOAD_BYTES_MAX`], so at 10,000 records hardly any body would fit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::clock;
use crate::record::{Around, Record};
use crate::spec::{ACCOUNT, REGION};

/// Most records in one event: the largest `BatchSize` of a standard queue's event source mapping.
pub const RECORDS_MAX: usize = 10_000;

/// What brings a receipt handle to the length of AWS's, about 412 characters.
const RECEIPT_PADDING_CHARS: usize = 376;

/// One event, ready to hand over.
#[derive(Clone, Debug)]
pub struct SqsEvent {
    bytes: Bytes,
    message_ids: Vec<String>,
}

/// Why an event was not built.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// More records than a mapping ever sends.
    #[error("{records} records; an event has at most {RECORDS_MAX}")]
    TooManyRecords {
        /// How many there were.
        records: usize,
    },
    /// The file of bodies could not be read as UTF-8 text.
    #[error("cannot read bodies from {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// JSON could not be written. Records hold only text and JSON, so this is a fault of this crate.
    #[error("cannot write the event")]
    NotWritten(#[source] serde_json::Error),
}

impl SqsEvent {
    /// Starts an event without records.
    #[must_use]
    pub fn builder() -> SqsEventBuilder {
        SqsEventBuilder {
            records: Vec::new(),
            queue_arn: format!("arn:aws:sqs:{REGION}:{ACCOUNT}:usage"),
            region: REGION.to_owned(),
            seed: 0,
            receives: 1,
            sent_at_ms: None,
            receipt_padding_chars: RECEIPT_PADDING_CHARS,
        }
    }

    /// The JSON. Cloning is cheap: the bytes are shared.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The ids of its messages, in order. A record whose `messageId` is missing or no text has none.
    #[must_use]
    pub fn message_ids(&self) -> &[String] {
        &self.message_ids
    }
}

impl From<&SqsEvent> for Bytes {
    fn from(event: &SqsEvent) -> Self {
        event.bytes()
    }
}

/// Gathers records for one event.
#[derive(Clone, Debug)]
pub struct SqsEventBuilder {
    records: Vec<Record>,
    queue_arn: String,
    region: String,
    seed: u64,
    receives: u32,
    sent_at_ms: Option<u64>,
    receipt_padding_chars: usize,
}

impl SqsEventBuilder {
    /// Adds one record.
    #[must_use]
    pub fn record(mut self, record: Record) -> Self {
        self.records.push(record);
        self
    }

    /// Adds records.
    #[must_use]
    pub fn records(mut self, records: impl IntoIterator<Item = Record>) -> Self {
        self.records.extend(records);
        self
    }

    /// Adds one ordinary record.
    #[must_use]
    pub fn body(self, body: impl Into<String>) -> Self {
        self.record(Record::new(body))
    }

    /// Adds an ordinary record for each body.
    #[must_use]
    pub fn bodies<B: Into<String>>(self, bodies: impl IntoIterator<Item = B>) -> Self {
        self.records(bodies.into_iter().map(Record::new))
    }

    /// Adds an ordinary record for each line of a text file. Empty lines are skipped: SQS takes no empty body.
    ///
    /// # Errors
    /// [`EventError::Unreadable`].
    pub fn bodies_from(self, path: &Path) -> Result<Self, EventError> {
        let text = fs::read_to_string(path).map_err(|cause| EventError::Unreadable { path: path.to_owned(), cause })?;
        Ok(self.bodies(text.lines().filter(|line| !line.is_empty())))
    }

    /// Sets the queue's ARN, and with it the region. Default: queue `usage` in eu-central-1.
    #[must_use]
    pub fn queue_arn(mut self, arn: impl Into<String>) -> Self {
        self.queue_arn = arn.into();
        if let Some(region) = self.queue_arn.split(':').nth(3) {
            self.region = region.to_owned();
        }
        self
    }

    /// Sets what tells equal bodies of different events apart. Default 0: the same bodies again are the same messages, redelivered.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets `ApproximateReceiveCount` of records that do not say. Default 1.
    #[must_use]
    pub fn receives(mut self, count: u32) -> Self {
        self.receives = count;
        self
    }

    /// Sets `SentTimestamp` of records that do not say, in milliseconds since 1970. Default: now, when built.
    #[must_use]
    pub fn sent_at_ms(mut self, at_ms: u64) -> Self {
        self.sent_at_ms = Some(at_ms);
        self
    }

    /// Makes receipt handles as short as message ids, so that 10,000 small records fit Lambda's 6 MB.
    #[must_use]
    pub fn short_receipt_handles(mut self) -> Self {
        self.receipt_padding_chars = 0;
        self
    }

    /// Writes the event.
    ///
    /// # Errors
    /// [`EventError::TooManyRecords`] above [`RECORDS_MAX`].
    pub fn build(self) -> Result<SqsEvent, EventError> {
        let records = self.records.len();
        if records > RECORDS_MAX {
            return Err(EventError::TooManyRecords { records });
        }
        let around = Around {
            seed: self.seed,
            receives: self.receives,
            sent_at_ms: self.sent_at_ms.unwrap_or_else(clock::epoch_ms),
            receipt_padding: &"A".repeat(self.receipt_padding_chars),
            queue_arn: &self.queue_arn,
            region: &self.region,
        };
        let bodies: usize = self.records.iter().map(|record| record.body.len()).sum();
        let mut bytes = Vec::with_capacity(bodies + records * 1_024);
        let mut message_ids = Vec::with_capacity(records);
        bytes.extend_from_slice(br#"{"Records":["#);
        for (nth, record) in self.records.iter().enumerate() {
            if nth > 0 {
                bytes.push(b',');
            }
            let id = record.write(&mut bytes, &around, nth).map_err(EventError::NotWritten)?;
            message_ids.extend(id);
        }
        bytes.extend_from_slice(b"]}");
        Ok(SqsEvent { bytes: bytes.into(), message_ids })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::AttributeShape;

    fn parsed(builder: SqsEventBuilder) -> Value {
        serde_json::from_slice(&builder.build().unwrap().bytes()).unwrap()
    }

    #[test]
    fn an_ordinary_record_has_every_field_of_aws() {
        let record = Record::new("{\"a\":\"\u{fc}\n\"}")
            .message_id("m-1")
            .receipt_handle("h-1")
            .receives(3)
            .sent_at_ms(1_700_000_000_000)
            .first_received_at_ms(1_700_000_000_500)
            .attribute("Content-Encoding", "gzip");
        let arn = "arn:aws:sqs:us-east-1:123456789012:q";
        let event = parsed(SqsEvent::builder().queue_arn(arn).record(record));
        let expected = json!({"Records": [{
            "messageId": "m-1",
            "receiptHandle": "h-1",
            "body": "{\"a\":\"\u{fc}\n\"}",
            "attributes": {
                "ApproximateReceiveCount": "3",
                "SentTimestamp": "1700000000000",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": "1700000000500",
            },
            "messageAttributes": {"Content-Encoding": {
                "stringValue": "gzip", "stringListValues": [], "binaryListValues": [], "dataType": "String",
            }},
            "md5OfBody": "0123456789abcdef0123456789abcdef",
            "eventSource": "aws:sqs",
            "eventSourceARN": arn,
            "awsRegion": "us-east-1",
        }]});
        assert_eq!(event, expected);
    }

    #[test]
    fn a_record_can_be_as_odd_as_a_test_needs() {
        let nulls = Record::new("x").attribute("a", "1").attribute_shape(AttributeShape::Nulls);
        let odd = Record::new("x")
            .with("messageAttributes", Value::Null)
            .with("body", 7)
            .without("attributes")
            .with("messageId", json!(["no", "text"]));
        let event = SqsEvent::builder().record(nulls).record(odd).build().unwrap();
        assert_eq!(event.message_ids().len(), 1, "an id that is no text cannot be returned");
        let event: Value = serde_json::from_slice(&event.bytes()).unwrap();
        let attribute = &event["Records"][0]["messageAttributes"]["a"];
        assert_eq!(attribute["stringListValues"], Value::Null);
        assert_eq!(attribute.as_object().unwrap().len(), 5, "nulls are written, not left out");
        assert_eq!(event["Records"][1]["body"], 7);
        assert_eq!(event["Records"][1]["messageAttributes"], Value::Null);
        assert!(event["Records"][1].get("attributes").is_none());
    }

    #[test]
    fn the_same_bodies_again_are_the_same_messages_and_other_bodies_are_others() {
        let ids = |seed, bodies: [&str; 2]| {
            let event = SqsEvent::builder().seed(seed).bodies(bodies).build().unwrap();
            event.message_ids().to_vec()
        };
        let first = ids(0, ["a", "a"]);
        assert_eq!(first, ids(0, ["a", "a"]));
        assert_ne!(first[0], first[1], "equal bodies are still two messages");
        assert!(ids(0, ["b", "c"]).iter().all(|id| !first.contains(id)));
        assert!(ids(1, ["a", "a"]).iter().all(|id| !first.contains(id)));
    }

    #[test]
    fn a_file_gives_one_record_a_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{\"n\":1}\n\n{\"n\":2}\n").unwrap();
        let event = parsed(SqsEvent::builder().bodies_from(file.path()).unwrap());
        let bodies: Vec<_> = event["Records"].as_array().unwrap().iter().map(|r| &r["body"]).collect();
        assert_eq!(bodies, [r#"{"n":1}"#, r#"{"n":2}"#]);
        let missing = SqsEvent::builder().bodies_from(Path::new("/nowhere")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere"), "{missing}");
    }

    #[test]
    fn ten_thousand_records_are_an_event_and_one_more_is_not() {
        let of = |count: usize| SqsEvent::builder().bodies((0..count).map(|n| format!("{{\"n\":{n}}}"))).build();
        let event = of(RECORDS_MAX).unwrap();
        assert_eq!(event.message_ids().len(), RECORDS_MAX);
        let each = event.bytes().len() / RECORDS_MAX;
        assert!((800..1_000).contains(&each), "{each} bytes a record; AWS's cost about 0.9 KB");
        let refused = of(RECORDS_MAX + 1);
        assert!(matches!(refused, Err(EventError::TooManyRecords { records: 10_001 })));
    }

    #[test]
    fn ten_thousand_small_records_fit_lambdas_payload_with_short_handles() {
        let event = SqsEvent::builder()
            .short_receipt_handles()
            .bodies((0..RECORDS_MAX).map(|n| format!("{{\"n\":{n}}}")))
            .build()
            .unwrap();
        assert!(event.bytes().len() <= crate::PAYLOAD_BYTES_MAX, "{}", event.bytes().len());
    }
}
