//! Judge: total, and nothing is accepted but a 200 that says so.

use std::time::Duration;

use proptest::prelude::*;
use relay_core::judge::{Answer, Sent, Verdict, judge};
use relay_core::limits::{SIZE_SUSPECT_BYTES, WORDS_CHARS_MAX};
use serde_json::Value;

use crate::given::{config, object};

const AFTER: Option<Duration> = Some(Duration::from_secs(3));

fn check(status: u16, body: &[u8]) {
    let says_accepted = serde_json::from_slice::<Value>(body).is_ok_and(|body| body["result"] == "accepted");
    for (bytes, token_is_fresh) in
        [(0, false), (SIZE_SUSPECT_BYTES, true), (SIZE_SUSPECT_BYTES + 1, true), (usize::MAX, false), (usize::MAX, true)]
    {
        let verdict = judge(Answer { status, body, retry_after: AFTER }, Sent { bytes, token_is_fresh });
        assert!(verdict != Verdict::Accepted || (status == 200 && says_accepted), "{status} {body:?}");
        let expected = match (&verdict, status) {
            (Verdict::Accepted, 200) => true,
            (Verdict::Unknown, 200..=399) => true,
            (Verdict::Renew, 401 | 403) => !token_is_fresh,
            (Verdict::Refused(turndown), 400 | 413 | 422) => !turndown.credentials_likelier,
            (Verdict::Refused(turndown), 403) => token_is_fresh && turndown.credentials_likelier == (bytes <= SIZE_SUSPECT_BYTES),
            (Verdict::Retry { after }, 408 | 409 | 429 | 500..=599) => *after == AFTER,
            (Verdict::GiveUp, 401) => token_is_fresh,
            (Verdict::GiveUp, 400 | 403 | 408 | 409 | 413 | 422 | 429 | 200..=399 | 500..=599) => false,
            (Verdict::GiveUp, _) => true,
            _ => false,
        };
        assert!(expected, "{status} {verdict:?}");
        if let Verdict::Refused(turndown) = verdict {
            assert!(turndown.status == status && turndown.words.chars().count() <= WORDS_CHARS_MAX);
        }
    }
}

#[test]
fn every_status_has_the_verdict_of_the_table_whatever_the_body() {
    let long = format!(r#"{{"message":"{}"}}"#, "é".repeat(5_000));
    for status in 0..=999 {
        for body in [b"".as_slice(), br#"{"result":"accepted"}"#, br#"{"message":"no"}"#, b"<html>", b"\xff\xfe", long.as_bytes()]
        {
            check(status, body);
        }
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn any_body_under_any_status_is_judged_by_the_table(
        status in prop_oneof![Just(200_u16), 0..=999_u16],
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        object in object(),
        result in prop_oneof![Just(Value::from("accepted")), any::<String>().prop_map(Value::from), Just(Value::Null)],
    ) {
        check(status, &bytes);
        let mut body = object;
        body["result"] = result;
        check(status, body.to_string().as_bytes());
        check(status, Value::from(vec![body["result"].clone()]).to_string().as_bytes());
    }
}
