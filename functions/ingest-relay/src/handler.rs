//! One invocation: the event in, the walk, the answer out.

use std::io::Write;

use bumpalo::Bump;
use lambda_shell::answer::{Answer, HandlerError, answer};
use lambda_shell::{Call, event, line};
use m3ter_client::Clock;
use relay::brake::brake;
use relay::{Invocation, Queue, Relay};

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
        let about = line::Invocation { function: &self.name, request_id: call.request_id, now_ms: clock.now_ms(), took_ms };
        // A log that cannot be written must not cost the messages.
        let _ = log.write_all(metrics::lines(about, &walked.report, braked).as_bytes());
        answer
    }
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
