//! Decode by example: each shape, and what is refused in it.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::inbound::Attribute;
use crate::limits::MESSAGE_INFLATED_BYTES_MAX;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn run(body: &str, encoding: Option<&str>, budget: &mut InflateBudget) -> (Decoded, Vec<(String, String)>) {
    let attributes: Vec<_> =
        encoding.into_iter().map(|value| Attribute { name: "content-encoding", data_type: "String", value }).collect();
    let message = Inbound { id: "m", handle: "h", body, attributes, source: "q", ..Inbound::default() };
    let arena = Bump::new();
    let mut found = Vec::new();
    let decoded = decode(&message, 7, &arena, budget, &mut found);
    for (position, found) in found.iter().enumerate() {
        assert_eq!((found.message, found.position), (7, position));
        let refusal = found.refusal.as_ref();
        assert!(refusal.is_none_or(|refusal| refusal.detail.starts_with("expected ")), "{refusal:?}");
    }
    let word = |found: &Found<'_>| found.refusal.as_ref().map_or("found", |refusal| refusal.reason.name()).to_owned();
    (decoded, found.iter().map(|found| (word(found), found.text.to_owned())).collect())
}

/// Expected: `found` or a reason, and the text that goes on or is kept.
fn check_encoded(body: &str, encoding: Option<&str>, expected: &[(&str, &str)]) {
    let (decoded, found) = run(body, encoding, &mut InflateBudget::default());
    let found: Vec<(&str, &str)> = found.iter().map(|(word, text)| (word.as_str(), text.as_str())).collect();
    assert_eq!((decoded, found.as_slice()), (Decoded::Found, expected), "{body:.200}");
}

fn check(body: &str, expected: &[(&str, &str)]) {
    check_encoded(body, None, expected);
}

