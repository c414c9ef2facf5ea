//! What the relay would say of a measurement in a file.
//!
//! It is judged as one in a list or on a line of a message is, by the relay's own decode and guard. A second set of rules here would
//! drift from them. So an envelope of SNS or EventBridge, and a list within a list, is no measurement here either: a
//! message may be one, a row may not.
//!
//! Absent: what needs more than one measurement ([`crate::seen`]) or what m3ter knows (relay-core's `catalogue`).

use bumpalo::Bump;
use relay_core::decode::{Found, InflateBudget, decode};
use relay_core::guard::{FirstSent, Judged, Rules, guard};
use relay_core::inbound::Inbound;
use serde_json::value::RawValue;

/// Judges `text`, which was first sent when `first_sent` says. Never fails; text made on the way lives in `arena`.
pub fn judge<'a>(text: &'a str, first_sent: FirstSent, rules: Rules, arena: &'a Bump) -> Judged<'a> {
    let is_object = || text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok();
    // Guard lets nothing pass that is no JSON object, so only what it refuses has to be read twice to be refused in the right words.
    match guard(&Found { message: 0, position: 0, text, refusal: None, read: None }, first_sent, rules, arena) {
        Judged::Refused(refusal) => match is_object() {
            true => Judged::Refused(refusal),
            false => no_object(text, first_sent, rules, arena),
        },
        judged @ (Judged::Good(_) | Judged::NotDue(_)) => judged,
    }
}

/// Has decode find the words for it: as a line of a message whose first line is an object, which makes each line stand alone.
#[cold]
fn no_object<'a>(text: &'a str, first_sent: FirstSent, rules: Rules, arena: &'a Bump) -> Judged<'a> {
    // A line feed can only stand between tokens, where a space means the same.
    let body = arena.alloc_str(&format!("{{}}\n{}", text.replace('\n', " ")));
    let message = Inbound {
        id: "",
        handle: "",
        body,
        attributes: Vec::new(),
        receives: 1,
        sent_at_ms: None,
        first_received_at_ms: None,
        source: "",
    };
    let mut found = Vec::new();
    decode(&message, 0, arena, &mut InflateBudget::default(), &mut found);
    let found = found.pop().unwrap_or(Found { message: 0, position: 0, text, refusal: None, read: None });
    match &found.refusal {
        Some(refusal) => Judged::Refused(refusal.clone()),
        None => guard(&found, first_sent, rules, arena),
    }
}

#[cfg(test)]
mod tests {
    use relay_core::guard::MissingUid;

    use super::*;

    const NOW_MS: i64 = 1_780_272_000_000;

    fn word(text: &str) -> String {
        let rules = Rules { missing_uid: MissingUid::Refuse, now_ms: NOW_MS };
        match judge(text, FirstSent::NotBefore(NOW_MS), rules, &Bump::new()) {
            Judged::Good(_) => "good".to_owned(),
            Judged::NotDue(ahead_ms) => format!("in {ahead_ms} ms"),
            Judged::Refused(refusal) => refusal.reason.name().to_owned(),
        }
    }

    #[test]
    fn a_row_is_judged_as_the_relay_judges_a_line_of_a_message() {
        let good = r#"{"uid":"u","meter":"m","account":"a","ts":"2026-05-31T00:00:00Z"}"#;
        for (text, expected) in [
            (good, "good"),
            (&good.replace(",", ",\n"), "good"),
            (&good.replace("2026-05-31T00:00:00Z", "2026-06-01T00:00:01Z"), "in 1000 ms"),
            (&good.replace("\"uid\":\"u\",", ""), "UidMissing"),
            (&format!("{good} {good}"), "NotJson"),
            ("hello", "NotJson"),
            ("{", "NotJson"),
            (&good.replace("\"u\"", "\"u\",\"n\":01"), "NotJson"),
            (&good.replace("\"u\"", "\"u\",\"n\":1."), "NotJson"),
            (&good.replace("\"u\"", "\"u\",\"n\":nul"), "NotJson"),
            (&good.replace("\"u\"", "\"u\",\"n\":\"\\x\""), "NotJson"),
            (&good.replace("\"u\"", "\"u\",\"n\":\"\u{1}\""), "NotJson"),
            (&good.replace("\"u\"", "\"u\",\"n\":[1,]"), "NotJson"),
            (&good.replace("\"u\"", "\"u\",\"n\":[1}"), "NotJson"),
            (&good.replace('}', ",}"), "NotJson"),
            (&good.replace('}', "}}"), "NotJson"),
            ("[1,\n2]", "NotAMeasurement"),
            (&format!("[{good}]"), "NotAMeasurement"),
            ("null", "NotAMeasurement"),
            (r#"{"Type":"Notification","Message":"{}"}"#, "MeterMissing"),
        ] {
            assert_eq!(word(text), expected, "{text}");
        }
    }
}
