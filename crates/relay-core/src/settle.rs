//! Settles what becomes of each message, from what became of its measurements.
//!
//! A message is done when each of its measurements was accepted, shares the fate of a copy that was, or is to be
//! quarantined. Anything undecided returns the whole message. Its refusals are quarantined in the invocation in which the
//! message becomes done, not on each of its deliveries.

use std::time::Duration;

use crate::decode::{Decoded, Found};
use crate::reason::{Reason, Refusal};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may leave the queue.
    Done,
    /// It stays in the queue, to be delivered again.
    Return {
        /// When it makes sense to deliver it again, where that is known.
        after: Option<Duration>,
    },
}

/// What became of a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// m3ter took it.
    Accepted,
    /// It has the fate of the one at this index, a copy of it.
    CopyOf(usize),
    /// It cannot go on.
    Refused(Refusal),
    /// Its time has not come: milliseconds to wait.
    NotDue(i64),
    /// Nobody knows, or it was not tried.
    Undecided,
}

/// One message on its way to be settled.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// What decoding made of it.
    pub decoded: Decoded,
    /// Whether it is too old to be returned once more: what is undecided in it is quarantined.
    pub exhausted: bool,
}

/// Something to quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToQuarantine {
    /// Index of the message.
    pub message: usize,
    /// Index of the measurement; `None` for the message as a whole.
    pub found: Option<usize>,
    /// Why.
    pub refusal: Refusal,
}

/// The accounts of one invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Messages.
    pub received: usize,
    /// Messages done.
    pub done: usize,
    /// Messages returned.
    pub returned: usize,
    /// Measurements, and what stood where one was expected.
    pub found: usize,
    /// Sent and accepted.
    pub accepted: usize,
    /// Copies of one that was accepted.
    pub collapsed: usize,
    /// Quarantined in this invocation.
    pub quarantined: usize,
    /// Left for a later delivery.
    pub unresolved: usize,
}

impl Accounts {
    /// Whether every message and every measurement is somewhere, once.
    pub fn balance(&self) -> bool {
        self.received == self.done + self.returned
            && self.found == self.accepted + self.collapsed + self.quarantined + self.unresolved
    }
}

/// The decision, which holds once `quarantine` is durably written.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled {
    /// One for each message.
    pub outcomes: Vec<Outcome>,
    /// What must be written before any of those messages is done.
    pub quarantine: Vec<ToQuarantine>,
}

