//! Reads one level of JSON at a time and leaves everything below as it was written.
//!
//! A measurement is spliced into a batch as its producer wrote it, so nothing here builds a tree: an object becomes its
//! keys and the text of its values. Only keys and strings that hold escapes are copied, into the arena.

use std::fmt;

use bumpalo::Bump;
use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The text is not one JSON value of the kind asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// A key of an object and the text of its value.
pub(crate) type Member<'a> = (&'a str, &'a str);

/// The kinds of JSON value, told by their first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Null,
    Other,
}

/// The kind of the value that `text` holds, which must be valid JSON without white space around it.
pub(crate) fn kind(text: &str) -> Kind {
    match text.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b'-' | b'0'..=b'9') => Kind::Number,
        Some(b'n') => Kind::Null,
        _ => Kind::Other,
    }
}

/// JSON's own white space, which is less than Unicode's.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// Whether `text` is exactly one JSON value.
pub(crate) fn is_value(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Puts the members of the object `text` into `members`, in the order written, copies of a key included.
pub(crate) fn members<'a>(text: &'a str, arena: &'a Bump, members: &mut Vec<Member<'a>>) -> Result<(), NotJson> {
    members.clear();
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Members { arena, members }).map_err(|_| NotJson)?;
    reader.end().map_err(|_| NotJson)
}

/// The texts of the elements of the array `text`.
pub(crate) fn elements(text: &str) -> Result<Vec<&str>, NotJson> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| NotJson)?;
    Ok(elements.into_iter().map(RawValue::get).collect())
}

/// The string that the JSON text `text` stands for; an error for a lone surrogate, which no Unicode text can hold.
/// The text must be a JSON string.
pub(crate) fn string<'a>(text: &'a str, arena: &'a Bump) -> Result<&'a str, NotJson> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(NotJson)?;
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(inner);
    }
    let unescaped: String = serde_json::from_str(text).map_err(|_| NotJson)?;
    Ok(arena.alloc_str(&unescaped))
}

/// How deep the objects and arrays of the JSON `text` nest: 0 for a scalar, 1 for `{}`.
pub(crate) fn depth(text: &str) -> usize {
    let (mut deepest, mut depth, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            // JSON has it inside of strings alone.
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Members<'a, 'm> {
    arena: &'a Bump,
    members: &'m mut Vec<Member<'a>>,
}

impl<'a> Visitor<'a> for Members<'a, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key_seed(Key { arena: self.arena })? {
            self.members.push((key, map.next_value::<&RawValue>()?.get()));
        }
        Ok(())
    }
}

struct Key<'a> {
    arena: &'a Bump,
}

impl<'a> DeserializeSeed<'a> for Key<'a> {
    type Value = &'a str;

    fn deserialize<D: serde::Deserializer<'a>>(self, reader: D) -> Result<&'a str, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Key<'a> {
    type Value = &'a str;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'a str) -> Result<&'a str, E> {
        Ok(key)
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<&'a str, E> {
        Ok(self.arena.alloc_str(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_order_copies_and_the_text_of_values() {
        let arena = Bump::new();
        let mut found = Vec::new();
        members(r#" {"a": 1.50, "b\u0041":[ 1 ] ,"a":"x"} "#, &arena, &mut found).unwrap();
        assert_eq!(found, [("a", "1.50"), ("bA", "[ 1 ]"), ("a", r#""x""#)]);
    }

    #[test]
    fn what_is_not_one_object_is_not_json_here() {
        let arena = Bump::new();
        for text in ["", "{", "[]", "1", "{} {}", r#"{"a":1,}"#, r#"{"a":01}"#, "{\"a\":\"\n\"}", r#"{"\ud800":1}"#, "\u{feff}{}"]
        {
            assert_eq!(members(text, &arena, &mut Vec::new()), Err(NotJson), "{text:?}");
        }
    }

    #[test]
    fn nesting_of_any_depth_is_read_without_recursion() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let arena = Bump::new();
        let mut found = Vec::new();
        members(&deep, &arena, &mut found).unwrap();
        assert_eq!((found.len(), depth(&deep)), (1, 100_001));
    }

    #[test]
    fn brackets_inside_strings_do_not_nest() {
        assert_eq!(depth(r#"{"a":"[[[\"[[","b":[1]}"#), 2);
        assert_eq!(depth(r#"{"a":"}}}\\","b":[1]}"#), 2);
        assert_eq!(depth("1"), 0);
    }

    #[test]
    fn what_stands_side_by_side_does_not_nest() {
        assert_eq!(depth(r#"[[],{},[[]],{"a":{}},[]]"#), 3);
    }

    #[test]
    fn a_string_is_unescaped_and_a_lone_surrogate_is_refused() {
        let arena = Bump::new();
        assert_eq!(string(r#""plain""#, &arena), Ok("plain"));
        assert_eq!(string(r#""a\n\u00e9\ud83d\ude00""#, &arena), Ok("a\né😀"));
        assert_eq!(string(r#""\ud83d""#, &arena), Err(NotJson));
    }
}
