//! Identity by content: the canonical form of a measurement, and the uid made from it.
//!
//! Canonical form, version 1: the measurement without its `uid` and without top-level members that are `null`, which are
//! never sent; keys sorted by their UTF-8 bytes; no white space; strings with the fewest escapes; numbers, times and
//! literals as written. It is frozen: producers in other languages make the same, and golden vectors hold it.
//!
//! Numbers are not normalised, since `1.0` and `1` need not mean the same to every reader, and a rule for them would have
//! to be matched to the last digit in every language.

use bumpalo::Bump;
use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid};

use crate::json::{self, Kind, Member, NotJson};
use crate::limits::JSON_DEPTH_MAX;

/// The namespace of uids made from content, itself the UUIDv5 of the URL namespace and the name `usage-relay/content/v1`.
pub const CONTENT_NAMESPACE: Uuid = Uuid::from_u128(0x516e_2a5e_8a4e_5321_9d80_fac9_e068_1c5f);

/// The canonical form of the measurement `text`, or `None` if it is no JSON object, nests deeper than
/// [`JSON_DEPTH_MAX`] or holds text that is not Unicode.
pub fn canonical(text: &str, arena: &Bump) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    write(text, arena, &mut out).then_some(out)
}

/// Writes the same behind what `out` holds; false if there is none, and then `out` may hold a part of one.
pub fn write(text: &str, arena: &Bump, out: &mut String) -> bool {
    Writer { arena, members: Vec::with_capacity(MEMBERS), escaped: true, out }.measurement(text).is_ok()
}

/// Room for the members of a measurement and of the objects in it, without growing.
const MEMBERS: usize = 32;

/// The uid that the setting `MissingUid=content` gives: equal measurements get equal uids, whoever makes them.
pub fn content_uid(canonical: &str) -> Uuid {
    // The same as Uuid::new_v5, by the processor's own instructions for SHA-1 where it has them.
    let hash = Sha1::new_with_prefix(CONTENT_NAMESPACE.as_bytes()).chain_update(canonical).finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash).for_each(|(byte, from)| *byte = from);
    Builder::from_sha1_bytes(bytes).into_uuid()
}

/// Writes the canonical form of one measurement.
struct Writer<'a, 'o> {
    arena: &'a Bump,
    /// Of the objects that are being written, the outermost first.
    members: Vec<Member<'a>>,
    /// Whether there is an escape anywhere: what has none is written with the fewest.
    escaped: bool,
    out: &'o mut String,
}

impl<'a> Writer<'a, '_> {
    fn measurement(&mut self, text: &'a str) -> Result<(), NotJson> {
        self.escaped = json::members(text, self.arena, &mut self.members)?.escaped;
        self.members.retain(|(key, text)| *key != "uid" && json::kind(text) != Kind::Null);
        self.object(0, 1)
    }

    /// Writes the object whose members are those from the place `first` on, and takes them away.
    fn object(&mut self, first: usize, depth: usize) -> Result<(), NotJson> {
        self.members.get_mut(first..).unwrap_or_default().sort_by_key(|(key, _)| *key);
        let mut before = '{';
        for place in first..self.members.len() {
            let Some((key, text)) = self.members.get(place).copied() else { break };
            self.out.push(std::mem::replace(&mut before, ','));
            match self.escaped {
                true => string(key, self.out),
                false => {
                    self.out.push('"');
                    self.out.push_str(key);
                    self.out.push('"');
                }
            }
            self.out.push(':');
            self.value(text, depth)?;
        }
        if before == '{' {
            self.out.push('{');
        }
        self.out.push('}');
        self.members.truncate(first);
        Ok(())
    }

    fn value(&mut self, text: &'a str, depth: usize) -> Result<(), NotJson> {
        match json::kind(text) {
            Kind::Object | Kind::Array if depth >= JSON_DEPTH_MAX => return Err(NotJson),
            Kind::Object => {
                let first = self.members.len();
                json::more_members(text, self.arena, &mut self.members)?;
                self.object(first, depth + 1)?;
            }
            Kind::Array => {
                self.out.push('[');
                for (index, element) in json::elements(text)?.into_iter().enumerate() {
                    if index > 0 {
                        self.out.push(',');
                    }
                    self.value(element, depth + 1)?;
                }
                self.out.push(']');
            }
            Kind::Text if self.escaped && memchr::memchr(b'\\', text.as_bytes()).is_some() => {
                string(json::string(text, self.arena)?, self.out);
            }
            Kind::Text | Kind::Number | Kind::Null | Kind::Other => self.out.push_str(text),
        }
        Ok(())
    }
}