/// Settles. `found` must be in the order of messages, `fates` one for each of `found`.
pub fn settle(deliveries: &[Delivery], found: &[Found<'_>], fates: &[Fate]) -> Settled {
    let mut settled = Settled { outcomes: Vec::with_capacity(deliveries.len()), quarantine: Vec::new() };
    let mut next = 0;
    for (message, delivery) in deliveries.iter().enumerate() {
        let first = next;
        while found.get(next).is_some_and(|found| found.message == message) {
            next += 1;
        }
        let outcome = one(message, *delivery, first..next, fates, &mut settled.quarantine);
        settled.outcomes.push(outcome);
    }
    settled
}

impl Settled {
    /// The same when the quarantine could not be written: every message that needed it is returned.
    pub fn unwritten(mut self) -> Settled {
        for entry in self.quarantine.drain(..) {
            if let Some(outcome) = self.outcomes.get_mut(entry.message) {
                *outcome = Outcome::Return { after: None };
            }
        }
        self
    }

    /// The same when the ledger could not be written: every message with a measurement that was accepted is returned, and
    /// nothing of it is quarantined.
    pub fn unrecorded(mut self, found: &[Found<'_>], fates: &[Fate]) -> Settled {
        for (index, found) in found.iter().enumerate() {
            if resolved(fates, index) == Some(&Fate::Accepted)
                && let Some(outcome @ Outcome::Done) = self.outcomes.get_mut(found.message)
            {
                *outcome = Outcome::Return { after: None };
            }
        }
        let outcomes = &self.outcomes;
        self.quarantine.retain(|entry| outcomes.get(entry.message) == Some(&Outcome::Done));
        self
    }

    /// Closes the accounts. A message that holds nothing to look at counts as one found.
    pub fn accounts(&self, found: &[Found<'_>], deliveries: &[Delivery], fates: &[Fate]) -> Accounts {
        let mut holds_something = vec![false; deliveries.len()];
        for message in found.iter().map(|found| found.message) {
            if let Some(holds) = holds_something.get_mut(message) {
                *holds = true;
            }
        }
        let is_whole = |(delivery, holds): (&Delivery, &bool)| delivery.decoded != Decoded::Found || !holds;
        let whole = deliveries.iter().zip(&holds_something).filter(|both| is_whole(*both)).count();
        let mut accounts = Accounts {
            received: deliveries.len(),
            found: found.len() + whole,
            quarantined: self.quarantine.len(),
            ..Accounts::default()
        };
        for outcome in &self.outcomes {
            match outcome {
                Outcome::Done => accounts.done += 1,
                Outcome::Return { .. } => accounts.returned += 1,
            }
        }
        let mut kept = vec![false; found.len()];
        for index in self.quarantine.iter().filter_map(|entry| entry.found) {
            if let Some(kept) = kept.get_mut(index) {
                *kept = true;
            }
        }
        for (index, kept) in kept.into_iter().enumerate() {
            match (kept, fates.get(index), resolved(fates, index)) {
                (true, _, _) => {}
                (false, Some(Fate::CopyOf(_)), Some(Fate::Accepted)) => accounts.collapsed += 1,
                (false, _, Some(Fate::Accepted)) => accounts.accepted += 1,
                (false, _, _) => accounts.unresolved += 1,
            }
        }
        let whole_kept = self.quarantine.iter().filter(|entry| entry.found.is_none()).count();
        accounts.unresolved += whole.saturating_sub(whole_kept);
        accounts
    }
}

fn one(
    message: usize,
    delivery: Delivery,
    measurements: std::ops::Range<usize>,
    fates: &[Fate],
    quarantine: &mut Vec<ToQuarantine>,
) -> Outcome {
    // Whatever it looks like now, an earlier delivery may have been submitted: it may have come first in its invocation, or
    // found its payload.
    let exhausted =
        || Refusal::submit(Reason::Exhausted, "expected to be decided within the time that the setting ExhaustAfterDays gives");
    if delivery.decoded != Decoded::Found || measurements.is_empty() {
        if delivery.exhausted {
            quarantine.push(ToQuarantine { message, found: None, refusal: exhausted() });
            return Outcome::Done;
        }
        return Outcome::Return { after: None };
    }
    let mut undecided = false;
    let mut due_ms: Option<i64> = None;
    for index in measurements.clone() {
        match resolved(fates, index) {
            Some(Fate::Accepted | Fate::Refused(_)) => {}
            Some(Fate::NotDue(wait_ms)) => due_ms = due_ms.max(Some(*wait_ms)),
            Some(Fate::CopyOf(_) | Fate::Undecided) | None => undecided = true,
        }
    }
    if (undecided || due_ms.is_some()) && !delivery.exhausted {
        let wait = due_ms.filter(|_| !undecided).and_then(|wait_ms| u64::try_from(wait_ms).ok());
        return Outcome::Return { after: wait.map(Duration::from_millis) };
    }
    for index in measurements {
        let refusal = match resolved(fates, index) {
            Some(Fate::Accepted) => continue,
            Some(Fate::Refused(refusal)) => refusal.clone(),
            Some(Fate::CopyOf(_) | Fate::NotDue(_) | Fate::Undecided) | None => exhausted(),
        };
        quarantine.push(ToQuarantine { message, found: Some(index), refusal });
    }
    Outcome::Done
}

/// The fate of `index`, or of the one that it is a copy of. `None` where there is none: then it is undecided.
fn resolved(fates: &[Fate], index: usize) -> Option<&Fate> {
    match fates.get(index) {
        Some(Fate::CopyOf(first)) => fates.get(*first),
        fate => fate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Stage;

    const FRESH: Delivery = Delivery { decoded: Decoded::Found, exhausted: false };
    const OLD: Delivery = Delivery { decoded: Decoded::Found, exhausted: true };
    const BACK: Outcome = Outcome::Return { after: None };

    fn refused() -> Fate {
        Fate::Refused(Refusal::guard(Reason::UidMissing, "x"))
    }

    /// `messages` are deliveries and the fates of their measurements; expected: outcomes, and how many are quarantined.
    fn check(messages: &[(Delivery, &[Fate])], outcomes: &[Outcome], quarantined: usize) {
        let deliveries: Vec<_> = messages.iter().map(|(delivery, _)| *delivery).collect();
        let fates: Vec<Fate> = messages.iter().flat_map(|(_, fates)| fates.iter().cloned()).collect();
        let found: Vec<_> = messages
            .iter()
            .enumerate()
            .flat_map(|(message, (_, fates))| {
                (0..fates.len()).map(move |position| Found { message, position, text: "{}", refusal: None, read: None })
            })
            .collect();
        let settled = settle(&deliveries, &found, &fates);
        assert_eq!((settled.outcomes.as_slice(), settled.quarantine.len()), (outcomes, quarantined));
        assert!(settled.accounts(&found, &deliveries, &fates).balance());
        let unwritten = settled.unwritten();
        assert!(unwritten.accounts(&found, &deliveries, &fates).balance());
        assert_eq!(unwritten.accounts(&found, &deliveries, &fates).quarantined, 0);
    }

    #[test]
    fn a_message_is_done_when_all_of_it_is_accepted_or_refused() {
        check(&[(FRESH, &[Fate::Accepted, refused(), Fate::Accepted])], &[Outcome::Done], 1);
    }

    #[test]
    fn one_undecided_measurement_returns_its_message_and_quarantines_nothing_of_it() {
        check(&[(FRESH, &[Fate::Accepted, refused(), Fate::Undecided]), (FRESH, &[refused()])], &[BACK, Outcome::Done], 1);
    }

    #[test]
    fn without_its_ledger_a_message_with_an_accepted_measurement_comes_back_and_nothing_of_it_is_quarantined() {
        let fates = [Fate::Accepted, refused(), refused(), Fate::CopyOf(0), refused()];
        let messages = [0, 0, 1, 2, 2];
        let found: Vec<_> = messages.map(|message| Found { message, position: 0, text: "{}", refusal: None, read: None }).into();
        let settled = settle(&[FRESH; 3], &found, &fates).unrecorded(&found, &fates);
        assert_eq!(settled.outcomes, [BACK, Outcome::Done, BACK]);
        assert_eq!(settled.quarantine.iter().map(|entry| entry.found).collect::<Vec<_>>(), [Some(2)]);
        assert!(settled.accounts(&found, &[FRESH; 3], &fates).balance());
    }

    #[test]
    fn the_accounts_say_what_became_of_each_message_and_each_measurement() {
        let pointer = Delivery { decoded: Decoded::Pointer, exhausted: false };
        let deliveries = [FRESH, FRESH, pointer, Delivery { exhausted: true, ..pointer }];
        let fates = [Fate::Accepted, Fate::CopyOf(0), refused(), Fate::Undecided, Fate::Accepted];
        let found: Vec<_> =
            [0, 0, 0, 1, 1].map(|message| Found { message, position: 0, text: "{}", refusal: None, read: None }).into();
        let accounts = settle(&deliveries, &found, &fates).accounts(&found, &deliveries, &fates);
        let expected =
            Accounts { received: 4, done: 2, returned: 2, found: 7, accepted: 2, collapsed: 1, quarantined: 2, unresolved: 2 };
        assert_eq!(accounts, expected);
    }

    #[test]
    fn accounts_that_miss_a_message_or_a_measurement_or_have_one_too_many_do_not_balance() {
        let right =
            Accounts { received: 3, done: 2, returned: 1, found: 14, accepted: 5, collapsed: 2, quarantined: 3, unresolved: 4 };
        assert!(right.balance());
        let with = |amend: fn(&mut Accounts) -> &mut usize| {
            [-1, 1].map(|by| {
                let mut wrong = right;
                let number = amend(&mut wrong);
                *number = number.wrapping_add_signed(by);
                wrong.balance()
            })
        };
        for amend in [
            (|it| &mut it.received) as fn(&mut Accounts) -> &mut usize,
            |it| &mut it.done,
            |it| &mut it.returned,
            |it| &mut it.found,
            |it| &mut it.accepted,
            |it| &mut it.collapsed,
            |it| &mut it.quarantined,
            |it| &mut it.unresolved,
        ] {
            assert_eq!(with(amend), [false, false]);
        }
    }

    #[test]
    fn a_copy_shares_the_fate_of_the_one_that_was_sent() {
        check(&[(FRESH, &[Fate::Undecided]), (FRESH, &[Fate::CopyOf(0)])], &[BACK, BACK], 0);
        check(&[(FRESH, &[Fate::Accepted]), (FRESH, &[Fate::CopyOf(0)])], &[Outcome::Done, Outcome::Done], 0);
        check(&[(FRESH, &[refused()]), (FRESH, &[Fate::CopyOf(0)])], &[Outcome::Done, Outcome::Done], 2);
    }

    #[test]
    fn a_measurement_ahead_of_its_time_returns_its_message_until_then() {
        let after = Some(Duration::from_millis(900));
        check(&[(FRESH, &[Fate::NotDue(500), Fate::NotDue(900), Fate::Accepted])], &[Outcome::Return { after }], 0);
        check(&[(FRESH, &[Fate::NotDue(500), Fate::Undecided])], &[BACK], 0);
    }

    #[test]
    fn an_exhausted_message_is_done_and_what_is_undecided_in_it_is_kept() {
        check(&[(OLD, &[Fate::Accepted, Fate::Undecided, refused(), Fate::NotDue(1)])], &[Outcome::Done], 3);
    }

    #[test]
    fn a_pointer_is_returned_until_exhausted_and_then_kept_whole() {
        let pointer = Delivery { decoded: Decoded::Pointer, exhausted: false };
        check(&[(pointer, &[])], &[BACK], 0);
        check(&[(Delivery { exhausted: true, ..pointer }, &[])], &[Outcome::Done], 1);
    }

    #[test]
    fn a_message_of_which_nothing_was_found_is_never_done_unless_it_is_kept_whole() {
        check(&[(FRESH, &[])], &[BACK], 0);
        check(&[(OLD, &[])], &[Outcome::Done], 1);
    }

    #[test]
    fn what_is_exhausted_counts_as_maybe_sent_whatever_it_looks_like_now() {
        for decoded in [Decoded::Pointer, Decoded::OverBudget, Decoded::Found] {
            let settled = settle(&[Delivery { decoded, exhausted: true }], &[], &[]);
            assert_eq!(settled.quarantine.first().map(|entry| entry.refusal.stage), Some(Stage::Submit), "{decoded:?}");
        }
    }
}
