//! The brake: when returned messages are delivered again.
//!
//! Lambda does not slow down when a function returns messages. The queue's visibility timeout, of about six minutes, does;
//! the brake makes it shorter for the first receives, since most troubles pass soon, and longer for late ones, so that days
//! of outage do not use up the receives that the queue allows. It is the last thing an invocation does, and best effort:
//! without it a message comes back when the queue's own timeout ends.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use m3ter_client::Budget;
use relay_core::backoff::before_delivery;
use relay_core::inbound::Inbound;
use relay_core::limits::{BRAKE_LONG_S, BRAKE_SHORTEN_MESSAGES_MAX, BRAKE_SHORTEN_TO};
use relay_core::settle::Outcome;
use tokio::time::timeout_at;

use crate::queue::{DELAYS_MAX, Delay, Queue};

/// Calls at the same time.
const CALLS: usize = 8;

/// What the brake did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Braked {
    /// Deliveries that the queue delayed.
    pub delayed: u64,
    /// Deliveries that it did not, or did not say so.
    pub failed: u64,
}

/// Delays what is returned, until `budget` says to stop.
pub async fn brake(
    queue: &dyn Queue,
    messages: &[Inbound<'_>],
    outcomes: &[Outcome],
    budget: Budget,
    rng: &mut fastrand::Rng,
) -> Braked {
    let delays = plan(messages, outcomes, || rng.f64());
    let mut braked = Braked { delayed: 0, failed: delays.len() as u64 };
    let calls = stream::iter(delays.chunks(DELAYS_MAX)).map(|chunk| queue.delay(chunk)).buffer_unordered(CALLS);
    let mut calls = std::pin::pin!(calls);
    while let Ok(Some(answers)) = timeout_at(budget.brake_until, calls.next()).await {
        let delayed = answers.into_iter().filter(|delayed| *delayed).count() as u64;
        braked.delayed += delayed;
        braked.failed = braked.failed.saturating_sub(delayed);
    }
    braked
}

/// Which deliveries to delay, and for how long. The first receives come first, and of them so many as a minute's requests allow.
fn plan(messages: &[Inbound<'_>], outcomes: &[Outcome], mut uniform: impl FnMut() -> f64) -> Vec<Delay> {
    let (mut sooner, mut later) = (Vec::new(), Vec::new());
    for (message, outcome) in messages.iter().zip(outcomes) {
        let Outcome::Return { after } = outcome else { continue };
        let seconds = match after {
            Some(after) => Some(whole_seconds(*after).min(BRAKE_LONG_S)),
            None => before_delivery(message.receives, uniform()),
        };
        // SQS would turn down the whole call for one delivery without a handle.
        let Some(seconds) = seconds.filter(|_| !message.handle.is_empty()) else { continue };
        let delay = Delay { handle: message.handle.to_owned(), seconds };
        match after.is_some() || message.receives <= BRAKE_SHORTEN_TO {
            true => sooner.push(delay),
            false => later.push(delay),
        }
    }
    sooner.truncate(BRAKE_SHORTEN_MESSAGES_MAX);
    later.extend(sooner);
    later
}

fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(receives: u32) -> Inbound<'static> {
        Inbound { id: "m", handle: "h", receives, source: "q", ..Inbound::default() }
    }

    fn check(deliveries: &[(u32, Outcome)], expected: &[u32]) {
        let messages: Vec<_> = deliveries.iter().map(|(receives, _)| message(*receives)).collect();
        let outcomes: Vec<_> = deliveries.iter().map(|(_, outcome)| *outcome).collect();
        let seconds: Vec<u32> = plan(&messages, &outcomes, || 1.0).into_iter().map(|delay| delay.seconds).collect();
        assert_eq!(seconds, expected);
    }

    const BACK: Outcome = Outcome::Return { after: None };

    #[test]
    fn what_is_done_and_the_middle_receives_are_left_alone() {
        check(&[(1, Outcome::Done), (5, BACK), (6, BACK)], &[]);
    }

    #[test]
    fn late_receives_are_braked_before_early_ones_are_hurried() {
        check(&[(1, BACK), (7, BACK), (2, BACK)], &[900, 10, 20]);
    }

    #[test]
    fn a_measurement_ahead_of_its_time_is_delivered_when_it_is_due() {
        check(&[(9, Outcome::Return { after: Some(Duration::from_millis(61_001)) })], &[62]);
    }

    #[test]
    fn a_delivery_without_a_handle_is_not_asked_for_since_it_would_cost_the_others_of_its_call() {
        let message = Inbound { handle: "", ..message(1) };
        assert_eq!(plan(&[message], &[BACK], || 1.0), []);
    }

    #[test]
    fn at_most_500_are_hurried() {
        assert_eq!(plan(&[], &[], || 1.0).len(), 0);
        check(&[(1, BACK); 600], &[10; BRAKE_SHORTEN_MESSAGES_MAX]);
    }
}
