//! One measurement as a producer makes it, and what must become of it.

use jiff::Timestamp;
use uuid::Uuid;

/// The namespace of uids made from content: the UUIDv5 of the URL namespace and the name `usage-relay/content/v1`.
const CONTENT_NAMESPACE: &[u8] = b"usage-relay/content/v1";
/// The meter that measurements are counted under.
pub(crate) const METER: &str = "canary-api";
/// The largest measurement that fits a request alone, by m3ter's limit: a body below 512,000 bytes.
pub(crate) const ALONE_BYTES_MAX: usize = 511_999 - r#"{"measurements":[]}"#.len();

const DAY_MS: i64 = 24 * 3_600_000;

/// What must become of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// m3ter ingests it.
    Good,
    /// The same, once its time has come.
    Ahead,
    /// m3ter accepts it and rejects it afterwards.
    Rejected,
    /// m3ter ingests it, unless it could not be sent before m3ter may have forgotten its uid.
    Aging,
    /// One of several contents of one uid: m3ter ingests at most one of them.
    Rival,
    /// m3ter refuses it, and with it every request that holds it.
    RefusedByApi,
    /// Good, but a proxy that limits sizes may not let it pass.
    Large,
    /// The relay refuses it for this reason.
    Refused(&'static str),
    /// The message stays whole until it is exhausted.
    Pointer,
}

/// A measurement, or what stands where one is expected.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The uid that m3ter gets, where it may get it at all.
    pub(crate) uid: Option<String>,
    /// As written.
    pub(crate) text: String,
    /// Whether it may arrive changed: a uid put in, nulls left out.
    pub(crate) may_change: bool,
    /// Its share of the bill.
    pub(crate) n: u64,
    pub(crate) expect: Expect,
}

/// Makes measurements.
pub(crate) struct Maker {
    made: u64,
    accounts: usize,
}

fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap().to_string()
}

/// The reasons for which one measurement can be refused, `UidMissing` last.
const REASONS: [&str; 17] = [
    "UidTooLong",
    "MeterMissing",
    "MeterInvalid",
    "AccountMissing",
    "AccountInvalid",
    "TimestampMissing",
    "TimestampInvalid",
    "TimestampInFuture",
    "FieldNotText",
    "FieldNotNumber",
    "FieldCodeInvalid",
    "DuplicateField",
    "DuplicateKey",
    "NotAMeasurement",
    "NotJson",
    "MeterInvalid",
    "UidMissing",
];

impl Maker {
    pub(crate) fn new(accounts: usize) -> Maker {
        Maker { made: 0, accounts }
    }

    fn next(&mut self, rng: &mut fastrand::Rng) -> (String, String, u64) {
        self.made += 1;
        let uid = format!("canary-{}-{:x}", self.made, rng.u32(..));
        (uid, format!("canary-account-{}", rng.usize(..self.accounts)), rng.u64(1..1_000))
    }

    /// A good one, written in one of several ways, with `filler` bytes of text in it.
    pub(crate) fn good(&mut self, rng: &mut fastrand::Rng, at_ms: i64, filler: usize) -> Made {
        let (uid, account, n) = self.next(rng);
        let ts = time(at_ms - rng.i64(1..2 * 3_600_000));
        let way = if filler > 0 { 5 } else { rng.usize(..5) };
        let text = match way {
            0 => format!(r#"{{"account":"{account}","measure":{{"n":{n}}},"meter":"{METER}","ts":"{ts}","uid":"{uid}"}}"#),
            1 => format!(
                r#"{{ "uid": "{uid}", "ts": "{ts}", "meter": "{METER}", "account": "{account}", "measure": {{ "n": {n}.00 }} }}"#
            ),
            2 => format!(
                r#"{{"uid":"{uid}","ets":null,"meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n}}}}}"#
            ),
            3 => format!(
                r#"{{"uid":"{uid}","meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n}}},"who":{{"name":"Zoë \"Q\" \u00e9\n"}},"odd":[1,{{"y":false}}]}}"#
            ),
            4 => format!(
                r#"{{"uid":"{uid}","meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n},"extra":1e3}}}}"#
            ),
            _ => format!(
                r#"{{"uid":"{uid}","meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n}}},"other":{{"f":"{}"}}}}"#,
                "canary-filler ".repeat(filler / 14)
            ),
        };
        Made { uid: Some(uid), text, may_change: way == 2, n, expect: Expect::Good }
    }

    /// One without a uid, where the relay is set to make it from the content. It is written in canonical form.
    pub(crate) fn without_uid(&mut self, rng: &mut fastrand::Rng, at_ms: i64) -> Made {
        let (unique, account, n) = self.next(rng);
        let ts = time(at_ms - rng.i64(1..2 * 3_600_000));
        let text = format!(
            r#"{{"account":"{account}","measure":{{"n":{n}}},"meter":"{METER}","other":{{"unique":"{unique}"}},"ts":"{ts}"}}"#
        );
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, CONTENT_NAMESPACE);
        let uid = Uuid::new_v5(&namespace, text.as_bytes()).to_string();
        Made { uid: Some(uid), text, may_change: true, n, expect: Expect::Good }
    }

