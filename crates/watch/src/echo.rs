//! Whether a measurement that m3ter gives back is one that was sent.
//!
//! m3ter does not say that it gives back what it got, byte for byte. It may write numbers and times its own way, and add members.
//! So what is compared is what is said: numbers by their value, times by their moment, each map of data fields as a whole.

use jiff::Timestamp;
use relay_store::Line;
use serde_json::Value;

use crate::failure::Failure;

/// The members of a measurement that say something. Others are m3ter's own.
const MEMBERS: [&str; 13] =
    ["uid", "meter", "account", "ts", "ets", "who", "where", "what", "other", "metadata", "measure", "income", "cost"];

/// Whether `failure` is about the content of `line`. `None` if that cannot be told: m3ter gave nothing back, or the ledger kept
/// nothing to compare it with.
pub(crate) fn is_of(failure: &Failure, line: &Line) -> Option<bool> {
    if !failure.is_measurement {
        return None;
    }
    if failure.content_hash() == Some(line.content_hash) {
        return Some(true);
    }
    let sent: Value = serde_json::from_str(line.measurement.as_deref()?.get()).ok()?;
    Some(says_the_same(&sent, &serde_json::from_str(&failure.text).ok()?))
}

fn says_the_same(sent: &Value, back: &Value) -> bool {
    MEMBERS.iter().all(|name| {
        let of = |whole: &Value| whole.get(*name).filter(|member| !is_nothing(member)).cloned();
        match (of(sent), of(back)) {
            (Some(sent), Some(back)) => is_same(&sent, &back),
            (None, None) => true,
            (_, _) => false,
        }
    })
}

fn is_nothing(member: &Value) -> bool {
    member.is_null() || member.as_object().is_some_and(serde_json::Map::is_empty)
}

fn is_same(sent: &Value, back: &Value) -> bool {
    match (sent, back) {
        (Value::Object(sent), Value::Object(back)) => {
            sent.len() == back.len() && sent.iter().all(|(key, value)| back.get(key).is_some_and(|other| is_same(value, other)))
        }
        (Value::Number(sent), Value::Number(back)) => sent.as_f64() == back.as_f64(),
        (Value::String(sent), Value::Number(back)) => {
            let back = |ms: &i64| back.as_i64().is_some_and(|back| back == *ms || back.checked_mul(1_000) == Some(*ms));
            moment(sent).map(Timestamp::as_millisecond).as_ref().is_some_and(back)
        }
        (Value::String(sent), Value::String(back)) => sent == back || moment(sent).is_some_and(|at| moment(back) == Some(at)),
        (_, _) => sent == back,
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = r#"{"uid":"u","meter":"m","account":"a","ts":"2026-06-01T00:00:00Z","measure":{"n":1.50,"k":2}}"#;

    fn check(back: &str, expected: bool) {
        assert_eq!(says_the_same(&serde_json::from_str(SENT).unwrap(), &serde_json::from_str(back).unwrap()), expected, "{back}");
    }

    #[test]
    fn what_is_written_otherwise_says_the_same() {
        check(SENT, true);
        check(r#"{"measure":{"k":2.0,"n":1.5},"ts":"2026-06-01T02:00:00.000+02:00","account":"a","meter":"m","uid":"u"}"#, true);
        check(&SENT.replace("\"2026-06-01T00:00:00Z\"", "1780272000000"), true);
        check(&SENT.replace("\"2026-06-01T00:00:00Z\"", "1780272000001"), false);
        check(&SENT.replace("{\"uid\"", "{\"orgId\":\"o\",\"receivedAt\":7,\"who\":{},\"ets\":null,\"uid\""), true);
    }

    #[test]
    fn what_says_something_else_is_another() {
        check(&SENT.replace("1.50", "1.51"), false);
        check(&SENT.replace(",\"k\":2", ""), false);
        check(&SENT.replace("\"k\":2", "\"k\":2,\"l\":3"), false);
        check(&SENT.replace("00:00:00Z", "00:00:01Z"), false);
        check(&SENT.replace("\"a\"", "\"b\""), false);
        check(&SENT.replace("{\"uid\"", "{\"who\":{\"x\":\"y\"},\"uid\""), false);
    }
}
