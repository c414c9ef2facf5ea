//! What explains a difference: rejections, sends that nobody knows the end of, uids with several contents, and what m3ter may
//! still reject.
//!
//! Some of it is certain: a measurement that m3ter rejected, and that was not accepted again since, is missing there. The rest
//! may be so or not, and then explains a difference up to its size and not beyond. Where a rejection is told of and there is
//! more than one send it may be about, it is not certain either: m3ter may have counted the other.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::held::{Content, Held, Place, Uid};
use super::totals::{Sent, Tally, Totals};

/// Reasons that say: m3ter did not count it. `UidConflict` and `DuplicateOfUnknown` say that m3ter has something else under its
/// uid, perhaps at the very same place; a type that nobody knows says nothing.
const NOT_COUNTED: [&str; 5] = ["UndefinedMeter", "MissingField", "DuplicateField", "InvalidAccountCode", "ReplayDropped"];

/// The reason of what m3ter may still reject.
pub(crate) const NOT_SETTLED: &str = "NotSettledYet";
/// The reason of what was sent and never answered.
pub(crate) const UNANSWERED: &str = "Unanswered";
/// The reason of a uid that was accepted with several contents.
pub(crate) const CONTESTED: &str = "SeveralContents";

/// Most uids that are named for each reason at each place.
const UIDS_MAX: usize = 20;

/// What it does to a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The ledger has it, m3ter has not.
    Missing,
    /// The ledger has it, m3ter may have it.
    MayBeMissing,
    /// The totals of the ledger lack it, m3ter may have it.
    MayBeExtra,
}

/// An entry of the quarantine, of stage `ingest`.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    /// The measurement's uid.
    pub(crate) uid: String,
    /// The entry's id: one for each send that was rejected.
    pub(crate) qid: Uuid,
    /// m3ter's reason, or the watch's.
    pub(crate) reason: String,
    /// When it was quarantined, so not before it was rejected: milliseconds since the epoch.
    pub(crate) quarantined_at_ms: i64,
    /// What was rejected.
    pub(crate) content: Content,
    /// The same, as far as it can be read: m3ter may have written it anew.
    pub(crate) held: Option<Held>,
}

/// Measurements that explain something at one place for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// How many, and their numbers.
    pub(crate) tally: Tally,
    /// Uids of some of them, where they are known.
    pub(crate) uids: Vec<String>,
}

/// What explains differences, by place.
pub(crate) type Explanations = BTreeMap<Place, BTreeMap<(Effect, String), Explanation>>;

/// A uid that was accepted with several contents.
#[derive(Debug)]
pub(crate) struct Contest {
    /// What it counts with.
    pub(crate) earliest: Sent,
    /// The other contents.
    pub(crate) others: Vec<Sent>,
}

/// What explains a difference between `totals`, whose contests are settled, and m3ter. Uids of rejections must have been
/// watched. What is known to be rejected is then no longer called unsettled.
pub(crate) fn explain(
    totals: &mut Totals,
    rejections: &[Rejection],
    contests: &[Contest],
    settled_until_ms: i64,
) -> Explanations {
    let mut found = Explanations::new();
    let mut of_uid: BTreeMap<Uid, Vec<&Rejection>> = BTreeMap::new();
    for one in rejections {
        of_uid.entry(Uid::of(&one.uid)).or_default().push(one);
    }
    let mut rejected = BTreeSet::new();
    for (uid, of_it) in &of_uid {
        let Some((held, effect, reason)) = judge(totals, *uid, of_it, settled_until_ms) else { continue };
        totals.settle(*uid, &held);
        rejected.insert(*uid);
        put(&mut found, effect, &reason, &held, of_it.first().map(|one| one.uid.as_str()));
    }
    for contest in contests {
        if !rejected.contains(&contest.earliest.uid) {
            put(&mut found, Effect::MayBeMissing, CONTESTED, &contest.earliest.held, None);
        }
        contest.others.iter().for_each(|other| put(&mut found, Effect::MayBeExtra, CONTESTED, &other.held, None));
    }
    for one in totals.unanswered() {
        put(&mut found, Effect::MayBeExtra, UNANSWERED, &one.held, None);
    }
    for (place, tally) in totals.unsettled().iter().filter(|(_, tally)| tally.count > 0) {
        let why = (Effect::MayBeMissing, NOT_SETTLED.to_owned());
        let explanation = found.entry(place.clone()).or_default().entry(why).or_default();
        explanation.tally.add_all(tally);
    }
    found
}

/// Whether what `uid` counts with was rejected, as these entries tell.
fn judge(totals: &Totals, uid: Uid, of_it: &[&Rejection], settled_until_ms: i64) -> Option<(Held, Effect, String)> {
    let lines: Vec<&Sent> = totals.lines(uid).iter().filter(|line| totals.counts_with(uid, line.content)).collect();
    let counted = *lines.first()?;
    let is_about = |one: &&Rejection| one.content == counted.content || one.held.as_ref() == Some(&counted.held);
    let about: Vec<&Rejection> = of_it.iter().copied().filter(is_about).collect();
    let last = about.iter().max_by_key(|one| (one.quarantined_at_ms, one.qid))?;
    let last_sent_ms = lines.iter().map(|line| line.sent_at_ms).max()?;
    if last_sent_ms > last.quarantined_at_ms {
        // It was sent again since, and accepted: m3ter has it, unless it rejects it once more.
        let may_come_back = last_sent_ms > settled_until_ms;
        return may_come_back.then(|| (counted.held.clone(), Effect::MayBeMissing, NOT_SETTLED.to_owned()));
    }
    let rejections: BTreeSet<Uuid> = about.iter().map(|one| one.qid).collect();
    let is_certain = NOT_COUNTED.contains(&last.reason.as_str()) && rejections.len() >= lines.len();
    let effect = if is_certain { Effect::Missing } else { Effect::MayBeMissing };
    Some((counted.held.clone(), effect, last.reason.clone()))
}

