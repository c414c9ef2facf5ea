//! The strings and maps of a measurement, borrowed from the body.
//!
//! Written by hand where serde's derive would copy: an optional string, and maps that keep their order, know a
//! repeated key, and hold numbers as they are written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decimal::Number;

/// A string, borrowed from the body unless it had to be unescaped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The unescaped text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// The entries of one map, in the order written.
#[derive(Debug)]
pub(crate) struct Entries<'a, V>(Vec<(Text<'a>, V)>);

impl<'a, V> Entries<'a, V> {
    /// Keys and values.
    pub(crate) fn as_slice(&self) -> &[(Text<'a>, V)] {
        &self.0
    }
}

/// From this many entries on, repeated keys are looked for by sorting.
const LINEAR_SEARCH_MAX: usize = 16;

impl<'de: 'a, 'a, V: FromRaw<'de>> Deserialize<'de> for Entries<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<V>(PhantomData<V>);
        impl<'de, V: FromRaw<'de>> Visitor<'de> for EntriesVisitor<V> {
            type Value = Entries<'de, V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Vec<(Text<'de>, V)> = Vec::new();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    entries.push((key, V::next_value(&mut map)?));
                }
                match repeated(&entries) {
                    Some(key) => Err(serde::de::Error::custom(format!("expected each key once, found {key:?} twice"))),
                    None => Ok(Entries(entries)),
                }
            }
        }
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// A key that is there twice.
fn repeated<'e, V>(entries: &'e [(Text<'_>, V)]) -> Option<&'e str> {
    let keys = || entries.iter().map(|(key, _)| key.as_str());
    if entries.len() <= LINEAR_SEARCH_MAX {
        return keys().enumerate().find(|(index, key)| keys().take(*index).any(|other| other == *key)).map(|(_, key)| key);
    }
    let mut sorted: Vec<&str> = keys().collect();
    sorted.sort_unstable();
    sorted.iter().zip(sorted.iter().skip(1)).find(|(left, right)| left == right).map(|(left, _)| *left)
}

/// A value of one of the maps.
pub(crate) trait FromRaw<'de>: Sized {
    fn next_value<A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error>;
}

impl<'de: 'a, 'a> FromRaw<'de> for Text<'a> {
    fn next_value<A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        map.next_value()
    }
}

impl<'de> FromRaw<'de> for Number {
    fn next_value<A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        let raw: &'de RawValue = map.next_value()?;
        Self::parse(raw.get())
            .ok_or_else(|| serde::de::Error::custom(format!("expected a number in the range of a double, found {}", raw.get())))
    }
}
