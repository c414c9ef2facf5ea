//! Guard by example: each rule at its boundary.

use super::*;
use crate::inbound::Attribute;
use crate::limits::WINDOW_MS;

/// 2026-11-17T10:00:00Z.
const NOW_MS: i64 = 1_794_909_600_000;
const GOOD: &str = r#"{"uid":"u","meter":"m","account":"a","ts":"2026-11-17T10:00:00Z"}"#;
const MINUTE_MS: i64 = 60_000;

fn judge(text: &str, first_sent: FirstSent, missing_uid: MissingUid) -> Result<(String, String), String> {
    let arena = Bump::new();
    let found = Found { message: 0, position: 0, text, refusal: None, read: None };
    match guard(&found, first_sent, Rules { missing_uid, now_ms: NOW_MS }, &arena) {
        Judged::Good(guarded) => Ok((guarded.text.to_owned(), guarded.uid.to_owned())),
        Judged::NotDue(wait_ms) => Err(format!("NotDue {wait_ms}")),
        Judged::Refused(refusal) => {
            assert!(refusal.detail.starts_with("expected "), "{}", refusal.detail);
            Err(refusal.reason.name().to_owned())
        }
    }
}

/// `expected` is `good` or what it is refused for.
fn check(text: &str, expected: &str) {
    let judged = judge(text, FirstSent::NotBefore(NOW_MS), MissingUid::Refuse);
    assert_eq!(judged.as_ref().err().map_or("good", String::as_str), expected, "{text:.200}");
}

