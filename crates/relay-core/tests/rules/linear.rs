//! Hostile messages cost no more than their size says.
//!
//! Each of these holds 100,000 of something, or 10,000 of something dearer. Compared pair by pair they would take minutes,
//! so that nobody needs a clock to see it.

use relay_core::guard::MissingUid;
use relay_core::limits::MESSAGE_MEASUREMENTS_MAX;

use crate::given::{Fate, fates, good, message};

const MANY: usize = 100_000;

fn words(body: &str, missing_uid: MissingUid) -> Vec<&'static str> {
    match fates(&[message(body, &[])], missing_uid).remove(0) {
        Fate::Each(words) => words,
        Fate::Returned => Vec::new(),
    }
}

fn list(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(",")
}

/// A list of so many short members: at 5 bytes a member all of them fit a measurement.
fn many_members() -> String {
    let text = list(MANY / 2, |index| format!("\"{index:x}\":1"));
    assert!(text.len() < 511_000);
    text
}

#[test]
fn a_measurement_of_tens_of_thousands_of_keys() {
    assert_eq!(words(&good("u", &format!(",{}", many_members())), MissingUid::Refuse), ["good"]);
    assert_eq!(words(&good("", &format!(",{}", many_members())), MissingUid::Content), ["good"]);
}

#[test]
fn a_measurement_of_a_hundred_thousand_data_fields_the_last_of_them_twice() {
    let fields = list(MANY, |index| format!("\"a{index:x}\":1"));
    let same = good("u", &format!(r#","measure":{{{fields}}},"cost":{{"a0":1}}"#));
    assert_eq!(words(&same, MissingUid::Refuse), ["DuplicateField"]);
    let same = good("u", &format!(r#","measure":{{{fields},"a1":1}}"#));
    assert_eq!(words(&same, MissingUid::Refuse), ["DuplicateKey"]);
}

#[test]
fn a_hundred_thousand_keys_the_last_of_them_twice() {
    let keys = list(MANY, |index| format!("\"{index:x}\":1"));
    assert_eq!(words(&good("u", &format!(",{keys},\"0\":2")), MissingUid::Refuse), ["DuplicateKey"]);
}

#[test]
fn as_many_tiny_elements_and_lines_as_a_message_may_hold() {
    const MOST: usize = MESSAGE_MEASUREMENTS_MAX;
    assert_eq!(words(&format!("[{}]", list(MOST, |_| "{}".to_owned())), MissingUid::Refuse), vec!["MeterMissing"; MOST]);
    assert_eq!(words(&format!("[{}]", list(MOST, |_| "1".to_owned())), MissingUid::Refuse), vec!["NotAMeasurement"; MOST]);
    assert_eq!(words(&"{}\n".repeat(MOST), MissingUid::Refuse), vec!["MeterMissing"; MOST]);
    let mut lines = vec!["NotJson"; MOST - 1];
    lines.push("MeterMissing");
    assert_eq!(words(&format!("{}{{}}", "{\n".repeat(MOST - 1)), MissingUid::Refuse), lines);
}

#[test]
fn millions_of_tiny_elements_and_lines() {
    assert_eq!(words(&format!("[{}]", list(20 * MANY, |_| "1".to_owned())), MissingUid::Refuse), ["Oversize"]);
    assert_eq!(words(&"{}\n".repeat(10 * MANY), MissingUid::Refuse), ["Oversize"]);
}

#[test]
fn ten_thousand_rivals_of_one_uid_and_as_many_copies_of_the_last() {
    let rivals = list(10_000, |index| good("u", &format!(r#","x":{index}"#)));
    let copies = list(10_000, |index| good("u", &format!("{}, \"x\":9999", " ".repeat(1 + index % 40))));
    let found = words(&format!("[{rivals},{copies}]"), MissingUid::Refuse);
    assert_eq!((found[0], found.len()), ("good", 20_000));
    assert!(found[1..].iter().all(|word| *word == "UidConflict"));
}

#[test]
fn half_a_million_brackets_inside_a_measurement() {
    let deep = format!(r#","x":{}{}"#, "[".repeat(500_000), "]".repeat(500_000));
    assert_eq!(words(&good("u", &deep), MissingUid::Content), ["NotJson"]);
}

#[test]
fn the_deepest_nesting_allowed_around_a_hundred_thousand_elements() {
    let deep = format!(r#","x":{}{}{}"#, "[".repeat(31), list(MANY, |_| "[]".to_owned()), "]".repeat(31));
    assert_eq!(words(&good("", &deep), MissingUid::Content), ["NotJson"]);
    let deep = format!(r#","x":{}{}{}"#, "[".repeat(30), list(MANY, |_| "[]".to_owned()), "]".repeat(30));
    assert_eq!(words(&good("", &deep), MissingUid::Content), ["good"]);
}

#[test]
fn escapes_by_the_hundred_thousand() {
    assert_eq!(words(&good(&"\\u0061".repeat(MANY), ""), MissingUid::Refuse), ["UidTooLong"]);
    assert_eq!(words(&good("u", &format!(r#","x":"{}""#, "\\n".repeat(MANY))), MissingUid::Refuse), ["good"]);
}
