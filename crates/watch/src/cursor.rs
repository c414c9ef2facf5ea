//! What the job remembers between its rounds: how far m3ter's events were read, and when each chore was last done.
//!
//! It is a convenience and no truth: without it all is read again, and nothing is acted on twice.

use relay_core::limits::DAY_MS;
use relay_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

const NAME: &str = "watch/v1/cursor.json";
/// An hour in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;
/// How far before the last read a look begins: m3ter's clock and ours differ, and events come late.
const OVERLAP_MS: i64 = HOUR_MS / 2;
/// How long m3ter keeps events. Source: m3ter's documentation.
pub const EVENTS_KEPT_MS: i64 = 28 * DAY_MS;

/// Times are milliseconds since the epoch; 0 is never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cursor {
    /// All events until then were read.
    pub read_to: i64,
    /// When the last 24 hours of events were last read again.
    pub day_read_at: i64,
    /// When all that m3ter keeps was last read again.
    pub all_read_at: i64,
    /// Ledger objects written until then were counted as ingested, or not.
    pub counted_to: i64,
    /// When the quarantine was last looked at.
    pub looked_at: i64,
    /// When the catalogue was last refreshed.
    pub refreshed_at: i64,
    /// When that was last begun: what fails or is killed is not begun again at once.
    pub refresh_tried_at: i64,
    /// The last day that was held against m3ter, in days since the epoch.
    pub reconciled_day: i64,
    /// When that was last begun.
    pub reconcile_tried_at: i64,
}

/// How far back events are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What came since the last time.
    New,
    /// The last 24 hours again.
    Day,
    /// All that m3ter keeps.
    All,
}

impl Cursor {
    /// The last one that was kept; a new one if there is none, or none that can be read.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn read(store: &Store) -> Result<Cursor, StoreError> {
        match store.document(NAME).await {
            Ok(cursor) => Ok(cursor.unwrap_or_default()),
            Err(StoreError::Unreadable { .. }) => Ok(Cursor::default()),
            Err(error @ (StoreError::Failed(_) | StoreError::TimedOut)) => Err(error),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`StoreError`] if it may not be kept: the next round then does some of this one again.
    pub async fn keep(&self, store: &Store, until: Instant) -> Result<(), StoreError> {
        store.put_document(NAME, self, until).await
    }

    /// How far back a look at `now_ms` goes. Each hour the last day is read again, each day everything: events come late, and what
    /// could not be judged waits for it.
    pub fn depth(&self, now_ms: i64) -> Depth {
        if Cursor::is_due(self.all_read_at, DAY_MS, now_ms) || self.read_to == 0 {
            Depth::All
        } else if Cursor::is_due(self.day_read_at, HOUR_MS, now_ms) {
            Depth::Day
        } else {
            Depth::New
        }
    }

    /// Events raised before then are not read.
    pub fn bound_ms(&self, depth: Depth, now_ms: i64) -> i64 {
        let new = self.read_to.min(now_ms).saturating_sub(OVERLAP_MS);
        match depth {
            Depth::New => new,
            Depth::Day => new.min(now_ms.saturating_sub(DAY_MS)),
            Depth::All => now_ms.saturating_sub(EVENTS_KEPT_MS + DAY_MS),
        }
    }

    /// Whether something that is done each `every_ms` is due. What was done in the future was done by a wrong clock.
    pub fn is_due(last_ms: i64, every_ms: i64, now_ms: i64) -> bool {
        !(0..every_ms).contains(&now_ms.saturating_sub(last_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_780_272_000_000;

    #[test]
    fn the_last_day_is_read_again_each_hour_and_everything_each_day() {
        let cursor = Cursor { read_to: NOW_MS, day_read_at: NOW_MS, all_read_at: NOW_MS, ..Cursor::default() };
        assert_eq!(Cursor::default().depth(NOW_MS), Depth::All);
        assert_eq!(cursor.depth(NOW_MS + HOUR_MS - 1), Depth::New);
        assert_eq!(cursor.depth(NOW_MS + HOUR_MS), Depth::Day);
        assert_eq!(cursor.depth(NOW_MS + DAY_MS), Depth::All);
    }

    #[test]
    fn a_look_begins_before_the_last_one_ended_and_after_a_pause_goes_back_to_it() {
        let cursor = Cursor { read_to: NOW_MS - 3 * DAY_MS, ..Cursor::default() };
        assert_eq!(cursor.bound_ms(Depth::New, NOW_MS), NOW_MS - 3 * DAY_MS - HOUR_MS / 2);
        assert_eq!(cursor.bound_ms(Depth::Day, NOW_MS), NOW_MS - 3 * DAY_MS - HOUR_MS / 2, "no less than what is new");
        assert_eq!(cursor.bound_ms(Depth::All, NOW_MS), NOW_MS - 29 * DAY_MS);
        let fresh = Cursor { read_to: NOW_MS, ..Cursor::default() };
        assert_eq!(fresh.bound_ms(Depth::Day, NOW_MS), NOW_MS - DAY_MS);
    }

    #[test]
    fn a_cursor_of_a_later_version_is_read_as_far_as_it_is_known() {
        let cursor: Cursor = serde_json::from_str(r#"{"read_to":5,"new":[1]}"#).unwrap();
        assert_eq!(cursor, Cursor { read_to: 5, ..Cursor::default() });
    }
}
