//! Settle: whatever the fates, no message is done with a measurement that is neither accepted nor kept.

use std::time::Duration;

use proptest::prelude::*;
use relay_core::decode::{Decoded, Found};
use relay_core::reason::{Reason, Refusal};
use relay_core::settle::{Delivery, Fate, Outcome, settle};

use crate::given::config;

/// A fate, or a copy of an earlier one.
fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Accepted),
        2 => Just(Fate::Refused(Refusal::submit(Reason::RefusedByApi, "x"))),
        1 => (-5..900_000_i64).prop_map(Fate::NotDue),
        1 => Just(Fate::Undecided),
        2 => (0..1_000_usize).prop_map(Fate::CopyOf),
    ]
}

fn deliveries() -> impl Strategy<Value = Vec<(Delivery, Vec<Fate>)>> {
    let decoded = prop_oneof![8 => Just(Decoded::Found), 1 => Just(Decoded::Pointer), 1 => Just(Decoded::OverBudget)];
    let one =
        (decoded, prop::bool::weighted(0.2), prop::collection::vec(fate(), 0..6)).prop_map(|(decoded, exhausted, fates)| {
            let fates = if decoded == Decoded::Found { fates } else { Vec::new() };
            (Delivery { decoded, exhausted }, fates)
        });
    prop::collection::vec(one, 0..12)
}

/// Fates as collapse would have them: a copy is of an earlier one that is no copy itself, else it is undecided.
fn consistent(mut fates: Vec<Fate>) -> Vec<Fate> {
    for index in 0..fates.len() {
        if let Fate::CopyOf(wanted) = fates[index] {
            let first = wanted % (index + 1);
            let usable = first < index && !matches!(fates[first], Fate::CopyOf(_));
            fates[index] = if usable { Fate::CopyOf(first) } else { Fate::Undecided };
        }
    }
    fates
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn any_fates_lose_nothing_and_the_accounts_balance(messages in deliveries()) {
        let deliveries: Vec<Delivery> = messages.iter().map(|(delivery, _)| *delivery).collect();
        let fates = consistent(messages.iter().flat_map(|(_, fates)| fates.clone()).collect());
        let found: Vec<Found<'_>> = messages
            .iter()
            .enumerate()
            .flat_map(|(message, (_, fates))| {
                (0..fates.len()).map(move |position| Found { message, position, text: "{}", refusal: None, read: None })
            })
            .collect();
        let resolved = |index: usize| if let Fate::CopyOf(first) = &fates[index] { &fates[*first] } else { &fates[index] };

        let settled = settle(&deliveries, &found, &fates);
        prop_assert_eq!(settled.outcomes.len(), deliveries.len());
        for (message, delivery) in deliveries.iter().enumerate() {
            let own: Vec<usize> = (0..found.len()).filter(|index| found[*index].message == message).collect();
            let kept: Vec<_> = settled.quarantine.iter().filter(|entry| entry.message == message).collect();
            let decided = |index: &usize| matches!(resolved(*index), Fate::Accepted | Fate::Refused(_));
            let done = delivery.exhausted || (!own.is_empty() && own.iter().all(decided));
            match settled.outcomes[message] {
                Outcome::Return { after } => {
                    prop_assert!(!done && kept.is_empty(), "returned, and so nothing of it is kept yet");
                    let waits: Vec<i64> = own
                        .iter()
                        .filter_map(|index| if let Fate::NotDue(wait_ms) = resolved(*index) { Some(*wait_ms) } else { None })
                        .collect();
                    if let Some(after) = after {
                        let longest = waits.into_iter().max().and_then(|wait_ms| u64::try_from(wait_ms).ok());
                        prop_assert_eq!(Some(after), longest.map(Duration::from_millis));
                    }
                }
                Outcome::Done => {
                    prop_assert!(done);
                    let expected: Vec<Option<usize>> = match own.is_empty() {
                        true => vec![None],
                        false => {
                            own.iter().copied().filter(|index| *resolved(*index) != Fate::Accepted).map(Some).collect()
                        }
                    };
                    prop_assert_eq!(kept.iter().map(|entry| entry.found).collect::<Vec<_>>(), expected);
                    for entry in kept {
                        match entry.found.map(resolved) {
                            Some(Fate::Refused(refusal)) => prop_assert_eq!(refusal, &entry.refusal),
                            _ => prop_assert_eq!(entry.refusal.reason, Reason::Exhausted),
                        }
                    }
                }
            }
        }
        let accounts = settled.accounts(&found, &deliveries, &fates);
        prop_assert!(accounts.balance(), "{:?}", accounts);
        prop_assert_eq!(accounts.quarantined, settled.quarantine.len());

        let before = settle(&deliveries, &found, &fates);
        let unwritten = settled.unwritten();
        for message in 0..deliveries.len() {
            let needed = before.quarantine.iter().any(|entry| entry.message == message);
            let expected = if needed { Outcome::Return { after: None } } else { before.outcomes[message] };
            prop_assert_eq!(unwritten.outcomes[message], expected);
        }
        prop_assert!(unwritten.quarantine.is_empty());
        let accounts = unwritten.accounts(&found, &deliveries, &fates);
        prop_assert!(accounts.balance() && accounts.quarantined == 0, "{:?}", accounts);
    }
}
