//! The little that `send` looks at in a measurement: that it is one JSON object, and whether it has a uid.
//!
//! Everything else is the relay's to judge: it keeps what it refuses, with a reason, while a second set of rules here
//! would only drift from it. The text is never re-serialised; a minted uid is spliced into it.

use std::fmt;
use std::ops::Range;

use files::read::{Stop, TEXT_BYTES_MAX};
use relay_core::reason::Reason;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Most bytes of one SQS message, attributes included; `send` sets none. Also most bytes of one `SendMessageBatch`.
/// Source: the SQS developer guide, message quotas.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1_048_576;
const _: () = assert!(MESSAGE_BYTES_MAX == TEXT_BYTES_MAX, "what a message can hold is read whole");

/// Whether a measurement has the identity that makes a second send harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Uid {
    /// There is one; whether m3ter will take it is the relay's to say.
    Given,
    /// There is no `uid` at all.
    Absent,
    /// There is a `uid` that is null or empty text, at these bytes.
    Blank(Range<usize>),
}

/// What is wrong with a measurement's text. Its text says what was expected and quotes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// It is JSON of another kind, or text.
    #[error("expected one JSON object")]
    NotAnObject,
    /// It opens like an object and goes wrong at this column, from 1.
    #[error("expected one JSON object, but the JSON breaks off or goes wrong at column {column}")]
    NotJson { column: usize },
    /// It holds a character that SQS does not carry.
    #[error("expected text without the characters U+FFFE and U+FFFF, which SQS does not carry: write them as \\ufffe, \\uffff")]
    NotCarried,
    /// It cannot travel in any message.
    #[error("expected at most {MESSAGE_BYTES_MAX} bytes, the most SQS carries in one message; found more")]
    TooLarge,
}

impl Malformed {
    /// Why the relay would not take it, in its words.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::NotAnObject => Reason::NotAMeasurement,
            Self::NotJson { .. } | Self::NotCarried => Reason::NotJson,
            Self::TooLarge => Reason::Oversize,
        }
    }

    /// The end of reading, on `line`.
    pub(crate) fn stop(self, line: u64) -> Stop {
        Stop::at(line, self.reason(), self.to_string())
    }
}

/// Whether SQS carries `text`, however long.
pub(crate) fn is_carried(text: &str) -> bool {
    // Both begin with this byte, which is rare: nearly every text is looked at once, byte by byte.
    !text.as_bytes().contains(&0xef) || !text.contains(['\u{fffe}', '\u{ffff}'])
}

/// Checks that `text`, without surrounding white space, is one JSON object that a message can hold; finds its uid.
///
/// # Errors
/// [`Malformed`], saying what was expected.
pub(crate) fn inspect(text: &str) -> Result<Uid, Malformed> {
    if text.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed::TooLarge);
    }
    if !text.starts_with('{') {
        return Err(Malformed::NotAnObject);
    }
    if !is_carried(text) {
        return Err(Malformed::NotCarried);
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let uid = reader
        .deserialize_map(FindUid)
        .and_then(|uid| reader.end().map(|()| uid))
        .map_err(|error| Malformed::NotJson { column: error.column() })?;
    Ok(match uid.map(RawValue::get) {
        None => Uid::Absent,
        Some(raw @ ("null" | "\"\"")) => {
            let start = raw.as_ptr() as usize - text.as_ptr() as usize;
            Uid::Blank(start..start + raw.len())
        }
        Some(_) => Uid::Given,
    })
}

/// Writes `text` with `uid` to `out`, on one line: line feeds can only stand between tokens, where a space means the same.
pub(crate) fn write_line(text: &str, uid: &Uid, minted: impl FnOnce() -> uuid::Uuid, out: &mut String) {
    let start = out.len();
    match uid {
        Uid::Given => out.push_str(text),
        Uid::Absent => {
            let rest = text.get(1..).unwrap_or_default();
            let comma = if rest.trim_ascii_start().starts_with('}') { "" } else { "," };
            out.push_str(&format!("{{\"uid\":\"{}\"{comma}{rest}", minted()));
        }
        Uid::Blank(at) => {
            let (before, after) = (text.get(..at.start).unwrap_or_default(), text.get(at.end..).unwrap_or_default());
            out.push_str(&format!("{before}\"{}\"{after}", minted()));
        }
    }
    if out.get(start..).is_some_and(|line| line.contains(['\n', '\r'])) {
        let line = out.split_off(start).replace(['\n', '\r'], " ");
        out.push_str(&line);
    }
    out.push('\n');
}

