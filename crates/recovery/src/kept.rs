//! A quarantine entry without its text: what choosing, counting and judging need. Small, since there may be a million.

use std::collections::BTreeSet;

use bumpalo::Bump;
use relay_core::decode::{Found, InflateBudget, decode};
use relay_core::guard::{FirstSent, Judged, MissingUid, Rules, first_sent_ms, guard};
use relay_core::inbound::{Attribute, Inbound};
use relay_store::{Entry, LineOrigin};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// The stage of what m3ter rejected after it had accepted it.
pub const STAGE_INGEST: &str = "ingest";
/// A reason of that stage: m3ter has another content under this uid, and keeps it.
pub const UID_CONFLICT: &str = "UidConflict";
/// A reason of that stage: m3ter kept the uid of what it rejected, and dropped what was sent again.
pub const REPLAY_DROPPED: &str = "ReplayDropped";
/// A reason of that stage: m3ter has this uid, and no send of ours explains that.
pub const DUPLICATE_OF_UNKNOWN: &str = "DuplicateOfUnknown";

/// An entry, for choosing and judging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub qid: Uuid,
    /// The message that it came with, or the upload.
    pub message_id: String,
    /// The measurement's uid, where it has one.
    pub uid: Option<String>,
    /// The measurement's meter, where it has a readable one.
    pub meter: Option<String>,
    /// Its account.
    pub account: Option<String>,
    /// Why it is here.
    pub reason: String,
    /// Where it left the walk.
    pub stage: String,
    /// Whether it is a whole body, or a part of one that is no measurement.
    pub is_body: bool,
    /// When it was written: milliseconds since the epoch.
    pub quarantined_at_ms: i64,
    /// When it was last written: later than that, if m3ter rejected another copy of it.
    pub last_quarantined_at_ms: i64,
    /// Not before this time was it sent to m3ter, as its message tells; `None` if it certainly never was.
    pub first_sent_at_ms: Option<i64>,
    /// The same, with what its own `ts` tells.
    pub not_before_ms: Option<i64>,
    /// The entry that it was sent again from.
    pub again_of: Option<Uuid>,
    /// Why the relay would refuse it again, as it is.
    pub still_refused: Option<String>,
}

#[derive(Deserialize)]
struct Codes<'a> {
    #[serde(borrow, default)]
    meter: Option<&'a RawValue>,
    #[serde(borrow, default)]
    account: Option<&'a RawValue>,
}

/// Meter and account of a measurement, where they can be read.
pub fn codes(measurement: &str) -> (Option<String>, Option<String>) {
    let text = |raw: Option<&RawValue>| serde_json::from_str::<String>(raw?.get()).ok();
    let read = serde_json::from_str::<Codes<'_>>(measurement);
    read.map_or((None, None), |codes| (text(codes.meter), text(codes.account)))
}

impl Kept {
    /// What `entry` is, as seen at `now_ms`.
    pub fn of(entry: &Entry, now_ms: i64) -> Kept {
        let measurement = entry.measurement.as_deref().map(RawValue::get);
        let (meter, account) = measurement.map_or((None, None), codes);
        let not_before = |sent_ms: i64| match measurement {
            Some(text) => first_sent_ms(text, FirstSent::NotBefore(sent_ms)),
            None => sent_ms,
        };
        Kept {
            qid: entry.qid,
            message_id: entry.message_id.clone(),
            uid: entry.uid.clone(),
            meter,
            account,
            reason: entry.reason.clone(),
            stage: entry.stage.clone(),
            is_body: measurement.is_none(),
            quarantined_at_ms: entry.quarantined_at,
            last_quarantined_at_ms: entry.quarantined_at,
            first_sent_at_ms: entry.first_sent_at,
            not_before_ms: entry.first_sent_at.map(not_before),
            again_of: entry.origin.as_ref().and_then(LineOrigin::entry),
            still_refused: still_refused(entry, now_ms),
        }
    }

    /// Whether m3ter rejected it after it had accepted it.
    pub fn is_rejected(&self) -> bool {
        self.stage == STAGE_INGEST
    }

    /// Whether m3ter dropped it as a copy of what has its uid. Under that uid it would be dropped again.
    pub fn is_uid_taken(&self) -> bool {
        self.is_rejected() && [UID_CONFLICT, REPLAY_DROPPED, DUPLICATE_OF_UNKNOWN].contains(&self.reason.as_str())
    }

    /// Whether m3ter turned down what has this uid. A second content under a uid says nothing of the first.
    pub fn is_uid_rejected(&self) -> bool {
        self.is_rejected() && self.reason != UID_CONFLICT
    }
}

