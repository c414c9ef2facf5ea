//! May mended measurements take the place of an entry? Judged by the relay's own rules before anything is sent, so that what
//! was mended does not come back for something that could have been said at once.

use bumpalo::Bump;
use relay_core::decode::Found;
use relay_core::guard::{FirstSent, Judged, MissingUid, Rules, Sent, guard};

use crate::decision::Go;
use crate::kept::Kept;

/// What is wrong with one of the measurements: its place among them, from 0, and what was expected.
pub type Fault = (usize, String);

/// Judges `texts`, which are to go in place of `kept`. Gives back their uids.
///
/// A measurement has one in its place, under the same uid. A whole body may have several.
///
/// # Errors
/// Every fault, each with its place.
pub fn check(kept: &Kept, go: &Go, texts: &[&str], now_ms: i64) -> Result<Vec<String>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut uids = Vec::new();
    let first = FirstSent::NotBefore(go.first_sent_at_ms.unwrap_or(now_ms));
    let beyond_window = kept.uid.as_deref().filter(|_| go.beyond_window);
    for (place, text) in texts.iter().enumerate() {
        let arena = Bump::new();
        let found = Found { message: 0, position: place, text, refusal: None, read: None };
        let rules = Rules { missing_uid: MissingUid::Refuse, now_ms };
        let uid = match guard(&found, Sent { first, beyond_window }, rules, &arena) {
            Judged::Good(guarded) => guarded.uid.to_owned(),
            // It will be due when it gets there, or waits.
            Judged::NotDue(_) => relay_core::guard::uid_of(text, &arena).unwrap_or_default().to_owned(),
            Judged::Refused(refusal) => {
                faults.push((place, format!("{}: {}", refusal.reason.name(), refusal.detail)));
                continue;
            }
        };
        if let Some(own) = kept.uid.as_ref().filter(|own| **own != uid) {
            faults.push((place, format!("expected the uid of the entry, which makes it count once: {own:?}")));
        }
        if uids.contains(&uid) {
            faults.push((place, "expected each uid once".to_owned()));
        }
        uids.push(uid);
    }
    if !kept.is_body && texts.len() > 1 {
        faults.push((1, "expected one row for an entry that holds one measurement".to_owned()));
    }
    if faults.is_empty() { Ok(uids) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decision::{Choice, decide};
    use crate::kept::tests::{NOW_MS, kept};
    use crate::standing::Facts;

    const DAY_MS: i64 = 86_400_000;

    fn faults(fields: serde_json::Value, texts: &[&str]) -> Vec<Fault> {
        let kept = kept(fields);
        let choice = Choice { is_mended: true, ..Choice::default() };
        let go = decide(&kept, &Facts::default(), &choice, NOW_MS).unwrap();
        check(&kept, &go, texts, NOW_MS).err().unwrap_or_default()
    }

    fn good(uid: &str) -> String {
        format!(r#"{{"uid":"{uid}","meter":"m","account":"a","ts":"2026-05-31T00:00:00Z"}}"#)
    }

    #[test]
    fn what_was_mended_keeps_its_uid_and_meets_every_rule_of_the_relay() {
        assert_eq!(faults(json!({}), &[&good("u")]), []);
        let one = |text: &str| faults(json!({}), &[text]).remove(0).1;
        assert!(one(&good("v")).contains("the uid of the entry"));
        assert!(one(&good("u").replace("\"m\"", "\" \"")).starts_with("MeterInvalid"));
        assert!(one(&good("u").replace("\"u\"", "null")).starts_with("UidMissing"));
        assert!(one("not JSON").starts_with("NotJson") || one("not JSON").contains("expected"));
        let soon = good("u").replace("2026-05-31T00:00:00Z", "2026-06-01T00:05:00Z");
        assert_eq!(faults(json!({}), &[&soon]), []);
    }

    #[test]
    fn an_entry_without_a_uid_takes_any() {
        assert_eq!(faults(json!({"uid": null, "measurement": {"meter": " "}}), &[&good("mine")]), []);
    }

    #[test]
    fn a_body_may_become_several_measurements_of_different_uids() {
        let body = json!({"uid": null, "measurement": null, "body": "broken"});
        assert_eq!(faults(body.clone(), &[&good("a"), &good("b")]), []);
        assert_eq!(faults(body, &[&good("a"), &good("a")]), [(1, "expected each uid once".to_owned())]);
        assert!(!faults(json!({}), &[&good("u"), &good("u")]).is_empty());
    }

    #[test]
    fn a_time_that_was_mended_into_the_past_is_held_against_the_window_too() {
        let measurement = json!({"uid": "u", "meter": "m", "account": "a", "ts": "2026-05-31T00:00:00Z"});
        let old = json!({"measurement": measurement, "first_sent_at": NOW_MS - 40 * DAY_MS});
        assert_eq!(faults(old.clone(), &[&good("u")]), []);
        let back = good("u").replace("2026-05-31", "2026-04-01");
        assert!(faults(old, &[&back]).remove(0).1.starts_with("OutsideWindow"));
    }
}
