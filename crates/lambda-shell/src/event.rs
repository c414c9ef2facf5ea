//! Reads an SQS event into messages, each for itself: an odd field costs at most its own message.
//!
//! Lambda sends explicit nulls where attributes are absent, and one record that a strict reader does not like would fail
//! all 10,000. So nothing here is required but that `Records` is an array.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bumpalo::Bump;
use relay_core::inbound::{Attribute, Inbound};
use relay_core::json::{self, NotJson, Scan};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The event is not one of SQS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an SQS event: {{\"Records\":[…]}}")]
pub struct NotAnSqsEvent;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Value<'a> {
    #[serde(borrow, rename = "dataType")]
    data_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "stringValue")]
    string: Option<&'a RawValue>,
    #[serde(borrow, rename = "binaryValue")]
    binary: Option<&'a RawValue>,
}

/// The messages of `event`, in order. A message whose id is missing has an empty one. Text that had to be unescaped lives
/// in `arena`.
pub fn messages<'a>(event: &'a str, arena: &'a Bump) -> Result<Vec<Inbound<'a>>, NotAnSqsEvent> {
    read(event, arena, |message, _| message)
}

/// The same of a dead-letter queue. The source of a message is the queue that gave it up, where SQS says which.
pub fn dead_letters<'a>(event: &'a str, arena: &'a Bump) -> Result<Vec<Inbound<'a>>, NotAnSqsEvent> {
    read(event, arena, |message, given_up_by| Inbound { source: given_up_by.unwrap_or(message.source), ..message })
}

/// `finish` gets each message, and the queue that gave it up.
fn read<'a>(
    event: &'a str,
    arena: &'a Bump,
    finish: impl Fn(Inbound<'a>, Option<&'a str>) -> Inbound<'a>,
) -> Result<Vec<Inbound<'a>>, NotAnSqsEvent> {
    let (mut scan, mut reader) = (Scan::new(event), Reader { arena, spare: String::new() });
    let mut messages: Option<Vec<Inbound<'a>>> = None;
    let read = scan.object(|scan, key| match (reader.key(key), &messages) {
        ("Records", None) => {
            let records = messages.insert(Vec::new());
            scan.array(|scan| {
                let (message, given_up_by) = reader.record(scan)?;
                records.push(finish(message, given_up_by));
                Ok(())
            })
        }
        ("Records", Some(_)) => Err(NotJson),
        _ => scan.value(1).map(drop),
    });
    match (read, scan.is_over()) {
        (Ok(()), true) => messages.ok_or(NotAnSqsEvent),
        _ => Err(NotAnSqsEvent),
    }
}

/// Reads records. The event is JSON: the runtime has seen to that.
struct Reader<'a> {
    arena: &'a Bump,
    /// Room for one body at a time.
    spare: String,
}

impl<'a> Reader<'a> {
    /// Anything but an object is a message without anything.
    fn record(&mut self, scan: &mut Scan<'a>) -> Result<(Inbound<'a>, Option<&'a str>), NotJson> {
        let mut message = Inbound::default();
        let mut given_up_by = None;
        if scan.peek() != b'{' {
            scan.value(2)?;
            return Ok((message, None));
        }
        scan.object(|scan, key| {
            match self.key(key) {
                "body" => message.body = self.body(scan)?,
                "messageId" => message.id = self.text(scan)?,
                "receiptHandle" => message.handle = self.text(scan)?,
                "eventSourceARN" => message.source = self.text(scan)?,
                "attributes" if scan.peek() == b'{' => given_up_by = self.system(scan, &mut message)?,
                "messageAttributes" => message.attributes = attributes(scan.value(3)?, self.arena),
                _ => drop(scan.value(3)?),
            }
            Ok(())
        })?;
        Ok((message, given_up_by))
    }

