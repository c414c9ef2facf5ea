//! Any status and body as an answer of m3ter → its verdict. Two bytes choose the status, one what was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_core::judge::{Answer, Sent, Turndown, Verdict, judge};
use relay_core::limits::{SIZE_SUSPECT_BYTES, WORDS_CHARS_MAX};
use relay_fuzz::Reading;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let [high, low, sent, body @ ..] = data else { return };
    // Half of all inputs are about the one status that can be an acceptance.
    let status = if *high < 128 { 200 } else { u16::from_be_bytes([high & 3, *low]) };
    let bytes = if sent & 1 == 0 { 1_000 } else { SIZE_SUSPECT_BYTES + 1 };
    let verdict = judge(Answer { status, body, retry_after: None }, Sent { bytes, token_is_fresh: sent & 2 != 0 });
    let reading = Reading::of(body);
    match &verdict {
        Verdict::Accepted => {
            assert_eq!(status, 200);
            match reading {
                Reading::Is(value) => assert!(value.is_object() && value["result"] == "accepted", "{value}"),
                Reading::Untold => {}
                Reading::Not => panic!("an acceptance that is not JSON"),
            }
        }
        Verdict::Refused(turndown) => {
            assert!(matches!(status, 400 | 403 | 413 | 422));
            is_bounded(turndown, status, body, &reading);
        }
        Verdict::Unknown => {
            assert!((200..400).contains(&status));
            assert!(status != 200 || !plainly_accepted(body, &reading), "an acceptance that was not seen");
        }
        Verdict::Renew => assert!(matches!(status, 401 | 403) && sent & 2 == 0),
        Verdict::Retry { after } => assert!(matches!(status, 408 | 409 | 429 | 500..=599) && after.is_none()),
        Verdict::GiveUp => assert!(!(200..400).contains(&status) && !(500..600).contains(&status)),
    }
});

/// An object whose only key `result`, written without escapes, has the one value.
fn plainly_accepted(body: &[u8], reading: &Reading) -> bool {
    let text = String::from_utf8_lossy(body);
    match reading {
        Reading::Is(Value::Object(members)) => {
            members.get("result").is_some_and(|result| result == "accepted")
                && text.matches("\"result\"").count() == 1
                && !text.contains('\\')
        }
        Reading::Is(_) | Reading::Untold | Reading::Not => false,
    }
}

fn is_bounded(turndown: &Turndown, status: u16, body: &[u8], reading: &Reading) {
    assert_eq!(turndown.status, status);
    assert!(turndown.words.chars().count() <= WORDS_CHARS_MAX);
    let text = String::from_utf8_lossy(body);
    let said = match reading {
        // Of a key that is there twice, `Value` keeps the last; an escape may hide one.
        Reading::Is(Value::Object(members)) if text.matches("\"message\"").count() == 1 && !text.contains('\\') => {
            members.get("message").and_then(Value::as_str)
        }
        Reading::Is(_) | Reading::Untold | Reading::Not => None,
    };
    if let Some(said) = said {
        assert!(said.starts_with(&turndown.words) && (said.is_empty() || !turndown.words.is_empty()));
    } else if !text.contains("message") && !text.contains('\\') {
        assert!(text.starts_with(&turndown.words) && (text.is_empty() || !turndown.words.is_empty()));
    }
}
