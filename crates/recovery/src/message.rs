//! The message that an entry becomes when it is sent again: alone, so that what is known of it stands on its message.

use bumpalo::Bump;
use relay_core::guard::{uid_of, with_uid};
use relay_core::inbound::{BEYOND_WINDOW, CONTENT_ENCODING, FIRST_SENT_AT, ORIGIN, Origin, OriginKind};
use relay_store::{Entry, EntryAttribute};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::decision::{Go, Not};

/// Most bytes of a message, attributes included. Source: the SQS developer guide, message quotas.
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// Most attributes of a message. Source: the same.
pub const ATTRIBUTES_MAX: usize = 10;

/// Attributes that say how to read a body. The second and third are the extended client's.
const READING: [&str; 3] = [CONTENT_ENCODING, "ExtendedPayloadSize", "SQSLargePayloadSize"];

/// What the relay's own attributes begin with: they are written anew.
const OWN: &str = "usage-relay-";

/// A message to put on the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub body: String,
    /// What is known of it.
    pub attributes: Vec<EntryAttribute>,
}

/// The message of `entry`, sent again as it was.
///
/// # Errors
/// [`Not::CannotTravel`] if no message can carry it.
pub fn again(entry: &Entry, go: &Go) -> Result<Message, Not> {
    let arena = Bump::new();
    let Some(measurement) = entry.measurement.as_deref().map(RawValue::get) else {
        let body = entry.body.clone().unwrap_or_default();
        let mut attributes = own(entry.qid, go, OriginKind::Replay, None);
        attributes.extend(producers(entry, ATTRIBUTES_MAX - attributes.len()));
        return fits(Message { body, attributes });
    };
    let new_uid = go.new_uid.map(|uid| uid.to_string());
    // A uid that the relay made from content is not in the text. It goes out under the same, whatever the setting says now.
    let made = entry.uid.as_deref().filter(|_| uid_of(measurement, &arena).is_none());
    let body = match new_uid.as_deref().or(made) {
        Some(uid) => with_uid(measurement, uid, &arena).unwrap_or(measurement),
        None => measurement,
    };
    fits(Message { body: body.to_owned(), attributes: own(entry.qid, go, OriginKind::Replay, entry.uid.as_deref()) })
}

/// The message of mended `measurements` in place of the entry `qid`.
///
/// # Errors
/// As [`again`].
pub fn mended(qid: Uuid, go: &Go, measurements: &[&str], beyond_window: Option<&str>) -> Result<Message, Not> {
    let body = match measurements {
        [one] => (*one).to_owned(),
        several => format!("{{\"measurements\":[{}]}}", several.join(",")),
    };
    fits(Message { body, attributes: own(qid, go, OriginKind::Correction, beyond_window) })
}

/// What the relay must know: where it came from, when it was first sent, and what the operator overruled.
fn own(qid: Uuid, go: &Go, kind: OriginKind, uid: Option<&str>) -> Vec<EntryAttribute> {
    let attribute = |name: &str, value: String| EntryAttribute { name: name.to_owned(), data_type: "String".to_owned(), value };
    let qid = qid.to_string();
    let mut attributes = vec![attribute(ORIGIN, Origin { kind, of: &qid }.to_string())];
    attributes.extend(go.first_sent_at_ms.map(|at_ms| attribute(FIRST_SENT_AT, at_ms.to_string())));
    let overruled = uid.filter(|_| go.beyond_window);
    attributes.extend(overruled.map(|uid| attribute(BEYOND_WINDOW, uid.to_owned())));
    attributes
}

/// The producer's attributes of a body: first what says how to read it, then as many as there is room for.
fn producers(entry: &Entry, most: usize) -> Vec<EntryAttribute> {
    let all = entry.attributes.as_deref().unwrap_or_default();
    let is_own = |one: &EntryAttribute| one.name.get(..OWN.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN));
    let mut attributes: Vec<EntryAttribute> = all.iter().filter(|one| !is_own(one)).cloned().collect();
    attributes.sort_by_key(|one| !says_how_to_read(one));
    attributes.truncate(most);
    attributes
}

fn says_how_to_read(attribute: &EntryAttribute) -> bool {
    READING.iter().any(|name| attribute.name.eq_ignore_ascii_case(name))
}

