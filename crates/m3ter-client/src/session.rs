//! One invocation of the client: its time, its jitter, its counts.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use relay_core::judge::Turndown;

use crate::client::Client;
use crate::clock::{Budget, Clock};
use crate::token::NoToken;

/// What became of a batch that was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// m3ter took it.
    Accepted,
    /// m3ter turned it down, perhaps for its data: [`Session::accepted_under`] is the evidence.
    Refused {
        /// What m3ter said.
        turndown: Turndown,
        /// Under which token.
        generation: u64,
    },
    /// It may or may not have been taken, or it was not sent: it goes back to the queue.
    Undecided(Undecided),
}

/// A batch that was submitted: what became of it, and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What became of it.
    pub submitted: Submitted,
    /// Requests that held it.
    pub attempts: u32,
    /// When the first of them was sent, in milliseconds since the epoch.
    pub first_at_ms: Option<i64>,
    /// Whether one of them may have been taken, though its answer does not say so.
    pub maybe_taken: bool,
}

/// Why a batch is undecided. What it means for its measurements is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// The fault is ours: credentials, host, permission.
    GiveUp,
    /// No answer, or one that cannot be m3ter's.
    Unknown,
    /// m3ter asked for patience, or time ran out.
    Later,
}

/// What happened in a session, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests, those for a token aside.
    pub attempts: u64,
    /// Answers 429.
    pub throttled: u64,
    /// Answers 408, 409 and 5xx, to a batch or to the request for a token.
    pub server_faults: u64,
    /// Times that the secret could not be read, whatever the cause.
    pub secret_failures: u64,
    /// Attempts without an answer, or with one that cannot be m3ter's.
    pub unknown_answers: u64,
    /// Batches given up for a fault of ours.
    pub give_ups: u64,
    /// Time from request to answer of each attempt that was answered, in milliseconds.
    pub latencies_ms: Vec<u64>,
}

/// One invocation of a [`Client`].
pub struct Session<'c> {
    pub(crate) client: &'c Client,
    pub(crate) clock: Clock,
    pub(crate) budget: Budget,
    pub(crate) traceparent: Option<String>,
    pub(crate) credentials_refused: Cell<bool>,
    pub(crate) secret_reread: Cell<bool>,
    /// The token that was fetched in this session because another had been refused.
    pub(crate) fresh_generation: Cell<u64>,
    pub(crate) counts: RefCell<Counts>,
    rng: RefCell<fastrand::Rng>,
}

impl<'c> Session<'c> {
    pub(crate) fn new(client: &'c Client, clock: Clock, budget: Budget, traceparent: Option<String>, rng: fastrand::Rng) -> Self {
        Session {
            client,
            clock,
            budget,
            traceparent,
            credentials_refused: Cell::new(false),
            secret_reread: Cell::new(false),
            fresh_generation: Cell::new(0),
            counts: RefCell::new(Counts::default()),
            rng: RefCell::new(rng),
        }
    }

    /// Gets a token now, so that the first batch need not wait for it. Whatever goes wrong is met again by that batch.
    pub async fn warm_up(&self) {
        match self.token(None).await {
            Ok(_) | Err(NoToken::Retry | NoToken::Undecided(_)) => {}
        }
    }

    /// Whether m3ter accepted something under this token, in this invocation or within the last 15 minutes.
    pub fn accepted_under(&self, generation: u64) -> bool {
        self.evidence() == Some(generation)
    }

    /// The token under which m3ter accepted something, in this invocation or within the last 15 minutes.
    pub fn evidence(&self) -> Option<u64> {
        self.client.evidence(self.clock.now_ms())
    }

    /// Whether another attempt could still be made.
    pub fn has_time(&self) -> bool {
        self.clock.instant() + self.least_attempt() <= self.budget.submit_until
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// The least time in which a first attempt is worth making: half of a whole one.
    pub(crate) fn least_attempt(&self) -> Duration {
        self.budget.attempt / 2
    }

    pub(crate) fn uniform(&self) -> f64 {
        self.rng.borrow_mut().f64()
    }
}
