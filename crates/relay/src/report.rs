//! The counts of one invocation: numbers and message ids only, never what a message holds.

use std::collections::BTreeMap;

use m3ter_client::Counts;
use relay_core::decode::Decoded;
use relay_core::inbound::Inbound;
use relay_core::reason::Reason;
use relay_core::settle::{Accounts, Outcome, Settled};
use relay_store::StoreError;

use crate::preflight::FindingCounts;
use crate::submit::Flown;
use crate::walk::Seen;

/// What happened in one invocation.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Messages and measurements, each somewhere once.
    pub accounts: Accounts,
    /// Whether they balance. If not, everything was returned.
    pub balanced: bool,
    /// Quarantined, by reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// Batches as packed.
    pub batches: u64,
    /// Measurements in them.
    pub batched: u64,
    /// Batches turned down without evidence that data is to blame.
    pub unproven: u64,
    /// What the client counted.
    pub client: Counts,
    /// Messages whose body lies in S3, returned.
    pub pointers: u64,
    /// Messages returned because they would inflate beyond what an invocation may hold.
    pub over_budget: u64,
    /// What the catalogue found.
    pub preflight: FindingCounts,
    /// Lines written to the ledger.
    pub recorded: u64,
    /// Accepted measurements whose lines could not be written.
    pub unrecorded: u64,
    /// Whether the store did all that was asked of it; false also while nothing is submitted because of it.
    pub store_ok: bool,
    /// Age of the oldest message since it was sent, in milliseconds.
    pub lag_ms: Option<i64>,
    /// The same of the oldest that is returned.
    pub oldest_returned_ms: Option<i64>,
}

impl Report {
    pub(crate) fn new(seen: Seen<'_, '_>, settled: &Settled, outcomes: &[Outcome], accounts: Accounts, now_ms: i64) -> Report {
        let mut reasons = BTreeMap::new();
        for kept in &settled.quarantine {
            *reasons.entry(kept.refusal.reason).or_insert(0) += 1;
        }
        let count = |kind: Decoded| seen.decoded.iter().filter(|decoded| **decoded == kind).count() as u64;
        let age = |message: &Inbound<'_>| message.sent_at_ms.map(|sent_at_ms| now_ms.saturating_sub(sent_at_ms).max(0));
        let returned = |(message, outcome): (&Inbound<'_>, &Outcome)| match outcome {
            Outcome::Return { .. } => age(message),
            Outcome::Done => None,
        };
        Report {
            balanced: accounts.balance(),
            accounts,
            reasons,
            pointers: count(Decoded::Pointer),
            over_budget: count(Decoded::OverBudget),
            lag_ms: seen.messages.iter().filter_map(age).max(),
            oldest_returned_ms: seen.messages.iter().zip(outcomes).filter_map(returned).max(),
            ..Report::default()
        }
    }

    /// Adds what became of the ledger.
    pub(crate) fn record(&mut self, recorded: &Result<u64, StoreError>, accepted: usize) {
        match recorded {
            Ok(lines) => self.recorded = *lines,
            Err(_) => self.unrecorded = accepted as u64,
        }
    }

    /// Adds what submission was like.
    pub(crate) fn fly(&mut self, flown: Flown, client: Counts) {
        self.batches = flown.batches;
        self.batched = flown.measurements;
        self.unproven = flown.unproven;
        self.client = client;
    }
}
