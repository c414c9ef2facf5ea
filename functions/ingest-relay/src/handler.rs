//! One invocation: the event in, the walk, the answer out.

use std::io::Write;

use bumpalo::Bump;
use m3ter_client::Clock;
use relay::brake::brake;
use relay::{Invocation, Queue, Relay};
use relay_core::inbound::Inbound;
use relay_core::settle::Outcome;
use serde::Serialize;

use crate::event::{self, NotAnSqsEvent};
use crate::metrics;

/// The function. One per process.
pub struct Function {
    /// The walk.
    pub relay: Relay,
    /// The brake's way out.
    pub queue: Box<dyn Queue>,
    /// The dimension of the metrics.
    pub name: String,
}

/// What Lambda says of an invocation.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Its id.
    pub request_id: &'a str,
    /// When it must be over: milliseconds since the epoch.
    pub deadline_ms: i64,
    /// X-Ray's trace header, where there is one.
    pub trace: Option<&'a str>,
    /// Now: milliseconds since the epoch.
    pub now_ms: i64,
}

/// The answer that Lambda expects with `ReportBatchItemFailures`: the messages that stay in the queue. Every other is deleted.
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

impl Function {
    /// Handles one event. Writes the lines that close its accounts to `log`.
    pub async fn handle(
        &self,
        event: &str,
        call: Call<'_>,
        rng: &mut fastrand::Rng,
        log: &mut dyn Write,
    ) -> Result<Answer, HandlerError> {
        let arena = Bump::new();
        let clock = Clock::starting_at(call.now_ms);
        let budget = clock.budget(call.deadline_ms);
        let messages = event::messages(event, &arena)?;
        let invocation = Invocation {
            id: call.request_id,
            messages: &messages,
            clock,
            budget,
            traceparent: traceparent(call.trace, call.request_id),
            rng: rng.fork(),
        };
        let walked = self.relay.walk(invocation, &arena).await;
        let answer = answer(&messages, &walked.outcomes);
        let braked = brake(self.queue.as_ref(), &messages, &walked.outcomes, budget, rng).await;
        let took_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        let about = metrics::Invocation { function: &self.name, request_id: call.request_id, now_ms: clock.now_ms(), took_ms };
        // A log that cannot be written must not cost the messages.
        let _ = log.write_all(metrics::lines(about, &walked.report, braked).as_bytes());
        answer
    }
}

/// Names what stays, each id once: SQS may deliver a message twice in one event.
fn answer(messages: &[Inbound<'_>], outcomes: &[Outcome]) -> Result<Answer, HandlerError> {
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

/// W3C trace context from X-Ray's, or a trace of its own made from the id of the invocation, so that all requests of one
/// invocation can be told together.
fn traceparent(trace: Option<&str>, request_id: &str) -> Option<String> {
    let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let part = |name: &str| trace?.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let root =
        part("Root").and_then(|root| root.strip_prefix("1-")).map(|root| root.replace('-', "")).filter(|root| hex(root, 32));
    let own = || Some(request_id.replace('-', "").to_ascii_lowercase()).filter(|id| hex(id, 32));
    let trace_id = root.clone().or_else(own)?;
    let span = part("Parent").filter(|parent| root.is_some() && hex(parent, 16)).unwrap_or(trace_id.get(..16)?);
    let sampled = if part("Sampled") == Some("1") { "01" } else { "00" };
    Some(format!("00-{trace_id}-{span}-{sampled}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Inbound<'_> {
        Inbound {
            id,
            handle: "h",
            body: "",
            attributes: Vec::new(),
            receives: 1,
            sent_at_ms: None,
            first_received_at_ms: None,
            source: "q",
        }
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

    #[test]
    fn the_trace_of_x_ray_goes_on() {
        let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let expected = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
        assert_eq!(traceparent(Some(trace), "x").as_deref(), Some(expected));
    }

    #[test]
    fn without_one_the_invocation_makes_its_own() {
        let id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";
        let expected = "00-8476a536e9f411e897392dfe598c3fcd-8476a536e9f411e8-00";
        assert_eq!(traceparent(None, id).as_deref(), Some(expected));
        assert_eq!(traceparent(Some("Root=odd"), id).as_deref(), Some(expected));
        assert_eq!(traceparent(None, "odd"), None);
    }
}