/// The good measurement with `member` written as `value`, in place of what it had or beside it.
fn with(member: &str, value: &str) -> String {
    let mut members = vec![("uid", r#""u""#), ("meter", r#""m""#), ("account", r#""a""#), ("ts", r#""2026-11-17T10:00:00Z""#)];
    members.retain(|(name, _)| *name != member);
    members.push((member, value));
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn check_with(member: &str, value: &str, expected: &str) {
    check(&with(member, value), expected);
}

fn check_text(member: &str, text: &str, expected: &str) {
    check_with(member, &format!("\"{text}\""), expected);
}

fn at(ahead_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(NOW_MS + ahead_ms).unwrap().to_string()
}

#[test]
fn a_uid_has_1_to_50_characters_of_any_kind() {
    check_text("uid", &"u".repeat(50), "good");
    check_text("uid", &"u".repeat(51), "UidTooLong");
    check_text("uid", &"é".repeat(50), "good");
    check_text("uid", &"é".repeat(51), "UidTooLong");
    check_text("uid", &r"\u00e9".repeat(50), "good");
    check_text("uid", &r"\u00e9".repeat(51), "UidTooLong");
    check_text("uid", &r"\ud83d\ude00".repeat(50), "good");
    check_text("uid", " ", "good");
    check_text("uid", r"\u0000", "good");
}

#[test]
fn a_uid_that_is_empty_null_or_absent_is_missing_and_one_that_is_no_text_is_wrong() {
    check_text("uid", "", "UidMissing");
    check_with("uid", "null", "UidMissing");
    check(&GOOD.replace(r#""uid":"u","#, ""), "UidMissing");
    for value in ["7", "true", "[]", r#"{"a":"b"}"#] {
        check_with("uid", value, "FieldNotText");
    }
    check_text("uid", r"\ud83d", "NotJson");
}

#[test]
fn a_code_has_1_to_80_characters_no_control_and_no_space_at_either_end() {
    for (member, missing, invalid) in [("meter", "MeterMissing", "MeterInvalid"), ("account", "AccountMissing", "AccountInvalid")]
    {
        check(&with(member, "null"), missing);
        check(&with(member, "null").replace(&format!(",\"{member}\":null"), ""), missing);
        for good in ["x", "a b", "a  b", "a\u{a0}", "\u{a0}", "\u{3000}a", "\u{85}", "é", "請求", r"\u0061", "-", "a/b"] {
            check_text(member, good, "good");
        }
        check_text(member, &"x".repeat(80), "good");
        check_text(member, &"x".repeat(81), invalid);
        check_text(member, &"請".repeat(80), "good");
        check_text(member, &"請".repeat(81), invalid);
        for bad in ["", " ", " a", "a ", r"a\u0000", r"\u001fa", r"a\tb", r"a\nb", "a\u{7f}b", r"a\u007f"] {
            check_text(member, bad, invalid);
        }
        for bad in ["1", "true", "[]", "{}"] {
            check_with(member, bad, invalid);
        }
        check_text(member, r"\udc00", "NotJson");
    }
}

#[test]
fn a_ts_is_a_time_with_an_offset_and_so_is_an_ets_where_there_is_one() {
    check_with("ts", "null", "TimestampMissing");
    check(&GOOD.replace(r#","ts":"2026-11-17T10:00:00Z""#, ""), "TimestampMissing");
    check_with("ets", "null", "good");
    check_text("ets", "2030-01-01T00:00:00Z", "good");
    for member in ["ts", "ets"] {
        check_text(member, "2026-11-17T12:00:00.000000001+02:00", "good");
        check_text(member, r"2026-11-17T10:00:00\u005a", "good");
        for bad in [r#""""#, "1794909600", r#""2026-11-17T10:00:00""#, "{}", "true", r#""2026-11-17""#] {
            check_with(member, bad, "TimestampInvalid");
        }
    }
}

#[test]
fn a_ts_ahead_is_waited_for_up_to_exactly_15_minutes() {
    check_text("ts", &at(0), "good");
    check_text("ts", &at(1), "NotDue 1");
    check_text("ts", &at(15 * MINUTE_MS), "NotDue 900000");
    check_text("ts", &at(15 * MINUTE_MS + 1), "TimestampInFuture");
    check_text("ts", "9998-12-31T23:59:59Z", "TimestampInFuture");
}

#[test]
fn a_first_send_exactly_34_days_ago_is_outside_the_window_and_a_millisecond_later_inside() {
    let check = |ts_ms: i64, first_sent, expected: &str| {
        let judged = judge(&with("ts", &format!("\"{}\"", at(ts_ms))), first_sent, MissingUid::Refuse);
        assert_eq!(judged.err().as_deref().unwrap_or("good"), expected, "{ts_ms} {first_sent:?}");
    };
    let day = DAY_MS;
    // What the message says, for usage of long ago.
    check(-400 * day, FirstSent::NotBefore(NOW_MS), "good");
    check(-400 * day, FirstSent::NotBefore(NOW_MS - 34 * day + 1), "good");
    check(-400 * day, FirstSent::NotBefore(NOW_MS - 34 * day), "OutsideWindow");
    check(-400 * day, FirstSent::NotBefore(NOW_MS - WINDOW_MS), "OutsideWindow");
    // No send is earlier than the usage, less what clocks differ.
    let skewed = -34 * day + CLOCK_SKEW_MS;
    check(skewed + 1, FirstSent::NotBefore(0), "good");
    check(skewed, FirstSent::NotBefore(0), "OutsideWindow");
    check(skewed + 1, FirstSent::Unknown, "good");
    check(skewed, FirstSent::Unknown, "OutsideWindow");
    check(0, FirstSent::NotBefore(i64::MIN), "good");
    check(-400 * day, FirstSent::NotBefore(i64::MAX), "good");
}

#[test]
fn an_operator_overrules_the_window_for_exactly_one_uid_and_no_other_rule() {
    let old = with("ts", r#""2020-01-01T00:00:00Z""#);
    let judge = |text: &str, beyond_window| {
        let found = Found { message: 0, position: 0, text, refusal: None, read: None };
        let rules = Rules { missing_uid: MissingUid::Content, now_ms: NOW_MS };
        match guard(&found, Sent { first: FirstSent::Unknown, beyond_window }, rules, &Bump::new()) {
            Judged::Good(_) => "good",
            Judged::NotDue(_) => "NotDue",
            Judged::Refused(refusal) => refusal.reason.name(),
        }
    };
    assert_eq!(judge(&old, Some("u")), "good");
    assert_eq!(judge(&old.replace(r#""u""#, r#""\u0075""#), Some("u")), "good");
    for other in [None, Some(""), Some("U"), Some("u "), Some("*"), Some("uu")] {
        assert_eq!(judge(&old, other), "OutsideWindow", "{other:?}");
    }
    assert_eq!(judge(&with("ts", r#""2030-01-01T00:00:00Z""#), Some("u")), "TimestampInFuture");
    assert_eq!(judge(&with("meter", "1"), Some("u")), "MeterInvalid");
    assert_eq!(judge(&old.replace(r#""u""#, "null"), Some("")), "OutsideWindow", "a uid made from content is not the one named");
}

#[test]
fn the_uid_that_is_overruled_stands_on_the_message() {
    let message = Inbound {
        id: "m",
        handle: "h",
        attributes: vec![
            Attribute { name: "usage-relay-first-sent-at", data_type: "Number", value: "5" },
            Attribute { name: "Usage-Relay-Beyond-Window", data_type: "String", value: "u" },
        ],
        sent_at_ms: Some(9),
        source: "q",
        ..Inbound::default()
    };
    assert_eq!(Sent::of(&message), Sent { first: FirstSent::NotBefore(5), beyond_window: Some("u") });
    assert_eq!(Sent::from(FirstSent::Unknown), Sent { first: FirstSent::Unknown, beyond_window: None });
}

#[test]
fn a_measurement_was_first_sent_no_earlier_than_its_ts_and_what_is_known_of_it() {
    let ts_ms = NOW_MS - CLOCK_SKEW_MS;
    assert_eq!(first_sent_ms(GOOD, FirstSent::Unknown), ts_ms);
    assert_eq!(first_sent_ms(GOOD, FirstSent::NotBefore(5)), ts_ms);
    assert_eq!(first_sent_ms(GOOD, FirstSent::NotBefore(NOW_MS)), NOW_MS);
    for unreadable in ["", "x", "{}", r#"{"ts":1}"#, r#"{"ts":"x"}"#] {
        assert_eq!(first_sent_ms(unreadable, FirstSent::NotBefore(5)), 5, "{unreadable}");
    }
}

#[test]
fn another_uid_takes_the_place_of_the_first_and_the_rest_stays_as_written() {
    let arena = Bump::new();
    let text = r#"{"meter" : "m","uid":"old","x":[ 1.50 ],"ets":null}"#;
    assert_eq!(with_uid(text, "n\"w", &arena), Some(r#"{"uid":"n\"w","meter":"m","x":[ 1.50 ]}"#));
    assert_eq!(with_uid(r#"{"\ud800":1}"#, "u", &arena), None);
}

#[test]
fn the_first_send_is_what_replay_wrote_unless_the_message_itself_is_older_or_it_cannot_be_read() {
    let of = |written: Option<&str>, sent_at_ms| {
        let attributes: Vec<_> = written
            .into_iter()
            .map(|value| Attribute { name: "Usage-Relay-First-Sent-At", data_type: "String", value })
            .collect();
        FirstSent::of(&Inbound { id: "m", handle: "h", attributes, sent_at_ms, source: "q", ..Inbound::default() })
    };
    assert_eq!(of(None, Some(9)), FirstSent::NotBefore(9));
    assert_eq!(of(Some(" 5 "), Some(9)), FirstSent::NotBefore(5));
    assert_eq!(of(Some("5"), None), FirstSent::NotBefore(5));
    assert_eq!(of(Some("99"), Some(9)), FirstSent::NotBefore(9));
    for unreadable in ["", "soon", "5.0", "99999999999999999999"] {
        assert_eq!(of(Some(unreadable), Some(9)), FirstSent::Unknown);
    }
    assert_eq!(of(None, None), FirstSent::Unknown);
    assert_eq!((FirstSent::Unknown.at_ms(), FirstSent::NotBefore(5).at_ms()), (0, 5));
}

#[test]
fn a_refusal_for_the_window_says_that_it_may_have_been_sent_and_no_other_does() {
    let stage = |text: &str| {
        let found = Found { message: 0, position: 0, text, refusal: None, read: None };
        let rules = Rules { missing_uid: MissingUid::Refuse, now_ms: NOW_MS };
        match guard(&found, FirstSent::Unknown, rules, &Bump::new()) {
            Judged::Refused(refusal) => Some(refusal.stage),
            Judged::Good(_) | Judged::NotDue(_) => None,
        }
    };
    assert_eq!(stage(&with("ts", r#""2020-01-01T00:00:00Z""#)), Some(crate::reason::Stage::Submit));
    for text in [with("uid", "null"), with("ts", "1"), with("ts", r#""2030-01-01T00:00:00Z""#), with("meter", "1")] {
        assert_eq!(stage(&text), Some(crate::reason::Stage::Guard), "{text}");
    }
}

#[test]
fn a_category_is_an_object_of_texts_or_of_numbers_and_null_is_no_category() {
    for (category, numeric) in CATEGORIES {
        let (wrong, good, bad) = match numeric {
            true => ("FieldNotNumber", "1.5", r#""1.5""#),
            false => ("FieldNotText", r#""x""#, "1"),
        };
        check_with(category, "null", "good");
        check_with(category, "{}", "good");
        check_with(category, &format!(r#"{{"a":{good},"b":{good}}}"#), "good");
        for value in [bad, "null", "true", "[]", "{}"] {
            check_with(category, &format!(r#"{{"a":{good},"b":{value}}}"#), wrong);
        }
        for value in ["[]", "1", r#""x""#, "false"] {
            check_with(category, value, wrong);
        }
        check_with(category, &format!(r#"{{"\ud800":{good}}}"#), "NotJson");
    }
    check_with("who", r#"{"a":"\ud800"}"#, "NotJson");
    check_with("who", r#"{"a":"","b":"\u0000"}"#, "good");
}

#[test]
fn a_number_is_any_that_a_double_holds() {
    for number in ["0", "-0", "-1", "1.7976931348623157e308", "-1E308", "1e-999", "123456789012345678901234567890", "0.1e+1"] {
        check_with("measure", &format!(r#"{{"a":{number}}}"#), "good");
    }
    for number in ["1e309", "-1e309", "1E999999999999"] {
        check_with("cost", &format!(r#"{{"a":{number}}}"#), "FieldNotNumber");
    }
}

#[test]
fn a_field_code_is_letters_of_any_script_dollar_and_underscore_then_also_ascii_digits() {
    let good = ["a", "Z9", "_", "$", "$1_a", "é", "код", "請求", "ǅ", "ʰ", "ª1", r"\u0061"];
    for code in good.map(str::to_owned).into_iter().chain(["c".repeat(80), "請".repeat(80)]) {
        check_with("measure", &format!(r#"{{"{code}":1}}"#), "good");
    }
    let bad = ["", "1", "1a", "a-b", "a b", " a", "a.b", "a\u{301}", "a٣", "Ⅷ", "a\u{7f}", "😀", r"a\n"];
    for code in bad.map(str::to_owned).into_iter().chain(["c".repeat(81), "請".repeat(81)]) {
        check_with("who", &format!(r#"{{"{code}":"x"}}"#), "FieldCodeInvalid");
    }
}

#[test]
fn a_field_code_is_there_once_and_under_one_category() {
    check_with("measure", r#"{"a":1},"cost":{"b":1},"who":{"A":"x"}"#, "good");
    check_with("measure", r#"{"a":1},"cost":{"a":1}"#, "DuplicateField");
    check_with("who", r#"{"x":"1","a":"1"},"metadata":{"\u0061":"2"}"#, "DuplicateField");
    check_with("measure", r#"{"a":1,"b":2,"a":1}"#, "DuplicateKey");
    check_with("other", r#"{"a":"1"},"unknown":{"a":"1"}"#, "good");
}

#[test]
fn a_key_is_there_once_however_it_is_written() {
    check_with("x", "1,\"y\":1", "good");
    check_with("x", "1,\"x\":1", "DuplicateKey");
    check_with("x", "1,\"\\u0078\":1", "DuplicateKey");
    check_with("x", "null,\"x\":null", "DuplicateKey");
    check_with("x", r#"{"y":1,"y":2}"#, "good");
}

#[test]
fn what_nobody_knows_passes_unless_it_is_too_deep_or_holds_half_a_character() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    check_with("x", &deep(JSON_DEPTH_MAX - 1), "good");
    check_with("x", &deep(JSON_DEPTH_MAX), "NotJson");
    check_with("x", r#""[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[""#, "good");
    check_with("x", r#"[{"y":"\ud83d\ude00"}]"#, "good");
    check_with("x", r#"[{"y":"\ud83d"}]"#, "NotJson");
    check_with("x", r#"[{"\ude00":1}]"#, "NotJson");
    check_with("Meter", "1", "good");
}

#[test]
fn a_measurement_goes_on_byte_for_byte() {
    let text = "{ \"uid\" : \"\\u0075\",\n\"meter\":\"m\",\"account\":\"a\",\"x\":[ 1.50 ],\"ts\":\"2026-11-17T10:00:00Z\" }";
    let judged = judge(text, FirstSent::NotBefore(NOW_MS), MissingUid::Content);
    assert_eq!(judged, Ok((text.to_owned(), "u".to_owned())));
}

#[test]
fn members_that_are_null_are_left_out_and_the_others_stay_as_written() {
    let text = r#"{"ets":null,"uid":"u", "meter" : "m","who":null,"x\"y":[null, 1.50],"account":"a","ts":"2026-11-17T10:00:00Z","z":null}"#;
    let sent = r#"{"uid":"u","meter":"m","x\"y":[null, 1.50],"account":"a","ts":"2026-11-17T10:00:00Z"}"#;
    let judged = judge(text, FirstSent::NotBefore(NOW_MS), MissingUid::Refuse);
    assert_eq!(judged, Ok((sent.to_owned(), "u".to_owned())));
}

#[test]
fn a_uid_made_from_content_is_put_first_and_is_the_same_for_every_way_to_write_the_content() {
    let golden = "620e5305-fef3-51bd-af81-cb4ecb7825b1";
    let rest = r#""meter":"m","account":"a","ts":"2026-11-17T10:00:00Z","measure":{"calls": 1.50}"#;
    let sent = format!(r#"{{"uid":"{golden}",{rest}}}"#);
    for text in [
        format!("{{{rest}}}"),
        format!(r#"{{"uid":null,{rest}}}"#),
        format!(r#"{{{rest},"uid":""}}"#),
        format!(r#"{{{rest},"who":null}}"#),
    ] {
        let judged = judge(&text, FirstSent::NotBefore(NOW_MS), MissingUid::Content);
        assert_eq!(judged, Ok((sent.clone(), golden.to_owned())), "{text}");
        assert_eq!(judge(&text, FirstSent::NotBefore(NOW_MS), MissingUid::Refuse), Err("UidMissing".to_owned()));
    }
    let given = judge(GOOD, FirstSent::NotBefore(NOW_MS), MissingUid::Content);
    assert_eq!(given, Ok((GOOD.to_owned(), "u".to_owned())));
}

#[test]
fn a_measurement_may_be_as_large_as_a_batch_that_holds_it_alone() {
    let sized = |bytes: usize| {
        let empty = with("x", "\"\"").len();
        with("x", &format!("\"{}\"", "x".repeat(bytes - empty)))
    };
    check(&sized(MEASUREMENT_BYTES_MAX), "good");
    check(&sized(MEASUREMENT_BYTES_MAX + 1), "Oversize");
    // What is left out does not count; the uid that is put in does.
    let null = r#","y":null}"#;
    let mut with_null = sized(MEASUREMENT_BYTES_MAX);
    with_null.truncate(with_null.len() - 1);
    check(&format!("{with_null}{null}"), "good");
    let member = format!(r#""uid":"{}","#, "0".repeat(36));
    let without_uid = |bytes: usize| sized(bytes + r#""uid":"u","#.len()).replace(r#""uid":"u","#, "");
    let content = |text: &str| judge(text, FirstSent::NotBefore(NOW_MS), MissingUid::Content);
    let sent = content(&without_uid(MEASUREMENT_BYTES_MAX - member.len())).map(|(text, _)| text.len());
    assert_eq!(sent, Ok(MEASUREMENT_BYTES_MAX));
    assert_eq!(content(&without_uid(MEASUREMENT_BYTES_MAX - member.len() + 1)), Err("Oversize".to_owned()));
}

#[test]
fn a_refused_measurement_is_found_again_by_its_uid_where_it_has_a_readable_one() {
    let arena = Bump::new();
    assert_eq!(uid_of(r#"{"uid":"\u0075","meter":7}"#, &arena), Some("u"));
    for text in ["{}", r#"{"uid":""}"#, r#"{"uid":null}"#, r#"{"uid":7}"#, r#"{"uid":"\ud800"}"#, "[", "null"] {
        assert_eq!(uid_of(text, &arena), None, "{text}");
    }
}

#[test]
fn half_a_character_in_the_code_of_a_data_field_hides_neither_the_uid_nor_another_fault() {
    let arena = Bump::new();
    let text = r#"{"uid":"u1","meter":"m","account":"a","ts":"2026-01-02T03:04:05Z","what":{"\ud800":"x"}}"#;
    assert_eq!(uid_of(text, &arena), Some("u1"));
    assert!(with_uid(text, "u2", &arena).is_some());
    let found = Found { message: 0, position: 0, text: r#"{"uid":"u1","what":{"\ud800":"x"}}"#, refusal: None, read: None };
    let rules = Rules { missing_uid: MissingUid::Refuse, now_ms: 0 };
    assert!(
        matches!(guard(&found, FirstSent::Unknown, rules, &arena), Judged::Refused(refusal) if refusal.reason == Reason::MeterMissing)
    );
}