/// Writes `text` as a JSON string with the fewest escapes: `"`, `\` and controls below U+0020, short forms where JSON has them.
pub fn string(text: &str, out: &mut String) {
    out.push('"');
    // Most text needs no escape.
    if json::plain_length(text) == text.len() {
        out.push_str(text);
        out.push('"');
        return;
    }
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str, uid: &str) {
        let canonical = canonical(text, &Bump::new()).unwrap();
        assert_eq!(canonical, expected);
        assert_eq!(content_uid(&canonical).to_string(), uid);
    }

    #[test]
    fn a_content_uid_is_the_uuid_of_version_5() {
        for length in 0..200 {
            let text = "é1{".repeat(length);
            assert_eq!(content_uid(&text), Uuid::new_v5(&CONTENT_NAMESPACE, text.as_bytes()));
        }
    }

    #[test]
    fn the_namespace_is_the_one_its_name_makes() {
        assert_eq!(Uuid::new_v5(&Uuid::NAMESPACE_URL, b"usage-relay/content/v1"), CONTENT_NAMESPACE);
    }

    #[test]
    fn golden_vector_keys_sorted_numbers_as_written_uid_left_out() {
        check(
            r#"{ "uid":"ignored", "ts":"2026-01-02T03:04:05Z","meter":"api", "account":"acme","measure":{"calls":1.50} }"#,
            r#"{"account":"acme","measure":{"calls":1.50},"meter":"api","ts":"2026-01-02T03:04:05Z"}"#,
            "df8ade9d-7e15-58a9-937e-b9ded5fee8a3",
        );
    }

    #[test]
    fn golden_vector_fewest_escapes_nested_values_literals_as_written() {
        check(
            r#"{"zz":[ {"b":[true,1E5],"a":null} ],"ts":"t","meter":"\u0001\/","account":"\u00e9\n\ud83d\ude00"}"#,
            r#"{"account":"é\n😀","meter":"\u0001/","ts":"t","zz":[{"a":null,"b":[true,1E5]}]}"#,
            "0d255793-b9d5-53a4-884b-4c39788baa99",
        );
    }

    #[test]
    fn golden_vector_a_member_that_is_null_is_as_good_as_absent_and_a_nested_null_is_not() {
        check(
            r#"{"account":"acme","ets":null,"measure":{"calls":1.50},"meter":"api","ts":"2026-01-02T03:04:05Z"}"#,
            r#"{"account":"acme","measure":{"calls":1.50},"meter":"api","ts":"2026-01-02T03:04:05Z"}"#,
            "df8ade9d-7e15-58a9-937e-b9ded5fee8a3",
        );
        check(r#"{"x":{"y":null}}"#, r#"{"x":{"y":null}}"#, "514acb72-5d3a-510e-8440-679146580018");
    }

    #[test]
    fn golden_vector_a_space_and_a_delete_stay_and_controls_are_escaped_the_shortest_way() {
        check(
            r#"{"account":"a\u0020b","meter":"\u0008\u0009\u000a\u000c\u000d\u0022\u005c\u002f\u001F\u007f","ts":"t"}"#,
            "{\"account\":\"a b\",\"meter\":\"\\b\\t\\n\\f\\r\\\"\\\\/\\u001f\u{7f}\",\"ts\":\"t\"}",
            "51d4d0db-01af-5fcf-8695-305ac96668c1",
        );
    }

    #[test]
    fn a_character_that_stands_alone_is_escaped_as_it_is_among_others() {
        for (alone, written) in
            [("\"", r#""\"""#), ("\\", r#""\\""#), ("\n", r#""\n""#), ("\u{1}", r#""\u0001""#), ("a", r#""a""#)]
        {
            let mut out = String::new();
            string(alone, &mut out);
            assert_eq!(out, written);
        }
    }

    #[test]
    fn a_nested_value_too_deep_has_no_canonical_form_be_it_of_arrays_or_of_objects() {
        let deep = |open: &str, levels: usize, close: &str| format!("{{\"a\":{}1{}}}", open.repeat(levels), close.repeat(levels));
        for (open, close) in [("[", "]"), ("{\"b\":", "}")] {
            assert!(canonical(&deep(open, JSON_DEPTH_MAX - 1, close), &Bump::new()).is_some(), "{open}");
            assert_eq!(canonical(&deep(open, JSON_DEPTH_MAX, close), &Bump::new()), None, "{open}");
        }
    }
}
