//! Reads one level of JSON at a time and leaves everything below as it was written.
//!
//! A measurement is spliced into a batch as its producer wrote it, so nothing here builds a tree: an object becomes its
//! keys and the text of its values. Only keys and strings that hold escapes are copied, into the arena.

mod scan;

use bumpalo::Bump;

pub use self::scan::Scan;

/// The text is not one JSON value of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

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

/// What a text was found to be like, besides its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// How deep objects and arrays nest: 0 for a scalar, 1 for `{}`.
    pub(crate) depth: usize,
    /// Whether there is an escape in it: only an escape can write half a character.
    pub(crate) escaped: bool,
}

/// Whether `text` is exactly one JSON value.
pub(crate) fn is_value(text: &str) -> bool {
    let mut scan = Scan::new(text);
    scan.value(0).is_ok() && scan.is_over()
}

/// Puts the members of the object `text` into `members`, in the order written, copies of a key included.
pub(crate) fn members<'a>(text: &'a str, arena: &'a Bump, members: &mut Vec<Member<'a>>) -> Result<Look, NotJson> {
    members.clear();
    more_members(text, arena, members)
}

/// The same, behind the members that are there already.
pub(crate) fn more_members<'a>(text: &'a str, arena: &'a Bump, members: &mut Vec<Member<'a>>) -> Result<Look, NotJson> {
    let mut scan = Scan::new(text);
    scan.object(|scan, key| {
        let key = match key {
            (key, false) => key,
            (key, true) => unescaped(key, arena)?,
        };
        members.push((key, scan.value(1)?));
        Ok(())
    })?;
    let look = Look { depth: scan.deepest.max(1), escaped: scan.escaped };
    if scan.is_over() { Ok(look) } else { Err(NotJson) }
}

/// The texts of the elements of the array `text`.
pub(crate) fn elements(text: &str) -> Result<Vec<&str>, NotJson> {
    let (mut scan, mut elements) = (Scan::new(text), Vec::new());
    scan.array(|scan| {
        elements.push(scan.value(1)?);
        Ok(())
    })?;
    if scan.is_over() { Ok(elements) } else { Err(NotJson) }
}

/// The string that the JSON text `text` stands for; an error for a lone surrogate, which no Unicode text can hold.
/// The text must be a JSON string.
pub fn string<'a>(text: &'a str, arena: &'a Bump) -> Result<&'a str, NotJson> {
    let inner = plain(text)?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(inner);
    }
    unescaped(inner, arena)
}

/// The same of a string in which there is no escape.
pub(crate) fn plain(text: &str) -> Result<&str, NotJson> {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(NotJson)
}

/// What the inside of a JSON string stands for, in `arena`.
pub fn unescaped<'a>(inner: &str, arena: &'a Bump) -> Result<&'a str, NotJson> {
    let (quoted, mut out) = (format!("\"{inner}\""), String::with_capacity(inner.len()));
    let mut scan = Scan::new(&quoted);
    scan.unescape(&mut out)?;
    debug_assert!(scan.is_over(), "what stands between the quotes of a JSON string");
    Ok(arena.alloc_str(&out))
}

/// How many bytes of `text`, from the first, a JSON string holds as they are: up to a quote, a backslash or a control character.
pub(crate) fn plain_length(text: &str) -> usize {
    scan::plain_length(text.as_bytes())
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
        let look = members(&deep, &arena, &mut found).unwrap();
        assert_eq!((found.len(), look.depth), (1, 100_001));
    }

    fn look(text: &str) -> Look {
        members(text, &Bump::new(), &mut Vec::new()).unwrap()
    }

    #[test]
    fn brackets_inside_strings_do_not_nest() {
        assert_eq!(look(r#"{"a":"[[[\"[[","b":[1]}"#), Look { depth: 2, escaped: true });
        assert_eq!(look(r#"{"a":"}}}\\","b":[1]}"#), Look { depth: 2, escaped: true });
        assert_eq!(look("{}"), Look { depth: 1, escaped: false });
    }

    #[test]
    fn what_stands_side_by_side_does_not_nest() {
        assert_eq!(look(r#"{"a":[[],{},[[]],{"a":{}},[]]}"#).depth, 4);
    }

    #[test]
    fn an_escape_in_a_key_counts() {
        assert_eq!(look(r#"{"\u0061":1}"#), Look { depth: 1, escaped: true });
    }

    #[test]
    fn what_a_string_holds_as_it_is_ends_before_the_first_special_byte() {
        for special in ['"', '\\', '\n', '\u{0}', '\u{1f}'] {
            for place in 0..20 {
                let text = format!("{}{special}{}", "é".repeat(place / 2) + &"x".repeat(place % 2), "y\"\u{1}".repeat(4));
                assert_eq!(plain_length(&text), text.find(special).unwrap(), "{text:?}");
            }
        }
        for whole in ["", "a", "a b~\u{7f}é😀 12345678"] {
            assert_eq!(plain_length(whole), whole.len());
        }
    }

    #[test]
    fn a_string_is_unescaped_and_a_lone_surrogate_is_refused() {
        let arena = Bump::new();
        assert_eq!(string(r#""plain""#, &arena), Ok("plain"));
        assert_eq!(string(r#""a\n\u00e9\ud83d\ude00""#, &arena), Ok("a\né😀"));
        assert_eq!(string(r#""\ud83d""#, &arena), Err(NotJson));
        for other in ["null", "true", "123456", "1.5e3", "{}", "[\"a\"]", "\"", ""] {
            assert_eq!(string(other, &arena), Err(NotJson), "{other}");
        }
    }
}
