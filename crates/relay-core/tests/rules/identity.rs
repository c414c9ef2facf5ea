//! Identity: one canonical form for all ways to write a content, another one for every other content.

use bumpalo::Bump;
use proptest::prelude::*;
use relay_core::canonical::{canonical, content_uid};
use serde_json::Value;

use crate::given::{config, object};

fn form(text: &str) -> String {
    canonical(text, &Bump::new()).unwrap()
}

/// The content of a measurement: all but its uid and the members that are null.
fn content(value: &Value) -> Value {
    let members = value.as_object().unwrap().iter().filter(|(key, member)| *key != "uid" && !member.is_null());
    Value::Object(members.map(|(key, member)| (key.clone(), member.clone())).collect())
}

/// Writes `value` again: keys backwards, white space, every character of a string escaped where `escape` says so.
fn respell(value: &Value, escape: bool) -> String {
    let string = |text: &str| match escape {
        true => format!("\"{}\"", text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<String>()),
        false => Value::from(text).to_string().replace('/', "\\/"),
    };
    match value {
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().rev().map(|(key, member)| format!("\n{} :\t{}", string(key), respell(member, escape))).collect();
            format!(" {{{} }}\r\n", members.join(" ,"))
        }
        Value::Array(elements) => {
            format!("[ {} ]", elements.iter().map(|element| respell(element, escape)).collect::<Vec<_>>().join(" , "))
        }
        Value::String(text) => string(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Every value inside `value`, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Object(members) => members.values().map(count).sum(),
        Value::Array(elements) => elements.iter().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Changes the value at `place`, counted as [`count`] does.
fn change(value: &mut Value, place: &mut usize) {
    if *place == 0 {
        *value = match value {
            Value::Number(number) => Value::from(number.to_string()),
            Value::String(text) => Value::from(format!("{text} ")),
            Value::Null => Value::from(false),
            Value::Bool(bool) => Value::from(!*bool),
            Value::Array(elements) => Value::from([elements.as_slice(), &[Value::Null]].concat()),
            Value::Object(members) => Value::from(vec![Value::Object(members.clone())]),
        };
    }
    let inner: Vec<&mut Value> = match value {
        Value::Object(members) => members.values_mut().collect(),
        Value::Array(elements) => elements.iter_mut().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    if *place == 0 {
        *place = usize::MAX;
        return;
    }
    *place -= 1;
    for one in inner {
        if *place != usize::MAX {
            change(one, place);
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn the_canonical_form_reads_back_as_the_content_and_is_its_own(object in object()) {
        let canonical = form(&object.to_string());
        prop_assert_eq!(serde_json::from_str::<Value>(&canonical).unwrap(), content(&object));
        prop_assert_eq!(form(&canonical), canonical);
    }

    #[test]
    fn order_of_keys_white_space_and_escapes_do_not_change_it(object in object()) {
        let canonical = form(&object.to_string());
        prop_assert_eq!(&form(&respell(&object, false)), &canonical);
        prop_assert_eq!(form(&respell(&object, true)), canonical);
    }

    #[test]
    fn any_other_value_anywhere_gives_another_form_and_another_uid(object in object(), place in any::<prop::sample::Index>()) {
        let content = content(&object);
        prop_assume!(count(&content) > 1);
        let mut other = content.clone();
        let mut place = 1 + place.index(count(&content) - 1);
        change(&mut other, &mut place);
        prop_assert_ne!(&content, &other);
        let (one, other) = (form(&content.to_string()), form(&other.to_string()));
        prop_assert_ne!(content_uid(&one), content_uid(&other));
        prop_assert_ne!(one, other);
    }
}
