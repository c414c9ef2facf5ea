//! What the tests begin with: messages, an invocation through decode, guard and collapse, and measurements made at random.

use bumpalo::Bump;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use relay_core::collapse::{Standing, collapse};
use relay_core::decode::{Decoded, Found, InflateBudget, decode};
use relay_core::guard::{Guarded, Judged, MissingUid, Rules, Sent, guard};
use relay_core::inbound::{Attribute, Inbound};

/// The time at which all of this happens: 2026-11-17T10:00:00Z.
pub(crate) const NOW_MS: i64 = 1_794_909_600_000;

/// Cases enough to find what is wrong and few enough to wait for; the same ones every time.
pub(crate) fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(0x0075_7361_6765), failure_persistence: None, ..Config::default() }
}

pub(crate) fn message<'a>(body: &'a str, attributes: &'a [(String, String)]) -> Inbound<'a> {
    let attribute = |(name, value): &'a (String, String)| Attribute { name, data_type: "String", value };
    Inbound {
        id: "m",
        handle: "h",
        body,
        attributes: attributes.iter().map(attribute).collect(),
        receives: 1,
        sent_at_ms: Some(NOW_MS - 1_000),
        first_received_at_ms: Some(NOW_MS),
        source: "q",
    }
}

/// Decodes `body` as the only message of an invocation.
pub(crate) fn decode_one<'a>(body: &'a str, arena: &'a Bump) -> (Decoded, Vec<Found<'a>>) {
    let mut found = Vec::new();
    let decoded = decode(&message(body, &[]), 0, arena, &mut InflateBudget::default(), &mut found);
    (decoded, found)
}

/// What becomes of a message when m3ter accepts all that is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// `good` or a reason, for each position.
    Each(Vec<&'static str>),
    /// Undecided in some part.
    Returned,
}

/// Takes an invocation through decode, guard and collapse.
pub(crate) fn fates(messages: &[Inbound<'_>], missing_uid: MissingUid) -> Vec<Fate> {
    let arena = Bump::new();
    let mut budget = InflateBudget::default();
    let mut found = Vec::new();
    let decoded: Vec<Decoded> =
        messages.iter().enumerate().map(|(index, message)| decode(message, index, &arena, &mut budget, &mut found)).collect();
    let rules = Rules { missing_uid, now_ms: NOW_MS };
    let judged: Vec<Judged<'_>> = found
        .iter()
        .map(|found| match &found.refusal {
            Some(refusal) => Judged::Refused(refusal.clone()),
            None => guard(found, Sent::of(&messages[found.message]), rules, &arena),
        })
        .collect();
    let guarded: Vec<Option<Guarded<'_>>> = judged
        .iter()
        .map(|judged| match judged {
            Judged::Good(guarded) => Some(*guarded),
            Judged::NotDue(_) | Judged::Refused(_) => None,
        })
        .collect();
    let standings = collapse(&guarded, &arena);
    let word = |index: usize| match (&judged[index], standings[index]) {
        (Judged::Refused(refusal), _) => Some(refusal.reason.name()),
        (Judged::NotDue(_), _) | (Judged::Good(_), None) => None,
        (Judged::Good(_), Some(Standing::First)) => Some("good"),
        (Judged::Good(_), Some(Standing::Rival(_))) => Some("UidConflict"),
        (Judged::Good(_), Some(Standing::CopyOf(first))) => match standings[first] {
            Some(Standing::First) => Some("good"),
            Some(Standing::Rival(_)) => Some("UidConflict"),
            Some(Standing::CopyOf(_)) | None => None,
        },
    };
    let mut next = 0;
    let of_message = |(message, decoded): (usize, &Decoded)| {
        let first = next;
        while found.get(next).is_some_and(|found| found.message == message) {
            assert_eq!(found[next].position, next - first, "positions count from 0");
            next += 1;
        }
        match (decoded, (first..next).map(word).collect::<Option<Vec<_>>>()) {
            (Decoded::Found, Some(words)) => Fate::Each(words),
            (Decoded::Found, None) | (Decoded::Pointer | Decoded::OverBudget, _) => Fate::Returned,
        }
    };
    decoded.iter().enumerate().map(of_message).collect()
}

/// A measurement that guard lets through, with this uid and more members.
pub(crate) fn good(uid: &str, more: &str) -> String {
    format!(r#"{{"uid":"{uid}","meter":"m","account":"a","ts":"2026-11-17T09:00:00Z"{more}}}"#)
}

/// Any JSON value, a few levels deep, of which no object has a key twice.
pub(crate) fn json() -> impl Strategy<Value = serde_json::Value> {
    let scalar = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Any JSON object.
pub(crate) fn object() -> impl Strategy<Value = serde_json::Value> {
    prop::collection::btree_map(prop_oneof!["[a-e]", any::<String>(), Just("uid".to_owned())], json(), 0..6)
        .prop_map(|members| serde_json::Value::Object(members.into_iter().collect()))
}
