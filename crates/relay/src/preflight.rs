//! Holds measurements against what m3ter knew, before they are sent: pre-flight.
//!
//! The catalogue is read from the store now and then, and kept as long as the process lives. It is a help and no condition:
//! where there is none, or the store does not give it, the last one serves, and nothing is returned for want of it.
//!
//! What it finds is counted. It holds a measurement back only where the setting says so, and never for a data field that no meter
//! has: m3ter stores that.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use relay_core::catalogue::Catalogue;
use relay_core::guard::Guarded;
use relay_core::settle::Fate;
use relay_store::{CatalogueRead, Store};
use tokio::time::Instant;

/// How old what an environment knows may be, in milliseconds, before it asks the store again; less would find a new meter
/// sooner, and cost a request each time.
const ASK_AGAIN_MS: i64 = 5 * 60_000;
/// A catalogue that m3ter was asked for longer ago holds nothing back, in milliseconds: what m3ter got since would be turned down.
/// It is refreshed each hour.
const HOLDS_BACK_MS: i64 = 3 * 3_600_000;
/// The longest that an invocation waits for the store. A catalogue of 100,000 accounts has three megabytes, which come in a tenth
/// of that.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What findings lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// Nothing is looked at.
    Off,
    /// They are counted.
    Warn,
    /// A measurement with an unknown meter, a missing data field or an account that is nearly a known one is quarantined.
    Quarantine,
}

/// The last catalogue that was read. One per process.
#[derive(Debug, Default)]
pub struct LastCatalogue {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    catalogue: Option<Catalogue>,
    e_tag: Option<String>,
    /// When the store was asked last, whatever it said: milliseconds since the epoch.
    asked_at_ms: Option<i64>,
}

/// How many measurements that guard let pass have which finding. One may have several, and has them again when it is delivered
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FindingCounts {
    /// m3ter has no such meter.
    pub unknown_meters: u64,
    /// A data field of the meter is missing.
    pub missing_fields: u64,
    /// A data field is there that the meter has not.
    pub unconfigured_fields: u64,
    /// The account is unknown, and nearly a known one.
    pub near_accounts: u64,
}

impl LastCatalogue {
    /// Asks the store whether there is a newer one, if that was not asked for five minutes. Waits two seconds at most, and not
    /// beyond `until`.
    pub(crate) async fn refresh(&self, store: &Store, now_ms: i64, until: Instant) {
        let Some(e_tag) = self.due(now_ms) else { return };
        let until = until.min(Instant::now() + WAIT_MAX);
        match store.catalogue_unless(e_tag.as_deref(), until).await {
            Ok(CatalogueRead::Changed { e_tag, catalogue }) => {
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                (held.catalogue, held.e_tag) = (Some(catalogue), e_tag);
            }
            // The last one serves.
            Ok(CatalogueRead::Unchanged | CatalogueRead::Absent) | Err(_) => {}
        }
    }

    /// The name of the one that is held, if it is time to ask for another.
    fn due(&self, now_ms: i64) -> Option<Option<String>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that went back must not make it wait for longer.
        let is_due = held.asked_at_ms.is_none_or(|at_ms| !(0..ASK_AGAIN_MS).contains(&now_ms.saturating_sub(at_ms)));
        if !is_due {
            return None;
        }
        held.asked_at_ms = Some(now_ms);
        Some(held.e_tag.clone())
    }

    /// Holds `measurements` against it and counts what is found. In mode quarantine, what must not be sent is taken out of
    /// them, and its fate says why; unless what is known is old.
    pub(crate) fn check(
        &self,
        (mode, now_ms): (Preflight, i64),
        measurements: &mut [Option<Guarded<'_>>],
        fates: &mut [Fate],
    ) -> FindingCounts {
        let mut found = FindingCounts::default();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(catalogue) = &mut held.catalogue else { return found };
        let holds_back = mode == Preflight::Quarantine && now_ms.saturating_sub(catalogue.read_at_ms()) <= HOLDS_BACK_MS;
        for (measurement, fate) in measurements.iter_mut().zip(fates) {
            let Some(guarded) = measurement else { continue };
            let findings = catalogue.check(guarded);
            if !findings.any() {
                continue;
            }
            found.unknown_meters += u64::from(findings.meter_unknown);
            found.missing_fields += u64::from(findings.field_missing);
            found.unconfigured_fields += u64::from(findings.field_unconfigured);
            found.near_accounts += u64::from(findings.account_near);
            if holds_back && let Some(refusal) = catalogue.refusal(guarded, findings) {
                *fate = Fate::Refused(refusal);
                *measurement = None;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_asked_at_once_and_then_every_five_minutes_also_if_a_clock_goes_back() {
        let last = LastCatalogue::default();
        let due = |now_ms| last.due(now_ms).is_some();
        assert!(due(1_000_000));
        assert!(!due(1_000_000) && !due(1_299_999));
        assert!(due(1_300_000) && !due(1_300_001));
        assert!(due(1_000_000) && !due(1_000_001));
    }
}
