//! Reads the text of a measurement once: its members, and the data fields inside of its categories.
//!
//! What is read is kept in the arena, for decode finds measurements by reading them, and guard judges what was read. Nothing is judged
//! here but whether it is JSON.

use bumpalo::Bump;

use crate::json::{self, Kind, Look, Member, NotJson, Scan};

/// Most members and data fields of a measurement whose reading is kept. Few have more than twenty.
const KEPT_PARTS_MAX: usize = 64;

/// The categories of data fields: name, and whether values are numbers.
pub(crate) const CATEGORIES: [(&str, bool); 8] = [
    ("measure", true),
    ("what", false),
    ("where", false),
    ("who", false),
    ("other", false),
    ("metadata", false),
    ("cost", true),
    ("income", true),
];

/// A data field: its code, the place of its category among [`CATEGORIES`] and the text of its value.
pub(crate) type Field<'a> = (&'a str, (usize, &'a str));

/// An object of JSON, read as a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Read<'r, 'a> {
    /// Keys and the texts of their values, in the order written, copies of a key included.
    pub(crate) members: &'r [Member<'a>],
    /// The data fields, in the order written.
    pub(crate) fields: &'r [Field<'a>],
    /// How it nests, and whether there is an escape in it.
    pub(crate) look: Look,
    /// Whether a key holds half of a surrogate pair, which no Unicode text can hold.
    pub(crate) has_broken_key: bool,
    /// The same of the code of a data field.
    pub(crate) has_broken_code: bool,
}

/// Room for what is being read, kept for the next one.
#[derive(Debug, Default)]
pub(crate) struct Room<'a> {
    members: Vec<Member<'a>>,
    fields: Vec<Field<'a>>,
}

/// Reads the whole of `text`, which must be an object.
pub(crate) fn read<'r, 'a>(text: &'a str, arena: &'a Bump, room: &'r mut Room<'a>) -> Result<Read<'r, 'a>, NotJson> {
    let mut scan = Scan::new(text);
    let read = read_at(&mut scan, arena, room, |_, _| Ok(None))?;
    if scan.is_over() { Ok(read) } else { Err(NotJson) }
}

/// Reads the object that comes next. `other` may take the value of a member in its own way; then it gives its text.
pub(crate) fn read_at<'r, 'a>(
    scan: &mut Scan<'a>,
    arena: &'a Bump,
    room: &'r mut Room<'a>,
    mut other: impl FnMut(&mut Scan<'a>, &str) -> Result<Option<&'a str>, NotJson>,
) -> Result<Read<'r, 'a>, NotJson> {
    let Room { members, fields } = room;
    members.clear();
    fields.clear();
    (scan.deepest, scan.escaped) = (1, false);
    let (mut has_broken_key, mut has_broken_code) = (false, false);
    scan.object(|scan, key| {
        let key = unicode(key, arena, &mut has_broken_key);
        let value = match category(key) {
            Some(place) if scan.peek() == b'{' => {
                let begin = scan.place();
                scan.deepest = scan.deepest.max(2);
                scan.object(|scan, code| {
                    let code = unicode(code, arena, &mut has_broken_code);
                    fields.push((code, (place, scan.value(2)?)));
                    Ok(())
                })?;
                scan.since(begin)
            }
            Some(_) => scan.value(1)?,
            None => match other(scan, key)? {
                Some(value) => value,
                None => scan.value(1)?,
            },
        };
        members.push((key, value));
        Ok(())
    })?;
    let look = Look { depth: scan.deepest, escaped: scan.escaped };
    Ok(Read { members, fields, look, has_broken_key, has_broken_code })
}

impl<'a> Read<'_, 'a> {
    /// A copy that lives as long as `arena`, unless that takes more than is left of `bytes_left`. What has many parts is never
    /// copied: it is read again when it is judged, so that a few messages cannot take all the memory there is.
    pub(crate) fn kept(&self, arena: &'a Bump, bytes_left: &mut usize) -> Option<Read<'a, 'a>> {
        if self.members.len() + self.fields.len() > KEPT_PARTS_MAX {
            return None;
        }
        *bytes_left = bytes_left.checked_sub(size_of_val(self.members) + size_of_val(self.fields))?;
        let (members, fields) = (arena.alloc_slice_copy(self.members), arena.alloc_slice_copy(self.fields));
        Some(Read { members, fields, ..*self })
    }

    /// The text of the value of `key`, unless that is null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        let (_, text) = self.members.iter().find(|(other, _)| *other == key)?;
        Some(*text).filter(|text| json::kind(text) != Kind::Null)
    }
}

fn unicode<'a>((key, escaped): (&'a str, bool), arena: &'a Bump, is_broken: &mut bool) -> &'a str {
    if !escaped {
        return key;
    }
    json::unescaped(key, arena).unwrap_or_else(|_| {
        *is_broken = true;
        key
    })
}

/// The place of the category `key` among [`CATEGORIES`], if it is one.
#[inline]
pub(crate) fn category(key: &str) -> Option<usize> {
    match key {
        "measure" => Some(0),
        "what" => Some(1),
        "where" => Some(2),
        "who" => Some(3),
        "other" => Some(4),
        "metadata" => Some(5),
        "cost" => Some(6),
        "income" => Some(7),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_the_fields_inside_of_categories_are_read_in_one_go() {
        let arena = Bump::new();
        let text = r#" {"uid":"u","measure":{"calls":1,"b\u0079tes":2.5},"what":{ },"who":null,"more":{"a":[[]]},"uid":7} "#;
        let mut room = Room::default();
        let read = read(text, &arena, &mut room).unwrap();
        let keys: Vec<_> = read.members.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["uid", "measure", "what", "who", "more", "uid"]);
        assert_eq!(read.members[1].1, r#"{"calls":1,"b\u0079tes":2.5}"#);
        assert_eq!(read.fields, [("calls", (0, "1")), ("bytes", (0, "2.5"))]);
        assert_eq!(read.look, Look { depth: 4, escaped: true });
        assert!(!read.has_broken_key && !read.has_broken_code);
        assert_eq!((read.get("uid"), read.get("who"), read.get("none")), (Some(r#""u""#), None, None));
    }

    #[test]
    fn what_is_no_whole_object_is_not_read_and_half_a_character_in_a_key_is_told() {
        let arena = Bump::new();
        let told = |text| read(text, &arena, &mut Room::default()).map(|read| (read.has_broken_key, read.has_broken_code));
        for text in ["", "[]", "1", "{", "{}{}", r#"{"measure":{"a":}}"#, r#"{"measure":{"a":1}"#] {
            assert!(told(text).is_err(), "{text}");
        }
        assert_eq!(told(r#"{"\ud800":1}"#), Ok((true, false)));
        assert_eq!(told(r#"{"what":{"\ud800":1}}"#), Ok((false, true)));
    }

    #[test]
    fn each_category_has_its_own_place() {
        for (place, (name, _)) in CATEGORIES.into_iter().enumerate() {
            assert_eq!(category(name), Some(place));
        }
        assert_eq!(category("meter"), None);
    }
}
