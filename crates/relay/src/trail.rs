//! What each measurement took part in: the requests that held it, and whether m3ter has it for all that they say.

use m3ter_client::{Submitted, Tried};
use relay_store::LedgerAnswer;

/// The part that one measurement had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The batch it was accepted in, else the last that held it; numbered from 1.
    pub(crate) batch: u32,
    /// When the first request with it was sent: milliseconds since the epoch.
    pub(crate) sent_at_ms: i64,
    /// Requests that held it.
    pub(crate) attempts: u32,
    /// `None` if every answer said that m3ter did not take it.
    pub(crate) answer: Option<LedgerAnswer>,
}

/// The parts of all measurements of an invocation, by index.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    parts: Vec<Option<Part>>,
    batches: u32,
}

impl Trail {
    /// For so many measurements, none of which was sent.
    pub(crate) fn new(measurements: usize) -> Trail {
        Trail { parts: vec![None; measurements], batches: 0 }
    }

    /// The number of the next batch, from 1.
    pub(crate) fn number(&mut self) -> u32 {
        self.batches = self.batches.saturating_add(1);
        self.batches
    }

    /// Notes what became of the batch of that number.
    pub(crate) fn note(&mut self, number: u32, members: &[usize], tried: &Tried) {
        // Without an attempt nothing was sent.
        let Some(first_at_ms) = tried.first_at_ms else { return };
        let answer = match tried.submitted {
            Submitted::Accepted => Some(LedgerAnswer::Accepted),
            Submitted::Refused { .. } | Submitted::Undecided(_) => tried.maybe_taken.then_some(LedgerAnswer::Unknown),
        };
        for member in members {
            let Some(part) = self.parts.get_mut(*member) else { continue };
            let part = part.get_or_insert(Part { batch: number, sent_at_ms: first_at_ms, attempts: 0, answer: None });
            part.sent_at_ms = part.sent_at_ms.min(first_at_ms);
            part.attempts = part.attempts.saturating_add(tried.attempts);
            if part.answer != Some(LedgerAnswer::Accepted) {
                part.batch = number;
                part.answer = answer.or(part.answer);
            }
        }
    }

    /// The part of each measurement that was sent and may be with m3ter, in order, with its answer.
    pub(crate) fn answered(&self) -> impl Iterator<Item = (usize, Part, LedgerAnswer)> + '_ {
        self.parts.iter().enumerate().filter_map(|(index, part)| {
            let part = (*part)?;
            Some((index, part, part.answer?))
        })
    }
}

#[cfg(test)]
mod tests {
    use m3ter_client::Undecided;

    use super::*;

    fn tried(submitted: Submitted, attempts: u32, at_ms: i64, maybe_taken: bool) -> Tried {
        Tried { submitted, attempts, first_at_ms: (attempts > 0).then_some(at_ms), maybe_taken }
    }

    const LATER: Submitted = Submitted::Undecided(Undecided::Later);
    const ACCEPTED: Option<LedgerAnswer> = Some(LedgerAnswer::Accepted);
    const UNKNOWN: Option<LedgerAnswer> = Some(LedgerAnswer::Unknown);

    #[test]
    fn an_acceptance_stays_whatever_comes_later_and_an_unknown_answer_until_it_is_accepted() {
        let mut trail = Trail::new(3);
        trail.note(1, &[0, 1, 2], &tried(LATER, 2, 10, true));
        trail.note(2, &[0], &tried(Submitted::Accepted, 1, 20, false));
        trail.note(3, &[1], &tried(LATER, 1, 30, false));
        trail.note(4, &[0], &tried(LATER, 1, 40, true));
        let part = |batch, attempts, answer| Part { batch, sent_at_ms: 10, attempts, answer };
        assert_eq!(trail.parts, [Some(part(2, 4, ACCEPTED)), Some(part(3, 3, UNKNOWN)), Some(part(1, 2, UNKNOWN))]);
    }

    #[test]
    fn what_was_not_sent_or_certainly_not_taken_has_no_answer() {
        let mut trail = Trail::new(2);
        trail.note(1, &[0, 7], &tried(LATER, 0, 10, false));
        trail.note(2, &[1], &tried(LATER, 1, 10, false));
        assert_eq!(trail.parts[0], None);
        assert_eq!(trail.answered().count(), 0);
    }

    #[test]
    fn batches_are_numbered_from_one() {
        let mut trail = Trail::new(0);
        assert_eq!([trail.number(), trail.number()], [1, 2]);
    }
}
