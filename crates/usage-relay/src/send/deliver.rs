//! Delivers batches of messages: several at once, each entry's answer read, what failed sent again.
//!
//! This is the command line's attempt loop. An entry that was not taken, for whatever reason, is sent again with its
//! siblings that failed too; those that were taken are not. A call without an answer may have put its messages on the
//! queue all the same, so another attempt can make a second copy of a message: harmless, because every measurement
//! in it keeps its uid.
//!
//! Order between messages is not kept; m3ter needs none, since timestamps carry it.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::pack::Message;
use crate::clock;
use crate::failure::Failure;
use crate::queue::{Answer, CallFault, Outgoing, Queue};
use crate::terminal::Progress;

/// Batches under way at once. One batch takes 10 to 50 ms, so eight carry over 1,000 messages a second.
const IN_FLIGHT_MAX: usize = 8;
/// Attempts at a message, the first included: 6.2 s of waiting in all, longer than a throttled second or a fail-over.
const ATTEMPTS_MAX: u32 = 6;
/// The wait before the second attempt, in milliseconds; it doubles each time.
const BACKOFF_FIRST_MS: u64 = 200;

/// What became of everything handed over.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// Measurements in messages that the queue has taken.
    pub(crate) measurements: u64,
    /// Messages that the queue has taken.
    pub(crate) messages: u64,
    /// Entries that were sent again.
    pub(crate) retried: u64,
    /// Message number and message id of each message taken, in no order.
    pub(crate) taken: Vec<(u64, String)>,
    /// Why it ended early, if it did.
    pub(crate) failure: Option<Failure>,
}

/// Sends what `batches` yields until it ends or a batch fails for good; what is under way then is still brought home.
pub(crate) async fn deliver(queue: &Queue, mut batches: Receiver<Vec<Message>>, progress: &Progress) -> Delivery {
    let mut delivery = Delivery::default();
    let mut in_flight: JoinSet<Delivery> = JoinSet::new();
    let mut is_open = true;
    let mut number = 0;
    while is_open || !in_flight.is_empty() {
        tokio::select! {
            batch = batches.recv(), if is_open && in_flight.len() < IN_FLIGHT_MAX => match batch {
                Some(batch) => {
                    let queue = queue.clone();
                    in_flight.spawn(async move { deliver_batch(&queue, batch, number).await });
                    number += 1;
                }
                None => is_open = false,
            },
            Some(outcome) = in_flight.join_next() => {
                delivery.add(outcome.unwrap_or_else(|error| Delivery::failed(Failure::CouldNot(error.to_string()))));
                progress.set(delivery.measurements);
                if delivery.failure.is_some() && is_open {
                    batches.close();
                    is_open = false;
                }
            }
        }
    }
    delivery
}

impl Delivery {
    fn failed(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }

    fn add(&mut self, batch: Self) {
        self.measurements += batch.measurements;
        self.messages += batch.messages;
        self.retried += batch.retried;
        self.taken.extend(batch.taken);
        self.failure = self.failure.take().or(batch.failure);
    }
}

async fn deliver_batch(queue: &Queue, mut pending: Vec<Message>, number: u64) -> Delivery {
    let mut delivery = Delivery::default();
    let mut said = String::new();
    for attempt in 1..=ATTEMPTS_MAX {
        if attempt > 1 {
            clock::pause(backoff(attempt, number)).await;
            delivery.retried += pending.len() as u64;
        }
        let outgoing = |message: &Message| Outgoing { body: message.body.clone(), attributes: message.attributes.clone() };
        let answers = match queue.send(pending.iter().map(outgoing).collect()).await {
            Ok(answers) => answers,
            Err(CallFault::Passing(text)) => {
                said = text;
                continue;
            }
            Err(CallFault::Lasting(text)) => {
                delivery.failure = Some(Failure::CouldNot(format!("cannot send to the queue: {text}")));
                return delivery;
            }
        };
        let mut again = Vec::new();
        for (message, answer) in pending.into_iter().zip(answers) {
            match answer {
                Answer::Taken { message_id } => {
                    delivery.measurements += message.measurements;
                    delivery.messages += 1;
                    delivery.taken.push((message.number, message_id));
                }
                Answer::Again { code } => {
                    said = code;
                    again.push(message);
                }
                Answer::Refused { code } => {
                    let text = format!("the queue refused the message that begins at {}: {code}", message.origin);
                    delivery.failure = Some(Failure::Data(text));
                }
            }
        }
        pending = again;
        if pending.is_empty() {
            return delivery;
        }
    }
    let text = format!("the queue did not take {} of a batch in {ATTEMPTS_MAX} attempts: {said}", pending.len());
    delivery.failure = delivery.failure.take().or(Some(Failure::CouldNot(text)));
    delivery
}

/// The wait before `attempt` (from 2): doubling, and between half and all of it by batch, so that batches which failed
/// together do not return together. Spread by number, not by chance: a run can be repeated.
fn backoff(attempt: u32, number: u64) -> Duration {
    let full = BACKOFF_FIRST_MS << attempt.saturating_sub(2);
    let eighths = 4 + number % 5;
    Duration::from_millis(full * eighths / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_is_spread_between_half_and_all() {
        let of = |attempt, number| backoff(attempt, number).as_millis();
        assert_eq!([of(2, 0), of(2, 1), of(2, 4), of(2, 5)], [100, 125, 200, 100]);
        assert_eq!([of(3, 4), of(4, 4), of(6, 4)], [400, 800, 3_200]);
    }
}
