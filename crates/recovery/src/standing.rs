//! What was done about an entry, and what came of it.
//!
//! Whoever sends an entry again first creates its next marker, `replay-1`, `replay-2` and so on, which the store lets only one
//! create. What then became of it is read, never remembered: from a ledger line or from a newer entry whose origin names this
//! one, or from the ledger's word that m3ter has the uid. A newer entry that m3ter rejected after it had accepted it outweighs that
//! acceptance; else an acceptance outweighs a newer entry, which is then a copy's.
//!
//! A marker without any of these is a replay that was interrupted, or a message still under way. For [`CLAIM_MS`] it is its
//! maker's; after that anybody may send the entry again, under the next marker. That is safe: the uid stays, m3ter counts it
//! once. The time is the marker's own. One that lies further ahead than a claim lasts comes from a wrong clock and holds
//! nobody up.

use relay_store::Marker;
use uuid::Uuid;

use crate::kept::Kept;

/// How long a claim is its maker's: 15 minutes. A message reaches m3ter or the quarantine within one or two, unless m3ter is away;
/// then it waits on the queue, and one more copy of it does no harm.
pub const CLAIM_MS: i64 = 15 * 60 * 1_000;

/// What markers of sending again are called, before their number.
pub const CLAIM: &str = "replay-";

/// What the marker of giving up is called.
pub const DROP: &str = "drop";

/// All that is known of what was done about an entry. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Markers of sending it again, by their number.
    pub claims: Vec<(u32, Marker)>,
    /// The marker of giving it up.
    pub dropped: Option<Marker>,
    /// m3ter accepted what was sent again from it, then.
    pub again_accepted_at_ms: Option<i64>,
    /// What was sent again from it was last sent without an answer then, and is still on the queue.
    pub again_unknown_at_ms: Option<i64>,
    /// What was sent again from it came back as this entry.
    pub came_back_as: Option<Newer>,
    /// m3ter first accepted its uid then, from whatever message.
    pub uid_accepted_at_ms: Option<i64>,
    /// m3ter last accepted its uid then.
    pub uid_last_accepted_at_ms: Option<i64>,
}

/// An entry that came of sending an older one again. Of several the greatest counts: what m3ter rejected later, and then the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Newer {
    /// Whether m3ter rejected it after it had accepted it: then that acceptance settled nothing.
    pub is_rejected: bool,
    /// When it was written: milliseconds since the epoch.
    pub quarantined_at_ms: i64,
    /// Its id.
    pub qid: Uuid,
}

/// How an entry stands. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was done about it.
    Open,
    /// It is being sent again, or waits on the queue: nobody else may.
    UnderWay {
        /// Since then.
        since_ms: i64,
        /// From then on anybody may send it again; `None` while it is known to wait on the queue.
        free_at_ms: Option<i64>,
    },
    /// It was to be sent again, and nothing was heard of it.
    Silent {
        /// The last claim.
        since_ms: i64,
    },
    /// m3ter accepted it.
    Accepted {
        /// Then.
        at_ms: i64,
        /// Whether it was sent again from here; else its uid went another way.
        again: bool,
    },
    /// It was sent again and came back: that entry counts now.
    CameBack {
        /// The newer entry.
        qid: Uuid,
    },
    /// It was given up.
    Dropped,
}

impl Standing {
    /// How `kept` stands at `now_ms`.
    pub fn of(kept: &Kept, facts: &Facts, now_ms: i64) -> Standing {
        match (facts.again_accepted_at_ms, facts.came_back_as) {
            (_, Some(Newer { is_rejected: true, qid, .. })) | (None, Some(Newer { qid, .. })) => {
                return Standing::CameBack { qid };
            }
            (Some(at_ms), _) => return Standing::Accepted { at_ms, again: true },
            (None, None) => {}
        }
        if facts.dropped.is_some() {
            return Standing::Dropped;
        }
        if let Some(at_ms) = Standing::accepted_elsewhere(kept, facts) {
            return Standing::Accepted { at_ms, again: false };
        }
        // The last by its number, which the store vouches for, not by its time, which is some operator's clock.
        let last = facts.claims.iter().max_by_key(|(number, _)| *number);
        let Some(last) = last.map(|(_, claim)| claim.at) else { return Standing::Open };
        if facts.again_unknown_at_ms.is_some() {
            return Standing::UnderWay { since_ms: last, free_at_ms: None };
        }
        match now_ms.abs_diff(last) < CLAIM_MS.unsigned_abs() {
            true => Standing::UnderWay { since_ms: last, free_at_ms: Some(last.saturating_add(CLAIM_MS)) },
            false => Standing::Silent { since_ms: last },
        }
    }

