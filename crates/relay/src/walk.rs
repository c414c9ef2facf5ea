//! The walk through the data, once per invocation: decode, guard, pre-flight, pack, submit, settle.

use bumpalo::Bump;
use futures_util::join;
use m3ter_client::{Budget, Client, Clock};
use relay_core::collapse::collapse;
use relay_core::decode::{Decoded, Found};
use relay_core::guard::{FirstSent, Guarded, Judged, MissingUid, Rules, Sent, guard};
use relay_core::inbound::Inbound;
use relay_core::settle::{Delivery, Fate, Outcome, settle};
use relay_store::{LedgerMode, LedgerWrite, Payloads, Store};
use tokio::time::Instant;

use crate::decoding::decode_all;
use crate::fetch::fetch;
use crate::keep::keep;
use crate::preflight::{FindingCounts, LastCatalogue, Preflight};
use crate::record::record;
use crate::report::Report;
use crate::submit::{Flown, Submission, submit};
use crate::trail::Trail;

/// What the walk is set to.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What to do with a measurement that has no uid.
    pub missing_uid: MissingUid,
    /// Age since it was sent, in milliseconds, at which what is undecided in a message is quarantined.
    pub exhaust_after_ms: i64,
    /// Batches submitted at the same time, at least 1.
    pub batches_in_flight: usize,
    /// The ledger.
    pub ledger: Ledger,
    /// What comes of what the catalogue finds.
    pub preflight: Preflight,
}

/// How the ledger is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// What a line says.
    pub mode: LedgerMode,
    /// Whether a message can be done without its lines.
    pub write: LedgerWrite,
}

impl Default for Ledger {
    /// All of it, and nothing is done without it.
    fn default() -> Ledger {
        Ledger { mode: LedgerMode::Full, write: LedgerWrite::Required }
    }
}

/// The relay. One per process.
#[derive(Debug)]
pub struct Relay {
    /// The way to m3ter.
    pub client: Client,
    /// Where quarantine, ledger and catalogue are.
    pub store: Store,
    /// Where bodies may lie that are too large for a message.
    pub payloads: Payloads,
    /// What m3ter knew, as far as it was read.
    pub catalogue: LastCatalogue,
    /// Settings.
    pub settings: Settings,
}

/// What one invocation brings.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// Names the objects it writes; different for each invocation.
    pub id: &'a str,
    /// The messages.
    pub messages: &'a [Inbound<'a>],
    /// Its clock.
    pub clock: Clock,
    /// Its time.
    pub budget: Budget,
    /// W3C trace context for the requests to m3ter.
    pub traceparent: Option<String>,
    /// Makes the jitter.
    pub rng: fastrand::Rng,
}

/// What an invocation was found to hold.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'s, 'a> {
    /// The messages.
    pub(crate) messages: &'s [Inbound<'a>],
    /// What each is.
    pub(crate) decoded: &'s [Decoded],
    /// All that was found in them.
    pub(crate) found: &'s [Found<'a>],
    /// Of that, what may be sent.
    pub(crate) measurements: &'s [Option<Guarded<'a>>],
}

/// What became of an invocation.
#[derive(Debug)]
pub struct Walked {
    /// One for each message.
    pub outcomes: Vec<Outcome>,
    /// Counts.
    pub report: Report,
}

impl Relay {
    /// Gets now what the first invocation would wait for: m3ter's token, and the catalogue. Whatever goes wrong is met again by that
    /// invocation, or at its next reading.
    pub async fn warm_up(&self, clock: Clock, budget: Budget, rng: fastrand::Rng) {
        let session = self.client.session(clock, budget, None, rng);
        join!(session.warm_up(), self.read_catalogue(clock.now_ms(), budget.submit_until));
    }

    /// Walks. Never fails: data and the world outside decide outcomes, message by message. Text made on the way lives in `arena`.
    pub async fn walk<'a>(&self, invocation: Invocation<'a>, arena: &'a Bump) -> Walked {
        let Invocation { id, messages, clock, budget, traceparent, rng } = invocation;
        let now_ms = clock.now_ms();

        let until = budget.fetch_until;
        let (fetched, ()) = join!(fetch(&self.payloads, messages, arena, until), self.read_catalogue(now_ms, until));
        let messages = fetched.messages.as_deref().unwrap_or(messages);
        let (decoded, found) = decode_all(messages, &fetched.refused, fetched.bytes, arena);
        let (mut measurements, mut fates) = self.guard_all(messages, &found, now_ms, arena);
        let findings = self.check_catalogue(now_ms, &mut measurements, &mut fates);
        let standings = collapse(&measurements, arena);
        let submission =
            Submission { measurements: &measurements, standings: &standings, in_flight: self.settings.batches_in_flight };

