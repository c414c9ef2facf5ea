//! The answer to an event of SQS: the messages that stay in the queue. Lambda deletes every other, and takes an answer that it
//! cannot read, or a list that is missing, for none that stay.

use relay_core::inbound::Inbound;
use relay_core::settle::Outcome;
use serde::Serialize;

use crate::event::NotAnSqsEvent;

/// The answer that Lambda expects with `ReportBatchItemFailures`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Always there: without it Lambda deletes everything.
    #[serde(rename = "batchItemFailures")]
    pub failures: Vec<Failure>,
}

/// A message that stays.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Failure {
    /// Its id.
    #[serde(rename = "itemIdentifier")]
    pub id: String,
}

/// The invocation fails, and all its messages stay in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// The event is of another kind.
    #[error(transparent)]
    Event(#[from] NotAnSqsEvent),
    /// A message that must stay has no id to say so by.
    #[error("expected every message to have a messageId")]
    NoMessageId,
}

/// Names what stays, each id once: SQS may deliver a message twice in one event. A message without an outcome stays.
pub fn answer(messages: &[Inbound<'_>], outcomes: &[Outcome]) -> Result<Answer, HandlerError> {
    let mut failures = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        match outcomes.get(place) {
            Some(Outcome::Done) => {}
            Some(Outcome::Return { .. }) | None if message.id.is_empty() => return Err(HandlerError::NoMessageId),
            Some(Outcome::Return { .. }) | None => failures.push(Failure { id: message.id.to_owned() }),
        }
    }
    failures.sort_unstable();
    failures.dedup();
    Ok(Answer { failures })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Inbound<'_> {
        Inbound { id, handle: "h", source: "q", ..Inbound::default() }
    }

    const BACK: Outcome = Outcome::Return { after: None };

    #[test]
    fn what_stays_is_named_once_even_if_it_came_twice() {
        let messages = [message("b"), message("a"), message("b"), message("c")];
        let answer = answer(&messages, &[BACK, Outcome::Done, Outcome::Done, BACK]).unwrap();
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"c"}]}"#
        );
    }

    #[test]
    fn an_answer_without_failures_still_has_the_list() {
        assert_eq!(serde_json::to_string(&answer(&[], &[]).unwrap()).unwrap(), r#"{"batchItemFailures":[]}"#);
    }

    #[test]
    fn a_message_that_must_stay_and_has_no_id_fails_the_invocation() {
        assert_eq!(answer(&[message("")], &[BACK]), Err(HandlerError::NoMessageId));
        assert_eq!(answer(&[message("a")], &[]).map(|answer| answer.failures.len()), Ok(1));
        assert!(answer(&[message("")], &[Outcome::Done]).is_ok());
    }
}
