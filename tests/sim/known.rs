//! What m3ter is known to have, in the worlds that have a catalogue, and what may then become of a measurement.
//!
//! Producers make the same as in any other world. It is the catalogue that does not fit what they made: it spells some accounts
//! otherwise, lacks some, does not have the meter that m3ter does not have either, and sometimes asks for a data field that few
//! measurements have. Whether it could be read is another matter, so what is doubted may be at m3ter as well as in the store.

use relay_store::{AccountLine, MeterLine, StoredCatalogue};
use serde_json::Value;

use crate::made::{Expect, METER, Made};
use crate::nature::START_MS;
use crate::plan::rng;

/// One world in so many has a catalogue. No divisor of the number by which ledgers take turns.
const WORLDS: u64 = 7;
/// Draws of its own, so that all else in a world is what it would be without.
const SALT: u64 = 0x6361_7461_6c6f_6775;

/// What is known.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// As the setting has it.
    pub(crate) preflight: &'static str,
    pub(crate) catalogue: StoredCatalogue,
}

impl Known {
    /// Of the world `seed`, whose producers have so many accounts; most worlds have none.
    pub(crate) fn draw(seed: u64, accounts: usize) -> Option<Known> {
        if seed % WORLDS != 3 {
            return None;
        }
        let mut rng = rng(seed ^ SALT);
        let preflight = if rng.f64() < 0.75 { "quarantine" } else { "warn" };
        let mut fields = vec![("MEASURE".to_owned(), "n".to_owned())];
        if rng.f64() < 0.3 {
            fields.push(("MEASURE".to_owned(), "extra".to_owned()));
        }
        let meter = MeterLine { code: METER.into(), id: "m".into(), fields, last_seen_ms: START_MS };
        let code = |number: usize| match rng.usize(..10) {
            0 | 1 => Some(format!("Canary_Account {number}")),
            2 => None,
            _ => Some(format!("canary-account-{number}")),
        };
        let account = |code| AccountLine { code, id: "a".into(), created_ms: None, last_seen_ms: START_MS, skeleton: false };
        let accounts = (0..accounts).filter_map(code).map(account).collect();
        Some(Known { preflight, catalogue: StoredCatalogue { read_at_ms: START_MS, meters: vec![meter], accounts } })
    }

    /// The reason for which a measurement may be kept; `None` if nothing is wrong with it that the catalogue could tell.
    pub(crate) fn doubt(&self, made: &Made) -> Option<&'static str> {
        if self.preflight != "quarantine" || matches!(made.expect, Expect::Refused(_) | Expect::Pointer) {
            return None;
        }
        let value: Value = serde_json::from_str(&made.text).ok()?;
        let meter = self.catalogue.meters.iter().find(|meter| value["meter"] == meter.code);
        let Some(meter) = meter else { return Some("MeterUnknown") };
        if !meter.fields.iter().all(|(category, code)| value[category.to_lowercase()].get(code).is_some()) {
            return Some("FieldMissing");
        }
        let account = value["account"].as_str()?;
        let is_near = |other: &AccountLine| other.code != account && letters(&other.code) == letters(account);
        let is_there = self.catalogue.accounts.iter().any(|other| other.code == account);
        (!is_there && self.catalogue.accounts.iter().any(is_near)).then_some("AccountNearMiss")
    }
}

fn letters(code: &str) -> String {
    code.replace([' ', '-', '_'], "").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_doubted_follows_from_the_catalogue_and_from_nothing_the_relay_says() {
        let mut known = (0..1_000).find_map(|seed| Known::draw(seed, 0)).unwrap();
        known.preflight = "quarantine";
        known.catalogue.meters[0].fields.truncate(1);
        let account = |code: &str| AccountLine {
            code: code.into(),
            id: "a".into(),
            created_ms: None,
            last_seen_ms: START_MS,
            skeleton: false,
        };
        known.catalogue.accounts = vec![account("canary-account-1"), account("Canary_Account 2")];
        let made = |meter: &str, account: &str, measure: &str, expect| Made {
            uid: None,
            text: format!(r#"{{"meter":"{meter}","account":"canary-account-{account}","measure":{{{measure}}}}}"#),
            may_change: false,
            n: 1,
            expect,
        };
        let n = r#""n":1"#;
        for (meter, account, measure, expected) in [
            (METER, "1", n, None),
            (METER, "2", n, Some("AccountNearMiss")),
            (METER, "3", n, None),
            (METER, "2", "", Some("FieldMissing")),
            ("canary-nobody", "2", "", Some("MeterUnknown")),
        ] {
            assert_eq!(known.doubt(&made(meter, account, measure, Expect::Good)), expected, "{meter} {account} {measure}");
        }
        assert_eq!(known.doubt(&made("canary-nobody", "1", n, Expect::Refused("UidMissing"))), None);
        known.preflight = "warn";
        assert_eq!(known.doubt(&made("canary-nobody", "1", n, Expect::Good)), None);
    }

    #[test]
    fn some_worlds_have_a_catalogue_of_each_kind() {
        let known: Vec<Known> = (0..2_000).filter_map(|seed| Known::draw(seed, 10)).collect();
        let strict = known.iter().filter(|known| known.preflight == "quarantine").count();
        let demanding = known.iter().filter(|known| known.catalogue.meters[0].fields.len() > 1).count();
        assert!(
            known.len() > 250 && strict > 150 && strict < known.len() && demanding > 50,
            "{} {strict} {demanding}",
            known.len()
        );
    }
}
