//! Judges what an answer of m3ter means for the batch that was sent.
//!
//! An unknown outcome is never success: whatever is not plainly an acceptance leaves the batch undecided, and whatever is not
//! plainly about the data is held to be our own fault. Blame for data needs evidence, which the caller has: an acceptance
//! by the same endpoint under the same token.

use std::time::Duration;

use bumpalo::Bump;

use crate::json;
use crate::limits::{SIZE_SUSPECT_BYTES, WORDS_CHARS_MAX};

/// One answer of the ingest API.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// Body, perhaps cut short.
    pub body: &'a [u8],
    /// What `Retry-After` said.
    pub retry_after: Option<Duration>,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Bytes of the request body.
    pub bytes: usize,
    /// Whether the token was fetched for this very attempt, after a refusal, with a secret read again.
    pub token_is_fresh: bool,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// m3ter took the batch.
    Accepted,
    /// Send the same again, not before the time given.
    Retry {
        /// Told by m3ter.
        after: Option<Duration>,
    },
    /// Get a fresh token with a secret read again, then send the same again.
    Renew,
    /// The batch was turned down, perhaps for its data. If that is so is for evidence to say.
    Refused(Turndown),
    /// The fault is ours: credentials, host, permission. Everything is returned.
    GiveUp,
    /// Nobody can tell whether the batch was taken: a proxy, a challenge page, a redirect.
    Unknown,
}

/// A batch turned down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turndown {
    /// HTTP status.
    pub status: u16,
    /// The API's own words. They may quote data: for the quarantine, never for a log.
    pub words: String,
    /// Whether credentials are the likelier cause: a 403 for a body that is not large. Then no search for a culprit is
    /// begun without evidence.
    pub credentials_likelier: bool,
}

/// Judges `answer` to `sent`. Total: every status has a verdict.
pub fn judge(answer: Answer<'_>, sent: Sent) -> Verdict {
    match answer.status {
        200 if says_accepted(answer.body) => Verdict::Accepted,
        200..=399 => Verdict::Unknown,
        400 | 413 | 422 => Verdict::Refused(turndown(answer, false)),
        401 | 403 if !sent.token_is_fresh => Verdict::Renew,
        403 => Verdict::Refused(turndown(answer, sent.bytes <= SIZE_SUSPECT_BYTES)),
        408 | 409 | 429 | 500..=599 => Verdict::Retry { after: answer.retry_after },
        _ => Verdict::GiveUp,
    }
}

fn says_accepted(body: &[u8]) -> bool {
    text_under("result", body).is_some_and(|result| result == "accepted")
}

/// The text under `key` of the object `body`, where it is there once. A derived reader would not do: it also takes an array.
fn text_under(key: &str, body: &[u8]) -> Option<String> {
    let arena = Bump::new();
    let mut members = Vec::new();
    json::members(std::str::from_utf8(body).ok()?, &arena, &mut members).ok()?;
    let mut values = members.iter().filter(|(other, _)| *other == key);
    match (values.next(), values.next()) {
        (Some((_, text)), None) => json::string(text, &arena).ok().map(str::to_owned),
        _ => None,
    }
}