        let session = self.client.session(clock, budget, traceparent, rng);
        let mut trail = Trail::new(measurements.len());
        let flown = match self.store_is_ready(budget).await {
            true => submit(&session, submission, &mut fates, &mut trail).await,
            // What would have been sent stays undecided.
            false => Flown::default(),
        };

        let seen = Seen { messages, decoded: &decoded, found: &found, measurements: &measurements };
        let recorded = record(&self.store, self.settings.ledger, id, clock.now_ms(), seen, &trail, budget.settle_until).await;
        let deliveries = self.deliveries(messages, &decoded, clock.now_ms());
        let settled = settle(&deliveries, &found, &fates);
        let unrecorded = recorded.is_err() && self.settings.ledger.write == LedgerWrite::Required;
        let settled = if unrecorded { settled.unrecorded(&found, &fates) } else { settled };
        let kept = keep(&self.store, id, clock.now_ms(), seen, &settled.quarantine, budget.settle_until).await.is_ok();
        let settled = if kept { settled } else { settled.unwritten() };

        let accounts = settled.accounts(&found, &deliveries, &fates);
        let outcomes = match accounts.balance() {
            true => settled.outcomes.clone(),
            // It cannot be told which message is not accounted for, so none may leave the queue.
            false => vec![Outcome::Return { after: None }; messages.len()],
        };
        let mut report = Report::new(seen, &settled, &outcomes, accounts, clock.now_ms());
        report.preflight = findings;
        report.fly(flown, session.counts());
        report.record(&recorded, accounts.accepted);
        report.store_ok = kept && !unrecorded && !self.store.is_suspect();
        Walked { outcomes, report }
    }

    fn guard_all<'a>(
        &self,
        messages: &[Inbound<'a>],
        found: &[Found<'a>],
        now_ms: i64,
        arena: &'a Bump,
    ) -> (Vec<Option<Guarded<'a>>>, Vec<Fate>) {
        let rules = Rules { missing_uid: self.settings.missing_uid, now_ms };
        let judge = |found: &Found<'a>| {
            if let Some(refusal) = &found.refusal {
                return (None, Fate::Refused(refusal.clone()));
            }
            let sent = messages.get(found.message).map_or(FirstSent::Unknown.into(), Sent::of);
            match guard(found, sent, rules, arena) {
                Judged::Good(guarded) => (Some(guarded), Fate::Undecided),
                Judged::NotDue(wait_ms) => (None, Fate::NotDue(wait_ms)),
                Judged::Refused(refusal) => (None, Fate::Refused(refusal)),
            }
        };
        found.iter().map(judge).unzip()
    }

    async fn read_catalogue(&self, now_ms: i64, until: Instant) {
        if self.settings.preflight != Preflight::Off {
            self.catalogue.refresh(&self.store, now_ms, until).await;
        }
    }

    fn check_catalogue(&self, now_ms: i64, measurements: &mut [Option<Guarded<'_>>], fates: &mut [Fate]) -> FindingCounts {
        match self.settings.preflight {
            Preflight::Off => FindingCounts::default(),
            mode @ (Preflight::Warn | Preflight::Quarantine) => self.catalogue.check((mode, now_ms), measurements, fates),
        }
    }

    /// After a failed put nothing is submitted before a put has worked again: what cannot be settled comes back, and a
    /// store outage would become a storm of re-sends.
    async fn store_is_ready(&self, budget: Budget) -> bool {
        !self.store.is_suspect() || self.store.probe(budget.submit_until).await.is_ok()
    }

    fn deliveries(&self, messages: &[Inbound<'_>], decoded: &[Decoded], now_ms: i64) -> Vec<Delivery> {
        let exhausted = |message: &Inbound<'_>| {
            message.sent_at_ms.is_some_and(|sent_at_ms| now_ms.saturating_sub(sent_at_ms) > self.settings.exhaust_after_ms)
        };
        let delivery =
            |(message, decoded): (&Inbound<'_>, &Decoded)| Delivery { decoded: *decoded, exhausted: exhausted(message) };
        messages.iter().zip(decoded).map(delivery).collect()
    }
}
