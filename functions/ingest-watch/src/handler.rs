//! One invocation: a look at the quarantine, what it found as metrics, the answer out.
//!
//! The rule: what could not be looked at is not nothing. A look that fails, or has not ended two seconds before the deadline, is
//! an error and no count at all; Lambda asks for it again within minutes, and the schedule within the hour.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use lambda_shell::{Call, line};
use relay_store::Store;
use tokio::time::{Instant, timeout};

use crate::look::{Counts, LookError, look};
use crate::metrics;

/// Kept for the answer; of a short invocation a tenth.
const RESERVE: Duration = Duration::from_secs(2);

/// The function. One per process.
#[derive(Debug)]
pub struct Function {
    /// Where the quarantine is.
    pub store: Store,
    /// The dimension of the metrics.
    pub name: String,
}

impl Function {
    /// Looks once, whatever the event that asked for it. Writes what it found to `log`.
    ///
    /// # Errors
    /// [`LookError`] if it could not look, or not in time.
    pub async fn handle(&self, call: Call<'_>, log: &mut dyn Write) -> Result<Counts, LookError> {
        let (began, within) = (Instant::now(), time_to_look(&call));
        let late = |_| Err(LookError::TimeUp { within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX) });
        let looked = timeout(within, look(&self.store, call.now_ms)).await.unwrap_or_else(late);
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now_ms = call.now_ms.saturating_add_unsigned(took_ms);
        let about = line::Invocation { function: &self.name, request_id: call.request_id, now_ms, took_ms };
        let mut lines = metrics::lines(about, looked.as_ref().ok());
        if let Err(error) = &looked {
            lines.push_str(&line::plain(now_ms, "error", "the look failed", &chain(error)));
        }
        // A log that cannot be written must not cost the answer.
        let _ = log.write_all(lines.as_bytes());
        looked
    }
}

/// All but what is kept for the answer.
fn time_to_look(call: &Call<'_>) -> Duration {
    let whole = Duration::from_millis(u64::try_from(call.deadline_ms.saturating_sub(call.now_ms)).unwrap_or(0));
    whole.saturating_sub(RESERVE.min(whole / 10))
}

/// An error with what caused it: the store's own words tell a missing permission from an outage.
fn chain(error: &LookError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
