//! What the event source mapping makes of a function's answer, with `ReportBatchItemFailures`.
//!
//! AWS is lenient where it costs messages and strict where it costs time: a misspelt top-level key means "all done" and **deletes the
//! whole batch**, and a misspelt inner one returns it whole. So neither is tolerated here: whatever is not exactly the contract is a
//! [`ContractViolation`]. Emulators are no help: one of them deletes the message of an unknown id.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>, read November 2026.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::sqs_event::SqsEvent;

const FAILURES: &str = "batchItemFailures";
const ID: &str = "itemIdentifier";

/// How an answer breaks the contract. Positions count from 0 in `batchItemFailures`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractViolation {
    /// AWS returns the whole batch.
    #[error("the answer is not JSON: {fault}")]
    NotJson {
        /// What the parser said, without the text itself.
        fault: String,
    },
    /// Neither an object nor null. What AWS does is not published.
    #[error("the answer is {found}; an object or null was expected")]
    NotAnObject {
        /// Which JSON type it is.
        found: &'static str,
    },
    /// **AWS deletes the whole batch**: messages meant to be returned are lost silently.
    #[error("top-level key {key:?}; only {FAILURES:?} was expected")]
    WrongTopLevelKey {
        /// The key.
        key: String,
    },
    /// AWS returns the whole batch.
    #[error("{FAILURES} is {found}; a list or null was expected")]
    FailuresNotAList {
        /// Which JSON type it is.
        found: &'static str,
    },
    /// AWS returns the whole batch.
    #[error("entry {position} is {found}; an object was expected")]
    EntryNotAnObject {
        /// Where.
        position: usize,
        /// Which JSON type it is.
        found: &'static str,
    },
    /// AWS returns the whole batch.
    #[error("entry {position} has key {key:?}; only {ID:?} was expected")]
    WrongInnerKey {
        /// Where.
        position: usize,
        /// The key.
        key: String,
    },
    /// AWS returns the whole batch.
    #[error("entry {position} has no {ID}")]
    IdMissing {
        /// Where.
        position: usize,
    },
    /// AWS returns the whole batch.
    #[error("entry {position} has a null {ID}")]
    IdNull {
        /// Where.
        position: usize,
    },
    /// AWS returns the whole batch.
    #[error("entry {position} has a {ID} that is {found}; text was expected")]
    IdNotText {
        /// Where.
        position: usize,
        /// Which JSON type it is.
        found: &'static str,
    },
    /// AWS returns the whole batch.
    #[error("entry {position} has an empty {ID}")]
    IdEmpty {
        /// Where.
        position: usize,
    },
    /// AWS returns the whole batch.
    #[error("entry {position} names {id:?}, which is no message of the event")]
    IdUnknown {
        /// Where.
        position: usize,
        /// The id.
        id: String,
    },
    /// What AWS does is not published; a function that counts its messages never does it.
    #[error("entry {position} names {id:?} a second time")]
    IdDuplicate {
        /// Where, the second time.
        position: usize,
        /// The id.
        id: String,
    },
}

/// Which messages the answer `response` to `event` returns to the queue, in the answer's order. All others are deleted.
///
/// # Errors
/// The first [`ContractViolation`] in the answer.
pub fn check_response(event: &SqsEvent, response: &[u8]) -> Result<Vec<String>, ContractViolation> {
    let answer: Value =
        serde_json::from_slice(response).map_err(|fault| ContractViolation::NotJson { fault: fault.to_string() })?;
    let entries = match &answer {
        Value::Null => return Ok(Vec::new()),
        Value::Object(fields) => failures(fields)?,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(ContractViolation::NotAnObject { found: kind(&answer) });
        }
    };
    let known: HashSet<&str> = event.message_ids().iter().map(String::as_str).collect();
    let mut returned = Vec::with_capacity(entries.len());
    let mut seen = HashSet::with_capacity(entries.len());
    for (position, entry) in entries.iter().enumerate() {
        let id = item_identifier(position, entry)?;
        if !known.contains(id) {
            return Err(ContractViolation::IdUnknown { position, id: id.to_owned() });
        }
        if !seen.insert(id) {
            return Err(ContractViolation::IdDuplicate { position, id: id.to_owned() });
        }
        returned.push(id.to_owned());
    }
    Ok(returned)
}

