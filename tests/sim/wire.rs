//! What goes between the event source mapping and the function: the event as Lambda writes it, the answer as Lambda reads it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::produce::Sending;
use crate::queue::{Delivery, Message};

/// Where messages come from.
pub(crate) const QUEUE_ARN: &str = "arn:aws:sqs:eu-west-1:123456789012:usage";

/// One record of an event. `odd` leaves out what Lambda sometimes leaves out.
pub(crate) fn record(delivery: &Delivery, message: &Message, sending: &Sending, odd: bool) -> Value {
    let mut attributes = serde_json::Map::new();
    for (name, value) in &sending.attributes {
        let value = json!({"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": "String"});
        attributes.insert((*name).to_owned(), value);
    }
    let no_attributes = if odd { Value::Null } else { json!({}) };
    let system = json!({
        "ApproximateReceiveCount": delivery.receives.to_string(),
        "SentTimestamp": message.sent_ms.to_string(),
        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        "ApproximateFirstReceiveTimestamp": message.first_received_ms.unwrap_or_default().to_string(),
    });
    json!({
        "messageId": message.id,
        "receiptHandle": delivery.handle,
        "body": sending.body,
        "attributes": if odd { Value::Null } else { system },
        "messageAttributes": if attributes.is_empty() { no_attributes } else { Value::Object(attributes) },
        "md5OfBody": "7b270e59b47ff90a553787216d55d91d",
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE_ARN,
        "awsRegion": "eu-west-1",
    })
}

/// The ids that an answer names, or why Lambda would take the whole batch as failed. Whatever it does not name is deleted.
pub(crate) fn failures(answer: &str, delivered: &BTreeSet<&str>) -> Result<BTreeSet<String>, String> {
    let answer: Value = serde_json::from_str(answer).map_err(|fault| fault.to_string())?;
    let Some(list) = answer.get("batchItemFailures") else { return Ok(BTreeSet::new()) };
    let list = list.as_array().ok_or("batchItemFailures is no list")?;
    let id = |item: &Value| item.get("itemIdentifier").and_then(Value::as_str).map(str::to_owned);
    let ids: Option<BTreeSet<String>> = list.iter().map(id).collect();
    let ids = ids.ok_or("an item without itemIdentifier")?;
    match ids.iter().find(|id| !delivered.contains(id.as_str())) {
        Some(stranger) => Err(format!("{stranger} was not delivered")),
        None => Ok(ids),
    }
}

mod tests {
    use super::*;

    fn check(answer: &str, expected: Option<&[&str]>) {
        let ids = failures(answer, &BTreeSet::from(["a", "b"])).ok().map(Vec::from_iter);
        assert_eq!(ids, expected.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect()), "{answer}");
    }

    #[test]
    fn what_an_answer_does_not_name_is_deleted_and_a_wrong_top_level_deletes_everything() {
        check(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#, Some(&["b"]));
        check(r#"{"batchItemFailures":[]}"#, Some(&[]));
        check("{}", Some(&[]));
        check(r#"{"BatchItemFailures":[{"itemIdentifier":"b"}]}"#, Some(&[]));
    }

    #[test]
    fn an_item_that_cannot_be_read_fails_the_whole_batch() {
        for answer in [
            "",
            r#"{"batchItemFailures":{}}"#,
            r#"{"batchItemFailures":[{"id":"a"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"c"}]}"#,
        ] {
            check(answer, None);
        }
    }
}
