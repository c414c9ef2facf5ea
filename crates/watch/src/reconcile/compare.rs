//! Both sides held against each other, number by number.
//!
//! A row is one number at one place: how many measurements, or the sum of one field. What is missing for certain is added to
//! m3ter's side; what may be missing or extra makes a range around the ledger's. Within the range, or a rounding error beside it,
//! a difference is explained; how far it lies outside is what is left.
//!
//! Counts are compared exactly. Sums are too, unless they differ by less than a part in a billion of what was added: m3ter's
//! numbers are doubles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decimal::Decimal;
use super::explain::{Effect, Explanation, Explanations};
use super::held::Place;
use super::report::{Explained, Row, day_text};
use super::totals::{Sum, Tally};

/// What m3ter counted at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Measurements.
    pub(crate) count: Decimal,
    /// Sums by field.
    pub(crate) sums: BTreeMap<Arc<str>, Decimal>,
}

/// What a meter is at m3ter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// m3ter has no such meter: it counts nothing of it.
    NoMeter,
    /// m3ter sums these fields of it.
    Known(BTreeSet<Arc<str>>),
}

/// Fields that measurements hold and m3ter sums not, since their meter has no such field: meter and field.
pub(crate) type Unconfigured = BTreeSet<(Arc<str>, Arc<str>)>;

/// Holds `ledger` against `m3ter`, at the places of `meters` alone: the others could not be asked about. Each row goes to `each`, in the order of
/// their places: there may be as many as places and fields, and nearly all agree.
pub(crate) fn compare(
    ledger: &BTreeMap<Place, Tally>,
    m3ter: &BTreeMap<Place, Counted>,
    explanations: &Explanations,
    meters: &BTreeMap<Arc<str>, Fields>,
    each: &mut dyn FnMut(Row),
) -> Unconfigured {
    let places: BTreeSet<&Place> = ledger.keys().chain(m3ter.keys()).chain(explanations.keys()).collect();
    let (no_tally, no_count, no_explanations) = (Tally::default(), Counted::default(), BTreeMap::new());
    let mut unconfigured = Unconfigured::new();
    for place in places {
        let Some(fields) = meters.get(&place.meter) else { continue };
        let tally = ledger.get(place).unwrap_or(&no_tally);
        let counted = m3ter.get(place).unwrap_or(&no_count);
        let explanations = explanations.get(place).unwrap_or(&no_explanations);
        // A place where contents were exchanged may hold nothing on either side.
        if tally.count == 0 && counted.count.is_zero() && explanations.is_empty() {
            continue;
        }
        let count = Sum { positive: Decimal::from(tally.count), negative: Decimal::default() };
        each(row(place, None, &count, &counted.count, explanations));
        let wanted: BTreeSet<&Arc<str>> = match fields {
            Fields::NoMeter => tally.sums.keys().collect(),
            Fields::Known(fields) => {
                let others = tally.sums.keys().filter(|field| !fields.contains(*field));
                unconfigured.extend(others.map(|field| (Arc::clone(&place.meter), Arc::clone(field))));
                fields.iter().collect()
            }
        };
        let (no_sum, nothing) = (Sum::default(), Decimal::default());
        for field in wanted {
            let ours = tally.sums.get(field).unwrap_or(&no_sum);
            let theirs = counted.sums.get(field).unwrap_or(&nothing);
            each(row(place, Some(field), ours, theirs, explanations));
        }
    }
    unconfigured
}