/// Leaves out attributes that only the producer knows, where there is no room for them.
fn fits(mut message: Message) -> Result<Message, Not> {
    let bytes = |message: &Message| {
        let attributes = message.attributes.iter().map(|one| one.name.len() + one.data_type.len() + one.value.len());
        message.body.len() + attributes.sum::<usize>()
    };
    if bytes(&message) > MESSAGE_BYTES_MAX {
        let is_own = |one: &EntryAttribute| one.name.starts_with(OWN);
        message.attributes.retain(|one| is_own(one) || says_how_to_read(one));
    }
    if bytes(&message) > MESSAGE_BYTES_MAX {
        return Err(Not::CannotTravel(format!("{} bytes; SQS carries {MESSAGE_BYTES_MAX}", bytes(&message))));
    }
    let is_carried = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    if message.body.is_empty() || !message.body.chars().all(is_carried) {
        return Err(Not::CannotTravel("it is empty, or holds characters that SQS does not carry".to_owned()));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kept::tests::entry;

    const QID: &str = "b0ef4eae-dd03-5cce-a261-981cfe11d98a";

    fn go() -> Go {
        Go { claim: 1, first_sent_at_ms: Some(7), new_uid: None, beyond_window: false, silent_since_ms: None }
    }

    fn attributes(message: &Message) -> Vec<(&str, &str)> {
        message.attributes.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect()
    }

    fn attribute(name: &str, value: &str) -> Value {
        json!({"name": name, "data_type": "String", "value": value})
    }

    #[test]
    fn a_measurement_goes_as_it_was_kept_with_its_origin_and_its_first_send() {
        let text = r#"{ "uid":"u","x":[ 1.50 ] }"#;
        let mut one = entry(json!({"attributes": [attribute("Content-Encoding", "gzip")]}));
        one.measurement = Some(RawValue::from_string(text.to_owned()).unwrap());
        let message = again(&one, &go()).unwrap();
        assert_eq!(message.body, text);
        let origin = format!("replay:{QID}");
        assert_eq!(attributes(&message), [("usage-relay-origin", origin.as_str()), ("usage-relay-first-sent-at", "7")]);
        let never = again(&one, &Go { first_sent_at_ms: None, ..go() }).unwrap();
        assert_eq!(attributes(&never), [("usage-relay-origin", origin.as_str())]);
        let overruled = again(&one, &Go { beyond_window: true, ..go() }).unwrap();
        assert_eq!(attributes(&overruled).last(), Some(&("usage-relay-beyond-window", "u")));
    }

    #[test]
    fn a_uid_made_from_content_or_a_new_one_is_put_in() {
        let without = json!({"uid": "made", "measurement": {"meter": "m"}});
        assert_eq!(again(&entry(without), &go()).unwrap().body, r#"{"uid":"made","meter":"m"}"#);
        let new = Go { new_uid: Some(Uuid::nil()), ..go() };
        let message = again(&entry(json!({"measurement": {"uid": "u", "meter": "m"}})), &new).unwrap();
        assert_eq!(message.body, r#"{"uid":"00000000-0000-0000-0000-000000000000","meter":"m"}"#);
    }

    #[test]
    fn a_body_keeps_its_attributes_but_the_relays_own_are_written_anew() {
        let mut read: Vec<Value> = (0..9).map(|index| attribute(&format!("a{index}"), "x")).collect();
        read.push(attribute("Usage-Relay-Origin", "replay:old"));
        read.push(attribute("content-encoding", "gzip"));
        let message = again(&entry(json!({"measurement": null, "body": "H4sI", "attributes": read})), &go()).unwrap();
        assert_eq!((message.body.as_str(), message.attributes.len()), ("H4sI", ATTRIBUTES_MAX));
        let origin = format!("replay:{QID}");
        assert_eq!(
            attributes(&message)[..3],
            [("usage-relay-origin", origin.as_str()), ("usage-relay-first-sent-at", "7"), ("content-encoding", "gzip")]
        );
    }

    #[test]
    fn what_does_not_fit_goes_without_what_only_its_producer_knows_and_else_not_at_all() {
        let body = |bytes: usize| {
            let read = [attribute("note", &"n".repeat(1_000)), attribute("Content-Encoding", "gzip")];
            entry(json!({"measurement": null, "body": "x".repeat(bytes), "attributes": read}))
        };
        let large = again(&body(MESSAGE_BYTES_MAX - 500), &go()).unwrap();
        assert_eq!(large.attributes.iter().map(|one| one.name.as_str()).collect::<Vec<_>>()[2..], ["Content-Encoding"]);
        assert!(matches!(again(&body(MESSAGE_BYTES_MAX), &go()), Err(Not::CannotTravel(_))));
        for body in ["", "a\u{ffff}", "a\u{0}"] {
            assert!(again(&entry(json!({"measurement": null, "body": body})), &go()).is_err(), "{body:?}");
        }
    }

    #[test]
    fn what_was_mended_is_a_correction_of_its_entry() {
        let message = mended(QID.parse().unwrap(), &go(), &["{\"a\":1}"], None).unwrap();
        assert_eq!(message.body, "{\"a\":1}");
        assert_eq!(attributes(&message)[0], ("usage-relay-origin", format!("correction:{QID}").as_str()));
        let two =
            mended(QID.parse().unwrap(), &Go { beyond_window: true, ..go() }, &["{\"a\":1}", "{\"b\":2}"], Some("u")).unwrap();
        assert_eq!(two.body, r#"{"measurements":[{"a":1},{"b":2}]}"#);
        assert_eq!(attributes(&two)[2], ("usage-relay-beyond-window", "u"));
    }
}
