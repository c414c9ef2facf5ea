//! May an entry be sent again, and how? The guard of replay, which the relay repeats before it submits.
//!
//! The rule for m3ter's window: what may have reached m3ter 34 days ago or earlier is not sent again, since m3ter may have
//! counted it and forgotten its uid. Only its operator overrules that, for one uid at a time. What certainly never reached
//! m3ter has no age. A new uid has none either: it is the operator's word that the old one was not counted.
//!
//! The rule for uids that m3ter has: it drops whatever comes under one, so only a new uid is of use. That m3ter has it, the ledger
//! says, or m3ter itself, when it dropped the entry as a copy.

use std::collections::BTreeSet;

use relay_core::limits::DAY_MS;
use uuid::Uuid;

use crate::kept::Kept;
use crate::standing::{Facts, Standing};
use crate::window::Window;

/// The namespace of new uids, itself the UUIDv5 of the URL namespace and the name `usage-relay/new-uid/v1`.
const NAMESPACE: Uuid = Uuid::from_u128(0x6c83_f906_f500_583c_9622_fd97_3c27_b170);

/// The uid that an entry goes out under when its own is given up: the same each time, so that a second send counts once.
pub fn new_uid(qid: Uuid) -> Uuid {
    Uuid::new_v5(&NAMESPACE, qid.to_string().as_bytes())
}

/// What the operator chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Send under new uids.
    pub new_uid: bool,
    /// Uids that go out however old they are.
    pub beyond_window: BTreeSet<String>,
    /// What is sent is not what the entry holds but a mended one, judged by itself.
    pub is_mended: bool,
}

/// How an entry is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Go {
    /// The number of the claim to create first.
    pub claim: u32,
    /// When it may first have been sent: what its message is to say. `None` if it never was.
    pub first_sent_at_ms: Option<i64>,
    /// The uid it goes out under, where that is another than its own.
    pub new_uid: Option<Uuid>,
    /// Whether its age is overruled.
    pub beyond_window: bool,
    /// An earlier claim of which nothing was heard.
    pub silent_since_ms: Option<i64>,
}

/// Why an entry is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Not {
    /// It was given up.
    Dropped,
    /// m3ter has it. Times are milliseconds since the epoch.
    Accepted {
        /// Since then.
        at_ms: i64,
        /// Whether it was sent again from here.
        again: bool,
    },
    /// It was sent again, and a newer entry took its place.
    CameBack {
        /// That entry.
        qid: Uuid,
    },
    /// m3ter dropped it as a copy of what has its uid, and would drop it again.
    UidTaken,
    /// Somebody is at it.
    UnderWay {
        /// Since then.
        since_ms: i64,
        /// Free from then on, if that is known.
        free_at_ms: Option<i64>,
    },
    /// m3ter may have counted it, and forgotten.
    OutsideWindow {
        /// Since it may first have been sent, in milliseconds.
        age_ms: i64,
    },
    /// The relay would refuse it again.
    StillRefused(String),
    /// It is no single measurement, so it cannot go out under a new uid.
    NoMeasurement,
    /// It cannot travel in a message.
    CannotTravel(String),
}

