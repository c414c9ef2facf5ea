//! The corpus: every case ends as it says, alone and in company, and the corpus itself keeps its own rules.

use std::collections::{BTreeMap, BTreeSet};

use bumpalo::Bump;
use relay_core::guard::MissingUid;
use relay_core::reason::Reason;

use crate::corpus::{self, Case, Expect};
use crate::given::{Fate, NOW_MS, decode_one, fates, good, message};

fn expected(case: &Case) -> Fate {
    let reason = |word: &String| match Reason::ALL.iter().find(|reason| reason.name() == word) {
        Some(reason) => reason.name(),
        None if word == "good" => "good",
        None => panic!("no such reason: {word} in {}", case.name),
    };
    match &case.expect {
        Expect::Each(words) => Fate::Each(words.iter().map(reason).collect()),
        Expect::Returned => Fate::Returned,
    }
}

#[test]
fn every_case_alone_ends_with_exactly_the_reasons_it_names() {
    for case in corpus::cases(NOW_MS) {
        let found = fates(&[message(&case.body, &case.attributes)], MissingUid::Refuse);
        assert_eq!(found, [expected(&case)], "{}", case.name);
    }
}

#[test]
fn all_cases_in_one_invocation_end_the_same_and_the_messages_between_them_are_good() {
    let cases = corpus::cases(NOW_MS);
    let between: Vec<String> = (0..=cases.len()).map(|place| good(&format!("between-{place}"), "")).collect();
    let mut messages = Vec::new();
    for (case, neighbour) in cases.iter().zip(&between) {
        messages.extend([message(neighbour, &[]), message(&case.body, &case.attributes)]);
    }
    messages.push(message(&between[cases.len()], &[]));
    for (place, fate) in fates(&messages, MissingUid::Refuse).into_iter().enumerate() {
        match cases.get(place / 2) {
            Some(case) if place % 2 == 1 => assert_eq!(fate, expected(case), "{}", case.name),
            _ => assert_eq!(fate, Fate::Each(vec!["good"])),
        }
    }
}

#[test]
fn whatever_is_refused_in_a_case_costs_its_neighbours_nothing_in_one_array_or_among_lines() {
    let (before, after) = (good("before", ""), good("after", ""));
    let all_good_but_the_middle = |body: &str, name: &str| {
        let found = fates(&[message(body, &[])], MissingUid::Refuse);
        let [Fate::Each(words)] = found.as_slice() else { panic!("{name}: {found:?}") };
        assert_eq!((words.first(), words.last()), (Some(&"good"), Some(&"good")), "{name}");
        assert!(words.len() >= 3, "{name}: {words:?}");
    };
    let (mut in_arrays, mut in_lines) = (0, 0);
    for case in corpus::cases(NOW_MS).into_iter().filter(|case| case.expect != Expect::Returned) {
        let arena = Bump::new();
        for found in decode_one(&case.body, &arena).1 {
            if serde_json::from_str::<&serde_json::value::RawValue>(found.text).is_ok() {
                let list = format!("[{before},{},{after}]", found.text);
                all_good_but_the_middle(&list, &case.name);
                all_good_but_the_middle(&format!("{{\"measurements\":{list}}}"), &case.name);
                in_arrays += 1;
            }
            if !found.text.trim().is_empty() {
                all_good_but_the_middle(&format!("{before}\n{}\n{after}", found.text), &case.name);
                in_lines += 1;
            }
        }
    }
    assert!(in_arrays > 100 && in_lines > 100, "{in_arrays} {in_lines}");
}

#[test]
fn with_uids_made_from_content_only_the_missing_uids_become_good() {
    for case in corpus::cases(NOW_MS) {
        let found = fates(&[message(&case.body, &case.attributes)], MissingUid::Content);
        let expected = match expected(&case) {
            Fate::Each(words) => {
                Fate::Each(words.into_iter().map(|word| if word == "UidMissing" { "good" } else { word }).collect())
            }
            Fate::Returned => Fate::Returned,
        };
        assert_eq!(found, [expected], "{}", case.name);
    }
}