    /// What m3ter rejected later it had accepted before: only what came after the first claim, and after the last rejection, tells
    /// anything new of it. Where its uid is taken, nothing does.
    fn accepted_elsewhere(kept: &Kept, facts: &Facts) -> Option<i64> {
        if !kept.is_rejected() {
            return facts.uid_accepted_at_ms;
        }
        let since_ms = facts.first_claim_at_ms()?.max(kept.last_quarantined_at_ms);
        facts.uid_last_accepted_at_ms.filter(|at_ms| *at_ms >= since_ms && !kept.is_uid_taken())
    }

    /// Whether something is still to be done about it, or may have to be.
    pub fn is_open(&self) -> bool {
        match self {
            Standing::Open | Standing::UnderWay { .. } | Standing::Silent { .. } => true,
            Standing::Accepted { .. } | Standing::CameBack { .. } | Standing::Dropped => false,
        }
    }

    /// One stable word.
    pub fn name(&self) -> &'static str {
        match self {
            Standing::Open => "open",
            Standing::UnderWay { .. } => "under-way",
            Standing::Silent { .. } => "silent",
            Standing::Accepted { .. } => "accepted",
            Standing::CameBack { .. } => "came-back",
            Standing::Dropped => "dropped",
        }
    }
}

impl Facts {
    /// When it may first have been sent from the quarantine; `None` if it never was.
    pub fn first_claim_at_ms(&self) -> Option<i64> {
        self.claims.iter().map(|(_, claim)| claim.at).min()
    }

    /// The number of the next claim, from 1.
    pub fn next_claim(&self) -> u32 {
        self.claims.iter().map(|(number, _)| *number).max().unwrap_or(0).saturating_add(1)
    }
}

/// The number of the claim that a marker's name says, if it is one.
pub fn claim_number(name: &str) -> Option<u32> {
    name.strip_prefix(CLAIM)?.parse().ok().filter(|number| *number > 0)
}

/// The name of the claim `number`.
pub fn claim_name(number: u32) -> String {
    format!("{CLAIM}{number}")
}

#[cfg(test)]
pub(crate) mod tests {
    use relay_store::Action;
    use serde_json::json;

    use super::*;
    use crate::kept::STAGE_INGEST;
    use crate::kept::tests::{NOW_MS, kept};

    pub(crate) fn newer(qid: Uuid, is_rejected: bool) -> Option<Newer> {
        Some(Newer { is_rejected, quarantined_at_ms: NOW_MS, qid })
    }

    pub(crate) fn marker(action: Action, at: i64) -> Marker {
        let (by, because, new_uid, supersedes) = Default::default();
        Marker { action, at, run: Uuid::nil(), by, because, new_uid, supersedes, beyond_window: false }
    }

    pub(crate) fn claims(ages_ms: &[i64]) -> Vec<(u32, Marker)> {
        (1..).zip(ages_ms).map(|(number, age_ms)| (number, marker(Action::Replay, NOW_MS - age_ms))).collect()
    }

    fn check(stage: &str, facts: Facts, expected: Standing) {
        assert_eq!(Standing::of(&kept(json!({"stage": stage})), &facts, NOW_MS), expected);
    }

    #[test]
    fn a_claim_is_its_makers_for_a_quarter_of_an_hour_and_then_anybodys() {
        let facts = |ages_ms: &[i64]| Facts { claims: claims(ages_ms), ..Facts::default() };
        let under_way =
            |age_ms: i64| Standing::UnderWay { since_ms: NOW_MS - age_ms, free_at_ms: Some(NOW_MS - age_ms + CLAIM_MS) };
        check("submit", facts(&[]), Standing::Open);
        check("submit", facts(&[0]), under_way(0));
        check("submit", facts(&[CLAIM_MS - 1]), under_way(CLAIM_MS - 1));
        check("submit", facts(&[CLAIM_MS]), Standing::Silent { since_ms: NOW_MS - CLAIM_MS });
        check("submit", facts(&[9 * CLAIM_MS, 1]), under_way(1));
        check("submit", facts(&[-9 * CLAIM_MS, 1]), under_way(1));
        assert_eq!((facts(&[9, 1]).next_claim(), facts(&[]).next_claim()), (3, 1));
    }