/// Finds the value of the first `uid` that is not blank, else of the first.
struct FindUid;

impl<'de> Visitor<'de> for FindUid {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a measurement")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found: Option<&'de RawValue> = None;
        while let Some(is_uid) = map.next_key_seed(IsUid)? {
            if !is_uid {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<&'de RawValue>()?;
            found = match found {
                Some(earlier) if matches!(value.get(), "null" | "\"\"") => Some(earlier),
                _ => Some(value),
            };
        }
        Ok(found)
    }
}

/// Reads a key without keeping it: is it `uid`?
struct IsUid;

impl<'de> DeserializeSeed<'de> for IsUid {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for IsUid {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == "uid")
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minted(text: &str) -> String {
        let mut out = String::new();
        write_line(text, &inspect(text).unwrap(), || uuid::Uuid::from_u128(7), &mut out);
        out
    }

    #[test]
    fn a_uid_is_given_absent_or_blank_wherever_it_stands() {
        for (text, uid) in [
            (r#"{"uid":"a"}"#, Uid::Given),
            (r#"{"meter":"m","uid":7}"#, Uid::Given),
            (r#"{"\u0075id":"a"}"#, Uid::Given),
            (r#"{"meter":"uid"}"#, Uid::Absent),
            (r#"{"other":{"uid":"inner"}}"#, Uid::Absent),
            (r#"{"uid":null}"#, Uid::Blank(7..11)),
            (r#"{"uid": ""}"#, Uid::Blank(8..10)),
            (r#"{"uid":null,"uid":"a"}"#, Uid::Given),
            (r#"{"uid":"a","uid":null}"#, Uid::Given),
            ("{}", Uid::Absent),
        ] {
            assert_eq!(inspect(text), Ok(uid), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_json_object_is_told_apart() {
        for (text, fault) in [
            ("", Malformed::NotAnObject),
            ("hello", Malformed::NotAnObject),
            ("[1]", Malformed::NotAnObject),
            (r#"{"a":1"#, Malformed::NotJson { column: 6 }),
            (r#"{"a":01}"#, Malformed::NotJson { column: 7 }),
            (r#"{"a":1} {"b":2}"#, Malformed::NotJson { column: 9 }),
            ("{\"a\":\"\u{ffff}\"}", Malformed::NotCarried),
        ] {
            assert_eq!(inspect(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn a_measurement_as_large_as_a_message_passes_and_one_byte_more_does_not() {
        let of = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert_eq!(inspect(&of(MESSAGE_BYTES_MAX)), Ok(Uid::Absent));
        assert_eq!(inspect(&of(MESSAGE_BYTES_MAX + 1)), Err(Malformed::TooLarge));
    }

    #[test]
    fn a_minted_uid_is_spliced_in_and_the_rest_stays_as_written() {
        let uid = "00000000-0000-0000-0000-000000000007";
        assert_eq!(minted(r#"{"a": 1.50}"#), format!("{{\"uid\":\"{uid}\",\"a\": 1.50}}\n"));
        assert_eq!(minted("{ }"), format!("{{\"uid\":\"{uid}\" }}\n"));
        assert_eq!(minted(r#"{"a":1,"uid":null,"b":2}"#), format!("{{\"a\":1,\"uid\":\"{uid}\",\"b\":2}}\n"));
        assert_eq!(minted(r#"{"uid":"mine","a":1}"#), "{\"uid\":\"mine\",\"a\":1}\n");
    }

    #[test]
    fn a_measurement_written_over_several_lines_is_saved_on_one() {
        assert_eq!(minted("{\n  \"uid\": \"a\",\r\n  \"b\": \"x\\ny\"\n}"), "{   \"uid\": \"a\",    \"b\": \"x\\ny\" }\n");
    }
}