fn turndown(answer: Answer<'_>, credentials_likelier: bool) -> Turndown {
    let words = text_under("message", answer.body).unwrap_or_else(|| String::from_utf8_lossy(answer.body).into_owned());
    Turndown { status: answer.status, words: words.chars().take(WORDS_CHARS_MAX).collect(), credentials_likelier }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &[u8] = br#"{"result":"accepted"}"#;
    const SMALL: Sent = Sent { bytes: 1_000, token_is_fresh: false };
    const SMALL_FRESH: Sent = Sent { bytes: 1_000, token_is_fresh: true };
    const LARGE_FRESH: Sent = Sent { bytes: SIZE_SUSPECT_BYTES + 1, token_is_fresh: true };

    fn check(status: u16, body: &[u8], sent: Sent, expected: fn(&Verdict) -> bool) {
        let verdict = judge(Answer { status, body, retry_after: None }, sent);
        assert!(expected(&verdict), "{status} {verdict:?}");
    }

    #[test]
    fn only_a_200_that_says_accepted_is_accepted() {
        check(200, ACCEPTED, SMALL, |verdict| *verdict == Verdict::Accepted);
        check(200, br#" {"result":"accepted","more":[1]} "#, SMALL, |verdict| *verdict == Verdict::Accepted);
        for body in
            [b"".as_slice(), b"<html>ok</html>", b"{}", br#"{"result":"Accepted"}"#, br#"{"result":"accep"#, b"[]", b"null"]
        {
            check(200, body, SMALL, |verdict| *verdict == Verdict::Unknown);
        }
    }

    #[test]
    fn accepted_in_the_wrong_place_is_unknown() {
        for body in [
            br#"["accepted"]"#.as_slice(),
            br#""accepted""#,
            br#"{"data":{"result":"accepted"}}"#,
            br#"{"result":["accepted"]}"#,
            br#"{"result":"failed","result":"accepted"}"#,
            br#"{"result":"accepted","result":"failed"}"#,
            br#"{"result":"accepted"}{"#,
            b"\xef\xbb\xbf{\"result\":\"accepted\"}",
            b"{\"result\":\"accepted\",\"x\":\"\xff\"}",
        ] {
            check(200, body, SMALL, |verdict| *verdict == Verdict::Unknown);
        }
        check(200, br#"{"r\u0065sult":"\u0061ccepted"}"#, SMALL, |verdict| *verdict == Verdict::Accepted);
    }

    #[test]
    fn any_other_2xx_and_3xx_is_unknown_whatever_it_says() {
        for status in [201, 202, 204, 299, 301, 302, 304, 307, 399] {
            check(status, ACCEPTED, SMALL, |verdict| *verdict == Verdict::Unknown);
        }
    }

    #[test]
    fn throttling_conflicts_and_server_faults_are_tried_again() {
        for status in [408, 409, 429, 500, 502, 503, 504, 599] {
            check(status, ACCEPTED, SMALL, |verdict| *verdict == Verdict::Retry { after: None });
        }
    }

    #[test]
    fn retry_after_is_passed_on() {
        let after = Some(Duration::from_secs(7));
        let verdict = judge(Answer { status: 429, body: b"", retry_after: after }, SMALL);
        assert_eq!(verdict, Verdict::Retry { after });
    }

    #[test]
    fn what_may_be_about_data_is_a_refusal() {
        for status in [400, 413, 422] {
            check(status, b"", SMALL, |verdict| matches!(verdict, Verdict::Refused(turndown) if !turndown.credentials_likelier));
        }
    }

    #[test]
    fn a_401_or_403_asks_for_a_fresh_token_first_whatever_the_size() {
        check(401, b"", SMALL, |verdict| *verdict == Verdict::Renew);
        check(403, b"", SMALL, |verdict| *verdict == Verdict::Renew);
        check(403, b"", Sent { token_is_fresh: false, ..LARGE_FRESH }, |verdict| *verdict == Verdict::Renew);
    }

    #[test]
    fn a_403_under_a_fresh_token_points_at_credentials_unless_the_body_is_large() {
        check(403, b"", SMALL_FRESH, |verdict| matches!(verdict, Verdict::Refused(turndown) if turndown.credentials_likelier));
        check(403, b"", LARGE_FRESH, |verdict| matches!(verdict, Verdict::Refused(turndown) if !turndown.credentials_likelier));
    }

    #[test]
    fn every_status_not_named_is_our_own_fault() {
        for status in [100, 199, 401, 402, 404, 405, 406, 407, 410, 411, 414, 415, 418, 421, 425, 426, 431, 451, 499, 600, 999] {
            check(status, ACCEPTED, SMALL_FRESH, |verdict| *verdict == Verdict::GiveUp);
        }
    }

    #[test]
    fn the_words_of_a_refusal_are_kept_but_not_without_bound() {
        let answer = |body| judge(Answer { status: 400, body, retry_after: None }, SMALL);
        let words = |verdict| if let Verdict::Refused(turndown) = verdict { turndown.words } else { String::new() };
        assert_eq!(words(answer(br#"{"message":"ts is wrong"}"#)), "ts is wrong");
        assert_eq!(words(answer(b"no JSON \xff")), "no JSON \u{fffd}");
        assert_eq!(words(answer(&[b'x'; 10_000])).len(), WORDS_CHARS_MAX);
    }
}