fn row(
    place: &Place,
    field: Option<&Arc<str>>,
    ours: &Sum,
    theirs: &Decimal,
    explanations: &BTreeMap<(Effect, String), Explanation>,
) -> Row {
    let ledger = ours.whole();
    let difference = theirs.minus(&ledger);
    // Where the difference would have to lie: between these.
    let (mut least, mut most) = (Decimal::default(), Decimal::default());
    let mut gross = ours.gross();
    if gross < theirs.abs() {
        gross = theirs.abs();
    }
    let mut explained_by = Vec::new();
    for ((effect, reason), explanation) in explanations {
        let sum = match field {
            None => Sum { positive: Decimal::from(explanation.tally.count), negative: Decimal::default() },
            Some(field) => explanation.tally.sums.get(field).cloned().unwrap_or_default(),
        };
        match effect {
            Effect::Missing => (least, most) = (least.minus(&sum.whole()), most.minus(&sum.whole())),
            Effect::MayBeMissing => (least, most) = (least.minus(&sum.positive), most.minus(&sum.negative)),
            Effect::MayBeExtra => (least, most) = (least.plus(&sum.negative), most.plus(&sum.positive)),
        }
        let (count, uids) = (explanation.tally.count, explanation.uids.clone());
        explained_by.push(Explained { reason: reason.clone(), effect: *effect, count, sum: sum.whole(), uids });
    }
    let is_rounding = |number: &Decimal| field.is_some() && number.is_rounding_of(&gross);
    let beyond = match () {
        () if difference < least => difference.minus(&least),
        () if difference > most => difference.minus(&most),
        () => Decimal::default(),
    };
    let unexplained = if is_rounding(&beyond) { Decimal::default() } else { beyond };
    let agrees = unexplained.is_zero() && (difference.is_zero() || is_rounding(&difference));
    if agrees {
        explained_by.clear();
    }
    Row {
        meter: place.meter.to_string(),
        account: place.account.to_string(),
        day: day_text(place.day),
        measure: field.map(ToString::to_string),
        ledger,
        m3ter: theirs.clone(),
        difference,
        agrees,
        explained_by,
        unexplained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::held::Held;
    use crate::reconcile::held::tests::held;

    fn compared(
        ledger: &BTreeMap<Place, Tally>,
        m3ter: &BTreeMap<Place, Counted>,
        because: &Explanations,
        meters: &BTreeMap<Arc<str>, Fields>,
    ) -> (Vec<Row>, Unconfigured) {
        let mut rows = Vec::new();
        let unconfigured = compare(ledger, m3ter, because, meters, &mut |row| rows.push(row));
        (rows, unconfigured)
    }

    fn tallies(all: &[Held]) -> BTreeMap<Place, Tally> {
        let mut tallies: BTreeMap<Place, Tally> = BTreeMap::new();
        all.iter().for_each(|one| tallies.entry(one.place.clone()).or_default().add(one));
        tallies
    }

    fn counted(account: &str, count: u64, calls: &str) -> BTreeMap<Place, Counted> {
        let sums = [("calls".into(), Decimal::parse(calls).unwrap())].into();
        [(held(account, "0").place, Counted { count: Decimal::from(count), sums })].into()
    }

    fn because(effect: Effect, all: &[Held]) -> Explanations {
        let mut found = Explanations::new();
        for one in all {
            let of_place = found.entry(one.place.clone()).or_default();
            of_place.entry((effect, "Why".to_owned())).or_default().tally.add(one);
        }
        found
    }

    fn known() -> BTreeMap<Arc<str>, Fields> {
        [("m".into(), Fields::Known([Arc::from("calls")].into()))].into()
    }

    /// Each row as measure, difference, what is unexplained, and whether it agrees.
    fn check(ledger: &[Held], m3ter: &BTreeMap<Place, Counted>, because: &Explanations, expected: [(&str, &str, bool); 2]) {
        let rows = compared(&tallies(ledger), m3ter, because, &known()).0;
        let told: Vec<(String, String, bool)> =
            rows.iter().map(|row| (row.difference.to_string(), row.unexplained.to_string(), row.agrees)).collect();
        let told: Vec<(&str, &str, bool)> = told.iter().map(|(one, two, three)| (one.as_str(), two.as_str(), *three)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn equal_sides_agree_exactly_or_but_for_the_rounding_of_doubles() {
        let ledger = [held("a", "0.1"), held("a", "0.2")];
        check(&ledger, &counted("a", 2, "0.3"), &Explanations::new(), [("0", "0", true), ("0", "0", true)]);
        check(
            &ledger,
            &counted("a", 2, "0.30000000000000004"),
            &Explanations::new(),
            [("0", "0", true), ("0.00000000000000004", "0", true)],
        );
    }

    #[test]
    fn a_count_is_never_rounded() {
        let mut ledger = tallies(&[held("a", "0")]);
        ledger.values_mut().for_each(|tally| tally.count = 10_000_000_000);
        let rows = compared(&ledger, &counted("a", 9_999_999_999, "0"), &Explanations::new(), &known()).0;
        assert_eq!((rows[0].unexplained.to_string().as_str(), rows[1].agrees), ("-1", true));
    }

    #[test]
    fn a_difference_without_a_cause_is_unexplained_either_way() {
        let none = Explanations::new();
        check(&[held("a", "3"), held("a", "4")], &counted("a", 1, "3"), &none, [("-1", "-1", false), ("-4", "-4", false)]);
        check(&[held("a", "3")], &counted("a", 2, "7"), &none, [("1", "1", false), ("4", "4", false)]);
        check(&[], &counted("b", 1, "2"), &none, [("1", "1", false), ("2", "2", false)]);
        check(&[held("a", "3")], &BTreeMap::new(), &none, [("-1", "-1", false), ("-3", "-3", false)]);
    }

    #[test]
    fn what_is_missing_for_certain_must_be_missing() {
        let why = because(Effect::Missing, &[held("a", "4")]);
        let ledger = [held("a", "3"), held("a", "4")];
        check(&ledger, &counted("a", 1, "3"), &why, [("-1", "0", false), ("-4", "0", false)]);
        // m3ter counted what it is said to have rejected.
        check(&ledger, &counted("a", 2, "7"), &why, [("0", "1", false), ("0", "4", false)]);
        check(&ledger, &counted("a", 0, "0"), &why, [("-2", "-1", false), ("-7", "-3", false)]);
    }

    #[test]
    fn what_may_be_missing_explains_up_to_its_size() {
        let why = because(Effect::MayBeMissing, &[held("a", "4"), held("a", "-1")]);
        let ledger = [held("a", "3"), held("a", "4"), held("a", "-1")];
        check(&ledger, &counted("a", 3, "6"), &why, [("0", "0", true), ("0", "0", true)]);
        check(&ledger, &counted("a", 2, "2"), &why, [("-1", "0", false), ("-4", "0", false)]);
        check(&ledger, &counted("a", 2, "7"), &why, [("-1", "0", false), ("1", "0", false)]);
        check(&ledger, &counted("a", 0, "0"), &why, [("-3", "-1", false), ("-6", "-2", false)]);
        check(&ledger, &counted("a", 4, "9"), &why, [("1", "1", false), ("3", "2", false)]);
    }

    #[test]
    fn what_may_be_extra_explains_more_at_m3ter_and_nothing_less() {
        let why = because(Effect::MayBeExtra, &[held("a", "5")]);
        check(&[held("a", "3")], &counted("a", 2, "8"), &why, [("1", "0", false), ("5", "0", false)]);
        check(&[held("a", "3")], &counted("a", 0, "0"), &why, [("-1", "-1", false), ("-3", "-3", false)]);
    }

    #[test]
    fn a_field_that_the_meter_does_not_have_is_told_and_not_compared() {
        let meters = [("m".into(), Fields::Known(BTreeSet::new()))].into();
        let (rows, unconfigured) = compared(&tallies(&[held("a", "3")]), &counted("a", 1, "0"), &Explanations::new(), &meters);
        assert_eq!(rows.len(), 1);
        assert_eq!(unconfigured, [("m".into(), "calls".into())].into());
    }

    #[test]
    fn of_a_meter_that_m3ter_does_not_have_nothing_is_counted_and_of_one_not_asked_about_nothing_is_said() {
        let meters = [("m".into(), Fields::NoMeter)].into();
        let rows = compared(&tallies(&[held("a", "3")]), &BTreeMap::new(), &Explanations::new(), &meters).0;
        assert_eq!(rows.iter().map(|row| row.unexplained.to_string()).collect::<Vec<_>>(), ["-1", "-3"]);
        assert!(compared(&tallies(&[held("a", "3")]), &BTreeMap::new(), &Explanations::new(), &BTreeMap::new()).0.is_empty());
    }
}
