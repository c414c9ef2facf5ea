//! One invocation: a round of the job, what it came to as metrics, the answer out.
//!
//! The rule: what could not be looked at is not nothing. A part that failed, or had no time, says no count at all, and fails the
//! invocation: Lambda asks for it again within minutes, and so does the schedule.

use std::error::Error;
use std::io::Write;

use lambda_shell::{Call, line};
use m3ter_client::{Client, Clock};
use relay_store::{LedgerMode, Store, StoreError};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use watch::counts::Counts;
use watch::look;
use watch::round::{Job, Round, Times};

use crate::metrics;

/// The function. One per process.
#[derive(Debug)]
pub struct Function {
    /// The way to m3ter.
    pub client: Client,
    /// Where ledger and quarantine are.
    pub store: Store,
    /// What the relay's ledger keeps.
    pub ledger: LedgerMode,
    /// The dimension of the metrics.
    pub name: String,
}

/// What an invocation answers.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// What was done about m3ter's events.
    #[serde(flatten)]
    pub counts: Counts,
    /// Whether all of them were looked at that were due.
    pub is_whole: bool,
    /// What is open in the quarantine, if that was due.
    pub looked: Option<look::Counts>,
}

/// Why an invocation failed.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// It cannot be read where the last one ended.
    #[error("expected the store to show where the last round ended")]
    Store(#[from] StoreError),
    /// Time was up.
    #[error("expected the round to end in the time there was")]
    TimeUp,
    /// Parts of it failed: the log says which, and why.
    #[error("these parts of the round failed: {0}")]
    Parts(String),
}

impl Function {
    /// Does one round, whatever the event that asked for it. Writes what it came to to `log`.
    ///
    /// # Errors
    /// [`RoundError`] if any part of it failed, or not all of it was done in time.
    pub async fn handle(&self, call: Call<'_>, rng: fastrand::Rng, log: &mut dyn Write) -> Result<Answer, RoundError> {
        let began = Instant::now();
        let clock = Clock::starting_at(call.now_ms);
        let budget = clock.budget(call.deadline_ms);
        let times = Times::of(began, &budget);
        let m3ter = self.client.session(clock, budget, None, rng);
        let job = Job { store: &self.store, ledger: self.ledger, name: call.request_id, now_ms: call.now_ms, times };
        let round = timeout_at(budget.brake_until, job.round(&m3ter)).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now_ms = clock.now_ms();
        let about = line::Invocation { function: &self.name, request_id: call.request_id, now_ms, took_ms };
        let (round, error) = match round {
            Ok(Ok(round)) => (Some(round), None),
            Ok(Err(error)) => (None, Some(RoundError::Store(error))),
            Err(_) => (None, Some(RoundError::TimeUp)),
        };
        let mut lines = metrics::lines(about, round.as_ref());
        for (part, error) in round.iter().flat_map(Round::failures) {
            lines.push_str(&line::plain(now_ms, "error", &format!("{part} failed"), &chain(error)));
        }
        if let Some(error) = &error {
            lines.push_str(&line::plain(now_ms, "error", "the round failed", &chain(error)));
        }
        // A log that cannot be written must not cost the answer.
        let _ = log.write_all(lines.as_bytes());
        match (round, error) {
            (_, Some(error)) => Err(error),
            (None, None) => Err(RoundError::TimeUp),
            (Some(round), None) => answer(round),
        }
    }
}

fn answer(round: Round) -> Result<Answer, RoundError> {
    let failed: Vec<&str> = round.failures().into_iter().map(|(part, _)| part).collect();
    match (round.passed, failed.is_empty()) {
        (Ok(passed), true) => {
            let looked = round.looked.and_then(Result::ok);
            Ok(Answer { counts: round.counts, is_whole: passed.is_whole, looked })
        }
        (_, _) => Err(RoundError::Parts(failed.join(", "))),
    }
}

/// An error with what caused it: the store's own words tell a missing permission from an outage.
fn chain(error: &dyn Error) -> String {
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