/// May `kept` be sent at `now_ms`?
///
/// # Errors
/// [`Not`], with what an operator needs to know to go on.
pub fn decide(kept: &Kept, facts: &Facts, choice: &Choice, now_ms: i64) -> Result<Go, Not> {
    let mut silent_since_ms = None;
    match Standing::of(kept, facts, now_ms) {
        Standing::Open => {}
        Standing::Silent { since_ms } => silent_since_ms = Some(since_ms),
        // That m3ter has another content under this uid is why somebody wants a new one.
        Standing::Accepted { again: false, .. } if choice.new_uid => {}
        Standing::Accepted { at_ms, again } => return Err(Not::Accepted { at_ms, again }),
        Standing::CameBack { qid } => return Err(Not::CameBack { qid }),
        Standing::Dropped => return Err(Not::Dropped),
        Standing::UnderWay { since_ms, free_at_ms } => return Err(Not::UnderWay { since_ms, free_at_ms }),
    }
    if kept.is_uid_taken() && !choice.new_uid {
        return Err(Not::UidTaken);
    }
    if let Some(refusal) = kept.still_refused.as_ref().filter(|_| !choice.is_mended) {
        return Err(Not::StillRefused(refusal.clone()));
    }
    let go = Go { claim: facts.next_claim(), first_sent_at_ms: None, new_uid: None, beyond_window: false, silent_since_ms };
    if choice.new_uid {
        return if kept.is_body { Err(Not::NoMeasurement) } else { Ok(under_new_uid(kept, facts, go)) };
    }
    let beyond_window = kept.uid.as_ref().is_some_and(|uid| choice.beyond_window.contains(uid));
    match Window::of(kept, facts, now_ms) {
        Window::Outside { age_ms } if !beyond_window => Err(Not::OutsideWindow { age_ms }),
        Window::NeverSent | Window::Inside { .. } | Window::LeavesSoon { .. } | Window::Outside { .. } => {
            let first_sent_at_ms = [kept.first_sent_at_ms, facts.first_claim_at_ms()].into_iter().flatten().min();
            Ok(Go { first_sent_at_ms, beyond_window, ..go })
        }
    }
}

/// The new uid was first sent when it was first claimed, if it ever was.
fn under_new_uid(kept: &Kept, facts: &Facts, go: Go) -> Go {
    let claims = facts.claims.iter().filter(|(_, claim)| claim.new_uid.is_some());
    Go { first_sent_at_ms: claims.map(|(_, claim)| claim.at).min(), new_uid: Some(new_uid(kept.qid)), ..go }
}

