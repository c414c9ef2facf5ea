//! The ledger, added up: how many measurements, and their numbers, by meter, account and day, each uid once.
//!
//! A uid counts with the content of its earliest accepted line, as m3ter keeps the first of its copies. Lines come in no order,
//! so a uid counts with the first content that is read, and whoever reads them sees to it that the few uids with several
//! contents are settled at the end ([`Totals::contest`]).
//!
//! Memory is bounded: of a uid 24 bytes are held, everything else by place. What does not fit is an error, never a sum that
//! lacks something.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::decimal::Decimal;
use super::held::{Content, Held, Place, Uid};

/// How much may be held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Distinct uids; 24 to 50 bytes each.
    pub uids: usize,
    /// Distinct meters, accounts and days; some 500 bytes each.
    pub places: usize,
    /// Measurements that are held whole, since something is to be said about them: rejected ones, unanswered ones, and those
    /// whose uid has several contents. Some 500 bytes each.
    pub whole: usize,
}

/// There is more than may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {most} {what}: ask for fewer days, or for some meters or accounts")]
pub struct TooMuch {
    /// As many may be held.
    pub most: usize,
    /// Of what there is more.
    pub what: &'static str,
}

/// A line of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Whose it is.
    pub(crate) uid: Uid,
    /// Its content.
    pub(crate) content: Content,
    /// When it was sent: milliseconds since the epoch.
    pub(crate) sent_at_ms: i64,
    /// Whether m3ter accepted it; else nobody knows.
    pub(crate) accepted: bool,
    /// What it holds.
    pub(crate) held: Held,
}

/// The sum of one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Of what is above zero.
    pub(crate) positive: Decimal,
    /// Of what is below.
    pub(crate) negative: Decimal,
}

impl Sum {
    /// Of both.
    pub(crate) fn whole(&self) -> Decimal {
        self.positive.plus(&self.negative)
    }

    /// Of both, signs aside: what a rounding error is measured by.
    pub(crate) fn gross(&self) -> Decimal {
        self.positive.minus(&self.negative)
    }

    fn change(&mut self, number: &Decimal, change: Change) {
        let part = if number.is_negative() { &mut self.negative } else { &mut self.positive };
        *part = match change {
            Change::Add => part.plus(number),
            Change::Remove => part.minus(number),
        };
    }
}

/// What was counted at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Measurements.
    pub(crate) count: u64,
    /// Their numbers, by field.
    pub(crate) sums: BTreeMap<Arc<str>, Sum>,
}

#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

impl Tally {
    /// Counts one more.
    pub(crate) fn add(&mut self, held: &Held) {
        self.count += 1;
        self.change(held, Change::Add);
    }

    /// Counts all that `other` counts.
    pub(crate) fn add_all(&mut self, other: &Tally) {
        self.count += other.count;
        for (field, sum) in &other.sums {
            let known = self.sums.entry(Arc::clone(field)).or_default();
            known.positive = known.positive.plus(&sum.positive);
            known.negative = known.negative.plus(&sum.negative);
        }
    }

    fn remove(&mut self, held: &Held) {
        self.count = self.count.saturating_sub(1);
        self.change(held, Change::Remove);
    }

    fn change(&mut self, held: &Held, change: Change) {
        for (field, number) in &held.numbers {
            // A field that is known needs no new key.
            match self.sums.get_mut(field) {
                Some(sum) => sum.change(number, change),
                None => self.sums.entry(Arc::clone(field)).or_default().change(number, change),
            }
        }
    }
}

/// What is known of a uid that is watched, or whose contents differ.
#[derive(Debug, Default)]
struct Lines(Vec<Sent>);

/// Hands on a hash that is one already.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, half: u64) {
        // Fixed bits of one half fall on free ones of the other.
        self.0 = self.0.rotate_left(32) ^ half;
    }
}