fn put(found: &mut Explanations, effect: Effect, reason: &str, held: &Held, uid: Option<&str>) {
    let explanation = found.entry(held.place.clone()).or_default().entry((effect, reason.to_owned())).or_default();
    explanation.tally.add(held);
    if explanation.uids.len() < UIDS_MAX {
        explanation.uids.extend(uid.map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::totals::tests::{BOUNDS, SETTLED_MS, sent};

    fn rejection(uid: &str, calls: &str, reason: &str, quarantined_at_ms: i64) -> Rejection {
        let Sent { content, held, .. } = sent(uid, calls, 0);
        let qid = Uuid::from_u128(u128::from(quarantined_at_ms.unsigned_abs()));
        Rejection { uid: uid.to_owned(), qid, reason: reason.to_owned(), quarantined_at_ms, content, held: Some(held) }
    }

    /// Each explanation in one line, those of all places together.
    fn check(lines: &[Sent], rejections: &[Rejection], expected: &[&str]) {
        let mut totals = Totals::new(BOUNDS, SETTLED_MS, rejections.iter().map(|one| Uid::of(&one.uid)));
        lines.iter().for_each(|line| totals.add(line.clone()).unwrap());
        let mut contests = Vec::new();
        for uid in totals.contested() {
            let of_it = lines.iter().filter(|line| line.uid == uid && line.accepted).cloned().collect();
            let (earliest, others) = totals.contest(of_it).unwrap().unwrap();
            contests.push(Contest { earliest, others });
        }
        let found = explain(&mut totals, rejections, &contests, SETTLED_MS);
        let told = |((effect, reason), one): (&(Effect, String), &Explanation)| {
            format!("{effect:?} {reason} {} {}", one.tally.count, one.tally.sums["calls"].whole())
        };
        assert_eq!(found.values().flatten().map(told).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_rejection_explains_its_own_measurement() {
        check(
            &[sent("u", "3", 1), sent("v", "4", 1)],
            &[rejection("u", "3", "UndefinedMeter", 5)],
            &["Missing UndefinedMeter 1 3"],
        );
    }

    #[test]
    fn one_that_was_accepted_again_since_explains_nothing_unless_that_is_recent() {
        let rejected = [rejection("u", "3", "UndefinedMeter", 5)];
        check(&[sent("u", "3", 1), sent("u", "3", 9)], &rejected, &[]);
        check(&[sent("u", "3", 1), sent("u", "3", 2_000)], &rejected, &["MayBeMissing NotSettledYet 1 3"]);
    }

    #[test]
    fn one_that_came_back_explains_again() {
        let rejected = [rejection("u", "3", "UndefinedMeter", 5), rejection("u", "3", "ReplayDropped", 12)];
        check(&[sent("u", "3", 1), sent("u", "3", 9)], &rejected, &["Missing ReplayDropped 1 3"]);
    }

    #[test]
    fn of_two_sends_with_one_rejection_the_other_may_count() {
        let rejected = [rejection("u", "3", "UndefinedMeter", 5)];
        check(&[sent("u", "3", 1), sent("u", "3", 2)], &rejected, &["MayBeMissing UndefinedMeter 1 3"]);
    }

    #[test]
    fn a_rejection_that_m3ter_wrote_anew_is_known_by_what_it_holds() {
        let anew = Rejection { content: Content::of_text("other"), ..rejection("u", "3.0", "MissingField", 5) };
        check(&[sent("u", "3", 1)], &[anew], &["Missing MissingField 1 3"]);
        let other = Rejection { content: Content::of_text("other"), ..rejection("u", "4", "MissingField", 5) };
        check(&[sent("u", "3", 1)], &[other], &[]);
    }

    #[test]
    fn what_m3ter_has_otherwise_or_says_without_a_known_meaning_may_be_missing() {
        for reason in ["UidConflict", "DuplicateOfUnknown", "BrandNew"] {
            check(&[sent("u", "3", 1)], &[rejection("u", "3", reason, 5)], &[&format!("MayBeMissing {reason} 1 3")]);
        }
        check(&[], &[rejection("u", "3", "UndefinedMeter", 5)], &[]);
    }

    #[test]
    fn of_several_contents_each_may_be_what_m3ter_has() {
        let two = [sent("u", "3", 1), sent("u", "4", 2)];
        check(&two, &[], &["MayBeMissing SeveralContents 1 3", "MayBeExtra SeveralContents 1 4"]);
        // The one that does not count is no explanation of its own.
        check(
            &two,
            &[rejection("u", "4", "UidConflict", 5)],
            &["MayBeMissing SeveralContents 1 3", "MayBeExtra SeveralContents 1 4"],
        );
    }

    #[test]
    fn what_is_recent_or_unanswered_may_count_or_not() {
        let unanswered = Sent { accepted: false, ..sent("v", "-2", 1) };
        check(&[sent("u", "3", 2_000), unanswered], &[], &["MayBeMissing NotSettledYet 1 3", "MayBeExtra Unanswered 1 -2"]);
        check(&[sent("u", "3", 2_000)], &[rejection("u", "3", "MissingField", 2_001)], &["Missing MissingField 1 3"]);
    }
}