    /// One whose time has not come: up to 14 minutes ahead.
    pub(crate) fn ahead(&mut self, rng: &mut fastrand::Rng, at_ms: i64) -> Made {
        let (uid, account, n) = self.next(rng);
        let ts = time(at_ms + rng.i64(1_000..14 * 60_000));
        let text = format!(r#"{{"uid":"{uid}","meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n}}}}}"#);
        Made { uid: Some(uid), text, may_change: false, n, expect: Expect::Ahead }
    }

    /// One of this time, which is long ago.
    pub(crate) fn aging(&mut self, rng: &mut fastrand::Rng, ts_ms: i64) -> Made {
        let (uid, account, n) = self.next(rng);
        let ts = time(ts_ms);
        let text = format!(r#"{{"uid":"{uid}","meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n}}}}}"#);
        Made { uid: Some(uid), text, may_change: false, n, expect: Expect::Aging }
    }

    /// One of a meter that m3ter does not know.
    pub(crate) fn rejected(&mut self, rng: &mut fastrand::Rng, at_ms: i64) -> Made {
        let good = self.good(rng, at_ms, 0);
        let text = good.text.replace(METER, "canary-nobody");
        Made { text, expect: Expect::Rejected, ..good }
    }

    /// One that m3ter refuses for a rule that the relay does not have: a metadata value of more than 256 characters.
    pub(crate) fn refused_by_api(&mut self, rng: &mut fastrand::Rng, at_ms: i64) -> Made {
        let (uid, account, n) = self.next(rng);
        let (ts, long) = (time(at_ms - 1), "m".repeat(257));
        let text = format!(
            r#"{{"uid":"{uid}","meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n}}},"metadata":{{"long":"{long}"}}}}"#
        );
        Made { uid: Some(uid), text, may_change: false, n, expect: Expect::RefusedByApi }
    }

    /// Another content under the uid of `other`.
    pub(crate) fn rival(&mut self, rng: &mut fastrand::Rng, other: &Made, at_ms: i64) -> Made {
        let uid = other.uid.clone().unwrap();
        let (_, account, _) = self.next(rng);
        let (ts, n) = (time(at_ms - 1), other.n + 1_000_000 + self.made * 1_000);
        let text = format!(r#"{{"uid":"{uid}","meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n}}}}}"#);
        Made { uid: Some(uid), text, may_change: false, n, expect: Expect::Rival }
    }

    /// One of exactly so many bytes.
    pub(crate) fn of_bytes(&mut self, rng: &mut fastrand::Rng, at_ms: i64, bytes: usize) -> Made {
        let (uid, account, n) = self.next(rng);
        let ts = time(at_ms - 1);
        let head = format!(
            r#"{{"uid":"{uid}","meter":"{METER}","account":"{account}","ts":"{ts}","measure":{{"n":{n}}},"other":{{"f":""#
        );
        let text = format!("{head}{}\"}}}}", "x".repeat(bytes - head.len() - 3));
        let expect = if bytes > ALONE_BYTES_MAX { Expect::Refused("Oversize") } else { Expect::Large };
        Made { uid: Some(uid), text, may_change: false, n, expect }
    }

    /// One that the relay refuses.
    pub(crate) fn bad(&mut self, rng: &mut fastrand::Rng, at_ms: i64, uid_may_be_missing: bool) -> Made {
        let count = REASONS.len() - usize::from(uid_may_be_missing);
        let reason = REASONS[rng.usize(..count)];
        let (uid, account, n) = self.next(rng);
        let ts = time(at_ms - 1);
        let all = |uid: &str, meter: &str, account: &str, ts: &str, more: &str| format!("{{{uid}{meter}{account}{ts}{more}}}");
        let (u, m, a) = (format!(r#""uid":"{uid}","#), format!(r#""meter":"{METER}","#), format!(r#""account":"{account}","#));
        let (t, f) = (format!(r#""ts":"{ts}","#), format!(r#""measure":{{"n":{n}}}"#));
        let text = match reason {
            "UidTooLong" => all(&format!(r#""uid":"{}","#, "canary-u".repeat(7)), &m, &a, &t, &f),
            "UidMissing" => all("", &m, &a, &t, &f),
            "MeterMissing" => all(&u, "", &a, &t, &f),
            "MeterInvalid" => all(&u, r#""meter":" canary","#, &a, &t, &f),
            "AccountMissing" => all(&u, &m, "", &t, &f),
            "AccountInvalid" => all(&u, &m, r#""account":5,"#, &t, &f),
            "TimestampMissing" => all(&u, &m, &a, "", &f),
            "TimestampInvalid" => all(&u, &m, &a, r#""ts":"yesterday","#, &f),
            "TimestampInFuture" => all(&u, &m, &a, &format!(r#""ts":"{}","#, time(at_ms + 400 * DAY_MS)), &f),
            "FieldNotText" => all(&u, &m, &a, &t, r#""who":{"canary":1}"#),
            "FieldNotNumber" => all(&u, &m, &a, &t, r#""measure":{"n":"canary"}"#),
            "FieldCodeInvalid" => all(&u, &m, &a, &t, r#""measure":{"1n":1}"#),
            "DuplicateField" => all(&u, &m, &a, &t, r#""measure":{"n":1},"cost":{"n":1}"#),
            "DuplicateKey" => all(&u, &m, &a, &t, &format!("{t}{f}")),
            "NotAMeasurement" => "5".to_owned(),
            _ => format!("{{canary-broken {uid}"),
        };
        Made { uid: None, text, may_change: false, n: 0, expect: Expect::Refused(reason) }
    }
}

impl Made {
    /// Whether it is written as an object.
    pub(crate) fn is_object(&self) -> bool {
        self.text.starts_with('{') && !self.text.starts_with("{canary-broken")
    }

    /// Whether what arrived under its uid is this very measurement: to the byte, or to the value where it may change.
    pub(crate) fn is(&self, arrived: &str) -> bool {
        if arrived == self.text {
            return true;
        }
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let plain = |text: &str| {
            let mut value = read(text)?;
            let members = value.as_object_mut()?;
            members.retain(|key, value| key != "uid" && !value.is_null());
            Some(value)
        };
        self.may_change && plain(arrived).is_some() && plain(arrived) == plain(&self.text)
    }
}