/// Why the relay would refuse `entry` again, as it is: nothing of it may be sent. Its age and the setting `MissingUid` are
/// not looked at; a pointer to S3 is not followed.
fn still_refused(entry: &Entry, now_ms: i64) -> Option<String> {
    let arena = Bump::new();
    let judge = |found: &Found<'_>| {
        if let Some(refusal) = &found.refusal {
            return Some(format!("{}: {}", refusal.reason.name(), refusal.detail));
        }
        match guard(found, FirstSent::NotBefore(now_ms), Rules { missing_uid: MissingUid::Content, now_ms }, &arena) {
            Judged::Refused(refusal) => Some(format!("{}: {}", refusal.reason.name(), refusal.detail)),
            Judged::Good(_) | Judged::NotDue(_) => None,
        }
    };
    match entry.measurement.as_deref() {
        Some(text) => judge(&Found { message: 0, position: 0, text: text.get(), refusal: None, read: None }),
        None => measurements(entry, &arena).iter().map(judge).reduce(|one, other| one.and(other)).flatten(),
    }
}

/// What the body of `entry` holds, if it is one.
pub(crate) fn measurements<'a>(entry: &'a Entry, arena: &'a Bump) -> Vec<Found<'a>> {
    let Some(body) = entry.body.as_deref() else { return Vec::new() };
    let read = entry.attributes.as_deref().unwrap_or_default();
    let attributes = read.iter().map(|one| Attribute { name: &one.name, data_type: &one.data_type, value: &one.value }).collect();
    let message = Inbound {
        id: &entry.message_id,
        handle: "",
        body,
        attributes,
        receives: entry.receives.max(1),
        sent_at_ms: entry.queued_at,
        first_received_at_ms: entry.first_received_at,
        source: &entry.source_arn,
    };
    let mut found = Vec::new();
    decode(&message, 0, arena, &mut InflateBudget::default(), &mut found);
    found
}

/// Which entries are meant. Of each kind of name any will do; kinds that are empty do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Reasons.
    pub reasons: BTreeSet<String>,
    /// Meters.
    pub meters: BTreeSet<String>,
    /// Accounts.
    pub accounts: BTreeSet<String>,
    /// Messages and uploads.
    pub messages: BTreeSet<String>,
    /// Uids, and beside them
    pub uids: BTreeSet<String>,
    /// ids of entries: either names what is meant.
    pub qids: BTreeSet<Uuid>,
    /// Quarantined not before this time: milliseconds since the epoch.
    pub since_ms: i64,
    /// Nor after this.
    pub until_ms: i64,
}

impl Selection {
    /// Everything from `since_ms` to `until_ms`.
    pub fn all(since_ms: i64, until_ms: i64) -> Selection {
        let (reasons, meters, accounts, messages, uids) = Default::default();
        Selection { reasons, meters, accounts, messages, uids, qids: BTreeSet::new(), since_ms, until_ms }
    }

    /// Whether each entry that is meant was named by its own id or uid.
    pub fn is_by_name(&self) -> bool {
        !self.uids.is_empty() || !self.qids.is_empty()
    }

