//! What each failure means beside each ledger.

use super::*;
use crate::failure::Event;

const ORIGINAL: &str = r#"{"uid":"u","meter":"m","account":"a","ts":"2026-06-01T00:00:00Z","measure":{"calls":1}}"#;

fn failure(kind: &str, original: Option<&str>) -> Failure {
    let text = original.map(|text| format!(r#","measurement":{text}"#)).unwrap_or_default();
    let event = format!(r#"{{"id":"e","m3terEvent":{{"type":"{kind}","message":"in m3ter's words","uid":"u"{text}}}}}"#);
    Event::read(serde_json::from_str(&event).unwrap()).failures.remove(0)
}

/// A line of the uid with content `content`, sent at `sent_at`.
fn line(sent_at: i64, content: &str, more: serde_json::Value) -> Line {
    let mut line = serde_json::json!({
        "uid": "u", "batch": "b-1", "message_id": "m-1", "queued_at": sent_at - 10, "sent_at": sent_at, "attempts": 1,
        "receives": 1, "answer": "accepted", "content_hash": hash(content),
    });
    for (name, value) in more.as_object().unwrap() {
        line[name] = value.clone();
    }
    // As text, since a measurement stays as it was written.
    let text = line.to_string();
    serde_json::from_str(&format!("{},\"measurement\":{content}}}", text.strip_suffix('}').unwrap())).unwrap()
}

fn hash(content: &str) -> Uuid {
    let arena = bumpalo::Bump::new();
    relay_core::canonical::content_uid(&relay_core::canonical::canonical(content, &arena).unwrap())
}

fn other() -> String {
    ORIGINAL.replace(":1}", ":2}")
}

fn none() -> serde_json::Value {
    serde_json::json!({})
}

fn known(lines: &[Line]) -> Known<'_> {
    Known { event_at_ms: 1_000_000, lines, is_whole: true, has_ledger: true, came_from: None }
}

fn reason(meaning: &Meaning<'_>) -> Option<String> {
    match meaning {
        Meaning::Rejected(rejection) => Some(rejection.reason.clone()),
        Meaning::Receipt | Meaning::Counted | Meaning::Unjudged | Meaning::Unread => None,
    }
}

fn check(failure: &Failure, known: Known<'_>, expected: &str) {
    let meaning = weigh(failure, known);
    let word = match &meaning {
        Meaning::Rejected(rejection) => &rejection.reason,
        Meaning::Receipt => "receipt",
        Meaning::Counted => "counted",
        Meaning::Unjudged => "unjudged",
        Meaning::Unread => "unread",
    };
    assert_eq!(word, expected, "{known:?}");
}

#[test]
fn every_rejection_is_kept_under_m3ters_own_name_and_words() {
    for kind in ["UndefinedMeter", "MissingField", "DuplicateField", "InvalidAccountCode", "TimestampInFuture", "UnnamedFailure"]
    {
        for lines in [vec![], vec![line(5_000, ORIGINAL, none())]] {
            for has_ledger in [true, false] {
                let Meaning::Rejected(rejection) = weigh(&failure(kind, None), Known { has_ledger, ..known(&lines) }) else {
                    panic!("{kind}")
                };
                assert_eq!((rejection.reason.as_str(), rejection.detail.as_str()), (kind, "in m3ter's words"));
                assert_eq!(rejection.is_unknown_type, kind == "TimestampInFuture" || kind == "UnnamedFailure");
                assert_eq!(rejection.first_sent_at_ms, if lines.is_empty() { 0 } else { 4_990 });
            }
        }
    }
}

#[test]
fn what_m3ter_counted_all_the_same_is_not_quarantined() {
    check(&failure("CalculationError", Some(ORIGINAL)), known(&[]), "counted");
}

#[test]
fn a_duplicate_is_the_receipt_of_a_send_that_was_made_again() {
    let duplicate = failure("DuplicateUid", None);
    for lines in [
        vec![line(5, ORIGINAL, none()), line(9, ORIGINAL, none())],
        vec![line(5, ORIGINAL, serde_json::json!({"attempts": 2}))],
        vec![line(5, ORIGINAL, serde_json::json!({"receives": 2}))],
    ] {
        check(&duplicate, known(&lines), "receipt");
        let near = Known { is_whole: false, ..known(&lines) };
        check(&duplicate, near, "receipt");
    }
}

#[test]
fn the_two_lines_of_one_send_in_a_file_are_no_second_send() {
    let duplicate = failure("DuplicateUid", None);
    let upload = |at_ms, answer: &str, batch: &str| {
        let more = serde_json::json!({"answer": answer, "batch": batch, "origin": {"kind": "upload", "of": "x"}});
        line(at_ms, ORIGINAL, more)
    };
    let once = [upload(5, "unknown", "f-1"), upload(9, "accepted", "f-1")];
    check(&duplicate, known(&once), "DuplicateOfUnknown");
    let twice = [upload(5, "unknown", "f-1"), upload(9, "accepted", "f-1"), upload(12, "unknown", "g-1")];
    check(&duplicate, known(&twice), "receipt");
    let again = serde_json::json!({"answer": "unknown", "batch": "f-1", "attempts": 2, "origin": {"kind": "upload", "of": "x"}});
    check(&duplicate, known(&[upload(5, "unknown", "f-1"), line(8, ORIGINAL, again)]), "receipt");
    let both_ways = [line(3, ORIGINAL, none()), upload(5, "unknown", "f-1"), upload(9, "accepted", "f-1")];
    check(&duplicate, known(&both_ways), "receipt");
}

#[test]
fn a_duplicate_that_no_send_of_ours_explains_is_kept_once_all_was_read() {
    let duplicate = failure("DuplicateUid", None);
    for lines in [vec![], vec![line(5, ORIGINAL, none())]] {
        check(&duplicate, Known { is_whole: false, ..known(&lines) }, "unread");
        assert_eq!(reason(&weigh(&duplicate, known(&lines))).as_deref(), Some("DuplicateOfUnknown"));
        check(&duplicate, Known { has_ledger: false, ..known(&lines) }, "unjudged");
    }
}

#[test]
fn the_second_content_of_a_uid_is_a_conflict_and_a_copy_of_the_first_is_not() {
    let later_ms = ORDER_MS + 9;
    let lines = [line(5, ORIGINAL, none()), line(later_ms, &other(), none()), line(later_ms + 3, ORIGINAL, none())];
    let known = |lines| Known { event_at_ms: later_ms + 1_000, ..known(lines) };
    let conflict = weigh(&failure("DuplicateUid", Some(&other())), known(&lines));
    assert_eq!(reason(&conflict).as_deref(), Some("UidConflict"));
    let Meaning::Rejected(rejection) = conflict else { panic!() };
    assert_eq!(rejection.line.map(|line| line.sent_at), Some(later_ms), "the send of that content, not the last");
    check(&failure("DuplicateUid", Some(ORIGINAL)), known(&lines), "receipt");
    // Where m3ter does not say which it dropped, the second is held to be that, however often the first was sent after it.
    for until in [2, 3] {
        let mute = weigh(&failure("DuplicateUid", None), known(&lines[..until]));
        assert_eq!(reason(&mute).as_deref(), Some("UidConflict"));
        let Meaning::Rejected(rejection) = mute else { panic!() };
        assert_eq!(rejection.line.map(|line| line.sent_at), Some(later_ms));
    }
    let foreign = ORIGINAL.replace(":1}", ":3}");
    assert_eq!(reason(&weigh(&failure("DuplicateUid", Some(&foreign)), known(&lines[..1]))).as_deref(), Some("UidConflict"));
}

#[test]
fn where_the_order_of_two_contents_is_open_each_that_m3ter_drops_is_kept() {
    let duplicate = failure("DuplicateUid", Some(ORIGINAL));
    let again = line(7, ORIGINAL, none());
    for (first, second) in [
        // Close together: one may have been late, or a clock wrong.
        (line(5, ORIGINAL, none()), line(5 + ORDER_MS, &other(), none())),
        // It was never answered.
        (line(5, ORIGINAL, serde_json::json!({"answer": "unknown"})), line(9 + 2 * ORDER_MS, &other(), none())),
        // The other was delivered before, and may have been sent then.
        (line(5, ORIGINAL, none()), line(9 + 2 * ORDER_MS, &other(), serde_json::json!({"receives": 2, "queued_at": 5}))),
    ] {
        let lines = [first, line(7, ORIGINAL, serde_json::json!({"answer": "unknown"})), second];
        check(&duplicate, known(&lines), "UidConflict");
        check(&duplicate, known(&lines[..2]), "receipt");
    }
    // That another content came later explains no copy of the first.
    let lines = [again, line(9 + 2 * ORDER_MS, &other(), none())];
    check(&duplicate, known(&lines), "DuplicateOfUnknown");
}

#[test]
fn a_replay_of_a_rejection_is_never_a_receipt() {
    let origin = serde_json::json!({"origin": {"kind": "replay", "of": "q"}});
    let from =
        |reason: &str| CameFrom { rejected_for: Some(reason.into()), first_sent_at_ms: Some(3), quarantined_at_ms: 8_000_000 };
    let lines = [line(5_000, ORIGINAL, none()), line(9_000, ORIGINAL, origin.clone())];
    let duplicate = failure("DuplicateUid", Some(ORIGINAL));
    let (rejected, conflict, foreign) = (from("UndefinedMeter"), from("UidConflict"), from("DuplicateOfUnknown"));
    let weighed = weigh(&duplicate, Known { came_from: Some(&rejected), ..known(&lines) });
    assert_eq!(reason(&weighed).as_deref(), Some("ReplayDropped"));
    let Meaning::Rejected(rejection) = weighed else { panic!() };
    assert_eq!(rejection.first_sent_at_ms, 3, "the entry it came from was sent before");
    assert!(rejection.detail.ends_with("replay --new-uid is the way out"));
    let twice = [line(9, ORIGINAL, origin.clone()), line(11, ORIGINAL, origin)];
    let Meaning::Rejected(rejection) = weigh(&duplicate, Known { came_from: Some(&rejected), ..known(&twice) }) else { panic!() };
    assert!(rejection.detail.contains("look with reconcile"), "its first copy may count");
    assert_eq!(reason(&weigh(&duplicate, Known { came_from: Some(&conflict), ..known(&lines) })).as_deref(), Some("UidConflict"));
    assert_eq!(
        reason(&weigh(&duplicate, Known { came_from: Some(&foreign), ..known(&lines) })).as_deref(),
        Some("DuplicateOfUnknown")
    );
    // What was never rejected, only uncertain, is proven by the duplicate.
    let uncertain = CameFrom { rejected_for: None, first_sent_at_ms: Some(3), quarantined_at_ms: 8_000_000 };
    check(&duplicate, Known { came_from: Some(&uncertain), ..known(&lines) }, "receipt");
}

#[test]
fn the_send_that_was_rejected_is_the_last_before_the_event() {
    let lines = [line(5, ORIGINAL, none()), line(100_000, ORIGINAL, none())];
    let sent = |event_at_ms| rejected_send(&failure("UndefinedMeter", None), event_at_ms, &lines).map(|line| line.sent_at);
    assert_eq!(sent(10), Some(5));
    assert_eq!(sent(40_000), Some(100_000), "m3ter's clock may be a minute behind");
    assert_eq!(sent(0), Some(100_000), "an event without a time");
    assert_eq!(sent(-1_000_000), Some(5), "an event before every send is about the first");
    assert!(rejected_send(&failure("UndefinedMeter", None), 10, &[]).is_none());
}

#[test]
fn what_m3ter_gives_back_in_its_own_hand_is_what_was_sent() {
    let lines = [line(5, ORIGINAL, none()), line(9, ORIGINAL, none())];
    let rewritten =
        r#"{"orgId":"o","uid":"u","account":"a","meter":"m","ts":"2026-06-01T00:00:00.000+00:00","measure":{"calls":1.0}}"#;
    check(&failure("DuplicateUid", Some(rewritten)), known(&lines), "receipt");
    // A ledger that kept no measurement cannot tell; it does not call each copy a conflict.
    let bare: Vec<Line> = lines.into_iter().map(|line| Line { measurement: None, ..line }).collect();
    check(&failure("DuplicateUid", Some(rewritten)), known(&bare), "receipt");
}
