//! One invocation: the event in, one object of the quarantine, the answer out.
//!
//! The rule: a message leaves the dead-letter queue only when the store has said that it has it. No answer, a late one, and an
//! error are the same: the messages stay, and may be stored again, which is harmless, since an entry's id stays the same.

use std::io::Write;
use std::time::Duration;

use bumpalo::Bump;
use lambda_shell::answer::{Answer, HandlerError, answer};
use lambda_shell::{Call, event, line};
use relay_core::guard::FirstSent;
use relay_core::inbound::Inbound;
use relay_core::limits::{BRAKE_CUT_OFF, FULL_TIMEOUT};
use relay_core::reason::{Reason, Stage};
use relay_core::settle::Outcome;
use relay_store::{EntryText, NewEntry, Store};
use tokio::time::Instant;

use crate::metrics::{self, Report};

/// The position of an entry that is a whole message: one that no measurement has.
///
/// Not 0, though that is where a message begins: the relay may have quarantined the measurement there before the queue gave
/// the message up. Entries are known by queue, message and position, so the whole message would pass for that one
/// measurement, and what else is in it would be lost.
pub const WHOLE_MESSAGE: usize = u32::MAX as usize;

/// What is said of every message.
const DETAIL: &str = "expected an invocation to settle the message before the queue gave it up";

/// The function. One per process.
#[derive(Debug)]
pub struct Function {
    /// Where the quarantine is.
    pub store: Store,
    /// The dimension of the metrics.
    pub name: String,
}

impl Function {
    /// Handles one event. Writes the line that closes its accounts to `log`.
    pub async fn handle(&self, event: &str, call: Call<'_>, log: &mut dyn Write) -> Result<Answer, HandlerError> {
        let (arena, began) = (Bump::new(), Instant::now());
        let messages = event::dead_letters(event, &arena)?;
        let entries = messages.iter().enumerate().map(|(place, message)| entry(message, name(message, place, &call, &arena)));
        let stored = self.store.quarantine(call.request_id, call.now_ms, entries, began + time_to_store(&call)).await.is_ok();

        let outcome = if stored { Outcome::Done } else { Outcome::Return { after: None } };
        let answer = answer(&messages, &vec![outcome; messages.len()]);
        let took = began.elapsed();
        let now_ms = call.now_ms.saturating_add(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let about = line::Invocation { function: &self.name, request_id: call.request_id, now_ms, took_ms };
        let age = |message: &Inbound<'_>| message.sent_at_ms.map(|sent_at_ms| now_ms.saturating_sub(sent_at_ms).max(0));
        let report = Report { received: messages.len(), stored, lag_ms: messages.iter().filter_map(age).max() };
        // A log that cannot be written must not cost the messages.
        let _ = log.write_all(metrics::lines(about, report).as_bytes());
        answer
    }
}

/// The whole message, as it came. How far an invocation came with it is not known, so it counts as sent.
fn entry<'a>(message: &Inbound<'a>, name: &'a str) -> NewEntry<'a> {
    NewEntry {
        qid: None,
        uid: None,
        reason: Reason::DeliveryExhausted.name(),
        detail: DETAIL,
        stage: Stage::Delivery.name(),
        first_sent_at_ms: Some(FirstSent::of(message).at_ms()),
        message_id: name,
        position: WHOLE_MESSAGE,
        source: message.source,
        attributes: message.attributes.clone(),
        queued_at_ms: message.sent_at_ms,
        first_received_at_ms: message.first_received_at_ms,
        receives: message.receives,
        origin: message.origin(),
        text: EntryText::Body(message.body),
    }
}

/// The message's id. One without any, which SQS never delivers, gets a name of its own: two of them must not pass for one.
fn name<'a>(message: &Inbound<'a>, place: usize, call: &Call<'_>, arena: &'a Bump) -> &'a str {
    match message.id {
        "" => arena.alloc_str(&format!("{}-{place}", call.request_id)),
        id => id,
    }
}

/// How long the store may take: all of the invocation but 2 s of 60 for the answer, and as large a part of a shorter one.
fn time_to_store(call: &Call<'_>) -> Duration {
    let whole = Duration::from_millis(u64::try_from(call.deadline_ms.saturating_sub(call.now_ms)).unwrap_or(0));
    let share = (whole.as_secs_f64() / FULL_TIMEOUT.as_secs_f64()).min(1.0);
    whole.saturating_sub(BRAKE_CUT_OFF.mul_f64(share))
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
