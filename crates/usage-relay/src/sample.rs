//! Made-up measurements: the same run always makes the same ones, to the byte.
//!
//! A run is named by a time. Everything follows from it and from the place in the run: uids, accounts, numbers,
//! timestamps. So a run sent twice counts once, and a new run counts again.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// Code of the meter that made-up measurements are for.
pub(crate) const METER: &str = "usage_relay_demo";
/// The namespace of their uids; itself the UUIDv5 of the URL namespace and the name `usage-relay/sample/v1`.
const NAMESPACE: Uuid = Uuid::from_u128(0xd309_c3b1_facf_5be1_a155_80ed_8b68_1a9c);
const ACCOUNTS: u64 = 50;
const REGIONS: [&str; 4] = ["eu-west-1", "eu-central-1", "us-east-1", "ap-southeast-2"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
/// The newest made-up measurement lies this far before its run: never in the future, whatever the clocks.
const BEFORE_RUN: SignedDuration = SignedDuration::from_mins(30);

/// Names a run of made-up measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run(Timestamp);

impl Run {
    /// The run that begins at `now`, to the millisecond.
    pub(crate) fn starting(now: Timestamp) -> Self {
        Self(Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now))
    }

    /// The uid of what stands at `index` in this run.
    pub(crate) fn uid(self, index: u64) -> String {
        Uuid::new_v5(&NAMESPACE, format!("{self}/{index}").as_bytes()).to_string()
    }

    /// What is measured at `index`.
    pub(crate) fn values(self, index: u64) -> Values {
        let mixed = mix(index ^ self.0.as_millisecond().unsigned_abs().rotate_left(32));
        let pick = |shift: u32, of: u64| (mixed >> shift) % of;
        let back = SignedDuration::from_millis((pick(0, 3_600_000)).cast_signed());
        let ts = self.0.checked_sub(BEFORE_RUN).and_then(|at| at.checked_sub(back)).unwrap_or(self.0);
        Values {
            account: format!("demo-{:03}", pick(8, ACCOUNTS)),
            ts: format!("{ts:.3}"),
            calls: 1 + pick(16, 9),
            bytes: 200 + pick(24, 40_000),
            region: choose(&REGIONS, pick(40, REGIONS.len() as u64)),
            method: choose(&METHODS, pick(48, METHODS.len() as u64)),
        }
    }

    /// The measurement at `index` as JSON.
    pub(crate) fn measurement(self, index: u64) -> String {
        self.values(index).json(METER, &self.uid(index))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:.3}", self.0)
    }
}

impl FromStr for Run {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time: Timestamp =
            text.parse().map_err(|_| "expected the time that names a run, such as 2026-11-22T09:30:00Z".to_owned())?;
        Ok(Self::starting(time))
    }
}

/// What one made-up measurement says, apart from meter and uid. All of it plain text: nothing needs escaping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Values {
    /// Account code.
    pub(crate) account: String,
    /// RFC 3339, in milliseconds.
    pub(crate) ts: String,
    /// `measure.calls`.
    pub(crate) calls: u64,
    /// `measure.bytes`.
    pub(crate) bytes: u64,
    /// `what.region`.
    pub(crate) region: &'static str,
    /// `what.method`.
    pub(crate) method: &'static str,
}

impl Values {
    /// A measurement of these values as JSON.
    pub(crate) fn json(&self, meter: &str, uid: &str) -> String {
        let Self { account, ts, calls, bytes, region, method } = self;
        format!(
            r#"{{"uid":"{uid}","meter":"{meter}","account":"{account}","ts":"{ts}","measure":{{"calls":{calls},"bytes":{bytes}}},"what":{{"region":"{region}","method":"{method}"}}}}"#
        )
    }
}

fn choose(from: &[&'static str], index: u64) -> &'static str {
    usize::try_from(index).ok().and_then(|index| from.get(index)).copied().unwrap_or_default()
}

/// SplitMix64's finaliser: neighbouring numbers come out unrelated. Source: Steele, Lea, Flood 2014.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Run {
        text.parse().unwrap()
    }

    #[test]
    fn the_namespace_is_the_one_its_name_makes() {
        assert_eq!(Uuid::new_v5(&Uuid::NAMESPACE_URL, b"usage-relay/sample/v1"), NAMESPACE);
    }

    #[test]
    fn a_run_makes_the_same_measurements_every_time() {
        let (first, second) = (run("2026-11-22T09:30:00Z"), run("2026-11-22T10:30:00+01:00"));
        assert_eq!(first.measurement(7), second.measurement(7));
        assert_eq!(first.to_string().parse::<Run>(), Ok(first));
    }

    #[test]
    fn another_run_and_another_place_have_another_uid() {
        let (first, second) = (run("2026-11-22T09:30:00Z"), run("2026-11-22T09:30:00.001Z"));
        let mut uids: Vec<String> = (0..500).flat_map(|index| [first.uid(index), second.uid(index)]).collect();
        uids.sort_unstable();
        uids.dedup();
        assert_eq!(uids.len(), 1_000);
    }

    #[test]
    fn a_measurement_is_json_and_lies_before_its_run() {
        let run = run("2026-11-22T09:30:00Z");
        for index in 0..100 {
            let read: serde_json::Value = serde_json::from_str(&run.measurement(index)).unwrap();
            assert_eq!(read["meter"], METER);
            let ts: Timestamp = read["ts"].as_str().unwrap().parse().unwrap();
            assert!(ts < run.0 && run.0.duration_since(ts) <= SignedDuration::from_hours(2));
            assert!(read["measure"]["calls"].as_u64().unwrap() >= 1);
        }
    }

    #[test]
    fn a_name_that_is_no_time_is_told_what_was_expected() {
        assert!("monday".parse::<Run>().unwrap_err().starts_with("expected the time that names a run"));
    }
}