/// What the ledger holds. It grows line by line.
#[derive(Debug)]
pub(crate) struct Totals {
    bounds: Bounds,
    settled_until_ms: i64,
    /// The content each uid counts with; the lowest bit says that it was first sent after `settled_until_ms`. Never iterated.
    seen: HashMap<Uid, u64, BuildHasherDefault<Folded>>,
    tallies: BTreeMap<Place, Tally>,
    /// The part of `tallies` that is not settled yet.
    unsettled: BTreeMap<Place, Tally>,
    unanswered: BTreeMap<Uid, Vec<Sent>>,
    contested: BTreeSet<Uid>,
    watched: BTreeMap<Uid, Lines>,
    whole: usize,
    odd_numbers: u64,
}

const RECENT: u64 = 1;

impl Totals {
    /// Of nothing yet. What was first sent after `settled_until_ms` (milliseconds since the epoch) m3ter may still reject; of
    /// `watched` uids every accepted line is kept.
    pub(crate) fn new(bounds: Bounds, settled_until_ms: i64, watched: impl IntoIterator<Item = Uid>) -> Totals {
        Totals {
            bounds,
            settled_until_ms,
            seen: HashMap::default(),
            tallies: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            contested: BTreeSet::new(),
            watched: watched.into_iter().map(|uid| (uid, Lines::default())).collect(),
            whole: 0,
            odd_numbers: 0,
        }
    }

    /// One more line.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub(crate) fn add(&mut self, sent: Sent) -> Result<(), TooMuch> {
        if !sent.accepted {
            return self.keep_unanswered(sent);
        }
        let is_recent = sent.sent_at_ms > self.settled_until_ms;
        match self.seen.get_mut(&sent.uid) {
            Some(bits) if *bits & !RECENT != sent.content.bits() => drop(self.contested.insert(sent.uid)),
            Some(bits) if *bits & RECENT == RECENT && !is_recent => {
                *bits &= !RECENT;
                remove(&mut self.unsettled, &sent.held);
            }
            Some(_) => {}
            None => self.count(&sent, is_recent)?,
        }
        if let Some(lines) = self.watched.get_mut(&sent.uid) {
            lines.0.push(sent);
            self.one_more_whole()?;
        }
        Ok(())
    }

    fn count(&mut self, sent: &Sent, is_recent: bool) -> Result<(), TooMuch> {
        if self.seen.len() >= self.bounds.uids {
            return Err(TooMuch { most: self.bounds.uids, what: "measurements of these days" });
        }
        self.seen.insert(sent.uid, sent.content.bits() | u64::from(is_recent));
        self.odd_numbers += sent.held.odd_numbers;
        add(&mut self.tallies, &sent.held);
        if is_recent {
            add(&mut self.unsettled, &sent.held);
        }
        match self.tallies.len() > self.bounds.places {
            true => Err(TooMuch { most: self.bounds.places, what: "meters, accounts and days together" }),
            false => Ok(()),
        }
    }

    fn keep_unanswered(&mut self, sent: Sent) -> Result<(), TooMuch> {
        let known = self.unanswered.entry(sent.uid).or_default();
        if known.iter().all(|one| one.content != sent.content) {
            known.push(sent);
            self.one_more_whole()?;
        }
        Ok(())
    }

    fn one_more_whole(&mut self) -> Result<(), TooMuch> {
        self.whole += 1;
        let most = self.bounds.whole;
        let what = "measurements that are rejected, unanswered or contested";
        if self.whole > most { Err(TooMuch { most, what }) } else { Ok(()) }
    }

    /// Uids of which accepted lines with several contents were read: each of their lines is to be handed to
    /// [`Totals::contest`].
    pub(crate) fn contested(&self) -> BTreeSet<Uid> {
        self.contested.clone()
    }

    /// Settles a uid with several contents, all of whose accepted lines are `lines`: it counts with the earliest. Gives that
    /// and the others, each content once; `None` if there is only one.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub(crate) fn contest(&mut self, mut lines: Vec<Sent>) -> Result<Option<(Sent, Vec<Sent>)>, TooMuch> {
        lines.sort_by_key(|one| (one.sent_at_ms, one.content));
        let mut contents: Vec<Sent> = Vec::new();
        for line in lines {
            if contents.iter().all(|one| one.content != line.content) {
                contents.push(line);
            }
        }
        if contents.len() < 2 {
            return Ok(None);
        }
        let earliest = contents.remove(0);
        let bits = self.seen.get(&earliest.uid).copied().unwrap_or_default();
        if let Some(counted) = contents.iter().find(|one| one.content.bits() == bits & !RECENT) {
            remove(&mut self.tallies, &counted.held);
            if bits & RECENT == RECENT {
                remove(&mut self.unsettled, &counted.held);
            }
            self.seen.remove(&earliest.uid);
            self.count(&earliest, earliest.sent_at_ms > self.settled_until_ms)?;
        }
        for _ in 0..=contents.len() {
            self.one_more_whole()?;
        }
        Ok(Some((earliest, contents)))
    }

    /// The content that a uid counts with, if it counts.
    pub(crate) fn counts_with(&self, uid: Uid, content: Content) -> bool {
        self.seen.get(&uid).is_some_and(|bits| bits & !RECENT == content.bits())
    }

    /// The accepted lines of a watched uid.
    pub(crate) fn lines(&self, uid: Uid) -> &[Sent] {
        self.watched.get(&uid).map_or(&[], |lines| &lines.0)
    }

    /// What is known to be rejected is not to be rejected any more.
    pub(crate) fn settle(&mut self, uid: Uid, held: &Held) {
        if let Some(bits) = self.seen.get_mut(&uid)
            && *bits & RECENT == RECENT
        {
            *bits &= !RECENT;
            remove(&mut self.unsettled, held);
        }
    }

    /// What was sent, never answered, and never accepted with this content: m3ter may have it.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = &Sent> {
        let accepted = |one: &&Sent| self.counts_with(one.uid, one.content);
        self.unanswered.values().flatten().filter(move |one| !accepted(one))
    }

    /// Measurements and their numbers, by place.
    pub(crate) fn tallies(&self) -> &BTreeMap<Place, Tally> {
        &self.tallies
    }

    /// The part of them that m3ter may still reject.
    pub(crate) fn unsettled(&self) -> &BTreeMap<Place, Tally> {
        &self.unsettled
    }

    /// Numbers that could not be added.
    pub(crate) fn odd_numbers(&self) -> u64 {
        self.odd_numbers
    }
}

