//! What is done in one go: a look at m3ter's events, and whatever chore is due.
//!
//! Events come first and are looked at each time. What was ingested is counted when a look was whole. Each hour the quarantine is
//! counted and the catalogue refreshed; each day the ledger is held against what m3ter counted. A part that fails stops no
//! other; the next round tries it again. Two rounds at the same time do the same twice, which harms nothing.

use std::collections::BTreeMap;

use m3ter_client::{Budget, Session};
use recovery::life::HORIZON_MS;
use relay_core::limits::DAY_MS;
use relay_store::{LedgerMode, Store, StoreError};
use tokio::time::{Instant, timeout_at};

use crate::counts::Counts;
use crate::cursor::{Cursor, EVENTS_KEPT_MS, HOUR_MS};
use crate::ingested::{ingested, oldest_unsettled_ms};
use crate::look::{self, LookError, look};
use crate::pass::{Pass, PassError, Passed};
use crate::reconcile::{Nightly, ReconcileError, next_night, nightly};
use crate::refresh::{RefreshError, Refreshed, refresh};

/// How long after a chore was begun it is begun again, if it did not succeed.
const RETRY_MS: i64 = HOUR_MS / 2;

/// A chore that asks m3ter.
#[derive(Clone, Copy)]
enum Part {
    Catalogue,
    Reconciliation,
}

/// Until when each part may go on.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Looking at events.
    pub pass: Instant,
    /// Counting, the catalogue, the reconciliation.
    pub chores: Instant,
    /// Writing.
    pub settle: Instant,
}

/// Of the time to ask m3ter, how much goes to events before chores begin.
const PASS_SHARE: f64 = 0.6;

impl Times {
    /// Of a round that begins at `began` and has `budget`.
    pub fn of(began: Instant, budget: &Budget) -> Times {
        let ask = budget.submit_until.saturating_duration_since(began);
        Times { pass: began + ask.mul_f64(PASS_SHARE), chores: budget.submit_until, settle: budget.settle_until }
    }
}

/// What a round needs.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The store.
    pub store: &'a Store,
    /// What the relay's ledger keeps.
    pub ledger: LedgerMode,
    /// Names what is written, once.
    pub name: &'a str,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
    /// Until when.
    pub times: Times,
}

/// What a round came to. What was not due is `None`.
#[derive(Debug)]
pub struct Round {
    /// What was done about events, even if the look then failed.
    pub counts: Counts,
    /// The look at events.
    pub passed: Result<Passed, PassError>,
    /// How long ago all events were last read, in seconds; as long as m3ter keeps them if they never were.
    pub cursor_age_s: u64,
    /// Measurements by meter that are past the horizon now.
    pub ingested: BTreeMap<String, u64>,
    /// Whether that could be counted, as far as there was time.
    pub counted: Result<(), StoreError>,
    /// How long the oldest measurement has been accepted that is not past the horizon, in seconds.
    pub oldest_unsettled_s: Option<u64>,
    /// The look at the quarantine.
    pub looked: Option<Result<look::Counts, LookError>>,
    /// The catalogue.
    pub refreshed: Option<Result<Refreshed, RefreshError>>,
    /// How long ago the catalogue was last refreshed, in seconds; 28 days if it never was.
    pub catalogue_age_s: u64,
    /// The ledger against m3ter.
    pub reconciled: Option<Result<Nightly, ReconcileError>>,
    /// Whether the cursor was kept.
    pub kept: Result<(), StoreError>,
}

impl Round {
    /// Whether m3ter's events could not be read, or could not be acted on.
    pub fn is_blind(&self) -> bool {
        self.passed.is_err() || self.counts.unread_logs > 0
    }

    /// What failed, in the order of the parts: what was attempted, and why not.
    pub fn failures(&self) -> Vec<(&'static str, &(dyn std::error::Error + 'static))> {
        fn failed<T, E: std::error::Error + 'static>(part: Option<&Result<T, E>>) -> Option<&(dyn std::error::Error + 'static)> {
            part?.as_ref().err().map(|error| error as _)
        }
        let parts = [
            ("reading m3ter's events", failed(Some(&self.passed))),
            ("counting what was ingested", failed(Some(&self.counted))),
            ("looking at the quarantine", failed(self.looked.as_ref())),
            ("refreshing the catalogue", failed(self.refreshed.as_ref())),
            ("reconciling", failed(self.reconciled.as_ref())),
            ("keeping the cursor", failed(Some(&self.kept))),
        ];
        parts.into_iter().filter_map(|(part, error)| Some((part, error?))).collect()
    }
}