impl Not {
    /// One stable word.
    pub fn name(&self) -> &'static str {
        match self {
            Not::Dropped => "Dropped",
            Not::Accepted { .. } => "Accepted",
            Not::CameBack { .. } => "CameBack",
            Not::UidTaken => "UidTaken",
            Not::UnderWay { .. } => "UnderWay",
            Not::OutsideWindow { .. } => "OutsideWindow",
            Not::StillRefused(_) => "StillRefused",
            Not::NoMeasurement => "NoMeasurement",
            Not::CannotTravel(_) => "CannotTravel",
        }
    }

    /// What it means, of any entry, and what to do: for a heading.
    pub fn meaning(&self) -> &'static str {
        match self {
            Not::Dropped => "given up by an operator",
            Not::Accepted { again: true, .. } => "sent again before, and m3ter accepted it: nothing is left to do",
            Not::Accepted { again: false, .. } => {
                "m3ter has accepted this uid, and would drop another copy: drop the entry, or send it with --new-uid if it counts beside the other"
            }
            Not::CameBack { .. } => "sent again before, and it came back as a newer entry: replay or mend that one",
            Not::UidTaken => {
                "m3ter has this uid, dropped this as a copy of it, and would again: send it with --new-uid if it was not counted, else drop the entry"
            }
            Not::UnderWay { .. } => "being sent again by somebody, or waiting on the queue",
            Not::OutsideWindow { .. } => {
                "may first have been sent 34 days ago or earlier: m3ter may have counted it and forgotten its uid; --beyond-window UID sends it all the same"
            }
            Not::StillRefused(_) => "the relay would refuse it again as it is: export it, mend it, import it",
            Not::NoMeasurement => "a whole body is no single measurement and cannot get a new uid",
            Not::CannotTravel(_) => "no message can carry it",
        }
    }

    /// What is special about this one, if anything.
    pub fn particulars(&self) -> Option<String> {
        match self {
            Not::Dropped | Not::UidTaken | Not::NoMeasurement => None,
            Not::Accepted { at_ms, .. } => Some(format!("accepted {}", crate::life::time(*at_ms))),
            Not::CameBack { qid } => Some(format!("now {qid}")),
            Not::UnderWay { since_ms, free_at_ms: Some(free_at_ms) } => {
                Some(format!("since {}, free from {}", crate::life::time(*since_ms), crate::life::time(*free_at_ms)))
            }
            Not::UnderWay { since_ms, free_at_ms: None } => {
                Some(format!("since {}, on the queue until m3ter answers", crate::life::time(*since_ms)))
            }
            Not::OutsideWindow { age_ms } => Some(format!("{} days", age_ms / DAY_MS)),
            Not::StillRefused(text) | Not::CannotTravel(text) => Some(text.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_store::Action;
    use serde_json::{Value, json};

    use super::*;
    use crate::kept::tests::{NOW_MS, kept};
    use crate::standing::CLAIM_MS;
    use crate::standing::tests::{claims, marker, newer};

    fn long_ago(sent_ago_days: i64) -> Value {
        let measurement = json!({"uid": "u", "meter": "m", "account": "a", "ts": "2020-01-01T00:00:00Z"});
        json!({"measurement": measurement, "first_sent_at": NOW_MS - sent_ago_days * DAY_MS})
    }

    fn beyond(uid: &str) -> Choice {
        Choice { beyond_window: [uid.to_owned()].into(), ..Choice::default() }
    }

    fn decided(fields: Value, facts: &Facts, choice: &Choice) -> Result<Go, Not> {
        decide(&kept(fields), facts, choice, NOW_MS)
    }

    #[test]
    fn an_open_entry_goes_with_its_first_send_under_the_first_claim() {
        let go = decided(json!({}), &Facts::default(), &Choice::default()).unwrap();
        let first_sent_at_ms = Some(NOW_MS - 1_000);
        assert_eq!(go, Go { claim: 1, first_sent_at_ms, new_uid: None, beyond_window: false, silent_since_ms: None });
    }

    #[test]
    fn what_never_reached_m3ter_goes_without_an_age_and_later_with_the_age_of_its_first_claim() {
        let never = json!({"first_sent_at": null, "stage": "guard"});
        assert_eq!(decided(never.clone(), &Facts::default(), &Choice::default()).unwrap().first_sent_at_ms, None);
        let silent = |age_ms| Facts { claims: claims(&[age_ms]), ..Facts::default() };
        let again = decided(never.clone(), &silent(CLAIM_MS), &Choice::default()).unwrap();
        assert_eq!(
            (again.claim, again.first_sent_at_ms, again.silent_since_ms),
            (2, Some(NOW_MS - CLAIM_MS), Some(NOW_MS - CLAIM_MS))
        );
        let late = decided(never, &silent(34 * DAY_MS), &Choice::default());
        assert_eq!(late, Err(Not::OutsideWindow { age_ms: 34 * DAY_MS }));
    }

    #[test]
    fn what_may_have_been_sent_34_days_ago_goes_only_if_its_very_uid_is_overruled() {
        let facts = Facts::default();
        assert!(decided(long_ago(33), &facts, &Choice::default()).is_ok());
        let outside = Err(Not::OutsideWindow { age_ms: 34 * DAY_MS });
        assert_eq!(decided(long_ago(34), &facts, &Choice::default()), outside);
        assert_eq!(decided(long_ago(34), &facts, &beyond("U")), outside);
        let go = decided(long_ago(34), &facts, &beyond("u")).unwrap();
        assert_eq!((go.beyond_window, go.first_sent_at_ms), (true, Some(NOW_MS - 34 * DAY_MS)), "the relay is told both");
        let body = json!({"uid": null, "measurement": null, "body": "x", "first_sent_at": 0});
        let go = decide(&Kept { still_refused: None, ..kept(body) }, &facts, &beyond("u"), NOW_MS);
        assert!(matches!(go, Err(Not::OutsideWindow { .. })), "{go:?}");
    }

    #[test]
    fn what_is_settled_or_under_way_is_not_sent() {
        let with = |facts: Facts| decided(json!({}), &facts, &beyond("u")).unwrap_err();
        assert_eq!(with(Facts { dropped: Some(marker(Action::Drop, 1)), ..Facts::default() }), Not::Dropped);
        let accepted = Facts { again_accepted_at_ms: Some(1), ..Facts::default() };
        assert_eq!(with(accepted), Not::Accepted { at_ms: 1, again: true });
        let back = |is_rejected| Facts { came_back_as: newer(Uuid::nil(), is_rejected), ..Facts::default() };
        assert_eq!(with(back(false)), Not::CameBack { qid: Uuid::nil() });
        let accepted = Facts { again_accepted_at_ms: Some(1), ..back(true) };
        assert_eq!(with(accepted), Not::CameBack { qid: Uuid::nil() }, "and rejected later");
        let fresh = Facts { claims: claims(&[0]), ..Facts::default() };
        assert_eq!(with(fresh), Not::UnderWay { since_ms: NOW_MS, free_at_ms: Some(NOW_MS + CLAIM_MS) });
    }

    #[test]
    fn a_new_uid_follows_from_the_entry_and_gives_the_old_one_up() {
        let choice = Choice { new_uid: true, ..Choice::default() };
        let elsewhere = Facts { uid_accepted_at_ms: Some(1), ..Facts::default() };
        assert_eq!(decided(json!({}), &elsewhere, &Choice::default()), Err(Not::Accepted { at_ms: 1, again: false }));
        let go = decided(long_ago(99), &elsewhere, &choice).unwrap();
        assert_eq!((go.new_uid, go.first_sent_at_ms), (Some(new_uid(kept(json!({})).qid)), None));
        let mut facts = Facts { claims: claims(&[3 * CLAIM_MS, 2 * CLAIM_MS]), ..Facts::default() };
        facts.claims[1].1.new_uid = Some("x".into());
        let again = decided(long_ago(99), &facts, &choice).unwrap();
        assert_eq!((again.new_uid, again.first_sent_at_ms), (go.new_uid, Some(NOW_MS - 2 * CLAIM_MS)));
        let sent = Facts { again_accepted_at_ms: Some(1), ..Facts::default() };
        assert_eq!(decided(json!({}), &sent, &choice), Err(Not::Accepted { at_ms: 1, again: true }));
    }

    #[test]
    fn what_m3ter_dropped_as_a_copy_goes_only_under_a_new_uid_and_what_it_rejected_goes_as_it_is() {
        let rejected = |reason: &str| json!({"stage": "ingest", "reason": reason});
        let known = Facts { uid_accepted_at_ms: Some(1), uid_last_accepted_at_ms: Some(1), ..Facts::default() };
        let mended = Choice { is_mended: true, ..Choice::default() };
        let choice = Choice { new_uid: true, ..Choice::default() };
        for taken in ["UidConflict", "ReplayDropped", "DuplicateOfUnknown"] {
            for same_uid in [Choice::default(), beyond("u"), mended.clone()] {
                assert_eq!(decided(rejected(taken), &known, &same_uid), Err(Not::UidTaken), "{taken} {same_uid:?}");
            }
            assert!(decided(rejected(taken), &known, &choice).unwrap().new_uid.is_some(), "{taken}");
        }
        for other in ["UndefinedMeter", "MissingField", "SomethingNew"] {
            assert_eq!(decided(rejected(other), &known, &Choice::default()).unwrap().new_uid, None, "{other}");
        }
        let relay = json!({"stage": "guard", "reason": "UidConflict"});
        assert!(decided(relay, &Facts::default(), &Choice::default()).is_ok(), "it never was with m3ter");
    }

    #[test]
    fn the_new_uid_of_an_entry_never_changes() {
        assert_eq!(Uuid::new_v5(&Uuid::NAMESPACE_URL, b"usage-relay/new-uid/v1"), NAMESPACE);
        assert_eq!(new_uid(kept(json!({})).qid).to_string(), "d987c1c4-09f9-57db-9cad-89923fa17b7f");
    }

    #[test]
    fn what_the_relay_would_refuse_again_is_not_sent_unless_it_is_mended() {
        let bad = json!({"measurement": {"uid": "u", "meter": " ", "account": "a", "ts": "2026-05-31T00:00:00Z"}});
        let refused = decided(bad.clone(), &Facts::default(), &Choice::default()).unwrap_err();
        assert_eq!(refused.name(), "StillRefused");
        assert!(refused.particulars().unwrap().starts_with("MeterInvalid"));
        assert!(decided(bad, &Facts::default(), &Choice { is_mended: true, ..Choice::default() }).is_ok());
    }
}
