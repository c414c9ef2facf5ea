//! Reads an SQS event into messages, each for itself: an odd field costs at most its own message.
//!
//! Lambda sends explicit nulls where attributes are absent, and one record that a strict reader does not like would fail
//! all 10,000. So nothing here is required but that `Records` is an array.

use bumpalo::Bump;
use relay_core::inbound::{Attribute, Inbound};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The event is not one of SQS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an SQS event: {{\"Records\":[…]}}")]
pub struct NotAnSqsEvent;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<&'a RawValue>,
}

/// A record as it comes, every field in its own text.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow, rename = "messageId")]
    message_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "receiptHandle")]
    receipt_handle: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow, rename = "messageAttributes")]
    message_attributes: Option<&'a RawValue>,
    #[serde(borrow, rename = "eventSourceARN")]
    source: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct System<'a> {
    #[serde(borrow, rename = "ApproximateReceiveCount")]
    receives: Option<&'a RawValue>,
    #[serde(borrow, rename = "SentTimestamp")]
    sent: Option<&'a RawValue>,
    #[serde(borrow, rename = "ApproximateFirstReceiveTimestamp")]
    first_received: Option<&'a RawValue>,
    #[serde(borrow, rename = "DeadLetterQueueSourceArn")]
    given_up_by: Option<&'a RawValue>,
}

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
    let event: Event<'a> = serde_json::from_str(event).map_err(|_| NotAnSqsEvent)?;
    let one = |record: &'a RawValue| {
        let (message, given_up_by) = message(record.get(), arena);
        finish(message, given_up_by)
    };
    Ok(event.records.into_iter().map(one).collect())
}

fn message<'a>(text: &'a str, arena: &'a Bump) -> (Inbound<'a>, Option<&'a str>) {
    let record: Record<'a> = serde_json::from_str(text).unwrap_or_default();
    let system: System<'a> = parse(record.attributes);
    let message = Inbound {
        id: string(record.message_id, arena).unwrap_or_default(),
        handle: string(record.receipt_handle, arena).unwrap_or_default(),
        body: body(record.body, arena),
        attributes: attributes(record.message_attributes, arena),
        receives: number(system.receives, arena).and_then(|receives| u32::try_from(receives).ok()).unwrap_or(1).max(1),
        sent_at_ms: number(system.sent, arena),
        first_received_at_ms: number(system.first_received, arena),
        source: string(record.source, arena).unwrap_or_default(),
    };
    (message, string(system.given_up_by, arena).filter(|arn| !arn.is_empty()))
}

/// A body that is no string is kept as the JSON that it is: refused later, but not lost.
fn body<'a>(raw: Option<&'a RawValue>, arena: &'a Bump) -> &'a str {
    match raw.map(RawValue::get) {
        None | Some("null") => "",
        Some(text) => string(raw, arena).unwrap_or(text),
    }
}

fn parse<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

fn string<'a>(raw: Option<&'a RawValue>, arena: &'a Bump) -> Option<&'a str> {
    let text = raw?.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(inner);
    }
    let unescaped: String = serde_json::from_str(text).ok()?;
    Some(arena.alloc_str(&unescaped))
}

/// A whole number, as JSON number or as text.
fn number(raw: Option<&RawValue>, arena: &Bump) -> Option<i64> {
    let raw = raw?;
    raw.get().parse().ok().or_else(|| {
        let text = string(Some(raw), arena)?;
        text.parse().ok()
    })
}

fn attributes<'a>(raw: Option<&'a RawValue>, arena: &'a Bump) -> Vec<Attribute<'a>> {
    let values: std::collections::BTreeMap<std::borrow::Cow<'a, str>, Option<&'a RawValue>> = parse(raw);
    let attribute = |(name, raw): (std::borrow::Cow<'a, str>, Option<&'a RawValue>)| {
        let value: Value<'a> = parse(raw);
        let data_type = string(value.data_type, arena)?;
        let value = string(value.string, arena).or_else(|| string(value.binary, arena))?;
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