    /// What SQS says of a message. Gives back the queue that gave it up.
    fn system(&self, scan: &mut Scan<'a>, message: &mut Inbound<'a>) -> Result<Option<&'a str>, NotJson> {
        let mut given_up_by = None;
        scan.object(|scan, key| {
            let (key, raw) = (self.key(key), scan.value(4)?);
            match key {
                "ApproximateReceiveCount" => {
                    message.receives = number(raw, self.arena).and_then(|count| u32::try_from(count).ok()).unwrap_or(1).max(1);
                }
                "SentTimestamp" => message.sent_at_ms = number(raw, self.arena),
                "ApproximateFirstReceiveTimestamp" => message.first_received_at_ms = number(raw, self.arena),
                "DeadLetterQueueSourceArn" => given_up_by = json::string(raw, self.arena).ok().filter(|arn| !arn.is_empty()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(given_up_by)
    }

    fn key(&self, (key, escaped): (&'a str, bool)) -> &'a str {
        match escaped {
            true => json::unescaped(key, self.arena).unwrap_or(key),
            false => key,
        }
    }

    fn text(&self, scan: &mut Scan<'a>) -> Result<&'a str, NotJson> {
        Ok(json::string(scan.value(3)?, self.arena).unwrap_or_default())
    }

    /// A body that is no string is kept as the JSON that it is: refused later, but not lost.
    fn body(&mut self, scan: &mut Scan<'a>) -> Result<&'a str, NotJson> {
        self.spare.clear();
        if scan.peek() == b'"' && scan.unescape(&mut self.spare).is_ok() {
            return Ok(self.arena.alloc_str(&self.spare));
        }
        let raw = scan.value(3)?;
        Ok(if raw == "null" { "" } else { raw })
    }
}

fn parse<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// A whole number, as JSON number or as text.
fn number(raw: &str, arena: &Bump) -> Option<i64> {
    raw.parse().ok().or_else(|| json::string(raw, arena).ok()?.parse().ok())
}

/// The producer's attributes, by name. Few messages have any.
fn attributes<'a>(raw: &'a str, arena: &'a Bump) -> Vec<Attribute<'a>> {
    if raw == "{}" {
        return Vec::new();
    }
    let values: BTreeMap<Cow<'a, str>, Option<&'a RawValue>> = serde_json::from_str(raw).unwrap_or_default();
    let attribute = |(name, raw): (Cow<'a, str>, Option<&'a RawValue>)| {
        let value: Value<'a> = parse(raw);
        let text = |raw: Option<&'a RawValue>| json::string(raw?.get(), arena).ok();
        let (data_type, value) = (text(value.data_type)?, text(value.string).or_else(|| text(value.binary))?);
        Some(Attribute { name: arena.alloc_str(&name), data_type, value })
    };
    values.into_iter().filter_map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_with_its_times_and_attributes() {
        let arena = Bump::new();
        let event = r#"{"Records":[{"messageId":"m-1","receiptHandle":"r\/1","body":"{\"a\":1}","attributes":{"ApproximateReceiveCount":"3",
            "SentTimestamp":"1700000000000","ApproximateFirstReceiveTimestamp":"1700000000001"},"messageAttributes":{"Content-Encoding":
            {"stringValue":"gzip","stringListValues":[],"binaryListValues":[],"dataType":"String"}},"eventSourceARN":"arn:q","awsRegion":"x"}]}"#;
        let messages = messages(event, &arena).unwrap();
        let message = messages.first().unwrap();
        assert_eq!((message.id, message.handle, message.body, message.source), ("m-1", "r/1", r#"{"a":1}"#, "arn:q"));
        assert_eq!(
            (message.receives, message.sent_at_ms, message.first_received_at_ms),
            (3, Some(1_700_000_000_000), Some(1_700_000_000_001))
        );
        assert_eq!(message.attribute("content-encoding"), Some("gzip"));
    }

    #[test]
    fn a_dead_letter_comes_from_the_queue_that_gave_it_up_where_sqs_says_which() {
        let event = r#"{"Records":[{"messageId":"a","eventSourceARN":"arn:dead","attributes":{"DeadLetterQueueSourceArn":"arn:q"}},
            {"messageId":"b","eventSourceARN":"arn:dead","attributes":{"DeadLetterQueueSourceArn":null}},
            {"messageId":"c","eventSourceARN":"arn:dead","attributes":{"DeadLetterQueueSourceArn":""}}]}"#;
        let arena = Bump::new();
        let sources = |read: Result<Vec<Inbound<'_>>, NotAnSqsEvent>| {
            read.unwrap().iter().map(|one| one.source.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(sources(dead_letters(event, &arena)), ["arn:q", "arn:dead", "arn:dead"]);
        assert_eq!(sources(messages(event, &arena)), ["arn:dead"; 3]);
    }

    #[test]
    fn odd_records_are_read_as_far_as_they_go_and_harm_no_other() {
        let arena = Bump::new();
        let event = r#"{"Records":[
            {"messageId":"a","body":"x","attributes":null,"messageAttributes":null},
            {"messageId":"b","body":null,"attributes":{"SentTimestamp":null,"ApproximateReceiveCount":7},"messageAttributes":{"n":null,"m":{"dataType":null}}},
            {"messageId":"c","body":{"no":"string"},"attributes":[],"messageAttributes":"odd"},
            null, 5, {},
            {"messageId":"d","body":"y"}]}"#;
        let read = messages(event, &arena).unwrap();
        let ids: Vec<_> = read.iter().map(|message| (message.id, message.body, message.receives)).collect();
        assert_eq!(
            ids,
            [("a", "x", 1), ("b", "", 7), ("c", r#"{"no":"string"}"#, 1), ("", "", 1), ("", "", 1), ("", "", 1), ("d", "y", 1)]
        );
    }

    #[test]
    fn what_is_no_sqs_event_is_an_error() {
        for event in ["", "{}", "[]", r#"{"Records":null}"#, r#"{"Records":{}}"#] {
            assert_eq!(messages(event, &Bump::new()).err(), Some(NotAnSqsEvent), "{event}");
        }
        assert_eq!(messages(r#"{"Records":[]}"#, &Bump::new()).map(|messages| messages.len()), Ok(0));
    }
}