#[test]
fn there_are_two_cases_for_each_reason_that_decode_guard_and_conflicts_give() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let cases = corpus::cases(NOW_MS);
    for case in &cases {
        if let Expect::Each(words) = &case.expect {
            let words: BTreeSet<&String> = words.iter().collect();
            words.into_iter().for_each(|word| *counts.entry(word.clone()).or_default() += 1);
        }
    }
    let elsewhere =
        [Reason::DecodeFailed, Reason::RefusedByApi, Reason::Exhausted, Reason::DeliveryExhausted, Reason::PayloadMissing];
    // The corpus has no catalogue.
    let elsewhere = elsewhere.into_iter().chain(Reason::ALL.into_iter().filter(|reason| reason.is_of_the_catalogue()));
    let elsewhere: Vec<Reason> = elsewhere.collect();
    for reason in Reason::ALL.iter().filter(|reason| !elsewhere.contains(reason)) {
        assert!(counts.get(reason.name()).is_some_and(|count| *count >= 2), "{reason:?}");
    }
    assert!(cases.len() >= 60);
}

/// `text` without what values say: every string that is no key, number, `true`, `false` and `null` becomes `v`, one after
/// another too.
fn skeleton(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let inside = &rest[1..];
                let end = (0..inside.len())
                    .find(|at| inside.as_bytes()[*at] == b'"' && (*at == 0 || inside.as_bytes()[at - 1] != b'\\'));
                end.map_or(rest.len(), |end| end + 2)
            }
            _ if first.is_alphanumeric() || matches!(first, '-' | '.') => {
                rest.find(|other: char| !other.is_alphanumeric() && !matches!(other, '-' | '+' | '.')).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let is_scalar = first == '"' || first.is_alphanumeric() || first == '-';
        match is_scalar && !(first == '"' && after.trim_start().starts_with(':')) {
            true if out.ends_with('v') => {}
            true => out.push('v'),
            false => out.push_str(token),
        }
        rest = after;
    }
    out
}

#[test]
fn a_skeleton_keeps_keys_and_structure_and_no_value() {
    assert_eq!(skeleton(r#"{"a":1,"b":["x\"y",null,-2.5e+1]}"#), r#"{"a":v,"b":[v,v,v]}"#);
    assert_eq!(skeleton(r#"{"a":"#), r#"{"a":"#);
}

#[test]
fn no_two_cases_differ_only_in_a_value() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut alike = Vec::new();
    for case in corpus::cases(NOW_MS) {
        let attributes: Vec<&str> = case.attributes.iter().map(|(name, _)| name.as_str()).collect();
        let key = format!("{} | {} | {}", skeleton(&case.written.0), case.written.1, attributes.join(" "));
        if let Some(other) = seen.insert(key, case.name.clone()) {
            alike.push((other, case.name));
        }
    }
    assert!(alike.is_empty(), "{alike:#?}");
}

#[test]
fn every_body_can_be_sent_over_sqs_and_no_good_uid_is_in_two_cases() {
    let mut uids: BTreeMap<String, String> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for case in corpus::cases(NOW_MS) {
        let allowed = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        let bytes = case.body.len() + case.attributes.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>();
        assert!(!case.body.is_empty() && bytes <= 1_048_576 && case.body.chars().all(allowed), "{}", case.name);
        assert!(names.insert(case.name.clone()), "{}", case.name);
        for part in case.written.0.split(r#""uid":""#).skip(1) {
            let uid = part.split('"').next().unwrap_or_default();
            let other = uids.insert(uid.to_owned(), case.name.clone());
            let refused = uid == "bad" || uid.is_empty();
            assert!(refused || other.is_none_or(|other| other == case.name), "{uid} in {}", case.name);
        }
    }
}

#[test]
fn the_reader_joins_pieces_takes_steps_and_sets_times() {
    let read = |case: &str| corpus::read(&format!("[{case}]"), 86_400_500).remove(0);
    let case = read(
        r#"{"name":"n","body":["{{now}} ",{"repeat":"ab","times":2},{"hex":"c3a9"}," {{now-1d}}"],
            "attributes":{"x":"{{now+1s:ms}}"},"expect":["good"]}"#,
    );
    assert_eq!(case.body, "1970-01-02T00:00:00Z ababé 1970-01-01T00:00:00Z");
    assert_eq!(case.attributes, [("x".to_owned(), "86401500".to_owned())]);
    assert_eq!(case.expect, Expect::Each(vec!["good".to_owned()]));
    let case = read(r#"{"name":"n","json":[1,{"a":null}],"steps":["halve","base64","sns"],"expect":"returned"}"#);
    let sns: serde_json::Value = serde_json::from_str(&case.body).unwrap();
    assert_eq!((sns["Message"].as_str(), case.expect), (Some("WzEseyJhIg=="), Expect::Returned));
}