impl Job<'_> {
    /// Does one round.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot even be read where the last one ended.
    pub async fn round(&self, m3ter: &Session<'_>) -> Result<Round, StoreError> {
        let Job { store, now_ms, times, .. } = *self;
        let mut cursor = Cursor::read(store).await?;
        let mut counts = Counts::default();
        let has_ledger = self.ledger != LedgerMode::Off;
        let pass = Pass { store, name: self.name, now_ms, has_ledger, until: times.pass, settle_until: times.settle };
        let passed = pass.run(m3ter, &mut cursor, &mut counts).await;
        // Before the chores: should they outlast the round, this is not done again.
        let kept = cursor.keep(store, times.settle).await;
        let mut round = Round {
            counts,
            passed,
            cursor_age_s: seconds(now_ms.saturating_sub(cursor.read_to).min(EVENTS_KEPT_MS)),
            ingested: BTreeMap::new(),
            counted: Ok(()),
            oldest_unsettled_s: None,
            looked: None,
            refreshed: None,
            catalogue_age_s: 0,
            reconciled: None,
            kept,
        };
        let before = cursor.clone();
        self.chores(m3ter, &mut cursor, &mut round).await;
        if cursor != before && round.kept.is_ok() {
            round.kept = cursor.keep(store, times.settle).await;
        }
        Ok(round)
    }

    async fn chores(&self, m3ter: &Session<'_>, cursor: &mut Cursor, round: &mut Round) {
        let Job { store, now_ms, times, .. } = *self;
        if self.ledger != LedgerMode::Off && cursor.read_to > 0 {
            // What there is no time for is counted the next time: the cursor says how far it came.
            if let Ok(counted) = timeout_at(times.chores, self.count_ingested(cursor, round)).await {
                round.counted = counted;
            }
        }
        if Cursor::is_due(cursor.looked_at, HOUR_MS, now_ms) {
            let late = |_| Err(LookError::TimeUp);
            let looked = timeout_at(times.chores, look(store, now_ms)).await.unwrap_or_else(late);
            cursor.looked_at = if looked.is_ok() { now_ms } else { cursor.looked_at };
            round.looked = Some(looked);
        }
        // Whichever was tried less lately goes first: should it take all the time there is, the other has its turn the next time.
        let mut parts = [Part::Catalogue, Part::Reconciliation];
        if cursor.reconcile_tried_at < cursor.refresh_tried_at {
            parts.reverse();
        }
        for part in parts {
            if Instant::now() < times.chores {
                match part {
                    Part::Catalogue => self.refresh(m3ter, cursor, round).await,
                    Part::Reconciliation => self.reconcile(m3ter, cursor, round).await,
                }
            }
        }
        let age_ms = now_ms.saturating_sub(cursor.refreshed_at).min(EVENTS_KEPT_MS);
        round.catalogue_age_s = seconds(age_ms);
    }

    async fn refresh(&self, m3ter: &Session<'_>, cursor: &mut Cursor, round: &mut Round) {
        let Job { store, now_ms, times, .. } = *self;
        let is_due = Cursor::is_due(cursor.refreshed_at, HOUR_MS, now_ms);
        if !is_due || !Cursor::is_due(cursor.refresh_tried_at, RETRY_MS, now_ms) {
            return;
        }
        cursor.refresh_tried_at = now_ms;
        self.note_try(cursor, round).await;
        let refreshed = refresh(m3ter, store, now_ms, times.chores).await;
        cursor.refreshed_at = if refreshed.is_ok() { now_ms } else { cursor.refreshed_at };
        round.refreshed = Some(refreshed);
    }

    /// A day is reconciled once all that m3ter said about it was read.
    async fn reconcile(&self, m3ter: &Session<'_>, cursor: &mut Cursor, round: &mut Round) {
        let Job { store, now_ms, times, .. } = *self;
        let Some(day) = next_night(cursor.reconciled_day, now_ms).filter(|_| self.ledger == LedgerMode::Full) else { return };
        let is_settled = cursor.read_to.saturating_sub(HORIZON_MS) >= day.saturating_add(1).saturating_mul(DAY_MS);
        if !is_settled || !Cursor::is_due(cursor.reconcile_tried_at, RETRY_MS, now_ms) {
            return;
        }
        cursor.reconcile_tried_at = now_ms;
        self.note_try(cursor, round).await;
        let reconciled = nightly(m3ter, store, day, now_ms, times.chores).await;
        if reconciled.as_ref().is_ok() || reconciled.as_ref().is_err_and(ReconcileError::is_lasting) {
            cursor.reconciled_day = day;
        }
        round.reconciled = Some(reconciled);
    }

    /// So that what kills the round is not begun again by the next.
    async fn note_try(&self, cursor: &Cursor, round: &mut Round) {
        if round.kept.is_ok() {
            round.kept = cursor.keep(self.store, self.times.settle).await;
        }
    }

    async fn count_ingested(&self, cursor: &mut Cursor, round: &mut Round) -> Result<(), StoreError> {
        let settled_ms = cursor.read_to.saturating_sub(HORIZON_MS);
        loop {
            let found = ingested(self.store, cursor.counted_to, settled_ms).await?;
            let is_done = found.counted_to_ms >= settled_ms || found.counted_to_ms == cursor.counted_to;
            cursor.counted_to = found.counted_to_ms;
            round.counts.unreadable += found.unreadable;
            for (meter, count) in found.by_meter {
                *round.ingested.entry(meter).or_default() += count;
            }
            if is_done {
                break;
            }
        }
        let oldest_ms = oldest_unsettled_ms(self.store, settled_ms, self.now_ms).await?;
        round.oldest_unsettled_s = Some(oldest_ms.map_or(0, |at_ms| seconds(self.now_ms.saturating_sub(at_ms))));
        Ok(())
    }
}

fn seconds(ms: i64) -> u64 {
    u64::try_from(ms / 1_000).unwrap_or(0)
}