#[test]
fn an_object_is_a_measurement_whatever_it_holds() {
    check("{}", &[("found", "{}")]);
    check(" \r\n{ \"a\" : 1 }\t", &[("found", "{ \"a\" : 1 }")]);
    check(r#"{"Measurements":[{}]}"#, &[("found", r#"{"Measurements":[{}]}"#)]);
}

#[test]
fn each_element_of_an_array_stands_alone() {
    check(
        r#"[{"a":1}, 2,"x",null,false,[{}],{}]"#,
        &[
            ("found", r#"{"a":1}"#),
            ("NotAMeasurement", "2"),
            ("NotAMeasurement", "\"x\""),
            ("NotAMeasurement", "null"),
            ("NotAMeasurement", "false"),
            ("NotAMeasurement", "[{}]"),
            ("found", "{}"),
        ],
    );
    check("[ ]", &[("Empty", "[ ]")]);
    check("[{},]", &[("NotJson", "[{},]")]);
}

#[test]
fn measurements_are_taken_as_the_api_takes_them() {
    check(r#"{"x":1,"measurements":[{"a":1},7]}"#, &[("found", r#"{"a":1}"#), ("NotAMeasurement", "7")]);
    check(r#"{"measurements":[]}"#, &[("Empty", "[]")]);
    check(r#"{"m\u0065asurements":[{}]}"#, &[("found", "{}")]);
    for value in ["{}", "null", "1", "\"x\""] {
        let body = format!(r#"{{"measurements":{value}}}"#);
        check(&body, &[("EnvelopeInvalid", &body)]);
    }
}

#[test]
fn an_object_of_two_shapes_is_kept_whole() {
    for body in [
        r#"{"measurements":[{}],"uid":"u"}"#,
        r#"{"measurements":[{}],"meter":"m"}"#,
        r#"{"measurements":[{}],"account":"a"}"#,
        r#"{"measurements":[{}],"ts":"t"}"#,
        r#"{"meter":"m","detail-type":"x","detail":{}}"#,
        r#"{"ts":"t","Type":"Notification","Message":"{}"}"#,
        r#"{"measurements":[{}],"detail-type":"x","detail":{}}"#,
        r#"{"measurements":[{}],"Type":"Notification","Message":"{}"}"#,
        r#"{"Type":"Notification","Message":"{}","detail-type":"x","detail":{}}"#,
    ] {
        check(body, &[("EnvelopeInvalid", body)]);
    }
    for body in [r#"{"uid":"u","Type":"Notification"}"#, r#"{"meter":"m","detail-type":"x"}"#, r#"{"Type":"x","Message":"{}"}"#] {
        check(body, &[("found", body)]);
    }
}

#[test]
fn a_key_of_an_envelope_is_there_once() {
    for body in [
        r#"{"measurements":[{}],"measurements":[]}"#,
        r#"{"Type":"Notification","Type":"Notification","Message":"{}"}"#,
        r#"{"detail-type":"x","detail":{},"d\u0065tail":{}}"#,
    ] {
        check(body, &[("DuplicateKey", body)]);
    }
}

#[test]
fn each_line_stands_alone_where_one_is_an_object() {
    check("{\"a\":1}\n{}", &[("found", "{\"a\":1}"), ("found", "{}")]);
    check(
        "\r\n {} \r\n\r\n7\n{\"a\":\nno\n[{}]\n",
        &[("found", "{}"), ("NotAMeasurement", "7"), ("NotJson", "{\"a\":"), ("NotJson", "no"), ("NotAMeasurement", "[{}]")],
    );
    check("{}{}\n{}", &[("NotJson", "{}{}"), ("found", "{}")]);
    check("{}{}", &[("NotJson", "{}{}")]);
    check("1\n2", &[("NotJson", "1\n2")]);
    check("\u{feff}{}", &[("NotJson", "\u{feff}{}")]);
    check("\u{feff}{}\n{}", &[("NotJson", "\u{feff}{}"), ("found", "{}")]);
    check("{}\u{2028}{}", &[("NotJson", "{}\u{2028}{}")]);
}

#[test]
fn a_body_that_is_one_value_but_no_object_or_array_is_no_measurement() {
    for body in ["1", "-1.5e3", "null", "true", r#""{\"a\":1}""#] {
        check(body, &[("NotAMeasurement", body)]);
    }
    for body in ["", " ", "\n\r\t "] {
        check(body, &[("Empty", body)]);
    }
    for body in ["usage", "{", "NaN", "[1,2", "\u{a0}{}", "{\"a\":01}", "\0"] {
        check(body, &[("NotJson", body)]);
    }
}

#[test]
fn one_sns_notification_is_opened() {
    check(r#"{"Type":"Notification","Message":"[{\"a\":1},{}]"}"#, &[("found", r#"{"a":1}"#), ("found", "{}")]);
    check(r#"{"Message":"{}\nx","Type":"Notification"}"#, &[("found", "{}"), ("NotJson", "x")]);
    check(r#"{"Type":"Notification","Message":""}"#, &[("Empty", "")]);
    for body in [
        r#"{"Type":"Notification"}"#,
        r#"{"Type":"Notification","Message":{}}"#,
        r#"{"Type":"Notification","Message":null}"#,
        r#"{"Type":"Notification","Message":"\ud800"}"#,
    ] {
        check(body, &[("EnvelopeInvalid", body)]);
    }
    let inner = r#"{"Type":"Notification","Message":"{}"}"#;
    let outer = format!(r#"{{"Type":"Notification","Message":{}}}"#, serde_json::Value::from(inner));
    check(&outer, &[("EnvelopeInvalid", inner)]);
    check(&format!(r#"{{"detail-type":"x","detail":{inner}}}"#), &[("EnvelopeInvalid", inner)]);
}

#[test]
fn one_event_bridge_event_is_opened() {
    check(r#"{"account":"1","detail-type":"x","detail":{"a":1}}"#, &[("found", r#"{"a":1}"#)]);
    check(r#"{"detail-type":null,"detail":[{},{}]}"#, &[("found", "{}"), ("found", "{}")]);
    check(r#"{"detail-type":"x","detail":null}"#, &[("NotAMeasurement", "null")]);
    check(r#"{"detail-type":"x"}"#, &[("EnvelopeInvalid", r#"{"detail-type":"x"}"#)]);
}

#[test]
fn a_pointer_to_s3_adds_nothing() {
    for class in ["software.amazon.payloadoffloading.PayloadS3Pointer", "com.amazon.sqs.javamessaging.MessageS3Pointer"] {
        let pointer = format!(r#"["{class}",{{"s3BucketName":"b","s3Key":"k"}}]"#);
        let sns = format!(r#"{{"Type":"Notification","Message":{}}}"#, serde_json::Value::from(pointer.as_str()));
        for body in [pointer.as_str(), &pointer.replace(['[', ','], "[ ").replace("[ {", ", {").replace("[ \"s3", ",\"s3"), &sns]
        {
            assert_eq!(run(body, None, &mut InflateBudget::default()), (Decoded::Pointer, Vec::new()), "{body}");
        }
        check(&format!(r#"["{class}"]"#), &[("NotAMeasurement", &format!("\"{class}\""))]);
        check(&format!(r#"["{class}",7]"#), &[("NotAMeasurement", &format!("\"{class}\"")), ("NotAMeasurement", "7")]);
    }
    check(r#"["other.Pointer",{}]"#, &[("NotAMeasurement", r#""other.Pointer""#), ("found", "{}")]);
}

#[test]
fn a_body_is_inflated_where_an_attribute_says_so() {
    let body = STANDARD.encode(gzip(b"{}\n{\"a\":1}"));
    for encoding in ["gzip", " GZip "] {
        check_encoded(&body, Some(encoding), &[("found", "{}"), ("found", "{\"a\":1}")]);
    }
    check_encoded(&format!("\n{body}\r\n"), Some("gzip"), &[("found", "{}"), ("found", "{\"a\":1}")]);
    let two = STANDARD.encode([gzip(b"[{},"), gzip(b"{}]")].concat());
    check_encoded(&two, Some("gzip"), &[("found", "{}"), ("found", "{}")]);
    for encoding in ["", "identity", "Identity "] {
        check_encoded("{}", Some(encoding), &[("found", "{}")]);
    }
    check(&body, &[("NotJson", &body)]);
}

#[test]
fn what_cannot_be_inflated_is_kept_as_it_came() {
    let whole = gzip(b"{}");
    let cases = [
        ("EnvelopeInvalid", "br", "{}".to_owned()),
        ("EnvelopeInvalid", "gzip", "{}".to_owned()),
        ("EnvelopeInvalid", "gzip", STANDARD.encode("{}")),
        ("EnvelopeInvalid", "gzip", STANDARD.encode(&whole[..whole.len() - 4])),
        ("EnvelopeInvalid", "gzip", STANDARD.encode([whole.as_slice(), b"tail"].concat())),
        ("NotJson", "gzip", STANDARD.encode(gzip(b"\xff{}"))),
        ("Oversize", "gzip", STANDARD.encode(gzip(&vec![b' '; MESSAGE_INFLATED_BYTES_MAX + 1]))),
    ];
    for (reason, encoding, body) in &cases {
        check_encoded(body, Some(encoding), &[(*reason, body)]);
    }
    check_encoded(&STANDARD.encode(gzip(b"")), Some("gzip"), &[("Empty", "")]);
    let largest = STANDARD.encode(gzip(&[vec![b' '; MESSAGE_INFLATED_BYTES_MAX - 2], b"{}".to_vec()].concat()));
    check_encoded(&largest, Some("gzip"), &[("found", "{}")]);
}

#[test]
fn an_sns_attribute_says_that_the_message_inside_is_compressed() {
    let packed = STANDARD.encode(gzip(b"[{}]"));
    let sns = |attributes: &str, message: &str| {
        format!(r#"{{"Type":"Notification","Message":"{message}","MessageAttributes":{attributes}}}"#)
    };
    let gzip_says = r#"{"x":{"Value":"y"},"content-encoding":{"Type":"String","Value":"gz\u0069p"}}"#;
    check(&sns(gzip_says, &packed), &[("found", "{}")]);
    for says_nothing in ["null", "{}", r#"{"Content-Encoding":null}"#, r#"{"Content-Encoding":{"Value":1}}"#, "7"] {
        check(&sns(says_nothing, "{}"), &[("found", "{}")]);
    }
    let broken = sns(gzip_says, "{}");
    check(&broken, &[("EnvelopeInvalid", &broken)]);
    let outer = STANDARD.encode(gzip(sns(gzip_says, &packed).as_bytes()));
    check_encoded(&outer, Some("gzip"), &[("found", "{}")]);
}

#[test]
fn a_message_beyond_what_an_invocation_may_inflate_adds_nothing_and_uses_up_the_rest() {
    let body = STANDARD.encode(gzip(b"[{},{}]"));
    let mut budget = InflateBudget { left: 7, ..InflateBudget::default() };
    assert_eq!(run(&body, Some("gzip"), &mut budget).0, Decoded::Found);
    assert_eq!(budget.left, 0);
    let mut budget = InflateBudget { left: 6, ..InflateBudget::default() };
    assert_eq!(run(&body, Some("gzip"), &mut budget), (Decoded::OverBudget, Vec::new()));
    assert_eq!(budget.left, 0);
    assert_eq!(run("{}", None, &mut budget).0, Decoded::Found);
    let sns =
        format!(r#"{{"Type":"Notification","Message":"{body}","MessageAttributes":{{"Content-Encoding":{{"Value":"gzip"}}}}}}"#);
    assert_eq!(run(&sns, None, &mut budget), (Decoded::OverBudget, Vec::new()));
}

#[test]
fn what_was_spent_before_is_not_there_to_inflate_into() {
    let body = STANDARD.encode(gzip(b"[{},{}]"));
    for (left, expected) in [(7, Decoded::Found), (6, Decoded::OverBudget)] {
        let mut budget = InflateBudget::default().less(INVOCATION_INFLATED_BYTES_MAX - left);
        assert_eq!(run(&body, Some("gzip"), &mut budget).0, expected);
    }
    assert_eq!(InflateBudget::default().less(usize::MAX).left, 0);
}

#[test]
fn a_queue_full_of_bombs_is_inflated_no_further_than_one_invocation_may() {
    let bomb = STANDARD.encode(gzip(&vec![b' '; MESSAGE_INFLATED_BYTES_MAX + 1]));
    let mut budget = InflateBudget::default();
    let outcomes: Vec<Decoded> = (0..20).map(|_| run(&bomb, Some("gzip"), &mut budget).0).collect();
    let refused = INVOCATION_INFLATED_BYTES_MAX / MESSAGE_INFLATED_BYTES_MAX;
    assert_eq!(outcomes[..refused], vec![Decoded::Found; refused]);
    assert_eq!(outcomes[refused..], vec![Decoded::OverBudget; 20 - refused]);
}

#[test]
fn a_list_of_more_than_a_message_may_hold_is_refused_whole_and_costs_no_other_its_room() {
    let shapes: [fn(usize) -> String; 3] = [
        |count| format!("[{}]", vec!["1"; count].join(",")),
        |count| format!(r#"{{"measurements":[{}]}}"#, vec!["{}"; count].join(",")),
        |count| vec!["{}"; count].join("\n"),
    ];
    for shape in shapes {
        let mut budget = InflateBudget::default();
        let (decoded, found) = run(&shape(MESSAGE_MEASUREMENTS_MAX + 1), None, &mut budget);
        assert_eq!((decoded, found.len()), (Decoded::Found, 1));
        assert_eq!((found[0].0.as_str(), budget.measurements), ("Oversize", INVOCATION_MEASUREMENTS_MAX));
        assert_eq!(run(&shape(MESSAGE_MEASUREMENTS_MAX), None, &mut budget).1.len(), MESSAGE_MEASUREMENTS_MAX);
        assert_eq!(budget.measurements, INVOCATION_MEASUREMENTS_MAX - MESSAGE_MEASUREMENTS_MAX);
    }
}

#[test]
fn a_message_that_holds_more_than_an_invocation_has_room_for_adds_nothing_and_leaves_the_room_to_others() {
    let mut budget = InflateBudget { measurements: 2, ..InflateBudget::default() };
    for body in ["[{},{},{}]", r#"{"measurements":[1,2,3]}"#, "{}\n{}\n{}"] {
        assert_eq!(run(body, None, &mut budget), (Decoded::OverBudget, Vec::new()));
    }
    assert_eq!(run("[{},{}]", None, &mut budget).1.len(), 2);
    assert_eq!(run("[{}]", None, &mut budget).0, Decoded::OverBudget);
    assert_eq!(run("{}", None, &mut budget).0, Decoded::Found);
}

/// A message of `body`, without attributes.
fn plain(body: &str) -> Inbound<'_> {
    Inbound { id: "m", handle: "h", body, source: "q", ..Inbound::default() }
}

/// Decodes eight messages of `body`, as one invocation. Gives back how many were found, and the bytes that the arena took.
fn arena_bytes(body: &str) -> (usize, usize) {
    let (arena, mut found, mut budget) = (Bump::new(), Vec::new(), InflateBudget::default());
    for index in 0..8 {
        let message = plain(body);
        decode(&message, index, &arena, &mut budget, &mut found);
    }
    (found.len(), arena.allocated_bytes())
}

#[test]
fn what_decode_keeps_of_its_reading_is_bounded_whatever_the_messages_are() {
    let fields = |count: usize| vec![r#""":1"#; count].join(",");
    let one = format!(r#"{{"meter":"m","measure":{{{}}}}}"#, fields(800_000));
    let many = format!("[{}]", vec![format!("{{{}}}", fields(7)); 90_000].join(","));
    let most = format!("[{}]", vec![r#"{"meter":"m","account":"a","ts":"2026-01-02T03:04Z"}"#; 79_000].join(","));
    let honest = format!(
        "[{}]",
        vec![format!(r#"{{"uid":"u","meter":"m","account":"a","ts":"t","measure":{{{}}}}}"#, fields(8)); 12_000].join(",")
    );
    for (body, expected) in [(one, 8), (many, 8), (most, 79_000), (honest, 8 * 12_000)] {
        let (found, bytes) = arena_bytes(&body);
        assert_eq!(found, expected);
        assert!(bytes <= 2 * INVOCATION_READ_BYTES_MAX, "{bytes} bytes");
    }
}

#[test]
fn what_is_not_kept_is_judged_as_what_is() {
    let text =
        |more: &str| format!(r#"{{"uid":"u","meter":"m","account":"a","ts":"2026-01-02T03:04:05Z","measure":{{"a":1}}{more}}}"#);
    let wide = text(&(0..100).map(|number| format!(r#","x{number}":1"#)).collect::<String>());
    let arena = Bump::new();
    for (text, is_kept) in [(text(""), true), (wide, false)] {
        let text = arena.alloc_str(&text);
        let message = plain(text);
        let mut found = Vec::new();
        decode(&message, 0, &arena, &mut InflateBudget::default(), &mut found);
        assert_eq!(found[0].read.is_some(), is_kept);
        let rules = crate::guard::Rules { missing_uid: crate::guard::MissingUid::Refuse, now_ms: 1_767_323_100_000 };
        let judged = crate::guard::guard(&found[0], crate::guard::FirstSent::NotBefore(1_767_323_100_000), rules, &arena);
        assert!(matches!(judged, crate::guard::Judged::Good(good) if good.uid == "u" && good.text == found[0].text));
    }
}

#[test]
fn an_sns_encoding_that_is_no_text_is_none() {
    for value in ["null", "true", "123456", "1.5e3"] {
        let envelope = format!(
            r#"{{"Type":"Notification","Message":"{{\"meter\":\"m\"}}","MessageAttributes":{{"Content-Encoding":{{"Type":"String","Value":{value}}}}}}}"#
        );
        let (arena, mut found) = (Bump::new(), Vec::new());
        let message = plain(&envelope);
        decode(&message, 0, &arena, &mut InflateBudget::default(), &mut found);
        assert!(matches!(found.as_slice(), [one] if one.refusal.is_none()), "{value}: {found:?}");
    }
}