    #[test]
    fn a_claim_from_a_clock_that_is_ahead_holds_nobody_up_for_long() {
        let facts = |ahead_ms: i64| Facts { claims: claims(&[-ahead_ms]), ..Facts::default() };
        check("submit", facts(CLAIM_MS), Standing::Silent { since_ms: NOW_MS + CLAIM_MS });
        check(
            "submit",
            facts(60_000),
            Standing::UnderWay { since_ms: NOW_MS + 60_000, free_at_ms: Some(NOW_MS + 60_000 + CLAIM_MS) },
        );
    }

    #[test]
    fn what_came_of_it_settles_it_however_old_the_claim() {
        let old = claims(&[99 * CLAIM_MS]);
        let both = |is_rejected| Facts {
            claims: old.clone(),
            again_accepted_at_ms: Some(7),
            came_back_as: newer(Uuid::nil(), is_rejected),
            ..Facts::default()
        };
        check("submit", both(false), Standing::Accepted { at_ms: 7, again: true });
        check("submit", both(true), Standing::CameBack { qid: Uuid::nil() });
        let back = Facts { again_accepted_at_ms: None, ..both(false) };
        check("submit", back, Standing::CameBack { qid: Uuid::nil() });
        let unknown = Facts { claims: old, again_unknown_at_ms: Some(7), ..Facts::default() };
        check("submit", unknown, Standing::UnderWay { since_ms: NOW_MS - 99 * CLAIM_MS, free_at_ms: None });
    }

    #[test]
    fn what_was_given_up_stays_so_unless_it_had_gone_out_before() {
        let dropped = Facts { dropped: Some(marker(Action::Drop, 1)), claims: claims(&[5]), ..Facts::default() };
        check("submit", dropped.clone(), Standing::Dropped);
        check("submit", Facts { uid_accepted_at_ms: Some(1), ..dropped.clone() }, Standing::Dropped);
        check("submit", Facts { again_accepted_at_ms: Some(9), ..dropped }, Standing::Accepted { at_ms: 9, again: true });
    }

    #[test]
    fn a_uid_that_m3ter_has_settles_every_stage_but_a_later_rejection() {
        let accepted = Facts { uid_accepted_at_ms: Some(3), uid_last_accepted_at_ms: Some(3), ..Facts::default() };
        check("submit", accepted.clone(), Standing::Accepted { at_ms: 3, again: false });
        check(STAGE_INGEST, accepted.clone(), Standing::Open);
        let later = Facts { claims: claims(&[5 * CLAIM_MS]), uid_last_accepted_at_ms: Some(NOW_MS), ..accepted.clone() };
        check(STAGE_INGEST, later, Standing::Accepted { at_ms: NOW_MS, again: false });
        let before = Facts { claims: claims(&[5 * CLAIM_MS]), ..accepted };
        check(STAGE_INGEST, before, Standing::Silent { since_ms: NOW_MS - 5 * CLAIM_MS });
    }

    #[test]
    fn of_newer_entries_what_m3ter_rejected_later_counts_and_then_the_latest() {
        let of = |is_rejected, quarantined_at_ms| Newer { is_rejected, quarantined_at_ms, qid: Uuid::nil() };
        assert!(of(true, 1) > of(false, 9) && of(true, 2) > of(true, 1) && of(false, 2) > of(false, 1));
    }

    #[test]
    fn an_acceptance_settles_a_rejection_only_if_m3ter_did_not_reject_that_one_too() {
        let facts = Facts { claims: claims(&[9 * CLAIM_MS]), uid_last_accepted_at_ms: Some(NOW_MS), ..Facts::default() };
        let silent = Standing::Silent { since_ms: NOW_MS - 9 * CLAIM_MS };
        let of = |reason: &str, last_quarantined_at_ms| {
            let rejected = Kept { last_quarantined_at_ms, ..kept(json!({"stage": STAGE_INGEST, "reason": reason})) };
            Standing::of(&rejected, &facts, NOW_MS)
        };
        assert_eq!(of("UndefinedMeter", NOW_MS), Standing::Accepted { at_ms: NOW_MS, again: false });
        assert_eq!(of("UndefinedMeter", NOW_MS + 1), silent, "a copy of it was rejected since");
        for taken in ["UidConflict", "ReplayDropped", "DuplicateOfUnknown"] {
            assert_eq!(of(taken, NOW_MS), silent, "{taken}: m3ter drops whatever comes under this uid");
        }
    }

    #[test]
    fn the_names_of_claims_are_numbers_from_one() {
        assert_eq!((claim_number("replay-1"), claim_number(&claim_name(12))), (Some(1), Some(12)));
        for other in ["replay-0", "replay-", "replay--1", "drop", "replay-1x", "Replay-1"] {
            assert_eq!(claim_number(other), None, "{other}");
        }
    }
}