fn failures(fields: &Map<String, Value>) -> Result<&[Value], ContractViolation> {
    if let Some(key) = fields.keys().find(|key| *key != FAILURES) {
        return Err(ContractViolation::WrongTopLevelKey { key: key.clone() });
    }
    match fields.get(FAILURES) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_))) => {
            Err(ContractViolation::FailuresNotAList { found: kind(other) })
        }
    }
}

fn item_identifier(position: usize, entry: &Value) -> Result<&str, ContractViolation> {
    let Value::Object(fields) = entry else {
        let found = kind(entry);
        return Err(ContractViolation::EntryNotAnObject { position, found });
    };
    if let Some(key) = fields.keys().find(|key| *key != ID) {
        let key = key.clone();
        return Err(ContractViolation::WrongInnerKey { position, key });
    }
    match fields.get(ID) {
        None => Err(ContractViolation::IdMissing { position }),
        Some(Value::Null) => Err(ContractViolation::IdNull { position }),
        Some(Value::String(id)) if id.is_empty() => Err(ContractViolation::IdEmpty { position }),
        Some(Value::String(id)) => Ok(id),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => {
            Err(ContractViolation::IdNotText { position, found: kind(other) })
        }
    }
}

/// The JSON type, for error texts.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::ContractViolation as V;
    use super::*;
    use crate::record::Record;

    /// Checks `response` to an event of the messages `a`, `b` and `c`.
    fn check(response: &str, expected: Result<&[&str], V>) {
        let records = ["a", "b", "c"].map(|id| Record::new("{}").message_id(id));
        let event = SqsEvent::builder().records(records).build().unwrap();
        let expected = expected.map(|ids| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>());
        assert_eq!(check_response(&event, response.as_bytes()), expected, "{response}");
    }

    #[test]
    fn nothing_and_null_and_an_empty_list_delete_everything() {
        for response in ["{}", "null", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#] {
            check(response, Ok(&[]));
        }
    }

    #[test]
    fn named_messages_are_returned() {
        check(r#"{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"a"}]}"#, Ok(&["c", "a"]));
    }

    #[test]
    fn a_wrong_top_level_key_would_lose_data() {
        let key = || V::WrongTopLevelKey { key: "batchItemfailures".into() };
        check(r#"{"batchItemfailures":[{"itemIdentifier":"a"}]}"#, Err(key()));
        check(r#"{"batchItemFailures":[],"batchItemfailures":[]}"#, Err(key()));
    }

    #[test]
    fn an_answer_that_is_not_json_is_a_violation() {
        for response in ["", "{", "{}{}"] {
            let event = SqsEvent::builder().build().unwrap();
            let violation = check_response(&event, response.as_bytes()).unwrap_err();
            assert!(matches!(violation, V::NotJson { .. }), "{response}: {violation}");
        }
    }

    #[test]
    fn an_answer_that_is_no_object_is_a_violation() {
        check("[]", Err(V::NotAnObject { found: "a list" }));
        check(r#""ok""#, Err(V::NotAnObject { found: "text" }));
        check("true", Err(V::NotAnObject { found: "a truth value" }));
    }

    #[test]
    fn failures_must_be_a_list() {
        check(r#"{"batchItemFailures":{}}"#, Err(V::FailuresNotAList { found: "an object" }));
        check(r#"{"batchItemFailures":"a"}"#, Err(V::FailuresNotAList { found: "text" }));
    }

    #[test]
    fn each_entry_must_be_an_object_with_that_one_key() {
        let entry = |entry: &str| format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"a"}},{entry}]}}"#);
        let position = 1;
        check(&entry(r#""b""#), Err(V::EntryNotAnObject { position, found: "text" }));
        check(&entry("null"), Err(V::EntryNotAnObject { position, found: "null" }));
        check(&entry(r#"{"messageId":"b"}"#), Err(V::WrongInnerKey { position, key: "messageId".into() }));
        check(&entry("{}"), Err(V::IdMissing { position }));
        check(&entry(r#"{"itemIdentifier":null}"#), Err(V::IdNull { position }));
        check(&entry(r#"{"itemIdentifier":7}"#), Err(V::IdNotText { position, found: "a number" }));
        check(&entry(r#"{"itemIdentifier":""}"#), Err(V::IdEmpty { position }));
        check(&entry(r#"{"itemIdentifier":"x"}"#), Err(V::IdUnknown { position, id: "x".into() }));
        check(&entry(r#"{"itemIdentifier":"a"}"#), Err(V::IdDuplicate { position, id: "a".into() }));
    }
}