fn add(tallies: &mut BTreeMap<Place, Tally>, held: &Held) {
    match tallies.get_mut(&held.place) {
        Some(tally) => tally.add(held),
        None => tallies.entry(held.place.clone()).or_default().add(held),
    }
}

fn remove(tallies: &mut BTreeMap<Place, Tally>, held: &Held) {
    if let Some(tally) = tallies.get_mut(&held.place) {
        tally.remove(held);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::reconcile::held::tests::held;

    pub(crate) const SETTLED_MS: i64 = 1_000;
    pub(crate) const BOUNDS: Bounds = Bounds { uids: 100, places: 100, whole: 100 };

    pub(crate) fn sent(uid: &str, calls: &str, sent_at_ms: i64) -> Sent {
        let held = held("a", calls);
        Sent { uid: Uid::of(uid), content: Content::of_text(calls), sent_at_ms, accepted: true, held }
    }

    fn unanswered(uid: &str, calls: &str) -> Sent {
        Sent { accepted: false, ..sent(uid, calls, 1) }
    }

    fn totals(lines: &[Sent]) -> Totals {
        let mut totals = Totals::new(BOUNDS, SETTLED_MS, []);
        lines.iter().for_each(|line| totals.add(line.clone()).unwrap());
        totals
    }

    fn counted(tallies: &BTreeMap<Place, Tally>) -> (u64, String) {
        let count = tallies.values().map(|tally| tally.count).sum();
        let sums = tallies.values().flat_map(|tally| tally.sums.values()).map(Sum::whole);
        (count, sums.fold(Decimal::default(), |sum, one| sum.plus(&one)).to_string())
    }

    #[test]
    fn each_uid_counts_once_however_often_it_was_sent() {
        let totals = totals(&[sent("u", "0.1", 1), sent("v", "0.2", 1), sent("u", "0.1", 2), sent("w", "-1", 3)]);
        assert_eq!(counted(totals.tallies()), (3, "-0.7".to_owned()));
        assert!(totals.contested().is_empty());
    }

    #[test]
    fn what_is_only_recent_is_not_settled_in_whatever_order_it_is_read() {
        for lines in [[sent("u", "1", 1), sent("u", "1", 2_000)], [sent("u", "1", 2_000), sent("u", "1", 1)]] {
            let totals = totals(&lines);
            assert_eq!(counted(totals.unsettled()).0, 0);
            assert_eq!(counted(totals.tallies()).0, 1);
        }
        let recent = totals(&[sent("u", "5", SETTLED_MS + 1), sent("v", "1", SETTLED_MS)]);
        assert_eq!(counted(recent.unsettled()), (1, "5".to_owned()));
    }

    #[test]
    fn of_two_contents_the_earliest_counts_in_whatever_order_they_are_read() {
        let (early, late) = (sent("u", "1", 10), sent("u", "2", 20));
        for lines in [[early.clone(), late.clone()], [late.clone(), early.clone()]] {
            let mut totals = totals(&lines);
            assert_eq!(totals.contested(), [Uid::of("u")].into());
            let (first, others) = totals.contest(lines.to_vec()).unwrap().unwrap();
            assert_eq!((first.sent_at_ms, others.len()), (10, 1));
            assert_eq!(counted(totals.tallies()), (1, "1".to_owned()));
            assert!(totals.counts_with(Uid::of("u"), early.content) && !totals.counts_with(Uid::of("u"), late.content));
        }
        assert!(totals(&[]).contest(vec![early.clone(), early]).unwrap().is_none(), "one content is no contest");
    }

    #[test]
    fn a_recent_content_that_gives_way_is_not_unsettled_any_more() {
        let (early, late) = (sent("u", "1", 10), sent("u", "2", 2_000));
        let mut totals = totals(&[late.clone(), early.clone()]);
        totals.contest(vec![late, early]).unwrap();
        assert_eq!(counted(totals.unsettled()), (0, "0".to_owned()));
    }

    #[test]
    fn what_was_never_answered_does_not_count_and_is_told_unless_it_was_accepted_too() {
        let totals = totals(&[unanswered("u", "1"), unanswered("v", "2"), unanswered("v", "2"), sent("u", "1", 5)]);
        assert_eq!(counted(totals.tallies()), (1, "1".to_owned()));
        assert_eq!(totals.unanswered().map(|one| one.uid).collect::<Vec<_>>(), [Uid::of("v")]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let bounds = Bounds { uids: 1, places: 1, whole: 1 };
        let mut totals = Totals::new(bounds, SETTLED_MS, [Uid::of("u")]);
        totals.add(sent("u", "1", 1)).unwrap();
        assert!(totals.add(sent("u", "1", 1)).unwrap_err().to_string().starts_with("there are more than 1 measurements that"));
        assert!(totals.add(sent("v", "1", 1)).unwrap_err().to_string().starts_with("there are more than 1 measurements of"));
        let mut totals = Totals::new(Bounds { uids: 9, places: 1, whole: 9 }, SETTLED_MS, []);
        totals.add(sent("u", "1", 1)).unwrap();
        let elsewhere = Sent { held: held("b", "1"), ..sent("v", "1", 1) };
        assert!(totals.add(elsewhere).unwrap_err().to_string().contains("meters, accounts and days"));
    }
}