    /// Whether `kept` is meant.
    pub fn holds(&self, kept: &Kept) -> bool {
        let any =
            |names: &BTreeSet<String>, name: Option<&str>| names.is_empty() || name.is_some_and(|name| names.contains(name));
        let is_named = self.qids.contains(&kept.qid) || kept.uid.as_deref().is_some_and(|uid| self.uids.contains(uid));
        (self.since_ms..=self.until_ms).contains(&kept.quarantined_at_ms)
            && any(&self.reasons, Some(&kept.reason))
            && any(&self.meters, kept.meter.as_deref())
            && any(&self.accounts, kept.account.as_deref())
            && any(&self.messages, Some(&kept.message_id))
            && (is_named || !self.is_by_name())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 2026-06-01T00:00:00Z in milliseconds since the epoch.
    pub(crate) const NOW_MS: i64 = 1_780_272_000_000;

    /// An entry as the store hands it over, with `fields` in place of the usual ones; `null` takes one away.
    pub(crate) fn entry(fields: serde_json::Value) -> Entry {
        let mut line = serde_json::json!({
            "qid": "b0ef4eae-dd03-5cce-a261-981cfe11d98a", "uid": "u", "reason": "RefusedByApi", "detail": "expected better",
            "stage": "submit", "first_sent_at": NOW_MS - 1_000, "message_id": "m-1", "position": 0, "source_arn": "arn:queue",
            "attributes": [], "queued_at": NOW_MS - 1_000, "receives": 1, "quarantined_at": NOW_MS,
            "measurement": {"uid": "u", "meter": "m", "account": "a", "ts": "2026-05-31T00:00:00Z"},
        });
        for (name, value) in fields.as_object().unwrap() {
            line[name] = value.clone();
        }
        // As text, since a measurement stays as it was written.
        serde_json::from_str(&line.to_string()).unwrap()
    }

    pub(crate) fn kept(fields: serde_json::Value) -> Kept {
        Kept::of(&entry(fields), NOW_MS)
    }

    #[test]
    fn meter_and_account_are_read_off_a_measurement_that_has_them() {
        let of = |text: &str| codes(text);
        assert_eq!(of(r#"{"meter" : "m\u0031","x":[1],"account":"a"}"#), (Some("m1".into()), Some("a".into())));
        assert_eq!(of(r#"{"meter":7,"account":null}"#), (None, None));
        for text in ["", "[]", "{", r#"{"meter":"a","meter":"b"}"#] {
            assert_eq!(of(text), (None, None), "{text}");
        }
    }

    #[test]
    fn what_the_relay_would_refuse_again_is_known_by_its_own_rules() {
        let refused = |fields| kept(fields).still_refused;
        let measurement = |member: &str| {
            let mut text = serde_json::json!({"uid": "u", "meter": "m", "account": "a", "ts": "2026-05-31T00:00:00Z"});
            text[member] = " ".into();
            serde_json::json!({"measurement": text})
        };
        assert_eq!(refused(serde_json::json!({})), None);
        assert!(refused(measurement("meter")).unwrap().starts_with("MeterInvalid: expected"));
        // Neither age nor a missing uid: the one is the guard's of replay, the other the relay's setting.
        let old = r#"{"meter":"m","account":"a","ts":"2020-01-01T00:00:00Z"}"#;
        assert_eq!(refused(serde_json::json!({"measurement": serde_json::from_str::<serde_json::Value>(old).unwrap()})), None);
    }

    #[test]
    fn a_body_is_refused_again_only_if_nothing_of_it_can_go_on() {
        let refused = |body: &str| kept(serde_json::json!({"uid": null, "measurement": null, "body": body})).still_refused;
        let good = r#"{"uid":"u","meter":"m","account":"a","ts":"2026-05-31T00:00:00Z"}"#;
        assert!(refused("no JSON").unwrap().starts_with("NotJson: "));
        assert!(refused("[1,2]").unwrap().starts_with("NotAMeasurement: "));
        assert_eq!(refused(&format!("[1,{good}]")), None);
        assert_eq!(refused(good), None);
        let pointer = r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]"#;
        assert_eq!(refused(pointer), None, "nobody knows what it points to");
    }

    #[test]
    fn an_entry_was_sent_no_earlier_than_its_message_and_its_own_time_say() {
        let day = 86_400_000;
        assert_eq!(kept(serde_json::json!({"first_sent_at": null})).not_before_ms, None);
        assert_eq!(kept(serde_json::json!({"first_sent_at": NOW_MS - 5})).not_before_ms, Some(NOW_MS - 5));
        assert_eq!(kept(serde_json::json!({"first_sent_at": 0})).not_before_ms, Some(NOW_MS - day - 900_000));
        let body = kept(serde_json::json!({"first_sent_at": 0, "measurement": null, "body": "x"}));
        assert_eq!((body.not_before_ms, body.first_sent_at_ms), (Some(0), Some(0)));
    }

    #[test]
    fn kinds_of_names_narrow_and_names_of_a_kind_widen() {
        let one = kept(serde_json::json!({}));
        let selects = |change: &dyn Fn(&mut Selection)| {
            let mut selection = Selection::all(0, i64::MAX);
            change(&mut selection);
            selection.holds(&one)
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert!(selects(&|_| {}));
        assert!(selects(&|all| all.reasons = names(&["Empty", "RefusedByApi"])));
        assert!(!selects(&|all| all.reasons = names(&["Empty"])));
        assert!(selects(&|all| (all.meters, all.accounts) = (names(&["m"]), names(&["a", "b"]))));
        assert!(!selects(&|all| (all.meters, all.accounts) = (names(&["m"]), names(&["b"]))));
        assert!(selects(&|all| (all.uids, all.qids) = (names(&["other"]), [one.qid].into())));
        assert!(selects(&|all| all.uids = names(&["u"])));
        assert!(!selects(&|all| all.uids = names(&["other"])));
        assert!(selects(&|all| (all.since_ms, all.until_ms) = (NOW_MS, NOW_MS)));
        assert!(!selects(&|all| all.since_ms = NOW_MS + 1));
        assert!(!selects(&|all| all.until_ms = NOW_MS - 1));
    }
}
