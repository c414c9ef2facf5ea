//! Shapes that m3ter might give its events and logs, and what is read in them.

use super::*;

const ORIGINAL: &str = r#"{"uid":"u-1","meter":"m","account":"a","ts":"2026-06-01T00:00:00Z","measure":{"calls":1.10}}"#;

fn event(text: &str) -> Event {
    Event::read(serde_json::from_str(text).unwrap())
}

/// Kind, uid, and whether the original is there.
fn told(failures: &[Failure]) -> Vec<(&str, Option<&str>, bool)> {
    failures.iter().map(|one| (one.kind.as_str(), one.uid.as_deref(), one.is_measurement)).collect()
}

#[test]
fn an_event_is_known_by_its_id_and_its_time_however_they_are_written() {
    let of = |text: &str| {
        let event = event(text);
        (event.id, event.at_ms)
    };
    assert_eq!(of(r#"{"id":"e-1","eventTime":"1970-01-01T00:00:01.5+00:00"}"#), ("e-1".into(), 1_500));
    assert_eq!(of(r#"{"id":7,"eventTime":1780272000000}"#), ("7".into(), 1_780_272_000_000));
    assert_eq!(of(r#"{"id":"e","eventTime":1780272000}"#).1, 1_780_272_000_000);
    assert_eq!(of(r#"{"id":"e","eventTime":"yesterday"}"#).1, 0);
    let (one, other) = (of(r#"{"eventTime":"x"}"#).0, of(r#"{"eventTime":"y"}"#).0);
    assert!(one != other && one == of(r#"{"eventTime":"x"}"#).0, "without an id its text tells it from others");
}

#[test]
fn a_log_of_errors_beside_originals_is_read() {
    let log = format!(
        r#"[{{"type":"UndefinedMeter","error":"no meter has this code: m","measurement":{ORIGINAL},"new":{{"x":[1]}}}}]"#
    );
    let failures = failures_of(log.as_bytes());
    assert_eq!(told(&failures), [("UndefinedMeter", Some("u-1"), true)]);
    assert_eq!((failures[0].text.as_str(), failures[0].words.as_str()), (ORIGINAL, "no meter has this code: m"));
    assert_eq!((failures[0].meter.as_deref(), failures[0].account.as_deref()), (Some("m"), Some("a")));
}

#[test]
fn one_or_many_as_a_list_an_object_or_lines() {
    let other = ORIGINAL.replace("u-1", "u-2");
    let shapes = [
        format!(r#"{{"error":{{"errorType":"MissingField","message":"calls is missing"}},"original":{ORIGINAL}}}"#),
        format!(r#"{{"errors":[{{"code":"MissingField"}},{{"code":"DuplicateField"}}],"event":{{"measurement":{ORIGINAL}}}}}"#),
        format!(r#"{{"failureType":"MissingField","measurements":[{ORIGINAL}]}}"#),
        format!(r#"{{"reason":"MissingField","payload":{ORIGINAL}}}"#),
    ];
    for shape in &shapes {
        assert_eq!(told(&failures_of(shape.as_bytes())), [("MissingField", Some("u-1"), true)], "{shape}");
    }
    let two = [("MissingField", Some("u-1"), true), ("MissingField", Some("u-2"), true)];
    assert_eq!(told(&failures_of(format!(r#"{{"type":"MissingField","measurements":[{ORIGINAL},{other}]}}"#).as_bytes())), two);
    let lines = format!("{}\n\n{}\n", shapes[0], shapes[0].replace("u-1", "u-2"));
    assert_eq!(told(&failures_of(lines.as_bytes())), two);
}

#[test]
fn an_original_with_the_error_inside_it_is_a_failure_without_an_original() {
    let inside = ORIGINAL.replace("{\"uid\"", "{\"error\":\"UndefinedMeter\",\"uid\"");
    assert_eq!(told(&failures_of(inside.as_bytes())), [("UndefinedMeter", Some("u-1"), false)]);
}

#[test]
fn what_says_nothing_is_kept_as_a_failure_of_no_name() {
    for log in ["", "no JSON", "[]", "{}", "17", r#"{"status":"bad"}"#] {
        assert_eq!(told(&failures_of(log.as_bytes())), [(UNNAMED, None, false)], "{log}");
    }
    assert_eq!(told(&failures_of(ORIGINAL.as_bytes())), [(UNNAMED, Some("u-1"), true)]);
}

#[test]
fn a_type_that_nobody_documents_is_taken_by_its_name() {
    let log = format!(r#"[{{"type":"TimestampInFuture","measurement":{ORIGINAL}}}]"#);
    assert_eq!(told(&failures_of(log.as_bytes())), [("TimestampInFuture", Some("u-1"), true)]);
    for text in ["an error", "ERROR", "lower", "Has Space", ""] {
        assert!(!is_type(text), "{text}");
    }
}

#[test]
fn the_event_tells_what_the_log_leaves_out() {
    let about = |inner: &str| {
        event(&format!(
            r#"{{"id":"e","eventTime":"2026-06-01T00:00:00Z","m3terEvent":{{"eventName":"ingest.validation.failure","eventData":{inner}}}}}"#
        ))
    };
    let named =
        about(r#"{"type":"DuplicateUid","uid":"u-1","message":"seen","getDownloadUrl":"https://x/getDownloadUrl?file=f"}"#);
    assert_eq!(told(&named.failures), [("DuplicateUid", Some("u-1"), false)]);
    assert_eq!(named.link.as_deref(), Some("https://x/getDownloadUrl?file=f"));
    assert_eq!(told(&named.with_log(ORIGINAL.as_bytes())), [("DuplicateUid", Some("u-1"), true)]);
    let list = about(r#"{"errors":[{"type":"UndefinedMeter","uid":"u-1"},{"type":"MissingField","uid":"u-2"}]}"#);
    assert_eq!(told(&list.failures), [("UndefinedMeter", Some("u-1"), false), ("MissingField", Some("u-2"), false)]);
    let together = list.with_log(format!(r#"[{{"type":"UndefinedMeter","measurement":{ORIGINAL}}}]"#).as_bytes());
    assert_eq!(told(&together), [("UndefinedMeter", Some("u-1"), true), ("MissingField", Some("u-2"), false)]);
    let silent = about("{}");
    assert_eq!(told(&silent.alone("the text")), [(UNNAMED, None, false)]);
}

#[test]
fn numbers_of_an_original_stay_as_written_and_its_content_is_known_by_its_hash() {
    let failures = failures_of(format!(r#"[{{"type":"MissingField","measurement":{ORIGINAL}}}]"#).as_bytes());
    assert!(failures[0].text.contains("1.10"));
    let same = canonical(ORIGINAL, &Bump::new()).map(|form| content_uid(&form));
    assert_eq!(failures[0].content_hash(), same);
    assert!(same.is_some());
}

#[test]
fn nothing_of_the_data_is_shown_by_debug() {
    let failures = failures_of(format!(r#"[{{"type":"MissingField","measurement":{ORIGINAL}}}]"#).as_bytes());
    let shown = format!("{failures:?} {:?}", event(r#"{"id":"u-1"}"#));
    assert!(!shown.contains("u-1"), "{shown}");
}

#[test]
fn nesting_without_end_is_not_followed() {
    let deep = format!("{}{}{}", r#"{"a":"#.repeat(100), ORIGINAL, "}".repeat(100));
    assert_eq!(told(&failures_of(deep.as_bytes())), [(UNNAMED, None, false)]);
}

#[test]
fn what_is_no_log_or_not_all_of_it_is_not_read_as_one() {
    for (answer, expected) in [
        (r#"[{"type":"UndefinedMeter"}]"#, true),
        ("{\"type\":\"UndefinedMeter\"}\n{\"type\":\"MissingField\"}\n", true),
        ("{\n  \"type\": \"UndefinedMeter\"\n}\n", true),
        ("uid,reason\nu,UndefinedMeter\n", true),
        ("", false),
        ("<!doctype html><html></html>", false),
        ("  <Error><Code>SlowDown</Code></Error>", false),
        (r#"[{"type":"UndefinedMeter"},{"ty"#, false),
        ("{\"type\":\"UndefinedMeter\"}\n{\"type\":\"Mis", false),
    ] {
        assert_eq!(Event::is_log(answer.as_bytes()), expected, "{answer}");
    }
}

#[test]
fn of_several_failures_of_one_measurement_none_hides_that_it_was_rejected() {
    for others in ["CalculationError", "DuplicateUid"] {
        for errors in [
            format!(r#"[{{"type":"{others}"}},{{"type":"MissingField"}}]"#),
            format!(r#"[{{"type":"MissingField"}},{{"type":"{others}"}}]"#),
        ] {
            let log = format!(r#"[{{"errors":{errors},"measurement":{ORIGINAL}}}]"#);
            assert_eq!(told(&failures_of(log.as_bytes())), [("MissingField", Some("u-1"), true)], "{log}");
            let log = format!(r#"[{{"type":"{others}","errors":{errors},"measurement":{ORIGINAL}}}]"#);
            assert_eq!(told(&failures_of(log.as_bytes())), [("MissingField", Some("u-1"), true)], "{log}");
        }
    }
    let named = event(r#"{"id":"e","m3terEvent":{"type":"MissingField","uid":"u-1"}}"#);
    let log = format!(r#"[{{"type":"CalculationError","measurement":{ORIGINAL}}}]"#);
    assert_eq!(
        told(&named.with_log(log.as_bytes())),
        [("CalculationError", Some("u-1"), true), ("MissingField", Some("u-1"), false)],
        "event and log tell of two"
    );
}
